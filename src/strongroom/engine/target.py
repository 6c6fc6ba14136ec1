"""Where a restore writes: a tree of files, or a disk image.

Names in a point are not to be trusted, nor is what lies at the target already. Whatever
the names, whatever links there are and whoever renames things meanwhile, a `TreeTarget`
writes nothing outside its root: a name is one step, every step is taken relative to a
directory held open, and no step follows a symbolic link. What a name leads to is never
opened again to set its attributes: they go through the descriptor it was made with.

No file is synced by itself; `finish` syncs the file system once.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat as modes
import struct
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Final

from strongroom.errors import MalformedError, RefusedError, TargetExistsError
from strongroom.model.entry import Attributes, EntryKind
from strongroom.sources.base import Problem, Report
from strongroom.sources.directory import MOST_OPEN, Directory

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import NoReturn

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_HANDLE: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC

_NO_NAMES: Final = frozenset({b"", b".", b".."})
_TAKEN: Final = frozenset({errno.EEXIST, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENOTEMPTY})
_NOT_HERE: Final = frozenset({errno.EPERM, errno.EACCES, errno.EOPNOTSUPP})
_NO_HARD_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})

_ACLS: Final = frozenset({b"system.posix_acl_access", b"system.posix_acl_default"})

_FORMATS: Final = {
    EntryKind.CHARACTER_DEVICE: modes.S_IFCHR,
    EntryKind.BLOCK_DEVICE: modes.S_IFBLK,
    EntryKind.FIFO: modes.S_IFIFO,
    EntryKind.SOCKET: modes.S_IFSOCK,
}


class _Level(Directory):
    """A directory that is being restored into."""

    __slots__ = ("bequeaths_acl", "gid", "is_new")

    def __init__(
        self, fd: int, name: bytes, parent: Directory | None, st: os.stat_result, *, is_new: bool
    ) -> None:
        super().__init__(fd, name, parent, st)
        self.is_new = is_new
        """Made by this restore, and so far closed to all other users."""
        self.gid = st.st_gid if st.st_mode & modes.S_ISGID else os.getegid()
        """The group that files get when they are made here."""
        self.bequeaths_acl = False
        """Whether what is made here is given an ACL that the point knows nothing of."""
        with suppress(OSError):
            attributes = os.listxattr(fd)
            if not is_new:
                self.bequeaths_acl = "system.posix_acl_default" in attributes
            elif attributes:
                for attribute in _ACLS.intersection(map(os.fsencode, attributes)):
                    os.removexattr(fd, attribute)


class TreeTarget:
    """A directory that a tree is restored into, entry by entry in the order of a walk.

    What is there already is never replaced unless the caller says so, entry by entry.

    Args:
        root: Made if it is not there, its parents too. Links in it are followed: it is
            the operator's own word.
        report: Takes what could not be restored with all its attributes.
        restore_owners: Give entries their owners; that takes root. Otherwise owners that
            differ are left out, with one `Problem` for all of them, and with them the
            set-id bits, which mean nothing under another owner.

    Raises:
        TargetExistsError: what is at `root` is no directory.
        RefusedError: it cannot be made or opened. All methods raise these two.
    """

    def __init__(self, root: Path, *, report: Report, restore_owners: bool) -> None:
        self._path = os.path.abspath(os.fsencode(root))  # noqa: PTH100 - bytes
        self._report = report
        self._restore_owners = restore_owners
        self._uid = os.geteuid()
        self._told: set[str] = set()
        self._temporary = count()
        self._many_devices = False
        try:
            root.mkdir(parents=True, exist_ok=True)
            fd = os.open(root, _DIRECTORY & ~os.O_NOFOLLOW)
        except OSError as error:
            self._fail("make the target directory", None, error)
        self._top = self._here = _Level(fd, b".", None, os.fstat(fd), is_new=False)
        self._levels: list[_Level] = []
        self._fd = fd

    # --- directories ------------------------------------------------------------------------

    def enter(self, name: bytes) -> bool:
        """Go into a directory, which is made if it is not there; tell if it was made.

        Until `leave` gives it its attributes, a new one is closed to all other users.
        """
        _check(name)
        is_new = True
        try:
            try:
                os.mkdir(name, 0o700, dir_fd=self._fd)
            except FileExistsError:
                is_new = False
            fd = os.open(name, _DIRECTORY, dir_fd=self._fd)
        except OSError as error:
            self._fail("restore the directory", name, error)
        st = os.fstat(fd)
        if is_new and (st.st_uid != self._uid or st.st_mode & 0o077):
            is_new = False  # somebody put another in its place
        level = _Level(fd, name, self._here, st, is_new=is_new)
        self._many_devices |= st.st_dev != self._top.device
        self._levels.append(self._here)
        if len(self._levels) > MOST_OPEN:
            self._levels[-MOST_OPEN].close()
        self._here = level
        self._fd = fd
        return is_new

    def leave(self, attributes: Attributes | None) -> None:
        """Go back up; the directory left gets its attributes, or keeps what it has."""
        done = self._here
        if attributes is not None:
            if not done.is_new:
                self._drop_other_xattrs(done.fd, attributes)
            self._apply(done.fd, b".", attributes)
        elif done.is_new:
            with suppress(OSError):
                os.fchmod(done.fd, 0o755)
        outer = self._levels.pop()
        if outer.fd < 0 and not outer.reopen(done, self._top):
            path = os.fsdecode(self._path_of(outer, b"."))
            done.close()
            raise TargetExistsError(
                f"cannot go on in {path}: it was moved while it was being restored",
                path=path,
                hint="keep other programs out of the target while it is being restored",
            )
        self._here = outer
        self._fd = outer.fd
        done.close()

    # --- what lies in them ------------------------------------------------------------------

    def existing(self, name: bytes) -> os.stat_result | None:
        """Return what has this name in the current directory, links not followed."""
        _check(name)
        try:
            return os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._fail("look at", name, error)

    def remove(self, name: bytes) -> None:
        """Remove what has this name, so that something else can have it.

        Raises:
            TargetExistsError: it is a directory with something in it.
        """
        _check(name)
        try:
            try:
                os.unlink(name, dir_fd=self._fd)
            except IsADirectoryError:
                os.rmdir(name, dir_fd=self._fd)
        except FileNotFoundError:
            pass
        except OSError as error:
            self._fail("remove", name, error)

    def small_file(
        self,
        name: bytes,
        data: bytes | memoryview,
        attributes: Attributes,
        *,
        replace: bool = False,
    ) -> None:
        """Restore a whole file at once.

        In a directory that this restore has made it is written in place: that is twice as
        fast, and before the directory is left nobody takes what is in it for restored.
        """
        if not self._here.is_new or replace:
            writer = self.file(name, replace=replace)
            try:
                writer.write_at(0, data)
            except BaseException:
                writer.abandon()
                raise
            writer.finish(len(data), attributes)
            return
        if b"/" in name or b"\0" in name or name in _NO_NAMES:
            _check(name)
        try:
            fd = os.open(name, _CREATE, 0o600, dir_fd=self._fd)
        except OSError as error:
            self._fail("restore", name, error)
        try:
            if data and os.write(fd, data) != len(data):
                _write(fd, data, 0)
            self._apply(fd, name, attributes)
        except OSError as error:
            self._unlink_quietly(name)
            self._fail("restore", name, error)
        except BaseException:
            self._unlink_quietly(name)
            raise
        finally:
            os.close(fd)

    def file(self, name: bytes, *, replace: bool = False) -> FileWriter:
        """Begin a file; it gets its name when it is finished, and before its directory is left.

        Args:
            name: What it will be called.
            replace: Whether it takes the place of what has that name; a directory stays.
        """
        _check(name)
        try:
            while True:
                temporary = b".strongroom-%d-%d" % (os.getpid(), next(self._temporary))
                with suppress(FileExistsError):
                    fd = os.open(temporary, _CREATE, 0o600, dir_fd=self._fd)
                    break
        except OSError as error:
            self._fail("restore", name, error)
        return FileWriter(self, self._here, fd, temporary, name, replace=replace)

    def symlink(self, name: bytes, target: bytes, attributes: Attributes) -> None:
        _check(name)
        if not target or b"\0" in target:
            raise MalformedError(f"the link {os.fsdecode(name)!r} points to no possible path")
        try:
            os.symlink(target, name, dir_fd=self._fd)
            self._apply_by_name(name, modes.S_IFLNK, attributes)
        except OSError as error:
            self._fail("restore the symbolic link", name, error)

    def hard_link(self, name: bytes, first: Sequence[bytes]) -> None:
        """Give a file restored before a further name; its attributes are its own already.

        Args:
            name: The further name, in the current directory.
            first: The names that lead to the file from the root of the target.
        """
        _check(name)
        for step in first:
            _check(step)
        if not first:
            raise MalformedError(f"the hard link {os.fsdecode(name)!r} is one to nothing")
        fd = -1
        try:
            if [step.name for step in self._here.way()] == [*first[:-1]]:
                fd = os.dup(self._fd)
            else:
                fd = os.dup(self._top.fd)
                for step in first[:-1]:
                    inner = os.open(step, _DIRECTORY, dir_fd=fd)
                    os.close(fd)
                    fd = inner
            os.link(first[-1], name, src_dir_fd=fd, dst_dir_fd=self._fd, follow_symlinks=False)
        except OSError as error:
            self._fail(f"restore as a link to {os.fsdecode(b'/'.join(first))}", name, error)
        finally:
            if fd >= 0:
                os.close(fd)

    def special(self, kind: EntryKind, name: bytes, rdev: int, attributes: Attributes) -> None:
        """Restore a device, fifo or socket; where that is refused, it is a `Problem`."""
        _check(name)
        node = _FORMATS[kind]
        try:
            os.mknod(name, node | 0o600, rdev, dir_fd=self._fd)
            self._apply_by_name(name, node, attributes)
        except OSError as error:
            if error.errno not in _NOT_HERE:
                self._fail("restore", name, error)
            words = kind.name.lower().replace("_", " ")
            self._tell_once(
                words, self._here, name, f"is a {words}, and these cannot be made here"
            )

    def finish(self) -> None:
        """Make everything durable that was restored, and close the root.

        Raises:
            RefusedError: the file system could not write it all.
        """
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if self._many_devices:
                os.sync()
            if libc.syncfs(self._top.fd):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
        except OSError as error:
            self._fail("sync", None, error)
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the target, finished or not."""
        for level in (self._top, *self._levels, self._here):
            level.close()

    # --- attributes -------------------------------------------------------------------------

    def _apply(self, fd: int, name: bytes, attributes: Attributes) -> None:
        """Give attributes to what a descriptor, not one of O_PATH, stands for.

        The order matters: a change of owner takes capabilities and set-id bits away, an
        ACL goes before the mode, which is its mask, and all of them touch the times.
        """
        mode = attributes.mode
        here = self._here
        if not self._give_owner(fd, name, attributes):
            mode &= 0o1777
        if here.bequeaths_acl:
            with suppress(OSError):
                os.removexattr(fd, b"system.posix_acl_access")
        if attributes.xattrs:
            self._give_xattrs(fd, name, attributes)
        os.fchmod(fd, mode)
        os.utime(fd, ns=(attributes.mtime_ns, attributes.mtime_ns))

    def _apply_by_name(self, name: bytes, node: int, attributes: Attributes) -> None:
        """Give attributes to what cannot be opened, through a handle on what was just made.

        Between making and this, somebody may have put a different entry there; a handle that
        is not of the same kind is none of ours.
        """
        fd = os.open(name, _HANDLE, dir_fd=self._fd)
        try:
            st = os.fstat(fd)
            if modes.S_IFMT(st.st_mode) != node or st.st_uid != self._uid:
                raise FileExistsError(errno.EEXIST, "replaced meanwhile")
            handle = b"/proc/self/fd/%d" % fd
            owned = self._give_owner(handle, name, attributes)
            self._give_xattrs(handle, name, attributes)
            if node != modes.S_IFLNK:
                os.chmod(handle, attributes.mode if owned else attributes.mode & 0o1777)
            os.utime(handle, ns=(attributes.mtime_ns, attributes.mtime_ns))
        finally:
            os.close(fd)

    def _give_owner(self, at: int | bytes, name: bytes, attributes: Attributes) -> bool:
        """Change the owner if need be; tell whether it is the right one now."""
        if attributes.uid == self._uid and attributes.gid == self._here.gid:
            return True
        if self._restore_owners:
            try:
                os.chown(at, attributes.uid, attributes.gid)
            except PermissionError:
                self._restore_owners = False
            else:
                return True
        self._tell_once(
            "owner", self._here, name, "and others keep you as their owner: only root gives them away"
        )
        return False

    def _give_xattrs(self, at: int | bytes, name: bytes, attributes: Attributes) -> None:
        for attribute, value in attributes.xattrs:
            try:
                os.setxattr(at, attribute, value)
            except OSError as error:
                space = os.fsdecode(attribute.partition(b".")[0])
                words = f"its attribute {os.fsdecode(attribute)}"
                if error.errno in _NOT_HERE:
                    words = f"lacks {words}: those in {space!r} are refused here"
                    self._tell_once(f"xattr {space}", self._here, name, words)
                else:
                    words = f"lacks {words}: {os.strerror(error.errno or 0).lower()}"
                    self._report(Problem(self._path_of(self._here, name), words))

    def _drop_other_xattrs(self, fd: int, attributes: Attributes) -> None:
        """Take away what an existing directory has and the one in the point had not."""
        wanted = {attribute for attribute, _ in attributes.xattrs}
        with suppress(OSError):
            for attribute in map(os.fsencode, os.listxattr(fd)):
                if attribute not in wanted and (
                    attribute in _ACLS or attribute.startswith(b"user.")
                ):
                    os.removexattr(fd, attribute)
