"""What several commands share: the configuration option, opening the store, and how failures are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from monitor.config.model import Config
    from monitor.embed.encoders import Encoder
    from monitor.store.engine import Store

F = TypeVar("F", bound=Callable[..., Any])


class Failure(click.ClickException):
    """A command that could not do its work: exit code 1 and one message without a traceback."""

    exit_code = 1


def config_option(command: F) -> F:
    """``--config FILE``; the command receives ``config_path``."""
    return click.option(
        "--config",
        "config_path",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="DRIFTLINE_CONFIG",
        default=Path("driftline.yaml"),
        show_default=True,
        help="Configuration file (or the environment variable DRIFTLINE_CONFIG).",
    )(command)


def read_config(path: Path) -> Config:
    """The configuration in ``path``. Raises Failure with file, line, key, what was got and what to write."""
    from monitor.config.load import ConfigError, load

    try:
        return load(path)
    except ConfigError as error:
        raise Failure(str(error)) from None


def config_or_defaults(context: click.Context, path: Path) -> Config:
    """The configuration file, or the defaults where none was named and none is in the folder.

    Secrets are taken from their ``*_FILE`` variables either way.
    """
    from monitor.config.load import ConfigError, loads

    if context.get_parameter_source("config_path") is ParameterSource.DEFAULT and not path.exists():
        try:
            return loads("{}", file="the environment")
        except ConfigError as error:
            raise Failure(str(error)) from None
    return read_config(path)


def load_encoder(config: Config) -> Encoder:
    """The configured encoder. Raises Failure."""
    from monitor.embed import encoders

    try:
        return encoders.load(config.encoder)
    except encoders.EncoderError as error:
        raise Failure(str(error)) from None


@contextmanager
def opened_store(config: Config, *, migrate: bool = False) -> Iterator[Store]:
    """The store of ``config``; its tables are checked, or with ``migrate`` made and brought up to date.

    Raises Failure where it cannot be reached, answers no more, or is of another version.
    """
    from monitor.store.engine import SchemaMismatch, StoreUnavailable, open_store

    try:
        store = open_store(config.store.url, migrate=migrate)
    except (SchemaMismatch, ValueError) as error:
        raise Failure(str(error)) from None
    except StoreUnavailable as error:
        raise Failure(f"{error}\nCheck store.url, and that the database runs and accepts this user.") from None
    try:
        yield store
    except StoreUnavailable as error:
        raise Failure(f"{error}\nNothing was changed; try again.") from None
    finally:
        store.close()


def first_line(error: BaseException) -> str:
    """An error in one line: its text up to the first line break, or its type's name where it has none."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def days_option(command: F) -> F:
    """``--days N``: how far back estimates and advice look."""
    return click.option(
        "--days", type=click.IntRange(1, 800), default=28, show_default=True, help="How many days back."
    )(command)


def evaluated_days(store: Store, config: Config, days: int) -> tuple[int, int]:
    """[from, to) of the last ``days`` local days. Raises Failure where nothing was evaluated yet."""
    from monitor.estimates import last_days

    found = last_days(store, days, config.timezone)
    if found is None:
        raise Failure("nothing was evaluated yet, and so nothing drawn for review: see `driftline status`")
    return found
