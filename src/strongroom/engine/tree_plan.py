"""What restoring a tree will do, found out before anything is written.

One pass over the index, and over what lies at the target: which entries are selected, which
are there already, whether anything is in the way, and whether every page opens and every
pack is there. What comes out is one byte an entry, so a million entries take a megabyte.
"""

from __future__ import annotations

import os
import stat as modes
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from strongroom.engine.index_reader import (
    ROOT,
    Gap,
    Leaf,
    Path,
    Scope,
    TreeEntry,
    attributes_of,
    file_pieces,
    find_entry,
    root_name,
    tree_leaves,
    walk_chunks,
)
from strongroom.engine.object_restore import of_pieces
from strongroom.engine.restore_work import SHOWN, PacksNeeded, RestoreWork
from strongroom.engine.selection import Selection, source_path
from strongroom.engine.target_comparison import has_attributes, holds
from strongroom.engine.target_probe import TargetProbe
from strongroom.errors import (
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    PointDamagedError,
    TargetExistsError,
)
from strongroom.format.index import HOLE, NOT_INLINE, TreePage
from strongroom.model.entry import EntryKind
from strongroom.model.phrases import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path as FilePath

    from strongroom.format.point import TreeRoot

LEFT_OUT: Final = 0
NEW: Final = 1
REPLACE: Final = 2
"""Something else has the name, and makes room."""
SAME: Final = 3
"""It is there already, by size, time and all other attributes, and left as it is."""

_LEAVE: Final = int(EntryKind.LEAVE)
_DIRECTORY: Final = int(EntryKind.DIRECTORY)
_FILE: Final = int(EntryKind.FILE)
_SYMLINK: Final = int(EntryKind.SYMLINK)
_HARD_LINK: Final = int(EntryKind.HARD_LINK)
_FORMATS: Final = {
    int(EntryKind.CHARACTER_DEVICE): modes.S_IFCHR,
    int(EntryKind.BLOCK_DEVICE): modes.S_IFBLK,
    int(EntryKind.FIFO): modes.S_IFIFO,
    int(EntryKind.SOCKET): modes.S_IFSOCK,
}


@dataclass(frozen=True, slots=True)
class Landing:
    """Where in the file system the root of a tree comes to lie."""

    top: FilePath
    """The operator's own path, or the directory around it."""
    way: Path
    """Directories below `top` that are only passed."""
    root_name: bytes | None
    """What the root is called in the last of these; None where it is `top` itself."""

    @classmethod
    def of(cls, target: FilePath, base: Path, *, single: bool, strip: bool) -> Landing:
        """Return where a source read from `base` lands.

        Args:
            target: What the operator said.
            base: The names of the source's own path.
            single: The source is one entry, which brings its own name.
            strip: Leave out the source's path.
        """
        if base and (single or not strip):
            return cls(target, () if strip else base[:-1], base[-1])
        whole = target.resolve()
        if whole == whole.parent:
            return cls(whole, (), None)
        return cls(whole.parent, (), os.fsencode(whole.name))

    @property
    def prefix(self) -> Path:
        """The names from `top` to the root of the tree."""
        return self.way if self.root_name is None else (*self.way, self.root_name)

    def path(self, below: Sequence[bytes]) -> str:
        """Return where a path below the root comes to lie."""
        return os.fsdecode(b"/".join((os.fsencode(self.top).rstrip(b"/"), *self.prefix, *below)))


@dataclass(slots=True)
class TreePlan:
    """What a restore will do."""

    landing: Landing
    selection: Selection
    scope: Scope | None
    fresh: bool
    """Nothing was at the target, so all that will be there comes from this restore."""
    choices: list[tuple[tuple[int, int], bytes | None]] = field(default_factory=list)
    """Of each page of the walk: its address, and one byte an entry; None where all is new."""
    files: int = 0
    bytes: int = 0


def plan_tree(work: RestoreWork, root: TreeRoot) -> TreePlan:
    """Find out what a restore will do; writes nothing.

    Raises:
        IntegrityError: a page does not open or a pack is missing, unless it is a salvage.
        TargetExistsError: something is in the way.
        NotFoundError: a pattern matches nothing.
    """
    return _Planner(work, root).run()


