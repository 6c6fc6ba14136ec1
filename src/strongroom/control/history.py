"""What ran, and how it ended: sessions as the catalog remembers them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from strongroom.catalog import jobs, sessions
from strongroom.control.views.jobs import SessionErrorView, SessionView
from strongroom.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from strongroom.control.context import Context
    from strongroom.model.session import SessionRecord

SHORTEST_PREFIX: Final = 4


def list_sessions(ctx: Context, job: str | None, last: int) -> tuple[SessionView, ...]:
    """Return the newest sessions, of all jobs or of one, oldest first.

    A job that was removed is still found by the name that it had when it ran.

    Args:
        ctx: Surroundings.
        job: Whose; all by default.
        last: How many, at most.

    Raises:
        NotFoundError: no job has this name, and none that had it ever ran.
    """
    if job is None:
        records = sessions.newest_of_all(ctx.database, last)
    else:
        found = jobs.find(ctx.database, job)
        if found is not None:
            records = sessions.of_job(ctx.database, found.job_id, last)
        else:
            records = sessions.of_name(ctx.database, job, last)
            if not records:
                jobs.get(ctx.database, job)
    return tuple(_view(record) for record in reversed(records))


def show(ctx: Context, which: str) -> SessionView:
    """Return the session with this id, or with an id that begins like this.

    Raises:
        NotFoundError: there is none.
        InvalidInputError: several sessions fit, or the words can mean none.
    """
    wanted = which.lower()
    if wanted.strip("0123456789abcdef") or not SHORTEST_PREFIX <= len(wanted) <= 32:
        raise InvalidInputError(
            f"{which!r} names no session",
            hint=f"give its id, or at least its first {SHORTEST_PREFIX} digits",
        )
    found = sessions.beginning_with(ctx.database, wanted)
    if not found:
        raise NotFoundError(
            f"there is no session {which}", hint="'strongroom session list' shows the newest"
        )
    if len(found) > 1:
        ids = [record.session_id.hex() for record in found]
        raise InvalidInputError(f"{which} fits {len(ids)} sessions: {', '.join(ids)}", sessions=ids)
    return _view(found[0])


def _view(record: SessionRecord) -> SessionView:
    error, counters = record.error, record.counters
    return SessionView(
        id=record.session_id.hex(),
        job=record.job,
        state=record.state.value,
        started_at=record.started_at,
        finished_at=record.finished_at,
        kind=record.kind,
        reason=record.reason,
        read_bytes=counters.read_bytes,
        changed_bytes=counters.changed_bytes,
        stored_bytes=counters.stored_bytes,
        files=counters.files,
        seconds=counters.seconds or _lasted(record),
        warnings=record.warnings,
        error=None
        if error is None
        else SessionErrorView(code=error.code, message=error.message, hint=error.hint),
        chain=record.chain_id.hex() if record.chain_id is not None else None,
        points=tuple(point.hex() for point in record.points),
    )


def _lasted(record: SessionRecord) -> float:
    """Return the span of a session that counted nothing since it made no point."""
    if record.finished_at is None:
        return 0.0
    return round((record.finished_at - record.started_at).total_seconds(), 3)
