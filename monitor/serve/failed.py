"""What somebody with a browser reads where a page cannot be shown: the same words as a program gets, on a page."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from monitor.serve.answers import AGAIN_S
from monitor.serve.models import Problem
from monitor.serve.review.pages import PAGE_HEADERS
from monitor.serve.shell import PAGES
from monitor.serve.templating import template

_TITLES = {
    400: "This address asks for something that cannot be shown",
    403: "This is not for your role",
    404: "There is nothing here",
    500: "The page could not be made",
    503: "The page cannot be made at the moment",
}


def for_people(request: Request, answer: Response) -> Response:
    """A problem, as a page where a browser asked for one, which reads nothing from the store.

    What may pass by itself is asked for again after a while, so that a screen on a wall comes back.
    """
    browsed = "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/api/")
    if not browsed or answer.status_code not in _TITLES:
        return answer
    found = msgspec.json.decode(bytes(answer.body), type=Problem)
    html: str = template("failed.html").render(
        site=[(address, text, False) for address, text, _ in PAGES],
        title=_TITLES[answer.status_code],
        told=_sentence(found),
        again=AGAIN_S if answer.status_code == 503 else None,
        here=request.url.path if answer.status_code == 400 else None,
    )
    headers = {**PAGE_HEADERS, **({"retry-after": str(AGAIN_S)} if answer.status_code == 503 else {})}
    return HTMLResponse(html, status_code=answer.status_code, headers=headers)


def _sentence(found: Problem) -> str:
    """What was wrong, with the parameter at fault unless the words name it."""
    named = found.parameter is None or found.parameter in found.error
    return f"{found.error[:1].upper()}{found.error[1:]}." if named else f"{found.parameter}: {found.error}."
