"""Sessions in a process of their own, which tells at its end how much memory it took.

Run as a module: what to back up (`files` or `image`), a folder, and how much.
"""

from __future__ import annotations

import json
import os
import random
import stat
import sys
from collections.abc import Iterator
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
_FILE, _DIRECTORY = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755


def _stat(mode: int, inode: int, size: int = 0) -> os.stat_result:
    seconds = _OLD // 10**9
    return os.stat_result(
        (mode, inode, 1, 1, 0, 0, size, seconds, seconds, seconds),
        {
            "st_mtime_ns": _OLD,
            "st_ctime_ns": _OLD,
            "st_atime_ns": _OLD,
            "st_blocks": 8,
            "st_rdev": 0,
        },
    )


class SyntheticSource:
    """A tree that is nowhere, behind the name by which the engine makes its file sources."""

    count = 0

    def __init__(self, root: bytes, **_: Any) -> None:
        self.root = root
        self._fd = os.memfd_create("file")
        self._stats: dict[int, os.stat_result] = {}
        real = os.fstat
        inode = real(self._fd).st_ino

        def fstat(fd: int) -> os.stat_result:
            found = real(fd)
            return self._stats[fd] if found.st_ino == inode and fd in self._stats else found

        os.fstat = fstat

    def walk(self) -> Iterator[tuple[int, bytes, os.stat_result, Directory]]:
        enter, leave, file = map(int, (EntryKind.DIRECTORY, EntryKind.LEAVE, EntryKind.FILE))
        top_stat = _stat(_DIRECTORY, 1)
        top = Directory(-1, b".", None, top_stat)
        yield enter, b".", top_stat, top
        for first in range(0, self.count, 1000):
            inner_stat = _stat(_DIRECTORY, 2)
            inner = Directory(-1, b"folder-%06d" % first, top, inner_stat)
            yield enter, inner.name, inner_stat, top
            for number in range(first, min(first + 1000, self.count)):
                yield file, b"%08d.txt" % number, _stat(_FILE, 10 + number, _SIZE), inner
            yield leave, b"", inner_stat, top
        yield leave, b"", top_stat, top

    def open_file(self, parent: Directory, name: bytes) -> int:
        fd = os.dup(self._fd)
        os.pwrite(fd, (name * (_SIZE // len(name)) + b"xxxx")[:_SIZE].ljust(_SIZE), 0)
        os.lseek(fd, 0, os.SEEK_SET)
        self._stats[fd] = _stat(_FILE, 10 + int(name[:8]), _SIZE)
        return fd

    def read_xattrs(self, *_: Any, **__: Any) -> tuple[()]:
        return ()

    def owner_name(self, _: int) -> str:
        return "owner"

    group_name = owner_name

    def path_of(self, parent: Directory, name: bytes) -> bytes:
        return name

    def problem(self, parent: Directory, name: bytes, message: str) -> None:
        raise AssertionError(message)


def _write(image: Path, mib: int, step: int, seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - a test's
    with image.open("r+b") as file:
        for at in range(0, mib, step):
            os.pwrite(file.fileno(), rng.randbytes(8192), at << 20)


def main(what: str, folder: Path, amount: int) -> None:
    """Run two sessions, the second after nothing or little has changed."""
    storage = LocalStorage(folder / "repository")
    storage.make_root()
    image = folder / "disk"
    if what == "files":
        SyntheticSource.count = amount
        backup.FilesSource = SyntheticSource  # type: ignore[assignment,misc]
        plan = source("files", "/nowhere")
    else:
        image.touch()
        os.truncate(image, amount << 20)
        _write(image, amount, 4, 1)
        plan = source("image", image)
    job = EngineJob(storage, [plan], cache=folder / "cache")
    first = job.run()
    if what == "image":
        _write(image, amount, 64, 2)
    second = job.run()
    told = {
        name: [getattr(first, name), getattr(second, name)]
        for name in ("files", "read_bytes", "changed_bytes", "stored_bytes")
    }
    print(json.dumps({**told, "peak": _peak_bytes()}))  # noqa: T201 - this is what it is for


def _peak_bytes() -> int:
    """Return the most memory this process had; `getrusage` would count its parent's too."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise AssertionError


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
