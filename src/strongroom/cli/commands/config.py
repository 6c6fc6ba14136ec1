"""`strongroom config …`: the backup of catalog and keystore, and bringing them back."""

from __future__ import annotations

from dataclasses import replace as replaced
from typing import TYPE_CHECKING

import click

from strongroom.cli.options import (
    FILE,
    Reading,
    reading_options,
    repository_argument,
    repository_names,
)
from strongroom.cli.output import Column, pairs, table, when
from strongroom.cli.output import yes as yes_or_no
from strongroom.cli.words import Group, pass_door

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.cli.door import Door
    from strongroom.control.views.configuration import ConfigView


@click.group("config", cls=Group)
def config() -> None:
    r"""The configuration: backed up always sealed, brought back on another machine.

    It is jobs, repositories, passwords, keys and this installation's identity.

    \b
    Exit status:
      0   done
      2   the request cannot be right
    """


@config.command("set")
@click.option(
    "--repository",
    metavar="R",
    shell_complete=repository_names,
    help="Keep the backups in this repository.",
)
@click.option(
    "--encrypt",
    metavar="WHAT",
    help="Seal them for password:NAME, or for recovery: the recovery key opens them anyway.",
)
@click.option("--keep", type=click.IntRange(min=1), metavar="N", help="Keep the newest N. [10]")
@click.option("--off", is_flag=True, help="Make no more of them.")
@click.option("--yes-weaken", is_flag=True, help="Confirm --off.")
@pass_door
def set_(
    door: Door,
    repository: str | None,
    encrypt: str | None,
    keep: int | None,
    off: bool,
    yes_weaken: bool,
) -> None:
    r"""Back the configuration up from now on: at once, and after each change of settings.

    \b
    Exit status:
      0   a backup was stored, or there will be no more
      2   the request cannot be right, or --off was not confirmed
      10  there is no such repository, password or recovery key
      13  the storage did not answer
      14  the storage refused
    """
    from strongroom.control import config_backup

    if off == (repository is not None) or (off and (encrypt or keep)):
        raise click.UsageError("say --repository R or --off", click.get_current_context())
    with door.home_context() as ctx:
        if repository is None:
            view = door.confirmed(
                lambda agreed: config_backup.turn_off(ctx, yes_weaken=agreed),
                yes_weaken,
                "--yes-weaken",
            )
        else:
            view = config_backup.set_plan(ctx, repository, encrypt, keep)
    _show(door, view)


@config.command("show")
@pass_door
def show(door: Door) -> None:
    r"""Show whether and where the configuration is backed up.

    \b
    Exit status:
      0   it was shown
      10  nothing is set up here
      12  the keystore does not open
    """
    from strongroom.control import config_backup

    with door.home_context() as ctx:
        view = config_backup.show(ctx)
    _show(door, view)


@config.command("backup")
@click.option(
    "--repository",
    metavar="R",
    shell_complete=repository_names,
    help="Into this repository, once.",
)
@pass_door
def backup(door: Door, repository: str | None) -> None:
    r"""Store a backup of the configuration now.

    \b
    Exit status:
      0   it is stored
      10  it was never set for whom, or there is no such repository
      12  the keystore does not open
      13  the storage did not answer
      14  the storage refused
    """
    from strongroom.control import config_backup

    with door.home_context() as ctx:
        view = config_backup.backup(ctx, repository)
    door.show(view, [f"stored configuration backup {view.number}"])


