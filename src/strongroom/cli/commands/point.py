"""`strongroom point …`: restore points, looked at without restoring them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from strongroom.cli.errors import WARNINGS
from strongroom.cli.options import (
    Reading,
    confirmation_options,
    given_up_option,
    job_names,
    limit_option,
    point_names,
    reading_options,
    repository_option,
)
from strongroom.cli.output import (
    Column,
    number,
    pairs,
    printable,
    size,
    table,
    when,
)
from strongroom.cli.output import yes as yes_or_no
from strongroom.cli.words import Group, pass_door
from strongroom.model.phrases import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from strongroom.cli.door import Door
    from strongroom.control.views.points import PointDetailsView, PointRow, Removed

_SHORT_ID = 8


@click.group("point", cls=Group)
def point() -> None:
    r"""Restore points: list, look into, compare, check.

    P is a point's id, the beginning of one (four digits or more), or JOB@latest; where a job has
    several sources, JOB/SOURCE@latest.

    \b
    Exit status:
      0   done
      2   the request cannot be right
    """


@point.command("list")
@click.argument("job", required=False, shell_complete=job_names)
@given_up_option
@reading_options
@pass_door
def list_(door: Door, job: str | None, given_up: bool, reading: Reading) -> None:
    r"""List restore points, oldest first; with JOB only its own.

    \b
    Exit status:
      0   they were listed, be it none; what locked ones need was said
      2   the request cannot be right
      3   they were listed, without those of a repository that did not answer
      10  there is no such repository or job
      12  a secret given opens nothing there
      13  the storage did not answer
      20  a chain is damaged or not to be believed
    """
    from strongroom.control import points

    with door.context() as ctx:
        found = points.list_points(ctx, reading.access(door, given_up=given_up), job)
    door.show(found, _table(found.points) if found.points else [])
    door.tell_warnings(found.warnings)
    if not found.points:
        door.speaker.say("there is no restore point")
    if not found.complete:
        door.exit_status = WARNINGS


def _table(rows: Sequence[PointRow]) -> list[str]:
    columns = [
        Column("ID"),
        Column("TAKEN"),
        Column("KIND"),
        Column("SIZE", right=True),
        Column("STORED", right=True),
        Column("SOURCE", flexible=True),
        Column("NOTE", flexible=True),
    ]
    length = _distinct([row.id for row in rows])
    # One job's list says its name once; the room is better spent on the sources.
    one_job = len({row.job for row in rows}) == 1
    lines: list[Sequence[str]] = [
        (
            row.id[:length],
            when(row.taken_at)[:16] + when(row.taken_at)[19:],
            "full" if "full" in row.kind else "incr",
            size(row.size_bytes),
            size(row.stored_bytes),
            _named(row, one_job),
            _notes(row),
        )
        for row in rows
    ]
    if not any(line[-1] for line in lines):
        columns, lines = columns[:-1], [line[:-1] for line in lines]
    title = [f"job {printable(rows[0].job)}"] if one_job and rows[0].job else []
    return title + table(columns, lines)


def _named(row: PointRow, one_job: bool) -> str:
    if row.locked:
        return "-"
    return (row.source or "-") if one_job else f"{row.job} {row.source}"


def _notes(row: PointRow) -> str:
    notes = (
        ("locked", row.locked),
        ("contents locked", bool(row.needs) and not row.locked),
        ("damaged", row.damaged),
        ("held", row.held),
        ("given up", row.given_up),
        ("plain", not row.encrypted),
    )
    words = [word for word, holds in notes if holds]
    copies = [f"copy in {printable(name)}" for name in row.copies]
    return ", ".join([*words, *_flags(row), *copies])


def _flags(row: PointRow) -> list[str]:
    return [f"{one.kind} until {one.until}" for one in row.flags]


def _distinct(ids: Sequence[str]) -> int:
    """Return how many digits tell these ids apart."""
    length = _SHORT_ID
    while length < 32 and len({one[:length] for one in ids}) < len(set(ids)):
        length += 2
    return length


@point.command("show")
@click.argument("which", metavar="P", shell_complete=point_names)
@reading_options
@pass_door
def show(door: Door, which: str, reading: Reading) -> None:
    r"""Show everything about restore point P, and who can open it.

    \b
    Exit status:
      0   it was shown
      10  there is no such point
      12  a secret given opens nothing there
      20  the point is damaged or not to be believed
    """
    from strongroom.control import points

    with door.context() as ctx:
        details = points.show(ctx, reading.access(door), which)
    door.show(details, _detail_lines(details))
    door.tell_warnings(details.warnings)


def _detail_lines(details: PointDetailsView) -> list[str]:
    row = details.point
    return pairs(
        [
            ("point", row.id),
            ("job", row.job or "(locked)"),
            ("source", row.source or "(locked)"),
            ("machine", details.machine or "-"),
            ("kind", row.kind + (f" ({details.reason})" if details.reason else "")),
            ("taken", when(row.taken_at)),
            ("finished", when(details.finished_at)),
            ("next due", when(details.next_due)),
            ("size", size(row.size_bytes)),
            ("stored", size(row.stored_bytes)),
            ("files", number(row.files)),
            ("warnings", number(details.source_warnings)),
            ("held", yes_or_no(row.held)),
            *([("kept as", _flags(row))] if row.flags else []),
            ("damaged", yes_or_no(row.damaged)),
            ("parent", details.parent or "-"),
            ("repository", details.repository),
            ("chain", row.chain),
            ("entry", str(details.entry)),
            ("signer", details.signer),
            ("encrypted", yes_or_no(row.encrypted)),
            ("cipher", details.block_cipher),
            ("key exchange", details.key_exchange),
            ("content hash", details.content_hash),
            ("signatures", details.signatures),
            ("password kdf", details.password_kdf),
            ("recipients", details.recipients),
        ]
    )


@point.command("files")
@click.argument("which", metavar="P", shell_complete=point_names)
@click.argument("pattern", metavar="[GLOB]", required=False)
@reading_options
@pass_door
def files(door: Door, which: str, pattern: str | None, reading: Reading) -> None:
    r"""List what restore point P holds, or what of it fits GLOB.

    \b
    Exit status:
      0   it was listed
      10  there is no such point
      12  a key that it needs is not at hand
      20  the point is damaged or not to be believed
    """
    from strongroom.cli.listing import file_line
    from strongroom.control import points

    with door.context() as ctx:
        listed = points.files(ctx, reading.access(door), which, pattern)
        door.stream("files", listed, file_line)


@point.command("diff")
@click.argument("before", metavar="A", shell_complete=point_names)
@click.argument("after", metavar="B", shell_complete=point_names)
@reading_options
@pass_door
def diff(door: Door, before: str, after: str, reading: Reading) -> None:
    r"""Show how restore point B differs from A, one path a line.

    \b
    +  added    -  removed    M  content changed    m  only attributes changed

    \b
    Exit status:
      0   they were compared, whether they differ or not
      10  there is no such point
      12  a key that one of them needs is not at hand
      20  a point is damaged or not to be believed
    """
    from strongroom.cli.listing import change_line
    from strongroom.control import points

    with door.context() as ctx:
        changes = points.diff(ctx, reading.access(door), before, after)
        door.stream("changes", changes, change_line)


@point.command("export")
@click.argument("which", metavar="P", shell_complete=point_names)
@click.option(
    "--to",
    "target",
    metavar="FILE",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The archive to make; it must not be there.",
)
@reading_options
@pass_door
def export(door: Door, which: str, target: Path, reading: Reading) -> None:
    r"""Write restore point P into one file that opens with the same secrets.

    The file is a ZIP archive of a repository with this point alone, sealed as it is. Every
    command that reads takes it as a place: 'restore P --repository FILE'.

    \b
    Exit status:
      0    it was written
      10   there is no such point
      12   a key that it needs is not at hand
      14   another server signs the point, or the file cannot be written
      15   FILE is there already
      20   the point is damaged or not to be believed
      130  stopped on request; nothing is left
    """
    from strongroom.control import exports

    with door.home_context() as ctx, door.work() as (progress, cancel):
        result = exports.export(
            ctx, reading.access(door), which, target, progress=progress, cancel=cancel
        )
    door.show(result, [f"wrote point {result.point} to {target}, {size(result.stored_bytes)}"])
    if not result.encrypted:
        door.speaker.warn("the point is not encrypted, and neither is the file")


@point.command("verify")
@click.argument("which", metavar="P...", nargs=-1, required=True, shell_complete=point_names)
@limit_option
@reading_options
@pass_door
def verify(door: Door, which: tuple[str, ...], limit: str | None, reading: Reading) -> None:
    r"""Open every block that restore points P use.

    \b
    Exit status:
      0    every block opens in its place
      10   there is no such point
      12   a key that it needs is not at hand
      13   the storage or the KMS did not answer
      20   something is damaged or missing
      130  stopped on request
    """
    from strongroom.cli import reports
    from strongroom.control import care

    with door.context() as ctx, door.work() as (progress, cancel):
        report = care.verify(
            ctx,
            reading.access(door),
            which=which,
            limit=limit,
            progress=progress,
            cancel=cancel,
        )
    reports.show_verify(door, report)


@point.command("hold")
@click.argument("which", metavar="P...", nargs=-1, required=True, shell_complete=point_names)
@repository_option
@pass_door
def hold(door: Door, which: tuple[str, ...], repository: str | None) -> None:
    r"""Keep restore points P whatever retention says, until they are released.

    \b
    Exit status:
      0   they are held
      10  there is no such point
      14  their chain is another server's
    """
    from strongroom.control import points

    with door.home_context() as ctx:
        rows = points.hold(ctx, which, repository)
    door.show({"points": rows}, [f"held point {row.id}" for row in rows])


@point.command("release")
@click.argument("which", metavar="P...", nargs=-1, required=True, shell_complete=point_names)
@repository_option
@pass_door
def release(door: Door, which: tuple[str, ...], repository: str | None) -> None:
    r"""Let retention decide about restore points P again.

    \b
    Exit status:
      0   they are released
      10  there is no such point
      14  their chain is another server's
    """
    from strongroom.control import points

    with door.home_context() as ctx:
        rows = points.release(ctx, which, repository)
    door.show({"points": rows}, [f"released point {row.id}" for row in rows])


@point.command("remove")
@click.argument("which", metavar="P...", nargs=-1, required=True, shell_complete=point_names)
@repository_option
@confirmation_options
@pass_door
def remove(
    door: Door, which: tuple[str, ...], repository: str | None, yes: bool, dry_run: bool
) -> None:
    r"""Give restore points P up, for good. Their space comes back with the next prune.

    \b
    Exit status:
      0    they are given up
      2    there is no terminal to ask on, and no --yes
      10   there is no such point
      14   their chain is another server's
      15   one of them is held
      130  the answer was no
    """
    from strongroom.control import points

    with door.home_context() as ctx:
        if not yes:
            plan = points.remove(ctx, which, where=repository, dry_run=True)
            if dry_run:
                door.show(plan, _removal_lines(plan))
                return
            for line in _removal_lines(plan):
                door.speaker.plain(line)
            door.confirm(f"remove {counted(len(plan.points), 'point')} for good?")
        removed = points.remove(ctx, which, where=repository, yes=not dry_run, dry_run=dry_run)
    door.show(removed, _removal_lines(removed))


def _removal_lines(removed: Removed) -> Iterator[str]:
    word = "removed" if removed.done else "would remove"
    for one in removed.points:
        owner = f"{printable(one.job)} " if one.job else ""
        yield f"{word} point {one.id} ({owner}{when(one.taken_at)}): {one.reason}"
