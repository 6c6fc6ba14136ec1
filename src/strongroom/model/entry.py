"""What a tree of files consists of: kinds of entry and their attributes.

Shared by the sources that read trees, the index that records them and the restore that
writes them. Names are bytes, as the kernel has them; no encoding is assumed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class EntryKind(IntEnum):
    """The kinds of entry in a tree; the numbers are the format's."""

    LEAVE = 0
    """Not an entry: the mark that ends the directory entered last."""
    DIRECTORY = 1
    FILE = 2
    SYMLINK = 3
    HARD_LINK = 4
    """A further name of a file that came earlier in walk order."""
    CHARACTER_DEVICE = 5
    BLOCK_DEVICE = 6
    FIFO = 7
    SOCKET = 8


@dataclass(frozen=True, slots=True)
class Attributes:
    """What an entry has beside its name and content."""

    mode: int
    """Permission bits with set-id and sticky bits: `st_mode & 0o7777`."""
    uid: int
    gid: int
    user: str
    """Owner's name at backup time, empty if it had none."""
    group: str
    mtime_ns: int
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    """Extended attributes sorted by name: POSIX ACLs and capabilities are among them."""
