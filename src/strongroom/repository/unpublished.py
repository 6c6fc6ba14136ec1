"""A chain that grows aside: everything of it is stored but its header, so nobody sees it.

Whoever makes a chain from another one publishes it by storing its header, which was signed when
it began. Until then it waits where the storage cannot touch it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import ConflictError, ObjectExistsError, RefusedError
from strongroom.repository import layout
from strongroom.repository.chain import Chain
from strongroom.storage.base import ObjectRange
from strongroom.storage.copying import by_copying

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from strongroom.storage.base import Buffer, Composed, ObjectInfo, ObjectKey, Part, Storage


class HeaderAtHand:
    """A storage that shows, to readers by name, one header more than it has."""

    def __init__(self, inner: Storage, chain_id: bytes, header: bytes) -> None:
        self._inner = inner
        self._key = layout.header(chain_id)
        self._header = header

    @property
    def location(self) -> str:
        return self._inner.location

    def put(self, key: ObjectKey, data: Buffer) -> None:
        self._inner.put(key, data)

    def compose(self, target: ObjectKey, parts: Sequence[Part]) -> Composed:
        if any(isinstance(part, ObjectRange) and part.key == self._key for part in parts):
            return by_copying(self, target, parts)
        return self._inner.compose(target, parts)

    def get(self, key: ObjectKey, offset: int = 0, length: int | None = None) -> bytes:
        if key == self._key:
            end = None if length is None else offset + length
            return self._header[offset:end]
        return self._inner.get(key, offset, length)

    def size(self, key: ObjectKey) -> int:
        return len(self._header) if key == self._key else self._inner.size(key)

    def exists(self, key: ObjectKey) -> bool:
        return key == self._key or self._inner.exists(key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return self._inner.list(prefix)

    def delete(self, key: ObjectKey) -> None:
        self._inner.delete(key)

    def free_bytes(self) -> int | None:
        return self._inner.free_bytes()


def view(storage: Storage, chain_id: bytes, header: bytes) -> Chain:
    """Return the chain as readers will see it."""
    return Chain(HeaderAtHand(storage, chain_id, header), chain_id)


def is_published(storage: Storage, chain_id: bytes) -> bool:
    return storage.exists(layout.header(chain_id))


def publish(storage: Storage, chain_id: bytes, header: bytes) -> None:
    """Let everybody see the chain; it is no error if they do already."""
    try:
        storage.put(layout.header(chain_id), header)
    except ObjectExistsError:
        if storage.get(layout.header(chain_id)) != header:
            raise


def remove(storage: Storage, chain_id: bytes) -> int:
    """Remove all there is of a chain that was not published; can be done again after a crash.

    Returns:
        How many objects went.

    Raises:
        ConflictError: it was published: it is a chain like any other.
        RefusedError: the storage does not let go of an object; all others went.
    """
    if is_published(storage, chain_id):
        raise ConflictError(f"chain {chain_id.hex()[:12]} is published")
    keys = [info.key for info in storage.list(layout.chain(chain_id))]
    refused: RefusedError | None = None
    for key in keys:
        try:
            storage.delete(key)
        except RefusedError as error:
            refused = refused or error
    if refused is not None:
        raise refused
    return len(keys)
