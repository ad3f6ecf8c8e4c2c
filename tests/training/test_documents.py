"""Drawn documents: the same for a seed and an index, with or without fonts, under every condition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training import captions, conditions, fonts, shards, words
from training.documents import catalogue

NONE = fonts.Fonts({})


@pytest.mark.parametrize("kind", sorted(catalogue.KINDS))
def test_every_kind_is_drawn_from_its_seed_and_index_alone(kind: str) -> None:
    first, again = (catalogue.draw(3, 17, NONE, kind) for _ in range(2))
    assert first.image.tobytes() == again.image.tobytes() and first.sees == again.sees
    assert first.kind in captions.GENERATED
    other = catalogue.draw(3, 18, NONE, kind)
    assert first.image.size != other.image.size or first.image.tobytes() != other.image.tobytes()
    assert first.image.mode == "RGB" and 64 <= max(first.image.size) <= 512
    assert np.asarray(first.image).std() > 1  # something is on it


def test_every_kind_comes_up() -> None:
    found = {catalogue.draw(1, index, NONE).kind for index in range(250)}
    assert len(found) >= len(catalogue.KINDS) - 2


def test_fonts_say_what_is_missing(tmp_path: Path) -> None:
    found = fonts.discover((tmp_path / "none",))
    assert found.scripts == () and found.pick("hand", np.random.default_rng(0)) == ""
    assert "only the one that Pillow carries" in found.found() and "hand" in found.found()
    (tmp_path / "DejaVuSans.ttf").write_bytes(b"")
    (tmp_path / "NotoSansThai-Regular.ttf").write_bytes(b"")
    found = fonts.discover((tmp_path,))
    assert found.scripts == ("thai",) and "sans 1" in found.found() and "serif" in found.found()


def test_a_script_is_used_only_where_there_is_a_font() -> None:
    rng = np.random.default_rng(0)
    assert all(words.language(rng)[1] == "" for _ in range(300))
    assert {words.language(rng, ("thai",))[1] for _ in range(300)} == {"", "thai"}


@pytest.mark.parametrize("name", conditions.NAMES)
def test_a_condition_changes_the_image_and_grows_with_severity(name: str) -> None:
    page = catalogue.draw(5, 3, NONE, "letter").image

    def away(amount: float) -> float:
        changed = conditions.apply(page, {name: amount}, np.random.default_rng(1))
        assert changed.mode == "RGB"
        again = conditions.apply(page, {name: amount}, np.random.default_rng(1))
        assert changed.tobytes() == again.tobytes()
        fitted = changed.resize(page.size, Image.Resampling.BOX)
        return float(np.abs(np.asarray(fitted, float) - np.asarray(page, float)).mean())

    assert conditions.apply(page, {}, np.random.default_rng(1)).tobytes() == page.tobytes()
    assert away(0.1) > 0.5
    if name not in ("rotation", "crop", "skew", "jpeg", "low resolution"):  # those move what is compared
        assert away(0.95) > away(0.05)


def test_captions_name_kind_condition_and_what_is_seen() -> None:
    rng = np.random.default_rng(0)
    made = [captions.caption(rng, ("receipt",), ("a total",), "food", "French", {"blur": 0.9}) for _ in range(200)]
    assert all("receipt" in text for text in made) and len(set(made)) > 40
    for word in ("a total", "food", "French", "blur", "out of focus", "very"):
        assert any(word in text for text in made)
    # Every drawn and every trainable kind has words.
    assert set(catalogue.KINDS) <= set(captions.GENERATED)


def test_shards_are_drawn_once_and_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "PER_SHARD", 3)
    path = shards.write_shard(tmp_path, 8, 1)
    stamp = path.stat().st_mtime_ns
    assert shards.write_shard(tmp_path, 8, 1).stat().st_mtime_ns == stamp
    entries = shards.read_shard(path)
    expected = [catalogue.draw(8, index, fonts.discover()) for index in range(3, 6)]
    assert [entry.kind for entry in entries] == [drawn.kind for drawn in expected]
    for entry, drawn in zip(entries, expected, strict=True):
        assert entry.image().size == drawn.image.size and entry.sees == drawn.sees
        near = np.abs(np.asarray(entry.image(), float) - np.asarray(drawn.image, float)).mean()
        assert near < 4
