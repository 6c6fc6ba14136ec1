"""`strongroom audit …`: who used keys and changed settings, and whether that record is whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from strongroom.cli.options import SPAN
from strongroom.cli.output import Column, pairs, table
from strongroom.cli.words import Group, pass_door
from strongroom.model.phrases import counted

if TYPE_CHECKING:
    from datetime import timedelta

    from strongroom.cli.door import Door
    from strongroom.control.views.audit import AuditRecord


@click.group("audit", cls=Group)
def audit() -> None:
    r"""Who used keys and changed settings, and whether that is whole.

    \b
    Exit status:
      0   done
      2   the request cannot be right
    """


@audit.command("list")
@click.option("--since", type=SPAN, metavar="SPAN", help="Only the last 90m, 26h, 2d or 1w.")
@click.option("--event", default="", metavar="PREFIX", help="Only events that begin like this.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    metavar="N",
    help="The newest N.",
)
@pass_door
def list_(door: Door, since: timedelta | None, event: str, limit: int) -> None:
    r"""List records, oldest first. Whether they are whole is for 'audit verify' to say.

    \b
    Exit status:
      0   they were listed, be it none
      2   the request cannot be right
      10  nothing is set up here
    """
    from strongroom.control import audit as control

    with door.home_context() as ctx:
        records = control.list_records(ctx, since=since, event=event, limit=limit)
    columns = [
        Column("LINE", right=True),
        Column("AT (UTC)"),
        Column("EVENT"),
        Column("OUTCOME"),
        Column("WHO", flexible=True),
        Column("WHAT", flexible=True),
    ]
    rows = [
        (str(one.number), one.at[:16], one.event, one.outcome, _who(one), _what(one))
        for one in records
    ]
    door.show({"records": records}, table(columns, rows) if rows else [])


@audit.command("show")
@click.argument("number", metavar="N", type=click.IntRange(min=1))
@pass_door
def show(door: Door, number: int) -> None:
    r"""Show everything that line N says.

    \b
    Exit status:
      0   it was shown
      2   the request cannot be right
      10  there is no such line
    """
    from strongroom.control import audit as control

    with door.home_context() as ctx:
        one = control.show(ctx, number)
    lines = pairs(
        [
            ("line", str(one.number)),
            ("at", one.at),
            ("event", one.event),
            ("severity", one.severity),
            ("outcome", one.outcome),
            ("command", one.command or "-"),
            *((name, str(value)) for name, value in one.who.items()),
            *((name, _words(value)) for name, value in one.fields.items()),
        ]
    )
    door.show({"record": one}, lines)


@audit.command("verify")
@click.option(
    "--head",
    metavar="N:TAG",
    help="A head that this command printed before: the log has to lead through it.",
)
@pass_door
def verify(door: Door, head: str | None) -> None:
    r"""Check that no record was altered or taken away, and show the newest one's tag.

    Write the tag down elsewhere: who reads this machine's keystore could write the whole log
    anew, and only a tag from outside shows it.

    \b
    Exit status:
      0   every line is there, as it was written
      2   the request cannot be right
      10  nothing is set up here
      20  it is not; the message names the first line that does not hold
    """
    from strongroom.control import audit as control

    with door.home_context() as ctx:
        result = control.verify(ctx, head)
    door.show(
        result,
        [f"{counted(result.lines, 'record')}, none altered or missing", f"head {result.head}"],
    )


def _who(one: AuditRecord) -> str:
    return str(one.who.get("sudo_user") or one.who.get("user") or one.who.get("uid", "-"))


def _what(one: AuditRecord) -> str:
    return ", ".join(f"{name} {_words(value)}" for name, value in one.fields.items()) or "-"


def _words(value: Any) -> str:  # noqa: ANN401 - what a record's field holds
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)
