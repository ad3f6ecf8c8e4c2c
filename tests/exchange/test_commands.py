"""`driftline review export`, `import` and `gold` from the command line."""

from __future__ import annotations

import csv
import json
import tracemalloc
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from monitor.cli import main
from monitor.store import review
from monitor.store.engine import Store, open_store
from monitor.store.evaluation import standing as evaluated
from monitor.store.review import Filters, item_id
from tests.exchange import annotated
from tests.exchange.annotated import annotation, choices
from tests.exchange.drawn import DAY_US, NOW, START, add, add_samples, new_item, said, standing, state


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "driftline.yaml").write_text(
        f"store: {{url: 'sqlite:///{tmp_path}/d.db'}}\nalerts: {{app_url: 'https://drift.example'}}\n"
    )
    opened = open_store(f"sqlite:///{tmp_path}/d.db")
    items = [new_item(n) for n in range(4)] + [new_item(9, day_us=START + 5 * DAY_US)]
    add_samples(opened, items)
    add(opened, items)
    review.label(opened, review.next_items(opened, "ann", Filters(), NOW, 600)[0].item_id, "ann", said().label, NOW)  # type: ignore[arg-type]
    review.remove(opened, item_id("s3"), "root", "", NOW)
    opened.close()
    return opened


def call(tmp_path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["review", *arguments, "--config", str(tmp_path / "driftline.yaml")])


def exported(tmp_path: Path, *arguments: str) -> list[dict[str, object]]:
    done = call(tmp_path, "export", *arguments)
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_json_lines_of_each_state(store: Store, tmp_path: Path) -> None:
    rows = exported(tmp_path)
    assert [(row["kind"], row["event_id"]) for row in rows] == [
        ("item", "e0"), ("label", "e0"), ("item", "e2"), ("item", "e1"), ("item", "e3"), ("item", "e9"),
    ]  # fmt: skip
    assert {row["v"] for row in rows} == {1}
    assert not any("score" in row or "confidence" in row or "reasons" in row for row in rows)
    assert [row["event_id"] for row in exported(tmp_path, "--state", "open")] == ["e2", "e1", "e9"]
    assert [row["event_id"] for row in exported(tmp_path, "--state", "done", "--segment", "a")] == ["e0", "e0"]
    assert exported(tmp_path, "--state", "done", "--segment", "b") == []
    assert {row.get("score") for row in exported(tmp_path, "--state", "open", "--with-predictions")} == {0.75}


