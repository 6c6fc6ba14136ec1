"""The guard before removals: a clock that jumped lets nothing go until an operator confirms it.

The catalog remembers a reading of the clock that was believed: for what is judged strictly, and
for the rest. It stays the same while the machine runs, so that many small jumps add up, and until
somebody confirms the clock, so that a jump stays one; a clock that was set right again needs no
confirmation. Backups go on meanwhile, and give nothing up.

Asked by sessions before they let points go, and by prune.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from strongroom.catalog import values
from strongroom.control.views.jobs import ClockConfirmed
from strongroom.model.clock_guard import ClockReading, jump
from strongroom.model.phrases import counted

if TYPE_CHECKING:
    from strongroom.control.context import Context

_BELIEVED: Final = "clock"


class _Believed(msgspec.Struct, frozen=True):
    """What the catalog remembers of the clock."""

    reading: ClockReading
    doubted: bool = False
    """A jump was seen since: a start of the machine does not make it good."""


def removals_blocked(ctx: Context, *, strict: bool) -> str | None:
    """Return why nothing may be removed now, if so; each call is a look at the clock as well.

    Args:
        ctx: Surroundings.
        strict: Whether the machine may not have been off for long either: for vaults.
    """
    found = _look(ctx)[strict]
    if found is None:
        return None
    return (
        f"nothing is removed: the clock has jumped by {_span(abs(found))} "
        f"{'ahead' if found > timedelta() else 'back'}, as far as this machine can tell"
    )


def confirm(ctx: Context) -> ClockConfirmed:
    """Believe the clock as it is from now on."""
    from strongroom.control import audit

    found = _look(ctx)
    far = found[False] or found[True]
    now = _reading(ctx)
    with ctx.database.transaction():
        _put(ctx, {strict: _Believed(now) for strict in (False, True)})
        audit.record(
            ctx,
            "clock.confirmed",
            needed=far is not None,
            jumped_seconds=far.total_seconds() if far is not None else None,
        )
    return ClockConfirmed(at=now.at, jumped=far)


def _look(ctx: Context) -> dict[bool, timedelta | None]:
    """Compare the clock with what was believed; return how far it is off, judged both ways."""
    with ctx.database.transaction():
        before = _get(ctx)
        now = _reading(ctx)
        after: dict[bool, _Believed] = {}
        found: dict[bool, timedelta | None] = {}
        for strict in (False, True):
            believed = before.get(strict)
            if believed is None:
                after[strict], found[strict] = _Believed(now), None
                continue
            far = jump(believed.reading, now, strict=strict or believed.doubted)
            found[strict] = far
            fresh = far is None and (
                believed.reading.start != now.start or believed.reading.running is None
            )
            # What nothing stands beside is worth less than what was read before.
            known = now.running is not None or strict
            after[strict] = _Believed(now if fresh and known else believed.reading, far is not None)
        if after != before:
            _put(ctx, after)
    return found


def _reading(ctx: Context) -> ClockReading:
    start, running = ctx.clock.running()
    return ClockReading.taken(ctx.clock.now(), start, timedelta(seconds=running))


def _get(ctx: Context) -> dict[bool, _Believed]:
    data = values.get(ctx.database, _BELIEVED)
    if data is None:
        return {}
    lenient, strict = msgspec.json.decode(data, type=tuple[_Believed, _Believed])
    return {False: lenient, True: strict}


def _put(ctx: Context, believed: dict[bool, _Believed]) -> None:
    data = msgspec.json.encode((believed[False], believed[True]))
    values.put(ctx.database, _BELIEVED, data)


def _span(length: timedelta) -> str:
    if length >= timedelta(days=2):
        return counted(round(length / timedelta(days=1)), "day")
    return counted(round(length / timedelta(hours=1)), "hour")
