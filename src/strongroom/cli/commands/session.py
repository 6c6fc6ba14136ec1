"""`strongroom session …`: what ran, and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from strongroom.cli.options import job_names, session_names
from strongroom.cli.output import Column, number, pairs, size, table, took, when
from strongroom.cli.words import Group, pass_door
from strongroom.model.phrases import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.cli.door import Door
    from strongroom.control.views.jobs import SessionView

_SHORT_ID = 8


@click.group("session", cls=Group)
def session() -> None:
    r"""Sessions: what ran, and how it ended.

    S is a session's id, or the beginning of one (four digits or more).

    \b
    Exit status:
      0   done
      2   the request cannot be right
    """


@session.command("list")
@click.argument("job", required=False, shell_complete=job_names)
@click.option(
    "--last",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    metavar="N",
    help="The newest N.",
)
@pass_door
def list_(door: Door, job: str | None, last: int) -> None:
    r"""List sessions, oldest first; with JOB only its own.

    \b
    Exit status:
      0   they were listed, be it none
      2   the request cannot be right
      10  there is no such job
    """
    from strongroom.control import history

    with door.home_context() if job is not None else door.context() as ctx:
        views = history.list_sessions(ctx, job, last) if ctx.has_catalog else ()
    door.show({"sessions": views}, _table(views) if views else [])
    if not views:
        door.speaker.say("no session has run yet")


def _table(views: Sequence[SessionView]) -> list[str]:
    columns = [
        Column("ID"),
        Column("STARTED"),
        Column("TOOK", right=True),
        Column("STATE"),
        Column("STORED", right=True),
        Column("JOB", flexible=True),
        Column("NOTE", flexible=True),
    ]
    rows = [
        (
            view.id[:_SHORT_ID],
            when(view.started_at)[:16],
            took(view.seconds) if view.seconds else "-",
            view.state,
            size(view.stored_bytes) if view.points else "-",
            view.job,
            _note(view),
        )
        for view in views
    ]
    return table(columns, rows)


def _note(view: SessionView) -> str:
    if view.error is not None:
        return view.error.code
    notes = ["full"] if view.kind == "full" else []
    if view.warnings:
        notes.append(counted(len(view.warnings), "warning"))
    return ", ".join(notes)


@session.command("show")
@click.argument("which", metavar="S", shell_complete=session_names)
@pass_door
def show(door: Door, which: str) -> None:
    r"""Show what is remembered of session S.

    \b
    Exit status:
      0   it was shown, however the session ended
      2   S names no session, or several
      10  there is no such session
    """
    from strongroom.control import history

    with door.home_context() as ctx:
        view = history.show(ctx, which)
    door.show({"session": view}, _lines(view))


def _lines(view: SessionView) -> list[str]:
    items: list[tuple[str, str | Sequence[str]]] = [
        ("session", view.id),
        ("job", view.job),
        ("state", view.state),
        ("started", when(view.started_at)),
        ("finished", when(view.finished_at)),
        ("kind", (view.kind or "-") + (f" ({view.reason})" if view.reason else "")),
        ("took", took(view.seconds)),
        ("read", size(view.read_bytes)),
        ("changed", size(view.changed_bytes)),
        ("stored", size(view.stored_bytes)),
        ("files", number(view.files)),
        ("chain", view.chain or "-"),
        ("points", view.points),
        ("warnings", view.warnings),
    ]
    if view.error is not None:
        items.append(("error", view.error.message.splitlines()))
        items.append(("code", view.error.code))
        items.append(("hint", view.error.hint or "-"))
    return pairs(items)
