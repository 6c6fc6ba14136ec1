"""Guards of folders, as root runs them: no home, no catalog, no key (`storage.guard`)."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from strongroom.errors import ConflictError, InvalidInputError, StorageUnavailableError
from strongroom.model.phrases import counted
from strongroom.repository import layout
from strongroom.storage.guard import Guard, Rules, state_name
from strongroom.storage.guard_socket import GuardServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.control.context import Context

DEFAULT_STATE: Final = Path("/var/lib/strongroom-guard")
_LONGER_DAYS: Final = 365
_OF_A_PLACE: Final = frozenset(
    {"lost+found", ".tmp", "locks", "probes", layout.HEADERS.rstrip("/"), "chains"}
)
"""What may lie in a folder that is to be a repository, or was on its way to become one."""


def run(
    ctx: Context,
    folder: Path,
    *,
    days: int,
    at_most_days: int | None,
    once: bool,
    state: Path | None,
    stopped: Callable[[], bool],
) -> str | None:
    """Guard a folder until told to stop; return why nothing is removed from it, if so.

    Args:
        ctx: Surroundings.
        folder: The repository's.
        days: How long every object is locked at the least.
        at_most_days: And at most.
        once: Only lock what is not yet.
        state: Where dates are remembered.
        stopped: Tells whether to stop.

    Raises:
        RefusedError: the rights are missing, or the file system has no such attribute.
        StorageUnavailableError: there is no such folder.
        ConflictError: it is no repository, and something else lies there.
    """
    most = days + _LONGER_DAYS if at_most_days is None else at_most_days
    if most < days:
        raise InvalidInputError(f"--at-most-days {most} is less than --days {days}")
    state_file = _state_file(folder, state)
    _check_place(folder)
    with closing(Guard(folder, state_file, Rules(days, most))) as guard:
        locked = guard.sweep(thorough=True)
        ctx.report(f"newly locked in {folder}: {counted(locked, 'object')}")
        if not once:
            with closing(GuardServer(guard, ctx.settings.guards)) as server:
                ctx.report(f"guarding {folder}")
                server.serve(stopped)
        return guard.blocked


def confirm_clock(folder: Path, *, state: Path | None) -> str | None:
    """Believe the clock as it is; return what was the matter with it."""
    with closing(Guard(folder, _state_file(folder, state), Rules(1, 1))) as guard:
        return guard.confirm_clock()


def _check_place(folder: Path) -> None:
    """Go on unless everything in a mistyped folder would be made immutable."""
    if (folder / layout.MARKER).exists() or not folder.is_dir():
        return
    other = [
        path.name
        for path in sorted(folder.iterdir())
        if path.name not in _OF_A_PLACE and not path.name.startswith("check-")
    ]
    if other:
        raise ConflictError(
            f"{folder} is no repository, and {other[0]} lies there: a guard would make "
            f"{'it' if len(other) == 1 else 'all of it'} immutable",
            hint="name the repository's own folder, or an empty one that is to be it",
            folder=str(folder),
        )


def _state_file(folder: Path, state: Path | None) -> Path:
    try:
        return (state or DEFAULT_STATE) / f"{state_name(folder)}.sqlite"
    except OSError as error:
        raise StorageUnavailableError(
            f"there is no folder {folder}", hint="is the disk mounted?"
        ) from error
