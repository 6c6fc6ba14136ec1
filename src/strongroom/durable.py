"""Files that are their owner's alone, and on the disk when the call returns."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OWNERS_ALONE: Final = 0o600


def write_new(file: Path, content: bytes) -> None:
    """Write a file that must not be there yet; what fails leaves none.

    Its name is durable only once `sync_folder` was called for its folder.

    Raises:
        FileExistsError: it is there.
        OSError: it cannot be written.
    """
    descriptor = os.open(file, _NEW, _OWNERS_ALONE)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
    except BaseException:
        file.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk.

    Raises:
        OSError: it cannot be done.
    """
    descriptor = os.open(folder, _FOLDER)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
