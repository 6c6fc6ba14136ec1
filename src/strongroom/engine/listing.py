"""What a point holds, without restoring any of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.engine.index_reader import (
    Scope,
    TreeEntry,
    entries_of,
    find_entry,
    root_name,
    tree_leaves,
)
from strongroom.engine.selection import Selection, source_path
from strongroom.format.point import PointDetails, TreeRoot
from strongroom.model.entry import EntryKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.engine.points import PointView
    from strongroom.repository.reader import BlockReader


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedFile:
    """One entry of a point."""

    path: str
    """Absolute, as it was at the source; names that are no UTF-8 as Python decodes them."""
    kind: str
    """`file`, `directory`, `symlink`, `hard-link`, `character-device`, `block-device`, `fifo`,
    `socket`; `image` and `object` for sources that hold nothing else."""
    size: int
    """Bytes; of a hard link, those of what it names."""
    mtime_ns: int
    """When its content changed; of an image or object, when the point was taken."""
    mode: int
    """Permission bits; 0 of an image or object, as are its owners."""
    uid: int
    gid: int
    user: str
    group: str
    link: str | None = None
    """Where a symlink points to, or, absolute, the first name of what a hard link names."""


def list_files(view: PointView, pattern: str | None = None) -> Iterator[ListedFile]:
    """Yield what a point holds, in walk order.

    Args:
        view: The point.
        pattern: Only paths that it selects, as a restore would; None yields all.

    Raises:
        UnlockError: nothing at hand opens the point.
        IntegrityError: a page of its index does not open; what came before is true.
    """
    details = view.opened()
    if not isinstance(details.root, TreeRoot):
        return iter((_single(details),))
    return _list_tree(view.reader(), details.root, details.source, pattern)


def _single(details: PointDetails) -> ListedFile:
    kind, _, value = details.source.partition(":")
    return ListedFile(
        path=value,
        kind="image" if kind == "image" else "object",
        size=details.size_bytes,
        mtime_ns=details.taken_at * 1000,
        mode=0,
        uid=0,
        gid=0,
        user="",
        group="",
    )


def _list_tree(
    reader: BlockReader, root: TreeRoot, source: str, pattern: str | None
) -> Iterator[ListedFile]:
    base = source_path(source)
    selection = Selection(() if pattern is None else (pattern,), base)
    scopes = selection.scopes
    scope = None
    if scopes is not None:
        first = root_name(reader, root)
        scope = Scope([(first, *path) for path in scopes])
    for leaf in tree_leaves(reader, root, scope):
        for entry in entries_of(leaf):
            if selection.everything or selection.covers(entry.below):
                yield _listed(reader, root, base, entry)


def _listed(
    reader: BlockReader, root: TreeRoot, base: tuple[bytes, ...], entry: TreeEntry
) -> ListedFile:
    link: str | None = None
    size = _size(entry)
    if entry.kind == EntryKind.SYMLINK:
        link = os.fsdecode(entry.link)
    elif entry.kind == EntryKind.HARD_LINK:
        names = tuple(entry.link.split(b"/"))
        link = absolute(base, names)
        first = find_entry(reader, root, names)
        size = _size(first) if first is not None else 0
    attributes = entry.attributes
    return ListedFile(
        path=absolute(base, entry.below),
        kind=entry.kind.name.lower().replace("_", "-"),
        size=size,
        mtime_ns=attributes.mtime_ns,
        mode=attributes.mode,
        uid=attributes.uid,
        gid=attributes.gid,
        user=attributes.user,
        group=attributes.group,
        link=link,
    )


def _size(entry: TreeEntry) -> int:
    return len(entry.link) if entry.kind == EntryKind.SYMLINK else entry.size


def absolute(base: tuple[bytes, ...], below: tuple[bytes, ...]) -> str:
    """Return the path that an entry had at the source."""
    return "/" + os.fsdecode(b"/".join((*base, *below)))
