"""The command line: help, documentation, configuration errors, and the commands that read the store."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from detectors.summaries.summary import Summary
from monitor.cli import COMMANDS, main
from monitor.store.engine import open_store
from tests.service.store_of_page import HOSTILE, fill

ROOT = Path(__file__).resolve().parents[2]


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with its path, groups too."""
    if path:
        yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, (*path, name))


EVERY = list(commands(main))


def call(*arguments: str, input: str | None = None) -> Result:
    return CliRunner().invoke(main, list(arguments), input=input)


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "driftline.yaml"
    path.write_text(f"kafka: {{topics: [inference]}}\nstore: {{url: 'sqlite:///{tmp_path}/d.db'}}\n")
    return str(path)


@pytest.fixture
def filled(config: str, tmp_path: Path) -> str:
    store = open_store(f"sqlite:///{tmp_path}/d.db")
    fill(store, Summary().to_state())
    store.close()
    return config


def test_help_imports_no_subcommand() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from click.testing import CliRunner; from monitor.cli import main; "
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0; "
        "bad = {'numpy', 'sqlalchemy', 'kafka', 'monitor.service'} & set(sys.modules); sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("path", "command"), EVERY, ids=lambda v: " ".join(v) if isinstance(v, tuple) else "")
def test_help_has_an_example_and_says_what_each_option_does(path: tuple[str, ...], command: click.Command) -> None:
    done = call(*path, "--help")
    assert done.exit_code == 0, done.output
    assert "Example:" in done.output
    assert f"driftline {path[0]}" in done.output
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{' '.join(path)} {parameter.opts}"


@pytest.mark.parametrize(("path", "command"), EVERY, ids=lambda v: " ".join(v) if isinstance(v, tuple) else "")
def test_every_command_and_option_is_documented(path: tuple[str, ...], command: click.Command) -> None:
    """docs/cli.md has a heading per command and names its options beneath."""
    text = (ROOT / "docs" / "cli.md").read_text()
    heading = f"\n{'#' * (1 + len(path))} driftline {' '.join(path)}\n"
    assert heading in text, f"docs/cli.md lacks {heading!r}"
    section = text.split(heading, 1)[1].split("\n#", 1)[0]
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert any(f"`{name}" in section for name in parameter.opts), f"{' '.join(path)}: {parameter.opts}"


def test_documentation_names_no_command_that_is_not_there() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    named = set(re.findall(r"^#+ driftline (.+)$", text, re.M))
    assert named == {" ".join(path) for path, _ in EVERY}


def test_every_registered_command_can_be_imported() -> None:
    assert {path[0] for path, _ in EVERY} == set(COMMANDS)


