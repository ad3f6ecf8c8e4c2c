"""Conditions of a sound file: loudness, clipping, silence, noise. Run in decoder processes only (libsndfile is C).

Audio is not embedded; these are what is known of it.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.embed.images import Missing

MEASURED_SECONDS = 600  # from the start; the duration is that of the whole file
FRAME_SECONDS = 0.02
SILENT_DBFS = -60.0
FULL = 0.999  # of full scale: a run of three such samples is clipped, single peaks are not
_BLOCK = 1 << 16  # samples read at once
_QUIET, _LOUD = 0.10, 0.95  # quantiles of frame power that stand for noise and for signal
_LEAST_FRAMES = 25
_DIGITAL_SILENCE = 1e-10  # power below which a frame holds no noise to measure

F64 = NDArray[np.float64]


def measure(data: bytes) -> dict[str, Any] | Missing:
    """Conditions of a sound file, as a dictionary that goes to JSON.

    ``duration_seconds`` (of the file); ``sample_rate`` in Hz; ``channels``; ``loudness_dbfs``: root mean square over
    all channels in dB of full scale (a full-scale square wave is 0, a sine -3.01), null for digital silence;
    ``clipping_share`` of samples in runs of three or more at full scale; ``silence_share`` of 20 ms frames below
    -60 dBFS; ``snr_db``: loud over quiet frames, null with less than half a second of sound.
    """
    if not data:
        return Missing("audio_empty")
    import soundfile  # only processes that meet a sound hold libsndfile

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            return _measured(file)
    except soundfile.LibsndfileError as error:
        return Missing("audio_unknown_format" if error.code == 1 else "audio_undecodable")
    except MemoryError:
        raise
    except Exception:  # what a callback makes of nonsense
        return Missing("audio_undecodable")


def _measured(file: Any) -> dict[str, Any] | Missing:
    rate, channels = int(file.samplerate), int(file.channels)
    if rate < 1 or channels < 1 or file.frames < 1:
        return Missing("audio_empty")
    frame = max(1, round(rate * FRAME_SECONDS))
    block = max(1, _BLOCK // (frame * channels)) * frame  # whole frames, so that blocks do not matter
    left = MEASURED_SECONDS * rate
    samples = clipped = 0
    powers: list[F64] = []
    while left > 0:
        sound = file.read(min(block, left), dtype="float32", always_2d=True)
        if not len(sound):
            break
        left -= len(sound)
        samples += sound.size
        clipped += _clipped(np.abs(sound) >= FULL)
        squares = np.square(np.nan_to_num(sound, nan=0.0, posinf=1.0, neginf=-1.0).astype(np.float64)).mean(axis=1)
        starts = np.arange(0, len(squares), frame)
        powers.append(np.add.reduceat(squares, starts) / np.diff(np.append(starts, len(squares))))
    if not samples:
        return Missing("audio_undecodable")
    power = np.concatenate(powers)
    mean = float(power.mean())
    return {
        "duration_seconds": round(file.frames / rate, 3),
        "sample_rate": rate,
        "channels": channels,
        "loudness_dbfs": round(10 * float(np.log10(mean)), 2) if mean > 0 else None,
        "clipping_share": round(clipped / samples, 6),
        "silence_share": round(float((power < 10 ** (SILENT_DBFS / 10)).mean()), 4),
        "snr_db": _signal_to_noise(power),
    }


def _clipped(full: NDArray[np.bool_]) -> int:
    """Samples in runs of three or more at full scale, along time."""
    if len(full) < 3:
        return 0
    three = full[:-2] & full[1:-1] & full[2:]
    found = np.zeros_like(full)
    for shift in range(3):
        found[shift : len(full) - 2 + shift] |= three
    return int(found.sum())


def _signal_to_noise(power: F64) -> float | None:
    """dB between what loud frames have beyond the noise, and the noise: the power of quiet frames."""
    sounding = power[power > _DIGITAL_SILENCE]
    if sounding.size < _LEAST_FRAMES:
        return None
    noise, loud = np.quantile(sounding, (_QUIET, _LOUD))
    return round(10 * float(np.log10(max(loud - noise, 1e-3 * noise) / noise)), 1)
