"""Queries tried on Prometheus' own programs: promtool parses them, a Prometheus answers them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx

from dashboards.queries import Asked, filled_in, rule_file

_TIMEOUT_S = 30.0


class PrometheusError(Exception):
    """Prometheus could not be asked: what, and what to do."""


def parse_errors(asked: Sequence[Asked]) -> list[str] | None:
    """What promtool says of queries that do not parse; None where there is no promtool."""
    program = shutil.which("promtool")
    if program is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "queries.yml"
        path.write_text(json.dumps(rule_file(asked)), encoding="utf-8")
        done = subprocess.run([program, "check", "rules", str(path)], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return []
    found = []
    for number, text in re.findall(r'rule (\d+), "query\d+": (.*)', done.stderr):
        found.append(f"{asked[int(number) - 1]}: {text}")
    return found or [f"promtool: {done.stderr.strip()[-500:]}"]


def answers(url: str, asked: Sequence[Asked], rate_interval: str = "1m") -> Iterator[tuple[Asked, int | str]]:
    """Each query with the number of series that it has now, or what Prometheus says is wrong with it.

    Raises PrometheusError where there is no Prometheus at ``url``.
    """
    try:
        address = httpx.URL(url.rstrip("/"))
    except httpx.InvalidURL as error:
        raise PrometheusError(f"the address of Prometheus is none ({error}); write http://host:9090") from None
    shown = str(address.copy_with(username=None, password=None))
    with httpx.Client(base_url=address, timeout=_TIMEOUT_S, trust_env=False) as client:
        for one in asked:
            yield one, _answer(client, shown, filled_in(one.expr, rate_interval))


def _answer(client: httpx.Client, url: str, query: str) -> int | str:
    try:
        answer = client.post("/api/v1/query", data={"query": query})
    except httpx.HTTPError as error:
        raise PrometheusError(f"{url} did not answer ({error}); is it running, and is that its address?") from None
    try:
        body = answer.json()
        return str(body["error"]) if body["status"] == "error" else len(body["data"]["result"])
    except (ValueError, KeyError, TypeError):
        text = f"{url} answered HTTP {answer.status_code}, and not as Prometheus does; is that its address?"
        raise PrometheusError(text) from None
