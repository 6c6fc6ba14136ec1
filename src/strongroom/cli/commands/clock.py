"""`strongroom clock …`: what removals go by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from strongroom.cli.output import when
from strongroom.cli.words import Group, pass_door

if TYPE_CHECKING:
    from strongroom.cli.door import Door


@click.group("clock", cls=Group)
def clock() -> None:
    r"""The clock that removals go by: confirming it after a jump.

    \b
    Exit status:
      0   done
      2   the request cannot be right
    """


@clock.command("confirm")
@pass_door
def confirm(door: Door) -> None:
    r"""Say that the clock is right, after it has jumped.

    Points go by the clock, and so does what prune removes. If it jumps by more than 24 hours
    while the machine runs, sessions give no point up and prune removes nothing until then;
    backups go on. A clock that was set right again needs no word.

    \b
    Exit status:
      0   it is believed as it is
    """
    from strongroom.control import clock_guard

    with door.home_context() as ctx:
        confirmed = clock_guard.confirm(ctx)
    door.show(confirmed, [f"the clock is right: it is {when(confirmed.at)}"])
    if confirmed.jumped is None:
        door.speaker.say("it had not jumped")
