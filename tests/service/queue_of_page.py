"""A store with a review queue whose items have samples, content and thumbnails; one item has all that is hostile."""

from __future__ import annotations

import io
import json
from typing import Any

from PIL import Image, ImageDraw
from sqlalchemy import insert

from monitor.config.model import Config
from monitor.store import review
from monitor.store.engine import Store
from monitor.store.tables import sample_content, sample_parts, samples

NOW_US = 1_762_090_000_000_000  # wall clock, 2025-11-02T13:26:40Z
DAY_US = 1_762_041_600_000_000  # start of that day
EXPIRES_US = NOW_US + 14 * 86_400_000_000

# What must stay a text: markup, handlers, a picture that is a program, an address elsewhere, marks that turn the
# direction of writing, tags that hide ASCII, a template's expression, and an end of the JSON block it might be in.
HOSTILE = (
    "<script>window.pwned=1</script><img src=x onerror='window.pwned=1'><svg onload=window.pwned=1>"
    "<a href='javascript:window.pwned=1'>x</a><link rel=stylesheet href='http://elsewhere.example/x.css'>"
    "{{ 7*7 }}</script>\"'&\u202egnp.exe\u202c\u2066\U000e0041\x1b[31m"
)
SVG = (
    "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' onload='window.pwned=1'><script>pwned=1</script></svg>"
)


def receipt(seed: int) -> bytes:
    """A JPEG as the thumbnails of samples are: at most 256 px, here a receipt with a total."""
    image = Image.new("RGB", (182, 256), (250 - seed % 3, 249, 244))
    draw = ImageDraw.Draw(image)
    draw.text((50, 14), "CORNER SHOP", fill=(20, 20, 30))
    for row in range(8):
        draw.text((16, 46 + 18 * row), f"item {row + 1}", fill=(60, 60, 70))
        draw.text((126, 46 + 18 * row), f"{(seed * 7 + row * 3) % 40 + 1}.50", fill=(60, 60, 70))
    draw.line((14, 194, 168, 194), fill=(20, 20, 30))
    draw.text((16, 206), f"Total {41 + seed}.90", fill=(10, 10, 10))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=88)
    return out.getvalue()


def confidence(seed: int) -> float:
    """The confidence of an item's event: no other number of the store looks like it."""
    return round(0.7310 + seed * 0.001 + 0.000077, 6)


def fill_queue(
    store: Store, count: int, *, hostile: bool = False, wanted: int = 1, languages: tuple[str, ...] = ("en",)
) -> list[str]:
    """``count`` items in the order of the work, the last of them hostile if so asked. Returns their ids."""
    with store.write() as connection:
        for seed in range(count):
            bad = hostile and seed == count - 1
            connection.execute(insert(samples).values(_sample(seed, bad)))
            connection.execute(insert(sample_content).values(_content(seed, bad)))
            for part in (0, 1):
                connection.execute(insert(sample_parts).values(_part(seed, part)))
        items = [_item(seed, hostile and seed == count - 1, wanted, languages) for seed in range(count)]
        review.add(connection, items, [], now_us=NOW_US, expires_us=EXPIRES_US)
    return [review.item_id(_name(seed)) for seed in range(count)]


def configured(**changes: Any) -> Config:
    """The default configuration with other keys of ``review``."""
    return Config.model_validate({"review": changes})


QUESTIONS: list[dict[str, Any]] = [
    {"name": "fields", "text": "Which fields are wrong?", "kind": "fields", "when": "wrong"},
    {
        "name": "severity",
        "text": "How bad is it?",
        "kind": "choice",
        "choices": ["harmless", "costs somebody time", "costs somebody money"],
        "when": "wrong",
    },
    {"name": "seen", "text": "What does the receipt say?", "kind": "text", "when": "wrong"},
]


def _name(seed: int) -> str:
    return f"s{seed:04d}"


