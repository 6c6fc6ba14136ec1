"""Looking at what lies at a restore's target, before and after, without changing anything.

Goes through directories as `TreeTarget` will: every step relative to an open directory, no
symbolic link followed.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from strongroom.errors import RefusedError, TargetExistsError
from strongroom.sources.directory import MOST_OPEN, Directory

if TYPE_CHECKING:
    from pathlib import Path

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class TargetProbe:
    """A place in a tree that may or may not be there."""

    def __init__(self, root: Path) -> None:
        """Stand at `root`; links in its own path are followed.

        Raises:
            TargetExistsError: what is there is no directory.
            RefusedError: it cannot be looked at.
        """
        self._root = root
        self._levels: list[Directory | None] = []
        try:
            fd = os.open(root, _DIRECTORY & ~os.O_NOFOLLOW)
            self._top: Directory | None = Directory(fd, b".", None, os.fstat(fd))
        except FileNotFoundError:
            self._top = None
        except NotADirectoryError as error:
            raise TargetExistsError(
                f"cannot restore to {root}: it is no directory", path=str(root)
            ) from error
        except OSError as error:
            raise self._refused(b"", error) from error
        self._here = self._top

    @property
    def exists(self) -> bool:
        """Whether the present directory is there."""
        return self._here is not None

    def is_empty(self) -> bool:
        """Tell whether nothing lies in the present directory, or it is not there."""
        if self._here is None:
            return True
        try:
            with os.scandir(self._here.fd) as entries:
                return next(entries, None) is None
        except OSError as error:
            raise self._refused(b"", error) from error

    def enter(self, name: bytes) -> None:
        """Go into a directory, or into nothing where there is none."""
        outer = self._here
        inner: Directory | None = None
        if outer is not None:
            try:
                fd = os.open(name, _DIRECTORY, dir_fd=outer.fd)
                inner = Directory(fd, name, outer, os.fstat(fd))
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    raise self._refused(name, error) from error
        self._levels.append(outer)
        if inner is not None and len(self._levels) > MOST_OPEN:
            far = self._levels[-MOST_OPEN]
            if far is not None and far is not self._top:
                far.close()
        self._here = inner

    def leave(self) -> None:
        """Go back up."""
        inner = self._here
        outer = self._here = self._levels.pop()
        if outer is not None and outer.fd < 0:
            # Where it is no longer the same, what is there now is not what was looked at.
            assert inner is not None
            assert self._top is not None
            if not outer.reopen(inner, self._top):
                self._here = None
        if inner is not None:
            inner.close()

    def existing(self, name: bytes) -> os.stat_result | None:
        """Return what has this name here, links not followed."""
        if self._here is None:
            return None
        try:
            return os.stat(name, dir_fd=self._here.fd, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._refused(name, error) from error

    def link(self, name: bytes) -> bytes | None:
        """Return where a symbolic link here points to."""
        if self._here is None:
            return None
        try:
            return os.readlink(name, dir_fd=self._here.fd)
        except OSError:
            return None

    def xattrs(self, name: bytes) -> dict[bytes, bytes] | None:
        """Return the extended attributes of what has this name here, links not followed.

        None where there are none to be had.
        """
        if self._here is None:
            return None
        path = b"/proc/self/fd/%d/%b" % (self._here.fd, name)
        try:
            return {
                os.fsencode(attribute): os.getxattr(path, attribute, follow_symlinks=False)
                for attribute in os.listxattr(path, follow_symlinks=False)
            }
        except OSError:
            return None

    def open_file(self, name: bytes) -> int:
        """Return a descriptor of a file here.

        Raises:
            OSError: there is none.
        """
        if self._here is None:
            raise FileNotFoundError(errno.ENOENT, "it is not there")
        return os.open(name, _FILE, dir_fd=self._here.fd)

    def close(self) -> None:
        for level in (self._top, *self._levels, self._here):
            if level is not None:
                level.close()

    def _refused(self, name: bytes, error: OSError) -> RefusedError:
        path = os.fsdecode(os.path.join(os.fsencode(self._root), name))  # noqa: PTH118 - bytes
        return RefusedError(f"cannot look at {path}: {(error.strerror or '').lower()}", path=path)


def remove_all(fd: int, spare: frozenset[bytes] = frozenset()) -> None:
    """Remove what lies in an open directory, however deep, without following a link.

    What somebody else moves away meanwhile stays; what cannot be removed stays too.

    Args:
        fd: The directory, which stays.
        spare: Names in it that stay.
    """
    here = os.dup(fd)
    ways: list[tuple[bytes, int, int]] = []
    """Of each directory gone into: its name, and device and inode of the one it lies in."""
    stuck: set[tuple[int, int]] = set()
    try:
        while True:
            inner = _remove_level(here, stuck, spare if not ways else frozenset())
            if inner is not None:
                st = os.fstat(here)
                child = os.open(inner, _DIRECTORY, dir_fd=here)
                os.close(here)
                here = child
                ways.append((inner, st.st_dev, st.st_ino))
                continue
            if not ways:
                return
            name, device, inode = ways.pop()
            own = os.fstat(here)
            outer = os.open(b"..", _DIRECTORY, dir_fd=here)
            os.close(here)
            here = outer
            st = os.fstat(here)
            if (st.st_dev, st.st_ino) != (device, inode):
                return
            try:
                os.rmdir(name, dir_fd=here)
            except OSError:
                stuck.add((own.st_dev, own.st_ino))
    except OSError:
        return
    finally:
        os.close(here)


def _remove_level(fd: int, stuck: set[tuple[int, int]], spare: frozenset[bytes]) -> bytes | None:
    """Remove all but directories; return one of those that is still to be gone into."""
    for name in os.listdir(fd):
        encoded = os.fsencode(name)
        if encoded in spare:
            continue
        try:
            os.unlink(encoded, dir_fd=fd)
        except IsADirectoryError:
            st = os.stat(encoded, dir_fd=fd, follow_symlinks=False)
            if (st.st_dev, st.st_ino) not in stuck:
                return encoded
        except OSError:
            continue
    return None
