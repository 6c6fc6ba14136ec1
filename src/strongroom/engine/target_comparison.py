"""Comparing what lies at a target with what the point says of it: attributes and content."""

from __future__ import annotations

import os
import stat as modes
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from strongroom.engine.object_restore import is_content
from strongroom.engine.target import is_the_users
from strongroom.format.codec import HASH_LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterable

    from strongroom.engine.object_restore import Run
    from strongroom.engine.restore_work import RestoreWork
    from strongroom.engine.target_probe import TargetProbe
    from strongroom.model.entry import Attributes

_STEP: Final = 1 << 20


def has_attributes(
    probe: TargetProbe, name: bytes, st: os.stat_result, attributes: Attributes
) -> bool:
    """Tell whether what has this name has these attributes, as far as a restore can give them.

    Without root that is no owner, no set-id bits under another owner, and of the extended
    attributes only the user's and ACLs.
    """
    mode = attributes.mode & 0o7777
    is_owner = (st.st_uid, st.st_gid) == (attributes.uid, attributes.gid)
    is_root = os.geteuid() == 0
    if not is_owner:
        is_mine = attributes.uid == os.geteuid()
        if is_root or (is_mine and attributes.gid in (os.getegid(), *os.getgroups())):
            return False
        mode &= 0o1777
    if st.st_mtime_ns != attributes.mtime_ns:
        return False
    if not modes.S_ISLNK(st.st_mode) and modes.S_IMODE(st.st_mode) != mode:
        return False
    there = probe.xattrs(name)
    if there is None:
        return True
    wanted = {
        attribute: value
        for attribute, value in attributes.xattrs
        if is_root or is_the_users(attribute)
    }
    # Others that are there are the system's own: labels, for instance.
    return wanted == {
        attribute: value
        for attribute, value in there.items()
        if attribute in wanted or is_the_users(attribute)
    }


def holds(
    probe: TargetProbe, name: bytes, pieces: Iterable[Run], size: int, work: RestoreWork
) -> bool:
    """Tell whether the file of this name is there, and its content is what the point says.

    One that cannot be read is not.
    """
    try:
        fd = probe.open_file(name)
    except OSError:
        return False
    try:
        return _is_file(fd) and is_whole(fd, pieces, size, work)
    except OSError:
        return False
    finally:
        os.close(fd)


def is_whole(fd: int, found: Iterable[Run], size: int, work: RestoreWork) -> bool:
    """Tell whether an open file holds these runs, zeros between them, and nothing more.

    What the disk gives is compared, as far as that can be had.
    """
    _forget(fd)
    at = 0
    # A device may be longer than the image on it.
    length = os.lseek(fd, 0, os.SEEK_END)
    if length < size or (length > size and _is_file(fd)):
        return False
    for run in found:
        if not _is_zero(fd, at, run.position):
            return False
        data = _read(fd, run.position, run.length)
        # The end of a disk is hashed with zeros up to a whole cluster.
        padded = data.ljust(len(run.hashes) // HASH_LENGTH * run.grain, b"\0")
        if len(data) != run.length or not is_content(memoryview(padded), run, work.hasher):
            return False
        at = run.position + run.length
        work.progress.advance(run.length)
    return _is_zero(fd, at, size)


def _forget(fd: int) -> None:
    """Ask the kernel to read from the disk what is read next."""
    with suppress(OSError):
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def _is_zero(fd: int, start: int, end: int) -> bool:
    """Tell whether a range reads as zeros; holes are not read where the file system can tell."""
    while start < end:
        try:
            start = os.lseek(fd, start, os.SEEK_DATA)
        except OSError:
            # Nothing but a hole from here on, or a device, where all is read.
            if os.lseek(fd, 0, os.SEEK_END) >= end and _is_file(fd):
                return True
        step = min(_STEP, end - start)
        if step <= 0:
            return True
        data = os.pread(fd, step, start)
        if len(data) != step or data.count(0) != step:
            return False
        start += step
    return True


def _is_file(fd: int) -> bool:
    return modes.S_ISREG(os.fstat(fd).st_mode)


def _read(fd: int, offset: int, length: int) -> bytes:
    parts: list[bytes] = []
    while length > 0:
        part = os.pread(fd, length, offset)
        if not part:
            break
        parts.append(part)
        offset += len(part)
        length -= len(part)
    return b"".join(parts)
