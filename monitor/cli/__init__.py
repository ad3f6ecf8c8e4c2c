"""The `driftline` command. Subcommands are imported when they are called, so that `--help` is quick."""

from __future__ import annotations

import click

from monitor.cli.lazy import LazyGroup

# name: (module that carries a click command of the attribute's name, attribute, one line for --help)
COMMANDS = {
    "alerts": ("monitor.cli.alerts", "alerts", "Look into the outbox and send what is due."),
    "budget": ("monitor.cli.budget", "budget", "Say what the false-alarm budget buys."),
    "changes": ("monitor.cli.changes", "changes", "List what changed in a past period, at a false discovery rate."),
    "config": ("monitor.cli.configuration", "config", "Check a configuration file, or show what is in effect."),
    "cost": ("monitor.cli.cost", "cost", "Say what segments cost, why, and what caps would have saved."),
    "dashboards": ("monitor.cli.dashboards", "dashboards", "Write the Grafana dashboards and alert rules."),
    "demo": ("monitor.cli.demo", "demo", "Watch a simulated feature, with incidents at known times."),
    "dlq": ("monitor.cli.dlq", "dlq", "Look at records that could not be used; have them read again."),
    "doctor": ("monitor.cli.doctor", "doctor", "Try every connection and say what to do where one fails."),
    "encoder": ("monitor.cli.encoder", "encoder", "Export, inspect and try the encoder."),
    "export": ("monitor.cli.export", "export", "Write summaries, samples or anomalies as canonical JSON lines."),
    "forget": ("monitor.cli.forget", "forget", "Erase what is stored about a user or an event."),
    "reference": ("monitor.cli.reference", "reference", "Build, compare and activate references."),
    "report": ("monitor.cli.report", "report", "What changed in a week, what it cost, what there is to decide."),
    "replay": ("monitor.cli.replay", "replay", "Send files of native events to a Kafka topic."),
    "review": ("monitor.cli.review", "review", "Label what was drawn for review, and read error rates."),
    "run": ("monitor.cli.run", "run", "Run the service."),
    "status": ("monitor.cli.status", "status", "Say what has been read, stored and found."),
    "token": ("monitor.cli.tokens", "token", "Create, list and revoke access tokens."),
}


@click.group(cls=LazyGroup, commands_by_name=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="driftline", prog_name="driftline")
def main() -> None:
    """Watch a multimodal LLM feature in production.

    \b
    Example:
      driftline config check driftline.yaml
      driftline run --config driftline.yaml
    """