class _Planner:
    def __init__(self, work: RestoreWork, root: TreeRoot) -> None:
        request = work.request
        assert request.target is not None
        self._work = work
        self._root = root
        base = source_path(work.details.source)
        first = root_name(work.reader, root)
        single = first != ROOT
        if single and not base:
            raise PointDamagedError("the point holds a single entry, and its source has no name")
        self._selection = Selection(request.include, base)
        scopes = self._selection.scopes
        scope = None if scopes is None else Scope([(first, *path) for path in scopes])
        self._probe = TargetProbe(request.target)
        self._plan = TreePlan(
            Landing.of(request.target, base, single=single, strip=request.strip),
            self._selection,
            scope,
            fresh=self._probe.is_empty(),
        )
        self._enters_root = bool(base) and not request.strip
        self._packs = PacksNeeded(work)
        self._conflicts: list[str] = []
        self._conflict_count = 0
        self._names: list[bytes] = []
        self._blocked: list[bool] = []
        """Of each open directory: whether something else has its name at the target."""
        self._chosen_at = -1
        """Depth at which a directory was selected, and with it all below; -1: none is."""
        self._firsts: set[bytes] = set()

    def run(self) -> TreePlan:
        work, plan = self._work, self._plan
        on_gap = self._lose if work.request.salvage else None
        reads_files = (
            work.request.verify and work.request.overwrite == "if-different" and not plan.fresh
        )
        if reads_files:
            work.progress.begin("compare")
        try:
            self._pass_way()
            for leaf in tree_leaves(work.reader, self._root, plan.scope, on_gap):
                work.cancel.check()
                plan.choices.append((leaf.pair, self._judge(leaf)))
            self._packs.look_up()
        finally:
            self._probe.close()
        if reads_files:
            work.progress.finish()
        unmet = self._selection.unmet()
        if unmet:
            raise NotFoundError(
                f"the point holds nothing that matches {', '.join(unmet[:SHOWN])}",
                hint="'strongroom point files' shows what it holds",
                patterns=unmet,
            )
        if self._conflict_count:
            shown = ", ".join(self._conflicts)
            more = self._conflict_count - len(self._conflicts)
            raise TargetExistsError(
                f"there already: {counted(self._conflict_count, 'path')}, so nothing was restored: "
                f"{shown}{f' and {more} more' if more else ''}",
                paths=self._conflicts,
                count=self._conflict_count,
            )
        return plan

    def _pass_way(self) -> None:
        """Go to where the source's root will lie."""
        if self._plan.fresh:
            return
        for name in self._plan.landing.way if self._enters_root else ():
            st = self._probe.existing(name)
            if st is not None and not modes.S_ISDIR(st.st_mode):
                path = self._plan.landing.path(())
                raise TargetExistsError(
                    f"cannot restore to {path}: {os.fsdecode(name)} on the way is no directory",
                    path=path,
                )
            self._probe.enter(name)

    def _lose(self, gap: Gap) -> None:
        where = self._plan.landing.path(gap.before[1:])
        self._work.lose(where, f"entries in and below it, of unknown names: {gap.error}")

    # --- pages -----------------------------------------------------------------------------

    def _judge(self, leaf: Leaf) -> bytes | None:
        """Return what becomes of each entry of a page."""
        plan, page = self._plan, leaf.page
        if plan.fresh and self._selection.everything and not self._work.request.dry_run:
            plan.files += len(page.sizes)
            plan.bytes += sum(page.sizes)
            self._packs.need(page.blocks)
            self._need_chunks(page)
            return None
        if tuple(self._names) != leaf.before:
            self._go_to(leaf.before)
        choices = bytearray(len(page.kinds))
        file = -1
        for index, kind in enumerate(page.kinds):
            if kind == _LEAVE:
                self._leave()
                continue
            name = page.names[index]
            if kind == _FILE:
                file += 1
            chosen = self._chosen_at >= 0 or self._selection.matches(self._below(name))
            if chosen:
                choices[index] = self._choose(page, index, file, kind, name)
            if kind == _DIRECTORY:
                self._enter(name, chosen=chosen)
        self._need(page, choices)
        return bytes(choices)

    def _go_to(self, before: Path) -> None:
        """Follow the walk over pages that were left out, or do not open."""
        kept = shared_depth(self._names, before)
        while len(self._names) > kept:
            self._leave()
        for name in before[kept:]:
            chosen = self._chosen_at >= 0 or self._selection.matches(self._below(name))
            self._enter(name, chosen=chosen)

    def _enter(self, name: bytes, *, chosen: bool) -> None:
        depth = len(self._names)
        if chosen and self._chosen_at < 0:
            self._chosen_at = depth
        blocked = False
        if not self._plan.fresh:
            step = self._step(name)
            if step is not None:
                st = self._probe.existing(step)
                blocked = st is not None and not modes.S_ISDIR(st.st_mode) and not chosen
                self._probe.enter(step)
        self._names.append(name)
        self._blocked.append(blocked)

    def _leave(self) -> None:
        name = self._names.pop()
        self._blocked.pop()
        if self._chosen_at == len(self._names):
            self._chosen_at = -1
        if not self._plan.fresh and self._step(name) is not None:
            self._probe.leave()

    def _step(self, name: bytes) -> bytes | None:
        """Return what a directory is called at the target; None where that is entered already."""
        if self._names:
            return name
        if name == ROOT and not self._enters_root:
            return None
        return self._plan.landing.root_name

    def _below(self, name: bytes) -> Path:
        """Return an entry's path below the root."""
        return (*self._names[1:], name) if self._names else ()

    # --- entries ---------------------------------------------------------------------------

    def _choose(self, page: TreePage, index: int, file: int, kind: int, name: bytes) -> int:
        """Return what becomes of a selected entry."""
        choice = NEW
        if not self._plan.fresh:
            choice = self._compare(page, index, file, kind, name)
            if any(self._blocked):
                self._conflict(name)
        if kind == _FILE and choice != SAME:
            self._plan.files += 1
            self._plan.bytes += page.sizes[file]
        elif kind == _HARD_LINK and not self._selection.everything:
            self._need_first(page.links[index])
        if self._work.request.dry_run and choice != SAME:
            self._work.result.would.append(self._plan.landing.path(self._below(name)))
        return choice

    def _compare(self, page: TreePage, index: int, file: int, kind: int, name: bytes) -> int:
        """Return what becomes of an entry beside what lies at the target."""
        step = self._step(name)
        st = None if step is None else self._probe.existing(step)
        if st is None or step is None:
            return NEW
        overwrite = self._work.request.overwrite
        is_directory = modes.S_ISDIR(st.st_mode)
        if kind == _DIRECTORY and is_directory:
            return NEW
        if overwrite == "never" or is_directory:
            # Whatever was asked for, no directory makes room for something else.
            self._conflict(name)
            return NEW
        if overwrite == "if-different" and self._is_same(page, index, file, kind, step, st):
            if kind == _FILE:
                self._work.result.unchanged += 1
            return SAME
        return REPLACE

    def _is_same(
        self, page: TreePage, index: int, file: int, kind: int, name: bytes, st: os.stat_result
    ) -> bool:
        if kind == _FILE:
            same = modes.S_ISREG(st.st_mode) and st.st_size == page.sizes[file]
        elif kind == _SYMLINK:
            same = self._probe.link(name) == page.links[index]
        elif kind in _FORMATS:
            same = modes.S_IFMT(st.st_mode) == _FORMATS[kind]
            same = same and st.st_rdev == page.devices.get(index, st.st_rdev)
        else:
            same = False
        own = attributes_of(page.attributes[page.rows[index]], page.mtimes[index])
        if not same or not has_attributes(self._probe, name, st, own):
            return False
        return kind != _FILE or not self._work.request.verify or self._holds(page, file, name)

    def _holds(self, page: TreePage, file: int, name: bytes) -> bool:
        """Tell whether a file that would be left as it is has the content of the point."""
        work = self._work
        try:
            pieces = of_pieces(file_pieces(work.reader, page, file))
            return holds(self._probe, name, pieces, page.sizes[file], work)
        except IntegrityError:
            # A salvage says of the file what is lost.
            if work.request.salvage:
                return False
            raise

    def _conflict(self, name: bytes) -> None:
        self._conflict_count += 1
        if len(self._conflicts) < SHOWN:
            self._conflicts.append(self._plan.landing.path(self._below(name)))

    # --- blocks ----------------------------------------------------------------------------

    def _need(self, page: TreePage, choices: bytearray) -> None:
        """Look up the packs of the files that will be written."""
        self._packs.need(chosen_blocks(page, choices))
        for levels, slot, number, size in chosen_chunk_lists(page, choices):
            self._need_chunk_list(levels, (slot, number), size)

    def _need_chunks(self, page: TreePage) -> None:
        if page.chunk_lists:
            for levels, slot, number, size in chosen_chunk_lists(page, None):
                self._need_chunk_list(levels, (slot, number), size)

    def _need_chunk_list(self, levels: int, pair: tuple[int, int], size: int) -> None:
        # In a salvage, what does not open shows when the file is written.
        on_gap = (lambda _: None) if self._work.request.salvage else None
        self._packs.need(
            piece.address
            for piece in walk_chunks(self._work.reader, levels, pair, size, on_gap)
            if piece.address is not None
        )

    def _need_first(self, link: bytes) -> None:
        """Look up the content of a hard link whose first name is not selected."""
        first = tuple(link.split(b"/"))
        if link in self._firsts or self._selection.covers(first):
            return
        self._firsts.add(link)
        try:
            entry = first_of(self._work, self._root, link)
        except IntegrityError:
            if self._work.request.salvage:
                return
            raise
        if entry.kind != EntryKind.FILE:
            return
        self._plan.files += 1
        self._plan.bytes += entry.size
        alone = bytearray(len(entry.page.kinds))
        alone[entry.index] = NEW
        self._need(entry.page, alone)