def _sample(seed: int, bad: bool) -> dict[str, Any]:
    facts = {
        "v": 1,
        "outcome": "ok",
        "model": HOSTILE if bad else "vlm-large-2026-10-01",
        "prompt": {"name": "extract", "version": "14"},
        "cost": 12_100_000,
        "latency_total": 4_210_000,
        "confidence": round(confidence(seed) * 1e6),
        "verdicts": {"schema_violation": seed % 4 == 1, "disagreement": seed % 2, "verification_failed": 0},
    }
    facts["verdicts"] = {name: int(value) for name, value in facts["verdicts"].items()}  # type: ignore[attr-defined]
    return {
        "sample_id": _name(seed),
        "event_id": HOSTILE if bad else f"01JCZ3K8W2-{seed:04d}",
        "topic": "inference",
        "partition": 0,
        "offset": seed,
        "time_us": NOW_US - 3_600_000_000,
        "window_us": NOW_US - 3_600_000_000,
        "route": "invoice-extract",
        "segment": "invoice-extract/receipt",
        "version": "m@1",
        "session_key": "",
        "user_key": "",
        "pi": 0.5,
        "state": "embedded",
        "reason": "",
        "facts": json.dumps(facts),
        "encoder": "features-1",
        "phash": None,
    }


def _content(seed: int, bad: bool) -> dict[str, Any]:
    total = f"{41 + seed}.90"
    first = {"part": 0, "kind": "image", "uri": f"file:///var/uploads/receipt-{seed}.jpg", "media_type": "image/jpeg"}
    parts = [
        {**first, "width": 1240, "height": 1754},
        {"part": 1, "kind": "image", "uri": "file:///var/uploads/back.jpg", "media_type": "image/jpeg"},
        {"part": 2, "kind": "text", "text": "Extract the total and the date of this receipt as JSON."},
    ]
    citation = {
        "quote": f"Total {total}",
        "source": "page 1",
        "region": [0.07, 0.79, 0.93, 0.87],
        "found": True,
        "source_text": f"CORNER SHOP item 1 … item 8\n\nTOTAL   {total}\nThank you",
    }
    invented = {"quote": "Paid in cash", "source": "page 2", "found": True, "source_text": "Card ending 1234"}
    output = f'{{"total": {total}, "date": "2026-10-30", "shop": {{"name": "Corner Shop", "vat": null}}}}'
    if bad:
        parts = [
            {**first, "uri": f"file:///a/{HOSTILE}.svg", "media_type": HOSTILE},
            {"part": 1, "kind": "image", "uri": SVG, "media_type": "image/svg+xml", "inline": SVG},
            {"part": 2, "kind": "text", "text": HOSTILE + "x" * 30_000},
        ]
        citation |= {"quote": HOSTILE, "source": HOSTILE, "source_text": f"a {HOSTILE} b"}
        invented |= {"region": [1e308, "x", None, 3], "page": -1}
        output = json.dumps({HOSTILE: HOSTILE, "deep": [[[HOSTILE]]]})
    return {
        "sample_id": _name(seed),
        "time_us": NOW_US - 3_600_000_000,
        "inputs": json.dumps({"v": 1, "parts": parts, "chosen": [0, 1]}),
        "output": json.dumps([{"kind": "text", "text": output}]),
        "citations": json.dumps([citation, invented]),
        "thumbnail": receipt(seed),
    }


def _part(seed: int, part: int) -> dict[str, Any]:
    vector = b"\0\0" if part == 0 else None
    found = {"modality": "image", "vector": vector, "conditions": '{"v":1}', "agreement": None}
    return {"sample_id": _name(seed), "part": part, **found}


def _item(seed: int, bad: bool, wanted: int, languages: tuple[str, ...]) -> review.NewItem:
    return review.NewItem(
        sample_id=_name(seed),
        event_id=HOSTILE if bad else f"01JCZ3K8W2-{seed:04d}",
        segment="invoice-extract/receipt",
        route="invoice-extract",
        day_us=DAY_US,
        time_us=NOW_US - 3_600_000_000,
        pi_sample=0.5,
        pi_review=0.25,
        race=(seed + 1) / 1_000_000,
        score=0.318841,
        reasons=("low_confidence_reason",),
        language=languages[seed % len(languages)],
        wanted=wanted,
    )
