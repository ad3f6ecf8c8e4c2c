"""Conditions of sounds against known truth, and reasons where there are none."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from monitor.embed.audio import measure
from monitor.embed.conditions import VERSION
from monitor.embed.images import Missing
from monitor.embed.pool import DecoderPool
from monitor.embed.worker import EmbedWorker
from monitor.store.engine import open_store
from tests.embed.test_pool import PAGES
from tests.embed.test_worker import config, everything, finish, outcome, put

RATE = 16_000


def sound(samples: NDArray[Any], rate: int = RATE, kind: str = "WAV", subtype: str | None = None) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format=kind, subtype=subtype)
    return out.getvalue()


def measured(data: bytes) -> dict[str, Any]:
    found = measure(data)
    assert isinstance(found, dict)
    return found


def tone(seconds: float, level: float = 1.0, rate: int = RATE) -> NDArray[np.float64]:
    return level * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)


@pytest.mark.parametrize("level", [0.9, 0.1, 0.001])
def test_loudness_of_a_sine(level: float) -> None:
    found = measured(sound(tone(2.0, level), subtype="FLOAT"))
    assert found["loudness_dbfs"] == pytest.approx(20 * np.log10(level) - 3.01, abs=0.02)
    assert found["duration_seconds"] == 2.0
    assert (found["sample_rate"], found["channels"], found["clipping_share"]) == (RATE, 1, 0.0)
    assert found["silence_share"] == (1.0 if level < 0.0014 else 0.0)


def test_digital_silence() -> None:
    found = measured(sound(np.zeros(RATE)))
    assert (found["loudness_dbfs"], found["silence_share"], found["snr_db"]) == (None, 1.0, None)


def test_silence_share_is_that_of_the_pauses() -> None:
    pauses = np.concatenate([tone(1.0, 0.3), np.zeros(3 * RATE)])
    assert measured(sound(pauses))["silence_share"] == pytest.approx(0.75, abs=0.01)


def test_clipping_share() -> None:
    assert measured(sound(tone(1.0)))["clipping_share"] < 0.02
    hard = np.clip(tone(1.0, 2.0), -1, 1)
    share = float((np.abs(hard) >= 0.9995).mean())
    assert share > 0.5
    assert measured(sound(hard))["clipping_share"] == pytest.approx(share, abs=0.02)
    peaks = np.zeros(RATE)
    peaks[::100] = 1.0  # single samples at full scale are peaks
    assert measured(sound(peaks))["clipping_share"] == 0.0


@pytest.mark.parametrize("truth", [5.0, 10.0, 20.0, 40.0])
@pytest.mark.parametrize("seed", range(3))
def test_signal_to_noise(truth: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    bursts = tone(8.0, 0.3) * (np.arange(8 * RATE) // (RATE // 2) % 2)
    power = 0.3**2 / 2
    noise = rng.normal(0, np.sqrt(power / 10 ** (truth / 10)), bursts.size)
    assert measured(sound(bursts + noise, subtype="FLOAT"))["snr_db"] == pytest.approx(truth, abs=1.5)


def test_channels_and_long_files() -> None:
    both = np.stack([tone(3.0, 0.5, 8000), np.zeros(24_000)], axis=1)
    found = measured(sound(both, 8000))
    assert found["channels"] == 2
    assert found["loudness_dbfs"] == pytest.approx(20 * np.log10(0.5) - 6.02, abs=0.05)
    long = measured(sound(np.concatenate([tone(600, 0.5, 1000), np.zeros(200_000)]), 1000))
    assert long["duration_seconds"] == 800.0
    assert long["silence_share"] == 0.0  # only the first 600 s are measured


@pytest.mark.parametrize("kind", ["FLAC", "OGG", "MP3"])
def test_formats(kind: str) -> None:
    if kind not in soundfile.available_formats():
        pytest.skip(f"this libsndfile has no {kind}")
    found = measured(sound(tone(2.0, 0.5), kind=kind))
    assert found["loudness_dbfs"] == pytest.approx(-9.03, abs=0.3)


def test_reasons() -> None:
    good = sound(tone(1.0), kind="FLAC")
    assert measure(b"") == Missing("audio_empty")
    assert measure(PAGES[0]) == Missing("audio_unknown_format")
    assert measure(sound(np.zeros(0))) == Missing("audio_empty")
    assert isinstance(measure(good[:200]), Missing | dict)
    rng = np.random.default_rng(0)
    for _ in range(60):
        broken = bytearray(good)
        for at in rng.integers(0, min(len(good), 300), 6):
            broken[at] = rng.integers(0, 256)
        found = measure(bytes(broken))
        assert isinstance(found, dict) or found.reason.startswith("audio_")


def test_in_the_pool() -> None:
    pool = DecoderPool(1, memory=10**9, seconds=10.0, max_pixels=10**8)
    data = sound(tone(1.0, 0.5))
    assert pool.hear(data) == measured(data)
    assert pool.hear(b"nothing") == Missing("audio_unknown_format")
    pool.close()
    pool = DecoderPool(1, memory=10**9, seconds=0.02, max_pixels=10**8)
    assert pool.hear(sound(np.zeros(500 * 8000), 8000, "FLAC")) == Missing("audio_timed_out")
    pool.close()


def test_in_the_store(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/s.db")
    data = sound(tone(2.0, 0.5))
    part = {"kind": "audio", "inline": base64.b64encode(data).decode(), "duration_ms": 2100}
    put(
        store,
        [
            [part],
            [part, {"kind": "text", "text": "write it down"}],
            [{**part, "sha256": "0" * 64}],
            [{"kind": "video"}],
        ],
    )
    worker = EmbedWorker(store, config())
    finish(worker)
    assert [outcome(store, number) for number in range(4)] == [
        ("missing", "audio_not_embedded"),
        ("embedded", ""),
        ("missing", "audio_not_embedded"),
        ("missing", "video_not_covered"),
    ]
    _, parts, _ = everything(store)
    facts = json.loads(parts[0][4])
    assert facts == {"v": VERSION, "missing": "audio_not_embedded", "duration_ms": 2100, **measured(data)}
    assert json.loads(parts[1][4]) == facts and parts[1][2] == "audio"
    assert json.loads(parts[3][4])["unmeasured"] == "sha256_mismatch"
    assert worker.stats.parts_missing == {"audio_not_embedded": 3, "video_not_covered": 1}
    store.close()
