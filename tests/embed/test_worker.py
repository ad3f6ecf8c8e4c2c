"""Pending samples become embedded or missing, the same rows whatever happens on the way."""

from __future__ import annotations

import base64
import io
import itertools
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import func, select, update

from monitor.config.model import Config
from monitor.embed.conditions import VERSION
from monitor.embed.encoders.base import Vectors, unit_rows
from monitor.embed.encoders.features import FeatureEncoder
from monitor.embed.encoders.mini import MiniEncoder
from monitor.embed.probes import probe_pages
from monitor.embed.worker import EmbedWorker
from monitor.store import samples as sample_store
from monitor.store.engine import Store, open_store
from monitor.store.tables import sample_content, sample_parts, samples

TEXT = {"kind": "text", "text": "Extract the total and the date."}


def jpeg(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG")
    return out.getvalue()


PAGES = [jpeg(page) for page in probe_pages()]


def inline(data: bytes, **facts: Any) -> dict[str, Any]:
    return {"kind": "image", "inline": base64.b64encode(data).decode(), **facts}


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    opened = open_store(store_url)
    yield opened
    opened.close()


def put(store: Store, inputs: Sequence[Any], chosen: list[int] | None = None) -> None:
    """One pending sample for each list of input parts, in windows of ten."""
    rows, contents = [], []
    for number, parts in enumerate(inputs):
        sample_id = f"{number:08x}"
        window = number // 10 * 60_000_000
        rows.append(
            {
                "sample_id": sample_id,
                "event_id": f"e{number}",
                "topic": "t",
                "partition": 0,
                "offset": number,
                "time_us": window,
                "window_us": window,
                "route": "r",
                "segment": "r",
                "version": "m@1",
                "session_key": f"s{number}",
                "user_key": "u",
                "pi": 0.5,
                "state": "pending",
                "reason": "",
                "facts": "{}",
                "encoder": "",
            }
        )
        if isinstance(parts, str):
            document = parts
        else:
            numbered = [{**part, "part": index} for index, part in enumerate(parts)]
            picked = list(range(len(parts))) if chosen is None else chosen
            document = json.dumps({"v": 1, "parts": numbered, "chosen": picked})
        contents.append(
            {"sample_id": sample_id, "time_us": window, "inputs": document, "output": "[]", "citations": "[]"}
        )
    with store.write() as connection:
        connection.execute(samples.insert(), rows)
        connection.execute(sample_content.insert(), contents)


def everything(store: Store) -> list[list[Any]]:
    """All rows the worker may have written, in a fixed order."""
    with store.read() as connection:
        return [
            [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key.columns))]
            for table in (samples, sample_parts, sample_content)
        ]


def finish(worker: EmbedWorker) -> int:
    total = 0
    while done := worker.step():
        total += done
    worker.close()
    return total


def config(**changes: Any) -> Config:
    return Config.model_validate(changes)


def outcome(store: Store, number: int = 0) -> tuple[str, str]:
    with store.read() as connection:
        row = connection.execute(
            select(samples.c.state, samples.c.reason).where(samples.c.sample_id == f"{number:08x}")
        ).one()
    return row.state, row.reason


class PairEncoder:
    """A stand-in whose towers share a space: mean colour against the number of a colour's name."""

    identity = "pair/1"
    dim = 3
    side = 768
    shared_space = True
    description = "mean colour"

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        if any(image.size == (66, 66) for image in images):
            raise RuntimeError("this size is too much")
        return unit_rows(np.stack([np.asarray(image, dtype=np.float32).mean(axis=(0, 1)) + 1 for image in images]))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        names = ("red", "green", "blue")
        return unit_rows(np.array([[float(name in text) + 1e-3 for name in names] for text in texts]))


