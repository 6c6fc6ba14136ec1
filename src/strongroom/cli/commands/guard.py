"""`strongroom guard …`: what root runs beside a repository that is a vault in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from strongroom.cli.words import Group, pass_door

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.cli.door import Door

_FOLDER = click.Path(path_type=Path)


def _state_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--state",
        metavar="FOLDER",
        type=_FOLDER,
        help="Where it remembers dates; /var/lib/strongroom-guard by default.",
    )(function)


@click.group("guard", cls=Group)
def guard() -> None:
    r"""For root: keep the objects of a folder from being removed.

    The guard makes them immutable until their date. Who writes there can ask for a later date
    only, so an intruder with all the rights of the writer removes nothing.

    \b
    Exit status:
      0   done
      2   the request cannot be right
    """


@guard.command("run")
@click.argument("folder", metavar="FOLDER", type=_FOLDER)
@click.option(
    "--days",
    metavar="N",
    type=click.IntRange(1, 9999),
    required=True,
    help="Lock every object for N days at the least, whatever is asked for.",
)
@click.option(
    "--at-most-days",
    metavar="M",
    type=click.IntRange(1, 9999),
    help="Lock nothing for longer than M days from the moment of asking; N + 365 by default.",
)
@click.option("--once", is_flag=True, help="Lock what is not yet, and end.")
@_state_option
@pass_door
def run(
    door: Door, folder: Path, days: int, at_most_days: int | None, once: bool, state: Path | None
) -> None:
    r"""Guard FOLDER: lock what is put there, and remove what is past its date on request.

    Ends when it is told to; what is locked stays locked.

    \b
    Exit status:
      0    it was told to end, or with --once it is done
      2    the request cannot be right
      13   there is no such folder
      14   the rights are missing, or the file system has no immutable attribute
      15   FOLDER is no repository, and something else lies there
    """
    from strongroom.control import guards

    with door.context() as ctx, door.work() as (_, cancel):
        blocked = guards.run(
            ctx,
            folder,
            days=days,
            at_most_days=at_most_days,
            once=once,
            state=state,
            stopped=lambda: cancel.requested,
        )
    if blocked is not None:
        door.speaker.warn(f"nothing is removed from {folder}: {blocked}")
    door.show({"guarded": str(folder)}, [f"what is locked in {folder} stays locked"])


@guard.command("confirm-clock")
@click.argument("folder", metavar="FOLDER", type=_FOLDER)
@_state_option
@pass_door
def confirm_clock(door: Door, folder: Path, state: Path | None) -> None:
    r"""Believe the clock as it is now, so that FOLDER's guard removes what is past its date.

    After the clock was moved by more than a day, or the machine was off for so long.

    \b
    Exit status:
      0   it is believed
      13  there is no such folder
      14  the rights are missing
    """
    from strongroom.control import guards

    reason = guards.confirm_clock(folder, state=state)
    said = f"confirmed, though {reason}" if reason else "nothing was the matter"
    door.show({"folder": str(folder), "reason": reason}, [f"the clock of {folder}: {said}"])
