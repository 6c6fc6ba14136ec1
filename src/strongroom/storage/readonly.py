"""Refuses every write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from strongroom.storage.base import Buffer, Composed, ObjectInfo, ObjectKey, Part, Storage


class ReadOnlyStorage:
    """What is in `inner`, for reading only: for restores, dry runs and rescans."""

    def __init__(self, inner: Storage) -> None:
        self._inner = inner

    @property
    def location(self) -> str:
        return self._inner.location

    def put(self, key: ObjectKey, data: Buffer) -> None:  # noqa: ARG002 - the contract's names
        raise RefusedError(f"cannot write {key} to {self.location}: opened read-only", key=key)

    def compose(self, target: ObjectKey, parts: Sequence[Part]) -> Composed:  # noqa: ARG002
        raise RefusedError(
            f"cannot write {target} to {self.location}: opened read-only", key=target
        )

    def get(self, key: ObjectKey, offset: int = 0, length: int | None = None) -> bytes:
        return self._inner.get(key, offset, length)

    def size(self, key: ObjectKey) -> int:
        return self._inner.size(key)

    def exists(self, key: ObjectKey) -> bool:
        return self._inner.exists(key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return self._inner.list(prefix)

    def delete(self, key: ObjectKey) -> None:
        raise RefusedError(f"cannot delete {key} in {self.location}: opened read-only", key=key)

    def free_bytes(self) -> int | None:
        return self._inner.free_bytes()