@pytest.mark.parametrize(("builtin", "encoder"), [("features", FeatureEncoder), ("driftline-mini", MiniEncoder)])
def test_image_and_text(store: Store, builtin: str, encoder: type[FeatureEncoder | MiniEncoder]) -> None:
    put(store, [[inline(PAGES[0]), TEXT]])
    worker = EmbedWorker(store, config(encoder={"builtin": builtin}))
    assert finish(worker) == 1
    assert outcome(store) == ("embedded", "")
    (sample,), parts, (content,) = everything(store)
    chosen = encoder()
    assert sample[samples.columns.keys().index("encoder")] == chosen.identity
    assert isinstance(sample[samples.columns.keys().index("phash")], int)
    assert [(part[1], part[2], len(part[3]), part[5] is None) for part in parts] == [
        (0, "image", 2 * chosen.dim, not chosen.shared_space),
        (1, "text", 2 * chosen.dim, True),
    ]
    text = np.frombuffer(parts[1][3], dtype="<f2")
    np.testing.assert_allclose(text, chosen.encode_texts([TEXT["text"]])[0], atol=1e-3)
    assert json.loads(parts[0][4])["width"] == probe_pages()[0].width
    assert json.loads(parts[1][4]) == {"v": VERSION, "characters": len(TEXT["text"])}
    thumbnail = Image.open(io.BytesIO(content[sample_content.columns.keys().index("thumbnail")]))
    assert max(thumbnail.size) <= 256


def test_agreement_where_towers_share_a_space(store: Store) -> None:
    red, blue = (jpeg(Image.new("RGB", (40, 40), colour)) for colour in ("red", "blue"))
    say_red = {"kind": "text", "text": "something red"}
    put(store, [[inline(red), say_red], [inline(blue), say_red], [inline(red)]])
    finish(EmbedWorker(store, config(), PairEncoder()))
    _, parts, _ = everything(store)
    agreement = {(part[0], part[1]): part[5] for part in parts}
    assert agreement["00000000", 0] > 0.95
    assert agreement["00000001", 0] < 0.1
    assert agreement["00000000", 1] is None
    assert agreement["00000002", 0] is None  # no text to agree with


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([inline(PAGES[0][:-900]), TEXT], "image_truncated"),
        ([{"kind": "image", "inline": "__REDACTED!__"}, TEXT], "base64_undecodable"),
        ([{"kind": "image", "uri": "https://example.com/x.jpg"}], "http_not_enabled"),
        ([{"kind": "image", "uri": "file:///etc/passwd"}], "file_not_allowed"),
        ([inline(b"%PDF-1.7")], "pdf_undecodable"),
        ([{**inline(b"words"), "kind": "document"}], "image_unknown_format"),
        ([inline(PAGES[0], sha256="0" * 64)], "sha256_mismatch"),
        ([{"kind": "audio", "uri": "x:y", "duration_ms": 1200}], "audio_not_embedded"),
        ([{"kind": "video", "uri": "x:y"}], "video_not_covered"),
        ([{"kind": "hologram"}], "kind_not_covered"),
        ([{"kind": "text", "text": ""}], "text_empty"),
        ([{}], "kind_not_covered"),
        ([], "no_input"),
        ("{}", "inputs_unreadable"),
        ("not json", "inputs_unreadable"),
        ('{"v": 2, "parts": []}', "inputs_version"),
        ('{"v": 1, "parts": [{"part": 0, "kind": "text"}], "chosen": [7]}', "inputs_unreadable"),
        ('{"v": 1, "parts": [7], "chosen": [0]}', "inputs_unreadable"),
    ],
)
def test_reasons(tmp_path: Path, parts: Any, expected: str) -> None:
    store = open_store(f"sqlite:///{tmp_path}/s.db")
    put(store, [parts])
    worker = EmbedWorker(store, config())
    assert finish(worker) == 1
    assert outcome(store) == ("missing", expected)
    assert worker.stats.missing == {expected: 1}
    with store.read() as connection:
        assert sample_store.coverage(connection) == {("missing", expected): 1}
    store.close()


