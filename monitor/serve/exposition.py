"""/metrics of one process: its own numbers always, the product's while it leads the evaluation."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

import structlog
from sqlalchemy import select

from monitor.alerting import road
from monitor.config.model import Config
from monitor.metrics import SelfMetrics
from monitor.serve.metrics import Allowed, ProductMetrics, ProductSettings, registry, render
from monitor.status import DEFAULT_OWNER
from monitor.store.anomalies import AnomalyRow
from monitor.store.engine import Store, StoreUnavailable
from monitor.store.tables import evaluation
from monitor.supervise import PartState

LOOK_SECONDS = 2.0  # how often the leader looks whether a tick was finished
AHEAD_SECONDS = 1.0  # the same while hours of the month are still to be read
RENEW_SECONDS = 15.0  # numbers that do not wait for ticks (outbox, dead letters) are renewed at least this often

log = structlog.stdlib.get_logger("driftline.metrics")


def product_settings(config: Config) -> ProductSettings:
    """What the product's series need of the configuration."""
    owners = {name: owner.budget for name, owner in config.owners.items()} or {DEFAULT_OWNER: config.budget}
    budgets = tuple(
        Allowed(name, severity, allowance.count, allowance.period_us)
        for name, budget in owners.items()
        for severity, allowance in (("page", budget.page), ("ticket", budget.ticket))
    )

    def path_of(row: AnomalyRow, now_us: int) -> str:
        return road(config, severity=row.severity, historic=row.historic, muted=row.muted_at(now_us))

    labels = {name: pool.labels for name, pool in config.review.asked().items()}
    return ProductSettings(config.prices.currency, budgets, path_of, timezone=config.timezone, labels_per_day=labels)


class Exposition:
    """Renders /metrics; as a part (`run`) it renews the product's series once per finished tick."""

    def __init__(
        self,
        store: Store,
        config: Callable[[], Config],
        workers: Callable[[], Mapping[str, object]],
        states: Callable[[], list[PartState]],
        *,
        leads: bool,
    ) -> None:
        self._store = store
        self._config = config
        self._workers = workers
        self._own = SelfMetrics(workers, lambda: {s.name: (s.ready, s.restarts) for s in states()})
        self._product = (
            ProductMetrics(store, product_settings(config()), lambda: time.time_ns() // 1000) if leads else None
        )
        self._registry = registry(self._own, self._product)

    @property
    def reloads(self) -> dict[str, int]:
        """Reloads of the configuration by outcome; counted up by the service."""
        return self._own.config_reloads

    def render(self) -> bytes:
        return render(self._registry)

    def reload(self, config: Config) -> None:
        if self._product is not None:
            self._product.settings = product_settings(config)

    def run(self, stop: threading.Event) -> None:
        assert self._product is not None
        seen: int | None = None
        renewed = 0.0
        while not stop.is_set():
            try:
                if not self._leading():
                    self._product.clear()
                    renewed = 0.0
                else:
                    with self._store.read() as connection:
                        done = connection.execute(select(evaluation.c.done_until_us)).scalar()
                    if done != seen or time.monotonic() - renewed >= RENEW_SECONDS:
                        self._product.refresh(done)
                        seen, renewed = done, time.monotonic()
                    elif done is not None and self._product.reads_ahead:
                        self._product.read_ahead(done)
            except StoreUnavailable as error:
                log.warning("metrics wait for the store", error=str(error))
            stop.wait(AHEAD_SECONDS if self._product.reads_ahead else LOOK_SECONDS)
        self._product.clear()

    def _leading(self) -> bool:
        return bool(getattr(self._workers().get("evaluate"), "leading", True))
