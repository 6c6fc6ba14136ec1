"""Guards of folders, as root runs them: no home, no catalog, no key (`storage.guard`)."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from strongroom.errors import InvalidInputError, StorageUnavailableError
from strongroom.storage.guard import Guard, Rules, state_name
from strongroom.storage.guard_socket import GuardServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.control.context import Context

DEFAULT_STATE: Final = Path("/var/lib/strongroom-guard")
_LONGER_DAYS: Final = 365


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
    """
    most = days + _LONGER_DAYS if at_most_days is None else at_most_days
    if most < days:
        raise InvalidInputError(f"--at-most-days {most} is less than --days {days}")
    with closing(Guard(folder, _state_file(folder, state), Rules(days, most))) as guard:
        locked = guard.sweep(thorough=True)
        ctx.report(f"{locked} objects in {folder} are locked now that were not before")
        if not once:
            with closing(GuardServer(guard, ctx.settings.guards)) as server:
                ctx.report(f"guarding {folder}")
                server.serve(stopped)
        return guard.blocked


def confirm_clock(folder: Path, *, state: Path | None) -> str | None:
    """Believe the clock as it is; return what was the matter with it."""
    with closing(Guard(folder, _state_file(folder, state), Rules(1, 1))) as guard:
        return guard.confirm_clock()


def _state_file(folder: Path, state: Path | None) -> Path:
    try:
        return (state or DEFAULT_STATE) / f"{state_name(folder)}.sqlite"
    except OSError as error:
        raise StorageUnavailableError(
            f"there is no folder {folder}", hint="is the disk mounted?"
        ) from error
