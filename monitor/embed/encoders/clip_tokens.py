"""CLIP's byte-pair tokenizer without torch: ids as open_clip's ``SimpleTokenizer`` makes them.

Reads the merges file that open_clip carries (``bpe_simple_vocab_16e6.txt.gz``). Source: OpenAI CLIP,
``simple_tokenizer.py`` (MIT). The text is cleaned as open_clip does, but for mojibake, which is left as it is.
"""

from __future__ import annotations

import gzip
import html
import itertools
import re
import string
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.embed.encoders.base import EncoderError

START, END = "<start_of_text>", "<end_of_text>"
_CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
_QUOTES = str.maketrans({"‘": "'", "’": "'", "‚": "'", "‛": "'", "“": '"', "”": '"', "„": '"', "‟": '"', "ʼ": "'"})
_LIGATURES = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "ſt", "ﬆ": "st"})
_PUNCTUATION = str.maketrans("", "", string.punctuation)
CLEANING = ("lower", "whitespace", "canonicalize")
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f\ufeff\ufff9-\ufffc]")
_ASCII_WORDS = re.compile(r"<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|[a-z]+|[0-9]|[^\sa-z0-9]+")


def clean(text: str, kind: str = "lower") -> str:
    """Text with entities resolved, quotes and full-width forms made plain, white space collapsed.

    ``kind`` is open_clip's: ``whitespace`` is that alone, ``lower`` is lower-case too, and ``canonicalize`` has no
    ASCII punctuation besides, but for underscores, which are spaces.
    """
    text = html.unescape(html.unescape(text))
    text = _CONTROL.sub("", text.translate(_QUOTES).translate(_LIGATURES))
    if not text.isascii():
        text = unicodedata.normalize("NFC", "".join(map(_narrow, text)))
    if kind == "canonicalize":
        text = text.replace("_", " ").translate(_PUNCTUATION)
    text = " ".join(text.split()).strip()
    return text if kind == "whitespace" else text.lower()


def _narrow(character: str) -> str:
    # Full-width Latin and half-width Katakana have one plain form; other compatibility forms are left alone.
    if "\uff01" <= character <= "\uffee" or character == "\u3000":
        return unicodedata.normalize("NFKC", character)
    return character


def _words(text: str) -> Iterator[str]:
    """Contractions, runs of letters, single numerals, and runs of anything else but white space."""
    if text.isascii():
        yield from _ASCII_WORDS.findall(text)
        return
    at, size = 0, len(text)
    while at < size:
        special = next((name for name in (START, END, *_CONTRACTIONS) if text.startswith(name, at)), None)
        if special is not None:
            yield special
            at += len(special)
            continue
        kind = _kind(text[at])
        end = at + 1
        if kind in ("letter", "other"):
            while end < size and _kind(text[end]) == kind:
                end += 1
        if kind != "space":
            yield text[at:end]
        at = end


def _kind(character: str) -> str:
    if character.isspace():
        return "space"
    category = unicodedata.category(character)[0]
    return {"L": "letter", "N": "numeral"}.get(category, "other")


def _byte_symbols() -> dict[int, str]:
    """A printable character for each byte (GPT-2's table)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    symbols = {byte: chr(byte) for byte in printable}
    extra = itertools.count(256)
    symbols.update({byte: chr(next(extra)) for byte in range(256) if byte not in symbols})
    return symbols


class ClipTokenizer:
    """Texts to ids of fixed length: start, tokens, end, zeros; too long a text is cut before the end token."""

    def __init__(self, merges_file: str | Path, context_length: int = 77) -> None:
        try:
            lines = gzip.decompress(Path(merges_file).read_bytes()).decode("utf-8").split("\n")
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise EncoderError(
                f"cannot read the tokenizer's merges from {merges_file}: {error}; export the encoder again"
            ) from error
        # The file holds more than CLIP's vocabulary uses: 49,152 entries less 256 x 2 bytes and 2 special tokens.
        merges = [tuple(line.split()) for line in lines[1 : 49152 - 256 - 2 + 1]]
        self._bytes = _byte_symbols()
        # open_clip orders single bytes as the table above is built: printable ones first.
        alphabet = list(self._bytes.values())
        vocabulary = [
            *alphabet,
            *(symbol + "</w>" for symbol in alphabet),
            *("".join(pair) for pair in merges),
            START,
            END,
        ]
        self._ids = {token: index for index, token in enumerate(vocabulary)}
        self._rank = {pair: index for index, pair in enumerate(merges)}
        self._cache: dict[str, list[int]] = {START: [self._ids[START]], END: [self._ids[END]]}
        self.context_length = context_length

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """int64[n, context_length]."""
        out = np.zeros((len(texts), self.context_length), dtype=np.int64)
        for row, text in zip(out, texts, strict=True):
            ids = [self._ids[START], *self.encode(text)[: self.context_length - 2], self._ids[END]]
            row[: len(ids)] = ids
        return out

    def encode(self, text: str) -> list[int]:
        """Token ids of one text, without start and end; stops once the context is full."""
        ids: list[int] = []
        for word in _words(clean(text)):
            ids.extend(self._word(word))
            if len(ids) >= self.context_length:
                break
        return ids

    def _word(self, word: str) -> list[int]:
        known = self._cache.get(word)
        if known is not None:
            return known
        symbols = [self._bytes[byte] for byte in word.encode("utf-8", "replace")]
        symbols[-1] += "</w>"
        while len(symbols) > 1:
            ranked = [self._rank.get(pair, len(self._rank)) for pair in itertools.pairwise(symbols)]
            lowest = min(ranked)
            if lowest == len(self._rank):
                break
            symbols = _merged(symbols, [r == lowest for r in ranked])
        ids = [self._ids[symbol] for symbol in symbols]
        if len(self._cache) < 50_000 and len(word) <= 64:
            self._cache[word] = ids
        return ids


def _merged(symbols: list[str], joins: list[bool]) -> list[str]:
    """Join the marked neighbours from left to right; a symbol joins once."""
    out: list[str] = []
    at = 0
    while at < len(symbols):
        if at < len(joins) and joins[at]:
            out.append(symbols[at] + symbols[at + 1])
            at += 2
        else:
            out.append(symbols[at])
            at += 1
    return out
