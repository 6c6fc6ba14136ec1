"""How fast a command may move bytes: as a repository says, a job, or the command itself.

The limit of a repository holds for all that this installation does there at a time; that of a
job or a command for the one process. Which hour a timetable means is said by this machine's
zone.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from strongroom.catalog.repositories import RepositoryRow
    from strongroom.control.context import Context
    from strongroom.engine.cancellation import Cancellation
    from strongroom.model.rate import Limit, Timetable
    from strongroom.storage.base import Storage
    from strongroom.storage.throttling import Line


def _go_on() -> None:
    """Stop nothing."""


class Traffic:
    """The limits of one command, and what became of them."""

    def __init__(
        self,
        limit: Limit | None = None,
        job: Timetable | None = None,
        check: Callable[[], None] = _go_on,
    ) -> None:
        """Set the limits.

        Args:
            limit: Stands in for those of the repositories.
            job: Holds beside that of the repository.
            check: Called while something waits; what it raises ends the wait.
        """
        self._limit = limit
        self._job = job
        self._check = check
        self._lock = threading.Lock()
        self.waited_seconds = 0.0
        """What all threads together have waited for a limit."""

    @classmethod
    def of_command(cls, limit: str | None, cancel: Cancellation) -> Self:
        """Return what holds for a command, whose own limit stands in for all others.

        Args:
            limit: A timetable, or `none`; None is none of its own.
            cancel: Ends waits.

        Raises:
            InvalidInputError: it is no limit.
        """
        if limit is None:
            return cls(check=cancel.check)
        from strongroom.model.rate import parse_limit

        return cls(parse_limit(limit), check=cancel.check)

    def limited(self, ctx: Context, storage: Storage, location: str | None) -> Storage:
        """Return a storage under the limits that hold there.

        Args:
            ctx: The command's surroundings.
            storage: What is at the location.
            location: Where, for the catalog to be asked; None asks nobody.
        """
        lines: list[Line] = []
        if self._limit is not None:
            lines += self._own_line(ctx, self._limit)
        elif location is not None and ctx.has_catalog:
            lines += self._line_of_repository(ctx, location)
        if self._job is not None:
            lines += self._own_line(ctx, self._job)
        if not lines:
            return storage
        # Not at the top: most commands know no limit.
        from strongroom.repository import layout
        from strongroom.storage.throttling import ThrottlingStorage

        for line in lines:
            storage = ThrottlingStorage(
                storage,
                line,
                check=self._check,
                waited=self._waited,
                exempt=layout.LOCKS,
            )
        return storage

    def _own_line(self, ctx: Context, limit: Limit) -> list[Line]:
        from strongroom.model.rate import Unlimited
        from strongroom.storage.throttling import Line

        return [] if isinstance(limit, Unlimited) else [Line(ctx.clock, _rate(ctx, limit))]

    def _line_of_repository(self, ctx: Context, location: str) -> list[Line]:
        from strongroom.catalog import repositories
        from strongroom.storage.location import normalise

        row = repositories.by_location(ctx.database, normalise(location))
        return [] if row is None or row.limit is None else [_shared_line(ctx, row, row.limit)]

    def _waited(self, seconds: float) -> None:
        with self._lock:
            self.waited_seconds += seconds


def _shared_line(ctx: Context, row: RepositoryRow, limit: Timetable) -> Line:
    from strongroom.errors import RefusedError
    from strongroom.storage.throttling import Line, SharedLine

    path = ctx.settings.cache / "traffic" / row.repository_id.hex()
    try:
        line = SharedLine(path, ctx.clock, _rate(ctx, limit))
    except RefusedError as error:
        ctx.warn(f"the limit of repository {row.name} holds for this command alone: {error}")
        return Line(ctx.clock, _rate(ctx, limit))
    ctx.on_close(line.close)
    return line


def _rate(ctx: Context, limit: Timetable) -> Callable[[], float | None]:
    return lambda: limit.in_force(ctx.clock.now().astimezone())
