"""A folder whose objects another process keeps from being removed (`storage.guard`).

This side needs no rights but the folder owner's, and gains none: it asks, and what it is
refused, an intruder in its place is refused as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.storage.guard_socket import GuardClient
from strongroom.storage.keys import PASSING, check_key, is_held
from strongroom.storage.local import LocalStorage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime, timedelta
    from pathlib import Path

    from strongroom.clock import Clock
    from strongroom.storage.base import Buffer, Composed, ObjectKey, Part


class GuardedFolder(LocalStorage):
    """A folder that locks what is put into it; see `base.LockingStorage`."""

    def __init__(self, root: Path, sockets: Path, hold_for: timedelta, clock: Clock) -> None:
        """Find nothing yet; the guard is asked when something is put or removed.

        Args:
            root: The folder.
            sockets: Where guards listen.
            hold_for: How long what is put is locked at the least.
            clock: The time.
        """
        super().__init__(root, clock)
        self._guard = GuardClient(sockets, root)
        self._hold_for = hold_for

    def put(self, key: ObjectKey, data: Buffer) -> None:
        super().put(key, data)
        if is_held(key):
            self._guard.lock([key], self._clock.now() + self._hold_for)

    def compose(self, target: ObjectKey, parts: Sequence[Part]) -> Composed:
        composed = super().compose(target, parts)
        if is_held(target):
            self._guard.lock([target], self._clock.now() + self._hold_for)
        return composed

    def delete(self, key: ObjectKey) -> None:
        check_key(key)
        if key.startswith(PASSING):
            super().delete(key)
            return
        self._open.drop(key)
        self._guard.remove(key)

    def lock(self, keys: Iterable[ObjectKey], until: datetime) -> None:
        self._guard.lock(list(keys), until)

    def locked_until(self, key: ObjectKey) -> datetime | None:
        check_key(key)
        return self._guard.until(key)

    def locks_at_most_days(self) -> int:
        _, most = self._guard.describe()
        return most

    def hidden(self) -> Iterator[ObjectKey]:
        # An immutable file is neither renamed nor covered by another.
        return iter(())

    def unhide(self, key: ObjectKey) -> None:
        if not self.exists(key):
            raise self._missing(key)