def test_parts_that_fail_beside_parts_that_do_not(store: Store) -> None:
    """One good image of two covers a request; without any, its text is kept, but the sample is missing."""
    bad = inline(PAGES[1][:500])
    put(store, [[bad, inline(PAGES[0]), TEXT], [bad, TEXT], [{"kind": "audio", "duration_ms": 10}, TEXT]])
    finish(EmbedWorker(store, config()))
    assert [outcome(store, number)[0] for number in range(3)] == ["embedded", "missing", "embedded"]
    _, parts, _ = everything(store)
    assert [part[3] is not None for part in parts] == [False, True, True, False, True, False, True]
    assert json.loads(parts[0][4])["missing"].startswith("image_")
    assert json.loads(parts[5][4]) == {
        "v": VERSION,
        "missing": "audio_not_embedded",
        "unmeasured": "no_payload",
        "duration_ms": 10,
    }


def test_only_chosen_parts(store: Store) -> None:
    put(store, [[inline(PAGES[0]), inline(PAGES[1]), TEXT]], chosen=[1])
    finish(EmbedWorker(store, config()))
    _, parts, _ = everything(store)
    assert [part[1] for part in parts] == [1]


def test_a_vector_that_came_with_the_event(store: Store) -> None:
    encoder = FeatureEncoder()
    given = [2.0, *[0.0] * (encoder.dim - 1)]
    gone = {"kind": "image", "uri": "s3://b/x"}
    put(
        store,
        [
            [{**gone, "embedding": {"model": encoder.identity, "vector": given}}],
            [{**gone, "embedding": {"model": "another", "vector": given}}],
            [{**gone, "embedding": {"model": encoder.identity, "vector": [1, "x"]}}],
            [{**gone, "embedding": {"model": encoder.identity, "vector": [0.0] * encoder.dim}}],
        ],
    )
    finish(EmbedWorker(store, config(), encoder))
    assert [outcome(store, number)[0] for number in range(4)] == ["embedded", "missing", "missing", "missing"]
    _, parts, _ = everything(store)
    assert np.frombuffer(parts[0][3], dtype="<f2")[0] == 1


def test_content_goes_when_it_is_not_kept(store: Store) -> None:
    put(store, [[inline(PAGES[0]), TEXT], [{"kind": "video"}]])
    finish(EmbedWorker(store, config(sampling={"content": False})))
    rows, parts, contents = everything(store)
    assert len(rows) == 2 and len(parts) == 3 and contents == []


def test_inputs_that_are_gone_and_samples_that_are_no_more(store: Store) -> None:
    put(store, [[TEXT], [TEXT]])
    with store.write() as connection:
        connection.execute(sample_content.delete().where(sample_content.c.sample_id == "00000000"))
    finish(EmbedWorker(store, config()))
    assert outcome(store, 0) == ("missing", "inputs_gone")
    # Completing what was completed or removed in the meantime writes nothing.
    late = sample_store.Completion("00000001", "late", "", parts=(sample_store.Part(0, "text", None, "{}", None),))
    gone = sample_store.Completion("ffffffff", "late", "", parts=(sample_store.Part(0, "text", None, "{}", None),))
    before = everything(store)
    with store.write() as connection:
        assert sample_store.complete(store, connection, [late, gone], keep_content=True) == 0
    assert everything(store) == before


