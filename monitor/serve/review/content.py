"""An item of the queue as it is shown: what is stored of its sample, cut, made harmless, and blind until labelled.

Whatever comes from events is hostile. Texts go out as texts; pixels only as JPEGs that driftline itself encoded, asked
for by the item's id and the part's number.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote as quoted
from urllib.parse import unquote, urlsplit

from sqlalchemy import Connection, select

from monitor.config.model import Config
from monitor.events.grounding import contained
from monitor.serve.endpoint import Picture
from monitor.serve.review import citing, models
from monitor.serve.review.questions import asked
from monitor.serve.review.showing import cut, fields_of, laid_out, shown
from monitor.store import review
from monitor.store.review import Item, Pixels
from monitor.store.tables import labels, sample_content, sample_parts, samples
from monitor.times import iso

MOST_PARTS = 30  # of the input, of the output, and citations
_AROUND = 600  # characters of a source on each side of a quote
_JPEG = b"\xff\xd8\xff"
_GONE = (
    "The content of this event is gone: retention.content has passed, it was forgotten, or sampling.content is off. "
    "Skip the item if the facts alone do not tell."
)


def review_items(
    connection: Connection, found: Sequence[Item], reviewer: str, config: Config
) -> list[models.ReviewItem]:
    """The items as ``reviewer`` may see them, in their order."""
    ids = [item.sample_id for item in found if item.sample_id]
    rows = {row.sample_id: row for row in connection.execute(select(samples).where(samples.c.sample_id.in_(ids)))}
    kept = connection.execute(select(sample_content).where(sample_content.c.sample_id.in_(ids)))
    contents = {row.sample_id: row for row in kept}
    seen: dict[str, set[int]] = {}
    looked_at = select(sample_parts.c.sample_id, sample_parts.c.part).where(
        sample_parts.c.sample_id.in_(ids), sample_parts.c.modality == "image", sample_parts.c.vector.is_not(None)
    )
    for sample_id, part in connection.execute(looked_at):
        seen.setdefault(sample_id, set()).add(part)
    told = _labelled_by(connection, [item.item_id for item in found], reviewer) if config.review.blind else None
    pixels = review.pixels_of(connection, [item.item_id for item in found])
    return [
        _item(
            item,
            rows.get(item.sample_id),
            contents.get(item.sample_id),
            seen.get(item.sample_id, set()),
            pixels.get(item.item_id, []),
            told is None or item.item_id in told,
            config,
        )
        for item in found
    ]


def revealed(connection: Connection, item: Item, reviewer: str, config: Config) -> models.Revealed | None:
    """What blind reviewers are told of an item after their label; None before."""
    if config.review.blind and item.item_id not in _labelled_by(connection, [item.item_id], reviewer):
        return None
    query = select(samples.c.facts).where(samples.c.sample_id == item.sample_id)
    return _revealed(item, _object(connection.execute(query).scalar()))


def picture(connection: Connection, item: Item, part: int, page: int) -> Picture | None:
    """The stored pixels of a page of an input part, or None: at full size, else the sample's thumbnail. They are never
    anything but a JPEG."""
    full = review.image(connection, item.item_id, part, page - 1)
    if full is not None and full.data is not None and full.data.startswith(_JPEG):
        return Picture(full.data)
    query = select(sample_content).where(sample_content.c.sample_id == item.sample_id)
    row = connection.execute(query).first() if item.sample_id else None
    if row is None or row.thumbnail is None or page != 1:
        return None
    parts = select(sample_parts.c.part).where(
        sample_parts.c.sample_id == item.sample_id,
        sample_parts.c.modality == "image",
        sample_parts.c.vector.is_not(None),
    )
    document = _object(row.inputs)
    if part != review.thumbnail_part(document, set(connection.execute(parts).scalars())):
        return None
    pixels = bytes(row.thumbnail)
    return Picture(pixels) if pixels.startswith(_JPEG) else None


def _labelled_by(connection: Connection, ids: list[str], reviewer: str) -> set[str]:
    query = select(labels.c.item_id).where(
        labels.c.item_id.in_(ids), labels.c.reviewer == reviewer, labels.c.kind == "label", ~labels.c.undone
    )
    return set(connection.execute(query).scalars()) if reviewer else set()


def _item(
    item: Item, sample: Any, content: Any, seen: set[int], pixels: Sequence[Pixels], tell: bool, config: Config
) -> models.ReviewItem:
    facts = _object(None if sample is None else sample.facts)
    document = _object(None if content is None else content.inputs)
    inputs, output, citations = (
        _objects(document.get("parts")),
        _objects(_parsed(None if content is None else content.output)),
        _objects(_parsed(None if content is None else content.citations)),
    )
    pictured = review.thumbnail_part(document, seen) if content is not None and _is_jpeg(content.thumbnail) else None
    outputs, values = _outputs(output)
    prompt, verdicts = _mapping(facts.get("prompt")), _mapping(facts.get("verdicts"))
    violated = verdicts.get("schema_violation")
    latency, cost = _number(facts.get("latency_total")), _number(facts.get("cost"))
    return models.ReviewItem(
        id=item.item_id,
        event_id=shown(item.event_id),
        segment=shown(item.segment),
        route=shown(item.route),
        time=iso(item.time_us),
        language=shown(item.language),
        model=_text(facts.get("model")),
        prompt=" ".join(filter(None, (_text(prompt.get("name")), _text(prompt.get("version"))))),
        latency_ms=None if latency is None else latency / 1e3,
        cost=None if cost is None else cost / 1e9,
        currency=config.prices.currency,
        outcome=_text(facts.get("outcome")),
        error_type=_text(facts.get("error_type")),
        state=item.state,
        lease_until=None if item.lease_until_us is None else iso(item.lease_until_us),
        missing="" if content is not None else _GONE,
        inputs=[
            _input(part, item, part["part"] == pictured, [p for p in pixels if p.part == part["part"]])
            for part in inputs[:MOST_PARTS]
        ],
        output=outputs,
        schema_valid=None if violated not in (0, 1) else violated == 0,
        citations=[_citation(citation, inputs) for citation in citations[:MOST_PARTS]],
        left_out=sum(max(0, len(parts) - MOST_PARTS) for parts in (inputs, output, citations)),
        fields=list(dict.fromkeys(name for value in values for name in fields_of(value))),
        questions=asked(config, item.segment),
        revealed=_revealed(item, facts) if tell else None,
    )


def _input(part: dict[str, Any], item: Item, pictured: bool, pixels: Sequence[Pixels]) -> models.ShownInput:
    kind = _text(part.get("kind"))
    text = part.get("text")
    looks = kind in ("image", "document")
    pages = part.get("pages")
    address = f"/api/review/items/{quoted(item.item_id, safe='')}/images/{part['part']}"
    full = {found.page + 1: f"{address}?page={found.page + 1}" for found in pixels if found.data is not None}
    pictures = full or ({1: address} if pictured else {})
    told = next((found.reason for found in pixels if found.reason), "")
    count = min(max(1, pages), 10_000) if isinstance(pages, int) else 1
    return models.ShownInput(
        part=part["part"],
        kind=kind,
        caption=_caption(part),
        text=models.ShownText(*cut(text)) if isinstance(text, str) else None,
        pages=0 if not looks else max(count, *pictures) if pictures else count,
        pictures=pictures,
        why="" if pictures or isinstance(text, str) else _why_no_pixels(looks, told),
    )


def _why_no_pixels(looks: bool, reason: str) -> str:
    if not looks:
        return "driftline stores no content of this kind."
    if reason:
        return f"No pixels of this part are stored: {reason.replace('_', ' ')} (reasons: docs/encoders.md)."
    return "No pixels of this part are stored (yet): it was not looked at, or could not be fetched."


def _caption(part: dict[str, Any]) -> str:
    """``a1.jpg · image/jpeg · 1240 × 1754 · 3 pages`` as far as the event says so."""
    words = [_name(part.get("uri")), _text(part.get("media_type"))[:120]]
    if size := _size(part):
        words.append(f"{size[0]} × {size[1]}")
    pages, duration = part.get("pages"), _number(part.get("duration_ms"))
    if isinstance(pages, int) and pages > 1:
        words.append(f"{pages} pages")
    if duration is not None:
        words.append(f"{duration / 1e3:.1f} s")
    return " · ".join(word for word in words if word)


def _name(uri: Any) -> str:
    """The file's name in an address; nothing of the address else, which may hold signatures."""
    if not isinstance(uri, str) or uri[:5].lower() == "data:":
        return ""
    try:
        path = urlsplit(uri[:4000]).path
    except ValueError:
        return ""
    return shown(unquote(path.rpartition("/")[2])[:120])


