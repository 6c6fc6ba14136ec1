"""A storage whose process is killed with the nth object of a kind: no chance is in it."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

from strongroom.storage.local import LocalStorage

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.storage.base import Buffer, ObjectKey


class DyingStorage(LocalStorage):
    """A folder; `kill -9` of the process right after the nth key with `part` in it is stored."""

    def __init__(self, root: Path, part: str, nth: int) -> None:
        super().__init__(root)
        self._part = part
        self._left = nth
        self._counting = threading.Lock()

    def put(self, key: ObjectKey, data: Buffer) -> None:
        super().put(key, data)
        if self._part in key:
            with self._counting:
                self._left -= 1
                if not self._left:
                    os.kill(os.getpid(), signal.SIGKILL)
