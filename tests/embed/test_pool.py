"""A file that breaks its decoder gets a reason; nothing else notices."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monitor.embed import conditions, images
from monitor.embed.images import Missing
from monitor.embed.pool import DecoderPool, DecoderUnavailable, Look
from monitor.embed.probes import probe_pages

GB = 10**9


def jpeg(image: Image.Image, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", **options)
    return out.getvalue()


PAGES = [jpeg(page) for page in probe_pages()]


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> Iterator[DecoderPool]:
    monkeypatch.setenv("DRIFTLINE_PASSWORD", "x")
    made = DecoderPool(
        2, memory=GB, seconds=0.5, max_pixels=10**8, backstop=2.0, program="tests.embed.poisoned_decoder"
    )
    yield made
    made.close()


def test_what_comes_back_is_what_decoding_here_gives() -> None:
    pool = DecoderPool(2, memory=GB, seconds=5.0, max_pixels=10**8)
    wide = jpeg(Image.effect_noise((3000, 40), 90).convert("RGB"))
    for data, found in [(data, pool.submit(data)) for data in [*PAGES, wide]]:
        (look,), decoded = found.result(), images.decode(data, 10**8)
        assert isinstance(look, Look) and isinstance(decoded, images.Decoded)
        assert look.image.tobytes() == decoded.image.tobytes() and look.image.size == decoded.image.size
        assert look.conditions == conditions.measure(decoded)
        assert look.thumbnail == images.thumbnail(decoded.image)
        assert f"{look.phash & (2**64 - 1):016x}" == look.conditions["phash"]
    assert pool.look(b"") == Missing("image_empty")
    assert pool.look(PAGES[0][:500]) == images.decode(PAGES[0][:500], 10**8)
    pids = pool.processes()
    assert 1 <= len(pids) <= 2
    pool.close()
    assert pool.processes() == []
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_nothing_is_started_before_the_first_file() -> None:
    pool = DecoderPool(3, memory=GB, seconds=5.0, max_pixels=10**8)
    assert pool.processes() == []
    pool.close()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"crash!", "image_decoder_crashed"),
        (b"killed", "image_decoder_crashed"),
        (b"lying!", "image_decoder_crashed"),
        (b"spins!", "image_timed_out"),
        (b"sleeps", "image_timed_out"),
        (b"eating", "image_out_of_memory"),
    ],
)
def test_a_poisonous_file_alone_gets_its_reason(poisoned: DecoderPool, data: bytes, reason: str) -> None:
    files = [PAGES[0], data, PAGES[1], PAGES[2], data, PAGES[3]]
    found = [future.result()[0] for future in [poisoned.submit(file) for file in files]]
    assert [entry if isinstance(entry, Missing) else "seen" for entry in found] == [
        "seen", Missing(reason), "seen", "seen", Missing(reason), "seen",
    ]  # fmt: skip
    assert isinstance(poisoned.look(PAGES[0]), Look)


def test_a_file_is_judged_in_a_new_process_and_not_by_what_came_before_it(poisoned: DecoderPool) -> None:
    for _ in range(3):
        poisoned.look(PAGES[0])
    assert poisoned.look(b"second") == Missing("none")


def test_a_decoder_knows_no_secret(poisoned: DecoderPool) -> None:
    assert poisoned.look(b"secret") == Missing("none")


def test_processes_that_are_killed_between_files_are_replaced() -> None:
    deaths: list[int] = []
    pool = DecoderPool(2, memory=GB, seconds=5.0, max_pixels=10**8, died=lambda: deaths.append(1))
    for _ in range(3):
        for future in [pool.submit(data) for data in PAGES]:
            assert isinstance(future.result()[0], Look)
        for pid in pool.processes():
            os.kill(pid, signal.SIGKILL)
    assert isinstance(pool.look(PAGES[0]), Look)
    assert deaths
    pool.close()


def test_a_decoder_whose_service_is_gone_ends() -> None:
    pool = DecoderPool(1, memory=GB, seconds=5.0, max_pixels=10**8)
    pool.look(PAGES[0])
    (process,) = pool._live
    os.close(process._requests)
    process._requests = os.open("/dev/null", os.O_WRONLY)
    assert process._child.wait(60) == 0
    pool.close()


def test_the_memory_limit_is_that_of_one_file() -> None:
    rng = np.random.default_rng(0)
    out = io.BytesIO()
    Image.fromarray(rng.integers(0, 2, (5000, 5000, 3), dtype=np.uint8) * 255).save(out, "PNG", compress_level=1)
    large = out.getvalue()  # 25 megapixels, 100 MB decoded
    pool = DecoderPool(1, memory=60_000_000, seconds=60.0, max_pixels=10**8)
    for _ in range(2):
        assert pool.look(large) == Missing("image_out_of_memory")
        assert isinstance(pool.look(PAGES[0]), Look)
    pool.close()
    pool = DecoderPool(1, memory=GB, seconds=60.0, max_pixels=10**8)
    for _ in range(3):
        assert isinstance(pool.look(large), Look)
    pool.close()


def test_the_time_limit_is_processor_time() -> None:
    slow = jpeg(Image.effect_noise((6000, 6000), 60), progressive=True)
    pool = DecoderPool(1, memory=GB, seconds=0.04, max_pixels=10**8)
    assert pool.look(slow) == Missing("image_timed_out")
    process = pool._idle.get()
    assert process is None  # what timed out is replaced when the next file comes
    pool._idle.put(process)
    pool.close()
    pool = DecoderPool(1, memory=GB, seconds=30.0, max_pixels=10**8)
    assert isinstance(pool.look(PAGES[0]), Look)
    (pid,) = pool.processes()
    os.kill(pid, signal.SIGSTOP)  # a starved process uses no processor time
    future = pool.submit(PAGES[0])
    time.sleep(0.2)
    os.kill(pid, signal.SIGCONT)
    assert isinstance(future.result()[0], Look)
    pool.close()


def test_decoders_that_do_not_start_are_no_files_fault() -> None:
    pool = DecoderPool(1, memory=GB, seconds=5.0, max_pixels=10**8, program="tests.embed.no_such_program")
    for _ in range(2):
        with pytest.raises(DecoderUnavailable, match="by hand"):
            pool.look(PAGES[0])
    pool.close()


def test_closing_waits_for_no_file() -> None:
    pool = DecoderPool(1, memory=GB, seconds=10_000.0, max_pixels=10**8, program="tests.embed.poisoned_decoder")
    pool.look(PAGES[0])
    futures = [pool.submit(data) for data in (b"spins!", PAGES[0])]
    while not futures[0].running():
        time.sleep(0.01)
    pool.close()  # ten thousand seconds, did it wait
    with pytest.raises(DecoderUnavailable, match="closed"):
        futures[0].result()
    assert futures[1].cancelled()
    assert pool.processes() == []


@pytest.mark.parametrize("hard", [0, 4 * GB])
def test_a_limit_on_the_service_itself_is_kept(hard: int) -> None:
    """Where the service may not have more, a decoder has what there is."""
    script = (
        "import resource, sys\n"
        "from monitor.embed.decoder import _limited\n"
        f"if {hard}: resource.setrlimit(resource.RLIMIT_AS, ({hard}, {hard}))\n"
        "print(_limited(8 * 10**9, 5.0, lambda: {'limit': resource.getrlimit(resource.RLIMIT_AS)[0]})['limit'])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) == hard if hard else int(done.stdout) > 8 * GB
