"""A storage in memory: as strict as the real ones, and able to go back in time.

It refuses what a folder cannot hold (an object inside an object), so that a layout that
works here works there.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from strongroom import errors
from strongroom.storage.base import Buffer, Composed, ObjectInfo, ObjectKey, Part
from strongroom.storage.copying import by_copying
from strongroom.storage.keys import check_key, check_range

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Snapshot: TypeAlias = Mapping[ObjectKey, bytes]
    """Every object at one moment."""


class MemoryStorage:
    """Objects in a dictionary; `capacity` bytes fit, or any number."""

    def __init__(self, capacity: int | None = None, location: str = "memory:") -> None:
        self._location = location
        self._capacity = capacity
        self._lock = threading.Lock()
        self._objects: dict[ObjectKey, bytes] = {}
        self._keys: _Keys = []
        self._folders: Counter[str] = Counter()
        self._held = 0

    @property
    def location(self) -> str:
        return self._location

    def put(self, key: ObjectKey, data: Buffer) -> None:
        check_key(key)
        with self._lock:
            self._put(key, bytes(data))

    def compose(self, target: ObjectKey, parts: Sequence[Part]) -> Composed:
        return by_copying(self, target, parts)

    def get(self, key: ObjectKey, offset: int = 0, length: int | None = None) -> bytes:
        check_key(key)
        check_range(offset, length)
        with self._lock:
            data = self._find(key)
        end = len(data) if length is None else offset + length
        return data[offset:end]

    def size(self, key: ObjectKey) -> int:
        check_key(key)
        with self._lock:
            return len(self._find(key))

    def exists(self, key: ObjectKey) -> bool:
        check_key(key)
        with self._lock:
            return key in self._objects

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        with self._lock:
            found = []
            for key in self._keys[bisect_left(self._keys, prefix) :]:
                if not key.startswith(prefix):
                    break
                found.append(ObjectInfo(key, len(self._objects[key])))
        yield from found

    def delete(self, key: ObjectKey) -> None:
        check_key(key)
        with self._lock:
            self._remove(key)

    def free_bytes(self) -> int | None:
        with self._lock:
            return None if self._capacity is None else self._capacity - self._held

    def snapshot(self) -> Snapshot:
        """Return everything as it is now."""
        with self._lock:
            return MappingProxyType(dict(self._objects))

    def restore(self, snapshot: Snapshot) -> None:
        """Make everything what it was at the snapshot, as a thief of backups would."""
        with self._lock:
            for key in tuple(self._objects):
                self._remove(key)
            for key, data in snapshot.items():
                self._put(key, data)

    def _put(self, key: ObjectKey, data: bytes) -> None:
        if key in self._objects:
            raise errors.ObjectExistsError(f"{self._location} has an object {key} already", key=key)
        above = _folders_of(key)
        if key in self._folders or any(folder in self._objects for folder in above):
            raise errors.RefusedError(
                f"cannot write {key} to {self._location}: an object cannot hold objects", key=key
            )
        if self._capacity is not None and self._held + len(data) > self._capacity:
            raise errors.StorageFullError(
                f"cannot write {key} to {self._location}: no room left", key=key
            )
        self._objects[key] = data
        insort(self._keys, key)
        self._folders.update(above)
        self._held += len(data)

    def _remove(self, key: ObjectKey) -> None:
        data = self._objects.pop(key, None)
        if data is None:
            return
        del self._keys[bisect_left(self._keys, key)]
        for folder in _folders_of(key):
            self._folders[folder] -= 1
            if not self._folders[folder]:
                del self._folders[folder]
        self._held -= len(data)

    def _find(self, key: ObjectKey) -> bytes:
        try:
            return self._objects[key]
        except KeyError:
            raise errors.ObjectMissingError(
                f"{self._location} has no object {key}", key=key
            ) from None


_Keys: TypeAlias = list[ObjectKey]


def _folders_of(key: ObjectKey) -> tuple[str, ...]:
    parts = key.split("/")
    return tuple("/".join(parts[:depth]) for depth in range(1, len(parts)))
