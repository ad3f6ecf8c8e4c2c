"""`driftline dashboards`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from monitor.cli.options import Failure, config_option, config_or_defaults, read_config

if TYPE_CHECKING:
    from dashboards.configured import Settings
    from dashboards.pushing import Difference, Grafana
    from monitor.config.model import Config

F = TypeVar("F", bound=Callable[..., Any])
_NEXT = "Run `driftline dashboards generate` and commit the result."


@click.group()
def dashboards() -> None:
    """Grafana's dashboards and the alert rules as files: write and check them, or push dashboards to a Grafana.

    \b
    Example:
      driftline dashboards generate --out ./grafana
      driftline dashboards check
      driftline dashboards diff --url https://grafana.example.com
      driftline dashboards push --url https://grafana.example.com
    """


def _folder_option(text: str) -> Callable[[F], F]:
    return click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        help=f"{text} Default: dashboards/generated of this installation.",
    )


_settings_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Add this configuration's links and limits (alerts.app_url, alerts.dashboard_url, alerts.runbook_url, "
    "review.expires) to dashboards and alert rules; needs --out. Default: none.",
)


@dashboards.command()
@_folder_option("Folder to write to.")
@_settings_option
def generate(out: Path | None, config_path: Path | None) -> None:
    """Write every file; says which ones changed.

    \b
    Example:
      driftline dashboards generate --out ./grafana --config driftline.yaml
    """
    from dashboards.generate import GENERATED, write

    settings = _settings(out, config_path)
    try:
        changed = write(out or GENERATED, settings)
    except ModuleNotFoundError as error:
        raise _needs_sdk(error) from None
    except OSError as error:
        raise Failure(f"cannot write to {out or GENERATED}: {error}; choose another folder with --out") from None
    for path in changed:
        click.echo(f"wrote {path}")
    if not changed:
        click.echo(f"{out or GENERATED}: up to date")


@dashboards.command()
@_folder_option("Folder to look at.")
@_settings_option
@click.option("--prometheus", metavar="URL", help="Also run every query there, and list those without data.")
def check(out: Path | None, config_path: Path | None, prometheus: str | None) -> None:
    """Exit with 1 unless the files are what the code generates, are whole, and every query parses.

    Queries are parsed by promtool where it is installed, and by the Prometheus of --prometheus. Those without data
    there are listed and no fault: some have data only while something is wrong.

    \b
    Example:
      driftline dashboards check --prometheus http://localhost:9090
    """
    from dashboards.checking import faults
    from dashboards.generate import GENERATED, stale
    from dashboards.queries import asked_by, rules_asked
    from dashboards.trying import parse_errors

    folder = out or GENERATED
    try:
        wrong = stale(folder, _settings(out, config_path))
    except ModuleNotFoundError as error:
        raise _needs_sdk(error) from None
    if wrong:
        raise Failure("\n".join([*wrong, _NEXT]))
    documents = _documents(folder)
    wrong = [f"{uid}: {fault}" for uid, document in documents.items() for fault in faults(document)]
    asked = [*asked_by(documents.values()), *rules_asked()]
    parsed = parse_errors(asked)
    wrong += parsed or []
    if wrong:
        raise Failure("\n".join(wrong))
    how = "not parsed, since promtool is not installed" if parsed is None else "parsed"
    click.echo(f"{folder}: up to date; {len(documents)} dashboards, {len(asked)} queries ({how})")
    if prometheus is not None:
        _try(prometheus, asked)


def _try(url: str, asked: Sequence[Any]) -> None:
    from dashboards.trying import PrometheusError, answers

    refused, empty, quiet = [], [], 0
    try:
        for one, found in answers(url, asked):
            if isinstance(found, str):
                refused.append(f"{one}: {found}")
            elif found == 0 and one.may_be_empty:
                quiet += 1
            elif found == 0:
                empty.append(str(one))
    except PrometheusError as error:
        raise Failure(str(error)) from None
    for text in empty:
        click.echo(f"no data: {text}")
    healthy = f"; {quiet} more have none while all is well" if quiet else ""
    click.echo(f"Prometheus: {len(asked)} queries, {len(empty)} without data{healthy}")
    if refused:
        raise Failure("\n".join(["Prometheus refused:", *refused]))


def _grafana_options(command: F) -> F:
    """Which Grafana, and what of ours; the token is in the configuration or in its *_FILE variable."""
    for option in (
        click.option("--datasource", metavar="UID", help="Data source of --rules. Default: driftline-prometheus."),
        click.option("--rules", is_flag=True, help="The groups of alert rules too (Grafana 9.1 or later)."),
        click.option(
            "--from",
            "source",
            type=click.Path(path_type=Path, file_okay=False, exists=True),
            help="Folder of generated files. Default: dashboards/generated of this installation.",
        ),
        click.option("--url", help="Address of Grafana. Default: dashboards.url, else alerts.dashboard_url."),
        config_option,
    ):
        command = option(command)
    return command


@dashboards.command()
@_grafana_options
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.pass_context
def push(context: click.Context, /, dry_run: bool, **options: Any) -> None:
    """Put the dashboards into a Grafana, in the folder of uid driftline.

    What is there already and the same is left alone; nothing outside of the folder is touched, nothing is deleted,
    and the notification policies are nobody's but yours. The token comes from the configuration (dashboards.token)
    or from the file that DRIFTLINE_DASHBOARDS_TOKEN_FILE names.

    \b
    Example:
      export DRIFTLINE_DASHBOARDS_TOKEN_FILE=/run/secrets/grafana
      driftline dashboards push --url https://grafana.example.com --dry-run
      driftline dashboards push --url https://grafana.example.com
    """
    done = 0
    with _compared(context, **options) as (grafana, differences, documents, groups):
        for difference in differences:
            if difference.what == "extra":
                click.echo(str(difference))
        if dry_run:
            for difference in _wanting(differences):
                click.echo(f"would push {difference}")
                done += 1
        else:
            for difference in grafana.push(differences, documents, groups):
                click.echo(f"pushed {difference}")
                done += 1
        if not done:
            click.echo(f"{grafana.url}: up to date")


@dashboards.command()
@_grafana_options
@click.pass_context
def diff(context: click.Context, /, **options: Any) -> None:
    """Say what a push would change in a Grafana; exit with 1 if it would change anything.

    Dashboards in the folder that are not driftline's are named; a push leaves them.

    \b
    Example:
      driftline dashboards diff --url https://grafana.example.com
    """
    with _compared(context, **options) as (grafana, differences, _, _):
        for difference in differences:
            if difference.what != "same":
                click.echo(str(difference))
        wanting = _wanting(differences)
        if wanting:
            context.exit(1)
        click.echo(f"{grafana.url}: up to date")


def _wanting(differences: Sequence[Difference]) -> list[Difference]:
    return [difference for difference in differences if difference.what in ("missing", "changed")]


@contextmanager
def _compared(
    context: click.Context,
    config_path: Path,
    url: str | None,
    source: Path | None,
    rules: bool,
    datasource: str | None,
) -> Iterator[tuple[Grafana, list[Difference], dict[str, dict[str, Any]], list[dict[str, Any]]]]:
    """The Grafana, what differs there, our dashboards and our rule groups. Raises Failure."""
    from dashboards.checking import faults
    from dashboards.configured import configured
    from dashboards.generate import GENERATED, provisioned_rules
    from dashboards.names import DATASOURCE_UID
    from dashboards.pushing import Grafana, PushError, rule_groups
    from dashboards.rule_files import configured_rules

    config = config_or_defaults(context, config_path)
    address = url or config.dashboards.url or config.alerts.dashboard_url
    if address is None:
        raise Failure("which Grafana? Give --url, or write dashboards.url in the configuration")
    folder = source or GENERATED
    settings = _settings_of(config)
    documents = {uid: configured(document, settings) for uid, document in _documents(folder).items()}
    wrong = [f"{uid}: {fault}" for uid, document in documents.items() for fault in faults(document)]
    if wrong or not documents:
        raise Failure("\n".join(wrong) or f"there is no dashboard in {folder / 'dashboards'}")
    grafana: Grafana | None = None
    try:
        groups = (
            rule_groups(configured_rules(provisioned_rules(folder), settings), datasource or DATASOURCE_UID)
            if rules
            else []
        )
        grafana = Grafana(address, config.dashboards.token)
        rules_too = f" and {len(groups)} groups of rules" if groups else ""
        click.echo(f"asking {grafana.url} about {len(documents)} dashboards{rules_too}", err=True)
        differences = grafana.differences(documents, groups)
        yield grafana, differences, documents, groups
    except (PushError, OSError) as error:
        raise Failure(str(error)) from None
    finally:
        if grafana is not None:
            grafana.close()


def _documents(folder: Path) -> dict[str, dict[str, Any]]:
    from dashboards.generate import dashboards_in

    try:
        return dashboards_in(folder)
    except (OSError, ValueError) as error:
        raise Failure(str(error)) from None


def _settings(out: Path | None, config_path: Path | None) -> Settings | None:
    if config_path is None:
        return None
    if out is None:
        raise Failure("--config needs --out: the files of this installation are those without a configuration")
    return _settings_of(read_config(config_path))


def _settings_of(config: Config) -> Settings:
    from dashboards.configured import Settings

    try:
        return Settings(
            app_url=config.alerts.app_url,
            review_expires_s=config.review.expires / 1e6,
            dashboard_url=config.alerts.dashboard_url,
            runbook_url=config.alerts.runbook_url,
        )
    except ValueError as error:
        raise Failure(str(error)) from None


def _needs_sdk(error: ModuleNotFoundError) -> Failure:
    return Failure(
        f"generating needs {error.name}, which the base install does not bring: pip install 'driftline[dev]'.\n"
        "The generated files are part of every installation: dashboards/generated/."
    )
