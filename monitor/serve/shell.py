"""What every page has: where one can go, the segment and range of time that its address asks for, and its frame.

The range and the segment are kept by every link between the pages that take them, so that what one looks at stays the
same from page to page, and an address shows the same to whoever it is sent to.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from msgspec import Meta, Struct
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from monitor.serve import parameters
from monitor.serve.access import Caller
from monitor.serve.anomalies.words import Clock
from monitor.serve.context import Context
from monitor.serve.parameters import BadParameter, Time
from monitor.serve.remembered import State, state_of
from monitor.serve.review.pages import PAGE_HEADERS
from monitor.serve.templating import template
from monitor.store import listing
from monitor.times import DAY_US, HOUR_US, MINUTE_US, iso

ALL = "all"  # the sum of all segments
SPANS: dict[str, tuple[str, int]] = {
    "24h": ("24 hours", DAY_US),
    "7d": ("7 days", 7 * DAY_US),
    "28d": ("28 days", 28 * DAY_US),
}
USUAL = "7d"
MOST_DAYS = 400  # of a range: what a page can read and draw
# (address, what the link says, whether the page takes the range and the segment)
PAGES = (
    ("/", "Overview", False),
    ("/anomalies", "Anomalies", False),
    ("/segment", "Segment", True),
    ("/inputs", "Inputs", True),
    ("/cost", "Cost", True),
    ("/latency", "Latency", True),
    ("/quality", "Quality", True),
    ("/review", "Review", False),
    ("/references", "References", False),
    ("/reports", "Reports", False),
    ("/health", "Health", False),
)


class ViewQuery(Struct, frozen=True, forbid_unknown_fields=True, rename={"since": "from", "until": "to"}):
    """What a page over time is asked for. ``from`` and ``to`` go before ``range``; an empty value asks for nothing."""

    segment: Annotated[str, Meta(max_length=300)] = ""
    range: Literal["", "24h", "7d", "28d"] = ""
    since: Time | None = None
    until: Time | None = None


@dataclass(frozen=True, slots=True)
class View:
    """A segment (`ALL` for the sum of all) and a range of event time [begin, end), µs, on whole minutes.

    ``preset`` is the range's name where it has one: then it ends with the newest closed window, and moves with it.
    ``begin_us`` is ``end_us`` before any event was read.
    """

    segment: str
    begin_us: int
    end_us: int
    preset: str | None

    @property
    def empty(self) -> bool:
        """Whether there is nothing to read: no event was, yet."""
        return self.begin_us >= self.end_us

    @property
    def one(self) -> str | None:
        """The segment, None for all: what the store's readers take."""
        return None if self.segment == ALL else self.segment

    @property
    def step_us(self) -> int:
        """The step of a line over this range: hours up to 8 days, then days."""
        return HOUR_US if self.end_us - self.begin_us <= 8 * DAY_US else DAY_US

    @property
    def kept_as(self) -> tuple[object, ...]:
        """What it is in a memory of pages: a range that moves on is the same one, with newer data."""
        return self.segment, self.preset or (self.begin_us, self.end_us)

    def before(self) -> View:
        """The range of the same length just before."""
        return replace(self, begin_us=2 * self.begin_us - self.end_us, end_us=self.begin_us, preset=None)

    def query(self, **changed: str) -> str:
        """The part of an address after ``?`` that asks for this, with some of it changed."""
        asked = {"segment": "" if self.segment == ALL else self.segment}
        if self.preset is not None:
            asked["range"] = "" if self.preset == USUAL else self.preset
        else:
            asked |= {"from": iso(self.begin_us), "to": iso(self.end_us)}
        if "range" in changed:
            asked.pop("from", None), asked.pop("to", None)
        return urlencode({name: value for name, value in (asked | changed).items() if value})

    def at(self, path: str, **changed: str) -> str:
        """The address of a page that shows this."""
        query = self.query(**changed)
        return f"{path}?{query}" if query else path


def asked(connection: Connection, query: ViewQuery) -> View:
    """What the address asks for; by default all segments, and the `USUAL` range. Raises BadParameter."""
    low, high = parameters.span(query.since or None, query.until or None)
    newest = listing.closed_until(connection)
    preset = None if query.since or query.until else (query.range or USUAL)
    end = high if high is not None else newest if newest is not None else 0
    end -= end % MINUTE_US
    begin = low if low is not None else max(0, end - SPANS[preset or USUAL][1])
    begin -= begin % MINUTE_US
    if end - begin > MOST_DAYS * DAY_US:
        raise BadParameter("from", f"a page shows {MOST_DAYS} days at most; give a later from or an earlier to")
    if newest is not None and begin >= end:
        raise BadParameter(
            "from", "the range is empty: from is not before the newest closed window; give an earlier one"
        )
    return View(query.segment or ALL, begin, end, preset)


def choices(connection: Connection, view: View) -> list[str]:
    """Segments that had events in the range, by name: what a form looks in. It offers the first ones."""
    if view.empty:
        return []
    return listing.names(connection, view.begin_us, view.end_us)


def kept_choices(context: Context, connection: Connection, view: View, state: State) -> list[str]:
    """`choices`, read once in a state of the store (`monitor.serve.remembered.state_of`)."""
    span = view.begin_us, view.end_us  # the same whichever segment is shown
    return context.remembered.value(
        ("choices", view.preset or span),
        (*state, *span),
        lambda: choices(connection, view),
    )


def opened(context: Context, connection: Connection, query: ViewQuery) -> tuple[View, State, list[str]]:
    """What a page over time begins with: what its address asks for, the state that what is kept of it is of, and the
    segments its form offers. Raises BadParameter."""
    view = asked(connection, query)
    state = state_of(connection, view.end_us)
    return view, state, kept_choices(context, connection, view, state)


def framed(
    name: str,
    context: Context,
    request: Request,
    caller: Caller,
    *,
    view: View | None = None,
    offered: list[str] | None = None,
    status: int = 200,
    **values: Any,
) -> Response:
    """A page as HTML from a template that extends ``base.html``. ``offered``: the segments its form offers."""
    path = request.url.path
    html: str = template(name).render(
        here=path,
        site=[
            (view.at(address) if takes and view is not None and not view.empty else address, text, address == path)
            for address, text, takes in PAGES
        ],
        full=context.store.full,
        view=view,
        offered=offered or [],
        spans=[(key, text) for key, (text, _) in SPANS.items()],
        clock=Clock(context.config().timezone),
        timezone=context.config().timezone,
        reviewer=caller.reviewer,
        session=caller.session,
        may_open=caller.role in ("open", "reviewer", "admin"),
        **values,
    )
    return HTMLResponse(html, status_code=status, headers=PAGE_HEADERS)
