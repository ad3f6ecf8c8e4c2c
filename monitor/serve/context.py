"""What the web application reads from: the store, the configuration in effect, and how the parts are doing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from monitor.config.model import Config
from monitor.serve.remembered import Remembered
from monitor.store.engine import Store
from monitor.supervise import PartState


@dataclass(frozen=True)
class Context:
    """``everything`` is False in a process without the role serve: then only the probes and /metrics answer.

    ``metrics`` renders /metrics; ``clock`` is the wall clock in seconds; ``lag`` says how many records this process is
    behind, None without ingest; ``remembered`` keeps parts of pages.
    """

    store: Store
    config: Callable[[], Config]
    states: Callable[[], list[PartState]]
    metrics: Callable[[], bytes]
    lag: Callable[[], int | None] = lambda: None
    loopback: bool = True
    everything: bool = True
    clock: Callable[[], float] = time.time
    remembered: Remembered = field(default_factory=Remembered, compare=False)
