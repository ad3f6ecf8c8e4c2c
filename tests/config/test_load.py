from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.config.alerts import AlertmanagerSink, GrafanaSink
from monitor.config.load import ConfigError, load, loads
from monitor.config.model import Config

ROOT = Path(__file__).parent.parent.parent


def fault(text: str, environment: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as raised:
        loads(text, file="x.yaml", environment=environment or {})
    return str(raised.value)


def test_an_empty_file_is_the_defaults() -> None:
    assert loads("") == Config() == loads("# nothing\n") == loads("{}")


def test_the_example_loads() -> None:
    config = load(ROOT / "docs" / "driftline.example.yaml", environment={})
    assert config.timezone == "Europe/Berlin"
    assert config.prices.models[0].since == "2026-01-01"
    assert isinstance(config.alerts.sinks["oncall"], AlertmanagerSink)
    assert config.segments.rules[0].where == {"source": ("scan", "photo")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "kafka:\n  comit_every: 5s\n",
            "x.yaml:2: kafka.comit_every: unknown key; did you mean commit_every? the keys",
        ),
        ("kafka:\n  commit_every: 5\n", "x.yaml:2: kafka.commit_every: expected a duration, got 5; write a number and"),
        ("kafka:\n  group: 7\n", "x.yaml:2: kafka.group: expected text, got 7; write it in quotes: '7'"),
        ("kafka:\n  topics: a\n", "x.yaml:2: kafka.topics: expected a list, got 'a'; write [first, second]"),
        ("store: hello", "x.yaml:1: store: expected a section of `key: value` lines with the keys url, got 'hello'"),
        (
            "routes:\n  a:\n    stakes: hgh\n",
            "x.yaml:3: routes.a.stakes: expected 'low', 'medium' or 'high', got 'hgh' (did you mean high?)",
        ),
        (
            "segments:\n  rules:\n    - name: y\n      where: {a: [x, 1]}\n",
            "x.yaml:4: segments.rules[0].where.a[1]: expected text, got 1; write it in quotes: '1'",
        ),
        ("segments:\n  rules:\n    - route: y\n", "x.yaml:3: segments.rules[0].name: missing; write name:"),
        (
            "alerts:\n  sinks:\n    a: {kind: wbhook}\n",
            "x.yaml:3: alerts.sinks.a: unknown kind 'wbhook' (did you mean webhook?); write `kind:` and one of",
        ),
        (
            "alerts:\n  sinks:\n    a: {url: http://x}\n",
            "sinks.a: the key `kind` is missing; write `kind:` and one of alertmanager, grafana, webhook, slack, smtp,",
        ),
        (
            "alerts: {sinks: {a: {kind: alertmanager, urls: ['http://am:9093', 'am-1:9093']}}}",
            "urls[1]: expected an address that begins with http:// or https://, got 'am-1:9093'; write http://am-1:909",
        ),
        (
            "alerts: {sinks: {a: {kind: alertmanager, urls: []}}}",
            "alerts.sinks.a.urls: expected a list of at least 1, got an empty one; write [first, second]",
        ),
        (
            "alerts: {sinks: {a: {kind: alertmanager, urls: ['http://x'], resend_every: 0s}}}",
            "alerts.sinks.a.resend_every: expected 1s or more, got '0s': an alert ends ten times that after it was sen",
        ),
        (
            "alerts: {sinks: {a: {kind: webhook, url: ''}}}",
            "alerts.sinks.a.url: expected an address that begins with http:// or https://, got ''; write for example",
        ),
        (
            "alerts: {sinks: {a: {kind: webhook, url: 'ftp://me:secret@x'}}}",
            "alerts.sinks.a.url: expected an address that begins with http:// or https://, got 'ftp://…@x'; write for",
        ),
        (
            "alerts: {sinks: {a: {kind: webhook, url: 'http://x:99999/'}}}",
            "alerts.sinks.a.url: expected an address that begins with http:// or https://, a host, and a port from 1 t",
        ),
        (
            "alerts: {sinks: {a: {kind: grafana, url: 'https:///g'}}}",
            "alerts.sinks.a.url: expected an address that begins with http:// or https://, a host, and a port",
        ),
        (
            "alerts: {sinks: {a: {kind: slack, url: 'hooks.example/T0/hidden'}}}",
            "sinks.a.url: expected an address that begins with http:// or https://, got a value that is not shown; wri",
        ),
        (
            "alerts: {sinks: {a: {kind: kafka, topic: 'a b/..'}}}",
            "alerts.sinks.a.topic: expected the name of a Kafka topic, got 'a b/..'; write 1 to 249 of the letters",
        ),
        ("kafka: {topics: [a, ..]}", "kafka.topics[1]: expected the name of a Kafka topic, got '..'; write"),
        (
            "kafka: {topics: [a]}\nalerts: {sinks: {k: {kind: kafka, topic: a}}}",
            "alerts.sinks.k.topic is 'a', which driftline reads; give anomalies a topic of their own",
        ),
        (
            f"alerts: {{sinks: {{'{'k' * 61}': {{kind: kafka}}}}}}",
            "alerts.sinks: a sink's name has 1 to 60 characters that can be printed, got 'kkk",
        ),
        (
            "alerts: {app_url: 'javascript:alert(1)'}",
            "alerts.app_url: expected an address that begins with http:// or https://, got 'javascript:alert(1)'; wri",
        ),
        (
            "alerts: {runbook_url: 'x y'}",
            "alerts.runbook_url: expected an address that begins with http:// or https:// and has no spaces, got 'x y'",
        ),
        (
            "alerts: {dashboard_url: 'https://g.example/?orgId=1'}",
            "expected an address that paths can be put behind, got 'https://g.example/?orgId=1'; leave out what follow",
        ),
        (
            "dashboards: {url: g}",
            "dashboards.url: expected an address that begins with http:// or https://, got 'g'; write",
        ),
        (
            "owners:\n  a:\n    segments: ['*x*']\n",
            "x.yaml:3: owners.a.segments: expected a segment's name, or its beginning and one *, got '*x*'; write for",
        ),
        ("owners: {a: {segments: ['']}}", "expected a segment's name, or its beginning and one *, got ''"),
        (
            "owners:\n  a: {segments: ['x*']}\n  b: {segments: ['y', 'x*']}\n",
            "x.yaml:1: owners: b.segments has 'x*', of which nothing is left: a comes first and has all of it; take it",
        ),
        ("owners: {a: {segments: ['x*']}, b: {segments: ['xy*']}}", "b.segments has 'xy*', of which nothing is left"),
        ("owners: {a: {segments: ['*']}, b: {segments: ['xy']}}", "b.segments has 'xy', of which nothing is left"),
        ('owners: {"a\\nb": {segments: [x]}}', "owners: an owner's name has 1 to 100 characters that can be printed"),
        (
            "alerts:\n  sinks:\n    a:\n      kind: webhook\n      url: http://x\n      sekret: 3\n",
            (
                "x.yaml:6: alerts.sinks.a.sekret: unknown key; did you mean secret? the keys here are kind, url, "
                "secret, severities"
            ),
        ),
        ("budget:\n  page: 3\n", "x.yaml:2: budget.page: expected a false-alarm budget, got 3; write COUNT per PERIOD"),
        ("\nevaluation: {every: 90s}", "x.yaml:2: evaluation: `every` must be a multiple of the window, 1m"),
        ("timezone: Mars/Base\n", "x.yaml:1: timezone: expected an IANA time zone, got 'Mars/Base'"),
        ("retention: {labels: 30d}\n", "retention.labels must be at least retention.samples"),
        ("retention: {minute: 1d}\n", "retention.minute must be at least kafka.allowed_lateness and a day more"),
        ("privacy: {redact: [{name: a, pattern: '('}]}", "x.yaml:1: privacy.redact[0].pattern: expected a regular"),
        ("kafka:\n  group: a\n  group: b\n", "x.yaml:3: kafka.group: this key is already on line 2"),
        ("a: [1,\nb: }", "x.yaml:2: this is not YAML:"),
        ("- 1\n", "x.yaml:1: the file must be a mapping"),
        ("store: {}\n---\nstore: {}\n", "several YAML documents"),
        ("kafka: {group: !secret x}", "the tag !secret is not allowed"),
        ("kafka: {group: !!python/name:os.system x}", "is not allowed"),
        ("kafka: &k {group: a}\nstore: {<<: *k}\n", "merge keys"),
        ("kafka: {group: '${NOPE}'}", "x.yaml:1: kafka.group: the environment variable NOPE is not set"),
        ("kafka: {group: '${not ok}'}", "expected the name of an environment variable, got ${not ok}"),
    ],
)
def test_a_fault_names_line_key_what_was_got_and_what_to_write(text: str, expected: str) -> None:
    assert expected in fault(text)


