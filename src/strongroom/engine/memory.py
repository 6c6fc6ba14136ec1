"""Asking the C library to keep the memory of large buffers.

By default glibc gives every buffer over 128 KiB back to the kernel when it is freed, so each
new one costs a page fault for every 4 KiB: a fifth of the time of a backup. Kept, the same
memory serves the next block. It also gives threads arenas of their own, and what one thread
frees serves no other; buffers here are made by one thread and freed by the next, so all of them
share one arena (a fifth less memory at the peak).
"""

from __future__ import annotations

import ctypes
import functools

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_LARGEST_KEPT = 32 << 20
_MOST_KEPT = 128 << 20


@functools.cache
def keep_large_buffers() -> bool:
    """Make malloc serve buffers up to 32 MiB from memory it keeps; tell whether it does.

    To be called before threads begin: those that have an arena keep it.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        # Another C library, musl for one: slower, not wrong.
        return False
    return bool(
        mallopt(_M_ARENA_MAX, 1)
        and mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
        and mallopt(_M_TRIM_THRESHOLD, _MOST_KEPT)
    )
