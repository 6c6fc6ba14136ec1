"""`strongroom status`: is all well?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from strongroom.cli.errors import WARNINGS
from strongroom.cli.options import SPAN
from strongroom.cli.output import printable, when, wrapped
from strongroom.cli.words import Command, pass_door
from strongroom.model.phrases import counted

if TYPE_CHECKING:
    from datetime import timedelta

    from strongroom.cli.door import Door
    from strongroom.control.views.jobs import JobStatus


@click.command("status", cls=Command)
@click.option(
    "--max-age",
    type=SPAN,
    metavar="SPAN",
    help="How old the newest restore points of a job may be: 26h, 2d. [default: what the job's "
    "--expect-every says, or 26h]",
)
@pass_door
def status(door: Door, max_age: timedelta | None) -> None:
    r"""Say what ran, what is overdue, what failed.

    \b
    Exit status:
      0   all is well
      3   something failed, is overdue or damaged, or the clock has jumped
    """
    from strongroom.control import status as control

    with door.context() as ctx:
        report = control.report(ctx, max_age)
    lines = [job_line(job) for job in report.jobs]
    lines.append("all is well" if report.ok else "something needs attention")
    door.show(report, lines)
    for notice in report.notices:
        door.speaker.say(notice)
    if not report.ok:
        door.exit_status = WARNINGS


def job_line(job: JobStatus) -> str:
    """Return how one job stands, and below it what its error says."""
    facts = [job.state or "has not run yet"]
    if job.started_at is not None:
        facts.append(when(job.started_at))
    if job.overdue:
        facts.append("overdue")
    facts.append(counted(job.points, "point"))
    if not job.encrypted:
        facts.append("not encrypted")
    mark = "ok " if job.ok else "!! "
    line = f"{mark} {printable(job.job)}: {', '.join(facts)}"
    return "\n".join([line, *wrapped(job.message or "", "     ")])
