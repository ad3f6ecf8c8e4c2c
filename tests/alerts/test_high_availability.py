"""Two real Alertmanagers as a pair, one of them killed, and a real webhook receiver: a person is told once."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from alerts.sinks.alertmanager import AlertmanagerPeers, AlertmanagerSink
from monitor.demo.broker import free_port
from monitor.store.engine import Store
from tests.alerts.parts import Clock, Target, anomaly, dispatcher, tell
from tests.conftest import absent
from tests.services import Unavailable
from tests.services import prometheus as services


class Pair:
    """A cluster of two; ``receiver``: where both send what they notify of."""

    def __init__(self, folder: Path, receiver: str) -> None:
        self._folder = folder
        self._config = (
            "route: {receiver: oncall, group_by: [alertname, segment], group_wait: 2s, group_interval: 2s, "
            "repeat_interval: 4h}\n"
            f"receivers: [{{name: oncall, webhook_configs: [{{url: '{receiver}/page', send_resolved: true}}]}}]\n"
        )
        self._gossip, self._ports = (free_port(), free_port()), (free_port(), free_port())
        self._stacks: dict[int, ExitStack] = {}
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self.urls = tuple(f"http://127.0.0.1:{port}" for port in self._ports)

    def start(self, number: int) -> None:
        stack = self._stacks[number] = ExitStack()
        other = f"127.0.0.1:{self._gossip[1 - number]}"
        part = services.peer(
            self._folder / str(number), self._config, (other,), self._ports[number], self._gossip[number]
        )
        try:
            _, self._processes[number] = stack.enter_context(part)
        except Unavailable as error:
            absent(error)

    def kill(self, number: int) -> None:
        self._processes[number].kill()
        self._processes[number].wait()

    def first(self) -> int:
        """Which of them notifies while both are up: the other one waits for it, and keeps still when it has."""
        return min((0, 1), key=self._position)

    def joined(self) -> bool:
        return all(
            (status := httpx.get(f"{url}/api/v2/status", trust_env=False).json()["cluster"])["status"] == "ready"
            and len(status["peers"]) == 2
            for url in self.urls
        )

    def close(self) -> None:
        for stack in self._stacks.values():
            stack.close()

    def _position(self, number: int) -> int:
        text = httpx.get(f"{self.urls[number]}/metrics", trust_env=False).text
        found = re.search(r"^alertmanager_peer_position (\d+)", text, re.MULTILINE)
        assert found is not None
        return int(found[1])


def until(true: Callable[[], object], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.1)


@pytest.fixture
def pair(tmp_path: Path, web: Target) -> Iterator[Pair]:
    found = Pair(tmp_path, web.url)
    try:
        found.start(0)
        found.start(1)
        until(found.joined, "the pair", 90)
        yield found
    finally:
        found.close()


@pytest.mark.real
def test_one_dies_and_a_person_is_told_once_that_it_began_and_once_that_it_is_over(
    sqlite_store: Store, web: Target, pair: Pair
) -> None:
    clock = Clock(time.time_ns() // 1000)
    peers = AlertmanagerPeers(pair.urls, resend_every_us=1_000_000, hold_us=600_000_000, timeout_s=2.0)
    work = dispatcher(sqlite_store, clock, {"oncall": AlertmanagerSink(peers)})

    def told() -> list[tuple[str, str]]:
        return [(note.json["status"], alert["labels"]["id"]) for note in web.requests for alert in note.json["alerts"]]

    def driftline_goes_on() -> None:
        clock.now = time.time_ns() // 1000
        work.step()

    def goes_on_for(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            driftline_goes_on()
            time.sleep(0.2)

    def has_told(expected: list[tuple[str, str]]) -> bool:
        driftline_goes_on()
        return told() == expected

    # Whoever would tell it dies before it can: the other one waits for it, and tells. (Killed between telling a person
    # and telling its peer, no Alertmanager could keep the other one still.)
    doomed, document = pair.first(), anomaly()
    pair.kill(doomed)
    tell(sqlite_store, clock, "oncall", document)
    until(lambda: has_told([("firing", document["id"])]), "the notification")

    # It comes back, and is told again all the time what it does not know: it learns that a person was told.
    pair.start(doomed)
    until(pair.joined, "the pair again", 90)
    goes_on_for(6)
    assert told() == [("firing", document["id"])]

    # The one that told it dies as well: the one that never did keeps still, and tells the end.
    pair.kill(1 - doomed)
    goes_on_for(6)
    assert told() == [("firing", document["id"])]
    tell(sqlite_store, clock, "oncall", anomaly(state="resolved"))
    both = [("firing", document["id"]), ("resolved", document["id"])]
    until(lambda: has_told(both), "the end")
    goes_on_for(4)
    assert told() == both