def test_days_are_those_of_event_time(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = evaluated(store)
    monkeypatch.setattr(
        "monitor.store.evaluation.standing",
        lambda _: type(real)(**{n: getattr(real, n) for n in real.__slots__} | {"done_until_us": START + 6 * DAY_US}),  # type: ignore[arg-type]
    )
    assert [row["event_id"] for row in exported(tmp_path, "--days", "3")] == ["e9"]
    assert len(exported(tmp_path, "--days", "7")) == 6


def test_label_studio_out_and_in_twice(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "tasks.json"
    assert call(tmp_path, "export", "--format", "label-studio", "--out", str(out)).exit_code == 0
    tasks = json.loads(out.read_text())
    assert [task["data"]["event_id"] for task in tasks] == ["e2", "e1", "e9"]
    assert tasks[0]["data"]["image"] == f"https://drift.example/api/review/items/{item_id('s2')}/images/0"
    assert list(tmp_path.glob("*.part")) == []
    elsewhere = call(tmp_path, "export", "--format", "label-studio", "--url", "http://h:1/", "--with-predictions")
    assert json.loads(elsewhere.stdout)[0]["data"]["image"].startswith("http://h:1/api/")
    assert len(json.loads(elsewhere.stdout)[0]["predictions"]) == 1
    configuration = call(tmp_path, "export", "--format", "label-studio-config")
    assert ElementTree.fromstring(configuration.stdout).find("Choices") is not None

    back = tmp_path / "back.json"
    made = [annotated.task(task["data"], annotation(choices("verdict", "wrong"))) for task in tasks]
    back.write_text(json.dumps([*made, "nonsense"]))
    done = call(tmp_path, "import", str(back), "--format", "label-studio")
    assert (done.exit_code, done.stdout) == (0, "3  labelled\n1  no labels: passed over\n")
    assert "passed over: task 4" in done.stderr
    before = standing(store)
    again = call(tmp_path, "import", str(back), "--format", "label-studio")
    assert again.stdout == "3  known already\n1  no labels: passed over\n"
    assert standing(store) == before


def test_a_task_shows_the_part_whose_full_pixels_are_there(store: Store, tmp_path: Path) -> None:
    again = open_store(f"sqlite:///{tmp_path}/d.db")
    with again.write() as connection:
        review.want(connection, [item_id("s2")])
        found = [review.Pixels(0, 0, reason="http_404"), review.Pixels(3, 0, 80, 60, b"pixels")]
        assert review.keep(connection, item_id("s2"), found)
    again.close()
    done = call(tmp_path, "export", "--format", "label-studio", "--state", "open")
    images = [task["data"]["image"].rpartition("/")[2] for task in json.loads(done.stdout)]
    assert images == ["3", "0", "0"]


def test_a_sheet_out_filled_in_and_in(store: Store, tmp_path: Path) -> None:
    sheet = tmp_path / "labels.csv"
    assert call(tmp_path, "export", "--format", "csv", "--state", "open", "--out", str(sheet)).exit_code == 0
    with sheet.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["output"] for row in rows] == ["'=41.90"] * 3
    for row in rows[:2]:
        row["verdict"] = "wrong"
    with sheet.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    done = call(tmp_path, "import", str(sheet), "--format", "csv", "--reviewer", "bob")
    assert (done.exit_code, done.stdout) == (0, "2  labelled\n")
    assert [row[1:3] for row in standing(store)] != []
    assert {row[1] for row in standing(store) if row[2] == "bob"} == {"e2", "e1"}


def test_known_answers(store: Store, tmp_path: Path) -> None:
    known = tmp_path / "known.jsonl"
    known.write_text(
        f'{{"event_id":"e1","verdict":"wrong"}}\n{{"item_id":"{item_id("s2")}","verdict":"correct"}}\n\n{{"verdict":"wrong"}}\n'
    )
    done = call(tmp_path, "gold", str(known))
    assert (done.exit_code, done.stdout) == (0, "2  labelled\n1  no labels: passed over\n")
    assert "line 4" in done.stderr
    assert [row[2][:5] for row in standing(store) if row[4]] == ["gold:", "gold:"]
    assert state(store, "s1") == ("open", "", 0, 0)


@pytest.mark.parametrize(
    ("name", "content", "file_format", "says"),
    [
        ("x.json", b"{}x", "label-studio", "one JSON array"),
        ("x.json", "[]".encode("utf-16"), "label-studio", "UTF-16"),
        ("x.csv", b"a,b\n", "csv", "must name the columns"),
        ("x.jsonl", b"a,b\n\x1b[2J\n", "jsonl", "see --format"),
    ],
)
def test_a_file_of_another_format_is_said(
    store: Store, tmp_path: Path, name: str, content: bytes, file_format: str, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    done = call(tmp_path, "import", str(tmp_path / name), "--format", file_format)
    assert done.exit_code == 1
    assert says in done.output
    assert "\x1b" not in done.output


def test_a_file_without_labels_and_a_folder_that_is_not_there(store: Store, tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_text("\n")
    assert call(tmp_path, "import", str(tmp_path / "none.jsonl")).stdout == "no label is in it\n"
    done = call(tmp_path, "export", "--out", str(tmp_path / "not" / "there.jsonl"))
    assert done.exit_code == 1
    assert "cannot write" in done.output


def test_what_fails_halfway_leaves_the_file_as_it_was(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "labels.jsonl"
    out.write_text("before")
    monkeypatch.setattr("monitor.exchange.rows.item_document", lambda *_, **__: 1 / 0)
    assert call(tmp_path, "export", "--out", str(out)).exit_code == 1
    assert out.read_text() == "before"
    assert list(tmp_path.glob("*.part")) == []


def test_a_large_file_takes_little_memory(store: Store, tmp_path: Path) -> None:
    large = tmp_path / "large.json"
    made = json.dumps(annotated.task({"event_id": "e1", "text": "x" * 20_000}, annotation(choices("verdict", "wrong"))))
    with large.open("w") as file:
        file.write("[" + ",".join([made] * 1000) + "]")
    tracemalloc.start()
    done = call(tmp_path, "import", str(large), "--format", "label-studio")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert done.stdout == "1  labelled\n999  known already\n"
    assert large.stat().st_size > 20_000_000
    assert peak < 12 << 20


def test_a_store_that_goes_away_is_said_with_what_was_taken_in(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from monitor.exchange.intake import Interrupted, Report
    from monitor.store.engine import StoreUnavailable

    def away(*_: object, **__: object) -> Report:
        report = Report()
        report.outcomes["labelled"] = 200
        raise Interrupted(report, StoreUnavailable("the store is away"))

    monkeypatch.setattr("monitor.exchange.intake.take_in", away)
    (tmp_path / "x.jsonl").write_text("{}\n")
    done = call(tmp_path, "import", str(tmp_path / "x.jsonl"))
    assert done.exit_code == 1
    assert done.stdout == "200  labelled\n"
    assert "the store is away" in done.stderr
    assert "import the file again" in done.stderr
