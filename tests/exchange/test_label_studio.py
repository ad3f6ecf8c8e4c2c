"""Label Studio: tasks in its documented shape, a configuration that fits them, and annotations back as labels."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from monitor.exchange.given import Given, Unusable
from monitor.exchange.label_studio import labelling_configuration, read, task, write
from monitor.store.review import Label
from monitor.store.review.items import VERDICTS
from tests.exchange import annotated
from tests.exchange.annotated import annotation, choices, exported, minimal, textarea
from tests.exchange.drawn import START, queued_item
from tests.exchange.test_given import TEXTS

SCHEMA = json.loads((Path(__file__).parent / "label-studio.schema.json").read_text())
AT = 1_793_613_600_000_001  # 2026-11-02T10:00:00.000001Z
DATA = {"item_id": "a1" * 16, "event_id": "e1"}


@dataclass(frozen=True)
class Question:
    name: str
    text: str
    kind: str
    choices: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()
    when: str | None = None


QUESTIONS = (
    Question("severity", 'How <bad> & "wrong"?\x0b', "choice", ("low", "it's > high")),
    Question("which", "Which fields?", "fields", when="wrong"),
    Question("why", "Why?", "text", segments=("receipts",)),
)


def valid(tasks: Any) -> Any:
    jsonschema.validate(tasks, SCHEMA, format_checker=jsonschema.FormatChecker())
    return tasks


def test_the_schema_takes_what_label_studio_documents_and_nothing_broken() -> None:
    valid([annotated.DOCUMENTED])
    for broken in (
        {"annotations": []},
        {"data": {}, "annotations": [{"result": "x"}]},
        {"data": {}, "predictions": [{"score": 2.0, "result": []}]},
        {"data": {}, "annotations": [{"result": [choices("verdict")]}]},
    ):
        with pytest.raises(jsonschema.ValidationError):
            valid([broken])


def test_tasks_are_blind_and_carry_the_probabilities() -> None:
    made = json.loads(b"".join(write([queued_item()], address="https://drift.example/", predictions=False)))
    assert valid(made) == [
        {
            "data": {
                "image": f"https://drift.example/api/review/items/{'a1' * 16}/images/0",
                "prompt": "What is the total?",
                "output": "41.90",
                "segment": "receipts",
                "event_id": "e1",
                "item_id": "a1" * 16,
                "time": "2024-10-04T00:00:00.000005Z",
                "pi_sample": 0.5,
                "pi_review": 0.1,
                "race": 0.25,
            }
        }
    ]
    assert START == 20_000 * 86_400_000_000


@pytest.mark.parametrize(("score", "verdict", "certain"), [(0.75, "wrong", 0.75), (0.25, "correct", 0.75)])
def test_predictions_only_where_asked_for(score: float, verdict: str, certain: float) -> None:
    made = valid([task(queued_item(score=score), address="https://d", predictions=True)])[0]
    assert (made["data"]["score"], made["data"]["confidence"]) == (score, 0.93)
    (prediction,) = made["predictions"]
    assert (prediction["score"], prediction["result"][0]["value"]) == (certain, {"choices": [verdict]})


def test_many_tasks_are_one_array_and_none_is_an_empty_one() -> None:
    items = [queued_item(event_id=f"e{n}", picture=None) for n in range(3)]
    made = json.loads(b"".join(write(items, address="", predictions=False)))
    assert [one["data"]["event_id"] for one in made] == ["e0", "e1", "e2"]
    assert made[0]["data"]["image"] == "", "the configuration names it, so that it must be there"
    assert json.loads(b"".join(write([], address="", predictions=False))) == []


def test_the_configuration_fits_tasks_predictions_and_answers() -> None:
    view = ElementTree.fromstring(labelling_configuration(QUESTIONS))
    tags = list(view.iter())
    data = task(queued_item(), address="", predictions=False)["data"]
    shown = {tag.get("value", "")[1:]: tag.get("name") for tag in tags if tag.tag in ("Image", "Text")}
    assert set(shown) == {"image", "prompt", "output"} <= set(data)
    controls = {tag.get("name"): tag for tag in tags if tag.tag in ("Choices", "TextArea")}
    assert list(controls) == ["verdict", "choice_severity", "fields_which", "text_why", "note"]
    assert {tag.get("toName") for tag in controls.values()} == {"output"} <= set(shown.values())
    assert [choice.get("value") for choice in controls["verdict"]] == list(VERDICTS)
    assert [choice.get("value") for choice in controls["choice_severity"]] == ["low", "it's > high"]
    assert 'How <bad> & "wrong"?\ufffd' in [tag.get("value") for tag in tags]
    (only_wrong,) = (tag for tag in tags if tag.get("visibleWhen"))
    assert (only_wrong.get("whenTagName"), only_wrong.get("whenChoiceValue")) == ("verdict", "wrong")
    assert [tag.get("name") for tag in only_wrong.iter("TextArea")] == ["fields_which"]
    prediction = task(queued_item(), address="", predictions=True)["predictions"][0]["result"][0]
    assert controls[prediction["from_name"]].get("toName") == prediction["to_name"]


def test_only_the_questions_of_a_segment_are_asked() -> None:
    assert "text_why" not in labelling_configuration(QUESTIONS, "maps")
    assert "text_why" in labelling_configuration(QUESTIONS, "receipts")


@drawn(TEXTS, TEXTS, st.sampled_from(["choice", "text", "fields"]))
def test_hostile_questions_leave_the_configuration_xml(text: str, choice: str, kind: str) -> None:
    made = labelling_configuration([Question("q", text, kind, (choice,) if kind == "choice" else ())])
    assert len(list(ElementTree.fromstring(made).iter("Header"))) == 5


RESULTS = (
    choices("verdict", "Wrong"),
    choices("choice_severity", "high"),
    textarea("fields_which", "total", "date"),
    textarea("text_why", "the total is the tax"),
    textarea("note", "see page 2"),
    choices("somebody_elses", "x"),
)
LABEL = Label("wrong", {"severity": "high", "which": ["total", "date"], "why": "the total is the tax"}, "see page 2")


def test_annotations_become_labels_of_several_reviewers() -> None:
    made = annotated.task(
        DATA,
        annotation(*RESULTS),
        annotation(choices("verdict", "unsure"), who={"id": 4, "email": "bob@lab.example", "first_name": ""}, at=3),
        annotation(choices("verdict", "correct"), who={"id": 5, "email": ""}, at=2, ground_truth=True),
    )
    valid([made])
    assert list(read(exported(made))) == [
        Given(DATA["item_id"], "e1", "label-studio:10", LABEL, time_us=AT, gold=False),
        Given(DATA["item_id"], "e1", "label-studio:5", Label("correct"), time_us=AT + 2_000_000, gold=True),
        Given(DATA["item_id"], "e1", "bob@lab.example", Label("unsure"), time_us=AT + 3_000_000, gold=False),
    ]


def test_json_min_says_the_same() -> None:
    made = annotated.task(
        DATA, annotation(*RESULTS), annotation(choices("verdict", "correct"), who={"id": 4, "email": "b@x"}, at=1)
    )
    in_full = [one for one in read(exported(made)) if isinstance(one, Given)]
    assert list(read(exported(*minimal(made)))) == [replace(one, gold=None) for one in in_full]


def test_a_single_field_is_still_a_list() -> None:
    made = annotated.task(DATA, annotation(choices("verdict", "wrong"), textarea("fields_which", "total")))
    for found in (*read(exported(made)), *read(exported(*minimal(made)))):
        assert isinstance(found, Given)
        assert found.label == Label("wrong", {"which": ["total"]})


def test_what_was_cancelled_is_a_skip() -> None:
    made = annotated.task(DATA, annotation(textarea("note", "not my language"), was_cancelled=True))
    found = list(read(exported(made)))
    assert found == [Given(DATA["item_id"], "e1", "label-studio:10", None, "not my language", AT)]


def test_a_reviewers_later_annotation_comes_last() -> None:
    made = annotated.task(
        DATA, annotation(choices("verdict", "wrong"), at=9), annotation(choices("verdict", "correct"), at=1)
    )
    verdicts = [one.label.verdict for one in read(exported(made)) if isinstance(one, Given) and one.label]
    assert verdicts == ["correct", "wrong"]


def test_a_task_of_cloud_storage_is_one_object() -> None:
    made = annotated.task(DATA, annotation(choices("verdict", "wrong")))
    assert len(list(read([json.dumps(made).encode()]))) == 1


def test_tasks_that_nobody_annotated_are_passed_over() -> None:
    assert (
        list(read(exported(annotated.task(DATA), {"data": DATA}, {"id": 3, "data": DATA, "annotations": None}))) == []
    )


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (annotated.DOCUMENTED, "neither an item nor an event"),
        (annotated.task({"event_id": "e1"}, annotated.DOCUMENTED["annotations"][0]), "no verdict"),
        (annotated.task(DATA, annotation(choices("verdict", "wrong", "correct"))), "one verdict"),
        (annotated.task(DATA, annotation(choices("verdict", "perhaps"))), "perhaps"),
        (annotated.task(DATA, annotation(choices("verdict", "wrong"), who=None)), "name the reviewer"),
        (annotated.task(DATA, annotation(choices("verdict", "wrong"), updated_at="soon")), "time"),
        (annotated.task({"event_id": 7}, annotation(choices("verdict", "wrong"))), "neither"),
        ({"data": DATA, "annotations": [17]}, "in full"),
        ({"data": [], "annotations": []}, "data must be an object"),
        ({"data": DATA, "annotations": {}}, None),
        ({"data": DATA, "annotations": "x"}, "annotations a list"),
        ({"data": DATA, "annotations": [{"result": 5}]}, "name the reviewer"),
        ([], "an object was expected"),
        (None, "an object was expected"),
        ({}, "neither"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_said_and_the_rest_is_read(found: Any, says: str | None) -> None:
    good = annotated.task(DATA, annotation(choices("verdict", "wrong")))
    got = list(read(exported(found, good)))
    assert isinstance(got[-1], Given)
    problems = [str(one) for one in got[:-1]]
    assert all(isinstance(one, Unusable) for one in got[:-1])
    assert (says is None and not problems) or (says is not None and says in problems[0])
    assert all(problem.startswith("task 1") for problem in problems)


def test_broken_elements_are_said() -> None:
    good = json.dumps(annotated.task(DATA, annotation(choices("verdict", "wrong")))).encode()
    latin = b'{"data": {"event_id": "\xe9"}}'
    deep = b'{"data": ' + b'{"a":' * 5000 + b"1" + b"}" * 5001
    got = list(read([b"[" + b", ".join([b"nonsense", good, latin, b"[1}", deep]) + b"]"]))
    assert [one.reason if isinstance(one, Unusable) else "" for one in got] == [
        "malformed_json", "", "invalid_utf8", "malformed_json", "malformed_json",
    ]  # fmt: skip


@drawn(st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["data", "annotations", "result", "value", "choices", "text", "from_name", "completed_by", "email", "id",
             "event_id", "verdict", "annotator", "updated_at", "was_cancelled"]
        ),
        inner,
        max_size=5,
    ),
    max_leaves=25,
))  # fmt: skip
def test_whatever_comes_is_a_label_or_refused(value: Any) -> None:
    for one in read(exported(value)):
        assert isinstance(one, Given | Unusable)