def test_config_check_names_file_line_key_and_remedy(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("kafka:\n  topics: [a]\n  commit_every: soon\nbudgets: {}\n")
    done = call("config", "check", str(path))
    assert done.exit_code == 1
    assert f"{path}:3: kafka.commit_every" in done.output
    assert "soon" in done.output
    assert f"{path}:4" in done.output
    assert "Traceback" not in done.output


def test_config_check_of_a_good_file(config: str) -> None:
    assert call("config", "check", config).output == f"{config}: valid\n"


def test_config_show_hides_secrets(tmp_path: Path) -> None:
    path = tmp_path / "d.yaml"
    path.write_text("kafka: {topics: [a], password: hunter2}\nstore: {url: 'postgresql://u:hunter2@h/d'}\n")
    done = call("config", "show", "--config", str(path))
    assert done.exit_code == 0
    assert "hunter2" not in done.output
    assert "commit_every: 5s" in done.output


def test_a_missing_configuration(tmp_path: Path) -> None:
    done = call("status", "--config", str(tmp_path / "none.yaml"))
    assert done.exit_code == 1
    assert "none.yaml" in done.output


def test_a_store_that_was_never_migrated(config: str) -> None:
    done = call("status", "--config", config)
    assert done.exit_code == 1
    assert "driftline run" in done.output


def test_status_json_has_what_was_promised(filled: str) -> None:
    done = call("status", "--json", "--config", filled)
    found = json.loads(done.output)
    for key in ("events", "duplicates", "dead_letters", "late_events", "offsets", "segments", "samples", "anomalies"):
        assert key in found
    assert found["offsets"] == {"inference": {"0": 12345}}
    assert found["anomalies"] == {"open": 1, "resolved": 1}


def test_status_for_people(filled: str) -> None:
    done = call("status", "--config", filled)
    assert done.exit_code == 0, done.output
    assert "12,345" in done.output
    assert "1 per 30d" in done.output


def test_tokens_from_make_to_revoke(config: str) -> None:
    made = call(
        "token", "create", "--config", config, "--role", "viewer", "--note", "ada", "--expires", "30d", "--quiet"
    )
    assert made.exit_code == 0, made.output
    secret = made.output.strip()
    assert re.fullmatch(r"dl_[\w-]{43}", secret)
    listed = call("token", "list", "--config", config)
    assert "viewer" in listed.output
    assert secret not in listed.output
    from monitor.store import tokens

    store = open_store(f"sqlite:///{Path(config).parent}/d.db")
    now_us = time.time_ns() // 1000
    (row,) = tokens.list_tokens(store)
    assert tokens.role_of(store, secret, now_us=now_us) == "viewer"
    assert tokens.role_of(store, secret, now_us=now_us + 31 * 86_400_000_000) is None
    assert call("token", "revoke", "--config", config, row.token_id).exit_code == 0
    assert tokens.role_of(store, secret, now_us=now_us) is None
    again = call("token", "revoke", "--config", config, row.token_id)
    assert again.exit_code == 1
    assert "driftline token list" in again.output
    store.close()


def test_a_wrong_expiry(config: str) -> None:
    done = call("token", "create", "--config", config, "--role", "viewer", "--expires", "soon")
    assert done.exit_code == 2
    assert "soon" in done.output


@pytest.mark.parametrize(
    ("role", "reaches"), [("reviewer", "the review page"), ("admin", "the review page"), ("viewer", "the pages")]
)
def test_a_new_token_says_where_it_signs_in(config: str, role: str, reaches: str) -> None:
    done = call("token", "create", "--config", config, "--role", role)
    assert f"sign in with it at /login to reach {reaches}" in done.stderr
    assert "/login" not in done.stdout, "what is piped on is the token alone"
    assert "/login" not in call("token", "create", "--config", config, "--role", "metrics").stderr
    assert "/login" in call("token", "create", "--help").stdout


def test_dead_letters(filled: str, tmp_path: Path) -> None:
    listed = call("dlq", "list", "--config", filled)
    assert "a/b/0/9" in listed.output
    assert "malformed_json: 1" in listed.output
    shown = CliRunner().invoke(main, ["dlq", "show", "a/b/0/9", "--config", filled])
    assert shown.exit_code == 0
    assert shown.stdout_bytes == b"\xff{"
    out = tmp_path / "letters.jsonl"
    assert call("dlq", "export", "--out", str(out), "--config", filled).exit_code == 0
    (row,) = [json.loads(line) for line in out.read_text().splitlines()]
    assert row["record"] == "a/b/0/9"
    assert row["value_base64"]
    missing = call("dlq", "show", "a/b/0/10", "--config", filled)
    assert missing.exit_code == 1
    wrong = call("dlq", "show", "nine", "--config", filled)
    assert wrong.exit_code == 2
    assert "TOPIC/PARTITION/OFFSET" in wrong.output


def test_export(filled: str) -> None:
    done = call("export", "samples", "--config", filled)
    assert done.exit_code == 0, done.output
    (row,) = [json.loads(line) for line in done.output.splitlines()]
    assert HOSTILE in json.dumps(row, ensure_ascii=False).replace('\\"', '"').replace("\\u001b", "\x1b")
    assert call("export", "summaries", "--vectors", "--config", filled).exit_code == 2


def test_forget_asks_and_counts(filled: str) -> None:
    refused = call("forget", "--event", HOSTILE, "--config", filled, input="n\n")
    assert refused.exit_code == 1
    assert json.loads(call("status", "--json", "--config", filled).output)["samples"]["embedded"] == 1
    done = call("forget", "--event", HOSTILE, "--config", filled, "--yes")
    assert done.exit_code == 0, done.output
    assert "samples: 1" in done.output
    assert json.loads(call("status", "--json", "--config", filled).output)["samples"]["embedded"] == 0


def test_forget_takes_one(config: str) -> None:
    assert call("forget", "--config", config).exit_code == 2
    assert call("forget", "--user", "a", "--event", "b", "--config", config).exit_code == 2


def test_doctor_names_what_fails_and_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "d.yaml"
    path.write_text(
        f"kafka: {{bootstrap: '127.0.0.1:1', topics: [a]}}\nstore: {{url: 'sqlite:///{tmp_path}/d.db'}}\n"
        "payloads: {roots: [/nowhere]}\nserve: {port: 0}\n"
        "alerts: {sinks: {hook: {kind: webhook, url: 'http://127.0.0.1:1/x'}, "
        "chat: {kind: slack, url: 'http://127.0.0.1:1/hidden'}, "
        "mail: {kind: smtp, host: 127.0.0.1, port: 1, sender: a@x.example, recipients: [b@x.example]}, "
        "events: {kind: kafka}}}\n"
    )
    done = call("doctor", "--config", str(path))
    assert done.exit_code == 1
    for failing in ("kafka", "store", "payloads /nowhere", "sink hook", "sink chat", "sink mail", "sink events"):
        assert f"failed {failing}: " in done.output, done.output
    assert "ok     encoder: " in done.output
    assert "kafka.bootstrap" in done.output
    assert "hidden" not in done.output
    assert "Traceback" not in done.output


def test_doctor_on_a_healthy_setup(broker_bootstrap: str, tmp_path: Path) -> None:
    from tests.service.process import events, produce, write_config

    produce(broker_bootstrap, "doctor", events(1))
    sinks = "alerts: {sinks: {new: {kind: kafka, topic: doctor-s.anomalies}}}\n"
    config = write_config(tmp_path, broker_bootstrap, topic="doctor", more=sinks)
    open_store(f"sqlite:///{tmp_path}/driftline.db").close()
    done = call("doctor", "--config", str(config))
    assert done.exit_code == 0, done.output
    assert "doctor: 2 partitions" in done.output
    assert "ok     sink new: topic doctor-s.anomalies is not there yet" in done.output
