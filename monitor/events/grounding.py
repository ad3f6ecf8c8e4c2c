"""Are the citations there, and are they grounded? One definition, used by the rates and by samples' facts.

- An event has a *citation_missing* trial if it carries the field ``quality.citations`` at all; an empty list is
  a hit.
- It has a *citation_ungrounded* trial if at least one citation can be judged: it says ``found``, or carries
  ``source_text`` with a ``quote``. It is a hit if any citation is not grounded: the producer says so
  (``found: false``), or the normalised quote is not part of the normalised source text. Where the producer says
  found and our own look says no, our look counts, and the event is also counted as ``citation_contradicted``.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from monitor.events.native import Citation

_QUOTES = str.maketrans(
    {"‘": "'", "’": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "–": "-", "—": "-", "‑": "-", "\u00ad": None}
)


def normalise(text: str) -> str:
    """Compatibility form, case folded, typographic quotes and dashes plain, runs of white space one space."""
    return " ".join(unicodedata.normalize("NFKC", text).translate(_QUOTES).casefold().split())


def contained(quote: str, source: str) -> bool:
    """Whether the normalised quote occurs in the normalised source; an empty quote does not."""
    if not quote or quote.isspace():
        return False
    # A literal occurrence in plain ASCII needs no normalising to be one.
    if quote.isascii() and quote in source:
        return True
    return normalise(quote) in normalise(source)


def judge(citation: Citation) -> tuple[int, bool]:
    """(-1 cannot be judged, 0 grounded, 1 ungrounded; whether our look contradicts the producer's)."""
    said = citation.found
    if citation.source_text is not None and citation.quote is not None:
        ours = contained(citation.quote, citation.source_text)
        return int(not ours or said is False), said is True and not ours
    return (-1 if said is None else int(not said)), False


def verdict(citations: Sequence[Citation] | None) -> tuple[int, int, bool]:
    """(missing, ungrounded, contradicted) of one event; -1 where there is no trial."""
    if not citations:
        return (-1 if citations is None else 1), -1, False
    ungrounded, contradicted = -1, False
    for citation in citations:
        if citation.source_text is None:  # the common case, without a call
            judged = -1 if citation.found is None else int(not citation.found)
        else:
            judged, against = judge(citation)
            contradicted = contradicted or against
        if judged > ungrounded:
            ungrounded = judged
    return 0, ungrounded, contradicted
