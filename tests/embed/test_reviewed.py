"""Full-size images of items under review: encoded anew, bounded, gone when labelled, never twice."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import func, select

from monitor import drain
from monitor.config.model import Config
from monitor.embed.reviewed import PixelWorker
from monitor.store import review
from monitor.store.engine import Store, open_store
from monitor.store.forget import forget_event
from monitor.store.review import Filters, Label, NewItem, item_id
from monitor.store.tables import review_pixels, sample_content, samples
from monitor.workers import Upkeep
from tests.store.test_export_and_forget import content_row, sample_row

DAY_US = 86_400_000_000


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    found = open_store(store_url)
    yield found
    found.close()


def config(folder: Path, **over: Any) -> Config:
    return Config.model_validate({"payloads": {"roots": [str(folder)]}, "review": {"pixels_side": 800, **over}})


def page(folder: Path, name: str = "page.png", size: tuple[int, int] = (2400, 1200), **saved: Any) -> Path:
    pixels = np.random.default_rng(1).integers(0, 255, (size[1] // 40, size[0] // 40, 3), dtype=np.uint8)
    path = folder / name
    Image.fromarray(pixels).resize(size).save(path, **saved)
    return path


def put(store: Store, parts: list[dict[str, Any]], number: int = 1) -> str:
    """An item of a sample with these input parts, waiting for its images; returns its id."""
    inputs = {"v": 1, "parts": [{"part": i, **part} for i, part in enumerate(parts)], "chosen": [0]}
    sample = f"s{number}"
    with store.write() as connection:
        connection.execute(samples.insert().values(sample_row(number)))
        connection.execute(
            sample_content.insert().values(content_row(number) | {"inputs": json.dumps(inputs), "time_us": 0})
        )
        item = NewItem(sample, f"e{number}", "a", "r", 0, 0, 1.0, 0.5, 0.1, 0.1)
        review.add(connection, [item], [], now_us=0, expires_us=2**60)
        review.want(connection, [item_id(sample)])
    return item_id(sample)


def image_part(path: Path, **facts: Any) -> dict[str, Any]:
    return {"kind": "image", "uri": path.as_uri(), **facts}


def kept(store: Store, item: str) -> list[tuple[int, int, int, int, str, bool]]:
    with store.read() as connection:
        found = review.pixels_of(connection, [item]).get(item, [])
    return [(p.part, p.page, p.width, p.height, p.reason, p.data is not None) for p in found]


def data_of(store: Store, item: str, part: int = 0, at: int = 0) -> bytes:
    with store.read() as connection:
        found = review.image(connection, item, part, at)
    assert found is not None
    assert found.data is not None
    return found.data


def run(store: Store, settings: Config) -> int:
    worker = PixelWorker(store, settings)
    try:
        done = 0
        while count := worker.step():
            done += count
        return done
    finally:
        worker.close()


def test_an_image_is_encoded_anew_at_its_size(store: Store, tmp_path: Path) -> None:
    secret = b"a comment that no browser should get"
    path = page(tmp_path, "page.jpg", comment=secret, quality=90)
    assert secret in path.read_bytes()
    item = put(store, [image_part(path), {"kind": "text", "text": "Which total?"}])
    assert run(store, config(tmp_path)) == 1
    assert kept(store, item) == [(0, 0, 800, 400, "", True)]
    data = data_of(store, item)
    assert secret not in data
    shown = Image.open(io.BytesIO(data))
    assert shown.size == (800, 400)
    original = np.asarray(Image.open(path).resize((80, 40)).convert("L"), np.float64)
    assert np.abs(np.asarray(shown.resize((80, 40)).convert("L"), np.float64) - original).mean() < 12
    assert run(store, config(tmp_path)) == 0


def test_a_photo_is_turned_as_its_camera_says(store: Store, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    item = put(store, [image_part(page(tmp_path, "page.jpg", exif=exif))])
    run(store, config(tmp_path))
    assert kept(store, item) == [(0, 0, 400, 800, "", True)]


def test_every_part_and_page_up_to_the_limit(store: Store, tmp_path: Path) -> None:
    document = tmp_path / "pages.pdf"
    pages = [Image.new("RGB", (600, 800), (255, shade, shade)) for shade in range(0, 250, 50)]
    pages[0].save(document, save_all=True, append_images=pages[1:])
    small = page(tmp_path, "small.png", (320, 160))
    item = put(store, [image_part(small), {"kind": "document", "uri": document.as_uri()}, image_part(small)])
    run(store, config(tmp_path, pixels_pages=4))
    assert kept(store, item) == [
        (0, 0, 320, 160, "", True),
        (1, 0, 600, 800, "", True),
        (1, 1, 600, 800, "", True),
        (1, 2, 600, 800, "", True),
    ]


def test_what_cannot_be_fetched_or_read_says_why(store: Store, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    good = page(tmp_path)
    drawing = tmp_path / "drawing.svg"
    drawing.write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>")
    outside = tmp_path.parent / "outside.png"
    Image.new("RGB", (9, 9)).save(outside)
    wrong = hashlib.sha256(b"other").hexdigest()
    parts = [image_part(p) for p in (broken, drawing, outside)] + [image_part(good, sha256=wrong), image_part(good)]
    item = put(store, parts)
    run(store, config(tmp_path))
    reasons = {part: reason for part, _, _, _, reason, _ in kept(store, item)}
    assert reasons[3] == "sha256_mismatch"
    assert reasons[4] == ""
    assert all(reasons[part] for part in (0, 1, 2))
    with store.read() as connection:
        assert review.image(connection, item, 0, 0) is None
        assert review.image(connection, item, 9, 0) is None


def test_an_item_whose_content_is_gone_waits_for_nothing(store: Store, tmp_path: Path) -> None:
    item = put(store, [image_part(page(tmp_path))])
    with store.write() as connection:
        connection.execute(sample_content.delete())
    assert run(store, config(tmp_path)) == 1
    assert kept(store, item) == []
    assert run(store, config(tmp_path)) == 0


def test_pixels_go_when_the_label_can_no_longer_be_taken_back(store: Store, tmp_path: Path) -> None:
    import time

    first = put(store, [image_part(page(tmp_path))])
    second = put(store, [image_part(page(tmp_path))], number=2)
    run(store, config(tmp_path))
    now_us = int(time.time() * 1e6)
    settings = config(tmp_path, undo="1h")
    for age_us in (10 * 60_000_000, 2 * 3_600_000_000):
        (item,) = review.next_items(store, "ann", Filters(), now_us - age_us, 60_000_000)
        review.label(store, item.item_id, "ann", Label("correct"), now_us - age_us)
        Upkeep(store, lambda: settings).step()
    left = [bool(kept(store, item)) for item in (first, second)]
    assert sorted(left) == [False, True], "labelled two hours ago, and ten minutes ago"
    Upkeep(store, lambda: config(tmp_path, undo="1s", keep_pixels="1s")).step()
    assert not any(kept(store, item) for item in (first, second))
    # They do not come back.
    assert run(store, config(tmp_path)) == 0


def test_forgetting_an_event_takes_its_pixels(store: Store, tmp_path: Path) -> None:
    item = put(store, [image_part(page(tmp_path))])
    run(store, config(tmp_path))
    assert kept(store, item)
    forget_event(store, "e1")
    assert not kept(store, item)
    with store.read() as connection:
        assert connection.execute(select(func.count()).where(review_pixels.c.data.is_not(None))).scalar() == 0


def test_two_workers_write_an_item_once(store: Store, tmp_path: Path) -> None:
    item = put(store, [image_part(page(tmp_path))])
    with review.claim_pixels(store, 5) as (wanted, connection):
        assert [w.item_id for w in wanted] == [item]
        if connection is not None:
            with review.claim_pixels(store, 5) as (others, _):
                assert others == [], "they are locked"
            assert review.keep(connection, item, [])
    if connection is None:
        for expected in (True, False):
            with store.write() as own:
                assert review.keep(own, item, []) is expected
    assert kept(store, item) == []


def test_a_drain_keeps_the_images_of_what_its_last_ticks_drew(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Items are drawn by the evaluation, at the end, when the parts that run beside it have stopped."""
    drawn: list[str] = []

    def evaluated(store: Store, *_: object) -> bool:
        drawn.extend(put(store, [image_part(page(tmp_path))], number) for number in range(3))
        return True

    monkeypatch.setattr(drain, "_evaluate", evaluated)
    assert drain.drain(("embed", "evaluate"), store, config(tmp_path), lambda: False)
    assert [kept(store, item) for item in drawn] == [[(0, 0, 800, 400, "", True)]] * 3