@pytest.mark.parametrize(
    ("short", "model", "pretrained"),
    [
        ("ViT-B-32/laion2b_s34b_b79k", "ViT-B-32", "laion2b_s34b_b79k"),
        ("ViT-B-32//models/x.pt", "ViT-B-32", "/models/x.pt"),
        ("ViT-B-32/./x.pt", "ViT-B-32", "./x.pt"),
        ("ViT-B-32/models/deep/x.pt", "ViT-B-32", "models/deep/x.pt"),
    ],
)
def test_open_clip_in_one_text(short: str, model: str, pretrained: str) -> None:
    """Everything behind the first slash is `pretrained`; the section says the same, and has the same version."""
    config = loads(f"encoder: {{open_clip: '{short}'}}")
    assert config == loads(f"encoder: {{open_clip: {{model: {model}, pretrained: {pretrained}}}}}")
    found = config.encoder.open_clip
    assert found is not None and (found.model, found.pretrained, found.device) == (model, pretrained, "auto")


@pytest.mark.parametrize("short", ["ViT-B-32", "ViT-B-32/", "/laion2b", "''", "/"])
def test_open_clip_in_one_text_needs_both(short: str) -> None:
    got = short.strip("'")
    expected = f"x.yaml:2: encoder.open_clip: expected MODEL/PRETRAINED, got {got!r}; write the architecture, a slash,"
    assert fault(f"encoder:\n  open_clip: {short}\n").startswith(expected)


