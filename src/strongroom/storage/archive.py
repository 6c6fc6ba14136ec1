"""One file as a storage: a ZIP archive whose members are objects, stored and not compressed.

What is sealed does not compress, and what is stored lies in one piece: a range of an object is a
range of the file. Any program that reads ZIP takes an archive apart; what comes out is a folder
that is a repository.

An archive is written once, from beginning to end, under a passing name, and then named. Whoever
opens it afterwards reads.
"""

from __future__ import annotations

import errno
import os
import struct
import threading
import uuid
import zipfile
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from strongroom import errors
from strongroom.storage.base import ObjectInfo
from strongroom.storage.copying import by_copying
from strongroom.storage.keys import check_key, check_range, is_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from strongroom.storage.base import Buffer, Composed, ObjectKey, Part

_LOCAL_HEADER: Final = struct.Struct("<4s22xHH")
"""Signature, then the lengths of name and extra field: APPNOTE.TXT, 4.3.7."""
_LOCAL_MAGIC: Final = b"PK\x03\x04"


class _Archive:
    """What an archive that is there and one on its way have in common: what is in it is read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._objects: dict[ObjectKey, tuple[int, int]] = {}
        """Where each lies in the file, and how long it is."""

    @property
    def location(self) -> str:
        return str(self._path)

    def get(self, key: ObjectKey, offset: int = 0, length: int | None = None) -> bytes:
        check_key(key)
        check_range(offset, length)
        with self._lock:
            file = self._opened()
            begin, size = self._place(key)
        rest = max(0, size - offset)
        with _explaining(self.location):
            return _read_at(file, begin + offset, rest if length is None else min(length, rest))

    def size(self, key: ObjectKey) -> int:
        check_key(key)
        with self._lock:
            self._opened()
            return self._place(key)[1]

    def exists(self, key: ObjectKey) -> bool:
        check_key(key)
        with self._lock:
            self._opened()
            return key in self._objects

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        with self._lock:
            self._opened()
            found = {key: size for key, (_, size) in self._objects.items()}
        for key in sorted(found):
            if key.startswith(prefix):
                yield ObjectInfo(key, found[key])

    def _opened(self) -> int:
        """Return the file's descriptor; the lock is held."""
        raise NotImplementedError

    def _place(self, key: ObjectKey) -> tuple[int, int]:
        if key not in self._objects:
            raise errors.ObjectMissingError(f"{self.location} has no object {key}", key=key)
        return self._objects[key]


