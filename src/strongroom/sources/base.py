"""What the sources share: problems worth a warning, and what they are called.

A source reads one thing to protect and knows no repository and no keys. What keeps it from
being read at all is an error; what concerns one entry among many is a `Problem`, handed to
the session's `Report`, and the reading goes on.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import NamedTuple, TypeAlias


class Problem(NamedTuple):
    """Something went wrong with one entry: a warning of the session."""

    path: bytes
    """Where, as the operator would name it: below the source's or the target's own path."""
    message: str
    """What, as the rest of a sentence that begins with the path."""


Report: TypeAlias = Callable[[Problem], None]
"""Takes note of a problem; the caller goes on."""


class ChangedError(Exception):
    """An entry is not what the walk saw a moment ago; the engine makes a `Problem` of it."""


_PLAIN_WORDS = {
    errno.ENOENT: "vanished while it was being read",
    errno.ESTALE: "vanished while it was being read",
    errno.ELOOP: "changed its kind while it was being read",
    errno.ENOTDIR: "changed its kind while it was being read",
    errno.EACCES: "may not be read: permission denied",
    errno.EPERM: "may not be read: permission denied",
}


def reason(error: OSError) -> str:
    """Return why reading an entry failed, in the words of a `Problem`."""
    number = error.errno or 0
    return _PLAIN_WORDS.get(number) or f"cannot be read: {os.strerror(number).lower()}"
