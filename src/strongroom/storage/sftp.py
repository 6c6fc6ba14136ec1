"""A folder on an SSH server as a storage: objects are files.

Written as in a folder of this machine: to `.tmp/`, synced, and then linked to the name, which
never replaces what has the name already. Both take extensions that OpenSSH has; a server
without them is refused, for two runs could overwrite each other's objects there. What SFTP has
no word for: the entry of a folder cannot be synced, and a link put into the folder by somebody
else is looked for, but could be put there a moment later.
"""

from __future__ import annotations

import asyncio
import posixpath
import stat
import uuid
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, TypeVar, cast

import asyncssh

from strongroom import errors
from strongroom.storage.base import Buffer, Composed, ObjectInfo, ObjectKey, ObjectRange, Part
from strongroom.storage.composing import check_parts, cut
from strongroom.storage.copying import by_copying
from strongroom.storage.keys import check_key, check_range, is_key
from strongroom.storage.ssh_line import LOST, Line, words

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from typing import Self

    from strongroom.storage.sftp_place import SftpPlace

T = TypeVar("T")

_TEMPORARY: Final = ".tmp"
_ABANDONED_AFTER_SECONDS: Final = 24 * 3600
_FOLDERS_AHEAD: Final = 16
_LARGEST_COPY: Final = 32 << 20
"""The server does nothing else meanwhile."""
_HARDLY_ANY: Final = 1 << 20
"""Bytes; a write that fails where less is left has failed for that."""
_OWN_FILE: Final = asyncssh.SFTPAttrs(permissions=0o600)
_OWN_FOLDER: Final = asyncssh.SFTPAttrs(permissions=0o700)

_ABSENT: Final = (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath)
_FULL: Final = (asyncssh.SFTPNoSpaceOnFilesystem, asyncssh.SFTPQuotaExceeded)
_BROKEN: Final = (asyncssh.SFTPFailure, asyncssh.SFTPFileCorrupt)


