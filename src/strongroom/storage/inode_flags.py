"""The attributes of a file that not even its owner overcomes: immutable, and append-only.

Linux keeps them on ext4, XFS, btrfs and others; setting or clearing one takes the capability
CAP_LINUX_IMMUTABLE, which an ordinary user never has. An immutable file can be neither written,
renamed, linked nor removed. Into an append-only folder new names can be put; none can be taken
out or changed, and the folder itself cannot be renamed.
"""

from __future__ import annotations

import array
import fcntl
from typing import Final

APPEND_ONLY: Final = 0x20
IMMUTABLE: Final = 0x10

# As on x86 and ARM. The kernel's numbers say `long`, and it reads and writes an `int`.
_GET: Final = 0x80086601
_SET: Final = 0x40086602


def get(file: int) -> int:
    """Return the attributes of an open file or folder.

    Raises:
        OSError: ENOTTY or EOPNOTSUPP where its file system has none.
    """
    flags = array.array("i", [0])
    fcntl.ioctl(file, _GET, flags, True)
    return flags[0]


def change(file: int, *, add: int = 0, take: int = 0) -> None:
    """Set and clear attributes of an open file or folder; the others stay.

    Raises:
        OSError: EPERM without the right to.
    """
    before = get(file)
    after = (before | add) & ~take
    if after != before:
        fcntl.ioctl(file, _SET, array.array("i", [after]), True)
