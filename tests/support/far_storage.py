"""A place elsewhere: it counts what is asked of it, and shows whether requests overlap."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

from strongroom.testing.memory_storage import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.storage.base import Buffer, ObjectInfo, ObjectKey

LOCATION = "s3://backups/far"
_PATIENCE_SECONDS = 20.0
"""Nobody waits as long where reads overlap: the last of those that are held ends all waiting."""


class FarStorage(MemoryStorage):
    """Objects in memory at a location that means a bucket."""

    def __init__(self) -> None:
        super().__init__(location=LOCATION)
        self.requests: Counter[tuple[str, str]] = Counter()
        """How many there were, by verb and kind of object."""
        self.most_at_once = 0
        """Reads of large objects that were on their way together."""
        self._asked_by: set[threading.Thread] = set()
        self._alone = 0
        self._held_from = 0
        self._until = 0
        self._turn = threading.Condition()
        self._reading = 0

    @property
    def count(self) -> int:
        return self.requests.total()

    @property
    def in_turn(self) -> int:
        """Answers waited for one after the other; what is asked side by side counts once."""
        return self._alone + len(self._asked_by)

    def count_anew(self) -> None:
        self.requests.clear()
        self._asked_by.clear()
        self._alone = 0

    def hold_reads(self, until: int, *, of_bytes: int) -> None:
        """Begin to count; reads of objects from a size on wait until so many are on their way."""
        self.count_anew()
        self._held_from, self._until, self.most_at_once = of_bytes, until, 0

    def put(self, key: ObjectKey, data: Buffer) -> None:
        self._count("put", key)
        super().put(key, data)

    def get(self, key: ObjectKey, offset: int = 0, length: int | None = None) -> bytes:
        self._count("get", key)
        with self._turn:
            self._reading += self._is_held(key)
            self.most_at_once = max(self.most_at_once, self._reading)
            if self._is_held(key):
                self._turn.notify_all()
                if not self._turn.wait_for(self._is_enough, _PATIENCE_SECONDS):
                    self._until = 0  # who reads one by one does so once
        try:
            return super().get(key, offset, length)
        finally:
            with self._turn:
                self._reading -= self._is_held(key)

    def size(self, key: ObjectKey) -> int:
        self._count("size", key)
        return super().size(key)

    def exists(self, key: ObjectKey) -> bool:
        self._count("exists", key)
        return super().exists(key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self._count("list", prefix)
        return super().list(prefix)

    def delete(self, key: ObjectKey) -> None:
        self._count("delete", key)
        super().delete(key)

    def _is_enough(self) -> bool:
        return self.most_at_once >= self._until

    def _is_held(self, key: ObjectKey) -> bool:
        return bool(self._held_from) and "/packs/" in key and super().size(key) >= self._held_from

    def _count(self, verb: str, key: str) -> None:
        parts = key.split("/")
        thread = threading.current_thread()
        with self._turn:
            if not thread.name.startswith("ask_"):
                self._alone += 1
            elif thread.name == "ask_0":  # the first of those that ask together
                self._asked_by.add(thread)
            self.requests[verb, parts[2] if parts[0] == "chains" else parts[0]] += 1
