"""Pages and entries that were read before, kept on this machine by their hashes.

Prune looks through every kept state, and successive states share most of their pages: what it
has once read it need not ask the storage for again. Nothing rests on this file. What
is kept was compared with a hash that is signed; what is damaged, torn or not there is read from
the storage. It holds nothing that the storage does not hold as well.

    records of hash, 32 bytes ‖ u32(length) ‖ checksum, 8 bytes ‖ data; the last may be torn
"""

from __future__ import annotations

import os
import struct
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from strongroom.crypto.content import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self

_HEAD: Final = struct.Struct(">32sI8s")
_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_WORTH_TIDYING: Final = 1 << 20


class PageMemory:
    """The pieces of one chain that one machine has read."""

    def __init__(self, descriptor: int) -> None:
        self._file = descriptor
        self._places: dict[bytes, tuple[int, int, bytes]] = {}
        """By hash: where the data begins, its length and checksum."""
        self._used: set[bytes] = set()
        with suppress(OSError):
            self._scan()

    @classmethod
    @contextmanager
    def at(cls, path: Path) -> Iterator[Self | None]:
        """Open the file, and let go at the end of what was not asked for.

        Yields:
            None where the file cannot be had: nothing is remembered then.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(path, _FLAGS, 0o600)
        except OSError:
            yield None
            return
        try:
            memory = cls(descriptor)
            yield memory
            with suppress(OSError):
                memory._tidy(path)
        finally:
            os.close(descriptor)

    def __contains__(self, name: bytes) -> bool:
        return name in self._places

    def get(self, name: bytes) -> bytes | None:
        """Return what was kept under a hash, if it is here unharmed."""
        if name not in self._places:
            return None
        at, length, checksum = self._places[name]
        with suppress(OSError):
            data = os.pread(self._file, length, at)
            if _checksum(data) == checksum:
                self._used.add(name)
                return data
        del self._places[name]
        return None

    def put(self, name: bytes, data: bytes) -> None:
        """Keep a piece that is what its hash says, once. A full disk is no reason to stop."""
        if name in self._places:
            return
        checksum = _checksum(data)
        record = _HEAD.pack(name, len(data), checksum) + data
        with suppress(OSError):
            if os.write(self._file, record) == len(record):
                # Where it was appended, though another process may have appended before it.
                end = os.lseek(self._file, 0, os.SEEK_CUR)
                self._places[name] = end - len(data), len(data), checksum
                self._used.add(name)

    def _scan(self) -> None:
        at, size = 0, os.fstat(self._file).st_size
        while at + _HEAD.size <= size:
            head = os.pread(self._file, _HEAD.size, at)
            if len(head) < _HEAD.size:
                break
            name, length, checksum = _HEAD.unpack(head)
            at += _HEAD.size
            if at + length > size:
                break
            self._places[name] = at, length, checksum
            at += length
        if at < size:
            # Behind a torn record nothing can be found.
            with suppress(OSError):
                os.ftruncate(self._file, 0)
            self._places.clear()

    def _tidy(self, path: Path) -> None:
        """Write the file anew with what was asked for, where that is less than half of it."""
        size = os.fstat(self._file).st_size
        kept = sum(_HEAD.size + self._places[name][1] for name in self._used)
        if size < _WORTH_TIDYING or kept * 2 > size:
            return
        newer = path.with_name(f"{path.name}.new")
        descriptor = os.open(newer, _FLAGS | os.O_TRUNC, 0o600)
        try:
            for name in self._used:
                at, length, checksum = self._places[name]
                head = _HEAD.pack(name, length, checksum)
                os.write(descriptor, head + os.pread(self._file, length, at))
        finally:
            os.close(descriptor)
        newer.replace(path)


def _checksum(data: bytes) -> bytes:
    return fingerprint(data)[:8]
