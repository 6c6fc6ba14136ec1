"""Small objects, whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import MalformedError

if TYPE_CHECKING:
    from strongroom.storage.base import Storage


def get_framed(storage: Storage, key: str, limit: int) -> bytes:
    """Return a small object whole, with one request, or refuse it by its size.

    Raises:
        MalformedError: it is longer than any object of its kind.
    """
    data = storage.get(key, 0, limit + 1)
    if len(data) > limit:
        raise MalformedError(f"{key} has more than {limit} bytes, the most of its kind")
    return data
