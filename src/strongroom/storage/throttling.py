"""Keeps the traffic of a storage under a limit.

A `Line` is what shares a limit: all threads of a process, or, with a file, all processes of
this machine. Bytes are booked on it one behind the other and pass at the rate that is in force;
who has booked returns when its bytes have passed. So a limit that changes with the hour holds
from that moment on, for those that wait already as well.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Final

from strongroom.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from strongroom.clock import Clock
    from strongroom.storage.base import Buffer, Composed, ObjectInfo, ObjectKey, Part, Storage

_LONGEST_WAIT: Final = 0.2
"""Seconds. After so long, who waits looks whether the rate has changed, or the work was stopped."""
_NOTHING: Final = 1e-6
"""Seconds that nobody waits for: less than clocks and sums of fractions are exact to."""
_LATE: Final = 0.05
"""Seconds that a transfer may begin late and still be on time: sleepers wake late, and a link
that stands still between many small transfers would never reach its rate."""
_RECORD: Final = struct.Struct("<4d")


@dataclass(slots=True)
class _State:
    """How things stand on a line: bytes since it began, and moments of a monotonic clock."""

    booked: float = 0.0
    passed: float = 0.0
    """Of the bytes booked."""
    at: float = 0.0
    """When `passed` was true."""
    idle_since: float = 0.0
    """When the line last ran empty."""


class Line:
    """Where the transfers of one limit stand one behind the other."""

    def __init__(self, clock: Clock, rate: Callable[[], float | None]) -> None:
        """Begin with an empty line.

        Args:
            clock: The time.
            rate: Says how many bytes a second may pass now; None is no limit.
        """
        self.clock = clock
        self._rate = rate
        self._lock = threading.Lock()
        self._own = _State(at=clock.monotonic(), idle_since=clock.monotonic())

    def book(self, size: int, since: float) -> float:
        """Book bytes that began to move at a moment that has passed; return what they wait for."""
        with self._state() as state:
            return self._booked(state, size, since)

    def book_next(self, size: int) -> float | None:
        """Book bytes that are to move now, or return None where others are still before them."""
        with self._state() as state:
            if state.passed < state.booked:
                return None
            return self._booked(state, size, self.clock.monotonic())

    def wait_seconds(self, end: float) -> float:
        """Return how long to wait, at most, before asking again whether `end` has passed; or 0."""
        with self._state() as state:
            rate = self._rate()
            seconds = 0.0 if rate is None else (end - state.passed) / rate
            return min(_LONGEST_WAIT, seconds) if seconds > _NOTHING else 0.0

    @property
    def free_in(self) -> float:
        """How long to wait, at most, before asking again whether the line is free."""
        with self._state() as state:
            end = state.booked
        return self.wait_seconds(end)

    def _booked(self, state: _State, size: int, since: float) -> float:
        free_since, was_idle = state.idle_since, state.passed >= state.booked
        state.booked += size
        rate = self._rate()
        if rate is None:
            state.passed = state.booked
        elif was_idle:
            credit = rate * max(0.0, state.at - max(since - _LATE, free_since))
            self._pass(state, credit, state.at, rate)
        return state.booked

    @contextmanager
    def _state(self) -> Iterator[_State]:
        """Give out the line's state as it is now, for nobody else to change meanwhile."""
        with self._lock, self._kept() as state:
            now = self.clock.monotonic()
            rate = self._rate()
            passed = state.booked if rate is None else rate * max(0.0, now - state.at)
            self._pass(state, passed, now, rate)
            state.at = now
            yield state

    def _pass(self, state: _State, passing: float, now: float, rate: float | None) -> None:
        if state.passed >= state.booked:
            return
        state.passed += passing
        if state.passed + (rate or 0.0) * _NOTHING >= state.booked:
            over = (state.passed - state.booked) / rate if rate else 0.0
            state.passed = state.booked
            state.idle_since = now - max(0.0, over)

    @contextmanager
    def _kept(self) -> Iterator[_State]:
        yield self._own


