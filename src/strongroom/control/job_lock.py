"""The lock that keeps two sessions, or a session and a change, from one job's chains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import LockedError
from strongroom.repository import layout, locks

if TYPE_CHECKING:
    from strongroom.control.context import Context
    from strongroom.engine.progress import Progress
    from strongroom.model.job import Job
    from strongroom.repository.repository import Repository


def acquire(
    ctx: Context,
    job: Job,
    repository: Repository,
    *,
    holder: bytes,
    command: str,
    hint: str,
    break_lock: bool = False,
) -> locks.Lock:
    """Return the job's lock in a repository.

    Args:
        ctx: Surroundings.
        job: Whose.
        repository: Where.
        holder: A session's id, or random: tells holders apart.
        command: Noun and verb. The record lies in the storage, which is not to know what the
            job is called.
        hint: What to do where somebody else has it.
        break_lock: Take it from a holder that may live.

    Raises:
        LockedError: somebody else has it; the message names the job.
    """
    try:
        return locks.acquire(
            repository.storage,
            layout.job_lock(job.job_id),
            holder.hex(),
            ctx.clock,
            command=command,
            break_lock=break_lock,
        )
    except LockedError as error:
        # The lock knows the holder and not the job: an operator knows it the other way.
        raise LockedError(
            f"job {job.name} is at work elsewhere: {error}", hint=hint, **error.fields
        ) from error


class Beating:
    """Progress that keeps the lock fresh: a long session is not to be taken for a dead one."""

    def __init__(self, inner: Progress, lock: locks.Lock | None) -> None:
        self._inner = inner
        self._lock = lock
        self.begin = inner.begin
        self.reading = inner.reading
        self.bottleneck = inner.bottleneck
        self.finish = inner.finish

    def advance(self, byte_count: int = 0, files: int = 0) -> None:
        if self._lock is not None:
            self._lock.refresh()
        self._inner.advance(byte_count, files)