def test_oldest_window_first_and_batches_do_not_matter(tmp_path: Path) -> None:
    inputs = [[inline(PAGES[i % 8]), {"kind": "text", "text": f"text {i % 5}"}] for i in range(45)]
    results = []
    for name, batch, encode_batch in (("a", 1, 1), ("b", 7, 3), ("c", 1000, 32)):
        store = open_store(f"sqlite:///{tmp_path}/{name}.db")
        put(store, inputs)
        worker = EmbedWorker(store, config(encoder={"batch": encode_batch}), batch=batch)
        assert worker.step() == min(batch, 45)
        with store.read() as connection:
            oldest = sample_store.oldest_pending(connection)
            assert oldest == (None if batch > 45 else batch // 10 * 60_000_000)
            assert sample_store.pending_count(connection) == max(0, 45 - batch)
        finish(worker)
        results.append(everything(store))
        assert worker.stats.images_encoded == 8
        store.close()
    assert results[0] == results[1] == results[2]


def test_a_small_cache_changes_nothing_but_work(tmp_path: Path) -> None:
    inputs = [[inline(PAGES[i % 8]), TEXT] for i in range(20)]
    results = []
    for name, size in (("a", 0), ("b", 10**8)):
        store = open_store(f"sqlite:///{tmp_path}/{name}.db")
        put(store, inputs)
        finish(EmbedWorker(store, config(), cache_bytes=size, batch=5))
        results.append(everything(store))
        store.close()
    assert results[0] == results[1]


def test_an_encoder_that_fails_on_one_image(store: Store) -> None:
    poison = jpeg(Image.new("RGB", (66, 66)))
    put(store, [[inline(PAGES[0])], [inline(poison)], [inline(PAGES[1])]])
    finish(EmbedWorker(store, config(), PairEncoder()))
    assert [outcome(store, number) for number in range(3)] == [
        ("embedded", ""),
        ("missing", "encoder_failed"),
        ("embedded", ""),
    ]


def test_an_encoder_that_fails_altogether_leaves_samples_waiting(store: Store) -> None:
    class Broken(PairEncoder):
        def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
            raise RuntimeError("no memory")

    put(store, [[inline(PAGES[0])]])
    worker = EmbedWorker(store, config(), Broken())
    with pytest.raises(RuntimeError, match="no memory"):
        worker.step()
    assert outcome(store)[0] == "pending"
    worker.close()


def test_run_stops_and_reloads(store: Store) -> None:
    put(store, [[{"kind": "image", "uri": "file:///nowhere"}]])
    worker = EmbedWorker(store, config())
    worker.reload(config(payloads={"roots": ["/nowhere-else"]}))
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop, 0.01))
    thread.start()
    for _ in range(1000):
        if outcome(store)[0] != "pending":
            break
        time.sleep(0.01)
    stop.set()
    thread.join(30)
    assert not thread.is_alive()
    assert outcome(store) == ("missing", "file_not_allowed")


def work_forever(url: str) -> None:
    worker = EmbedWorker(open_store(url, migrate=False), config(), batch=10)
    worker.run(threading.Event(), 0.01)


def test_killed_at_any_moment_the_rows_are_the_same(store: Store, tmp_path: Path) -> None:
    """Two processes share the work where the store lets them; each is killed again and again and replaced."""
    inputs = [[inline(PAGES[i % 8]), {"kind": "text", "text": f"text {i}"}] for i in range(160)]
    reference = open_store(f"sqlite:///{tmp_path}/reference.db")
    put(reference, inputs)
    finish(EmbedWorker(reference, config()))
    put(store, inputs)
    url = store.url.render_as_string(hide_password=False)
    context = multiprocessing.get_context("spawn")
    random = np.random.default_rng(7)

    def pending() -> int:
        with store.read() as connection:
            return sample_store.pending_count(connection)

    running: list[Any] = []
    try:
        for _ in itertools.count():
            while len(running) < (2 if store.dialect == "postgresql" else 1):
                process = context.Process(target=work_forever, args=(url,), daemon=True)
                process.start()
                running.append(process)
            left = pending()
            while pending() == left and left:  # some progress, so that the test ends
                time.sleep(0.005)
            time.sleep(float(random.uniform(0, 0.05)))
            victim = running.pop(0)
            os.kill(victim.pid, signal.SIGKILL)
            victim.join()
            if not pending():
                break
    finally:
        for process in running:
            process.kill()
            process.join()
    assert everything(store) == everything(reference)
    reference.close()


@pytest.mark.real
def test_two_workers_on_postgresql_take_different_samples(postgres_url: str) -> None:
    store = open_store(postgres_url)
    put(store, [[TEXT]] * 20)
    with sample_store.claim(store, 8) as (first, _), sample_store.claim(store, 8) as (second, _):
        assert [row.sample_id for row in first] == [f"{i:08x}" for i in range(8)]
        assert [row.sample_id for row in second] == [f"{i:08x}" for i in range(8, 16)]
    with store.read() as connection:
        assert (
            connection.execute(select(func.count()).select_from(samples).where(samples.c.state == "pending")).scalar()
            == 20
        )
    with store.write() as connection:
        connection.execute(update(samples).values(state="missing", reason="x"))
        with sample_store.claim(store, 8) as (third, _):
            assert third == []  # locked by the writer above
    store.close()
