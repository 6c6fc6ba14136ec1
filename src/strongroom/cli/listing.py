"""Lines and JSON of what a point holds, and of how two points differ."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Final

from strongroom.cli.output import printable, when_ns

if TYPE_CHECKING:
    from strongroom.engine.diff import Change
    from strongroom.engine.listing import ListedFile

_TYPES: Final = {
    "file": stat.S_IFREG,
    "hard-link": stat.S_IFREG,
    "directory": stat.S_IFDIR,
    "symlink": stat.S_IFLNK,
    "fifo": stat.S_IFIFO,
    "socket": stat.S_IFSOCK,
    "character-device": stat.S_IFCHR,
    "block-device": stat.S_IFBLK,
}
_LETTERS: Final = {"added": "+", "removed": "-", "changed": "M", "metadata": "m"}


def file_line(entry: ListedFile) -> str:
    """Return one entry like `ls -l`, with its time as ISO 8601 has it."""
    mode = stat.filemode(_TYPES.get(entry.kind, stat.S_IFREG) | stat.S_IMODE(entry.mode or 0))
    user = _owner(entry.user, entry.uid)
    group = _owner(entry.group, entry.gid)
    arrow = {"symlink": " -> ", "hard-link": " = "}.get(entry.kind, "")
    link = arrow + printable(entry.link) if arrow and entry.link else ""
    when = f"{when_ns(entry.mtime_ns):<26}"
    return f"{mode} {user:<8} {group:<8} {entry.size:>12} {when} {printable(entry.path)}{link}"


def _owner(name: str, number: int | None) -> str:
    return printable(name) or ("-" if number is None else str(number))


def change_line(change: Change) -> str:
    """Return one difference: its letter and its path, of a disk with the range in bytes."""
    place = ""
    if change.offset is not None and change.length is not None:
        place = f" {change.offset}-{change.offset + change.length - 1}"
    return f"{_LETTERS.get(change.change, '?')} {printable(change.path)}{place}"