def _outputs(parts: list[dict[str, Any]]) -> tuple[list[models.ShownOutput], list[Any]]:
    found, values = [], []
    for part in parts[:MOST_PARTS]:
        text = part.get("text") if isinstance(part.get("text"), str) else json.dumps(part, ensure_ascii=False)
        laid = laid_out(str(text))
        if laid is not None:
            values.append(laid[1])
        body = models.ShownText(*cut(laid[0] if laid else str(text)))
        found.append(models.ShownOutput(_text(part.get("kind")), body, laid is not None))
    return found, values


def _citation(citation: dict[str, Any], inputs: list[dict[str, Any]]) -> models.ShownCitation:
    quote = citation.get("quote") if isinstance(citation.get("quote"), str) else ""
    source = citation.get("source_text")
    pictures = [part for part in inputs if part.get("kind") in ("image", "document")]
    at = citing.place(citing.page_of(citation), [part["part"] for part in pictures])
    size = next((_size(part) for part in pictures if at is not None and part["part"] == at[0]), None)
    area = citing.region(citation.get("region"), size)
    found, before, match, after = None, "", "", ""
    if isinstance(source, str):
        span = citing.locate(str(quote), source)
        found = span is not None or contained(str(quote), source)
        start, end = span or (0, 0)
        end = min(end, start + 2000)
        before = ("… " if start > _AROUND else "") + shown(source[max(0, start - _AROUND) : start])
        match = shown(source[start:end])
        after = shown(source[end : end + _AROUND]) + (" …" if len(source) > end + _AROUND else "")
    said = citation.get("found")
    return models.ShownCitation(
        quote=models.ShownText(*cut(str(quote), 4000)),
        source=_text(citation.get("source")),
        part=None if at is None else at[0],
        page=1 if at is None else at[1],
        region=None if area is None else [round(v, 6) for v in area],
        found=found,
        said=said if isinstance(said, bool) else None,
        before=before,
        match=match,
        after=after,
    )


