"""Replay: keys, times, shifts, paces and files that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from monitor.replay import (
    ReplayError,
    parse_pace,
    parse_shift,
    read_events,
    send_events,
    time_range,
)
from monitor.times import iso, parse_time

FIRST = "2026-11-02T09:14:03.412Z"


class Recorder:
    """A producer that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes | None, bytes, int]] = []

    def send(self, topic: str, *, key: bytes | None, value: bytes, timestamp_ms: int) -> None:
        self.sent.append((key, value, timestamp_ms))


def write(path: Path, documents: list[Any]) -> Path:
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))
    return path


def sample(**more: Any) -> dict[str, Any]:
    return {"id": "1", "time": FIRST, "route": "r", **more}


def test_bytes_keys_and_timestamps_are_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "e.jsonl", [sample(user_id="u", session_id="s"), sample(session_id="s"), sample()])
    recorder = Recorder()
    sent = send_events(read_events([path]), recorder, "t")
    assert sent.events == 3
    assert [key for key, _, _ in recorder.sent] == [b"u", b"s", None]
    assert [value for _, value, _ in recorder.sent] == path.read_bytes().splitlines()
    assert {stamp for _, _, stamp in recorder.sent} == {parse_time(FIRST) // 1000}


def test_a_shift_moves_time_and_timestamp_and_nothing_else(tmp_path: Path) -> None:
    path = write(tmp_path / "e.jsonl", [sample(), sample(id="2", time=parse_time(FIRST) // 1000 + 5000)])
    recorder = Recorder()
    send_events(read_events([path]), recorder, "t", shift_us=86_400_000_000)
    first, second = (json.loads(value) for _, value, _ in recorder.sent)
    assert first == sample(time="2026-11-03T09:14:03.412Z")
    assert second["time"] == "2026-11-03T09:14:08.412Z"
    assert recorder.sent[1][2] - recorder.sent[0][2] == 5000


def test_shifts() -> None:
    assert parse_shift("none", 5, 9, 100) == 0
    assert parse_shift("now", 5, 9, 100) == 91
    assert parse_shift("1970-01-02", 5, 9, 100) == 86_400_000_000 - 5
    with pytest.raises(ReplayError, match="tomorrow"):
        parse_shift("tomorrow", 5, 9, 100)


@pytest.mark.parametrize(("text", "pace"), [("real", 1.0), ("60x", 60.0), ("0.5", 0.5), ("max", float("inf"))])
def test_paces(text: str, pace: float) -> None:
    assert parse_pace(text) == pace


@pytest.mark.parametrize("text", ["fast", "0", "-3x", "nan", "inf", ""])
def test_what_is_no_pace(text: str) -> None:
    with pytest.raises(ReplayError, match="60x"):
        parse_pace(text)


def test_a_pace_waits_for_each_events_time(tmp_path: Path) -> None:
    begin = parse_time(FIRST)
    path = write(tmp_path / "e.jsonl", [sample(time=(begin + s * 1_000_000) // 1000) for s in (0, 10, 5, 20)])
    now = [0.0]
    gone: list[float] = []

    def sleep(seconds: float) -> None:
        now[0] += seconds

    send_events(
        read_events([path]), Recorder(), "t", pace=10.0, clock=lambda: now[0], sleep=sleep,
        progress=lambda _: gone.append(round(now[0], 3)),
    )  # fmt: skip
    assert gone == [0.0, 1.0, 1.0, 2.0]


def test_parquet_is_read_without_its_nulls(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    path = tmp_path / "e.parquet"
    rows = [sample(usage={"input_tokens": 3, "output_tokens": None}, user_id=None), sample(id="2", user_id="u")]
    pq.write_table(pa.Table.from_pylist(rows), path)
    recorder = Recorder()
    send_events(read_events([path]), recorder, "t")
    first, second = (json.loads(value) for _, value, _ in recorder.sent)
    assert first == sample(usage={"input_tokens": 3})
    assert second["user_id"] == "u"
    assert recorder.sent[1][0] == b"u"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{nope", "not JSON"),
        ("[1]", "a JSON object"),
        ('{"id": "1"}', "`time`"),
        ('{"time": "noon"}', "noon"),
        ('{"time": true}', "True"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "e.jsonl"
    path.write_text(json.dumps(sample()) + "\n\n" + line + "\n")
    with pytest.raises(ReplayError, match=message) as raised:
        time_range([path])
    assert f"{path}:3" in str(raised.value)


def test_no_event_at_all(tmp_path: Path) -> None:
    (tmp_path / "e.jsonl").write_text("\n")
    with pytest.raises(ReplayError, match="no event"):
        time_range([tmp_path / "e.jsonl"])


def test_the_range_counts_every_file(tmp_path: Path) -> None:
    a = write(tmp_path / "a.jsonl", [sample(time="2026-11-02")])
    b = write(tmp_path / "b.jsonl", [sample(time="2026-11-01T00:00:00+02:00"), sample(time="2026-11-05")])
    first, last, count = time_range([a, b])
    assert (iso(first), iso(last), count) == ("2026-10-31T22:00:00Z", "2026-11-05T00:00:00Z", 3)


def test_replayed_into_a_broker(broker_bootstrap: str, tmp_path: Path) -> None:
    from tests.service.process import cli, write_config

    path = write(tmp_path / "e.jsonl", [sample(id=str(i), user_id=f"u{i % 3}") for i in range(50)])
    config = write_config(tmp_path, broker_bootstrap, topic="replayed")
    done = cli("replay", str(path), "--config", str(config), "--create", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("50 events")
    again = cli("replay", str(path), "--config", str(config))
    assert again.returncode == 0
    drained = cli("run", "--drain", "--role", "ingest", "--config", str(config), "--log-format", "json")
    assert drained.returncode == 0, drained.stderr[-2000:]
    status = json.loads(cli("status", "--json", "--config", str(config)).stdout)
    assert (status["events"], status["duplicates"]) == (50, 50)
