"""What keeps a process's memory to itself while it holds keys.

No core file is written when it dies, and no other process of the same user may read its
memory or attach to it (Linux: `PR_SET_DUMPABLE`). Neither is undone, since nothing tells when
the last trace of a key is gone from memory.
"""

from __future__ import annotations

import ctypes
import resource
from typing import Final

_PR_SET_DUMPABLE: Final = 4
_PR_GET_DUMPABLE: Final = 3


def harden() -> bool:
    """Forbid core files and foreign looks; return whether both hold from now on.

    Where the kernel does not know the second, the first still holds.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    return _prctl(_PR_SET_DUMPABLE, 0) == 0


def is_hardened() -> bool:
    """Tell whether this process is as `harden` leaves it."""
    soft, _ = resource.getrlimit(resource.RLIMIT_CORE)
    return soft == 0 and _prctl(_PR_GET_DUMPABLE, 0) == 0


def _prctl(option: int, argument: int) -> int:
    try:
        answer: int = ctypes.CDLL(None, use_errno=True).prctl(option, argument, 0, 0, 0)
    except (OSError, AttributeError):
        return -1
    return answer