class ArchiveStorage(_Archive):
    """The objects of an archive that is there; nothing can be written to it."""

    def __init__(self, path: Path) -> None:
        """Find nothing yet; the first call opens the file."""
        super().__init__(path)
        self._file: int | None = None

    def put(self, key: ObjectKey, data: Buffer) -> None:
        check_key(key)
        del data
        raise self._read_only()

    def compose(self, target: ObjectKey, parts: Sequence[Part]) -> Composed:
        check_key(target)
        del parts
        raise self._read_only()

    def delete(self, key: ObjectKey) -> None:
        check_key(key)
        raise self._read_only()

    def free_bytes(self) -> int | None:
        return 0

    def close(self) -> None:
        """Close the file; the storage stays usable."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def _opened(self) -> int:
        if self._file is None:
            with _explaining(self.location):
                file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                self._objects = _members(file, self.location)
            except BaseException:
                os.close(file)
                raise
            self._file = file
        return self._file

    def _read_only(self) -> errors.RefusedError:
        return errors.RefusedError(
            f"{self.location} is an archive, and archives are only read",
            hint="'strongroom repository copy' brings what it holds to a repository",
        )


class ArchiveBeingWritten(_Archive):
    """An archive on its way: what was put can be read; `finish` names it."""

    def __init__(self, path: Path) -> None:
        """Begin beside `path`, which must not be there.

        Raises:
            ObjectExistsError: it is.
        """
        if path.exists():
            raise errors.ObjectExistsError(f"{path} is there already", hint="choose another name")
        super().__init__(path)
        self._passing = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        with _explaining(str(path)):
            self._file = os.open(self._passing, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        self._stream = os.fdopen(self._file, "w+b", closefd=True)
        self._zip = zipfile.ZipFile(self._stream, "w", zipfile.ZIP_STORED, allowZip64=True)

    def put(self, key: ObjectKey, data: Buffer) -> None:
        check_key(key)
        with self._lock, _explaining(self.location):
            if key in self._objects:
                raise errors.ObjectExistsError(f"{self.location} has an object {key}", key=key)
            # Without the moment of writing: an archive says when in what is signed, or not.
            member = zipfile.ZipInfo(key)
            member.external_attr = 0o600 << 16
            self._zip.writestr(member, bytes(data))
            self._stream.flush()
            end = self._stream.tell()
            size = memoryview(data).nbytes
            self._objects[key] = (end - size, size)

    def compose(self, target: ObjectKey, parts: Sequence[Part]) -> Composed:
        return by_copying(self, target, parts)

    def delete(self, key: ObjectKey) -> None:
        check_key(key)
        if key in self._objects:
            raise errors.RefusedError(f"what was put into {self.location} stays there", key=key)

    def free_bytes(self) -> int | None:
        room = os.statvfs(self._path.parent)
        return room.f_bavail * room.f_frsize

    def _opened(self) -> int:
        return self._file

    def finish(self) -> int:
        """Make the archive durable and name it; return its size in bytes.

        Raises:
            ObjectExistsError: somebody else took the name meanwhile.
        """
        with _explaining(self.location):
            self._zip.close()
            self._stream.flush()
            os.fsync(self._file)
            size = os.fstat(self._file).st_size
            self._stream.close()
            try:
                os.link(self._passing, self._path)
            except FileExistsError as error:
                raise errors.ObjectExistsError(f"{self.location} is there already") from error
            self._passing.unlink()
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        return size

    def abandon(self) -> None:
        """Leave nothing; harmless once it is finished."""
        with suppress(OSError, ValueError):
            self._zip.close()
        with suppress(OSError, ValueError):
            self._stream.close()
        with suppress(OSError):
            self._passing.unlink()


def _members(file: int, location: str) -> dict[ObjectKey, tuple[int, int]]:
    """Return where the objects lie in an archive.

    Raises:
        MalformedError: it is no ZIP archive, or one that nobody made for this.
    """
    found: dict[ObjectKey, tuple[int, int]] = {}
    try:
        with os.fdopen(os.dup(file), "rb") as stream, zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise errors.MalformedError(f"{location} is no archive of a repository") from error
    total = os.fstat(file).st_size
    for member in members:
        # A folder's name ends with a slash, and is no key either.
        if not is_key(member.filename):
            continue
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            raise errors.MalformedError(f"{location} has {member.filename} compressed or locked")
        there = 0 <= member.header_offset < total
        head = _read_at(file, member.header_offset, _LOCAL_HEADER.size) if there else b""
        if len(head) != _LOCAL_HEADER.size:
            raise errors.MalformedError(f"{location} is cut short")
        magic, name, extra = _LOCAL_HEADER.unpack(head)
        begin = member.header_offset + _LOCAL_HEADER.size + name + extra
        if magic != _LOCAL_MAGIC or begin + member.file_size > total:
            raise errors.MalformedError(f"{location} has {member.filename} where it cannot be")
        if member.filename in found:
            raise errors.MalformedError(f"{location} has {member.filename} twice")
        found[member.filename] = (begin, member.file_size)
    return found


def _read_at(file: int, offset: int, length: int) -> bytes:
    parts = []
    while length > 0 and (read := os.pread(file, length, offset)):
        parts.append(read)
        offset += len(read)
        length -= len(read)
    return b"".join(parts)


@contextmanager
def _explaining(location: str) -> Iterator[None]:
    """Turn the operating system's errors into ours."""
    try:
        yield
    except OSError as error:
        message = f"cannot use {location}: {os.strerror(error.errno or 0)}"
        family: type[errors.StrongroomError] = errors.StorageUnavailableError
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            family = errors.StorageFullError
        elif error.errno in {errno.EPERM, errno.EACCES, errno.EROFS}:
            family = errors.RefusedError
        raise family(message, location=location) from error
