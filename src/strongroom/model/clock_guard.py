"""Whether the clock can be right, compared with what was seen of it before.

Retention and quarantines go by the clock, so a clock that is wrong lets points go too early, and
so does who turns it. Beside the time of day a machine counts how long it has run since its start,
sleep included, and that nobody turns. While the machine runs the two have to go on alike; over a
start, the clock has at least to be on by the time that the machine has run since.

How long a machine was off, nothing but the clock tells. Strictly judged, a time that nobody can
vouch for is as suspicious as a jump; otherwise it is taken as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

LIMIT: Final = timedelta(hours=24)
"""How far the clock may be from where it is expected."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ClockReading:
    """The clock at one moment, and what there is to compare it with."""

    at: datetime
    start: str
    """Which start of the machine this is after."""
    running: timedelta | None
    """Since that start; None where nothing but the clock itself says so."""

    @classmethod
    def taken(cls, at: datetime, start: str, running: timedelta) -> ClockReading:
        """Return what was read.

        A machine that says it was started in 1970 counts with the clock itself: there are
        containers and debugging tools which make it so.
        """
        same = abs(at - running - _EPOCH) < LIMIT
        return cls(at, start, None if same else running)


def jump(before: ClockReading, now: ClockReading, *, strict: bool) -> timedelta | None:
    """Return how far the clock is ahead of where it should be; None if it may be right.

    Args:
        before: An earlier reading that was believed.
        now: The present one.
        strict: Whether a time that the machine may have been off is believed only up to `LIMIT`.
    """
    passed = now.at - before.at
    if now.running is not None and before.running is not None:
        same_start = before.start == now.start
        off = passed - now.running + (before.running if same_start else timedelta())
        if off < -LIMIT or (off > LIMIT and (same_start or strict)):
            return off
        return None
    return passed if strict and abs(passed) > LIMIT else None
