"""Bytes of one file appended to another, shared where the file system can share them.

XFS and btrfs let two files refer to the same blocks; every other file system copies. Only
whole blocks are shared, and only such as lie equally deep in a block in both files; but the
last, broken block of a file may be the last of the other.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from typing import Final

from strongroom.storage.base import Composed

_FICLONERANGE: Final = 0x4020940D
_CLONE_RANGE: Final = struct.Struct("=qQQQ")
_LARGEST_GRAIN: Final = 64 << 10
"""No file system has larger blocks; those on a network name what they send at once."""
_PIECE: Final = 8 << 20
_CANNOT: Final = frozenset(
    {
        errno.EOPNOTSUPP,
        errno.ENOTTY,
        errno.ENOSYS,
        errno.EXDEV,
        errno.EINVAL,
        errno.EPERM,
        errno.ETXTBSY,
    }
)
"""What a kernel answers that does not clone or copy this; reading and writing always does."""


def append_range(source: int, offset: int, length: int, target: int, end: int) -> Composed:
    """Append `length` bytes of the file `source`, all of which are there, to `target`.

    `end` is where `target` ends.
    """
    grain = min(os.fstatvfs(target).f_bsize, _LARGEST_GRAIN)
    lead = -offset % grain
    last = offset + length
    if last != os.fstat(source).st_size:
        last -= last % grain
    whole = last - offset - lead
    if (offset - end) % grain or whole <= 0:
        _copy(source, offset, length, target, end)
        return Composed(copied_bytes=length)
    _copy(source, offset, lead, target, end)
    if not _clone(source, offset + lead, whole, target, end + lead):
        _copy(source, offset + lead, length - lead, target, end + lead)
        return Composed(copied_bytes=length)
    _copy(source, last, length - lead - whole, target, end + lead + whole)
    return Composed(cloned_bytes=whole, copied_bytes=length - whole)


def _clone(source: int, offset: int, length: int, target: int, at: int) -> bool:
    """Let `target` share blocks of `source`; false where they cannot."""
    try:
        fcntl.ioctl(target, _FICLONERANGE, _CLONE_RANGE.pack(source, offset, length, at))
    except OSError as error:
        if error.errno in _CANNOT:
            return False
        raise
    return True


def _copy(source: int, offset: int, length: int, target: int, at: int) -> None:
    done = 0
    while done < length:
        copied = _copy_inside(source, offset + done, length - done, target, at + done)
        if not copied:
            piece = os.pread(source, min(length - done, _PIECE), offset + done)
            if not piece:
                raise OSError(errno.EIO, os.strerror(errno.EIO))  # cut while it was being read
            copied = os.pwrite(target, piece, at + done)
        done += copied


def _copy_inside(source: int, offset: int, length: int, target: int, at: int) -> int:
    """Copy in the kernel, or on the server of a network; 0 where that is not possible."""
    try:
        return os.copy_file_range(source, target, length, offset, at)
    except OSError as error:
        if error.errno in _CANNOT:
            return 0
        raise
