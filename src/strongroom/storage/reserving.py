"""Leaves some room of a storage free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from strongroom.errors import StorageFullError
from strongroom.storage.base import ObjectRange

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from strongroom.storage.base import Buffer, Composed, ObjectInfo, ObjectKey, Part, Storage

KEPT_FREE: Final = 64 << 20
"""Bytes that sessions and copies leave: a session can begin then, and end, and prune can go on."""
_LARGE: Final = 1 << 20
"""Bytes; what is smaller is let through unseen, for it is what the room is kept for."""


class ReservingStorage:
    """Refuses large objects that would leave less than `reserve` bytes free.

    A storage filled to the last byte takes no journal entry any more, and neither a session
    could end in it nor a prune make room. Other jobs write there too, so this is looked at
    with every large object and holds to within what threads write at the same time.

    What is composed may take no room at all, so it is only refused where the room is gone.
    """

    def __init__(self, inner: Storage, reserve: int) -> None:
        self._inner = inner
        self._reserve = reserve

    @property
    def location(self) -> str:
        return self._inner.location

    def put(self, key: ObjectKey, data: Buffer) -> None:
        size = memoryview(data).nbytes
        if size >= _LARGE:
            self._confirm(key, size)
        self._inner.put(key, data)

    def compose(self, target: ObjectKey, parts: Sequence[Part]) -> Composed:
        new = sum(memoryview(part).nbytes for part in parts if not isinstance(part, ObjectRange))
        self._confirm(target, new)
        return self._inner.compose(target, parts)

    def get(self, key: ObjectKey, offset: int = 0, length: int | None = None) -> bytes:
        return self._inner.get(key, offset, length)

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

    def _confirm(self, key: ObjectKey, size: int) -> None:
        free = self._inner.free_bytes()
        if free is not None and free - size < self._reserve:
            raise StorageFullError(
                f"{self.location} has {_mebibytes(free)} free; an object of {_mebibytes(size)} "
                f"more would leave less than the {_mebibytes(self._reserve)} that ending a "
                "session and pruning take",
                key=key,
                location=self.location,
                free_bytes=free,
                needed_bytes=size + self._reserve,
            )


def _mebibytes(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
