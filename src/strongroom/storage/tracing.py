"""Writes every call to the log, for the search for a fault.

Keys, sizes and times stand there; what is stored does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from strongroom import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from strongroom.clock import Clock
    from strongroom.storage.base import Buffer, Composed, ObjectInfo, ObjectKey, Part, Storage

T = TypeVar("T")


class TracingStorage:
    """Passes every call on and tells what came of it."""

    def __init__(self, inner: Storage, clock: Clock) -> None:
        self._inner = inner
        self._clock = clock

    @property
    def location(self) -> str:
        return self._inner.location

    def put(self, key: ObjectKey, data: Buffer) -> None:
        size = memoryview(data).nbytes
        self._traced("put", lambda: self._inner.put(key, data), key=key, bytes=size)

    def compose(self, target: ObjectKey, parts: Sequence[Part]) -> Composed:
        return self._traced(
            "compose", lambda: self._inner.compose(target, parts), key=target, parts=len(parts)
        )

    def get(self, key: ObjectKey, offset: int = 0, length: int | None = None) -> bytes:
        return self._traced(
            "get",
            lambda: self._inner.get(key, offset, length),
            key=key,
            offset=offset,
            bytes=length,
        )

    def size(self, key: ObjectKey) -> int:
        return self._traced("size", lambda: self._inner.size(key), key=key)

    def exists(self, key: ObjectKey) -> bool:
        return self._traced("exists", lambda: self._inner.exists(key), key=key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        logs.debug("storage.list", prefix=prefix)
        return self._inner.list(prefix)

    def delete(self, key: ObjectKey) -> None:
        self._traced("delete", lambda: self._inner.delete(key), key=key)

    def free_bytes(self) -> int | None:
        return self._traced("free_bytes", self._inner.free_bytes)

    def _traced(self, verb: str, call: Callable[[], T], **fields: object) -> T:
        started = self._clock.monotonic()
        failed = ""
        try:
            return call()
        except BaseException as error:
            failed = type(error).__name__
            raise
        finally:
            seconds = round(self._clock.monotonic() - started, 6)
            logs.debug(f"storage.{verb}", **fields, seconds=seconds, failed=failed)
