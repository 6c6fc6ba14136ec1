"""Counts what goes through: for progress, for finding the bottleneck, for tests of cost."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from strongroom.clock import Clock
    from strongroom.storage.base import Buffer, Composed, ObjectInfo, ObjectKey, Part, Storage

Verb: TypeAlias = Literal["put", "compose", "get", "size", "exists", "list", "delete", "free_bytes"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Traffic:
    """What one verb has come to."""

    calls: int = 0
    failures: int = 0
    """Calls that raised; they count as calls too."""
    bytes: int = 0
    """Stored by puts, returned by gets, written and copied by composing."""
    objects: int = 0
    """Yielded by listings."""
    seconds: float = 0.0
    """Spent waiting for answers, summed over threads."""


class ObservingStorage:
    """Passes every call on and counts it, whichever thread it comes from."""

    def __init__(self, inner: Storage, clock: Clock) -> None:
        self._inner = inner
        self._clock = clock
        self._lock = threading.Lock()
        self._traffic: dict[Verb, Traffic] = {}

    @property
    def location(self) -> str:
        return self._inner.location

    def traffic(self, verb: Verb) -> Traffic:
        with self._lock:
            return self._traffic.get(verb, Traffic())

    def all_traffic(self) -> Mapping[Verb, Traffic]:
        """Return the counts of every verb called so far, as they were at one moment."""
        with self._lock:
            return dict(self._traffic)

    def reset(self) -> None:
        """Count from nothing again."""
        with self._lock:
            self._traffic.clear()

    def put(self, key: ObjectKey, data: Buffer) -> None:
        size = memoryview(data).nbytes
        self._observed("put", lambda: self._inner.put(key, data), lambda _: size)

    def compose(self, target: ObjectKey, parts: Sequence[Part]) -> Composed:
        return self._observed(
            "compose",
            lambda: self._inner.compose(target, parts),
            lambda composed: composed.written_bytes + composed.copied_bytes,
        )

    def get(self, key: ObjectKey, offset: int = 0, length: int | None = None) -> bytes:
        return self._observed("get", lambda: self._inner.get(key, offset, length), len)

    def size(self, key: ObjectKey) -> int:
        return self._observed("size", lambda: self._inner.size(key))

    def exists(self, key: ObjectKey) -> bool:
        return self._observed("exists", lambda: self._inner.exists(key))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        listing = self._inner.list(prefix)
        self._count("list", calls=1)
        while True:
            started = self._clock.monotonic()
            try:
                info = next(listing, None)
            except BaseException:
                self._count("list", failures=1, seconds=self._clock.monotonic() - started)
                raise
            seconds = self._clock.monotonic() - started
            if info is None:
                self._count("list", seconds=seconds)
                return
            self._count("list", objects=1, seconds=seconds)
            yield info

    def delete(self, key: ObjectKey) -> None:
        self._observed("delete", lambda: self._inner.delete(key))

    def free_bytes(self) -> int | None:
        return self._observed("free_bytes", self._inner.free_bytes)

    def _observed(
        self, verb: Verb, call: Callable[[], T], measure: Callable[[T], int] = lambda _: 0
    ) -> T:
        started = self._clock.monotonic()
        try:
            answer = call()
        except BaseException:
            self._count(verb, calls=1, failures=1, seconds=self._clock.monotonic() - started)
            raise
        self._count(verb, calls=1, bytes=measure(answer), seconds=self._clock.monotonic() - started)
        return answer

    def _count(
        self,
        verb: Verb,
        *,
        calls: int = 0,
        failures: int = 0,
        bytes: int = 0,  # noqa: A002 - Traffic's own word
        objects: int = 0,
        seconds: float = 0.0,
    ) -> None:
        with self._lock:
            before = self._traffic.get(verb, Traffic())
            self._traffic[verb] = replace(
                before,
                calls=before.calls + calls,
                failures=before.failures + failures,
                bytes=before.bytes + bytes,
                objects=before.objects + objects,
                seconds=before.seconds + seconds,
            )
