"""What a restore point says under seal: names, times, sizes and the root of its index."""

from __future__ import annotations

from strongroom.format.block import BlockAddress
from strongroom.format.codec import Value

DETAILS_LABEL = "point"


class TreeRoot(Value, frozen=True, tag="tree"):
    """The index of a tree of files (docs/format.md, "Trees of files")."""

    levels: int
    page: tuple[int, int]
    """Block address of the topmost page: slot and number."""
    recognition: tuple[int, int] | None
    """For a tree of a single page: its recognition page."""


class DiskRoot(Value, frozen=True, tag="disk"):
    """The index of a disk (docs/format.md, "Disks")."""

    levels: int
    page: tuple[int, int] | None
    """None for a disk that is all zeros."""
    size: int
    block_size: int


class StreamRoot(Value, frozen=True, tag="stream"):
    """The index of one object of bytes (docs/format.md, "Contents of large files")."""

    levels: int
    page: tuple[int, int] | None
    size: int


class PointDetails(Value, frozen=True):
    """The sealed part of a restore point."""

    job: str
    machine: str
    source: str
    """As the operator wrote it: `files:/srv`, `image:/dev/vg/lv`, `command:pg_dump`."""
    parent: bytes
    """The point this increment was compared with; empty for a full."""
    reason: str
    """Why it is a full, or empty."""
    taken_at: int
    finished_at: int
    size_bytes: int
    stored_bytes: int
    """What the session stored for this source."""
    files: int
    warnings: int
    root: TreeRoot | DiskRoot | StreamRoot
    recognition: bytes
    """What recognises an unchanged image file: encoded identity, or empty."""


def address(pair: tuple[int, int]) -> BlockAddress:
    """Return the block address that a pair of an index stands for."""
    return BlockAddress(*pair)
