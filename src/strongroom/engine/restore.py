"""Restoring a point: a tree or a part of it, a disk, what a command printed.

What is written, in which order, and what damage does, stands where it is done: `tree_restore`
and `object_restore`. Here is decided which of them it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.engine.index_reader import (
    ROOT,
    OnContentGap,
    Scope,
    TreeEntry,
    entries_of,
    file_pieces,
    root_name,
    tree_leaves,
)
from strongroom.engine.memory import keep_large_buffers
from strongroom.engine.object_restore import (
    Run,
    of_pieces,
    refuse_stream_options,
    restore_object,
    runs,
    stream_runs,
)
from strongroom.engine.read_back import read_back_object, read_back_tree
from strongroom.engine.restore_work import (
    SHOWN,
    Loss,
    Overwrite,
    RestoreRequest,
    RestoreResult,
    RestoreWork,
)
from strongroom.engine.selection import Selection, source_path
from strongroom.engine.tree_plan import check_include, first_of
from strongroom.engine.tree_restore import restore_tree
from strongroom.errors import InvalidInputError, NotFoundError
from strongroom.format.point import TreeRoot
from strongroom.model.entry import EntryKind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from strongroom.engine.cancellation import Cancellation
    from strongroom.engine.points import PointView
    from strongroom.engine.progress import Progress

__all__ = ["Loss", "Overwrite", "RestoreRequest", "RestoreResult", "restore"]


def restore(
    view: PointView,
    request: RestoreRequest,
    *,
    progress: Progress,
    cancel: Cancellation,
    stream: BinaryIO | None = None,
) -> RestoreResult:
    """Restore a point, or what of it was asked for.

    Args:
        view: The point.
        request: What, and where to.
        progress: Is told how it goes.
        cancel: Stops it between two blocks.
        stream: Takes the bytes where the request has no target.

    Returns:
        What was done. After a salvage that lost something, `error()` of it is what the
        command ends with.

    Raises:
        UnlockError: nothing at hand opens the point, or its data.
        IntegrityError: something is damaged, and it is no salvage; see `tree_restore` and
            `object_restore` for what is left then.
        TargetExistsError: something is in the way; nothing was written.
        NotFoundError: a pattern matches nothing; nothing was written.
        RefusedError: the target refused something.
        CancelledError: on request.
    """
    keep_large_buffers()
    work = RestoreWork(view, request, progress, cancel)
    root = work.details.root
    if request.target is None:
        if stream is None:
            raise ValueError("a restore without a target needs a stream")
        refuse_stream_options(work)
        _to_stream(work, stream)
    elif isinstance(root, TreeRoot):
        plan = restore_tree(work, root)
        if request.verify and not request.dry_run:
            read_back_tree(work, root, plan)
    else:
        check_include(work)
        restore_object(work, root)
        if request.verify and not request.dry_run:
            read_back_object(work, root)
    return work.finished()


def _to_stream(work: RestoreWork, stream: BinaryIO) -> None:
    """Write the one object that was asked for."""
    root = work.details.root
    if not isinstance(root, TreeRoot):
        check_include(work)

        def walk(on_gap: OnContentGap | None) -> Iterator[Run]:
            return runs(work, root, on_gap)

        stream_runs(work, root.size, walk, stream, work.details.source)
        return
    entry = _only_file(work, root)

    def walk_file(on_gap: OnContentGap | None) -> Iterator[Run]:
        return of_pieces(file_pieces(work.reader, entry.page, entry.file, on_gap))

    name = b"/".join((*source_path(work.details.source), *entry.below))
    stream_runs(work, entry.size, walk_file, stream, "/" + name.decode(errors="backslashreplace"))


def _only_file(work: RestoreWork, root: TreeRoot) -> TreeEntry:
    """Return the one file that the patterns select.

    Raises:
        NotFoundError: they select none.
        InvalidInputError: they select several, or something else than a file.
    """
    selection = Selection(work.request.include, source_path(work.details.source))
    first = root_name(work.reader, root)
    scopes = selection.scopes
    if first == ROOT and selection.everything:
        raise InvalidInputError(
            "a stream takes one file, and the point holds a tree", hint="name it with --include"
        )
    scope = None if scopes is None else Scope([(first, *path) for path in scopes])
    found: list[TreeEntry] = []
    for leaf in tree_leaves(work.reader, root, scope):
        work.cancel.check()
        found.extend(
            entry
            for entry in entries_of(leaf)
            if entry.kind != EntryKind.DIRECTORY and selection.covers(entry.below)
        )
        if len(found) > 1:
            break
    if not found:
        raise NotFoundError(
            f"the point holds no file that matches {', '.join(work.request.include[:SHOWN])}",
            hint="'strongroom point files' shows what it holds",
        )
    entry = found[0]
    if entry.kind == EntryKind.HARD_LINK:
        entry = first_of(work, root, entry.link)
    if len(found) > 1 or entry.kind != EntryKind.FILE:
        raise InvalidInputError(
            "a stream takes one regular file, and the patterns select more or something else",
            hint="name the file's whole path with --include",
        )
    return entry
