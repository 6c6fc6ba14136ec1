"""Restoring a tree of files.

One thread goes through the index and writes, entry by entry in walk order; blocks are opened
ahead of it by others. Nothing is made into an object on the way but what the target takes.

What is damaged. Before anything is written, every page of the index has been opened, and
every pack that is needed has been looked up. Blocks are opened when their content is written,
since opening all of them first would double the work. One that does not open ends the restore:

* no file is ever left half written under its own name;
* where the target was empty, everything this restore wrote is removed again;
* elsewhere the files before the damaged one, in walk order, stay, and the error names the
  last of them: everything up to it is whole, and nothing behind it was touched.

A salvage goes on instead. A file that lost a part is left as `<name>.damaged-<point>`, with a
hole for each part that was lost, and every loss is named.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NoReturn

from strongroom.engine.blocks_ahead import BlocksAhead
from strongroom.engine.index_reader import (
    ROOT,
    Leaf,
    Path,
    Piece,
    TreeEntry,
    attributes_of,
    file_pieces,
    part_of,
    tree_leaves,
    walk_chunks,
    walk_tree,
)
from strongroom.engine.restore_work import SHOWN, RestoreWork
from strongroom.engine.target import TreeTarget
from strongroom.engine.target_probe import remove_all
from strongroom.engine.tree_plan import (
    LEFT_OUT,
    NEW,
    REPLACE,
    SAME,
    TreePlan,
    chosen_blocks,
    chosen_chunk_lists,
    first_of,
    plan_tree,
    shared_depth,
)
from strongroom.errors import IntegrityError, PointDamagedError, RefusedError, StrongroomError
from strongroom.format.block import BlockAddress
from strongroom.format.index import HOLE, TreePage
from strongroom.model.entry import Attributes, EntryKind
from strongroom.sources.base import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path as FilePath

    from strongroom.crypto.content import ContentHasher
    from strongroom.format.point import TreeRoot

_LEAVE: Final = int(EntryKind.LEAVE)
_DIRECTORY: Final = int(EntryKind.DIRECTORY)
_FILE: Final = int(EntryKind.FILE)
_SYMLINK: Final = int(EntryKind.SYMLINK)
_HARD_LINK: Final = int(EntryKind.HARD_LINK)

_PAGES_AHEAD: Final = 8
_LONGEST_NAME: Final = 255
_NO_HARD_LINKS: Final = frozenset(
    {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
)


def restore_tree(work: RestoreWork, root: TreeRoot) -> TreePlan:
    """Restore a tree, or what of it was selected.

    Raises:
        IntegrityError: something is damaged, and it is no salvage.
        TargetExistsError: something is in the way; nothing was written.
        NotFoundError: a pattern matches nothing; nothing was written.
    """
    plan = plan_tree(work, root)
    if not work.request.dry_run:
        _TreeRestore(work, root, plan).run()
    return plan


class _TreeRestore:
    def __init__(self, work: RestoreWork, root: TreeRoot, plan: TreePlan) -> None:
        self._work = work
        self._root = root
        self._plan = plan
        self._hasher: ContentHasher = work.view.hasher()
        self._undo = _Undo(work.request.target) if plan.fresh else None
        self._suffix = b".damaged-" + work.view.id[:8].encode("ascii")
        self._sets_attributes = plan.fresh or work.request.overwrite != "never"
        # The directories that the walk is in, and how many of them the target is in.
        self._names: list[bytes] = []
        self._choices: list[int] = []
        self._attributes: list[Attributes | None] = []
        self._made: list[bool] = []
        self._last_file: Path | None = None
        self._firsts: dict[bytes, Path] = {}
        """Files that were restored only for their further names, and as what."""
        self._lost: set[bytes] = set()
        """Files of which nothing whole is there, as hard links name them."""

    def run(self) -> None:
        """Write everything that the plan says."""
        work, plan = self._work, self._plan
        work.progress.begin("restore", plan.bytes)
        target = self._target = TreeTarget(
            plan.landing.top, report=work.warn, restore_owners=os.geteuid() == 0
        )
        try:
            with BlocksAhead(work.reader) as self._ahead:
                for name in plan.landing.way:
                    target.enter(name)
                for leaf, choices in self._leaves():
                    work.cancel.check()
                    if tuple(self._names) != leaf.before:
                        self._go_to(leaf.before)
                    self._write(leaf, choices)
                self._go_to(())
                for _ in plan.landing.way:
                    target.leave(None)
            target.finish()
        except IntegrityError as error:
            self._stop()
            self._fail_damaged(error)
        except StrongroomError as error:
            self._stop()
            raise self._told(error) from error
        except BaseException:
            self._stop()
            raise
        work.progress.finish()

    # --- pages -----------------------------------------------------------------------------

    def _leaves(self) -> Iterator[tuple[Leaf, bytes | None]]:
        """Yield the pages of the plan; blocks of the next ones are being opened meanwhile."""
        work, plan = self._work, self._plan
        on_gap = (lambda _: None) if work.request.salvage else None
        pages = tree_leaves(work.reader, self._root, plan.scope, on_gap)
        planned = iter(plan.choices)
        waiting: deque[tuple[Leaf, bytes | None]] = deque()
        ended = False
        while True:
            while not ended and (
                not waiting or (len(waiting) < _PAGES_AHEAD and self._ahead.has_room)
            ):
                leaf = next(pages, None)
                pair, choices = next(planned, (None, None))
                if (leaf and leaf.pair) != pair:
                    raise PointDamagedError("the storage shows another index than a moment ago")
                if leaf is None:
                    ended = True
                else:
                    waiting.append((leaf, choices))
                    self._ahead.want(self._addresses(leaf.page, choices))
            if not waiting:
                return
            yield waiting.popleft()

    def _addresses(self, page: TreePage, choices: bytes | None) -> Iterator[BlockAddress]:
        for pair in chosen_blocks(page, choices):
            yield BlockAddress(*pair)
        for levels, slot, number, size in chosen_chunk_lists(page, choices):
            try:
                for piece in walk_chunks(self._work.reader, levels, (slot, number), size):
                    if piece.address is not None:
                        yield piece.address
            except StrongroomError:
                # Whoever writes the file will meet it, and know what it is about.
                return

    def _write(self, leaf: Leaf, choices: bytes | None) -> None:
        """Write the entries of one page."""
        # Everything an entry needs is a local: this loop is the speed of a whole restore.
        page = leaf.page
        target, result, salvage = self._target, self._work.result, self._work.request.salvage
        names, mtimes, rows, attributes = page.names, page.mtimes, page.rows, page.attributes
        sizes, counts, blocks, piece_blocks = (
            page.sizes,
            page.counts,
            page.blocks,
            page.piece_blocks,
        )
        offsets, lengths, hashes = page.piece_offsets, page.piece_lengths, page.piece_hashes
        digest, take = self._hasher.digest, self._ahead.take
        small_file = target.small_file
        opened, raw, view = HOLE, b"", memoryview(b"")
        file = piece = next_piece = 0
        written = 0
        files_before = result.files
        for index, kind in enumerate(page.kinds):
            if kind == _LEAVE:
                self._leave()
                continue
            if kind == _FILE:
                file += 1
                count = counts[file - 1]
                piece = next_piece
                if count > 0:
                    next_piece += count
            choice = NEW if choices is None else choices[index]
            name = names[index]
            if kind == _DIRECTORY:
                own = attributes_of(attributes[rows[index]], mtimes[index])
                self._go_into(name, choice, own)
                continue
            if choice in (LEFT_OUT, SAME):
                continue
            if len(self._made) < len(self._names):
                self._enter_all()
            if not self._names:
                name = self._plan.landing.root_name or name
            own = attributes_of(attributes[rows[index]], mtimes[index])
            try:
                if kind != _FILE:
                    self._write_other(page, index, kind, name, own, choice)
                    continue
                size = sizes[file - 1]
                if count == 1 and piece_blocks[piece] != HOLE:
                    block = piece_blocks[piece]
                    if block != opened:
                        opened = HOLE
                        raw = take(BlockAddress(*blocks[block]))
                        view = memoryview(raw)
                        opened = block
                    offset = offsets[piece]
                    data = view[offset : offset + size]
                    if (
                        len(data) != size
                        or lengths[piece] != size
                        or digest(data) != hashes[32 * piece : 32 * piece + 32]
                    ):
                        raise _not_its_content(BlockAddress(*blocks[block]))
                    small_file(name, data, own, replace=choice == REPLACE)
                elif count == 0:
                    small_file(name, b"", own, replace=choice == REPLACE)
                else:
                    pieces = file_pieces
                    self._write_large(page, file - 1, name, own, choice)
            except IntegrityError as error:
                if not salvage:
                    self._damaged_path = (*self._names[1:], names[index])
                    raise
                self._lose(names[index], str(error))
            else:
                written += size
                result.files += 1
                self._last_file = (*self._names[1:], names[index])
        result.bytes += written
        self._work.progress.advance(written, result.files - files_before)
