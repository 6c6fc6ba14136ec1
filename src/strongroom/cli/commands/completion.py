"""`strongroom completion`: the script that completes words in a shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from strongroom.cli.words import Command, pass_door

if TYPE_CHECKING:
    from strongroom.cli.door import Door


@click.command("completion", cls=Command)
@click.argument("shell", metavar="SHELL", type=click.Choice(["bash", "zsh", "fish"]))
@pass_door
def completion(door: Door, shell: str) -> None:
    r"""Print the script that completes words in SHELL.

    \b
    bash:  eval "$(strongroom completion bash)"      in ~/.bashrc
    zsh:   eval "$(strongroom completion zsh)"       in ~/.zshrc
    fish:  strongroom completion fish | source       in ~/.config/fish/config.fish

    \b
    Exit status:
      0   the script was printed
      2   there is no such shell
    """
    from click.shell_completion import get_completion_class

    from strongroom.cli.main import COMPLETE_VARIABLE, PROGRAM, cli

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"there is no completion for {shell}")
    # click's source() first runs bash to learn its version; the template alone needs no process.
    maker = kind(cli, {}, PROGRAM, COMPLETE_VARIABLE)
    script = maker.source_template % maker.source_vars()
    door.show({"shell": shell, "script": script}, script.rstrip("\n").split("\n"))