class SharedLine(Line):
    """The same for all processes of this machine, whose monotonic clock is one.

    What is kept in the file is a few numbers that the next start of the machine makes void.
    """

    def __init__(self, path: Path, clock: Clock, rate: Callable[[], float | None]) -> None:
        """Open the line, in a file that is made where there is none.

        Raises:
            RefusedError: the file cannot be made or written.
        """
        super().__init__(clock, rate)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            # Now, so that a disk that is full later keeps nobody from writing in its place.
            if os.fstat(self._file).st_size < _RECORD.size:
                os.pwrite(self._file, bytes(_RECORD.size), 0)
        except OSError as error:
            raise RefusedError(f"cannot write {path}: {error.strerror}") from error

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    @contextmanager
    def _kept(self) -> Iterator[_State]:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            state = self._read()
            yield state
            os.pwrite(self._file, _RECORD.pack(*astuple(state)), 0)
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def _read(self) -> _State:
        record = os.pread(self._file, _RECORD.size, 0)
        now = self.clock.monotonic()
        if len(record) == _RECORD.size:
            state = _State(*_RECORD.unpack(record))
            if 0 <= state.passed <= state.booked and state.idle_since <= now and state.at <= now:
                return state
        # Of before the machine was started, or nobody's.
        return _State(at=now, idle_since=now)


class ThrottlingStorage:
    """Lets puts and gets of all threads together through at the rate of a line.

    A put waits for its turn before it sends; of a get nobody knows the size before it is there.
    Either returns when its bytes have passed on the line; what the transfer itself took counts.
    An object goes at the speed of the place and the pause follows, so it is over some objects
    that a limit holds, and not within one.
    """

    def __init__(
        self,
        inner: Storage,
        line: Line,
        *,
        check: Callable[[], None] = lambda: None,
        waited: Callable[[float], None] = lambda _: None,
        exempt: str | None = None,
    ) -> None:
        """Wrap a storage.

        Args:
            inner: Where the objects are.
            line: What the limit is shared by.
            check: Called while something waits; what it raises ends the wait.
            waited: Is told every wait's seconds, from any thread.
            exempt: Objects with this prefix go at once: signs of life are worth nothing late.
        """
        self._inner = inner
        self._line = line
        self._check = check
        self._waited = waited
        self._exempt = exempt

    @property
    def location(self) -> str:
        return self._inner.location

    def put(self, key: ObjectKey, data: Buffer) -> None:
        if self._is_exempt(key):
            self._inner.put(key, data)
            return
        while (end := self._line.book_next(memoryview(data).nbytes)) is None:
            self._sleep(self._line.free_in)
        self._inner.put(key, data)
        self._wait_for(end)

    def compose(self, target: ObjectKey, parts: Sequence[Part]) -> Composed:
        started = self._line.clock.monotonic()
        composed = self._inner.compose(target, parts)
        # What is copied comes and goes; what is cloned, or copied there, stays where it is.
        moved = composed.written_bytes + 2 * composed.copied_bytes
        self._wait_for(self._line.book(moved, started))
        return composed

    def get(self, key: ObjectKey, offset: int = 0, length: int | None = None) -> bytes:
        started = self._line.clock.monotonic()
        data = self._inner.get(key, offset, length)
        if not self._is_exempt(key):
            self._wait_for(self._line.book(len(data), started))
        return data

    def size(self, key: ObjectKey) -> int:
        return self._inner.size(key)

    def exists(self, key: ObjectKey) -> bool:
        return self._inner.exists(key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return self._inner.list(prefix)

    def delete(self, key: ObjectKey) -> None:
        self._inner.delete(key)

    def free_bytes(self) -> int | None:
        return self._inner.free_bytes()

    def _is_exempt(self, key: ObjectKey) -> bool:
        return self._exempt is not None and key.startswith(self._exempt)

    def _wait_for(self, end: float) -> None:
        while seconds := self._line.wait_seconds(end):
            self._sleep(seconds)

    def _sleep(self, seconds: float) -> None:
        self._check()
        self._line.clock.sleep(seconds)
        self._waited(seconds)
