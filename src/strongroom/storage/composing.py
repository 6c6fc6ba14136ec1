"""What an object may be composed of, and what is said of what it cannot be composed of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import ObjectCutError
from strongroom.storage.base import ObjectRange
from strongroom.storage.keys import check_key, check_range

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.storage.base import ObjectKey, Part


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
