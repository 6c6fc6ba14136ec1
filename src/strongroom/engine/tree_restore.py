"""Restoring a tree of files.

One thread goes through the index and writes, entry by entry in walk order; blocks are opened
ahead of it by others. Nothing is made into an object on the way but what the target takes.

What is damaged. Before anything is written, every page of the index has been opened, and
every pack that is needed has been looked up. Damage restores nothing:

* where the target was empty, blocks are opened when their content is written, and when one
  does not open everything that this restore wrote is removed again;
* elsewhere nothing could be taken back, so all content is opened and compared before, which
  reads it twice. What is damaged since then ends the restore where it is met: no file is left
  half written under its own name, and the error names the last of the files that are whole.

A salvage goes on instead. A file that lost a part is left as `<name>.damaged-<point>`, with a
hole for each part that was lost, and every loss is named.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn

from strongroom.engine.blocks_ahead import BlocksAhead
from strongroom.engine.index_reader import (
    ROOT,
    ContentGap,
    Leaf,
    Path,
    attributes_of,
    file_pieces,
)
from strongroom.engine.restore_work import SALVAGE_HINT, SHOWN, RestoreWork
from strongroom.engine.target import TreeTarget
from strongroom.engine.target_probe import remove_all
from strongroom.engine.tree_content import (
    check_content,
    concerned_paths,
    content_of_piece,
    not_its_content,
    planned_leaves,
)
from strongroom.engine.tree_plan import (
    LEFT_OUT,
    NEW,
    REPLACE,
    SAME,
    TreePlan,
    first_of,
    plan_tree,
    shared_depth,
)
from strongroom.errors import (
    E,
    IntegrityError,
    PointDamagedError,
    RefusedError,
    StrongroomError,
    with_words,
)
from strongroom.format.block import BlockAddress
from strongroom.format.index import HOLE, TreePage
from strongroom.model.entry import Attributes, EntryKind
from strongroom.sources.base import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path as FilePath

    from strongroom.format.point import TreeRoot

_LEAVE: Final = int(EntryKind.LEAVE)
_DIRECTORY: Final = int(EntryKind.DIRECTORY)
_FILE: Final = int(EntryKind.FILE)
_SYMLINK: Final = int(EntryKind.SYMLINK)
_HARD_LINK: Final = int(EntryKind.HARD_LINK)

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
        if not plan.fresh and not work.request.salvage:
            check_content(work, root, plan)
        _TreeRestore(work, root, plan).run()
    return plan


class _TreeRestore:
    def __init__(self, work: RestoreWork, root: TreeRoot, plan: TreePlan) -> None:
        self._work = work
        self._root = root
        self._plan = plan
        self._hasher = work.hasher
        assert work.request.target is not None
        self._undo = _Undo(work.request.target) if plan.fresh else None
        self._suffix = b".damaged-" + work.view.id[:8].encode("ascii")
        self._sets_attributes = plan.fresh or work.request.overwrite != "never"
        # The directories that the walk is in, and how many of them the target is in.
        self._names: list[bytes] = []
        self._choices: list[int] = []
        self._attributes: list[Attributes | None] = []
        self._made: list[bool] = []
        self._ways = 0
        self._last: Path | None = None
        self._damaged: Path | None = None
        """The path whose content did not open."""
        self._firsts: dict[bytes, Path] = {}
        """Entries that were restored only for their further names, and as what."""
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
                    self._ways += 1
                for leaf, choices in planned_leaves(work, self._root, plan, self._ahead):
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

    def _write(self, leaf: Leaf, choices: bytes | None) -> None:
        """Write the entries of one page."""
        # Everything an entry needs is a local: this loop is the speed of a whole restore.
        page = leaf.page
        result, salvage = self._work.result, self._work.request.salvage
        names, mtimes, rows, row_of = page.names, page.mtimes, page.attributes, page.rows
        sizes, counts, offsets = page.sizes, page.counts, page.piece_offsets
        blocks, piece_blocks, hashes = page.blocks, page.piece_blocks, page.piece_hashes
        digest, take, small_file = self._hasher.digest, self._ahead.take, self._target.small_file
        opened, view = HOLE, memoryview(b"")
        file = next_piece = size = piece = count = 0
        written = 0
        files_before = result.files
        for index, kind in enumerate(page.kinds):
            if kind == _LEAVE:
                self._leave()
                continue
            if kind == _FILE:
                size, count, piece = sizes[file], counts[file], next_piece
                file += 1
                if count > 0:
                    next_piece += count
            choice = NEW if choices is None else choices[index]
            name = names[index]
            if kind == _DIRECTORY:
                self._go_into(name, choice, attributes_of(rows[row_of[index]], mtimes[index]))
                continue
            if choice in (LEFT_OUT, SAME):
                continue
            if self._entered < len(self._names):
                self._enter_all()
            own = attributes_of(rows[row_of[index]], mtimes[index])
            try:
                if kind != _FILE:
                    self._write_other(page, index, kind, name, own, choice)
                    continue
                if count == 1 and piece_blocks[piece] != HOLE:
                    block = piece_blocks[piece]
                    if block != opened:
                        opened = HOLE
                        view = memoryview(take(BlockAddress(*blocks[block])))
                        opened = block
                    data = view[offsets[piece] : offsets[piece] + size]
                    if digest(data) != hashes[32 * piece : 32 * piece + 32]:
                        raise not_its_content(name, BlockAddress(*blocks[block]))
                elif count == 0:
                    data = view[:0]
                else:
                    self._write_pieces(page, file - 1, name, own, choice)
                    continue
                small_file(self._name_of(name), data, own, replace=choice == REPLACE)
            except IntegrityError as error:
                if not salvage:
                    self._damaged = self._below(name)
                    raise
                self._lose(name, str(error))
            else:
                written += size
                result.files += 1
                self._last = self._below(name)
        result.bytes += written
        self._work.progress.advance(written, result.files - files_before)

    # --- directories -----------------------------------------------------------------------

    def _go_to(self, before: Path) -> None:
        """Follow the walk over pages that were left out, or do not open."""
        kept = shared_depth(self._names, before)
        while len(self._names) > kept:
            self._leave()
        for name in before[kept:]:
            self._go_into(name, LEFT_OUT, None)

    def _go_into(self, name: bytes, choice: int, attributes: Attributes | None) -> None:
        """Follow the walk into a directory; the target follows once something is written."""
        self._names.append(name)
        self._choices.append(choice)
        self._attributes.append(attributes)
        if choice != LEFT_OUT:
            self._enter_all()

    def _enter_all(self) -> None:
        """Enter, at the target, the directories that the walk is in."""
        target = self._target
        while self._entered < len(self._names):
            depth = self._entered
            name: bytes | None = self._names[depth]
            if depth == 0:
                name = self._plan.landing.root_name
            made = False
            if name is not None:
                if self._choices[depth] == REPLACE:
                    target.remove(name)
                made = target.enter(name)
            self._made.append(made)

    @property
    def _entered(self) -> int:
        return len(self._made)

    def _leave(self) -> None:
        name = self._names.pop()
        choice = self._choices.pop()
        attributes = self._attributes.pop()
        if self._entered <= len(self._names):
            return
        made = self._made.pop()
        if not self._names and name == ROOT and self._plan.landing.root_name is None:
            return
        keeps = not made and (choice == LEFT_OUT or not self._sets_attributes)
        self._target.leave(None if keeps else attributes)

    # --- entries ---------------------------------------------------------------------------

    def _name_of(self, name: bytes) -> bytes:
        """Return what an entry is called at the target."""
        return name if self._names else self._plan.landing.root_name or name

    def _below(self, name: bytes) -> Path:
        """Return an entry's path below the root."""
        return (*self._names[1:], name) if self._names else ()

    def _path(self, name: bytes) -> str:
        return self._plan.landing.path(self._below(name))

    def _write_other(
        self, page: TreePage, index: int, kind: int, name: bytes, own: Attributes, choice: int
    ) -> None:
        """Write what is no file and no directory."""
        if kind == _HARD_LINK:
            self._write_link(name, page.links[index], choice)
            return
        target, name = self._target, self._name_of(name)
        if choice == REPLACE:
            target.remove(name)
        if kind == _SYMLINK:
            target.symlink(name, page.links[index], own)
        else:
            target.special(EntryKind(kind), name, page.devices.get(index, 0), own)

    def _write_link(self, name: bytes, link: bytes, choice: int) -> None:
        """Write a further name of an entry, or the entry if its first name is left out."""
        if link in self._lost:
            raise PointDamagedError(f"a further name of {os.fsdecode(link)}, which was lost")
        first: Path | None = (*self._plan.landing.prefix, *link.split(b"/"))
        if link in self._firsts:
            first = self._firsts[link]
        elif not self._plan.selection.covers(tuple(link.split(b"/"))):
            first = None
        if first is None:
            if self._write_first(link, name, choice):
                self._firsts[link] = (*self._plan.landing.prefix, *self._below(name))
            return
        if choice == REPLACE:
            self._target.remove(name)
        try:
            self._target.hard_link(name, first)
        except RefusedError as error:
            number = error.__cause__.errno if isinstance(error.__cause__, OSError) else None
            # Where the index is in order, what a link leads to was restored before it, unless
            # none such can be made here.
            if number == errno.ENOENT and first_of(self._work, self._root, link).file < 0:
                self._write_first(link, name, NEW)
                return
            if number not in _NO_HARD_LINKS:
                raise
            self._work.warn(
                Problem(os.fsencode(self._path(name)), "is an entry of its own: no links here")
            )
            self._write_first(link, name, NEW)

    def _write_first(self, link: bytes, name: bytes, choice: int) -> bool:
        """Write under `name` what a hard link names; tell whether it is whole."""
        first = first_of(self._work, self._root, link)
        if first.kind == EntryKind.FILE:
            return self._write_pieces(first.page, first.file, name, first.attributes, choice)
        self._write_other(first.page, first.index, first.kind, name, first.attributes, choice)
        return True

    def _write_pieces(
        self, page: TreePage, file: int, name: bytes, own: Attributes, choice: int
    ) -> bool:
        """Write a file piece by piece; tell whether it is whole."""
        work = self._work
        size = page.sizes[file]
        lost: list[str] = []
        on_gap = None
        if work.request.salvage:

            def on_gap(gap: ContentGap) -> None:
                lost.append(_lost_range(gap.position, gap.length, gap.error))

        work.progress.reading(self._path(name))
        writer = self._target.file(self._name_of(name), replace=choice == REPLACE)
        wrote = False
        try:
            for piece in file_pieces(work.reader, page, file, on_gap):
                work.cancel.check()
                if piece.address is not None:
                    try:
                        data = content_of_piece(self._ahead, self._hasher, name, piece)
                    except IntegrityError as error:
                        if not work.request.salvage:
                            raise
                        lost.append(_lost_range(piece.position, piece.length, error))
                        continue
                    writer.write_at(piece.position, data)
                    wrote = True
                work.progress.advance(piece.length)
        except BaseException:
            writer.abandon()
            raise
        if not lost:
            writer.finish(size, own)
            work.result.files += 1
            work.result.bytes += size
            work.progress.advance(files=1)
            self._last = self._below(name)
            return True
        where = ""
        if wrote:
            # What is not whole gets no name that looks so.
            writer.name = writer.name[: _LONGEST_NAME - len(self._suffix)] + self._suffix
            writer.replace = False
            where = f"; the rest is in {os.fsdecode(writer.name)}, with holes for it"
            writer.finish(size, own)
        else:
            writer.abandon()
        more = f" and {len(lost) - SHOWN} more" if len(lost) > SHOWN else ""
        self._lose(name, "; ".join(lost[:SHOWN]) + more + where)
        return False

    # --- damage ----------------------------------------------------------------------------

    def _lose(self, name: bytes, reason: str) -> None:
        self._lost.add(b"/".join(self._below(name)))
        self._work.lose(self._path(name), reason)

    def _stop(self) -> None:
        """Close the target; directories that were made get their attributes."""
        with suppress(StrongroomError):
            self._go_to(())
            for _ in range(self._ways):
                self._target.leave(None)
        self._target.close()

    def _fail_damaged(self, error: IntegrityError) -> NoReturn:
        """Leave nothing behind, or say exactly what stays."""
        paths = concerned_paths(self._work, self._root, self._plan, error, self._damaged)
        words = f"; it concerns {', '.join(paths)}" if paths else ""
        if self._undo is None:
            raise self._told(error, words, paths=paths) from error
        self._undo.run()
        raise with_words(
            error,
            f"{words}; nothing is left of this restore",
            SALVAGE_HINT,
            paths=paths,
        ) from error

    def _told(self, error: E, words: str = "", paths: Sequence[str] = ()) -> E:
        """Return the error with what was restored before it."""
        files = self._work.result.files
        last = None if self._last is None else self._plan.landing.path(self._last)
        if last is None:
            words += "; no file was restored before"
        else:
            words += (
                f"; {files} files were restored before, the last one {last}: in the order of "
                "'point files', all up to it are whole and none behind it was touched"
            )
        return with_words(error, words, restored=files, last_restored=last, paths=list(paths))


class _Undo:
    """Makes a target that was empty what it was."""

    def __init__(self, target: FilePath) -> None:
        self._target = target
        self._missing = [path for path in (target, *target.parents) if not path.exists()]

    def run(self) -> None:
        """Remove what is in the target, and the directories that were made for it."""
        with suppress(OSError):
            fd = os.open(self._target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                remove_all(fd)
            finally:
                os.close(fd)
            for path in self._missing:
                path.rmdir()


def _lost_range(position: int, length: int, error: IntegrityError) -> str:
    return f"bytes {position} to {position + length}: {error}"
