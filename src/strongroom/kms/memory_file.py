"""Bytes for a library that takes only the path of a file."""

from __future__ import annotations

import os
import ssl


class MemoryFile:
    """A file in no file system; this process alone reads it, until it is closed."""

    def __init__(self, content: bytes) -> None:
        self._descriptor = os.memfd_create("strongroom", os.MFD_CLOEXEC)
        with os.fdopen(self._descriptor, "wb", closefd=False) as file:
            file.write(content)
        self.path = f"/proc/self/fd/{self._descriptor}"

    def close(self) -> None:
        os.close(self._descriptor)


def system_authorities() -> str | bool:
    """Return where this system keeps the authorities it trusts; true for a library's own.

    Libraries bring lists of their own, in which no organisation's authority stands.
    """
    paths = ssl.get_default_verify_paths()
    return paths.cafile or paths.capath or True
