"""Storages whose process is killed with the nth call of a kind: no chance is in it.

    death = Death(3, part="/packs/")
    storage = DyingStorage(LocalStorage(folder), death)     # `kill -9` behind the third pack

Storages that share a death count together. `Death()` only counts.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from strongroom.storage.base import Buffer, Composed, ObjectInfo, ObjectKey, Part, Storage

WRITES = ("put", "compose", "delete")


class Death:
    """`kill -9` of the process right behind the nth call that counts."""

    def __init__(self, nth: int = 0, verbs: Collection[str] = WRITES, part: str = "") -> None:
        """Count from now on.

        Args:
            nth: Which call is the last; 0 kills nobody.
            verbs: Calls that count.
            part: Of keys; calls for others do not count.
        """
        self.calls = 0
        self._nth = nth
        self._verbs = verbs
        self._part = part
        self._counting = threading.Lock()

    def behind(self, verb: str, key: ObjectKey) -> None:
        """Count a call that was made."""
        if verb in self._verbs and self._part in key:
            with self._counting:
                self.calls += 1
                if self.calls == self._nth:
                    os.kill(os.getpid(), signal.SIGKILL)


class DyingStorage:
    """Hands every call on to `inner`, and dies behind the one that is the last."""

    def __init__(self, inner: Storage, death: Death) -> None:
        self._inner = inner
        self._death = death

    @property
    def location(self) -> str:
        return self._inner.location

    def put(self, key: ObjectKey, data: Buffer) -> None:
        self._inner.put(key, data)
        self._death.behind("put", key)

    def compose(self, target: ObjectKey, parts: Sequence[Part]) -> Composed:
        composed = self._inner.compose(target, parts)
        self._death.behind("compose", target)
        return composed

    def get(self, key: ObjectKey, offset: int = 0, length: int | None = None) -> bytes:
        data = self._inner.get(key, offset, length)
        self._death.behind("get", key)
        return data

    def size(self, key: ObjectKey) -> int:
        return self._inner.size(key)

    def exists(self, key: ObjectKey) -> bool:
        return self._inner.exists(key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return self._inner.list(prefix)

    def delete(self, key: ObjectKey) -> None:
        self._inner.delete(key)
        self._death.behind("delete", key)

    def free_bytes(self) -> int | None:
        return self._inner.free_bytes()