@config.command("list")
@repository_argument
@reading_options
@pass_door
def list_(door: Door, where: str, reading: Reading) -> None:
    r"""List the configuration backups in repository R.

    \b
    Exit status:
      0   they were listed, be it none
      10  there is no repository
      13  the storage did not answer
    """
    from strongroom.control import config_restore

    with door.context() as ctx:
        views = config_restore.list_backups(ctx, replaced(reading.access(door), where=where))
    columns = [
        Column("INSTALLATION"),
        Column("NUMBER"),
        Column("MADE"),
        Column("OPENS"),
        Column("HINT", flexible=True),
    ]
    rows = [
        (
            view.installation[:12],
            str(view.number),
            when(view.made_at),
            "-" if view.opens is None else yes_or_no(view.opens),
            "; ".join(hint for hint in view.hints if hint),
        )
        for view in views
    ]
    door.show({"backups": views}, table(columns, rows) if rows else [])
    for view in views:
        if view.problem is not None:
            door.speaker.warn(f"backup {view.number} of {view.installation[:12]}: {view.problem}")


@config.command("restore")
@repository_argument
@click.option("--number", type=click.IntRange(min=1), metavar="N", help="This one. [the newest]")
@click.option("--installation", metavar="I", help="Of this one, where there are several.")
@click.option("--replace", is_flag=True, help="Move a home that is set up out of the way.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@reading_options
@pass_door
def restore(
    door: Door,
    where: str,
    reading: Reading,
    number: int | None,
    installation: str | None,
    replace: bool,
    yes: bool,
) -> None:
    r"""Bring an installation back from the configuration backup in repository R.

    Jobs go on, and what this machine could open it opens again. Stop the server of before.

    \b
    Exit status:
      0    it is back
      2    the request cannot be right, or --replace was not confirmed
      10   there is no repository, or no such backup in it
      12   the secret does not open it
      13   the storage did not answer
      14   the home cannot be written
      15   something is set up here already
      20   it is damaged, or nothing vouches for its signer
      130  the answer was no
    """
    from strongroom.control import config_restore

    with door.context() as ctx:
        access = replaced(reading.access(door), where=where)
        result = door.confirmed(
            lambda agreed: config_restore.restore(
                ctx,
                access,
                number=number,
                installation=installation,
                replace=replace,
                yes=agreed,
            ),
            yes,
        )
    lines = [
        f"restored configuration {result.number} of {when(result.made_at)} to {result.home}",
        f"jobs: {', '.join(result.jobs) or 'none'}",
    ]
    if result.moved_aside is not None:
        lines.append(f"what was there is in {result.moved_aside}")
    door.show(result, lines)
    for notice in result.notices:
        door.speaker.say(notice)


@config.command("reprotect")
@click.option(
    "--old-key-file", type=FILE, metavar="F", help="The key file of before. [the present one]"
)
@click.option(
    "--old-machine-id", metavar="ID", help="/etc/machine-id of the machine before. [this one's]"
)
@pass_door
def reprotect(door: Door, old_key_file: Path | None, old_machine_id: str | None) -> None:
    r"""Seal the keystore under this machine's key file, after a move or a leak of the old one.

    A new key file is made if there is none. Without the old one: config restore --replace.

    \b
    Exit status:
      0   the keystore opens here
      10  there is no keystore
      12  the old key file and machine id do not open it
      14  it cannot be written
      20  a record was altered
    """
    from strongroom.control import config_restore

    with door.home_context() as ctx:
        result = config_restore.reprotect_keystore(ctx, old_key_file, old_machine_id)
    said = (
        f"sealed {result.records} records under {result.key_file}"
        if result.changed
        else f"the keystore is sealed under {result.key_file} already"
    )
    door.show(result, [said])


def _show(door: Door, view: ConfigView) -> None:
    items: list[tuple[str, str | list[str]]] = [("backed up", yes_or_no(view.enabled))]
    if view.enabled:
        items += [
            ("repository", view.repository or "-"),
            ("sealed for", view.encrypt or "-"),
            ("kept", str(view.keep)),
        ]
    items += [
        ("newest", f"number {view.number}, {when(view.made_at)}" if view.number else "none"),
        ("due", yes_or_no(view.due)),
        ("installation", view.installation),
        ("signer", view.signer),
    ]
    door.show(view, pairs(items))
