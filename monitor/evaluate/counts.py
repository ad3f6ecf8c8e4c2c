"""From cells to what each stream counts in each tick: hits and trials."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.summaries.metrics import METRICS
from monitor.evaluate.bank import StreamBank
from monitor.evaluate.cells import Cells, Decoder

Int64 = NDArray[np.int64]


class CountPlan:
    """Where each cell counts: made for one set of streams, segments and labels, and used until one of them changes."""

    def __init__(self, bank: StreamBank, decoder: Decoder) -> None:
        self.streams = len(bank)
        self.composition = bank.composition
        self.segments = len(decoder.segments)
        self.labels = len(decoder.labels)
        groups: dict[tuple[str, str, str], list[int]] = {}
        self.volume: list[tuple[int, int]] = []  # (stream, code of its segment)
        for i, stream in enumerate(bank.streams):
            spec = stream.spec
            if spec.kind in ("rate", "tail", "mix"):
                # Tails of one metric with different quantiles have thresholds of their own.
                groups.setdefault((spec.kind, spec.metric, spec.signal), []).append(i)
            elif spec.kind == "volume":
                self.volume.append((i, decoder.segments.get(stream.segment)))
        self.groups: list[tuple[str, int, int, Int64, Int64]] = []
        for (kind, metric, _), members in groups.items():
            stream_of = np.full(self.segments + 1, -1, dtype=np.int64)
            mark = np.zeros(self.segments + 1, dtype=np.int64)  # threshold bucket, or the tier's label
            label = -1
            for i in members:
                stream = bank.streams[i]
                code = decoder.segments.get(stream.segment)
                if code < 0:
                    continue
                stream_of[code] = i
                if kind == "tail":
                    mark[code] = stream.code
                    if stream.spec.label:
                        label = decoder.labels.get(f"stage/{stream.spec.label}")
                        if label < 0:
                            label = self.labels  # a stage that no row has had yet
                elif kind == "mix":
                    mark[code] = decoder.labels.get(f"tier/{stream.spec.label}")
            self.groups.append((kind, METRICS[metric].id, label, stream_of, mark))

    def fits(self, bank: StreamBank, decoder: Decoder) -> bool:
        """Whether the plan still covers everything."""
        made_for = (self.composition, self.segments, self.labels)
        return made_for == (bank.composition, len(decoder.segments), len(decoder.labels))

    def count(self, cells: Cells, start_us: int, tick_us: int, ticks: int) -> tuple[Int64, Int64]:
        """(hits, trials), int64[ticks, streams], of cells with windows in [start, start + ticks x tick)."""
        hits = np.zeros((ticks, self.streams), dtype=np.int64)
        trials = np.zeros((ticks, self.streams), dtype=np.int64)
        if not len(cells) or not self.streams:
            return hits, trials
        tick = (cells.window - start_us) // tick_us
        order = np.argsort(cells.metric, kind="stable")
        sorted_metric = cells.metric[order]
        size = ticks * self.streams
        for kind, metric, label, stream_of, mark in self.groups:
            low, high = np.searchsorted(sorted_metric, (metric, metric + 1))
            at = order[low:high]
            if label >= 0:
                at = at[cells.label[at] == label]
            stream = stream_of[cells.segment[at]]
            at, stream = at[stream >= 0], stream[stream >= 0]
            if at.size == 0:
                continue
            flat = tick[at] * self.streams + stream
            counts = cells.counts[at]
            if kind == "rate":
                hit = cells.sums[at]
            elif kind == "tail":
                hit = np.where(cells.bucket[at] > mark[cells.segment[at]], counts, 0)
            else:
                hit = np.where(cells.label[at] == mark[cells.segment[at]], counts, 0)
            trials.reshape(-1)[:] += np.bincount(flat, counts, size).astype(np.int64)
            hits.reshape(-1)[:] += np.bincount(flat, hit, size).astype(np.int64)
        return hits, trials

    def hour_events(self, cells: Cells, volumes: int, positions: list[int]) -> Int64:
        """Sessions of an hour, int64[volumes], for volume streams at ``positions`` (their index among the bets)."""
        out = np.zeros(volumes, dtype=np.int64)
        events = cells.metric == METRICS["events"].id
        by_segment = np.bincount(cells.segment[events], cells.counts[events], self.segments + 1).astype(np.int64)
        for (_, code), position in zip(self.volume, positions, strict=True):
            if code >= 0:
                out[position] = by_segment[code]
        return out
