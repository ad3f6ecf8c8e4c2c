"""`driftline run`."""

from __future__ import annotations

from pathlib import Path

import click

from monitor.cli.options import Failure, config_option, read_config

ROLES = ("ingest", "embed", "evaluate", "serve")


@click.command()
@config_option
@click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice(ROLES),
    help="Run only this role; may be repeated. Default: all of them in this process.",
)
@click.option("--drain", is_flag=True, help="Read what the topics hold now, evaluate all of it, send, and exit.")
@click.option("--host", help="Listen here instead of serve.host.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Listen here instead of serve.port. A process without the role serve listens only when this is given, "
    "and then answers the probes and /metrics alone.",
)
@click.option(
    "--log-format",
    type=click.Choice(("auto", "json", "console")),
    default="auto",
    show_default=True,
    help="auto: console on a terminal, else JSON lines.",
)
@click.option(
    "--log-level",
    type=click.Choice(("debug", "info", "warning", "error")),
    default="info",
    show_default=True,
    help="The least important messages to write.",
)
def run(
    config_path: Path,
    roles: tuple[str, ...],
    drain: bool,
    host: str | None,
    port: int | None,
    log_format: str,
    log_level: str,
) -> None:
    """Run the service until it is told to stop (SIGTERM or Ctrl-C); SIGHUP reads the configuration again.

    \b
    Example:
      driftline run --config driftline.yaml
      driftline run --role ingest --role embed --port 8421
      driftline run --drain
    """
    from monitor.logs import configure
    from monitor.service import Service, ServiceError

    configure(log_format, log_level)
    config = read_config(config_path)
    try:
        code = Service(config_path, config, roles=roles or ROLES, host=host, port=port).run(drain=drain)
    except ServiceError as error:
        raise Failure(str(error)) from None
    raise SystemExit(code)
