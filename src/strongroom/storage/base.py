"""What a storage is: objects by key in one place, a folder, a bucket or memory.

A storage knows no backups and sees no keys. Every implementation and every wrapper passes
`strongroom.testing.storage_contract`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

Buffer = bytes | bytearray | memoryview

ObjectKey = str
"""`/`-separated parts of `[a-z0-9._-]`, none empty, none starting with a dot; at most 200 long."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object as `list` sees it."""

    key: ObjectKey
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class ObjectRange:
    """Bytes of an object that is there already."""

    key: ObjectKey
    offset: int = 0
    length: int | None = None
    """Bytes; all to the end where nothing is said."""


Part: TypeAlias = Buffer | ObjectRange
"""What an object is composed of: new bytes, or bytes of another object."""


@dataclass(frozen=True, slots=True)
class Composed:
    """What became of the parts of a composed object."""

    written_bytes: int = 0
    """New bytes."""
    cloned_bytes: int = 0
    """Shared with the objects they are taken from: they took neither room nor time."""
    copied_bytes: int = 0
    """Taken from other objects too, but read and written."""
    copied_there_bytes: int = 0
    """Likewise, but by the place itself: they took room, and did not travel."""

    @property
    def taken_bytes(self) -> int:
        """Bytes from other objects."""
        return self.cloned_bytes + self.copied_bytes + self.copied_there_bytes

    @property
    def size(self) -> int:
        """Bytes of the object."""
        return self.written_bytes + self.taken_bytes

    def __add__(self, other: Composed) -> Composed:
        return Composed(
            self.written_bytes + other.written_bytes,
            self.cloned_bytes + other.cloned_bytes,
            self.copied_bytes + other.copied_bytes,
            self.copied_there_bytes + other.copied_there_bytes,
        )


class Storage(Protocol):
    """Objects by key in one place.

    What every implementation promises, and the contract suite checks:

    * An object appears whole or not at all; no reader sees half of one.
    * Once `put` returns the object is durable, and `get` and `list` see it from any process.
    * A key is written once; the second `put` raises and changes nothing.
    * Only families from `errors` come out, nothing of the library underneath.
    * Calls may come from several threads at once.
    """

    @property
    def location(self) -> str:
        """Where this is, as the operator would write it."""
        ...

    def put(self, key: ObjectKey, data: Buffer) -> None:
        """Store `data` under `key`, durably.

        Of writers of one key at once, one succeeds: a race is decided so. A place may promise
        that for objects of up to 32 MiB only; larger ones have names that nobody else has.

        Raises:
            ObjectExistsError: the key is taken, even by the same bytes.
            StorageFullError: no room is left; nothing remains of the attempt.
            StorageUnavailableError: the place did not answer; the object may or may not be there.
        """
        ...

    def compose(self, target: ObjectKey, parts: Sequence[Part]) -> Composed:
        """Store under `target` what `parts` are one after the other, as `put` would.

        Ranges of other objects are cloned where the place can: on XFS and btrfs the whole
        blocks of the file system, 4 KiB, of a range that lies as deep in a block of the
        source as of the target. The rest is copied: by a bucket itself, where one object as it
        is makes the whole, and by some servers in any case. A place that can neither clone nor
        copy reads and puts, and holds the object in memory meanwhile.

        Raises:
            ObjectMissingError: the object of a range is not there.
            ObjectCutError: it ends before its range does.
            ObjectExistsError, StorageFullError, StorageUnavailableError: as from `put`.
        """
        ...

    def get(self, key: ObjectKey, offset: int = 0, length: int | None = None) -> bytes:
        """Return `length` bytes from `offset`, or all to the end.

        A range beyond the end returns what is there; callers check lengths.

        Raises:
            ObjectMissingError: there is no such object.
        """
        ...

    def size(self, key: ObjectKey) -> int:
        """Return the object's size in bytes.

        Raises:
            ObjectMissingError: there is no such object.
        """
        ...

    def exists(self, key: ObjectKey) -> bool: ...

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose keys start with `prefix`, in order of their keys."""
        ...

    def delete(self, key: ObjectKey) -> None:
        """Remove `key`; it is no error if it is not there."""
        ...

    def free_bytes(self) -> int | None:
        """Return how much more fits, or nothing where the place does not tell."""
        ...


@runtime_checkable
class LockingStorage(Storage, Protocol):
    """A storage that keeps objects from being removed before a date.

    Nobody shortens a lock, not even who holds the credentials it was made with. What is put is
    locked from the start, for as long as the storage was told when it was opened, but for what
    `keys.is_held` excepts: that comes and goes with who works there.
    """

    def delete(self, key: ObjectKey) -> None:
        """Remove `key`; it is no error if it is not there.

        Raises:
            ObjectLockedError: it is locked; it stays as it is.
        """
        ...

    def lock(self, keys: Iterable[ObjectKey], until: datetime) -> None:
        """Keep objects until a date at least; one that is locked for longer stays so.

        Takes many keys in as few calls as the place allows. Done again, it ends where an
        interrupted one would have.

        Raises:
            ObjectMissingError: one of them is not there.
            RefusedError: the place does not lock it.
        """
        ...

    def locked_until(self, key: ObjectKey) -> datetime | None:
        """Return until when an object is locked, as the place itself says; None if it is not.

        Raises:
            ObjectMissingError: there is no such object.
        """
        ...

    def locks_at_most_days(self) -> int:
        """Return for how many days from now the place locks at most.

        Raises:
            RefusedError: it does not lock at all.
        """
        ...

    def hidden(self) -> Iterator[ObjectKey]:
        """Yield what is there and locked, and what readers do not see: somebody hid it."""
        ...

    def unhide(self, key: ObjectKey) -> None:
        """Let readers see again what was put under `key` first.

        Raises:
            ObjectMissingError: nothing was.
        """
        ...
