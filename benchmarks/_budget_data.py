"""What real traces say of arrivals, sizes and latencies, as tables to draw from.

GenTD26's requests give the sessions of single user-days, ServeGen's clients the sizes of requests by quarter of the
day, llmperf's calls and GenTD26's stages the latencies. Nothing is taken over but these figures.
"""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.real import gentd26

Float = NDArray[np.float64]
Int64 = NDArray[np.int64]

ATOMS = 512  # values of a table
QUARTERS = 4  # of the day, as ServeGen's histograms are cut
GAP_SECONDS = 1800.0  # a user's requests further apart are two sessions
LEAST_SIZES = 10  # different output sizes that a client must have in each quarter of the day
STAGES = {"queue": "queue_rt_raw", "model_load": "basemodel_update_latency", "model": "model_predict_data"}
STEPS = 288  # of five minutes, of a day


class DataAbsentError(FileNotFoundError):
    """The traces are not there; the message says where they are looked for."""


@dataclass(frozen=True)
class Traces:
    """Tables of the traces. Sizes and latencies: float64[..., ATOMS] of values above 0.

    ``hour``, ``failed``: int64[sessions], of each session's first request, user-day by user-day from ``begin`` on.
    """

    hour: Int64  # of the day
    failed: Int64
    begin: Int64
    length: Int64
    input_tokens: Float  # [clients, QUARTERS, ATOMS]
    output_tokens: Float
    paid: Float  # input tokens and four times the output's, of the same requests
    latency: Float  # [providers, ATOMS], µs
    first_token: Float
    stages: dict[str, Float]  # [ATOMS], µs

    @property
    def sessions_per_user_day(self) -> float:
        """Mean number of sessions of a user-day."""
        return self.hour.size / self.begin.size


def load(traces: Path) -> Traces:
    """Read ``traces``. Raises DataAbsentError."""
    needed = ("gentd26/lora_request_trace.csv.gz", "servegen_mm_image_hist.parquet", "llmperf_requests.parquet")
    absent = [name for name in needed if not (traces / name).exists()]
    if absent:
        raise DataAbsentError(
            f"{', '.join(absent)} not in {traces}: put the data folder beside the repository as ../shared/data"
        )
    rng = np.random.default_rng(26)
    sizes = _sizes(traces / needed[1], rng)
    latency, first = _latencies(traces / needed[2])
    return Traces(*_user_days(traces), *sizes, latency, first, _stages(traces))


def _user_days(traces: Path) -> tuple[Int64, Int64, Int64, Int64]:
    days: dict[tuple[str, object], list[gentd26.Request]] = defaultdict(list)
    for request in gentd26.requests(traces):
        days[request.user, request.time.date()].append(request)
    hour, failed, length = [], [], []
    for _, requests in sorted(days.items(), key=lambda item: (item[0][0], str(item[0][1]))):
        count, last = 0, None
        for request in requests:
            # Ingest counts the first request of a session.
            if last is None or (request.time - last).total_seconds() > GAP_SECONDS:
                hour.append(request.time.hour)
                failed.append(int(request.failed))
                count += 1
            last = request.time
        length.append(count)
    lengths = np.array(length)
    return np.array(hour), np.array(failed), np.cumsum(lengths) - lengths, lengths


def _table(values: Float) -> Float:
    return np.quantile(values, (np.arange(ATOMS) + 0.5) / ATOMS)


def _sizes(path: Path, rng: np.random.Generator) -> tuple[Float, Float, Float]:
    import pyarrow.parquet as parquet  # of the extra `bench`

    found: dict[tuple[int, str, int], list[tuple[float, float]]] = defaultdict(list)
    columns = parquet.read_table(path).to_pydict()
    for client, at, field, size, chance in zip(
        *(columns[name] for name in ("client", "t_s", "field", "bin", "prob")), strict=True
    ):
        found[client, field, at // 21_600].append((size, chance))
    clients = [
        client
        for client in sorted({client for client, _, _ in found})
        if all(len(found.get((client, "output_tokens", q), ())) >= LEAST_SIZES for q in range(QUARTERS))
    ]

    def drawn(client: int, field: str, quarter: int) -> Float:
        entries = found.get((client, field, quarter))
        if not entries:
            return np.zeros(20_000)
        size, chance = np.array(entries).T
        return rng.choice(size, 20_000, p=chance / chance.sum())

    inputs, outputs, paid = (np.zeros((len(clients), QUARTERS, ATOMS)) for _ in range(3))
    for i, client in enumerate(clients):
        for quarter in range(QUARTERS):
            entering = np.maximum(drawn(client, "text_tokens", quarter) + drawn(client, "image_tokens", quarter), 1.0)
            leaving = np.maximum(drawn(client, "output_tokens", quarter), 1.0)
            inputs[i, quarter], outputs[i, quarter] = _table(entering), _table(leaving)
            paid[i, quarter] = _table(entering + 4.0 * leaving)
    return inputs, outputs, paid


def _latencies(path: Path) -> tuple[Float, Float]:
    import pyarrow.parquet as parquet  # of the extra `bench`

    by_provider: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    columns = parquet.read_table(path).to_pydict()
    names = ("provider", "model_size", "end_to_end_latency_s", "ttft_s", "error_code")
    for provider, size, total, first, error in zip(*(columns[name] for name in names), strict=True):
        if (error is None or error != error) and total > 0 and first > 0:
            by_provider[provider, str(size)].append((1e6 * total, 1e6 * first))
    several = [np.array(values).T for _, values in sorted(by_provider.items()) if len(values) >= 50]
    return np.stack([_table(total) for total, _ in several]), np.stack([_table(first) for _, first in several])


def _stages(traces: Path) -> dict[str, Float]:
    found = {}
    for stage, name in STAGES.items():
        with gzip.open(traces / "gentd26" / f"{name}_anon.csv.gz", "rt") as file:
            values = [float(row["value"]) for row in csv.DictReader(file) if row["value"]]
        found[stage] = _table(np.maximum(1e3 * np.array(values), 1.0))
    return found
