"""A folder as a storage: objects are files.

An object is written to `.tmp/`, made durable, and only then linked to its name, which
never replaces what has the name already. A kill at any instant leaves a whole object or a
leftover in `.tmp/`, and no key can name that folder, for parts of keys start with no dot.

Every step is taken relative to an open folder and follows no symbolic link, so whoever can
write to the storage cannot lead a write or a read out of it. Folders are made as needed
and stay when their last object goes: a folder that never vanishes has to be made durable
only once.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
import threading
import uuid
import weakref
from collections import OrderedDict
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from strongroom import errors
from strongroom.clock import Clock, SystemClock, to_microseconds
from strongroom.storage.base import Buffer, Composed, ObjectInfo, ObjectKey, ObjectRange, Part
from strongroom.storage.cloning import append_range
from strongroom.storage.composing import check_parts, cut
from strongroom.storage.keys import check_key, check_range, is_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")

_TEMPORARY: Final = ".tmp"
_ABANDONED_AFTER: Final = timedelta(days=1)
_MOST_OPEN: Final = 16
"""Files kept open for further ranges; a restore reads from few packs at a time."""

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_REFUSED: Final = frozenset(
    {
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.EFBIG,
        errno.EXDEV,
        errno.EMLINK,
        errno.ENAMETOOLONG,
        errno.ELOOP,
        errno.ENOTDIR,
        errno.EISDIR,
    }
)
_NO_HARD_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS})
_RENAME_NOREPLACE: Final = 1


class LocalStorage:
    """Objects as files under `root`, which has to be there.

    Folders are made with mode 0700 and files with 0600.
    """

    def __init__(self, root: Path, clock: Clock | None = None) -> None:
        # Absolute from here on: a process that changes its folder keeps its storage.
        self._root = Path(os.path.abspath(root))  # noqa: PTH100 - resolve() follows links
        self._clock = clock or SystemClock()
        self._open = _OpenFiles()
        self._durable: set[tuple[str, ...]] = set()
        self._swept = False

    @property
    def location(self) -> str:
        return str(self._root)

    def make_root(self) -> None:
        """Make the folder itself, and those above it, where they are missing."""
        with self._explaining("make the folder of"):
            missing = []
            folder = self._root
            while not folder.is_dir():
                missing.append(folder)
                folder = folder.parent
            for folder in reversed(missing):
                with suppress(FileExistsError):
                    folder.mkdir(mode=0o700)
                _sync(folder.parent)

    def put(self, key: ObjectKey, data: Buffer) -> None:
        check_key(key)
        self._write(key, lambda file: _write_all(file, data))

    def compose(self, target: ObjectKey, parts: Sequence[Part]) -> Composed:
        check_parts(target, parts)
        return self._write(target, lambda file: self._write_parts(file, parts))

    def get(self, key: ObjectKey, offset: int = 0, length: int | None = None) -> bytes:
        check_key(key)
        check_range(offset, length)
        with self._explaining("read", key):
            if length is None:
                file = self._open_file(key)
                try:
                    return _read(file, offset, os.fstat(file).st_size - offset)
                finally:
                    os.close(file)
            file = self._take_file(key)
            try:
                data = _read(file, offset, min(length, os.fstat(file).st_size - offset))
            except BaseException:
                os.close(file)  # it may be stale: the next attempt opens it afresh
                raise
            self._open.give(key, file)
            return data

    def size(self, key: ObjectKey) -> int:
        check_key(key)
        with self._explaining("look up", key):
            found = self._stat(key)
        if found is None:
            raise self._missing(key)
        return found.st_size

    def exists(self, key: ObjectKey) -> bool:
        check_key(key)
        with self._explaining("look up", key):
            return self._stat(key) is not None

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        folder, _, _ = prefix.rpartition("/")
        # A prefix like `../` starts no key, and must not be walked.
        if folder and not is_key(folder):
            return
        with self._explaining("list"):
            try:
                opened = self._open_folder(folder.split("/") if folder else [])
            except (FileNotFoundError, NotADirectoryError):
                return
            yield from self._walk(opened, f"{folder}/" if folder else "", prefix)

    def delete(self, key: ObjectKey) -> None:
        check_key(key)
        *folders, name = key.split("/")
        with self._explaining("delete", key):
            self._open.drop(key)
            try:
                with self._folder(folders) as folder:
                    os.unlink(name, dir_fd=folder)
                    # An envelope taken from a leaked password must not be back after a crash.
                    os.fsync(folder)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return

    def free_bytes(self) -> int | None:
        with self._explaining("measure the room of"):
            room = os.statvfs(self._root)
        # What is reserved for root is room for root only.
        blocks = room.f_bfree if os.geteuid() == 0 else room.f_bavail
        return blocks * room.f_frsize

    def sweep_temporary(self) -> int:
        """Remove what interrupted puts left over a day ago, and return how many that were.

        A put holds a lock on its file while it lasts, so one that has been going on for
        more than a day, here or on another machine, keeps its own.
        """
        swept = 0
        youngest = to_microseconds(self._clock.now() - _ABANDONED_AFTER) * 1000
        with self._explaining("sweep"):
            try:
                temporary = self._open_folder([_TEMPORARY])
            except FileNotFoundError:
                return 0
            try:
                for name in os.listdir(temporary):  # noqa: PTH208 - Path lists no open folder
                    with suppress(FileNotFoundError):
                        found = os.stat(name, dir_fd=temporary, follow_symlinks=False)
                        if (
                            stat.S_ISREG(found.st_mode)
                            and found.st_mtime_ns < youngest
                            and _has_no_owner(name, temporary)
                        ):
                            os.unlink(name, dir_fd=temporary)
                            swept += 1
            finally:
                os.close(temporary)
        return swept

    def close(self) -> None:
        """Close the files kept open for further reads; the storage stays usable."""
        self._open.close()

    # --- writing ----------------------------------------------------------------------------

    def _write(self, key: ObjectKey, fill: Callable[[int], T]) -> T:
        """Make the object `key` of what `fill` writes to the open file it is given."""
        *folders, name = key.split("/")
        with self._explaining("write", key):
            # Said before the bytes are written for nothing; the link has the last word.
            if self._stat(key) is not None:
                raise _exists(key, self.location)
            with (
                self._durable_folder(folders) as target,
                self._durable_folder([_TEMPORARY]) as temporary,
            ):
                self._sweep_once()
                return self._write_aside(key, fill, target, name, temporary)

    def _sweep_once(self) -> None:
        """Have who writes first see to what was left over; an object is not lost over that."""
        if not self._swept:
            self._swept = True
            with suppress(errors.StrongroomError):
                self.sweep_temporary()

    def _write_aside(
        self, key: ObjectKey, fill: Callable[[int], T], target: int, name: str, temporary: int
    ) -> T:
        passing = uuid.uuid4().hex
        file = os.open(passing, _CREATE, 0o600, dir_fd=temporary)
        try:
            try:
                with suppress(OSError):  # without locks, only age protects it from sweeping
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                answer = fill(file)
                os.fsync(file)
                self._name(key, file, passing, temporary, name, target)
            finally:
                os.close(file)
        finally:
            # A rename has taken it away already; any other leftover is swept some day.
            with suppress(OSError):
                os.unlink(passing, dir_fd=temporary)
        os.fsync(target)
        return answer

    def _write_parts(self, file: int, parts: Sequence[Part]) -> Composed:
        composed = Composed()
        for part in parts:
            if isinstance(part, ObjectRange):
                composed += self._append_range(file, part, composed.size)
            else:
                os.lseek(file, composed.size, os.SEEK_SET)
                _write_all(file, part)
                composed += Composed(written_bytes=memoryview(part).nbytes)
        return composed

    def _append_range(self, file: int, part: ObjectRange, end: int) -> Composed:
        source = self._take_file(part.key)
        try:
            length = _length(source, part, self.location)
            added = append_range(source, part.offset, length, file, end)
        except BaseException:
            os.close(source)  # it may be stale: the next attempt opens it afresh
            raise
        self._open.give(part.key, source)
        return added

    def _name(
        self, key: ObjectKey, file: int, passing: str, temporary: int, name: str, target: int
    ) -> None:
        """Give the written file its name, unless the name is taken."""
        try:
            os.link(passing, name, src_dir_fd=temporary, dst_dir_fd=target, follow_symlinks=False)
        except FileExistsError as error:
            found = os.stat(name, dir_fd=target, follow_symlinks=False)
            # NFS repeats a link whose answer was lost, and then finds its own.
            if not os.path.samestat(found, os.fstat(file)):
                raise self._taken(key, found) from error
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            self._rename(key, passing, temporary, name, target)

    def _rename(self, key: ObjectKey, passing: str, temporary: int, name: str, target: int) -> None:
        """Name the file where the file system has no hard links, as FAT."""
        try:
            _rename_without_replacing(passing, temporary, name, target)
        except FileExistsError as error:
            found = os.stat(name, dir_fd=target, follow_symlinks=False)
            raise self._taken(key, found) from error
        except OSError as error:
            if error.errno not in {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}:
                raise
            raise errors.RefusedError(
                f"cannot write {key} to {self.location}: its file system can neither link a "
                "file nor rename one without replacing another",
                hint="choose a folder on another file system; two runs could overwrite each "
                "other's objects on this one",
                key=key,
            ) from error

    def _taken(self, key: ObjectKey, found: os.stat_result) -> errors.StrongroomError:
        if stat.S_ISREG(found.st_mode):
            return _exists(key, self.location)
        return errors.RefusedError(
            f"cannot write {key} to {self.location}: something that is no object has its name",
            key=key,
        )

    # --- folders ----------------------------------------------------------------------------

    @contextmanager
    def _folder(self, parts: Sequence[str]) -> Iterator[int]:
        folder = self._open_folder(parts)
        try:
            yield folder
        finally:
            os.close(folder)

    @contextmanager
    def _durable_folder(self, parts: Sequence[str]) -> Iterator[int]:
        """Open a folder that is there after a power cut, made now if need be.

        A folder found may have been made a moment ago by another process that has not
        synced it yet; so the first use in this process syncs it, whoever made it.
        """
        folder = self._open_root()
        try:
            for depth, part in enumerate(parts, 1):
                try:
                    inner = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
                    made = False
                except FileNotFoundError:
                    with suppress(FileExistsError):
                        os.mkdir(part, 0o700, dir_fd=folder)
                    inner = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
                    made = True
                outer, folder = folder, inner
                try:
                    way = tuple(parts[:depth])
                    if made or way not in self._durable:
                        os.fsync(outer)
                        self._durable.add(way)
                finally:
                    os.close(outer)
            yield folder
        finally:
            os.close(folder)

    def _open_folder(self, parts: Sequence[str]) -> int:
        folder = self._open_root()
        for part in parts:
            outer = folder
            try:
                folder = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=outer)
            finally:
                os.close(outer)
        return folder

    def _open_root(self) -> int:
        try:
            return os.open(self._root, _FOLDER)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise errors.StorageUnavailableError(
                f"there is no folder {self.location}",
                hint="is the disk mounted?",
                location=self.location,
            ) from error

    # --- reading ----------------------------------------------------------------------------

    def _take_file(self, key: ObjectKey) -> int:
        file = self._open.take(key)
        if file is None:
            return self._open_file(key)
        # No name left: the object was deleted, perhaps by another process.
        if os.fstat(file).st_nlink == 0:
            os.close(file)
            return self._open_file(key)
        return file

    def _open_file(self, key: ObjectKey) -> int:
        *folders, name = key.split("/")
        try:
            with self._folder(folders) as folder:
                file = os.open(name, _READ, dir_fd=folder)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise self._missing(key) from error
        except OSError as error:
            # A symbolic link, or a socket: not an object, whoever put it there.
            if error.errno not in {errno.ELOOP, errno.ENXIO}:
                raise
            raise self._missing(key) from error
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise self._missing(key)
        return file

    def _stat(self, key: ObjectKey) -> os.stat_result | None:
        *folders, name = key.split("/")
        try:
            with self._folder(folders) as folder:
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found if stat.S_ISREG(found.st_mode) else None

    def _walk(self, folder: int, inside: str, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the objects of `folder`, whose keys start with `inside`; closes it."""
        try:
            for name in _names_in_key_order(folder):
                key = inside + name
                if name.endswith("/"):
                    # Folders that lie too deep for any object could go down for ever.
                    if not is_key(key[:-1]) or not (
                        key.startswith(prefix) or prefix.startswith(key)
                    ):
                        continue
                    with suppress(FileNotFoundError, NotADirectoryError):
                        inner = os.open(name[:-1], _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
                        yield from self._walk(inner, key, prefix)
                elif key.startswith(prefix) and is_key(key):
                    try:
                        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    except FileNotFoundError:  # deleted meanwhile
                        continue
                    yield ObjectInfo(key, found.st_size)
        finally:
            os.close(folder)

    # --- failing ----------------------------------------------------------------------------

    def _missing(self, key: ObjectKey) -> errors.ObjectMissingError:
        return errors.ObjectMissingError(f"{self.location} has no object {key}", key=key)

    @contextmanager
    def _explaining(self, doing: str, key: ObjectKey = "") -> Iterator[None]:
        """Turn the operating system's errors into ours."""
        try:
            yield
        except OSError as error:
            what = f"{key} in {self.location}" if key else self.location
            message = f"cannot {doing} {what}: {os.strerror(error.errno or 0)}"
            family: type[errors.StrongroomError] = errors.StorageUnavailableError
            if error.errno in _FULL:
                family = errors.StorageFullError
            elif error.errno in _REFUSED:
                family = errors.RefusedError
            raise family(message, key=key, location=self.location, errno=error.errno) from error


class _OpenFiles:
    """A few files kept open between ranged reads.

    Who reads takes a file out, so that nobody closes it meanwhile, and gives it back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: OrderedDict[ObjectKey, int] = OrderedDict()
        weakref.finalize(self, _close_all, self._idle)

    def take(self, key: ObjectKey) -> int | None:
        with self._lock:
            return self._idle.pop(key, None)

    def give(self, key: ObjectKey, file: int) -> None:
        with self._lock:
            surplus = self._idle.pop(key, None)
            self._idle[key] = file
            if surplus is None and len(self._idle) > _MOST_OPEN:
                _, surplus = self._idle.popitem(last=False)
        if surplus is not None:
            os.close(surplus)

    def drop(self, key: ObjectKey) -> None:
        file = self.take(key)
        if file is not None:
            os.close(file)

    def close(self) -> None:
        with self._lock:
            _close_all(self._idle)


def _close_all(files: OrderedDict[ObjectKey, int]) -> None:
    while files:
        os.close(files.popitem()[1])


def _exists(key: ObjectKey, location: str) -> errors.ObjectExistsError:
    return errors.ObjectExistsError(f"{location} has an object {key} already", key=key)


def _write_all(file: int, data: Buffer) -> None:
    rest = memoryview(data).cast("B")
    while rest:
        rest = rest[os.write(file, rest) :]


def _read(file: int, offset: int, length: int) -> bytes:
    if length <= 0:
        return b""
    read = os.pread(file, length, offset)
    if len(read) == length or not read:
        return read
    # One call gives at most 2 GiB, or less where the object is on a network.
    parts = [read]
    got = len(read)
    while got < length and (read := os.pread(file, length - got, offset + got)):
        parts.append(read)
        got += len(read)
    return b"".join(parts)


def _length(file: int, part: ObjectRange, location: str) -> int:
    size = os.fstat(file).st_size
    if part.length is None:
        return max(size - part.offset, 0)
    if part.length and part.offset + part.length > size:
        raise cut(location, part, size)
    return part.length


def _names_in_key_order(folder: int) -> Sequence[str]:
    """Return the names in `folder` as their keys sort, folders with a `/` at the end.

    The `/` takes part in sorting, for `a-b` comes before `a/b`.
    """
    names = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_key(entry.name):
                if entry.is_file(follow_symlinks=False):
                    names.append(entry.name)
                elif entry.is_dir(follow_symlinks=False):
                    names.append(f"{entry.name}/")
    names.sort()
    return names


def _has_no_owner(name: str, folder: int) -> bool:
    """Tell whether nobody is writing a temporary file."""
    file = os.open(name, _READ, dir_fd=folder)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # no locks here: age alone decides
        return True
    else:
        return True
    finally:
        os.close(file)


def _sync(folder: Path) -> None:
    opened = os.open(folder, _FOLDER)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _renameat2() -> Callable[[int, bytes, int, bytes, int], int] | None:
    """Return the C library's `renameat2`, which Python does not offer, if it has one."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return None
    function.argtypes = [
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_uint,
    ]
    function.restype = ctypes.c_int

    def call(from_folder: int, source: bytes, to_folder: int, target: bytes, flags: int) -> int:
        return int(function(from_folder, source, to_folder, target, flags))

    return call


def _rename_without_replacing(source: str, from_folder: int, target: str, to_folder: int) -> None:
    rename = _renameat2()
    if rename is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if (
        rename(from_folder, os.fsencode(source), to_folder, os.fsencode(target), _RENAME_NOREPLACE)
        != 0
    ):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)
