"""The content that restoring a tree needs: read ahead, and checked before anything is written."""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from strongroom.engine.blocks_ahead import BlocksAhead
from strongroom.engine.index_reader import (
    Leaf,
    Path,
    Piece,
    TreeEntry,
    entries_of,
    file_pieces,
    part_of,
    paths_using,
    tree_leaves,
    walk_chunks,
)
from strongroom.engine.restore_work import SALVAGE_HINT, SHOWN, RestoreWork
from strongroom.engine.tree_plan import (
    NEW,
    REPLACE,
    TreePlan,
    chosen_blocks,
    chosen_chunk_lists,
    first_of,
)
from strongroom.errors import IntegrityError, PointDamagedError, StrongroomError, with_words
from strongroom.format.block import BlockAddress
from strongroom.model.entry import EntryKind
from strongroom.storage.reading import is_far

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.crypto.content import ContentHasher
    from strongroom.format.index import TreePage
    from strongroom.format.point import TreeRoot

_PAGES_AHEAD: Final = 8
_FAR_PAGES_AHEAD: Final = 512
"""Many pages of small files share a block, and a place elsewhere is asked for many at once."""


def planned_leaves(
    work: RestoreWork, root: TreeRoot, plan: TreePlan, ahead: BlocksAhead
) -> Iterator[tuple[Leaf, bytes | None]]:
    """Yield the pages of a plan; blocks of the next ones are being opened meanwhile."""
    on_gap = (lambda _: None) if work.request.salvage else None
    pages = tree_leaves(work.reader, root, plan.scope, on_gap)
    planned = iter(plan.choices)
    waiting: deque[tuple[Leaf, bytes | None]] = deque()
    most = _FAR_PAGES_AHEAD if is_far(work.view.chain.storage) else _PAGES_AHEAD
    ended = False
    while True:
        while not ended and (not waiting or (len(waiting) < most and ahead.has_room)):
            leaf = next(pages, None)
            pair, choices = next(planned, (None, None))
            if (leaf and leaf.pair) != pair:
                raise PointDamagedError("the storage shows another index than a moment ago")
            if leaf is None:
                ended = True
            else:
                waiting.append((leaf, choices))
                ahead.want(_addresses(work, leaf.page, choices))
        if not waiting:
            return
        yield waiting.popleft()


def _addresses(work: RestoreWork, page: TreePage, choices: bytes | None) -> Iterator[BlockAddress]:
    for pair in chosen_blocks(page, choices):
        yield BlockAddress(*pair)
    for levels, slot, number, size in chosen_chunk_lists(page, choices):
        try:
            for piece in walk_chunks(work.reader, levels, (slot, number), size):
                if piece.address is not None:
                    yield piece.address
        except StrongroomError:
            # Whoever reads the file will meet it, and know what it is about.
            return


def content_of_piece(
    ahead: BlocksAhead, hasher: ContentHasher, name: bytes, piece: Piece
) -> memoryview:
    """Return the content of a piece that is no hole, which is what its hash says.

    Raises:
        IntegrityError: its block does not open, or holds something else.
    """
    assert piece.address is not None
    data = part_of(ahead.take(piece.address), piece.offset, piece.length, os.fsdecode(name))
    if hasher.digest(data) != piece.content_hash:
        raise not_its_content(name, piece.address)
    return data


def not_its_content(name: bytes, address: BlockAddress) -> PointDamagedError:
    return PointDamagedError(
        f"block {address.number} of session {address.slot} opens, but does not hold what the "
        f"index says of {os.fsdecode(name)}",
        slot=address.slot,
        number=address.number,
    )


def concerned_paths(
    work: RestoreWork, root: TreeRoot, plan: TreePlan, error: IntegrityError, met: Path | None
) -> list[str]:
    """Return paths at the target whose content needs what is damaged, `met` first."""
    paths = [plan.landing.path(met)] if met is not None else []
    slot, number = error.fields.get("slot"), error.fields.get("number")
    if isinstance(slot, int) and isinstance(number, int):
        address = BlockAddress(slot, number)
        with suppress(StrongroomError):
            for below in paths_using(work.reader, root, {address}, SHOWN):
                path = plan.landing.path(below)
                if path not in paths:
                    paths.append(path)
    return paths


def check_content(work: RestoreWork, root: TreeRoot, plan: TreePlan) -> None:
    """Open and compare everything that a plan would write.

    Raises:
        IntegrityError: something is damaged.
    """
    _Check(work, root, plan).run()


class _Check:
    def __init__(self, work: RestoreWork, root: TreeRoot, plan: TreePlan) -> None:
        self._work = work
        self._root = root
        self._plan = plan
        self._met: Path | None = None
        """The path whose content is being looked at."""
        self._firsts: set[bytes] = set()

    def run(self) -> None:
        work, plan = self._work, self._plan
        work.progress.begin("check", plan.bytes)
        try:
            with BlocksAhead(work.reader) as ahead:
                for leaf, choices in planned_leaves(work, self._root, plan, ahead):
                    work.cancel.check()
                    for entry in entries_of(leaf):
                        if choices is None or choices[entry.index] in (NEW, REPLACE):
                            self._check_entry(entry, ahead)
                    self._met = None
        except IntegrityError as error:
            paths = concerned_paths(work, self._root, plan, error, self._met)
            words = f"; it concerns {', '.join(paths)}" if paths else ""
            raise with_words(
                error, f"{words}; nothing was restored", SALVAGE_HINT, paths=paths
            ) from error
        work.progress.finish()

    def _check_entry(self, entry: TreeEntry, ahead: BlocksAhead) -> None:
        self._met = entry.below
        if entry.kind == EntryKind.HARD_LINK:
            link = entry.link
            if link in self._firsts or self._plan.selection.covers(tuple(link.split(b"/"))):
                return
            self._firsts.add(link)
            entry = first_of(self._work, self._root, link)
        if entry.kind != EntryKind.FILE:
            return
        work, name = self._work, entry.path[-1]
        for piece in file_pieces(work.reader, entry.page, entry.file):
            if piece.address is not None:
                work.cancel.check()
                content_of_piece(ahead, work.hasher, name, piece)
            work.progress.advance(piece.length)
