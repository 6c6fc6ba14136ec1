"""The one place that reads the time or waits.

Everything that decides by time takes a `Clock`, so that tests turn it by hand.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_START_ID = Path("/proc/sys/kernel/random/boot_id")


class Clock(Protocol):
    """Tells the time and waits."""

    def now(self) -> datetime:
        """Return the present moment in UTC."""
        ...

    def now_ns(self) -> int:
        """Return nanoseconds since 1970 UTC, as file times are counted."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back, for durations."""
        ...

    def running(self) -> tuple[str, float]:
        """Return which start of the machine this is, and the seconds since, sleep included."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait for `seconds`."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic(self) -> float:
        return time.monotonic()

    def running(self) -> tuple[str, float]:
        try:
            start = _START_ID.read_text().strip()
        except OSError:
            start = ""  # no /proc: every start looks alike, and a shorter count tells
        return start, time.clock_gettime(time.CLOCK_BOOTTIME)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def to_microseconds(moment: datetime) -> int:
    """Return microseconds since 1970 UTC; exact, where floats would round."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def from_microseconds(microseconds: int) -> datetime:
    """Return the moment that lies `microseconds` after 1970 UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def local(moment: datetime) -> datetime:
    """Return `moment` in this machine's time zone: by its days people count."""
    return moment.astimezone()


def rfc3339(moment: datetime) -> str:
    """Return `moment` as RFC 3339 in UTC with microseconds and a Z."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
