"""`strongroom keys …`: every secret, what it opens, alone or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from strongroom.cli.output import Column, pairs, table, when
from strongroom.cli.output import yes as yes_or_no
from strongroom.cli.words import Group, pass_door
from strongroom.model.phrases import counted

if TYPE_CHECKING:
    from strongroom.cli.door import Door
    from strongroom.control.views.keys import KeyUse, KeyView

_SHORT_ID = 12


@click.group("keys", cls=Group)
def keys() -> None:
    r"""Every secret: what it opens, alone or not, how old it is.

    \b
    Exit status:
      0   done
      2   the request cannot be right
    """


@keys.command("list")
@pass_door
def list_(door: Door) -> None:
    r"""List passwords, KMS keys, recovery kits and signers.

    POINTS are those that a secret opens whole chains of; ALONE those of them that nothing else
    known opens. A star marks what the next sessions are sealed for or signed by. 'needed too'
    is a secret that opens a chain only together with others, until a missing link is made.

    \b
    Exit status:
      0   they were listed, be it none
    """
    from strongroom.control import inventory

    with door.context() as ctx:
        views = inventory.list_all(ctx) if ctx.has_catalog else ()
    columns = [
        Column("KIND"),
        Column("NAME", flexible=True),
        Column("KEY"),
        Column("STATE"),
        Column("AGE"),
        Column("PROVEN"),
        Column("POINTS"),
        Column("ALONE"),
    ]
    rows = [
        (
            view.kind,
            view.name + (" *" if view.present else ""),
            view.key_id[:_SHORT_ID],
            view.state + (", needed too" if any(use.beside for use in view.chains) else ""),
            f"{view.age_days} d",
            f"{view.proven_at:%Y-%m-%d}" if view.proven_at else "-",
            str(view.points),
            str(view.alone),
        )
        for view in views
    ]
    door.show({"keys": views}, table(columns, rows) if rows else [])
    if not views:
        door.speaker.hint("there is no secret yet: 'strongroom password add NAME'")


@keys.command("show")
@click.argument("key")
@pass_door
def show(door: Door, key: str) -> None:
    r"""Show the secret whose id begins with KEY: its jobs, and what it opens.

    \b
    Exit status:
      0   it was shown
      2   the beginning is too short, or several fit
      10  there is none
    """
    from strongroom.control import inventory

    with door.home_context() as ctx:
        view = inventory.show(ctx, key)
    door.show({"key": view}, _lines(view))


def _lines(view: KeyView) -> list[str]:
    facts = [
        ("kind", view.kind),
        ("name", view.name),
        ("key", view.key_id),
        ("version", str(view.version)),
        ("in force", yes_or_no(view.present)),
        ("state", view.state),
        ("made", f"{when(view.made_at)}, {counted(view.age_days, 'day')} ago"),
        ("proven", when(view.proven_at)),
        ("jobs", ", ".join(view.jobs) or "-"),
        ("given to read", ", ".join(view.guarded) or "-"),
        ("points", f"{view.points}, {view.alone} of them by nothing else"),
    ]
    uses = [
        f"chain {use.chain[:_SHORT_ID]} of {use.job or 'a removed job'}: "
        + _opens(use)
        + (", alone" if use.alone else "")
        for use in view.chains
    ]
    return [*pairs(facts), *uses]


def _opens(use: KeyUse) -> str:
    if use.whole:
        return f"all {counted(use.points, 'point')}"
    if use.beside:
        return "with others, until a missing link is made"
    return "what is older than a change"
