"""New objects from parts of others, for places that cannot do it themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import ObjectCutError
from strongroom.storage.base import Composed, ObjectRange
from strongroom.storage.keys import check_key, check_range

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.storage.base import ObjectKey, Part, Storage


def by_copying(storage: Storage, target: ObjectKey, parts: Sequence[Part]) -> Composed:
    """Read all ranges and put the whole: a `compose` from `get` and `put`."""
    check_parts(target, parts)
    whole = bytearray()
    composed = Composed()
    for part in parts:
        if isinstance(part, ObjectRange):
            data = storage.get(part.key, part.offset, part.length)
            if len(data) < (part.length or 0):
                raise cut(storage.location, part, part.offset + len(data))
            whole += data
            composed += Composed(copied_bytes=len(data))
        else:
            whole += memoryview(part).cast("B")
            composed += Composed(written_bytes=memoryview(part).nbytes)
    storage.put(target, whole)
    return composed


def check_parts(target: ObjectKey, parts: Sequence[Part]) -> None:
    """Let only keys and ranges pass, before anything is touched.

    Raises:
        InvalidInputError: `target` or a key of `parts` breaks the syntax of keys, or a range
            counts backwards.
    """
    check_key(target)
    for part in parts:
        if isinstance(part, ObjectRange):
            check_key(part.key)
            check_range(part.offset, part.length)


def cut(location: str, part: ObjectRange, end: int) -> ObjectCutError:
    """Return what to raise when the object of `part` ends at `end`, before its range does."""
    return ObjectCutError(
        f"{part.key} in {location} ends at byte {end}; {part.length} bytes from {part.offset} "
        "on are wanted",
        key=part.key,
    )
