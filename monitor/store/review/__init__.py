"""The review queue in the store: items that were drawn, who has them, what reviewers said. docs/review.md.

Every function is one transaction of its own but for those that take a connection, which are part of the caller's.
Nothing is kept in memory, so that any number of processes may serve one queue and any of them may die at any moment.
Wall-clock times (µs) are passed in. What cannot be done raises `Declined` and changes nothing.
"""

from monitor.store.review.adding import add, item_id
from monitor.store.review.audit import AuditRow, audit_of
from monitor.store.review.bets import Answer, answered, count_to_bet, mark, to_bet
from monitor.store.review.candidates import Candidate, Verdicts, candidates, verdicts
from monitor.store.review.content import Content, content, thumbnail_part
from monitor.store.review.ending import expire, remove
from monitor.store.review.importing import Imported, import_into, import_label, skip_into
from monitor.store.review.items import (
    Answered,
    Declined,
    Filters,
    Item,
    Label,
    NewItem,
    PoolSums,
    Undone,
)
from monitor.store.review.labelling import label, label_and_next, skip, skip_and_next
from monitor.store.review.leasing import next_items, release, renew
from monitor.store.review.pixels import (
    Pixels,
    PixelsWanted,
    claim_pixels,
    drop_labelled,
    image,
    keep,
    pixels_of,
    pixels_waiting,
    want,
)
from monitor.store.review.reading import (
    Count,
    LabelledItem,
    LabelledSegment,
    Progress,
    Verdict,
    Waiting,
    counts,
    find_item,
    labelled,
    labelled_segments,
    labels_after,
    last_label,
    pool_sums,
    progress,
    unmatched,
    waiting,
)
from monitor.store.review.undoing import undo

__all__ = [
    "Answer",
    "Answered",
    "AuditRow",
    "Candidate",
    "Content",
    "Count",
    "Declined",
    "Filters",
    "Imported",
    "Item",
    "Label",
    "LabelledItem",
    "LabelledSegment",
    "NewItem",
    "Pixels",
    "PixelsWanted",
    "PoolSums",
    "Progress",
    "Undone",
    "Verdict",
    "Verdicts",
    "Waiting",
    "add",
    "answered",
    "audit_of",
    "candidates",
    "claim_pixels",
    "content",
    "count_to_bet",
    "counts",
    "drop_labelled",
    "expire",
    "find_item",
    "image",
    "import_into",
    "import_label",
    "item_id",
    "keep",
    "label",
    "label_and_next",
    "labelled",
    "labelled_segments",
    "labels_after",
    "last_label",
    "mark",
    "next_items",
    "pixels_of",
    "pixels_waiting",
    "pool_sums",
    "progress",
    "release",
    "remove",
    "renew",
    "skip",
    "skip_and_next",
    "skip_into",
    "thumbnail_part",
    "to_bet",
    "undo",
    "unmatched",
    "verdicts",
    "waiting",
    "want",
]
