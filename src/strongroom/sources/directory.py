"""Directories of a tree, held open while something goes through it.

Every step in a tree is taken relative to an open directory and follows no symbolic link:
paths may be longer than the kernel's PATH_MAX, and whoever renames things meanwhile cannot
lead a step out of the tree. A tree may also be deeper than a process may have files open,
so the far-out levels are closed, and opened again on the way back if they are still the same.
"""

from __future__ import annotations

import os
from typing import Final

MOST_OPEN: Final = 64
"""Levels of a tree kept open at a time."""

_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Directory:
    """A directory that something is in."""

    __slots__ = ("device", "fd", "inode", "name", "parent")

    def __init__(self, fd: int, name: bytes, parent: Directory | None, st: os.stat_result) -> None:
        self.fd = fd
        """Open while entries of this directory are dealt with; -1 when closed."""
        self.name = name
        self.parent = parent
        """The directory this one lies in; none for the root of the tree."""
        self.device = st.st_dev
        self.inode = st.st_ino

    @property
    def path(self) -> bytes:
        """Where it lies relative to the tree's root, which is itself `b""`."""
        return b"/".join(step.name for step in self.way())

    def way(self) -> list[Directory]:
        """Return the directories from the root, which is left out, to this one."""
        steps: list[Directory] = []
        at = self
        while at.parent is not None:
            steps.append(at)
            at = at.parent
        steps.reverse()
        return steps

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def reopen(self, child: Directory, top: Directory) -> bool:
        """Open it again, coming back from `child`, or else by the names from `top`.

        Returns:
            Whether it was found, and is the same as before.
        """
        if child.fd >= 0:
            self.fd = _open_if_same(b"..", child.fd, self)
        if self.fd < 0:
            fd = os.dup(top.fd)
            for step in self.way():
                inner = _open_if_same(step.name, fd, step)
                os.close(fd)
                fd = inner
                if fd < 0:
                    break
            self.fd = fd
        return self.fd >= 0


def open_directory(name: bytes, dir_fd: int | None, *, follow: bool = False) -> int:
    """Return a descriptor of a directory, opened without a trace where that is permitted.

    Raises:
        OSError: it cannot be opened, is no directory, or is a link and `follow` is not set.
    """
    flags = _FLAGS if follow else _FLAGS | os.O_NOFOLLOW
    try:
        return os.open(name, flags | os.O_NOATIME, dir_fd=dir_fd)
    except PermissionError:
        # Only the owner may leave no trace of reading.
        return os.open(name, flags, dir_fd=dir_fd)


def _open_if_same(name: bytes, dir_fd: int, directory: Directory) -> int:
    """Return a descriptor of `directory`, or -1 if `name` is not that one."""
    try:
        fd = open_directory(name, dir_fd)
    except OSError:
        return -1
    st = os.fstat(fd)
    if (st.st_dev, st.st_ino) == (directory.device, directory.inode):
        return fd
    os.close(fd)
    return -1
