"""A clock turned by hand: waiting takes no time, and time passes only when told."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Final

from strongroom.clock import SystemClock, to_microseconds

NOON: Final = datetime(2026, 11, 24, 12, tzinfo=UTC)


class TurnedClock:
    """Stands at `start` until someone advances it or sleeps by it."""

    def __init__(self, start: datetime = NOON) -> None:
        if start.tzinfo is None:
            raise ValueError("start needs a time zone")
        self._lock = threading.Lock()
        self._start = start.astimezone(UTC)
        self._passed = timedelta()
        self._slept: tuple[float, ...] = ()
        self._starts = 1
        self._started = -timedelta(hours=1)

    @property
    def slept(self) -> tuple[float, ...]:
        """Every wait so far, in seconds, in order."""
        return self._slept

    def advance(self, by: timedelta) -> None:
        if by < timedelta():
            raise ValueError("time does not go back; take a second clock for a wrong one")
        with self._lock:
            self._passed += by

    def jump(self, by: timedelta) -> None:
        """Set the clock, forwards or back; no time passes."""
        with self._lock:
            self._start += by

    def restart(self, off: timedelta) -> None:
        """Let the machine be off for some time."""
        self.advance(off)
        self._starts += 1
        self._started = self._passed

    def now(self) -> datetime:
        return self._start + self._passed

    def running(self) -> tuple[str, float]:
        return f"start {self._starts}", (self._passed - self._started).total_seconds()

    def now_ns(self) -> int:
        return to_microseconds(self.now()) * 1000

    def monotonic(self) -> float:
        return self._passed.total_seconds()

    def sleep(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError("nobody can sleep back")
        until = self._passed + timedelta(seconds=seconds)
        with self._lock:
            self._slept += (seconds,)
            # Two threads that sleep at once sleep through the same time.
            self._passed = max(self._passed, until)


class LaterClock(SystemClock):
    """The machine's clock, after it has run on for some time more, or was set."""

    def __init__(self, passed: timedelta, jumped: timedelta = timedelta()) -> None:
        """Make it later.

        Args:
            passed: How long the machine has run meanwhile.
            jumped: How far the clock was set beside that.
        """
        self._passed = passed
        self._off = passed + jumped

    def now(self) -> datetime:
        return super().now() + self._off

    def now_ns(self) -> int:
        return super().now_ns() + self._off // timedelta(microseconds=1) * 1000

    def running(self) -> tuple[str, float]:
        start, seconds = super().running()
        return start, seconds + self._passed.total_seconds()
