"""What an event cost, in integer nano-units of the reporting currency.

From the event itself if it says so; else from the price table, whose entries carry the day from which they hold
in the configured timezone. Other currencies are converted by configured rates; without a rate the cost is absent
and counted. Nothing is guessed: without both token counts there is no computed cost.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from detectors.summaries.columns import Int64, Labelled
from monitor.config.model import ModelPrice, Prices

NANO = 1e9
_TOKENS_PER_PRICE = 1e6


class PriceBook:
    """The price table of a configuration, ready for arrays."""

    def __init__(self, prices: Prices, timezone: str) -> None:
        # Of each currency to the reporting currency; None: the event names no currency.
        self.rates: dict[str | None, float] = {prices.currency: 1.0, None: 1.0}
        self.rates.update((code, rate) for code, rate in prices.rates.items() if code != prices.currency)
        zone = ZoneInfo(timezone)
        entries: dict[str, list[tuple[int, ModelPrice]]] = defaultdict(list)
        for entry in prices.models:
            start = datetime.fromisoformat(entry.since).replace(tzinfo=zone)
            entries[entry.model].append((int(start.timestamp()) * 1_000_000, entry))
        self._entries = {model: sorted(rows, key=lambda row: row[0]) for model, rows in entries.items()}

    def costs(
        self,
        amounts: NDArray[np.float64],
        rates: NDArray[np.float64],
        models: Labelled,
        usage: Int64,
        times_us: Int64,
    ) -> tuple[Int64, dict[str, int]]:
        """int64[n] nano-units (-1: absent) and counts.

        ``amounts`` are in units of a currency (-1: absent) with its rate, as `rates` has it, NaN for an unknown one;
        ``usage`` is (n, >= 3) with input, output and cached input tokens. Counts: ``cost_unknown_currency`` (a
        currency without a rate) and ``cost_unpriced`` (no cost given, tokens known, but no price for the model).
        """
        counts: dict[str, int] = {}
        given = amounts >= 0
        known = given & ~np.isnan(rates)
        if unknown := int(given.sum() - known.sum()):
            counts["cost_unknown_currency"] = unknown
        with np.errstate(invalid="ignore"):
            nano = np.where(known, np.rint(amounts * rates * NANO), -1.0)
        todo = ~given & (usage[:, 0] >= 0) & (usage[:, 1] >= 0)
        if todo.any():
            computed = self._computed(np.flatnonzero(todo), models, usage, times_us)
            nano[todo] = computed
            if unpriced := int((computed < 0).sum()):
                counts["cost_unpriced"] = unpriced
        return nano.astype(np.int64), counts

    def per_token(self, model: str, time_us: int) -> tuple[float, float, float] | None:
        """Nano-units of the reporting currency per (input, cached input, output) token of a model at a time (event
        time, µs); None where the table has no price for it, or no rate for its currency."""
        rows = [price for start, price in self._of(model) if start <= time_us]
        found = self._per_token(rows[-1]) if rows else None
        return None if found is None or found[0] != found[0] else found

    def _computed(
        self, which: NDArray[np.intp], models: Labelled, usage: Int64, times_us: Int64
    ) -> NDArray[np.float64]:
        nano = np.full(len(which), -1.0)
        codes = models.codes[which]
        for code in np.unique(codes):
            rows = self._of(models.names[code]) if code >= 0 else []
            if not rows:
                continue
            mask = codes == code
            events = which[mask]
            entry = np.searchsorted([start for start, _ in rows], times_us[events], side="right") - 1
            table = np.array([self._per_token(price) for _, price in rows])
            prices = table[np.maximum(entry, 0)]
            prices[entry < 0] = np.nan
            cached = np.clip(usage[events, 2], 0, usage[events, 0])
            tokens = np.stack([usage[events, 0] - cached, cached, usage[events, 1]], axis=1)
            sums = tokens[:, 0] * prices[:, 0] + tokens[:, 1] * prices[:, 1] + tokens[:, 2] * prices[:, 2]
            nano[mask] = np.where(np.isnan(sums), -1.0, np.rint(sums))
        return nano

    def _of(self, model: str) -> list[tuple[int, ModelPrice]]:
        if model in self._entries:
            return self._entries[model]
        patterns = [p for p in self._entries if p.endswith("*") and model.startswith(p[:-1])]
        return self._entries[max(patterns, key=len)] if patterns else []

    def _per_token(self, price: ModelPrice) -> tuple[float, float, float]:
        """Nano-units of the reporting currency per (input, cached input, output) token."""
        scale = self.rates.get(price.currency, float("nan")) * NANO / _TOKENS_PER_PRICE
        cached = price.cached_input_per_million
        if cached is None:
            cached = price.input_per_million
        return price.input_per_million * scale, cached * scale, price.output_per_million * scale
