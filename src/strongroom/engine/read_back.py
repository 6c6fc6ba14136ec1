"""Reading back what a restore wrote, and comparing it with the content hashes of the point.

Everything is made durable first and the kernel is asked to forget what it holds in memory, so
that what is compared is what the disk gives, as far as that can be had.
"""

from __future__ import annotations

import os
import stat as modes
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from strongroom.engine.index_reader import (
    Leaf,
    Path,
    file_pieces,
    tree_leaves,
)
from strongroom.engine.object_restore import is_content, object_path, of_pieces, runs
from strongroom.engine.restore_work import SHOWN, RestoreWork
from strongroom.engine.target_probe import TargetProbe
from strongroom.engine.tree_plan import NEW, REPLACE, shared_depth
from strongroom.errors import IntegrityError, RefusedError
from strongroom.model.entry import EntryKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from strongroom.engine.object_restore import Run
    from strongroom.engine.tree_plan import TreePlan
    from strongroom.format.point import DiskRoot, StreamRoot, TreeRoot

_LEAVE: Final = int(EntryKind.LEAVE)
_DIRECTORY: Final = int(EntryKind.DIRECTORY)
_FILE: Final = int(EntryKind.FILE)
_STEP: Final = 1 << 20


def read_back_tree(work: RestoreWork, root: TreeRoot, plan: TreePlan) -> None:
    """Compare every file that was written.

    Raises:
        IntegrityError: some are not what was written; `fields["paths"]` lists them.
    """
    _TreeComparison(work, root, plan).run()


def read_back_object(work: RestoreWork, root: DiskRoot | StreamRoot) -> None:
    """Compare an object that was written, its holes included.

    Raises:
        IntegrityError: it is not what was written.
    """
    if work.result.losses:
        return
    path = object_path(work)
    work.progress.begin("verify", root.size)
    os.sync()
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _forget(fd)
        if not _is_whole(fd, runs(work, root, None), root.size, work):
            raise IntegrityError(
                f"{path} reads back as something else than was written", paths=[str(path)]
            )
    except OSError as error:
        words = (error.strerror or str(error)).lower()
        raise RefusedError(f"cannot read back {path}: {words}", path=str(path)) from error
    finally:
        os.close(fd)
    work.progress.finish()
    work.result.verified = True


class _TreeComparison:
    def __init__(self, work: RestoreWork, root: TreeRoot, plan: TreePlan) -> None:
        self._work = work
        self._root = root
        self._plan = plan
        self._probe = TargetProbe(plan.landing.top)
        self._names: list[bytes] = []
        self._different: list[str] = []
        self._lost = {loss.path for loss in work.result.losses}

    def run(self) -> None:
        work, plan = self._work, self._plan
        work.progress.begin("verify", plan.bytes)
        os.sync()
        on_gap = (lambda _: None) if work.request.salvage else None
        try:
            for name in plan.landing.way:
                self._probe.enter(name)
            leaves = tree_leaves(work.reader, self._root, plan.scope, on_gap)
            for leaf, (_, choices) in zip(leaves, plan.choices, strict=True):
                work.cancel.check()
                self._go_to(leaf.before)
                self._compare(leaf, choices)
        finally:
            self._probe.close()
        if self._different:
            shown = ", ".join(self._different[:SHOWN])
            raise IntegrityError(
                f"{len(self._different)} files read back as something else than was written: "
                f"{shown}",
                hint="the target's disk or file system is at fault; do not trust it",
                paths=self._different,
            )
        work.progress.finish()
        work.result.verified = True

    def _go_to(self, before: Path) -> None:
        kept = shared_depth(self._names, before)
        while len(self._names) > kept:
            self._leave()
        for name in before[kept:]:
            self._enter(name)

    def _enter(self, name: bytes) -> None:
        step = name if self._names else self._plan.landing.root_name
        if step is not None:
            self._probe.enter(step)
        self._names.append(name)

    def _leave(self) -> None:
        self._names.pop()
        if self._names or self._plan.landing.root_name is not None:
            self._probe.leave()

    def _compare(self, leaf: Leaf, choices: bytes | None) -> None:
        page = leaf.page
        file = -1
        for index, kind in enumerate(page.kinds):
            if kind == _LEAVE:
                self._leave()
                continue
            name = page.names[index]
            if kind == _DIRECTORY:
                self._enter(name)
                continue
            if kind != _FILE:
                continue
            file += 1
            if choices is not None and choices[index] not in (NEW, REPLACE):
                continue
            below = (*self._names[1:], name) if self._names else ()
            path = self._plan.landing.path(below)
            if path in self._lost:
                continue
            pieces = of_pieces(file_pieces(self._work.reader, page, file))
            step = name if self._names else self._plan.landing.root_name or name
            if not self._is_same(step, pieces, page.sizes[file]):
                self._different.append(path)

    def _is_same(self, name: bytes, pieces: Iterable[Run], size: int) -> bool:
        try:
            fd = self._probe.open_file(name)
        except OSError:
            return False
        try:
            _forget(fd)
            return _is_whole(fd, pieces, size, self._work)
        except OSError:
            return False
        finally:
            os.close(fd)


def _forget(fd: int) -> None:
    """Ask the kernel to read from the disk what is read next."""
    with suppress(OSError):
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def _is_whole(fd: int, found: Iterable[Run], size: int, work: RestoreWork) -> bool:
    """Tell whether an open file holds these runs, zeros between them, and nothing more."""
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
        padded = data.ljust(len(run.hashes) // 32 * run.grain, b"\0")
        if len(data) != run.length or not is_content(memoryview(padded), run, work.hasher):
            return False
        at = run.position + run.length
        work.progress.advance(run.length)
    return _is_zero(fd, at, size)


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
