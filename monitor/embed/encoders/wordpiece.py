"""BERT's uncased WordPiece tokenizer without torch: ids as ``BertTokenizer(do_lower_case=True)`` makes them.

Source: Devlin et al. 2018, ``tokenization.py`` (Apache 2.0). No special tokens are added and no length is cut here.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

UNKNOWN = "[UNK]"
_LONGEST_WORD = 100  # characters; longer words are unknown, as in the original
_CACHED_WORDS = 50_000
_ASCII = re.compile(r"[a-z0-9]+|[!-/:-@\[-`{-~]")
_CONTROL_ASCII = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_CJK = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


class WordPiece:
    """``vocabulary`` in the order of its ids; must hold ``[UNK]``."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self._ids = {piece: index for index, piece in enumerate(vocabulary)}
        self.unknown = self._ids[UNKNOWN]
        self._cache: dict[str, tuple[int, ...]] = {}

    def __call__(self, text: str) -> list[int]:
        """Token ids of a text, without [CLS] and [SEP]."""
        if text.isascii():
            words = _ASCII.findall(_CONTROL_ASCII.sub("", text).lower())
        else:
            words = _split(text)
        ids: list[int] = []
        cache = self._cache
        for word in words:
            found = cache.get(word)
            if found is None:
                found = self._pieces(word)
                if len(cache) < _CACHED_WORDS:
                    cache[word] = found
            ids.extend(found)
        return ids

    def _pieces(self, word: str) -> tuple[int, ...]:
        """The longest pieces from the left; one [UNK] where some rest has none."""
        if len(word) > _LONGEST_WORD:
            return (self.unknown,)
        ids: list[int] = []
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            for end in range(len(word), start, -1):
                found = self._ids.get(prefix + word[start:end])
                if found is not None:
                    ids.append(found)
                    start = end
                    break
            else:
                return (self.unknown,)
        return tuple(ids)


def _split(text: str) -> list[str]:
    """Lower case without accents; every punctuation mark and every CJK ideograph is a word of its own."""
    out: list[str] = []
    for character in text:
        code = ord(character)
        if code in (0, 0xFFFD):
            continue
        if character in "\t\n\r":
            out.append(" ")
            continue
        category = unicodedata.category(character)
        if category[0] == "C":
            continue
        if category == "Zs":
            out.append(" ")
        elif any(low <= code <= high for low, high in _CJK):
            out.append(f" {character} ")
        else:
            out.append(character)
    words: list[str] = []
    for word in "".join(out).split():
        plain = "".join(c for c in unicodedata.normalize("NFD", word.lower()) if unicodedata.category(c) != "Mn")
        start = 0
        for at, character in enumerate(plain):
            if _is_punctuation(character):
                if at > start:
                    words.append(plain[start:at])
                words.append(character)
                start = at + 1
        if start < len(plain):
            words.append(plain[start:])
    return words


def _is_punctuation(character: str) -> bool:
    code = ord(character)
    return (
        33 <= code <= 47
        or 58 <= code <= 64
        or 91 <= code <= 96
        or 123 <= code <= 126
        or unicodedata.category(character)[0] == "P"
    )
