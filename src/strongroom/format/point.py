"""What a restore point says under seal: names, times, sizes and the root of its index."""

from __future__ import annotations

from strongroom.errors import MalformedError
from strongroom.format.block import BlockAddress
from strongroom.format.codec import MaybeId, Number, Value
from strongroom.format.index import MAX_LEVELS, disk_levels

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
    parent: MaybeId
    """The point this increment was compared with; empty for a full."""
    reason: str
    """Why it is a full, or empty."""
    taken_at: int
    finished_at: int
    size_bytes: Number
    stored_bytes: Number
    """What the session stored for this source."""
    files: Number
    warnings: Number
    root: TreeRoot | DiskRoot | StreamRoot
    recognition: bytes
    """What recognises an unchanged image file: encoded identity, or empty."""


def check_root(root: TreeRoot | DiskRoot | StreamRoot) -> TreeRoot | DiskRoot | StreamRoot:
    """Return the root if it can be one.

    Raises:
        MalformedError: deeper than any index, of a size that does not go with its pages, or a
            tree of one page without what recognises it.
    """
    fits = 0 <= root.levels <= MAX_LEVELS
    if isinstance(root, TreeRoot):
        fits = fits and (root.recognition is not None) == (root.levels == 0)
    elif isinstance(root, DiskRoot):
        fits = fits and root.size >= 0 and root.levels == disk_levels(root.size)
    else:
        fits = fits and root.size >= 0 and (root.page is None) == (root.size == 0)
    if not fits:
        raise MalformedError("a point's index has a root that cannot be")
    return root


def address(pair: tuple[int, int]) -> BlockAddress:
    """Return the block address that a pair of an index stands for."""
    return BlockAddress(*pair)
