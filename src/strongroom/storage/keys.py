"""Which keys and ranges a storage accepts.

A key is safe by its syntax: no part is empty or starts with a dot, so none can climb out
of a folder or name a hidden file. Every implementation checks here before it touches
anything; wrappers leave it to what they wrap.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from strongroom import errors

if TYPE_CHECKING:
    from strongroom.storage.base import ObjectKey

LONGEST_KEY = 200
PASSING: Final = "locks/"
"""What begins so comes and goes with who works in a storage: no storage locks it."""
_NOTES: Final = re.compile(r"chains/[0-9a-f]+/(?:mirror/|journal/upto-)", re.ASCII)
"""What copies say of themselves while they are made comes and goes likewise."""
_RANDOM: Final = re.compile(r"chains/[0-9a-f]+/(?:packs|tables|keys)/", re.ASCII)
"""Names of these hold an id that was just drawn, so nobody can have been there before."""
PROBES: Final = "probes/"
"""What begins so was put to find out what a storage refuses: locked when that is asked for."""
_PART = r"[a-z0-9_-][a-z0-9._-]*"
_KEY = re.compile(rf"{_PART}(?:/{_PART})*", re.ASCII)


def is_key(word: str) -> bool:
    """Tell whether `word` may name an object."""
    return len(word) <= LONGEST_KEY and _KEY.fullmatch(word) is not None


def check_key(key: ObjectKey) -> None:
    """Let only keys pass.

    Raises:
        InvalidInputError: `key` breaks the syntax of keys.
    """
    if not is_key(key):
        raise errors.InvalidInputError(
            f"{key[: LONGEST_KEY + 1]!r} cannot name an object: keys are at most {LONGEST_KEY} "
            "of a-z 0-9 . _ - in parts joined by /, none empty, none starting with a dot",
            key=key,
        )


def is_held(key: ObjectKey) -> bool:
    """Tell whether a storage that locks objects locks this one as soon as it is put."""
    return not is_passing(key) and not key.startswith(PROBES)


def is_foreseeable(key: ObjectKey) -> bool:
    """Tell whether somebody may know an object's name before it is put."""
    return _RANDOM.match(key) is None


def is_passing(key: ObjectKey) -> bool:
    """Tell whether an object comes and goes, so that no storage locks it."""
    return key.startswith(PASSING) or _NOTES.match(key) is not None


def check_range(offset: int, length: int | None) -> None:
    """Let only ranges pass that count forwards.

    Raises:
        InvalidInputError: `offset` or `length` is negative.
    """
    if offset < 0 or (length is not None and length < 0):
        raise errors.InvalidInputError(
            f"a range cannot start at {offset} and be {length} long", offset=offset, length=length
        )