class SftpStorage:
    """Objects as files of an SSH server below `place`, whose folder has to be there.

    Folders are made with mode 0700 and files with 0600.
    """

    def __init__(self, place: SftpPlace) -> None:
        self._place = place
        self._root = place.path
        self._line = Line(place)
        self._swept = False

    @property
    def location(self) -> str:
        return self._place.location

    def make_root(self) -> None:
        """Make the folder itself, and those above it, where they are missing."""

        async def make(client: asyncssh.SFTPClient) -> None:
            if not await client.isdir(self._root):
                await _make_folders(client, "", self._root)
            if not await client.isdir(self._root):
                raise errors.RefusedError(
                    f"cannot make the folder of {self.location}: something else has its name, or "
                    "the server does not let us",
                    location=self.location,
                )

        self._call("make the folder of", make)

    def put(self, key: ObjectKey, data: Buffer) -> None:
        check_key(key)
        with _Lent(data) as lent:

            async def fill(_: asyncssh.SFTPClient, file: asyncssh.SFTPClientFile) -> None:
                await lent.write_to(file, 0)

            self._write(key, len(lent), fill)

    def compose(self, target: ObjectKey, parts: Sequence[Part]) -> Composed:
        check_parts(target, parts)
        if not self._call("reach", _copies_inside):
            return by_copying(self, target, parts)
        needed = sum(
            (part.length or 0) if isinstance(part, ObjectRange) else memoryview(part).nbytes
            for part in parts
        )

        async def fill(client: asyncssh.SFTPClient, file: asyncssh.SFTPClientFile) -> Composed:
            composed = Composed()
            for part in parts:
                if isinstance(part, ObjectRange):
                    copied = await self._copy(client, part, file, composed.size)
                    composed += Composed(copied_there_bytes=copied)
                else:
                    with _Lent(part) as lent:
                        await lent.write_to(file, composed.size)
                        composed += Composed(written_bytes=len(lent))
            return composed

        return self._write(target, needed, fill)

    def get(self, key: ObjectKey, offset: int = 0, length: int | None = None) -> bytes:
        check_key(key)
        check_range(offset, length)

        async def read(client: asyncssh.SFTPClient) -> bytes:
            file, size = await self._open(client, key)
            try:
                there = max(size - offset, 0)
                wanted = there if length is None else min(length, there)
                return await file.read(wanted, offset) if wanted else b""
            finally:
                self._line.later(file.close())

        return self._call("read", read, key)

    def size(self, key: ObjectKey) -> int:
        check_key(key)

        async def look(client: asyncssh.SFTPClient) -> int:
            size = await self._size(client, key)
            if size is None:
                raise self._missing(key)
            return size

        return self._call("look up", look, key)

    def exists(self, key: ObjectKey) -> bool:
        check_key(key)

        async def look(client: asyncssh.SFTPClient) -> bool:
            return await self._size(client, key) is not None

        return self._call("look up", look, key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        folder, _, _ = prefix.rpartition("/")
        # A prefix like `../` starts no key, and must not be walked.
        if folder and not is_key(folder):
            return
        inside = f"{folder}/" if folder else ""
        (entries,) = self._read_folders([inside])
        yield from self._walk(entries, prefix)

    def delete(self, key: ObjectKey) -> None:
        check_key(key)

        async def remove(client: asyncssh.SFTPClient) -> None:
            try:
                await client.remove(self._path(key))
            except _ABSENT:
                await self._check_root(client)
            except asyncssh.SFTPError:
                if await self._size(client, key) is not None:
                    raise

        self._call("delete", remove, key)

    def free_bytes(self) -> int | None:
        async def measure(client: asyncssh.SFTPClient) -> int | None:
            try:
                return await self._free(client)
            except _ABSENT:
                await self._check_root(client)
                raise

        return self._call("measure the room of", measure)

    def close(self) -> None:
        """End the connection; the storage stays usable and connects again."""
        self._line.hang_up()

    # --- writing ----------------------------------------------------------------------------

    def _write(
        self,
        key: ObjectKey,
        size: int,
        fill: Callable[[asyncssh.SFTPClient, asyncssh.SFTPClientFile], Awaitable[T]],
    ) -> T:
        """Make the object `key`, of about `size` bytes, of what `fill` writes to an open file."""

        async def write(client: asyncssh.SFTPClient) -> T:
            # Said before the bytes are sent for nothing; the link has the last word.
            if await self._size(client, key) is not None:
                raise self._exists(key)
            passing = self._path(f"{_TEMPORARY}/{uuid.uuid4().hex}")
            file = await self._create(client, passing)
            try:
                try:
                    if not self._swept:
                        self._swept = True
                        await self._sweep(client, await file.stat())
                    answer = await fill(client, file)
                    await self._sync(file)
                except (*_BROKEN, *_FULL) as error:
                    raise await self._why_broken(client, key, size, error) from error
                finally:
                    self._line.later(file.close())
                await self._link(client, key, passing)
            finally:
                with suppress(asyncssh.Error, OSError):
                    await client.remove(passing)
            return answer

        return self._call("write", write, key)

    async def _create(self, client: asyncssh.SFTPClient, path: str) -> asyncssh.SFTPClientFile:
        try:
            return await client.open(path, "xb", _OWN_FILE)
        except _ABSENT:
            await self._check_root(client)
            await _make_folders(client, self._root, posixpath.dirname(path))
            return await client.open(path, "xb", _OWN_FILE)

    async def _sync(self, file: asyncssh.SFTPClientFile) -> None:
        try:
            await file.fsync()
        except asyncssh.SFTPOpUnsupported as error:
            raise self._unfit("sync a file (fsync@openssh.com)") from error

    async def _link(self, client: asyncssh.SFTPClient, key: ObjectKey, passing: str) -> None:
        """Give the written file its name, unless the name is taken."""
        name = self._path(key)
        try:
            try:
                await client.link(passing, name)
            except _ABSENT:
                await _make_folders(client, self._root, posixpath.dirname(name))
                await client.link(passing, name)
        except asyncssh.SFTPOpUnsupported as error:
            raise self._unfit("link a file (hardlink@openssh.com)") from error
        except asyncssh.SFTPError as error:
            if isinstance(error, LOST):
                raise
            if await self._size(client, key) is not None:
                raise self._exists(key) from error
            raise errors.RefusedError(
                f"cannot write {key} to {self.location}: the server does not give the file its "
                f"name ({words(error)})",
                hint="something that is no object may have that name, or the file system there "
                "has no hard links",
                key=key,
            ) from error

    async def _copy(
        self,
        client: asyncssh.SFTPClient,
        part: ObjectRange,
        target: asyncssh.SFTPClientFile,
        end: int,
    ) -> int:
        """Append a range to `target`, which ends at `end`, without a byte passing here."""
        file, size = await self._open(client, part.key)
        try:
            length = max(size - part.offset, 0) if part.length is None else part.length
            if length and part.offset + length > size:
                raise cut(self.location, part, size)
            for done in range(0, length, _LARGEST_COPY):
                piece = min(length - done, _LARGEST_COPY)
                await client.remote_copy(file, target, part.offset + done, piece, end + done)
        finally:
            self._line.later(file.close())
        return length

    async def _sweep(self, client: asyncssh.SFTPClient, own: asyncssh.SFTPAttrs) -> None:
        """Remove what interrupted puts left over a day before `own` was made.

        By the clock of the server alone, which wrote both times.
        """
        folder = self._path(_TEMPORARY)
        for entry in await client.readdir(folder):
            made = entry.attrs.mtime
            if (
                own.mtime is not None
                and made is not None
                and made < own.mtime - _ABANDONED_AFTER_SECONDS
                and _is_file(entry.attrs)
            ):
                with suppress(*_ABSENT):
                    await client.remove(f"{folder}/{entry.filename!s}")

    async def _why_broken(
        self, client: asyncssh.SFTPClient, key: ObjectKey, size: int, error: asyncssh.SFTPError
    ) -> errors.StrongroomError:
        """Return what a failed write means: the protocol's third version has no words for it."""
        free = await self._free(client)
        if isinstance(error, _FULL) or (free is not None and free < max(size, _HARDLY_ANY)):
            return errors.StorageFullError(
                f"cannot write {key} to {self.location}: no room is left there",
                key=key,
                location=self.location,
            )
        return errors.RefusedError(
            f"cannot write {key} to {self.location}: {words(error)}",
            hint="the server does not say more; look for a quota, and at its log",
            key=key,
            location=self.location,
        )

    # --- reading ----------------------------------------------------------------------------

    async def _open(
        self, client: asyncssh.SFTPClient, key: ObjectKey
    ) -> tuple[asyncssh.SFTPClientFile, int]:
        """Return an object open for reading, and its size."""
        # Looked at first: opening a pipe would hold up the server for good.
        size = await self._size(client, key)
        if size is None:
            raise self._missing(key)
        try:
            return await client.open(self._path(key), "rb"), size
        except _ABSENT as error:
            raise self._missing(key) from error

    async def _size(self, client: asyncssh.SFTPClient, key: ObjectKey) -> int | None:
        """Return the size of an object, or nothing if there is none."""
        try:
            found = await client.lstat(self._path(key))
        except _ABSENT:
            await self._check_root(client)
            return None
        return found.size or 0 if _is_file(found) else None

    async def _free(self, client: asyncssh.SFTPClient) -> int | None:
        try:
            room = await client.statvfs(self._root)
        except asyncssh.SFTPOpUnsupported:
            return None
        return room.bavail * room.frsize

    async def _check_root(self, client: asyncssh.SFTPClient) -> None:
        """Tell a missing object from a missing storage."""
        if not await client.isdir(self._root):
            raise errors.StorageUnavailableError(
                f"there is no folder {self.location}",
                hint="is the disk of that machine mounted?",
                location=self.location,
            )

    def _read_folders(self, insides: Sequence[str]) -> Sequence[Sequence[ObjectInfo]]:
        """Return what is in some folders, in order of keys, folders with a `/` at their end."""

        async def read_one(client: asyncssh.SFTPClient, inside: str) -> Sequence[ObjectInfo]:
            try:
                entries = await client.readdir(self._path(inside.rstrip("/")))
            except _ABSENT:
                await self._check_root(client)
                return []
            return _in_key_order(inside, entries)

        async def read(client: asyncssh.SFTPClient) -> Sequence[Sequence[ObjectInfo]]:
            return await asyncio.gather(*(read_one(client, inside) for inside in insides))

        return self._call("list", read)

    def _walk(self, entries: Sequence[ObjectInfo], prefix: str) -> Iterator[ObjectInfo]:
        """Yield the objects among the entries of a folder, and in its folders."""
        asked = [
            entry
            for entry in entries
            if entry.key.startswith(prefix)
            or (entry.key.endswith("/") and prefix.startswith(entry.key))
        ]
        folders = [entry.key for entry in asked if entry.key.endswith("/")]
        ahead: dict[str, Sequence[ObjectInfo]] = {}
        for entry in asked:
            if not entry.key.endswith("/"):
                if is_key(entry.key):
                    yield entry
                continue
            if entry.key not in ahead:
                at = folders.index(entry.key)
                window = folders[at : at + _FOLDERS_AHEAD]
                ahead = dict(zip(window, self._read_folders(window), strict=True))
            yield from self._walk(ahead[entry.key], prefix)

    # --- failing ----------------------------------------------------------------------------

    def _call(
        self, doing: str, call: Callable[[asyncssh.SFTPClient], Awaitable[T]], key: ObjectKey = ""
    ) -> T:
        with self._explaining(doing, key):
            return self._line.run(call)

    @contextmanager
    def _explaining(self, doing: str, key: ObjectKey) -> Iterator[None]:
        """Turn the library's errors into ours."""
        what = f"{key} in {self.location}" if key else self.location
        try:
            yield
        except (asyncssh.Error, OSError) as error:
            family: type[errors.StrongroomError] = errors.StorageUnavailableError
            if isinstance(error, _FULL):
                family = errors.StorageFullError
            elif isinstance(error, asyncssh.SFTPError) and not isinstance(error, (*LOST, *_BROKEN)):
                family = errors.RefusedError
            raise family(
                f"cannot {doing} {what}: {words(error)}", key=key, location=self.location
            ) from error

    def _path(self, key: str) -> str:
        return posixpath.join(self._root, key) if key else self._root

    def _missing(self, key: ObjectKey) -> errors.ObjectMissingError:
        return errors.ObjectMissingError(f"{self.location} has no object {key}", key=key)

    def _exists(self, key: ObjectKey) -> errors.ObjectExistsError:
        return errors.ObjectExistsError(f"{self.location} has an object {key} already", key=key)

    def _unfit(self, what: str) -> errors.RefusedError:
        return errors.RefusedError(
            f"cannot write to {self.location}: the server cannot {what}",
            hint="OpenSSH's can; without it objects could be lost or overwritten there",
            location=self.location,
        )


class _Lent:
    """A caller's buffer, which the library reads piece by piece and does not keep.

    What fails late, or is not waited for any longer, would otherwise hold on to memory that
    the caller is about to use again.
    """

    def __init__(self, data: Buffer) -> None:
        self._view = memoryview(data).cast("B")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._view.release()

    def __len__(self) -> int:
        return len(self._view)

    def __getitem__(self, piece: slice) -> bytes:
        return bytes(self._view[piece])

    async def write_to(self, file: asyncssh.SFTPClientFile, offset: int) -> None:
        if len(self):
            # Of bytes that are not nothing the library takes the length and pieces only.
            await file.write(cast("bytes", self), offset)


async def _copies_inside(client: asyncssh.SFTPClient) -> bool:
    return client.supports_remote_copy


async def _make_folders(client: asyncssh.SFTPClient, root: str, folder: str) -> None:
    """Make the folders of a path below `root`, as far as the server lets us."""
    way = root
    for part in folder.removeprefix(root).split("/"):
        way = posixpath.join(way, part) if way or part else "/"
        # It is there, or whoever needs it learns why not.
        with suppress(asyncssh.SFTPFailure, asyncssh.SFTPFileAlreadyExists):
            await client.mkdir(way, _OWN_FOLDER)


def _in_key_order(inside: str, entries: Sequence[asyncssh.SFTPName]) -> Sequence[ObjectInfo]:
    """Return entries as their keys sort, folders with a `/` at the end.

    The `/` takes part in sorting, for `a-b` comes before `a/b`.
    """
    found = []
    for entry in entries:
        key = f"{inside}{entry.filename!s}"
        # Not by its name alone: what lies too deep for any object could go down for ever.
        if is_key(key):
            if _is_file(entry.attrs):
                found.append(ObjectInfo(key, entry.attrs.size or 0))
            elif stat.S_ISDIR(entry.attrs.permissions or 0):
                found.append(ObjectInfo(f"{key}/", 0))
    found.sort(key=lambda info: info.key)
    return found


def _is_file(found: asyncssh.SFTPAttrs) -> bool:
    return stat.S_ISREG(found.permissions or 0)
