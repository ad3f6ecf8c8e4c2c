"""Free fonts by what they look like: those that are installed, else the one that Pillow carries."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import ImageFont, features

FOLDERS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path.home() / ".fonts", Path("/Library/Fonts"))

# The first style whose word is in the file's name wins; fonts of no style are not used.
_STYLES = (
    ("script:arabic", ("notonaskharabic-reg", "notosansarabic-reg", "notokufiarabic-reg")),
    ("script:devanagari", ("notosansdevanagari-reg", "notoserifdevanagari-reg")),
    ("script:bengali", ("notosansbengali-reg",)),
    ("script:tamil", ("notosanstamil-reg",)),
    ("script:thai", ("notosansthai-reg", "notoserifthai-reg")),
    ("script:hebrew", ("notosanshebrew-reg", "notoserifhebrew-reg")),
    ("script:georgian", ("notosansgeorgian-reg",)),
    ("script:korean", ("nanumgothic.", "nanummyeongjo.")),
    ("script:chinese", ("wqy-microhei", "notosanscjk-reg")),
    ("script:japanese", ("ipag.", "ipagp.", "ipam.")),
    ("hand", ("dkgbi", "dkghandwriting", "breip", "femkeklaver", "sjf", "delphine", "rufscript", "dancingscript-reg",
              "dancing script", "ecolier", "stephs", "bwht", "hand", "humor-sans", "essays1743-italic")),
    ("typewriter", ("gnutypewriter", "courierprime", "courier prime", "tt2020")),
    ("mono", ("dejavusansmono", "liberationmono-reg", "hack-reg", "freemono.", "cmuntt")),
    ("serif", ("dejavuserif.", "liberationserif-", "freeserif", "ebgaramond12-reg", "ebgaramond-reg", "cmunrm",
               "cmunti", "cmunbx", "goudy", "essays1743.", "notoserif-reg", "notoserif-bold.")),
    ("sans", ("dejavusans.", "dejavusans-bold.", "liberationsans-reg", "liberationsans-bold.", "freesans.", "carlito-",
              "lato-reg", "lato-bold.", "lato-light.", "comicneue-reg", "cabin-reg", "notosans-reg",
              "notosans-bold.")),
)  # fmt: skip
_SHAPED = ("arabic", "devanagari", "bengali", "tamil", "thai", "hebrew")
LATIN = ("sans", "serif", "mono", "hand", "typewriter")


@dataclass(frozen=True)
class Fonts:
    """``styles`` maps a style to font files; an empty tuple stands for the font that Pillow carries."""

    styles: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def scripts(self) -> tuple[str, ...]:
        """Scripts besides Latin, Greek and Cyrillic for which there is a font."""
        return tuple(sorted(name.partition(":")[2] for name in self.styles if name.startswith("script:")))

    def pick(self, style: str, rng: np.random.Generator) -> str:
        """A font file of this style, of sans where the style has none; '' is the font that Pillow carries."""
        files = self.styles.get(style) or self.styles.get("sans", ())
        return files[int(rng.integers(len(files)))] if files else ""

    def found(self) -> str:
        """One line for people: which styles there are, and what is missing."""
        there = ", ".join(f"{name} {len(files)}" for name, files in sorted(self.styles.items()))
        absent = [name for name in LATIN if name not in self.styles]
        note = f"; no fonts for {', '.join(absent)}, drawn with another" if absent else ""
        return f"fonts: {there or 'only the one that Pillow carries'}{note}"


def discover(folders: tuple[Path, ...] = FOLDERS) -> Fonts:
    """The fonts below ``folders`` by style, in the order of their names."""
    files = sorted({p for folder in folders if folder.is_dir() for p in folder.rglob("*.[toTO][tT][fFcC]")}, key=_name)
    styles: dict[str, list[str]] = {}
    for path in files:
        name = _name(path)
        style = next((style for style, words in _STYLES if any(word in name for word in words)), None)
        if style is not None:
            styles.setdefault(style, []).append(str(path))
    return Fonts({style: tuple(found) for style, found in styles.items()})


def _name(path: Path) -> str:
    return path.name.lower()


@functools.lru_cache(maxsize=4096)
def load(file: str, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """A font at a pixel size; '' is the font that Pillow carries."""
    if not file:
        return ImageFont.load_default(size)
    # Shaping costs as much as drawing; only the scripts whose letters join or reorder need it.
    shaped = any(word in file.lower() for word in _SHAPED) and features.check("raqm")
    return ImageFont.truetype(file, size, layout_engine=ImageFont.Layout.RAQM if shaped else ImageFont.Layout.BASIC)
