"""Label Studio: tasks and the labelling configuration out, annotations in.

Shapes after Label Studio's documentation: the JSON of annotated tasks (https://labelstud.io/guide/task_format),
predictions (https://labelstud.io/guide/predictions), export formats JSON and JSON-MIN
(https://labelstud.io/guide/export), and the tags View, Header, Image, Text, Choices and TextArea
(https://labelstud.io/tags/choices and beside it).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Protocol
from urllib.parse import quote
from xml.etree import ElementTree

import msgspec

from monitor.exchange.given import Given, Unusable, given
from monitor.exchange.queued import QueuedItem, text_of
from monitor.exchange.splitting import elements
from monitor.store.review.items import VERDICTS
from monitor.times import iso

VERDICT: Final = "verdict"  # names of the controls of the configuration
NOTE: Final = "note"
_ANSWER = re.compile(r"(choice|text|fields)_(.+)", re.DOTALL)
_TARGET: Final = "output"  # the object that all controls are about
_MODEL: Final = "driftline error score"
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Question(Protocol):
    """A question of `review.questions`."""

    @property
    def name(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def choices(self) -> Sequence[str]: ...
    @property
    def segments(self) -> Sequence[str]: ...
    @property
    def when(self) -> str | None: ...


def write(items: Iterable[QueuedItem], *, address: str, predictions: bool) -> Iterator[bytes]:
    """The tasks as one JSON array, piece by piece. See `task`."""
    opening = b"[\n"
    for item in items:
        yield opening + msgspec.json.encode(task(item, address=address, predictions=predictions))
        opening = b",\n"
    yield b"[]\n" if opening == b"[\n" else b"\n]\n"


def task(item: QueuedItem, *, address: str, predictions: bool) -> dict[str, Any]:
    """An item as a task. ``address`` is that of driftline's own pages, which serve the pixels.

    ``predictions``: with the predicted chance of an error, which leads whoever sees it.
    """
    picture = item.picture
    data: dict[str, Any] = {
        "image": ""
        if picture is None
        else f"{address.rstrip('/')}/api/review/items/{quote(item.item_id, safe='')}/images/{picture}",
        "prompt": text_of(item.inputs),
        "output": text_of(item.output),
        "segment": item.segment,
        "event_id": item.event_id,
        "item_id": item.item_id,
        "time": iso(item.time_us),
        "pi_sample": item.pi_sample,
        "pi_review": item.pi_review,
        "race": item.race,
    }
    if not predictions:
        return {"data": data}
    data |= {"score": item.score} | ({} if item.confidence is None else {"confidence": item.confidence})
    wrong = item.score >= 0.5
    choice = {
        "id": item.item_id,
        "from_name": VERDICT,
        "to_name": _TARGET,
        "type": "choices",
        "value": {"choices": ["wrong" if wrong else "correct"]},
    }
    score = item.score if wrong else 1.0 - item.score
    return {"data": data, "predictions": [{"model_version": _MODEL, "score": score, "result": [choice]}]}


def labelling_configuration(questions: Iterable[Question], segment: str | None = None) -> str:
    """The XML that Label Studio draws its page from: our verdicts, the questions (of a segment), and a note."""
    view = ElementTree.Element("View")
    _tag(view, "Image", name="image", value="$image", zoom="true", zoomControl="true", rotateControl="true")
    _tag(view, "Header", value="Input")
    _tag(view, "Text", name="prompt", value="$prompt", valueType="text")
    _tag(view, "Header", value="Output")
    _tag(view, "Text", name=_TARGET, value="$output", valueType="text")
    _tag(view, "Header", value="Is the output correct?")
    verdict = _tag(view, "Choices", name=VERDICT, toName=_TARGET, choice="single", required="true", showInline="true")
    for number, value in enumerate(VERDICTS, 1):
        _tag(verdict, "Choice", value=value, hotkey=str(number))
    for question in questions:
        if segment is None or not question.segments or segment in question.segments:
            _question(view, question)
    _tag(view, "Header", value="Note")
    _tag(view, "TextArea", name=NOTE, toName=_TARGET, rows="2", maxSubmissions="1", editable="true")
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def _question(view: ElementTree.Element, question: Question) -> None:
    if question.when is not None:
        when = {"whenTagName": VERDICT, "whenChoiceValue": question.when}
        view = _tag(view, "View", visibleWhen="choice-selected", **when)
    _tag(view, "Header", value=question.text)
    name = f"{question.kind}_{question.name}"
    if question.kind == "choice":
        choices = _tag(view, "Choices", name=name, toName=_TARGET, choice="single", showInline="true")
        for value in question.choices:
            _tag(choices, "Choice", value=value)
    elif question.kind == "fields":
        _tag(view, "TextArea", name=name, toName=_TARGET, editable="true", placeholder="one field at a time")
    else:
        _tag(view, "TextArea", name=name, toName=_TARGET, rows="2", maxSubmissions="1", editable="true")


def _tag(parent: ElementTree.Element, tag: str, /, **attributes: str) -> ElementTree.Element:
    harmless = {key: _NOT_XML.sub("\ufffd", value) for key, value in attributes.items()}
    return ElementTree.SubElement(parent, tag, harmless)


def read(parts: Iterable[bytes], *, default_reviewer: str = "") -> Iterator[Given | Unusable]:
    """The labels and skips of an export (JSON or JSON-MIN), in order; what is unusable says why.

    A verdict comes from the control `verdict`, answers from those of `labelling_configuration`; other controls are
    passed over, and so are tasks without annotations. Who said it is the e-mail address of ``completed_by``, else
    ``label-studio:ID``, else ``default_reviewer``. Raises NotThisFormat where the file is no JSON array.
    """
    for number, element in enumerate(elements(parts), 1):
        if isinstance(element, Unusable):
            yield Unusable(element.reason, f"task {number}: {element}")
            continue
        try:
            found = msgspec.json.decode(element.decode())
        except UnicodeDecodeError:
            yield Unusable("invalid_utf8", f"task {number}: it is not UTF-8")
            continue
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            yield Unusable("malformed_json", f"task {number}: {str(error)[:200]}")
            continue
        yield from _task(found, number, default_reviewer)


def _task(found: Any, number: int, default_reviewer: str) -> Iterator[Given | Unusable]:
    if not isinstance(found, dict):
        yield Unusable("invalid_label", f"task {number}: an object was expected")
        return
    if "annotations" not in found and "data" not in found:  # JSON-MIN: the data's fields beside the controls' names
        yield _checked(f"task {number}", lambda: _minimal(found, default_reviewer))
        return
    data, annotations = found.get("data"), found.get("annotations") or []
    if not isinstance(data, dict) or not isinstance(annotations, list):
        yield Unusable("invalid_label", f"task {number}: data must be an object, annotations a list")
        return
    # A reviewer's later annotation replaces his earlier one, whatever their order in the file.
    for position, annotation in sorted(enumerate(annotations, 1), key=lambda entry: _said_at(entry[1])):
        where = f"task {number}, annotation {position}"
        if isinstance(annotation, dict):
            yield _checked(where, lambda one=annotation: _annotation(data, one, default_reviewer))
        else:  # Label Studio can leave all but their ids out of an export
            yield Unusable("invalid_label", f"{where}: it is not an object; export the annotations in full")


def _checked(where: str, make: Any) -> Given | Unusable:
    try:
        made: Given = make()
    except Unusable as error:
        return Unusable(error.reason, f"{where}: {error}", error.event_id)
    return made


def _said_at(annotation: Any) -> str:
    """Times are all of one form and zone, so that their texts sort as they do."""
    if not isinstance(annotation, dict):
        return ""
    return str(annotation.get("updated_at") or annotation.get("created_at") or "")


def _annotation(data: dict[str, Any], annotation: dict[str, Any], default_reviewer: str) -> Given:
    results = annotation.get("result")
    said: dict[str, list[str]] = {}
    for result in results if isinstance(results, list) else []:
        if isinstance(result, dict) and isinstance(result.get("from_name"), str):
            said.setdefault(result["from_name"], []).extend(_texts(result.get("value")))
    return _said(
        data,
        said,
        _reviewer(annotation.get("completed_by"), default_reviewer),
        skipped=annotation.get("was_cancelled") is True,
        gold=annotation.get("ground_truth") is True,
        time=_said_at(annotation),
    )


def _minimal(record: dict[str, Any], default_reviewer: str) -> Given:
    said = {name: _texts(value) for name, value in record.items() if name in (VERDICT, NOTE) or _ANSWER.match(name)}
    reviewer = _reviewer(record.get("annotator"), default_reviewer)
    return _said(record, said, reviewer, skipped=False, gold=None, time=_said_at(record))


def _said(
    data: dict[str, Any], said: dict[str, list[str]], reviewer: str, *, skipped: bool, gold: bool | None, time: str
) -> Given:
    answers: dict[str, Any] = {}
    for name, texts in said.items():
        named = _ANSWER.fullmatch(name)
        if named is not None and texts:
            answers[named[2]] = texts if named[1] == "fields" else "\n".join(texts)
    verdicts = said.get(VERDICT, [])
    if len(verdicts) > 1:
        raise Unusable("invalid_label", f"one verdict was expected, got {len(verdicts)}", _text(data, "event_id"))
    return given(
        item_id=_text(data, "item_id"),
        event_id=_text(data, "event_id"),
        reviewer=reviewer,
        verdict=None if skipped else "".join(verdicts).strip().lower(),
        answers={} if skipped else answers,
        note="" if skipped else "\n".join(said.get(NOTE, [])),
        skip_reason="\n".join(said.get(NOTE, [])) if skipped else "",
        time=time or None,
        gold=None if skipped else gold,
    )


def _texts(value: Any) -> list[str]:
    """The texts of a control's value, as JSON has it (``{"choices": [...]}``) or as JSON-MIN cuts it short."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for entry in value for text in _texts(entry)]
    if isinstance(value, dict):
        return [text for name in ("choices", "text") for text in _texts(value.get(name))]
    return []


def _reviewer(who: Any, default: str) -> str:
    if isinstance(who, dict):
        email = who.get("email")
        return email if isinstance(email, str) and email else _reviewer(who.get("id"), default)
    if isinstance(who, int) and not isinstance(who, bool):
        return f"label-studio:{who}"
    return who if isinstance(who, str) and who else default


def _text(data: dict[str, Any], name: str) -> str:
    value = data.get(name)
    return value if isinstance(value, str) else ""
