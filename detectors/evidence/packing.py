"""Versioned bytes for detector states: a format version, scalars and arrays, in one msgpack document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

FORMAT = 1
_ENCODER = msgspec.msgpack.Encoder()


def pack(kind: str, scalars: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Scalars (JSON-like values) and arrays as bytes. Equal input gives equal bytes."""
    content = {
        name: (array.dtype.str, array.shape, np.ascontiguousarray(array).tobytes())
        for name, array in sorted(arrays.items())
    }
    return pack_bytes(kind, dict(sorted(scalars.items())), content)


def pack_bytes(
    kind: str, scalars: Mapping[str, Any], arrays: Mapping[str, tuple[str, tuple[int, ...], bytes]]
) -> bytes:
    """As :func:`pack`, for many: arrays as (dtype, shape, their bytes in C order), everything in the order of names."""
    return _ENCODER.encode([FORMAT, kind, scalars, arrays])


def unpack(kind: str, state: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """The inverse of :func:`pack`: scalars, and arrays by name.

    Raises:
        ValueError: the bytes are not such a document, are of another kind, or of a newer format.
    """
    try:
        version, found, scalars, packed = msgspec.msgpack.decode(state)
    except (msgspec.DecodeError, ValueError, TypeError) as error:
        raise ValueError(f"not a {kind} state: {error}; rebuild the state from its data") from None
    if version != FORMAT:
        raise ValueError(
            f"{kind} state has format {version!r}, this version reads {FORMAT}; upgrade driftline or rebuild the state"
        )
    if found != kind:
        raise ValueError(f"expected a {kind} state, got one of {found!r}; pass the bytes made by that class")
    arrays = {
        name: np.frombuffer(raw, dtype=np.dtype(dtype)).reshape(shape).copy()
        for name, (dtype, shape, raw) in packed.items()
    }
    return scalars, arrays
