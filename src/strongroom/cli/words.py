# ruff: noqa: ANN401 - click hands over what it parsed, and its own types say Any
"""Commands and groups with our manners, built on click.

* Every command takes `--json`, `--progress`, `--home` and `--debug`, before or after its name.
* A docstring's part from `Exit status:` on stands at the very end of the help.
* Help is 80 columns wide wherever it is shown.
* A group knows where its commands live and loads a module when its word is said.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from strongroom.cli.door import Door
from strongroom.cli.output import WIDTH
from strongroom.cli.progress import MODES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_EXIT_STATUS: Final = "Exit status:"

pass_door = click.make_pass_decorator(Door, ensure=True)


class _ShownCommand(click.Command):
    """What commands and groups share."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Docstrings are raw: click's mark for "as it stands" arrives as two characters.
        text = (kwargs.get("help") or "").replace("\\b", "\b")
        head, _, statuses = text.partition(_EXIT_STATUS)
        kwargs["help"] = head.rstrip("\b\n ")
        self.statuses = _dedented(statuses)
        kwargs.setdefault("context_settings", {}).setdefault("help_option_names", ["-h", "--help"])
        super().__init__(*args, **kwargs)
        self.params.extend(_everywhere())

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            # click forgets for some errors whose words they are about.
            error.ctx = error.ctx or ctx
            raise

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.width = WIDTH
        super().format_help(ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if ctx.parent is not None:
            formatter.write_paragraph()
            formatter.write("Every command also takes --json, --progress, --home and --debug.\n")
        if self.statuses:
            formatter.write_paragraph()
            formatter.write(f"{_EXIT_STATUS}\n")
            formatter.write("".join(f"  {line}\n" for line in self.statuses))


class Command(_ShownCommand):
    """One command."""


class Group(_ShownCommand, click.Group):
    """Commands under one word; some of them are loaded only when they are named."""

    command_class = Command

    def __init__(
        self, *args: Any, lazy: Mapping[str, tuple[str, str]] | None = None, **kwargs: Any
    ) -> None:
        """Make a group.

        Args:
            *args: click's.
            lazy: By word: the module and attribute it lives at, as `module:attribute`, and its
                line in the help.
            **kwargs: click's.
        """
        super().__init__(*args, **kwargs)
        self.lazy = lazy or {}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        # In the order they were written: a first backup goes through them from top to bottom.
        return [*self.lazy, *self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self.lazy:
            module, _, attribute = self.lazy[cmd_name][0].partition(":")
            loaded: click.Command = getattr(importlib.import_module(module), attribute)
            return loaded
        return super().get_command(ctx, cmd_name)

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click hands it over
        formatter: click.HelpFormatter,
    ) -> None:
        lines = [(word, line) for word, (_, line) in self.lazy.items()]
        lines += [(word, loaded.get_short_help_str(999)) for word, loaded in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl(lines)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            from difflib import get_close_matches

            near = get_close_matches(args[0], self.list_commands(ctx), n=1)
            error = click.UsageError(f"there is no command {args[0]!r}", ctx)
            if near:
                error.near = f"did you mean '{ctx.command_path} {near[0]}'?"  # type: ignore[attr-defined] # read by cli.main
            raise error
        return super().resolve_command(ctx, args)


class Root(Group):
    """The group at the top: what is accepted everywhere is explained here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for parameter in self.params:
            if isinstance(parameter, click.Option):
                parameter.hidden = False


def _dedented(statuses: str) -> list[str]:
    lines = [line for line in statuses.splitlines() if line.strip()]
    indent = min((len(line) - len(line.lstrip()) for line in lines), default=0)
    return [line[indent:].rstrip() for line in lines]


# --- what every command takes -----------------------------------------------------------------


def _everywhere() -> list[click.Parameter]:
    def keep(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
        def callback(ctx: click.Context, _: click.Parameter, value: Any) -> None:
            door = ctx.ensure_object(Door)
            if value is not None:
                setattr(door, name, value)
                if name == "progress":
                    door.speaker.json_lines = value == "json"

        return callback

    def option(*names: str, what: str, **settings: Any) -> click.Option:
        return click.Option(
            [*names],
            expose_value=False,
            callback=keep(what),
            hidden=True,
            default=None,
            is_eager=True,
            **settings,
        )

    return [
        option(
            "--json",
            what="json",
            is_flag=True,
            flag_value=True,
            type=click.BOOL,
            help="Answer with one JSON document on standard output, errors too.",
        ),
        option(
            "--progress",
            what="progress",
            type=click.Choice(MODES),
            help="How progress is shown on standard error: auto (a line on a terminal, plain "
            "lines elsewhere), json (everything there as JSON lines) or none.",
        ),
        option(
            "--home",
            what="home",
            type=click.Path(path_type=Path, file_okay=False),
            metavar="FOLDER",
            help="Where jobs and keys are kept, in place of STRONGROOM_HOME.",
        ),
        option(
            "--debug",
            what="debug",
            is_flag=True,
            flag_value=True,
            type=click.BOOL,
            help="Write everything that happens to the log in the home.",
        ),
    ]