def test_a_drain_without_pixels_does_not_wait_for_them(store: Store, tmp_path: Path) -> None:
    item = put(store, [image_part(page(tmp_path))])
    assert drain.drain((), store, config(tmp_path), lambda: False)
    assert kept(store, item) == []


def test_a_drain_is_interrupted_between_items(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items: list[str] = []

    def evaluated(store: Store, *_: object) -> bool:
        items.extend(put(store, [image_part(page(tmp_path))], number) for number in range(3))
        return True

    def interrupted() -> bool:
        return sum(bool(kept(store, item)) for item in items) > 0

    monkeypatch.setattr(drain, "_evaluate", evaluated)
    assert not drain.drain(("embed", "evaluate"), store, config(tmp_path), interrupted)
    assert sum(bool(kept(store, item)) for item in items) == 1


def test_a_drain_waits_for_images_so_long_and_no_longer(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def evaluated(store: Store, *_: object) -> bool:
        put(store, [image_part(page(tmp_path))])
        return True

    monkeypatch.setattr(drain, "_evaluate", evaluated)
    monkeypatch.setattr(drain, "PIXEL_SECONDS", -1.0)
    assert drain.drain(("embed", "evaluate"), store, config(tmp_path), lambda: False)
    with store.read() as connection:
        assert review.pixels_waiting(connection) == 1, "the next run fetches it"
