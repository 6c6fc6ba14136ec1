"""A storage kept by the enemy: it holds everything ever given to it, and lies.

Every attack changes something, or raises `ValueError`: a test must not pass because
nothing was attacked. What is attacked is recorded in `attacks`.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from strongroom.storage.base import Buffer, Composed, ObjectInfo, ObjectKey, Part, Storage
    from strongroom.testing.memory_storage import Snapshot


@dataclass(frozen=True, slots=True)
class Attack:
    """One thing the enemy did."""

    kind: str
    keys: tuple[ObjectKey, ...]
    """Whose objects are not what they were."""


class AdversaryStorage:
    """Serves `inner` honestly until attacked.

    It remembers objects that their owner deletes, and those it hides, so that it can
    bring them back.
    """

    def __init__(self, inner: Storage) -> None:
        self._inner = inner
        self._lock = threading.Lock()
        self._kept: dict[ObjectKey, bytes] = {}
        self._attacks: _Attacks = []

    @property
    def location(self) -> str:
        return self._inner.location

    @property
    def attacks(self) -> Sequence[Attack]:
        return tuple(self._attacks)

    # --- served honestly --------------------------------------------------------------------

    def put(self, key: ObjectKey, data: Buffer) -> None:
        self._inner.put(key, data)

    def compose(self, target: ObjectKey, parts: Sequence[Part]) -> Composed:
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
        with self._lock:
            if self._inner.exists(key):
                self._kept[key] = self._inner.get(key)
            self._inner.delete(key)

    def free_bytes(self) -> int | None:
        return self._inner.free_bytes()

    def snapshot(self) -> Snapshot:
        """Return everything as it is now, to be replayed later."""
        return self._snapshot("")

    # --- attacks ----------------------------------------------------------------------------

    def flip(self, key: ObjectKey, offset: int, mask: int = 0x01) -> None:
        """Change the bits of `mask` in one byte; a negative offset counts from the end."""
        data = bytearray(self._inner.get(key))
        if not -len(data) <= offset < len(data) or not 0 < mask < 256:
            raise ValueError(f"{key} of {len(data)} bytes has nothing to flip at {offset}")
        data[offset] ^= mask
        self._overwrite("flip", {key: bytes(data)})

    def truncate(self, key: ObjectKey, n: int) -> None:
        """Leave the first `n` bytes, or cut the last `-n` off."""
        self._overwrite("truncate", {key: self._inner.get(key)[:n]})

    def append(self, key: ObjectKey, data: bytes) -> None:
        self._overwrite("append", {key: self._inner.get(key) + data})

    def replace(self, key: ObjectKey, data: bytes) -> None:
        self._overwrite("replace", {key: data})

    def swap(self, key_a: ObjectKey, key_b: ObjectKey) -> None:
        self._overwrite("swap", {key_a: self._inner.get(key_b), key_b: self._inner.get(key_a)})

    def duplicate(self, key: ObjectKey, new_key: ObjectKey) -> None:
        """Show an object under a second, new name as well."""
        self.plant(new_key, self._inner.get(key), kind="duplicate")

    def plant(self, key: ObjectKey, data: bytes, kind: str = "plant") -> None:
        """Add an object that nobody wrote."""
        if self._inner.exists(key):
            raise ValueError(f"{key} is there; replace it, if that is meant")
        self._inner.put(key, data)
        self._record(kind, key)

    def hide(self, prefix: str) -> None:
        """Withhold every object whose key starts with `prefix`, a whole key included.

        Whoever then writes the same key is let to: that is how histories fork.
        """
        hidden = self._snapshot(prefix)
        if not hidden:
            raise ValueError(f"nothing to hide under {prefix}")
        self._kept.update(hidden)
        for key in hidden:
            self._inner.delete(key)
        self._record("hide", *hidden)

    def resurrect(self, prefix: str) -> None:
        """Bring back what was deleted or hidden under `prefix`, in the place of what is there."""
        now = self._snapshot(prefix)
        back = {
            key: data
            for key, data in self._kept.items()
            if key.startswith(prefix) and now.get(key) != data
        }
        if not back:
            raise ValueError(f"nothing was deleted or hidden under {prefix}")
        self._overwrite("resurrect", back)

    def replay(self, snapshot: Snapshot, prefix: str = "") -> None:
        """Make everything under `prefix` what it was at the snapshot."""
        then = {key: data for key, data in snapshot.items() if key.startswith(prefix)}
        now = self._snapshot(prefix)
        changed = [key for key in sorted({*then, *now}) if then.get(key) != now.get(key)]
        if not changed:
            raise ValueError(f"nothing under {prefix!r} has changed since the snapshot")
        self._kept.update(now)
        for key in changed:
            self._inner.delete(key)
        for key in changed:
            if key in then:
                self._inner.put(key, then[key])
        self._record("replay", *changed)

    def _overwrite(self, kind: str, changes: dict[ObjectKey, bytes]) -> None:
        for key, data in changes.items():
            if self._inner.exists(key) and self._inner.get(key) == data:
                raise ValueError(f"to {kind} {key} changes nothing")
        for key, data in changes.items():
            self._inner.delete(key)
            self._inner.put(key, data)
        self._record(kind, *changes)

    def _snapshot(self, prefix: str) -> Snapshot:
        return MappingProxyType(
            {info.key: self._inner.get(info.key) for info in self._inner.list(prefix)}
        )

    def _record(self, kind: str, *keys: ObjectKey) -> None:
        self._attacks.append(Attack(kind, keys))


_Attacks: TypeAlias = list[Attack]
