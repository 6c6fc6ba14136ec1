"""Where a restore writes: a tree of files, or a disk image.

Names in a point are not to be trusted, nor is what lies at the target already. Whatever
the names, whatever links there are and whoever renames things meanwhile, a `TreeTarget`
writes nothing outside its root: a name is one step, every step is taken relative to a
directory held open, and no step follows a symbolic link. What a name leads to is never
opened again to set its attributes: they go through the descriptor it was made with.

No file is synced by itself; `finish` syncs the file system once.
"""

from __future__ import annotations

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

_CLUSTER_BYTES: Final = 65536
"""The grain by which is known what of a device was written."""
_ZEROS_BYTES: Final = 1 << 20
_ENDS_BYTES: Final = 1 << 20
"""Of each end of a device, where partition tables, volume labels and file systems begin."""
_BLKZEROOUT: Final = 0x127F

_FORMATS: Final = {
    EntryKind.CHARACTER_DEVICE: modes.S_IFCHR,
    EntryKind.BLOCK_DEVICE: modes.S_IFBLK,
    EntryKind.FIFO: modes.S_IFIFO,
    EntryKind.SOCKET: modes.S_IFSOCK,
}


class _Level(Directory):
    """A directory that is being restored into."""

    __slots__ = ("bequeaths_acl", "born", "is_new", "owner")

    def __init__(
        self, fd: int, name: bytes, parent: Directory | None, st: os.stat_result, *, is_new: bool
    ) -> None:
        super().__init__(fd, name, parent, st)
        self.is_new = is_new
        """Made by this restore, and so far closed to all other users."""
        self.owner = (st.st_uid, st.st_gid)
        self.born = self.owner if is_new else None
        """The owner of what is made here, if that is certain: a new directory got its group
        by the same rule."""
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
        RefusedError: it cannot be made or opened. All methods raise these two, and
            MalformedError for what no tree can hold.
    """

    def __init__(self, root: Path, *, report: Report, restore_owners: bool) -> None:
        self._path = os.path.abspath(os.fsencode(root))  # noqa: PTH100 - bytes
        self._report = report
        self._restore_owners = restore_owners
        self._uid = os.geteuid()
        self._told: set[str] = set()
        self._temporary = count()
        try:
            root.mkdir(parents=True, exist_ok=True)
            fd = os.open(root, _DIRECTORY & ~os.O_NOFOLLOW)
        except OSError as error:
            path = os.fsdecode(self._path)
            words = f"cannot restore to {path}: {(error.strerror or str(error)).lower()}"
            kind = TargetExistsError if error.errno in _TAKEN else RefusedError
            raise kind(words, path=path) from error
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
        self._levels.append(self._here)
        if len(self._levels) > MOST_OPEN:
            self._levels[-MOST_OPEN].close()
        self._here = level
        self._fd = fd
        return is_new

    def leave(self, attributes: Attributes | None) -> None:
        """Go back up; the directory left gets its attributes, or keeps what it has.

        With nothing entered, the root of the target itself gets them.
        """
        done = self._here
        if self._levels:
            self._go_up()
        try:
            if attributes is not None:
                if not done.is_new:
                    _drop_other_xattrs(done.fd, attributes)
                self._apply(done.fd, done, b".", attributes, done.owner)
            elif done.is_new:
                os.fchmod(done.fd, 0o755)
        except OSError as error:
            self.fail("give attributes to", done, b".", error)
        finally:
            if done is not self._top:
                done.close()

    def _go_up(self) -> None:
        done = self._here
        outer = self._levels.pop()
        if outer.fd < 0 and not outer.reopen(done, self._top):
            done.close()
            path = os.fsdecode(self._path_of(outer, b"."))
            raise TargetExistsError(
                f"cannot go on in {path}: it was moved while it was being restored",
                path=path,
                hint="keep other programs out of the target while it is being restored",
            )
        self._here = outer
        self._fd = outer.fd

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
                _write_all(fd, data, 0)
            here = self._here
            self._apply(fd, here, name, attributes, here.born)
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
        except (OverflowError, ValueError) as error:
            raise _impossible(name) from error
        except OSError as error:
            if error.errno not in _NOT_HERE:
                self._fail("restore", name, error)
            words = kind.name.lower().replace("_", " ")
            self._tell_once(words, self._here, name, f"is a {words}; none can be made here")
            return
        try:
            self._apply_by_name(name, node, attributes)
        except OSError as error:
            self._fail("give attributes to", name, error)

    def finish(self) -> None:
        """Close the root. What was restored is in the kernel's hands, as after `cp -a`."""
        self.close()

    def close(self) -> None:
        """Let go of the target, finished or not."""
        for level in (self._top, *self._levels, self._here):
            level.close()

    # --- attributes -------------------------------------------------------------------------

    def _apply(
        self,
        fd: int,
        level: _Level,
        name: bytes,
        attributes: Attributes,
        owner: tuple[int, int] | None,
    ) -> None:
        """Give attributes to an open file or directory.

        The order matters: a change of owner takes capabilities and set-id bits away, an
        ACL goes before the mode, which is its mask, and all of them touch the times.
        """
        mode = attributes.mode & 0o7777
        if (attributes.uid, attributes.gid) != owner and not self._give_owner(
            fd, level, name, attributes
        ):
            mode &= 0o1777
        if level.bequeaths_acl:
            with suppress(OSError):
                os.removexattr(fd, b"system.posix_acl_access")
        if attributes.xattrs:
            self._give_xattrs(fd, level, name, attributes)
        try:
            os.fchmod(fd, mode)
            os.utime(fd, ns=(attributes.mtime_ns, attributes.mtime_ns))
        except OSError as error:
            self._cannot_keep(level, name, error)
        except (OverflowError, ValueError) as error:
            raise _impossible(name) from error

    def _apply_by_name(self, name: bytes, node: int, attributes: Attributes) -> None:
        """Give attributes to what cannot be opened, through a handle on what was just made.

        Between making and this, somebody may have put a different entry there; a handle that
        is not of the same kind is none of ours.
        """
        level = self._here
        fd = os.open(name, _HANDLE, dir_fd=self._fd)
        try:
            st = os.fstat(fd)
            if modes.S_IFMT(st.st_mode) != node or st.st_uid != self._uid:
                raise FileExistsError(errno.EEXIST, "replaced meanwhile")
            handle = b"/proc/self/fd/%d" % fd
            mode = attributes.mode & 0o7777
            if (attributes.uid, attributes.gid) != level.born and not self._give_owner(
                handle, level, name, attributes
            ):
                mode &= 0o1777
            if level.bequeaths_acl:
                with suppress(OSError):
                    os.removexattr(handle, b"system.posix_acl_access")
            self._give_xattrs(handle, level, name, attributes)
            try:
                if node != modes.S_IFLNK:
                    os.chmod(handle, mode)  # noqa: PTH101 - the path is bytes
                os.utime(handle, ns=(attributes.mtime_ns, attributes.mtime_ns))
            except OSError as error:
                self._cannot_keep(level, name, error)
            except (OverflowError, ValueError) as error:
                raise _impossible(name) from error
        finally:
            os.close(fd)

    def _give_owner(
        self, at: int | bytes, level: _Level, name: bytes, attributes: Attributes
    ) -> bool:
        """Change the owner; tell whether it is the right one now."""
        if self._restore_owners:
            try:
                os.chown(at, attributes.uid, attributes.gid)
            except PermissionError:
                self._restore_owners = False
            except (OverflowError, ValueError) as error:
                raise _impossible(name) from error
            else:
                return True
        if attributes.uid == self._uid:
            # One's own files can be given to the groups that one is in.
            with suppress(PermissionError):
                os.chown(at, -1, attributes.gid)
                return True
        words = "could not be given its owner, nor can others: that takes root"
        self._tell_once("owner", level, name, words)
        return False

    def _give_xattrs(
        self, at: int | bytes, level: _Level, name: bytes, attributes: Attributes
    ) -> None:
        for attribute, value in attributes.xattrs:
            try:
                os.setxattr(at, attribute, value)
            except OSError as error:
                space = os.fsdecode(attribute.partition(b".")[0])
                words = f"lacks its attribute {os.fsdecode(attribute)}"
                if error.errno in _NOT_HERE:
                    words += f", and others may: those in {space!r} are refused here"
                    self._tell_once(f"xattr {space}", level, name, words)
                else:
                    words += f": {os.strerror(error.errno or 0).lower()}"
                    self._report(Problem(self._path_of(level, name), words))
            except (OverflowError, ValueError) as error:
                raise _impossible(name) from error

    def _cannot_keep(self, level: _Level, name: bytes, error: OSError) -> None:
        """Go on where a file system has no modes or times, FAT for instance."""
        if error.errno not in _NOT_HERE:
            raise error
        words = "could not be given its mode and time, nor can others: the target has none such"
        self._tell_once("mode", level, name, words)

    # --- for FileWriter ---------------------------------------------------------------------

    def publish(self, writer: FileWriter, size: int, attributes: Attributes) -> None:
        """Give a written file its length, its attributes and its name."""
        level = writer.level
        try:
            if os.fstat(writer.fd).st_size != size:
                os.ftruncate(writer.fd, size)
            self._apply(writer.fd, level, writer.name, attributes, level.born)
            if writer.replace:
                _rename(writer.temporary, writer.name, level.fd)
                return
            try:
                os.link(
                    writer.temporary,
                    writer.name,
                    src_dir_fd=level.fd,
                    dst_dir_fd=level.fd,
                    follow_symlinks=False,
                )
            except OSError as error:
                if error.errno not in _NO_HARD_LINKS:
                    raise
                # Without links there is no way that is safe against a name appearing now.
                with suppress(FileNotFoundError):
                    os.stat(writer.name, dir_fd=level.fd, follow_symlinks=False)
                    raise FileExistsError(errno.EEXIST, "taken") from error
                _rename(writer.temporary, writer.name, level.fd)
            else:
                os.unlink(writer.temporary, dir_fd=level.fd)
        except OSError as error:
            self.fail("restore", level, writer.name, error)

    def fail(self, doing: str, level: _Level, name: bytes, error: OSError) -> NoReturn:
        """Turn an error of the operating system into ours."""
        path = os.fsdecode(self._path_of(level, name))
        if error.errno in _TAKEN:
            words = f"cannot {doing} {path}: something else is there"
            raise TargetExistsError(words, path=path) from error
        words = (error.strerror or str(error)).lower()
        raise RefusedError(f"cannot {doing} {path}: {words}", path=path) from error

    # --- problems ---------------------------------------------------------------------------

    def _fail(self, doing: str, name: bytes, error: OSError) -> NoReturn:
        self.fail(doing, self._here, name, error)

    def _tell_once(self, kind: str, level: _Level, name: bytes, message: str) -> None:
        if kind not in self._told:
            self._told.add(kind)
            self._report(Problem(self._path_of(level, name), message))

    def _path_of(self, level: _Level, name: bytes) -> bytes:
        inner = [part for part in (level.path, name) if part not in (b"", b".")]
        return b"/".join([self._path.rstrip(b"/"), *inner]) or b"/"

    def _unlink_quietly(self, name: bytes) -> None:
        with suppress(OSError):
            os.unlink(name, dir_fd=self._fd)


