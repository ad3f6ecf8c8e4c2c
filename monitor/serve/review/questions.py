"""The questions of `review.questions`: which are asked of an item, and whether an answer is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monitor.config.model import Config
from monitor.serve.parameters import BadParameter
from monitor.serve.review import models


def asked(config: Config, segment: str) -> list[models.AskedQuestion]:
    """The questions that are asked in a segment, in the configured order."""
    return [
        models.AskedQuestion(question.name, question.text, question.kind, list(question.choices), question.when)
        for question in config.review.questions
        if not question.segments or segment in question.segments
    ]


def check(config: Config, segment: str, verdict: str, answers: Mapping[str, Any]) -> None:
    """Raise BadParameter for an answer to what is not asked, or of another kind than its question."""
    known = {q.name: q for q in asked(config, segment) if q.when in (None, verdict)}
    for name, answer in answers.items():
        question = known.get(name)
        if question is None:
            wanted = f"it has {', '.join(known)}" if known else "it has none"
            raise BadParameter(
                "answers", f"{name[:100]!r} is no question about a {verdict} item of {segment[:100]!r}; {wanted}"
            )
        if question.kind == "choice" and answer not in question.choices:
            raise BadParameter("answers", f"{name} takes one of {', '.join(question.choices)}; got {answer!r:.100}")
        if question.kind == "text" and not isinstance(answer, str):
            raise BadParameter("answers", f"{name} takes a text; got {answer!r:.100}")
        if question.kind == "fields" and not isinstance(answer, list):
            raise BadParameter("answers", f"{name} takes a list of names of fields; got {answer!r:.100}")
