"""Wrong passwords: after 15 within a minute the next is refused for 5 minutes.

It keeps this machine from being the place where a password is guessed. Who has a copy of the
repository guesses there, against Argon2id and nothing of ours, so commands that open a
repository with a given password count only where the catalog says that its job is guarded.

An attempt counts as failed before it is looked at, and is taken back if it was right: many at
once get no more tries than one after the other. A right answer takes back its own attempt and no
other, so that whoever knows the password does not give a guesser a fresh start. What is refused
does not count, and the lock is not prolonged. The catalog keeps it, for all processes.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from strongroom.catalog import failed_attempts
from strongroom.clock import rfc3339
from strongroom.control import audit
from strongroom.crypto import random
from strongroom.errors import AttemptsLockedError, UnlockError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from strongroom.catalog.passwords import PasswordRow
    from strongroom.control.context import Context

MOST_FAILURES: Final = 15
WITHIN: Final = timedelta(minutes=1)
LOCKED_FOR: Final = timedelta(minutes=5)


@contextmanager
def counted(ctx: Context, row: PasswordRow, purpose: str) -> Iterator[None]:
    """Let one attempt at a password be made inside, and record how it ended.

    Args:
        ctx: Surroundings.
        row: The password.
        purpose: What it is asked for: `verify`.

    Raises:
        AttemptsLockedError: there were too many wrong ones; nothing was tried.
    """
    with counted_together(ctx, [row], purpose):
        yield
    audit.record(ctx, "password.attempted", password=row.name, purpose=purpose)


@contextmanager
def counted_together(ctx: Context, rows: Sequence[PasswordRow], purpose: str) -> Iterator[None]:
    """Let one attempt be made inside at passwords of which any may be meant.

    Args:
        ctx: Surroundings.
        rows: The passwords.
        purpose: What they are asked for: `read`.

    Raises:
        AttemptsLockedError: there were too many wrong ones at one of them; nothing was tried.
    """
    begun = [_begin(ctx, row, purpose) for row in rows]
    try:
        yield
    except UnlockError as error:
        for row in rows:
            _record(ctx, row, purpose, error, audit.Outcome.FAILED)
        raise
    for attempt in begun:
        failed_attempts.take_back(ctx.database, attempt)


def _begin(ctx: Context, row: PasswordRow, purpose: str) -> bytes:
    attempt = random.token(16)
    try:
        with ctx.database.transaction():
            refuse_if_locked(ctx, row)
            failed_attempts.add(ctx.database, attempt, row.password_id, ctx.clock.now())
    except AttemptsLockedError as error:
        _record(ctx, row, purpose, error, audit.Outcome.REFUSED)
        raise
    return attempt


def refuse_if_locked(ctx: Context, row: PasswordRow) -> None:
    """Go on if an attempt may be made.

    Raises:
        AttemptsLockedError: there were too many wrong ones.
    """
    now = ctx.clock.now()
    failed_attempts.forget(ctx.database, now - WITHIN - LOCKED_FOR, now + LOCKED_FOR)
    until = _locked_until(failed_attempts.newest(ctx.database, row.password_id, MOST_FAILURES))
    if until is not None and now < until:
        raise AttemptsLockedError(
            f"{MOST_FAILURES} wrong answers within a minute: password {row.name} can be tried "
            f"again at {rfc3339(until)}",
            hint="'strongroom audit list --event password.attempted' shows who tried",
            password=row.name,
            until=rfc3339(until),
        )


def _locked_until(newest: list[datetime]) -> datetime | None:
    if len(newest) < MOST_FAILURES or newest[0] - newest[-1] > WITHIN:
        return None
    return newest[0] + LOCKED_FOR


def _record(
    ctx: Context,
    row: PasswordRow,
    purpose: str,
    error: AttemptsLockedError | UnlockError,
    outcome: audit.Outcome,
) -> None:
    audit.record(
        ctx,
        "password.attempted",
        severity=audit.Severity.WARNING,
        outcome=outcome,
        password=row.name,
        purpose=purpose,
        code=error.code,
    )
