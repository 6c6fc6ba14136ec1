"""Sessions in a process of their own, which tells at its end what they cost and how much memory.

Run as a module: what to back up, a folder, and how much. Of `files`, the second session finds
ten changed; of `renamed` ones, all in a directory of another name; of an `image`, some of it,
and of a `sparse` one a cluster in every GiB.
"""

from __future__ import annotations

import json
import os
import random
import stat
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from strongroom.engine import backup
from strongroom.model.entry import EntryKind
from strongroom.sources.directory import Directory
from strongroom.storage.local import LocalStorage
from tests.support.engine_job import EngineJob, source

_OLD = 1_700_000_000_123_456_789
"""A time long past: nothing is racy."""
_SIZE = 300
_STEP = 8
"""Each file's content begins so much further on, so that none is like another."""
_FILE, _DIRECTORY = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755
_IN_FOLDER = 1000


def _stat(mode: int, inode: int, size: int = 0, time_ns: int = _OLD) -> os.stat_result:
    seconds = time_ns // 10**9
    return os.stat_result(
        (mode, inode, 1, 1, 0, 0, size, *(seconds,) * 6, *(time_ns,) * 3, 4096, 8, 0)
    )


class SyntheticSource:
    """A tree that is nowhere, behind the name by which the engine makes its file sources.

    All its files are windows into one that is in memory, and the stat that the walk yields is
    what a look at the open file tells.
    """

    count = 0
    top = b"top"
    """Name of the directory that holds all others."""
    edited = frozenset[int]()
    """Numbers of files that have changed since the first session."""

    def __init__(self, root: bytes, **_: Any) -> None:
        self.root = root
        self._fd = os.memfd_create("files")
        os.truncate(self._fd, 2 * self.count * _STEP + _SIZE)
        os.write(self._fd, random.Random(1).randbytes(self.count * _STEP + _SIZE))  # noqa: S311
        self._stat = _stat(_DIRECTORY, 1)
        real = os.fstat
        inode = real(self._fd).st_ino

        def fstat(fd: int) -> os.stat_result:
            found = real(fd)
            return self._stat if found.st_ino == inode else found

        os.fstat = fstat

    def walk(self) -> Iterator[tuple[int, bytes, os.stat_result, Directory]]:
        enter, leave, file = map(int, (EntryKind.DIRECTORY, EntryKind.LEAVE, EntryKind.FILE))
        root_stat, top_stat, inner_stat = (_stat(_DIRECTORY, inode) for inode in (1, 2, 3))
        root = Directory(-1, b".", None, root_stat)
        yield enter, b".", root_stat, root
        top = Directory(-1, self.top, root, top_stat)
        yield enter, top.name, top_stat, root
        for first in range(0, self.count, _IN_FOLDER):
            inner = Directory(-1, b"folder-%06d" % first, top, inner_stat)
            yield enter, inner.name, inner_stat, top
            for number in range(first, min(first + _IN_FOLDER, self.count)):
                time_ns = _OLD + (number in self.edited)
                self._number = number
                self._stat = _stat(_FILE, 10 + number, _SIZE, time_ns)
                yield file, b"%08d.txt" % number, self._stat, inner
            yield leave, b"", inner_stat, top
        yield leave, b"", top_stat, root
        yield leave, b"", root_stat, root

    def open_file(self, parent: Directory, name: bytes) -> tuple[int, os.stat_result]:
        fd = os.dup(self._fd)
        begin = self._number * _STEP
        if self._number in self.edited:
            os.pwrite(fd, b"changed %9d" % self._number, begin)
        os.lseek(fd, begin, os.SEEK_SET)
        return fd, self._stat

    def read_xattrs(self, *_: Any, **__: Any) -> tuple[()]:
        return ()

    def owner_name(self, _: int) -> str:
        return "owner"

    group_name = owner_name

    def path_of(self, parent: Directory, name: bytes) -> bytes:
        return name

    def problem(self, parent: Directory, name: bytes, message: str) -> None:
        raise AssertionError(message)


def _write(image: Path, mib: int, step: int, seed: int, length: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - a test's
    with image.open("r+b") as file:
        for at in range(0, mib, step):
            os.pwrite(file.fileno(), rng.randbytes(length), at << 20)


def _edit_ten() -> None:
    count = SyntheticSource.count
    SyntheticSource.edited = frozenset(range(count // 20, count, count // 10))


def _rename() -> None:
    SyntheticSource.top = b"another-name"


def main(what: str, folder: Path, amount: int) -> None:
    """Run the sessions and tell of each what it did and wrote."""
    storage = LocalStorage(folder / "repository")
    storage.make_root()
    image = folder / "disk"
    change: Callable[[], None]
    if what in ("image", "sparse"):
        # Every so many MiB, at first and then again.
        step, again, length = (4, 64, 8 << 10) if what == "image" else (256, 1024, 64 << 10)
        image.touch()
        os.truncate(image, amount << 20)
        _write(image, amount, step, 1, length)
        job = EngineJob(storage, [source("image", image)], cache=folder / "cache")
        change = partial(_write, image, amount, again, 2, length)
    else:
        SyntheticSource.count = amount
        backup.FilesSource = SyntheticSource  # type: ignore[assignment,misc]
        job = EngineJob(storage, [source("files", "/nowhere")], cache=folder / "cache")
        change = _edit_ten if what == "files" else _rename
    told: dict[str, list[int]] = {"written_bytes": []}
    held = 0
    for number in range(2):
        if number:
            change()
        outcome = job.run()
        for name in ("files", "read_bytes", "changed_bytes", "stored_bytes"):
            told.setdefault(name, []).append(getattr(outcome, name))
        before, held = held, sum(info.size for info in storage.list())
        told["written_bytes"].append(held - before)
    print(json.dumps({**told, "peak": _peak_bytes()}))  # noqa: T201 - this is what it is for


def _peak_bytes() -> int:
    """Return the most memory this process had; `getrusage` would count its parent's too."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise AssertionError


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