class FileWriter:
    """A file that is being restored; ranges not written stay holes."""

    def __init__(
        self,
        target: TreeTarget,
        level: _Level,
        fd: int,
        temporary: bytes,
        name: bytes,
        *,
        replace: bool,
    ) -> None:
        self._target = target
        self.level = level
        self.fd = fd
        self.temporary = temporary
        self.name = name
        self.replace = replace

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        """Write one range; ranges may come in any order."""
        try:
            _write_all(self.fd, data, offset)
        except OSError as error:
            self._target.fail("restore", self.level, self.name, error)

    def finish(self, size: int, attributes: Attributes) -> None:
        """Make the file `size` long and give it its attributes and, last, its name.

        Raises:
            TargetExistsError: the name was taken meanwhile; nothing is left of the file.
            RefusedError: it could not be written; nothing is left of it.
        """
        try:
            self._target.publish(self, size, attributes)
        except BaseException:
            self.abandon()
            raise
        os.close(self.fd)

    def abandon(self) -> None:
        """Leave nothing of the file."""
        os.close(self.fd)
        with suppress(OSError):
            os.unlink(self.temporary, dir_fd=self.level.fd)


class ImageTarget:
    """A file or block device that an image is restored to.

    A new file gets its name when it is finished, so nobody takes half an image for one; the
    folders above it are made, as they are for trees. A file that is replaced is written in
    place: it keeps its owner and needs no second room. What is not written reads as zeros in
    the end: it is a hole in a file, and on a device zeros are written there.

    Args:
        path: Where; links are followed, it is the operator's own word.
        size: Bytes of the image.
        is_device: Whether `path` has to be a block device; otherwise it has to be none.
        overwrite: Whether a file that is there is replaced. A device always is:
            `is_blank` tells beforehand whether anything is lost by that.

    Raises:
        TargetExistsError: there is a file, and `overwrite` is not set; or the device is in
            use, mounted for instance.
        RefusedError: it cannot be opened, is of the wrong kind, or is too small.
    """

    def __init__(self, path: Path, size: int, *, is_device: bool, overwrite: bool = False) -> None:
        self.path = path.resolve()
        self.size = size
        self._temporary: Path | None = None
        self._written: bytearray | None = None
        try:
            if is_device:
                # O_EXCL keeps off devices that somebody has mounted or assembled.
                self._fd = os.open(self.path, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)
            elif overwrite and self.path.exists():
                self._fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            elif self.path.exists():
                raise FileExistsError(errno.EEXIST, "it is there already")
            else:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
                self._fd = os.open(
                    temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
                )
                self._temporary = temporary
        except OSError as error:
            self._fail(error)
        try:
            self._prepare(is_device=is_device)
        except OSError as error:
            self.abandon()
            self._fail(error)
        except BaseException:
            self.abandon()
            raise

    def _prepare(self, *, is_device: bool) -> None:
        mode = os.fstat(self._fd).st_mode
        if modes.S_ISBLK(mode) != is_device or not (is_device or modes.S_ISREG(mode)):
            what = "block device" if is_device else "file"
            raise RefusedError(f"cannot restore to {self.path}: it is no {what}")
        if not is_device:
            if self._temporary is None:
                # Not of a new file: ext4 writes out what was once cut to nothing on closing it.
                os.ftruncate(self._fd, 0)
            os.ftruncate(self._fd, self.size)
            return
        room = os.lseek(self._fd, 0, os.SEEK_END)
        if room < self.size:
            raise RefusedError(
                f"cannot restore to {self.path}: it has {room} bytes, the image {self.size}"
            )
        self._written = bytearray(-(-self.size // _CLUSTER_BYTES))

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        """Write one range; ranges may come in any order.

        Raises:
            RefusedError: it could not be written, or does not lie within the image.
        """
        end = offset + len(data)
        if offset < 0 or end > self.size:
            raise RefusedError(f"cannot write {self.path} from {offset} to {end}: it is smaller")
        if not data:
            return
        try:
            if self._written is not None:
                self._mark_written(self._written, offset, end)
            _write_all(self._fd, data, offset)
        except OSError as error:
            self._fail(error)

    def finish(self) -> None:
        """Zero what was not written, and give a new file its name.

        A device is durable then; a file is in the kernel's hands, as after `cp`.

        Raises:
            TargetExistsError: the name was taken meanwhile; nothing is left of the image.
            RefusedError: it could not be written.
        """
        try:
            if self._written is not None:
                # A device: what is not durable here is lost when it is taken away.
                os.fsync(self._fd)
                self._zero_the_rest(self._written)
                os.fsync(self._fd)
            if self._temporary is not None:
                self._publish(self._temporary)
                self._temporary = None
        except OSError as error:
            self.abandon()
            self._fail(error)
        os.close(self._fd)

    def abandon(self) -> None:
        """Close it; nothing is left of a new file, and half of what was overwritten."""
        os.close(self._fd)
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)

    def _publish(self, temporary: Path) -> None:
        try:
            os.link(temporary, self.path)
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            if self.path.exists():
                raise FileExistsError(errno.EEXIST, "taken") from error
            temporary.rename(self.path)
        else:
            temporary.unlink()

    def _mark_written(self, written: bytearray, offset: int, end: int) -> None:
        """Note whole clusters; of one only begun, the rest is zeroed now."""
        first = offset // _CLUSTER_BYTES
        last = (end - 1) // _CLUSTER_BYTES
        for cluster in {first, last}:
            start = cluster * _CLUSTER_BYTES
            stop = min(start + _CLUSTER_BYTES, self.size)
            if not written[cluster] and (offset > start or end < stop):
                _write_all(self._fd, bytes(stop - start), start)
        written[first : last + 1] = b"\1" * (last + 1 - first)

    def _zero_the_rest(self, written: bytearray) -> None:
        start = written.find(0)
        while start >= 0:
            end = written.find(1, start)
            if end < 0:
                end = len(written)
            self._zero(start * _CLUSTER_BYTES, min(end * _CLUSTER_BYTES, self.size))
            start = written.find(0, end)

    def _zero(self, start: int, end: int) -> None:
        whole = end - end % _CLUSTER_BYTES
        if whole > start:
            try:
                # The kernel frees the range where the device can, and writes zeros otherwise.
                fcntl.ioctl(self._fd, _BLKZEROOUT, struct.pack("QQ", start, whole - start))
            except OSError:
                whole = start
        zeros = memoryview(bytes(_ZEROS_BYTES))
        while whole < end:
            step = min(_ZEROS_BYTES, end - whole)
            _write_all(self._fd, zeros[:step], whole)
            whole += step

    def _fail(self, error: OSError) -> NoReturn:
        path = str(self.path)
        words = (error.strerror or str(error)).lower()
        words = f"cannot restore to {path}: {words}"
        if error.errno in (errno.EEXIST, errno.EBUSY):
            raise TargetExistsError(words, path=path) from error
        raise RefusedError(words, path=path) from error


def is_blank(path: Path) -> bool:
    """Tell whether a device, to judge by its first and its last MiB, holds nothing but zeros.

    Raises:
        RefusedError: it cannot be read.
    """
    try:
        with path.open("rb", buffering=0) as device:
            size = device.seek(0, os.SEEK_END)
            for start in (0, max(0, size - _ENDS_BYTES)):
                data = os.pread(device.fileno(), _ENDS_BYTES, start)
                if data.count(0) != len(data):
                    return False
    except OSError as error:
        words = (error.strerror or str(error)).lower()
        raise RefusedError(f"cannot look at {path}: {words}", path=str(path)) from error
    return True


def _check(name: bytes) -> None:
    """Refuse a name that would be more, or less, than one step down.

    Raises:
        MalformedError: it is one.
    """
    if b"/" in name or b"\0" in name or name in _NO_NAMES:
        raise MalformedError(f"the point holds an entry named {os.fsdecode(name)!r}")


def _impossible(name: bytes) -> MalformedError:
    return MalformedError(f"the entry {os.fsdecode(name)!r} has attributes that none can have")


def _write_all(fd: int, data: bytes | memoryview, offset: int) -> None:
    done = os.pwrite(fd, data, offset)
    if done < len(data):
        view = memoryview(data)
        while done < len(view):
            done += os.pwrite(fd, view[done:], offset + done)


def _rename(old: bytes, new: bytes, dir_fd: int) -> None:
    os.rename(old, new, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)


def is_the_users(attribute: bytes) -> bool:
    """Tell whether an extended attribute is one that needs no root to give or take away."""
    return attribute in _ACLS or attribute.startswith(b"user.")


def _drop_other_xattrs(fd: int, attributes: Attributes) -> None:
    """Take away what an existing directory has and the one in the point had not."""
    wanted = {attribute for attribute, _ in attributes.xattrs}
    with suppress(OSError):
        for attribute in map(os.fsencode, os.listxattr(fd)):
            if attribute not in wanted and is_the_users(attribute):
                os.removexattr(fd, attribute)
