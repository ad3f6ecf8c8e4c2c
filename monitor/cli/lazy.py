"""A click group whose subcommands are imported only when they are called."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

Entry = tuple[str, str, str]  # module, attribute, one line of help


class LazyGroup(click.Group):
    """``commands_by_name`` maps a command's name to where it lives and what `--help` says about it."""

    def __init__(self, *args: Any, commands_by_name: Mapping[str, Entry], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.entries = dict(commands_by_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *self.entries})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.entries:
            return super().get_command(ctx, cmd_name)
        module, attribute, _ = self.entries[cmd_name]
        command = getattr(import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}.{attribute} is a {type(command).__name__}, expected a click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, self.entries[name][2]) for name in self.list_commands(ctx) if name in self.entries]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
