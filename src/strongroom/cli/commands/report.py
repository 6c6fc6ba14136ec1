"""`strongroom report`: who can open what, and what is wrong with that."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from strongroom.cli.errors import WARNINGS
from strongroom.cli.output import Column, printable, table, when, wrapped
from strongroom.cli.output import yes as yes_or_no
from strongroom.cli.words import Command, pass_door

if TYPE_CHECKING:
    from strongroom.cli.door import Door
    from strongroom.control.views.keys import KeyReport


@click.command("report", cls=Command)
@click.option("--html", is_flag=True, help="As a page for a browser, on standard output.")
@click.option(
    "--password-days",
    type=click.IntRange(min=1),
    default=365,
    metavar="N",
    help="How old, in days, a password may be. [default: 365]",
)
@click.option(
    "--scrub-days",
    type=click.IntRange(min=1),
    default=90,
    metavar="N",
    help="How many days ago a scrub may have read what a repository holds. [default: 90]",
)
@pass_door
def report(door: Door, html: bool, password_days: int, scrub_days: int) -> None:
    r"""Say who can open what, and what is wrong with that.

    \b
    Exit status:
      0   nothing is wrong
      3   something is
    """
    from strongroom.control import report as control

    with door.home_context() as ctx:
        made = control.make(ctx, timedelta(days=password_days), timedelta(days=scrub_days))
    if html and not door.json:
        from strongroom.cli.page import report_page

        door.show(made, [report_page(made)])
    else:
        door.show(made, _lines(made))
    if not made.ok:
        door.exit_status = WARNINGS


def _lines(made: KeyReport) -> list[str]:
    columns = [
        Column("JOB", flexible=True),
        Column("ENCRYPT", flexible=True),
        Column("KEY AGE"),
        Column("PROTECTED"),
        Column("GUARDED"),
        Column("POINTS"),
        Column("OPENED BY"),
        Column("COPIES"),
    ]
    rows = [
        (
            job.job,
            job.encrypt,
            "-" if job.key_age_days is None else f"{job.key_age_days} d",
            yes_or_no(job.protected),
            yes_or_no(job.secret_to_read),
            str(job.points),
            str(job.opened_by),
            str(job.copies),
        )
        for job in made.jobs
    ]
    lines = table(columns, rows) if rows else ["there is no job yet"]
    for finding in made.findings:
        mark = "!! " if finding.problem else "   "
        lines += [mark + line for line in wrapped(printable(finding.text), "")]
    lines.append("nothing is wrong" if made.ok else f"something is wrong ({when(made.made_at)})")
    return lines
