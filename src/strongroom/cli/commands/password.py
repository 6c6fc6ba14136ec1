"""`strongroom password …`: what backups are sealed for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from strongroom.cli import asking
from strongroom.cli.options import link_later_option, password_names, secret_options
from strongroom.cli.output import Column, table, when
from strongroom.cli.output import yes as yes_or_no
from strongroom.cli.words import Group, pass_door

if TYPE_CHECKING:
    from strongroom.cli.door import Door, SecretPlace
    from strongroom.control.views.passwords import PasswordResult

_HINT_QUESTION = "hint (public: it stands readable in every repository; may be empty):"


@click.group("password", cls=Group)
def password() -> None:
    r"""What backups are sealed for.

    A password is never an argument: it comes from a prompt, a file, a variable or a command.

    \b
    Exit status:
      0   done
      2   the request cannot be right
    """


@password.command("add")
@click.argument("name")
@secret_options()
@click.option("--hint", metavar="TEXT", help="Public: it stands readable in every repository.")
@click.option(
    "--write-only",
    is_flag=True,
    help="Keep nothing that opens backups here: restores will ask for the password.",
)
@pass_door
def add(door: Door, name: str, place: SecretPlace, hint: str | None, write_only: bool) -> None:
    r"""Add a password as NAME.

    \b
    Exit status:
      0   jobs can be sealed for it: job create … --encrypt password:NAME
      2   the password is too weak, or nobody can be asked for it
      15  NAME is taken
    """
    from strongroom.control import passwords

    secret = door.secret(place)
    if hint is None and not secret.named and secret.can_ask:
        hint = asking.line(door.speaker, _HINT_QUESTION)
    with door.context(place) as ctx:
        result = passwords.add(ctx, name, secret, hint=hint or "", write_only=write_only)
    _show(door, result, f"added password {name}")


@password.command("list")
@pass_door
def list_(door: Door) -> None:
    r"""List the passwords, without their secrets.

    \b
    Exit status:
      0   they were listed, be it none
    """
    from strongroom.control import passwords

    with door.context() as ctx:
        views = passwords.list_all(ctx) if ctx.has_catalog else ()
    columns = [
        Column("NAME", flexible=True),
        Column("WRITE-ONLY"),
        Column("CHANGED"),
        Column("JOBS", flexible=True),
        Column("HINT", flexible=True),
    ]
    rows = [
        (
            view.name,
            yes_or_no(view.write_only),
            when(view.changed_at),
            ", ".join(view.jobs) or "-",
            view.hint or "-",
        )
        for view in views
    ]
    door.show({"passwords": views}, table(columns, rows) if rows else [])
    if not views:
        door.speaker.hint("'strongroom password add NAME' makes the first password")


@password.command("edit")
@click.argument("name", shell_complete=password_names)
@secret_options(what="the new password")
@secret_options("old-", "the present password, if it has to be given", into="old_place")
@click.option("--hint", metavar="TEXT", help="The new hint. Public; '' takes it away.")
@click.option(
    "--write-only/--keep-secret",
    default=None,
    help="Keep nothing here that opens backups, or keep it again.",
)
@link_later_option
@click.option("--yes-weaken", is_flag=True, help="Agree to what protects less; do not ask.")
@pass_door
def edit(
    door: Door,
    name: str,
    place: SecretPlace,
    old_place: SecretPlace,
    hint: str | None,
    write_only: bool | None,
    link_later: bool,
    yes_weaken: bool,
) -> None:
    r"""Change password NAME: its secret, its hint, what is kept of it here.

    With neither --hint, --write-only nor --keep-secret it asks for a new secret. Backups made
    before keep opening with the old one; the new one opens them too. After a lost
    laptop that had the old one go on with 'job rewrap'; after a colleague left who
    may have copied envelopes, or a password leaked, with 'job reencrypt'.

    \b
    Exit status:
      0   it is changed
      2   the new password is too weak, or nobody can be asked
      10  there is no such password
      12  the present password given is not it
      13  a repository that has to be told did not answer: nothing was changed
    """
    from strongroom.control import passwords

    only_settings = hint is not None or write_only is not None
    new = door.secret(place) if place.named or not only_settings else None
    old = door.secret(old_place)

    with door.home_context(place) as ctx:

        def change(agreed: bool) -> PasswordResult:
            return passwords.edit(
                ctx,
                name,
                secret=new,
                hint=hint,
                write_only=write_only,
                old=old if (old.named if link_later else old.can_ask) else None,
                link_later=link_later,
                yes_weaken=agreed,
            )

        result = door.confirmed(change, yes_weaken, "--yes-weaken")
    _show(door, result, f"changed password {name}")


@password.command("verify")
@click.argument("name", shell_complete=password_names)
@secret_options()
@pass_door
def verify(door: Door, name: str, place: SecretPlace) -> None:
    r"""Check that you still know password NAME.

    \b
    Exit status:
      0   this is the password
      2   nobody can be asked
      10  there is no such password
      12  this is another one
    """
    from strongroom.control import passwords

    with door.home_context(place) as ctx:
        view = passwords.verify(ctx, name, ctx.secrets)
    door.show({"password": view}, [f"this is password {name}"])


@password.command("remove")
@click.argument("name", shell_complete=password_names)
@pass_door
def remove(door: Door, name: str) -> None:
    r"""Remove password NAME. Refused while a job or a stored point needs it.

    \b
    Exit status:
      0   it is removed
      10  there is no such password
      15  it is needed; the message says by what
    """
    from strongroom.control import passwords

    with door.home_context() as ctx:
        passwords.remove(ctx, name)
    door.show({"removed": name}, [f"removed password {name}"])


def _show(door: Door, result: PasswordResult, done: str) -> None:
    lines = [done]
    if result.rekeyed:
        lines.append(f"jobs sealed for the new one at once: {', '.join(result.rekeyed)}")
    if result.pending:
        lines.append(f"jobs that follow with their next session: {', '.join(result.pending)}")
    door.show(result, lines)
    for notice in result.notices:
        door.speaker.say(notice)
