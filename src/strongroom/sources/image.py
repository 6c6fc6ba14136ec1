"""A disk image: a raw file, or a block device.

What is a hole is not read, as far as the file system can tell; what only looks like one,
being written zeros, is for the caller to find with `is_zero`. A file tells by its identity
whether it can have changed; a block device cannot, and is always read.
"""

from __future__ import annotations

import os
import stat as modes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from strongroom.errors import SourceUnavailableError
from strongroom.sources.files import data_extents

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CLUSTER_BYTES: Final = 65536
"""The grain of comparison: extents begin and end at its multiples."""

_ZEROS: Final = bytes(CLUSTER_BYTES)
"""Small enough to stay in the processor's cache beside what it is compared with."""


class Extent(NamedTuple):
    """A run of an image that may hold data."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageIdentity:
    """What stays the same while nobody writes to an image file."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int


class ImageSource:
    """A raw image file or a block device, open for reading until `close`.

    Raises:
        SourceUnavailableError: it is missing, cannot be read, or is neither.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        try:
            self._fd = os.open(path, flags)
        except OSError as error:
            raise self._unavailable("cannot open", error) from error
        try:
            mode = os.fstat(self._fd).st_mode
            self.is_device = modes.S_ISBLK(mode)
            self._check_kind(mode)
            self.size = os.lseek(self._fd, 0, os.SEEK_END)
            """Bytes, when it was opened; what is appended later is not seen."""
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        except BaseException:
            os.close(self._fd)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def identity(self) -> ImageIdentity | None:
        """Return what tells a change of the file at this moment; none for a device."""
        if self.is_device:
            return None
        st = os.fstat(self._fd)
        return ImageIdentity(
            size=st.st_size,
            mtime_ns=st.st_mtime_ns,
            ctime_ns=st.st_ctime_ns,
            inode=st.st_ino,
            device=st.st_dev,
        )

    def extents(self) -> Iterator[Extent]:
        """Yield what may hold data, in order, apart, and widened to whole clusters.

        The last one ends where the image does.
        """
        if self.is_device:
            found = [(0, self.size)] if self.size else []
        else:
            try:
                found = data_extents(self._fd, self.size)
            except OSError as error:
                raise self._unavailable("cannot find the data of", error) from error
        start = end = 0
        for offset, length in found:
            first = offset - offset % CLUSTER_BYTES
            last = min(-(-(offset + length) // CLUSTER_BYTES) * CLUSTER_BYTES, self.size)
            if first > end:
                if end:
                    yield Extent(start, end - start)
                start = first
            end = last
        if end:
            yield Extent(start, end - start)

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on, or what the image has there.

        That is less only at the image's end.

        Raises:
            SourceUnavailableError: it cannot be read, or ends before its size.
        """
        wanted = max(0, min(length, self.size - offset))
        parts: list[bytes] = []
        done = 0
        while done < wanted:
            try:
                part = os.pread(self._fd, wanted - done, offset + done)
            except OSError as error:
                raise self._unavailable(f"cannot read at {offset + done} of", error) from error
            if not part:
                words = f"{self.path} ends at {offset + done} now: it was cut while being read"
                raise SourceUnavailableError(words, path=str(self.path), offset=offset + done)
            parts.append(part)
            done += len(part)
        # One part, nearly always: then this copies nothing.
        return b"".join(parts)

    def _check_kind(self, mode: int) -> None:
        if not modes.S_ISBLK(mode) and not modes.S_ISREG(mode):
            words = f"{self.path} is neither a file nor a block device"
            raise SourceUnavailableError(words, path=str(self.path))

    def _unavailable(self, doing: str, error: OSError) -> SourceUnavailableError:
        words = (error.strerror or str(error)).lower()
        return SourceUnavailableError(f"{doing} {self.path}: {words}", path=str(self.path))


def is_zero(buffer: memoryview | bytes | bytearray) -> bool:
    """Whether there is nothing but zeros in `buffer`; looks no further than the first other."""
    size = len(buffer)
    step = len(_ZEROS)
    if size <= step:
        return _ZEROS.startswith(buffer)
    view = memoryview(buffer)
    # `startswith` is a plain memcmp on any buffer; `==` of memoryviews goes byte by byte.
    return all(_ZEROS.startswith(view[at : at + step]) for at in range(0, size, step))
