"""Building, approving, activating and comparing references through the command; stakes; stream names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from detectors.rates import RateReference, log_bets
from detectors.summaries.catalogue import BY_NAME
from monitor.cli.reference import reference
from monitor.config.model import Config
from monitor.evaluate.references import FittedStream, Reference, ReferenceFormatError
from monitor.evaluate.streams import CATALOGUE, Ownership, spec_of
from monitor.evaluate.worker import EvaluateWorker
from monitor.store import references
from monitor.store.engine import Store, open_store
from monitor.store.tables import references as reference_sets
from tests.evaluate.traffic import DAY_US, START_US, Change, Segment, write

LATER = START_US + 8 * DAY_US


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "driftline.yaml").write_text(f"store:\n  url: sqlite:///{tmp_path}/driftline.db\n")
    store = open_store(f"sqlite:///{tmp_path}/driftline.db")
    change = Change(LATER, rates={"schema_violation": 0.1}, slow_share=0.3, slow=3.0)
    write(store, [Segment("a", 60.0, changes=(change,)), Segment("b", 60.0)], days=16)
    store.close()
    return tmp_path


def call(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(reference, [arguments[0], "--config", str(home / "driftline.yaml"), *arguments[1:]])


def stored(home: Path) -> list[references.ReferenceSet]:
    store = open_store(f"sqlite:///{home}/driftline.db")
    try:
        return references.list_references(store)
    finally:
        store.close()


def test_a_reference_from_draft_to_active(home: Path) -> None:
    built = call(home, "build", "--from", "2026-01-05", "--to", "2026-01-13")
    assert built.exit_code == 0, built.output
    assert "a: " in built.output and "b: " in built.output
    again = call(home, "build", "--from", "2026-01-13", "--to", "2026-01-21T00:00+00:00", "--segment", "a")
    assert again.exit_code == 0, again.output
    first, second, other = stored(home)
    assert [(r.segment, r.version, r.state) for r in (first, second, other)] == [
        ("a", 1, "draft"), ("a", 2, "draft"), ("b", 1, "draft"),
    ]  # fmt: skip
    listed = call(home, "list", "--segment", "a").output
    assert first.reference_id[:8] in listed and other.reference_id[:8] not in listed
    shown = call(home, "show", first.reference_id[:6]).output
    assert f"sha256 {first.digest}" in shown and "schema_violation_rate" in shown

    refused = call(home, "activate", first.reference_id)
    assert refused.exit_code == 1
    assert "is draft" in refused.output
    for row in (first, second):
        assert call(home, "approve", row.reference_id).exit_code == 0
        assert call(home, "activate", row.reference_id).exit_code == 0
    assert [r.state for r in stored(home)] == ["retired", "active", "draft"]
    assert [r.digest for r in stored(home)] == [first.digest, second.digest, other.digest]

    told = call(home, "diff", first.reference_id, second.reference_id).output
    assert "Schema_violation_rate rose from 1.9 % to" in told or "Schema_violation_rate rose from 2" in told
    assert "The p95 of latency_total rose from" in told
    assert "cost" not in told
    assert call(home, "diff", first.reference_id, first.reference_id).output == "Nothing changed by a tenth or more.\n"


def test_errors_say_what_to_do(home: Path) -> None:
    assert "write for example 2026-01-05" in call(home, "build", "--from", "yesterday", "--to", "2026-01-06").output
    assert "not closed yet" in call(home, "build", "--from", "2026-01-05", "--to", "2026-03-01").output
    assert "known: a, b" in call(
        home, "build", "--from", "2026-01-05", "--to", "2026-01-07", "--segment", "c"
    ).output  # fmt: skip
    assert "see `driftline reference list`" in call(home, "show", "ffff").output


def test_every_command_has_an_example() -> None:
    for command in (reference, *reference.commands.values()):
        assert "Example:\n" in (command.help or ""), command.name


def test_activating_another_reference_starts_its_streams_from_zero(home: Path) -> None:
    store = open_store(f"sqlite:///{home}/driftline.db")
    worker = EvaluateWorker(store, Config(), clock=lambda: LATER / 1e6)
    for _ in range(16):
        worker.step()  # eight days: the reference is learned
    before = references.active_ids(store)["a"]
    call(home, "build", "--from", "2026-01-05", "--to", "2026-01-12", "--segment", "a")
    (draft,) = references.list_references(store, "a", "draft")
    # Learned and built from the same stretch they are the same but for their version.
    assert references.get(store, before).content == draft.content
    references.approve(store, draft.reference_id)
    references.activate(store, draft.reference_id)
    worker.step()
    assert worker._session is not None
    kept = {s.segment: s.reference_id for s in worker._session.bank.streams}
    assert kept["a"] == draft.reference_id
    worker.close()
    store.close()


def test_contents_come_back_and_newer_ones_are_refused(home: Path) -> None:
    import msgspec

    call(home, "build", "--from", "2026-01-05", "--to", "2026-01-13", "--segment", "b")
    (row,) = stored(home)
    found = Reference.from_content(row.content)
    assert found.to_content() == row.content
    newer = {**msgspec.msgpack.decode(row.content), "format": 3}
    with pytest.raises(ReferenceFormatError, match="format 3"):
        Reference.from_content(msgspec.msgpack.encode(newer))
    with pytest.raises(ReferenceFormatError, match="build it again"):
        Reference.from_content(b"\xc1")


def test_a_changed_content_is_noticed(home: Path) -> None:
    call(home, "build", "--from", "2026-01-05", "--to", "2026-01-13", "--segment", "b")
    (row,) = stored(home)
    store: Store = open_store(f"sqlite:///{home}/driftline.db")
    with store.write() as connection:
        connection.execute(reference_sets.update().values(content=row.content + b"\x00"))
    with pytest.raises(references.ReferenceFault, match="damaged"):
        references.get(store, row.reference_id)
    store.close()


def test_a_reference_of_the_first_format_counted_what_is_not_routed_to_its_tier() -> None:
    hits, trials = [20] * 14, [100] * 14
    fit = RateReference.fit(hits, trials, min_effect=1.5)
    kept = Reference("s", "r", 0, 1, streams={"routing_mix": FittedStream(spec_of("routing_mix", "cheap"), fit)})
    content = msgspec.msgpack.decode(kept.to_content())
    now = Reference.from_content(msgspec.msgpack.encode(content)).streams["routing_mix"].fit
    before = Reference.from_content(msgspec.msgpack.encode({**content, "format": 1})).streams["routing_mix"].fit
    assert isinstance(now, RateReference) and isinstance(before, RateReference)
    assert (now.rate, before.rate) == pytest.approx((0.2, 0.8))
    assert (before.p_minus, before.p_plus) == pytest.approx((1.0 - now.p_plus, 1.0 - now.p_minus))
    # The usual traffic bets nothing on either side.
    assert (log_bets([80], [100], [before.p_plus], [before.p_minus], direction="both") < 0).all()


def test_every_stream_is_a_signal_of_the_catalogue() -> None:
    for spec in CATALOGUE:
        assert spec.signal in BY_NAME, spec.signal
        assert spec_of(spec.signal) == spec
    assert spec_of("routing_mix", "small").label == "small"
    assert spec_of("latency_stage_model_p95").label == "model"
    assert "latency_stage_p95" in BY_NAME and "routing_mix" in BY_NAME


@pytest.mark.parametrize(
    ("segment", "expected"),
    [
        ("extract/acme", "medium"),
        ("extract/umbrella", "high"),
        ("vip-stark", "low"),
        ("slice:x", "medium"),
        ("?", "medium"),
    ],
)
def test_stakes_follow_rules_and_routes(segment: str, expected: str) -> None:
    rules: list[dict[str, Any]] = [
        {"name": "extract/{tenant}", "route": "extract", "where": {"tenant": ["umbrella"]}, "stakes": "high"},
        {"name": "vip-{tenant}", "stakes": "low"},
    ]
    ownership = Ownership(Config.model_validate({"segments": {"rules": rules}}))
    assert ownership.stakes(segment, "extract") == expected


def test_owners_have_segments_and_budgets_of_their_own() -> None:
    owners = {"billing": {"segments": ["cost/*"], "budget": {"page": "3 per 7d"}}}
    ownership = Ownership(Config.model_validate({"owners": owners}))
    assert (ownership.owner("cost/eu"), ownership.owner("extract")) == ("billing", "default")
    assert str(ownership.allowance("billing", "page")) == "3 per 1w"
    assert str(ownership.allowance("default", "ticket")) == str(ownership.allowance("default", "report")) == "2 per 1w"
