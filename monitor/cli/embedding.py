"""What `driftline encoder embed` does with a file: the road of the embed role, without a store."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.config.model import Config
from monitor.embed.concepts import ConceptBank, with_shipped
from monitor.embed.encoders import Encoder
from monitor.embed.images import Missing
from monitor.embed.pictures import stored
from monitor.embed.pool import DecoderPool, DecoderUnavailable, Look

TEXTS = (".txt", ".md")

Row = dict[str, Any]


class Embedder:
    """Embeds files with one encoder, images and PDFs through a decoder process under the configured limits."""

    def __init__(self, config: Config, encoder: Encoder, pages: int, concepts: ConceptBank | None = None) -> None:
        """``concepts``: words that images are compared with; default those configured, where the encoder can."""
        limits = config.payloads
        self._concepts = concepts
        if concepts is None and encoder.shared_space:
            self._concepts = ConceptBank(encoder, with_shipped(config.encoder.concepts))
        self._encoder, self._pages, self._max_bytes = encoder, pages, limits.max_bytes
        self._pool = DecoderPool(
            1,
            memory=limits.decode_memory,
            seconds=limits.decode_time / 1e6,
            max_pixels=limits.max_pixels,
            side=encoder.side,
        )

    def __enter__(self) -> Embedder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.close()

    def rows(self, path: Path) -> list[Row]:
        """One row for a file, or for each page looked at; ``missing`` with a reason where there is no vector."""
        row: Row = {"file": str(path)}
        try:
            with path.open("rb") as file:
                data = file.read(self._max_bytes + 1)
        except OSError as error:
            return [{**row, "missing": error.strerror or "unreadable"}]
        if len(data) > self._max_bytes:
            return [{**row, "missing": "payload_too_large"}]
        if path.suffix.lower() in TEXTS:
            text = data.decode("utf-8", "replace")
            if not text:
                return [{**row, "missing": "text_empty"}]
            conditions = {"characters": len(text)}
            return [{**row, "kind": "text", **self._found(self._encoder.encode_texts([text])[0], conditions)}]
        try:
            looks = self._pool.looks(data, self._pages)
        except DecoderUnavailable as error:
            return [{**row, "missing": str(error)}]
        return [
            {**row, **({"page": look.page, "pages": look.pages} if look.pages else {}), "missing": look.reason}
            if isinstance(look, Missing)
            else {**row, "kind": "image", **self._image(look)}
            for look in looks
        ]

    def _image(self, look: Look) -> Row:
        vector = self._encoder.encode_images([look.image])[0]
        told = {} if self._concepts is None else {"concepts": self._concepts.stored(vector)}
        return self._found(vector, {**look.conditions, **told})

    def _found(self, vector: NDArray[np.float32], conditions: Row) -> Row:
        return {
            "encoder": self._encoder.identity,
            "dimension": int(vector.size),
            "digest": hashlib.sha256(stored(vector)).hexdigest(),
            "conditions": conditions,
            "vector": [round(float(value), 6) for value in vector],
        }


def as_json(row: Row) -> str:
    """One line."""
    return json.dumps(row, ensure_ascii=False)


def as_text(row: Row) -> str:
    """For people: a line for the file, one for the vector, one for the conditions."""
    conditions: Row = dict(row.get("conditions", row))
    concepts = _told(conditions.pop("concepts", None))
    page = f" page {conditions['page']} of {conditions['pages']}" if "pages" in conditions else ""
    if "missing" in row:
        return f"{row['file']}{page}\n  missing     {row['missing']}"
    told = " ".join(f"{name}={json.dumps(value)}" for name, value in conditions.items() if name != "v")
    return (
        f"{row['file']}{page}\n  vector      sha256:{row['digest']}, {row['dimension']} dimensions, {row['encoder']}\n"
        f"  conditions  {told}{concepts}"
    )


def concepts_as_text(row: Row) -> str:
    """For people: the file, and its nearest concepts beneath it."""
    if "missing" in row:
        return as_text(row)
    page = f" page {row['conditions']['page']} of {row['conditions']['pages']}" if "pages" in row["conditions"] else ""
    nearest = row["conditions"]["concepts"]["nearest"]
    return f"{row['file']}{page}\n" + "\n".join(f"  {cosine:+.3f}  {name}" for name, cosine in nearest)


def _told(concepts: Row | None) -> str:
    if concepts is None:
        return ""
    return "\n  concepts    " + ", ".join(f"{name} {cosine:.2f}" for name, cosine in concepts["nearest"])
