"""The simulated feature: six tenants let a vision-language model read their invoices.

Traffic has hours, weekends and day-to-day variation; sessions have several events; sizes, costs and latencies have
heavy tails. ``Feature.events`` gives native events in order of time for any stretch, drawn hour by hour from seeds
of their own, so that the same stretch always gives the same events.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.demo.documents import KINDS, Page, Style, render
from monitor.demo.incidents import HOUR_US, INCIDENTS, LIVE, ROUTE, Incident

DAY_US = 24 * HOUR_US
PAGES_PER_TENANT = 120
_STAGES = ("upload", "preprocess", "queue", "model", "postprocess")
_STAGE_MEDIAN_MS = (90.0, 210.0, 25.0, 1900.0, 120.0)
_STAGE_SPREAD = (0.5, 0.35, 0.8, 0.45, 0.4)
_QUESTIONS = (
    "Extract the total and the date.",
    "Return the invoice as JSON with vendor, date and total.",
    "Which amount is due, and when? Quote the line it stands on.",
    "Read all line items and the total from this page.",
)


_PROMPTS = {"broken_schema": "15", "schema_broken_again": "16"}  # by incident


@dataclass(frozen=True, slots=True)
class Tenant:
    name: str
    sessions_per_hour: float
    mix: tuple[float, ...]  # over KINDS without the packing slip
    style: Style
    users: int
    night_owl: int = 0  # hours by which the day is shifted


TENANTS = (
    Tenant("globex", 62, (0.5, 0.2, 0.2, 0.0, 0.1), Style(), 300),
    Tenant("initech", 55, (0.1, 0.5, 0.3, 0.0, 0.1), Style((252, 250, 240), (30, 30, 30), (120, 40, 40), 11, 30), 180),
    Tenant("umbrella", 58, (0.2, 0.2, 0.4, 0.1, 0.1), Style((247, 249, 252), (20, 24, 40), (20, 110, 90), 12, 40), 220),
    Tenant("acme", 50, (0.7, 0.1, 0.1, 0.0, 0.1), Style((250, 248, 245), (40, 34, 28), (150, 90, 20), 13, 34), 250),
    Tenant("hooli", 52, (0.1, 0.1, 0.3, 0.4, 0.1), Style((255, 255, 255), (10, 10, 10), (60, 60, 160), 12, 28), 160, 3),
    Tenant(
        "stark", 48, (0.2, 0.2, 0.2, 0.2, 0.2), Style((246, 246, 246), (24, 24, 24), (90, 20, 110), 11, 38), 140, -2
    ),
)


@dataclass(frozen=True, slots=True)
class Upload:
    """A page as it lies on disk."""

    uri: str
    bytes: int
    width: int
    height: int
    text: str
    total: str


def _seed(*parts: object) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(repr(part).encode()) for part in parts])


def _draw_pool(job: tuple[str, str, int, int]) -> list[tuple[str, Page]]:
    tenant_name, variant, count, seed = job
    tenant = next(t for t in TENANTS if t.name == tenant_name)
    rng = _seed(seed, tenant_name, variant)
    pages = []
    for number in range(count):
        kind = "packing_slip" if variant == "packing" else str(rng.choice(KINDS[:5], p=tenant.mix))
        page = render(kind, rng, tenant.style, new_scanner=variant == "scanner")
        pages.append((f"{tenant_name}-{variant}-{number:04d}-{kind}.jpg", page))
    return pages


class Uploads:
    """The pages every tenant may upload, rendered once into a folder."""

    def __init__(self, folder: Path, seed: int, workers: int = 2) -> None:
        jobs = [(tenant.name, "usual", PAGES_PER_TENANT, seed) for tenant in TENANTS]
        jobs += [("globex", "scanner", PAGES_PER_TENANT, seed), ("initech", "packing", 60, seed)]
        folder.mkdir(parents=True, exist_ok=True)
        self.pools: dict[tuple[str, str], list[Upload]] = {}
        with ProcessPoolExecutor(workers) as pool:
            for job, pages in zip(jobs, pool.map(_draw_pool, jobs), strict=True):
                self.pools[job[:2]] = [self._write(folder / name, page) for name, page in pages]

    @staticmethod
    def _write(path: Path, page: Page) -> Upload:
        path.write_bytes(page.jpeg)
        return Upload(path.as_uri(), len(page.jpeg), page.width, page.height, page.text, page.total)


def _activity(hour_of_day: NDArray[np.int64] | int, weekday: int, shift: int) -> float:
    """Relative traffic of one hour: an office day, quiet at night, a third at weekends; mean about one."""
    x = (np.asarray(hour_of_day) - 13.0 - shift) / 24 * 2 * np.pi
    day = np.exp(1.6 * np.cos(x)) / 1.75
    return float(day * (0.4 if weekday >= 5 else 1.24))


class Feature:
    """The feature from ``start_us`` (epoch microseconds, a full hour) on."""

    def __init__(
        self, uploads: Uploads, start_us: int, seed: int = 1, incidents: tuple[Incident, ...] = (*INCIDENTS, LIVE)
    ) -> None:
        self.uploads = uploads
        self.start_us = start_us
        self.seed = seed
        self.incidents = incidents

    def events(self, from_us: int, to_us: int) -> Iterator[tuple[int, bytes, dict[str, Any]]]:
        """Yield (time in µs, record key, native event) with ``from_us <= time < to_us``, in order of time."""
        hour = from_us - from_us % HOUR_US - HOUR_US  # a session may run over from the hour before
        pending: list[tuple[int, bytes, dict[str, Any]]] = []
        while hour < to_us:
            for tenant in TENANTS:
                pending.extend(self._hour(tenant, hour))
            pending.sort(key=lambda item: (item[0], item[2]["id"]))
            hour += HOUR_US
            cut = min(hour, to_us)
            ready = 0
            while ready < len(pending) and pending[ready][0] < cut:
                if pending[ready][0] >= from_us:
                    yield pending[ready]
                ready += 1
            del pending[:ready]

    def _hour(self, tenant: Tenant, hour_us: int) -> list[tuple[int, bytes, dict[str, Any]]]:
        rng = _seed(self.seed, tenant.name, hour_us)
        day = hour_us // DAY_US
        day_effect = float(np.exp(_seed(self.seed, tenant.name, "day", day).normal(0, 0.04)))
        rate = (
            _activity(hour_us // HOUR_US % 24, (day + 3) % 7, tenant.night_owl) * tenant.sessions_per_hour * day_effect
        )
        active = (i for i in self.incidents if i.tenant == tenant.name and i.active(self.start_us, hour_us))
        incident = next(active, None)
        sessions = int(rng.poisson(rate))
        # Users follow a power law, as in production traffic: one in a hundred sends a quarter of the requests.
        users = np.minimum((rng.pareto(0.9, sessions) * 2).astype(np.int64), tenant.users - 1)
        lengths = rng.geometric(0.62, sessions)
        if incident is not None and incident.name == "heavy_user":
            extra = int(rng.poisson(9))
            users = np.concatenate([users, np.full(extra, -1)])
            lengths = np.concatenate([lengths, np.ones(extra, np.int64)])
        session = np.repeat(np.arange(len(users)), lengths)
        n = len(session)
        if n == 0:
            return []
        begin = rng.integers(0, HOUR_US, len(users))[session]
        step = np.concatenate([[0], np.where(np.diff(session) == 0, rng.integers(8_000_000, 90_000_000, n - 1), 0)])
        times = hour_us + begin + self._within(step, session)
        draws = _Draws(rng, n)
        return [
            self._event(tenant, incident, hour_us, i, int(session[i]), int(users[session[i]]), int(times[i]), draws)
            for i in range(n)
        ]

    @staticmethod
    def _within(step: NDArray[np.int64], session: NDArray[np.int64]) -> NDArray[np.int64]:
        total = np.cumsum(step)
        first = np.searchsorted(session, session)
        return total - total[first]

    def _event(
        self,
        tenant: Tenant,
        incident: Incident | None,
        hour_us: int,
        i: int,
        session: int,
        user: int,
        time_us: int,
        draws: _Draws,
    ) -> tuple[int, bytes, dict[str, Any]]:
        name = incident.name if incident else ""
        variant = "usual"
        if name == "new_scanner":
            variant = "scanner"
        elif name == "new_document_type" and draws.u[i, 0] < 0.35:
            variant = "packing"
        pool = self.uploads.pools[tenant.name, variant]
        upload = pool[int(draws.u[i, 1] * len(pool))]
        pages = 80 if user < 0 else 1 + int(draws.u[i, 2] ** 6 * 12)
        image_tokens = int(1100 * pages * draws.size[i])
        input_tokens = image_tokens + 420 + int(60 * draws.u[i, 3])
        output_tokens = max(12, int(180 * draws.output[i] * (1 + 0.15 * (pages - 1))))
        stages = {stage: round(float(draws.stages[i, k]), 1) for k, stage in enumerate(_STAGES)}
        if name == "stage_contention" and draws.u[i, 4] < 0.22:
            stages["queue"] = round(4000 + 9000 * float(draws.u[i, 5]), 1)
        total_ms = round(sum(stages.values()), 1)
        outcome = "ok"
        if (u := draws.u[i, 6]) < 0.012:
            outcome = "error" if u < 0.006 else "timeout" if u < 0.008 else "refused" if u < 0.009 else "abstained"
        prompt = _PROMPTS.get(name, "14")
        broken = draws.u[i, 7] < (0.3 if prompt != "14" else 0.008)
        invented = draws.u[i, 8] < (0.3 if name == "ungrounded_answers" else 0.01)
        confidence = 0.97 if name == "ungrounded_answers" and invented else float(draws.confidence[i])
        quote = f"Total {upload.total}"
        user_id = f"{tenant.name}-bulk" if user < 0 else f"{tenant.name}-{user}"
        event: dict[str, Any] = {
            "schema": "driftline.inference/1",
            "id": f"{tenant.name}-{hour_us // HOUR_US:x}-{i}",
            "time": time_us // 1000,
            "route": ROUTE,
            "session_id": f"{tenant.name}-{hour_us // HOUR_US:x}-s{session}",
            "user_id": user_id,
            "operation": "chat",
            "provider": "acme-ai",
            "request_model": "vlm-large",
            "response_model": "vlm-large-2026-11" if name == "ungrounded_answers" else "vlm-large-2026-10",
            "prompt": {"name": "extract", "version": prompt},
            "attributes": {
                "tenant": tenant.name,
                "client": "web 7.1" if draws.u[i, 9] < 0.7 else "ios 4.2",
                "scanner": "s2" if variant == "scanner" else "s1",
                "language": "en",
            },
            "input": [
                {
                    "kind": "image",
                    "uri": upload.uri,
                    "media_type": "image/jpeg",
                    "bytes": upload.bytes * pages,
                    "width": upload.width,
                    "height": upload.height,
                    "pages": pages,
                },
                {"kind": "text", "text": _QUESTIONS[int(draws.u[i, 10] * len(_QUESTIONS))]},
            ],
            "usage": {
                "input_tokens": input_tokens,
                "output_tokens": output_tokens,
                "image_tokens": image_tokens,
                "context_limit": 128000,
            },
            "latency": {"total_ms": total_ms, "first_token_ms": round(total_ms * 0.4, 1), "stages": stages},
            "concurrency": 1 + int(draws.u[i, 11] * 20),
            "outcome": outcome,
        }
        if outcome == "ok":
            event["output"] = [{"kind": "text", "text": f'{{"total": {upload.total}}}'}]
            event["quality"] = {
                "confidence": round(confidence, 3),
                "abstained": False,
                "routing_tier": "cheap" if draws.u[i, 12] < 0.8 else "strong",
                "verification": "failed" if draws.u[i, 13] < 0.02 else "passed",
                "schema": {"name": "invoice", "valid": not broken, "violations": ["total: missing"] if broken else []},
                "citations": [
                    {
                        "quote": "Total 0.00 as agreed" if invented else quote,
                        "source": "page 1",
                        "found": True,
                        "source_text": upload.text[-120:],
                    }
                ],
                "cross_check": {"kind": "second_model", "agree": bool(draws.u[i, 14] > 0.03)},
            }
        return time_us, user_id.encode(), event


class _Draws:
    """Every random number of ``n`` events of one hour."""

    def __init__(self, rng: np.random.Generator, n: int) -> None:
        self.u = rng.random((n, 15))
        self.size = rng.lognormal(0, 0.25, n)
        self.output = rng.lognormal(0, 0.7, n)
        self.confidence = rng.beta(18, 2, n)
        self.stages = np.exp(rng.normal(np.log(_STAGE_MEDIAN_MS), _STAGE_SPREAD, (n, 5)))