def _revealed(item: Item, facts: dict[str, Any]) -> models.Revealed:
    verdicts = _mapping(facts.get("verdicts"))
    confidence = _number(facts.get("confidence"))
    disagreement, failed = (verdicts.get(name) for name in ("disagreement", "verification_failed"))
    return models.Revealed(
        confidence=None if confidence is None else confidence / 1e6,
        disagreement=bool(disagreement) if disagreement in (0, 1) else None,
        verification_failed=bool(failed) if failed in (0, 1) else None,
        predicted_error=item.score,
        reasons=[shown(reason) for reason in item.reasons],
        probability=item.pi_sample * item.pi_review,
    )


def _is_jpeg(thumbnail: Any) -> bool:
    return thumbnail is not None and bytes(thumbnail[:3]) == _JPEG


def _size(part: dict[str, Any]) -> tuple[int, int] | None:
    width, height = part.get("width"), part.get("height")
    return (width, height) if isinstance(width, int) and isinstance(height, int) else None


def _text(value: Any) -> str:
    return shown(value[:512]) if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _parsed(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None


def _object(text: Any) -> dict[str, Any]:
    return _mapping(_parsed(text))


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> list[dict[str, Any]]:
    """The objects of a list, each with its index as ``part`` unless it has one."""
    if not isinstance(value, list):
        return []
    found = [(index, part) for index, part in enumerate(value) if isinstance(part, dict)]
    return [{**part, "part": part["part"] if isinstance(part.get("part"), int) else index} for index, part in found]
