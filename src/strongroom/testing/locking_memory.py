"""A storage in memory that keeps objects from being removed before their date."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom import errors
from strongroom.storage.keys import is_held, is_passing
from strongroom.testing.memory_storage import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime, timedelta

    from strongroom.clock import Clock
    from strongroom.storage.base import Buffer, ObjectKey


class LockingMemory(MemoryStorage):
    """See `storage.base.LockingStorage`; counts what locking costs."""

    def __init__(self, hold_for: timedelta, clock: Clock, location: str = "memory:") -> None:
        super().__init__(location=location)
        self.hold_for = hold_for
        self.extended = 0
        """Objects that `lock` was asked for."""
        self._clock = clock
        self._until: dict[ObjectKey, datetime] = {}

    def put(self, key: ObjectKey, data: Buffer) -> None:
        super().put(key, data)
        if is_held(key):
            self._until[key] = self._clock.now() + self.hold_for

    def delete(self, key: ObjectKey) -> None:
        until = self._until.get(key) if self.exists(key) else None
        if until is not None and self._clock.now() < until:
            raise errors.ObjectLockedError(f"{key} is locked until {until}", until=until, key=key)
        super().delete(key)
        self._until.pop(key, None)

    def lock(self, keys: Iterable[ObjectKey], until: datetime) -> None:
        for key in keys:
            if is_passing(key):
                raise errors.RefusedError(f"{key} is not to be locked", key=key)
            self.size(key)
            self._until[key] = max(until, self._until.get(key, until))
            self.extended += 1

    def locked_until(self, key: ObjectKey) -> datetime | None:
        self.size(key)
        return self._until.get(key)

    def locks_at_most_days(self) -> int:
        return 36500

    def hidden(self) -> Iterator[ObjectKey]:
        return iter(())

    def unhide(self, key: ObjectKey) -> None:
        self.size(key)
