"""`strongroom restore`: bring back a point, or part of one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from strongroom.cli.errors import WARNINGS
from strongroom.cli.options import (
    PLACE,
    Reading,
    content_of,
    given_up_option,
    limit_option,
    point_names,
    reading_options,
)
from strongroom.cli.output import printable, size, took
from strongroom.cli.words import Command, pass_door
from strongroom.errors import InvalidInputError, PointDamagedError
from strongroom.model.phrases import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.cli.door import Door
    from strongroom.engine.restore import Overwrite, RestoreRequest, RestoreResult

_LONGEST_LIST = 64 << 20


@click.command("restore", cls=Command)
@click.argument("which", metavar="P", shell_complete=point_names)
@click.option(
    "--to",
    "target",
    required=True,
    type=PLACE,
    metavar="PATH",
    help="Folder to restore to; for an image the file or device to write; - for standard output.",
)
@click.option(
    "--include", multiple=True, metavar="GLOB", help="Only what fits GLOB; several times."
)
@click.option(
    "--files-from",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help="Only the paths that FILE lists, one a line; - for standard input.",
)
@click.option("--strip", is_flag=True, help="Drop the source's own path below PATH.")
@click.option(
    "--overwrite",
    type=click.Choice(["never", "if-different", "always"]),
    default="never",
    show_default=True,
    help="What happens to files that are there, or a device that holds something. never: then "
    "nothing is restored.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be restored and do nothing.")
@click.option(
    "--verify",
    is_flag=True,
    help="Read what was written, and what is left as it is, and compare it.",
)
@click.option("--salvage", is_flag=True, help="Restore what is not damaged and list the rest.")
@given_up_option
@limit_option
@reading_options
@pass_door
def restore(
    door: Door,
    which: str,
    target: Path,
    include: tuple[str, ...],
    files_from: Path | None,
    strip: bool,
    overwrite: Overwrite,
    dry_run: bool,
    verify: bool,
    salvage: bool,
    given_up: bool,
    limit: str | None,
    reading: Reading,
) -> None:
    r"""Bring back restore point P, or part of it, to PATH.

    P is a point's id, the beginning of one, or JOB@latest. Nothing is ever written outside
    PATH. With --repository LOCATION and a password or recovery kit no home is needed.

    \b
    Exit status:
      0    everything is restored
      2    the request cannot be right
      3    everything is restored, with warnings
      10   there is no such point or path
      12   a key that it needs is not at hand; nothing was restored
      13   the storage or the KMS did not answer
      14   the target or the KMS refused: rights, a full disk, a disabled key
      15   something is in the way; nothing was restored
      20   something is damaged; without --salvage nothing was restored
      130  stopped on request
    """
    to_output = str(target) == "-"
    if to_output:
        _check_output(door, dry_run)
    from strongroom.control import restores
    from strongroom.engine.restore import RestoreRequest

    request = RestoreRequest(
        target=None if to_output else target,
        include=(*include, *_listed(files_from)),
        strip=strip,
        overwrite=overwrite,
        dry_run=dry_run,
        verify=verify,
        salvage=salvage,
    )
    with door.context() as ctx, door.work() as (progress, cancel):
        result = restores.restore(
            ctx,
            reading.access(door, given_up=given_up),
            which,
            request,
            progress=progress,
            cancel=cancel,
            stream=sys.stdout.buffer if to_output else None,
            limit=limit,
        )
    _show(door, result, request)


def _show(door: Door, result: RestoreResult, request: RestoreRequest) -> None:
    lost = [*result.losses]
    if request.target is None:
        sys.stdout.flush()
        for line in _lines(result, request):
            door.speaker.say(line)
        if lost:
            raise _lost(result)
    elif lost:
        door.show_with_error(result, _lines(result, request), _lost(result))
    else:
        door.show(result, _lines(result, request))
    door.tell_warnings(result.warnings)
    if result.warnings and not lost:
        door.exit_status = WARNINGS


def _lines(result: RestoreResult, request: RestoreRequest) -> Iterator[str]:
    if request.dry_run:
        for item in result.would:
            yield printable(item)
    where = f" to {printable(str(request.target))}" if request.target is not None else ""
    if request.dry_run:
        yield f"would restore {counted(len(result.would), 'path')}{where}"
    else:
        yield (
            f"restored {counted(result.files, 'file')}, {size(result.bytes)}{where} "
            f"in {took(result.seconds)}"
        )
    for loss in result.losses:
        yield f"lost {printable(loss.path)}: {printable(loss.reason)}"


def _lost(result: RestoreResult) -> PointDamagedError:
    return PointDamagedError(
        f"{counted(len(result.losses), 'file')} could not be restored whole",
        hint="what was lost is listed; another point may still hold it",
        lost=[loss.path for loss in result.losses],
    )


def _check_output(door: Door, dry_run: bool) -> None:
    if door.json:
        raise InvalidInputError(
            "--to - and --json both write to standard output", hint="leave one of them out"
        )
    if sys.stdout is None or (sys.stdout.isatty() and not dry_run):
        raise InvalidInputError(
            "standard output is a terminal and would get raw data",
            hint="pipe it into a command, or > into a file",
        )


def _listed(file: Path | None) -> list[str]:
    """Return the paths that a file lists, each as a pattern for itself alone."""
    if file is None:
        return []
    data = content_of(file, _LONGEST_LIST)
    # Lists made by 'find -print0' or 'point files' with line feeds in names end names with NUL.
    separator = b"\0" if b"\0" in data else b"\n"
    paths = [part.decode("utf-8", "surrogateescape") for part in data.split(separator) if part]
    if not paths:
        raise InvalidInputError(f"{file} lists no path")
    import glob

    return [glob.escape(path) for path in paths]
