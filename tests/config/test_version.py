from __future__ import annotations

from pathlib import Path

from monitor.config.document import fields, markdown
from monitor.config.load import loads
from monitor.config.model import Config
from monitor.config.reload import effective, reloadable
from monitor.config.version import config_version, document, redacted, shown

DOCS = Path(__file__).parent.parent.parent / "docs"
SECRETS = """
kafka: {password: sesame1, username: u}
store: {url: 'postgresql://u:sesame2@h/d?password=sesame3'}
payloads: {s3: {access_key: sesame4, secret_key: sesame5}}
alerts:
  sinks:
    g: {kind: grafana, url: http://g, token: sesame6}
    w: {kind: webhook, url: http://w, secret: sesame7}
privacy: {hash_key: sesame8}
"""


def test_secrets_are_in_no_text_of_the_configuration() -> None:
    config = loads(SECRETS)
    for text in (repr(config), str(config), document(config), shown(config), str(redacted(config))):
        assert "sesame" not in text
    assert redacted(config)["kafka"]["password"] == "***"
    assert redacted(config)["store"]["url"] == "postgresql://u:***@h/d"
    assert redacted(Config())["kafka"]["password"] is None


def test_the_version_is_of_what_is_in_effect_without_secrets() -> None:
    assert config_version(loads("")) == config_version(loads("serve: {port: 8420}\nkafka: {commit_every: 5000ms}"))
    assert config_version(loads("kafka: {password: a}")) == config_version(loads("kafka: {password: b}"))
    assert config_version(loads("")) != config_version(loads("serve: {port: 8421}"))
    assert len(config_version(Config())) == 64


def test_what_is_shown_loads_again() -> None:
    config = loads("routes: {a: {stakes: high}}\nbudget: {page: 3 per 30d}\nprivacy: {redact: []}")
    assert loads(shown(config)) == config


def test_a_reload_takes_what_may_change_and_names_the_rest() -> None:
    old = loads("serve: {port: 1}\nbudget: {page: 1 per 30d}")
    new = loads("serve: {port: 2}\nkafka: {group: g}\nbudget: {page: 2 per 30d}\nsegments: {max_segments: 9}")
    assert reloadable(old, new) == ["kafka.group", "serve.port"]
    taken, waiting = effective(old, new)
    assert waiting == ["kafka.group", "serve.port"]
    assert (taken.serve.port, taken.kafka.group) == (1, "driftline")
    assert taken.budget == new.budget
    assert taken.segments.max_segments == 9
    assert effective(old, old) == (old, [])


def test_every_key_has_a_description() -> None:
    missing = [path for path, info, _ in fields(Config) if info is not None and not info.description]
    assert missing == []


def test_the_page_of_the_configuration_is_fresh() -> None:
    stale = "docs/configuration.md is stale; run `python -m monitor.config.document > docs/configuration.md`"
    assert (DOCS / "configuration.md").read_text() == markdown(), stale
