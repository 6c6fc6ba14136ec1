"""`strongroom credential …`: what places elsewhere know us by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from strongroom.cli.options import credential_names, secret_options
from strongroom.cli.output import Column, table, when
from strongroom.cli.words import Group, pass_door

if TYPE_CHECKING:
    from strongroom.cli.door import Door, SecretPlace


@click.group("credential", cls=Group)
def credential() -> None:
    r"""What buckets know us by, kept sealed; repositories name one.

    \b
    Exit status:
      0   done
      2   the request cannot be right
    """


@credential.command("add")
@click.argument("name")
@click.option(
    "--access-key",
    "account",
    default="",
    metavar="ID",
    help="Access key id (S3) or storage account (Azure).",
)
@secret_options(what="the secret access key", noun="secret")
@pass_door
def add(door: Door, name: str, account: str, place: SecretPlace) -> None:
    r"""Keep a credential as NAME: repository add … --credential NAME uses it.

    Its secret is S3's secret access key, Azure's account key, or the JSON of a Google service
    account; it is asked for where no option says where it is.

    \b
    Exit status:
      0   it is kept
      2   the secret or NAME cannot be one
      15  NAME is taken
    """
    from strongroom.control import credentials

    with door.context() as ctx:
        view = credentials.add(ctx, name, account, door.secret(place))
    door.show({"credential": view}, [f"keeps credential {name}"])
    door.speaker.hint(f"'strongroom repository add … --credential {name}' opens a bucket with it")


@credential.command("list")
@pass_door
def list_(door: Door) -> None:
    r"""List the credentials and the repositories that use them.

    \b
    Exit status:
      0   they were listed, be it none
    """
    from strongroom.control import credentials

    with door.context() as ctx:
        views = credentials.list_all(ctx) if ctx.has_catalog else ()
    columns = [Column("NAME", flexible=True), Column("CHANGED"), Column("USED BY", flexible=True)]
    rows = [
        (view.name, when(view.changed_at), ", ".join(view.repositories) or "-") for view in views
    ]
    door.show({"credentials": views}, table(columns, rows) if rows else [])
    if not views:
        door.speaker.hint("'strongroom credential add NAME --access-key ID' keeps one")


@credential.command("edit")
@click.argument("name", shell_complete=credential_names)
@click.option("--access-key", "account", metavar="ID", help="The new access key id or account.")
@secret_options(what="the new secret access key", noun="secret")
@pass_door
def edit(door: Door, name: str, account: str | None, place: SecretPlace) -> None:
    r"""Replace credential NAME, in every repository that uses it.

    \b
    Exit status:
      0   the next command uses the new one
      2   the request cannot be right
      10  there is no such credential
    """
    from strongroom.control import credentials

    with door.home_context() as ctx:
        view = credentials.edit(ctx, name, account, door.named_secret(place))
    door.show({"credential": view}, [f"changed credential {name}"])


@credential.command("remove")
@click.argument("name", shell_complete=credential_names)
@pass_door
def remove(door: Door, name: str) -> None:
    r"""Forget credential NAME.

    \b
    Exit status:
      0   it is forgotten
      10  there is no such credential
      15  a repository is opened with it
    """
    from strongroom.control import credentials

    with door.home_context() as ctx:
        view = credentials.remove(ctx, name)
    door.show({"credential": view}, [f"forgot credential {name}"])