def test_addresses_topics_and_owners_as_they_may_be() -> None:
    """What the checks above must not refuse: paths, ports, users, addresses of six, names in any script."""
    addresses = ["http://am-0:9093", "https://me:pw@am.example/prefix/", "http://[::1]:9093", "http://müller.example"]
    config = loads(
        json.dumps(
            {
                "kafka": {"topics": ["Events.v2_eu-west"]},
                "alerts": {
                    "app_url": "https://d.example/driftline",
                    "runbook_url": None,
                    "sinks": {
                        "a": {"kind": "alertmanager", "urls": addresses, "resend_every": "1s"},
                        "w": {"kind": "webhook", "url": "https://x.example/hook?key=%20a&b#c"},
                    },
                },
                "owners": {"first": {"segments": ["x/special", "y"]}, "rest": {"segments": ["x*", "z", "z*"]}},
            }
        )
    )
    sink = config.alerts.sinks["a"]
    assert isinstance(sink, AlertmanagerSink)
    assert (list(sink.urls), sink.resend_every) == (addresses, 1_000_000)
    assert [name for name, owner in config.owners.items() if owner.covers("x/special")] == ["first", "rest"]


def test_all_faults_come_at_once_in_the_order_of_the_file() -> None:
    lines = fault("timezone: x\nkafka:\n  group: 1\n  zzz: 1\nserve: {port: 99999}\n").splitlines()
    assert [line.split(": ")[0] for line in lines] == ["x.yaml:1", "x.yaml:3", "x.yaml:4", "x.yaml:5"]


def test_a_bomb_is_refused_before_it_unfolds() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
    assert "50000 values" in fault(bomb)
    assert "50000 values" in fault("a: &x [*x]\n")
    assert "nested deeper" in fault("[" * 10_000)
    assert "larger than" in fault("#" * 2_000_000)


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"timezone: \xe9\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "latin.yaml")


def test_the_environment_fills_texts_and_two_dollars_keep_them() -> None:
    text = "kafka: {group: 'a-${G}', bootstrap: '$${G}'}\nserve: {port: '${P}'}"
    config = loads(text, environment={"G": "g", "P": "9"})
    assert (config.kafka.group, config.kafka.bootstrap, config.serve.port) == ("a-g", "${G}", 9)


def test_secrets_come_from_files(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("open sesame\n")
    text = f"kafka: {{password_file: {file}}}\nalerts:\n  sinks:\n    team-1: {{kind: grafana, url: http://g}}\n"
    environment = {
        "DRIFTLINE_ALERTS_SINKS_TEAM_1_TOKEN_FILE": str(file),
        "DRIFTLINE_PRIVACY_HASH_KEY_FILE": str(file),
    }
    config = loads(text, environment=environment)
    sink = config.alerts.sinks["team-1"]
    assert isinstance(sink, GrafanaSink)
    assert config.kafka.password == sink.token == config.privacy.hash_key == "open sesame"


def test_two_sources_of_a_secret_and_a_missing_file_are_faults(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("x")
    both = fault(f"kafka:\n  password: a\n  password_file: {file}\n")
    assert "x.yaml:3: kafka.password: password and password_file are all set; keep one" in both
    absent = fault("kafka:\n  password_file: /nowhere/secret\n")
    assert "x.yaml:2: kafka.password: the secret file '/nowhere/secret'" in absent
    assert "DRIFTLINE_STORE_URL_FILE" in fault("", {"DRIFTLINE_STORE_URL_FILE": "/nowhere/secret"})


def test_a_faulty_secret_is_not_repeated() -> None:
    text = fault("kafka: {password: [hunter2]}\nprivacy: {hash_key: 123454321}\n")
    assert "hunter2" not in text
    assert "123454321" not in text
    assert "hidden" not in fault("alerts: {sinks: {a: {kind: slack, url: 'hooks.example/T0/hidden'}}}")


@given(st.text(max_size=200))
def test_any_text_loads_or_is_refused_with_a_line(text: str) -> None:
    try:
        loads(text, environment={})
    except ConfigError as error:
        assert error.problems
        assert all(problem.line >= 1 and problem.text for problem in error.problems)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(Config.model_fields)), json_values, max_size=4))
def test_any_value_under_any_key_loads_or_is_explained(data: dict[str, object]) -> None:
    try:
        loads(json.dumps(data), environment={})
    except ConfigError as error:
        assert all(problem.text for problem in error.problems)