def first_of(work: RestoreWork, root: TreeRoot, link: bytes) -> TreeEntry:
    """Return what a hard link is a further name of: anything but a directory.

    Raises:
        PointDamagedError: the point holds no such entry.
    """
    entry = find_entry(work.reader, root, tuple(link.split(b"/")))
    if entry is None or entry.kind in (EntryKind.DIRECTORY, EntryKind.HARD_LINK):
        raise PointDamagedError(
            f"a hard link is one to {os.fsdecode(link)}, and the point holds no such entry"
        )
    return entry


def chosen_blocks(page: TreePage, choices: bytes | bytearray | None) -> Iterator[tuple[int, int]]:
    """Yield the blocks of a page's inline pieces, in order, as far as its files are chosen."""
    if choices is None:
        yield from page.blocks
        return
    if not page.piece_blocks or not any(choices):
        return
    at = file = 0
    last = HOLE
    for kind, choice in zip(page.kinds, choices, strict=True):
        if kind != _FILE:
            continue
        count = page.counts[file]
        file += 1
        if count <= 0:
            continue
        if choice in (NEW, REPLACE):
            for block in page.piece_blocks[at : at + count]:
                if block not in (HOLE, last):
                    yield page.blocks[block]
                    last = block
        at += count


def chosen_chunk_lists(
    page: TreePage, choices: bytes | bytearray | None
) -> Iterator[tuple[int, int, int, int]]:
    """Yield levels, address and size of the chunk lists of the files that are chosen."""
    if not page.chunk_lists:
        return
    chunk = file = 0
    for index, kind in enumerate(page.kinds):
        if kind != _FILE:
            continue
        if page.counts[file] == NOT_INLINE:
            if choices is None or choices[index] in (NEW, REPLACE):
                yield (*page.chunk_lists[chunk], page.sizes[file])
            chunk += 1
        file += 1


def shared_depth(names: Sequence[bytes], others: Sequence[bytes]) -> int:
    """Return how many names both begin with."""
    depth = 0
    for own, other in zip(names, others, strict=False):
        if own != other:
            break
        depth += 1
    return depth


def check_include(work: RestoreWork) -> None:
    """Refuse patterns where there are no paths to choose from.

    Raises:
        InvalidInputError: some were given.
    """
    if work.request.include:
        raise InvalidInputError(
            "this point is a single object and is restored whole", hint="leave --include out"
        )
