"""What a storage is: objects by key in one place, a folder, a bucket or memory.

A storage knows no backups and sees no keys. Every implementation and every wrapper passes
`strongroom.testing.storage_contract`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

Buffer = bytes | bytearray | memoryview

ObjectKey = str
"""`/`-separated parts of `[a-z0-9._-]`, none empty, none starting with a dot; at most 200 long."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object as `list` sees it."""

    key: ObjectKey
    size: int
    """Bytes."""


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
