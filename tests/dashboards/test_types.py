"""The generated files against the types of grafana-foundation-sdk: every key is known, every value of its type."""

from __future__ import annotations

import enum
import json
import types
import typing
from collections.abc import Iterator
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import alerting, dashboard
from ruamel.yaml import YAML

from dashboards.configured import Settings, configured
from dashboards.generate import GENERATED, dashboards_in, provisioned_rules
from dashboards.names import FOLDER_UID

register_default_plugins()
SDK = "grafana_foundation_sdk"
FULL = Settings(app_url="https://watch.example", review_expires_s=86400.0)
DOCUMENTS = {uid: configured(document, FULL) for uid, document in dashboards_in().items()}


def lost(ours: Any, back: Any, place: str = "") -> Iterator[str]:
    """What of ``ours`` the types did not keep, or kept otherwise."""
    if isinstance(ours, dict) and isinstance(back, dict):
        for key, value in ours.items():
            if key in back:
                yield from lost(value, back[key], f"{place}.{key}")
            else:
                yield f"{place}.{key}"
    elif isinstance(ours, list) and isinstance(back, list) and len(ours) == len(back):
        for number, (a, b) in enumerate(zip(ours, back, strict=True)):
            yield from lost(a, b, f"{place}[{number}]")
    elif ours != back:
        yield f"{place}: {ours!r} became {back!r}"


def strangers(value: Any, hint: Any, place: str) -> Iterator[str]:
    """Places whose value is not of the type that the SDK declares there."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        found = [list(strangers(value, each, place)) for each in arguments]
        if all(found):
            yield max((each[0] for each in found), key=lambda text: len(text.partition(":")[0]))
    elif origin is list and isinstance(value, list):
        for number, each in enumerate(value):
            yield from strangers(each, arguments[0], f"{place}[{number}]")
    elif origin is dict and isinstance(value, dict):
        for key, each in value.items():
            yield from strangers(each, arguments[1], f"{place}.{key}")
    elif origin is typing.Literal:
        if value not in arguments:
            yield f"{place}: {value!r} is none of {arguments}"
    elif isinstance(hint, type) and issubclass(hint, enum.Enum):
        if value not in [each.value for each in hint]:
            yield f"{place}: {value!r} is none of {[each.value for each in hint]}"
    elif isinstance(hint, type) and hint.__module__.startswith(SDK) and isinstance(value, dict):
        read = hint.from_json(value)  # type: ignore[attr-defined]  # the SDK leaves some as they came
        yield from lost(value, back(read), place)
        yield from inside(read, place)
    elif hint in (Any, object) or (hint is type(None) and value is None):
        yield from inside(value, place)
    elif not isinstance(value, hint if isinstance(hint, type) else origin):
        if hint is not float or not isinstance(value, int):
            yield f"{place}: {value!r} is no {hint}"
    else:
        yield from inside(value, place)


def inside(value: Any, place: str) -> Iterator[str]:
    """Of an object of the SDK, every attribute."""
    if type(value).__module__.startswith(SDK):
        for name, hint in typing.get_type_hints(type(value)).items():
            yield from strangers(getattr(value, name), hint, f"{place}.{name}")


def back(value: Any) -> Any:
    return json.loads(json.dumps(value, cls=JSONEncoder))


@pytest.mark.parametrize("uid", sorted(DOCUMENTS))
def test_a_dashboard_is_of_the_types(uid: str) -> None:
    document = DOCUMENTS[uid]
    typed = dashboard.Dashboard.from_json(document)
    # How annotations of Prometheus are shown is all that the SDK (10.1) has no field for.
    missing = [place for place in lost(document, back(typed)) if not place.startswith(".annotations.list[2].")]
    assert missing == []
    assert list(inside(typed, uid)) == []
    panels = [panel for panel in typed.panels or [] if isinstance(panel, dashboard.Panel)]
    assert all(type(panel.options).__module__.startswith(SDK) for panel in panels), "each type of panel is known"


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("gridPos", "h"), "8", "grid_pos.h"),
        (("options", "legend", "placement"), "middle", "placement"),
        (("fieldConfig", "defaults", "thresholds"), {"mode": "often", "steps": []}, "mode"),
    ],
    ids=["number", "choice", "nested choice"],
)
def test_a_value_of_another_type_is_seen(place: tuple[str, ...], value: Any, said: str) -> None:
    document = json.loads(json.dumps(DOCUMENTS["driftline-internals"]))
    inner = document["panels"][1]
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    assert said in " ".join(inside(dashboard.Dashboard.from_json(document), ""))


def test_a_key_that_there_is_not_is_seen() -> None:
    document = json.loads(json.dumps(DOCUMENTS["driftline-internals"]))
    document["panels"][1]["fieldConfig"]["defaults"]["colour"] = "red"
    assert list(lost(document, back(dashboard.Dashboard.from_json(document)))) == [
        ".panels[1].fieldConfig.defaults.colour"
    ]


def test_rules_and_contact_points_are_of_the_types() -> None:
    for group in provisioned_rules()["groups"]:
        for rule in group["rules"]:
            # A file says folder, group and organisation once, above the rules.
            whole = {**rule, "folderUID": FOLDER_UID, "orgID": 1, "ruleGroup": group["name"]}
            typed = alerting.Rule.from_json(whole)
            assert list(lost(whole, back(typed))) == []
            assert list(inside(typed, rule["uid"])) == []
    points = YAML(typ="safe").load((GENERATED / "examples" / "contact-points.yaml").read_text())["contactPoints"]
    for point in points:
        for receiver in point["receivers"]:
            typed = alerting.ContactPoint.from_json({**receiver, "name": point["name"]})
            assert list(lost(receiver, back(typed))) == []
            assert list(inside(typed, receiver["uid"])) == []
