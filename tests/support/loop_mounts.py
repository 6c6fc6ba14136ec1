"""File systems of their own, mounted for a test; needs root."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Kind: TypeAlias = Literal["xfs", "btrfs", "ext4"]

_MAKE = {
    "xfs": ("mkfs.xfs", "-q", "-m", "reflink=1"),
    "btrfs": ("mkfs.btrfs", "-q"),
    "ext4": ("mkfs.ext4", "-q", "-F"),
}
_SMALLEST = {"xfs": 320, "btrfs": 128, "ext4": 8}
"""MiB: smaller ones are not made."""
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


@contextmanager
def file_system(kind: Kind, folder: Path, mebibytes: int = 0) -> Iterator[Path]:
    """Make a file system in a sparse file in memory, and yield where below `folder` it is mounted.

    Raises:
        RuntimeError: this machine does not let us; the message says what it takes.
    """
    memory, mounted = folder / "memory", folder / kind
    memory.mkdir()
    mounted.mkdir()
    # What is synced in memory is synced at once: what a test proves does not rest on this disk.
    _run("mount", "-t", "tmpfs", "tmpfs", str(memory))
    try:
        image = memory / "image"
        with image.open("xb") as file:
            file.truncate(max(mebibytes, _SMALLEST[kind]) << 20)
        _run(*_MAKE[kind], str(image))
        _run("mount", "-o", "loop", str(image), str(mounted))
        try:
            yield mounted
        finally:
            # A test that failed may have left a file open; it goes when that is closed.
            _run("umount", "--lazy", str(mounted))
    finally:
        _run("umount", "--lazy", str(memory))


def _run(*command: str) -> None:
    found = shutil.which(command[0], path=_PATH)
    if found is None:
        raise RuntimeError(f"{command[0]} is not installed; scripts/setup.sh develop does it")
    ran = subprocess.run([found, *command[1:]], capture_output=True, text=True, check=False)
    if ran.returncode:
        why = "" if os.geteuid() == 0 else "; only root can mount a file system in a file"
        raise RuntimeError(f"{' '.join(command)} failed: {ran.stderr.strip()}{why}")
