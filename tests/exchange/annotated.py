"""Exports of Label Studio as its documentation has them (tests/exchange/label-studio.schema.json names the pages)."""

from __future__ import annotations

import copy
import json
from typing import Any

DOCUMENTED: dict[str, Any] = {
    # The documented sample's shape: a string for the annotation's id, an id for who completed it, a control of others'.
    "id": 1,
    "created_at": "2021-03-09T21:52:49.513742Z",
    "updated_at": "2021-03-09T22:16:08.746926Z",
    "project": 83,
    "data": {"image": "https://driftline.example/1.jpg"},
    "annotations": [
        {
            "id": "1001",
            "result": [
                {
                    "from_name": "tag",
                    "id": "Dx_aB91ISN",
                    "source": "$image",
                    "to_name": "img",
                    "type": "rectanglelabels",
                    "value": {"height": 10.4, "rectanglelabels": ["Stamp"], "rotation": 0, "width": 12, "x": 5, "y": 5},
                }
            ],
            "was_cancelled": False,
            "ground_truth": False,
            "created_at": "2021-03-09T22:16:08.728353Z",
            "updated_at": "2021-03-09T22:16:08.728378Z",
            "lead_time": 4.288,
            "result_count": 0,
            "task": 1,
            "completed_by": 10,
        }
    ],
    "predictions": [],
}  # fmt: skip


def choices(name: str, *values: str) -> dict[str, Any]:
    value = {"choices": list(values)}
    return {"id": "Dx_aB91ISN", "from_name": name, "to_name": "output", "type": "choices", "value": value}


def textarea(name: str, *values: str) -> dict[str, Any]:
    return {
        "id": "Dx_aB91IS-",
        "from_name": name,
        "to_name": "output",
        "type": "textarea",
        "value": {"text": list(values)},
    }


def annotation(*results: dict[str, Any], who: Any = 10, at: int = 0, **facts: Any) -> dict[str, Any]:
    """An annotation by ``who`` in second ``at`` of a minute."""
    known = copy.deepcopy(DOCUMENTED["annotations"][0])
    known |= {"result": list(results), "completed_by": who, "updated_at": f"2026-11-02T10:00:{at:02}.000001Z"}
    return {**known, **facts}


def task(data: dict[str, Any], *annotations: dict[str, Any]) -> dict[str, Any]:
    return {**copy.deepcopy(DOCUMENTED), "data": data, "annotations": list(annotations)}


def exported(*tasks: Any) -> list[bytes]:
    return [json.dumps(list(tasks)).encode()]


def minimal(task: dict[str, Any]) -> list[dict[str, Any]]:
    """A task in JSON-MIN: the data beside the controls' names, single values without their lists, who and when."""
    records = []
    for one in task["annotations"]:
        if one["was_cancelled"]:
            continue  # JSON-MIN leaves them out
        record = {**task["data"], "id": task["id"]}
        for result in one["result"]:
            value = result["value"].get("choices", result["value"].get("text", []))
            record[result["from_name"]] = value[0] if len(value) == 1 else {next(iter(result["value"])): value}
        who = one["completed_by"]
        record["annotator"] = who.get("email", who["id"]) if isinstance(who, dict) else who
        record |= {"annotation_id": one["id"], "lead_time": one["lead_time"]}
        records.append(record | {name: one[name] for name in ("created_at", "updated_at")})
    return records
