"""Keeps the traffic of a storage under a limit."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from strongroom.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from strongroom.clock import Clock
    from strongroom.storage.base import Buffer, Composed, ObjectInfo, ObjectKey, Part, Storage


class ThrottlingStorage:
    """Lets at most `bytes_per_second` through, puts and gets of all threads together.

    Every transfer books its time on one line that all threads share, and returns when that
    time is over; what the transfer itself took counts towards it. A put waits for its turn
    before it sends; of a get nobody knows the size before it is there.
    """

    def __init__(self, inner: Storage, clock: Clock, bytes_per_second: float) -> None:
        if not bytes_per_second > 0:
            raise InvalidInputError(f"a limit of {bytes_per_second} bytes per second moves nothing")
        self._inner = inner
        self._clock = clock
        self._rate = bytes_per_second
        self._lock = threading.Lock()
        self._booked_until = clock.monotonic()

    @property
    def location(self) -> str:
        return self._inner.location

    def put(self, key: ObjectKey, data: Buffer) -> None:
        begins, ends = self._book(self._clock.monotonic(), memoryview(data).nbytes)
        self._wait_until(begins)
        self._inner.put(key, data)
        self._wait_until(ends)

    def compose(self, target: ObjectKey, parts: Sequence[Part]) -> Composed:
        started = self._clock.monotonic()
        composed = self._inner.compose(target, parts)
        # What is copied comes and goes; what is cloned stays where it is.
        _, ends = self._book(started, composed.written_bytes + 2 * composed.copied_bytes)
        self._wait_until(ends)
        return composed

    def get(self, key: ObjectKey, offset: int = 0, length: int | None = None) -> bytes:
        started = self._clock.monotonic()
        data = self._inner.get(key, offset, length)
        _, ends = self._book(started, len(data))
        self._wait_until(ends)
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

    def _book(self, started: float, size: int) -> tuple[float, float]:
        with self._lock:
            begins = max(self._booked_until, started)
            self._booked_until = ends = begins + size / self._rate
        return begins, ends

    def _wait_until(self, moment: float) -> None:
        wait = moment - self._clock.monotonic()
        if wait > 0:
            self._clock.sleep(wait)
