"""What this process holds open, for tests that nothing is left behind."""

from __future__ import annotations

import gc
from pathlib import Path


def open_descriptors() -> int:
    """How many descriptors are open, once garbage that still holds some is gone.

    Without the collection a descriptor that an earlier test left to it may be closed between two
    counts, and make their difference meaningless.
    """
    gc.collect()
    return open_now()


def open_now() -> int:
    """How many descriptors are open, perhaps more than are needed: quick enough for every step."""
    return len([*Path("/proc/self/fd").iterdir()])
