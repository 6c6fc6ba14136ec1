"""A storage in which something comes in between: the process dies there, or another one works.

storage = InterruptingStorage(MemoryStorage())
storage.at(7, storage.die)             # the seventh call from now, and all later ones, fail
storage.at(7, lambda: other.prune())   # another process does something right before it
...
storage.calm()
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from strongroom.errors import StorageUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from strongroom.storage.base import Buffer, Composed, ObjectInfo, ObjectKey, Part, Storage


class InterruptingStorage:
    """Passes every call on to `inner`; at one of them something comes in between."""

    def __init__(self, inner: Storage) -> None:
        self._inner = inner
        self._counting = threading.Lock()
        self._left = 0
        self._between: Callable[[], object] | None = None
        self._dead = False

    @property
    def location(self) -> str:
        return self._inner.location

    def at(self, nth: int, between: Callable[[], object]) -> None:
        """Have `between` done once, in place of the nth call's beginning, the next being 1."""
        self._left, self._between = nth, between

    def die(self) -> None:
        """Fail this call and all later ones, as for a process that is killed."""
        self._dead = True

    def calm(self) -> bool:
        """Be a storage like any other again; tell whether what was to come in between did."""
        came = self._between is None
        self._between, self._dead = None, False
        return came

    def _count(self) -> None:
        with self._counting:
            self._left -= 1
            between = self._between if self._left == 0 else None
            if between is not None:
                self._between = None
        if between is not None:
            between()
        if self._dead:
            raise StorageUnavailableError("killed by the test")

    def put(self, key: ObjectKey, data: Buffer) -> None:
        self._count()
        self._inner.put(key, data)

    def compose(self, target: ObjectKey, parts: Sequence[Part]) -> Composed:
        self._count()
        return self._inner.compose(target, parts)

    def get(self, key: ObjectKey, offset: int = 0, length: int | None = None) -> bytes:
        self._count()
        return self._inner.get(key, offset, length)

    def size(self, key: ObjectKey) -> int:
        self._count()
        return self._inner.size(key)

    def exists(self, key: ObjectKey) -> bool:
        self._count()
        return self._inner.exists(key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self._count()
        yield from self._inner.list(prefix)

    def delete(self, key: ObjectKey) -> None:
        self._count()
        self._inner.delete(key)

    def free_bytes(self) -> int | None:
        return self._inner.free_bytes()
