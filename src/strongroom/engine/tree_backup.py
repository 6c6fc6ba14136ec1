"""Backing up a tree of files: its walk merged with the index of the point before.

Both are in the same order, so one pass finds what is new, gone or unchanged. An unchanged
file costs the walk's one `stat` and a comparison; unchanged runs of entries are taken over
by the page. Anything else is read, recognised by content, and stored only if it is new.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from strongroom.engine.content import SMALL, ReadInto, hole, reader_of
from strongroom.engine.index_writer import (
    EMPTY,
    Content,
    OldPage,
    PiecePlace,
    TreeIndexWriter,
    content_of,
)
from strongroom.engine.work import SourceOutcome, Work
from strongroom.errors import IntegrityError, MalformedError
from strongroom.format.block import BlockAddress, BlockClass
from strongroom.format.codec import decode
from strongroom.format.index import (
    HOLE,
    AttributeRow,
    ChunkNode,
    ChunkPage,
    RecognitionPage,
    TreeNode,
    TreePage,
    check_chunk_page,
    check_tree_page,
)
from strongroom.format.point import TreeRoot
from strongroom.model.entry import EntryKind
from strongroom.repository.usage import BlockUsage
from strongroom.sources.base import ChangedError, reason
from strongroom.sources.files import RACY_NS, FilesSource, data_extents, is_racy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.repository.reader import BlockReader
    from strongroom.sources.directory import Directory

_LEAVE = int(EntryKind.LEAVE)
_DIRECTORY = int(EntryKind.DIRECTORY)
_FILE = int(EntryKind.FILE)
_SYMLINK = int(EntryKind.SYMLINK)
_HARD_LINK = int(EntryKind.HARD_LINK)
_DEVICES = (int(EntryKind.CHARACTER_DEVICE), int(EntryKind.BLOCK_DEVICE))
_EVERY = 512
"""Entries between two looks at cancellation and progress."""


def back_up_tree(source: FilesSource, previous: TreeRoot | None, work: Work) -> SourceOutcome:
    """Read a tree and write its index.

    Args:
        source: The tree.
        previous: The root of the same source's newest index, if there is one.
        work: The session's tools.

    Raises:
        SourceUnavailableError: the tree's root cannot be read.
    """
    return _TreeBackup(source, previous, work).run()


class _OldTree:
    """The entries of the tree before, one after the other."""

    def __init__(self, reader: BlockReader | None, root: TreeRoot | None, work: Work) -> None:
        self._pages = iter(()) if root is None or reader is None else _old_pages(reader, root)
        self._wear = work.wear
        self.page: OldPage | None = None
        self.index = 0
        self.kind = _LEAVE
        self.name = b""
        self.ended = False
        self._next_page()

    def advance(self) -> None:
        """Go to the next entry."""
        page = self.page
        if page is None:
            return
        index = self.index = self.index + 1
        kinds = page.page.kinds
        if index < len(kinds):
            self.kind = kinds[index]
            self.name = page.page.names[index]
        else:
            self._next_page()

    def _next_page(self) -> None:
        page = next(self._pages, None)
        self.page = page
        self.index = 0
        if page is None:
            self.ended = True
            self.kind, self.name = _LEAVE, b""
            return
        if self._wear.active:
            page.doomed = any(self._wear.is_doomed(*pair) for pair in page.page.blocks) or bool(
                # Where the blocks of these are, says no page of the tree.
                self._wear.damaged and page.page.chunk_lists
            )
        self.kind = page.page.kinds[0]
        self.name = page.page.names[0]


class _TreeBackup:
    def __init__(self, source: FilesSource, previous: TreeRoot | None, work: Work) -> None:
        self._source = source
        self._work = work
        self._usage = BlockUsage()
        self._writer = TreeIndexWriter(work.pages, self._usage, self._use_chunk_list)
        self._old = _OldTree(work.reader, previous, work)
        self._outcome = SourceOutcome(TreeRoot(0, (0, 0), None), self._usage)
        self._again = False
        """Whether the entry at hand has not changed and is stored again all the same."""
        self._first_names: dict[tuple[int, int], bytes] = {}
        self._bare_rows: dict[tuple[int, int, int], AttributeRow] = {}
        """Attributes without extended ones, by mode, owner and group: few differ."""
        self._settled_ns = work.clock.now_ns() - RACY_NS
        """What was stamped before this cannot be racy, whenever it is read."""
        self._reported_bytes = 0

    def run(self) -> SourceOutcome:
        old, writer, work = self._old, self._writer, self._work
        aligned = not old.ended
        """Whether the directory the walk is in is also where the old tree stands."""
        unmatched = 0
        """Directories entered since the walk left what the old tree has."""
        count = 0
        outcome = self._outcome
        for kind, name, st, parent in self._source.walk():
            count += 1
            if count % _EVERY == 0:
                work.cancel.check()
                self._report(_EVERY)
            if kind == _LEAVE:
                if unmatched:
                    unmatched -= 1
                    writer.add(_LEAVE, b"", None, 0, 0, 0)
                    continue
                if aligned:
                    self._skip_rest_of_directory()
                    page = old.page
                    if page is not None:
                        writer.keep(page, old.index)
                        old.advance()
                        continue
                writer.add(_LEAVE, b"", None, 0, 0, 0)
                continue
            matched = False
            if aligned and not unmatched:
                while old.kind != _LEAVE and old.name < name:
                    self._skip_entry()
                matched = old.kind != _LEAVE and old.name == name and old.page is not None
            if kind == _DIRECTORY:
                if matched and old.kind == _DIRECTORY:
                    self._same_or_new(kind, name, st, parent)
                    old.advance()
                else:
                    if matched:
                        self._skip_entry()
                    self._add(kind, name, st, parent)
                    unmatched += 1
                continue
            if matched:
                if old.kind == _DIRECTORY:
                    self._skip_entry()
                    self._add(kind, name, st, parent)
                else:
                    self._same_or_new(kind, name, st, parent)
                    old.advance()
            else:
                self._add(kind, name, st, parent)
        self._report(count % _EVERY)
        outcome.root = writer.finish()
        return outcome

    def _report(self, files: int = 0) -> None:
        """Tell how far it is; not for each small file, since that costs as much as reading it."""
        read = self._outcome.read_bytes
        self._work.progress.advance(read - self._reported_bytes, files)
        self._reported_bytes = read

    # --- the old tree ------------------------------------------------------------------------

    def _skip_entry(self) -> None:
        """Pass over an old entry that is gone, with all below it."""
        old = self._old
        depth = 0
        while True:
            if old.kind == _DIRECTORY:
                depth += 1
            elif old.kind == _LEAVE:
                depth -= 1
            elif old.kind == _FILE:
                self._lose(old)
            old.advance()
            if depth <= 0 or old.ended:
                return

    def _skip_rest_of_directory(self) -> None:
        old = self._old
        while old.kind != _LEAVE:
            self._skip_entry()

    def _lose(self, old: _OldTree) -> None:
        assert old.page is not None
        for slot, number, _, length, _ in old.page.content(old.index).pieces:
            if number != HOLE:
                self._work.wear.lose(slot, number, length)

    # --- entries -----------------------------------------------------------------------------

    def _same_or_new(self, kind: int, name: bytes, st: os.stat_result, parent: Directory) -> None:
        """Keep the old entry if it is the same; add the new one otherwise."""
        old = self._old
        page, index = old.page, old.index
        assert page is not None
        seen = page.recognition
        if (
            st.st_ctime_ns == seen.ctimes[index]
            and st.st_ino == seen.inodes[index]
            and st.st_mtime_ns == page.page.mtimes[index]
        ):
            now = kind
            if st.st_nlink > 1 and kind != _DIRECTORY:
                now = self._link_kind(kind, name, st, parent)
            if now != old.kind:
                keeps = False
            elif now == _FILE:
                size = page.page.sizes[page.file_index[index]]
                keeps = size == st.st_size and not (page.doomed and self._gives_up(page, index))
                if keeps:
                    self._outcome.files += 1
                    self._outcome.size_bytes += size
            elif now == _HARD_LINK:
                keeps = page.page.links[index] == self._first_names[st.st_dev, st.st_ino]
            else:
                keeps = True
            if keeps:
                self._writer.keep(page, index)
                return
        if old.kind == _FILE:
            self._lose(old)
        self._add(kind, name, st, parent)
        self._again = False

    def _gives_up(self, page: OldPage, index: int) -> bool:
        """Tell whether the file is to be stored again: for worn blocks to go, or for damage."""
        wear = self._work.wear
        if wear.damaged and self._is_damaged(page.content(index)):
            self._again = True
            return True
        worn = sum(
            length
            for slot, number, _, length, _ in page.content(index).pieces
            if number != HOLE and wear.is_doomed(slot, number)
        )
        self._again = worn > 0 and wear.spend(worn)
        return self._again

    def _is_damaged(self, content: Content) -> bool:
        """Tell whether a file's content lies in damaged blocks, or where it lies, does."""
        damaged = self._work.wear.damaged
        if content.chunk_list is None:
            return any((slot, number) in damaged for slot, number, _, _, _ in content.pieces)
        levels, slot, number = content.chunk_list
        used = BlockUsage()
        assert self._work.reader is not None
        try:
            count_chunk_list(self._work.reader, used, levels, (slot, number))
        except IntegrityError:
            return True
        return any((block.slot, block.number) in damaged for block in used)

    def _link_kind(self, kind: int, name: bytes, st: os.stat_result, parent: Directory) -> int:
        """Return HARD_LINK for a further name of an entry that has several, else its kind."""
        path = parent.path + b"/" + name if parent.path else name
        first = self._first_names.setdefault((st.st_dev, st.st_ino), path)
        return kind if first == path else _HARD_LINK

    def _add(self, kind: int, name: bytes, st: os.stat_result, parent: Directory) -> None:
        """Read an entry and add it; one that cannot be read is reported and left out."""
        source = self._source
        content: Content | None = None
        link: bytes | None = None
        ctime = st.st_ctime_ns
        xattrs: tuple[tuple[bytes, bytes], ...] | None = None
        try:
            if st.st_nlink > 1 and kind != _DIRECTORY:
                kind = self._link_kind(kind, name, st, parent)
            if kind == _HARD_LINK:
                link = self._first_names[st.st_dev, st.st_ino]
            elif kind == _FILE:
                content, xattrs, ctime, st = self._read_file(name, parent)
                self._outcome.files += 1
            elif kind == _SYMLINK:
                link = source.read_link(parent, name)
            if xattrs is None:
                xattrs = source.read_xattrs(parent, name)
            row = self._row_of(st, xattrs)
        except (OSError, ChangedError) as error:
            if kind != _HARD_LINK:
                self._first_names.pop((st.st_dev, st.st_ino), None)
            if kind != _DIRECTORY:
                source.problem(
                    parent,
                    name,
                    reason(error) if isinstance(error, OSError) else str(error),
                )
                return
            # Its LEAVE will come: the entry stays, with what the stat said.
            source.problem(parent, name, "its attributes could not all be read")
            row = (st.st_mode & 0o7777, st.st_uid, st.st_gid, "", "", ())
        if (st.st_mtime_ns > self._settled_ns or st.st_ctime_ns > self._settled_ns) and is_racy(
            st, self._work.clock.now_ns()
        ):
            ctime = 0
        self._writer.add(
            kind,
            name,
            row,
            st.st_mtime_ns,
            ctime,
            st.st_ino,
            content,
            link,
            st.st_rdev if kind in _DEVICES else None,
        )

    def _row_of(self, st: os.stat_result, xattrs: tuple[tuple[bytes, bytes], ...]) -> AttributeRow:
        mode, uid, gid = st[0] & 0o7777, st[4], st[5]
        if not xattrs:
            bare = self._bare_rows.get((mode, uid, gid))
            if bare is not None:
                return bare
        source = self._source
        row = (mode, uid, gid, source.owner_name(uid), source.group_name(gid), xattrs)
        if not xattrs:
            self._bare_rows[mode, uid, gid] = row
        return row

    def _read_file(
        self, name: bytes, parent: Directory
    ) -> tuple[Content, tuple[tuple[bytes, bytes], ...], int, os.stat_result]:
        """Read and store a file.

        Returns:
            Its content, its extended attributes, the ctime to recognise it by next time, and
            its stat as it was when all of it had been read.
        """
        work, outcome = self._work, self._outcome
        fd, before = self._source.open_file(parent, name)
        try:
            size = before.st_size
            if size == 0:
                content = EMPTY
            elif size <= SMALL and before.st_blocks * 512 >= size - 4096:
                data = os.read(fd, size)
                while len(data) < size and (more := os.read(fd, size - len(data))):
                    data += more
                content = self._small(data)
            else:
                work.progress.reading(os.fsdecode(self._source.path_of(parent, name)))
                content = self._large(fd, size)
            xattrs = self._source.read_xattrs(parent, name, fd=fd)
            after = os.fstat(fd)
        finally:
            os.close(fd)
        outcome.size_bytes += content.size
        outcome.read_bytes += content.size
        if content.size > SMALL:
            self._report()
        ctime = after.st_ctime_ns
        if (
            after.st_mtime_ns != before.st_mtime_ns
            or after.st_size != before.st_size
            or content.size != size
        ):
            self._source.problem(
                parent, name, "changed while it was being read; it is kept as it was read"
            )
            ctime = 0
        return content, xattrs, ctime, after

    def _small(self, data: bytes) -> Content:
        if not data:
            return EMPTY
        work = self._work
        stored = work.content.stored_raw_bytes
        piece = work.content.put_small(data)
        self._count_changed(work.content.stored_raw_bytes - stored)
        return Content(len(data), (piece,))

    def _large(self, fd: int, size: int) -> Content:
        """Store a file extent by extent: holes are told apart from zeros that were written."""
        work = self._work
        stored = work.content.stored_raw_bytes
        pieces: list[PiecePlace] = []
        at = 0
        for offset, length in data_extents(fd, size):
            if offset > at:
                pieces.append(hole(offset - at))
            at = offset
            os.lseek(fd, offset, os.SEEK_SET)
            for piece in work.content.put_stream(_limited(fd, length)):
                work.cancel.check()
                pieces.append(piece)
                at += piece[3]
            if at < offset + length:
                # It shrank: what could be read is what there is.
                size = at
                break
        if at < size:
            pieces.append(hole(size - at))
        self._count_changed(work.content.stored_raw_bytes - stored)
        return content_of(size, pieces, work.pages, self._usage)

    def _count_changed(self, byte_count: int) -> None:
        """Count what was stored, unless that was to give up worn blocks: nothing changed then."""
        if not self._again:
            self._outcome.changed_bytes += byte_count
            self._work.wear.earn(byte_count)

    def _use_chunk_list(self, levels: int, slot: int, number: int) -> None:
        assert self._work.reader is not None
        count_chunk_list(self._work.reader, self._usage, levels, (slot, number))


def _limited(fd: int, length: int) -> ReadInto:
    """Return a `ReadInto` for the next `length` bytes of an open file."""
    read = reader_of(fd)
    left = length

    def read_into(view: memoryview) -> int:
        nonlocal left
        if left <= 0:
            return 0
        count = read(view[:left])
        left -= count
        return count

    return read_into


def count_chunk_list(
    reader: BlockReader, usage: BlockUsage, levels: int, address: tuple[int, int]
) -> None:
    """Count every block that a chunk list uses, its own pages included."""
    usage.add(*address, 1)
    page = reader.read(BlockAddress(*address), BlockClass.INDEX)
    if levels:
        if levels > 6:
            raise MalformedError(f"a chunk list claims {levels} levels")
        for child in decode(ChunkNode, page, "a page of a chunk list").pages:
            count_chunk_list(reader, usage, levels - 1, child)
        return
    chunk_page = check_chunk_page(decode(ChunkPage, page, "a page of a chunk list"))
    for block, length in zip(chunk_page.piece_blocks, chunk_page.piece_lengths, strict=True):
        if block != HOLE:
            usage.add(*chunk_page.blocks[block], length)


def _old_pages(reader: BlockReader, root: TreeRoot) -> Iterator[OldPage]:
    """Yield the leaves of a tree's index in order."""
    if root.levels > 8:
        raise MalformedError(f"a tree's index claims {root.levels} levels")
    if root.levels == 0:
        if root.recognition is None:
            raise MalformedError("a tree's only page has no recognition page")
        yield _old_page(reader, root.page, root.recognition)
        return
    stack = [(root.page, root.levels)]
    while stack:
        address, level = stack.pop()
        node = decode(
            TreeNode, reader.read(BlockAddress(*address), BlockClass.INDEX), "a node of an index"
        )
        if level > 1:
            stack.extend((page, level - 1) for page in reversed(node.pages))
            continue
        if len(node.pages) != len(node.recognition):
            raise MalformedError("a node of an index lacks recognition pages")
        for page, recognition in zip(node.pages, node.recognition, strict=True):
            yield _old_page(reader, page, recognition)


def _old_page(
    reader: BlockReader, address: tuple[int, int], recognition_address: tuple[int, int]
) -> OldPage:
    page = check_tree_page(
        decode(TreePage, reader.read(BlockAddress(*address), BlockClass.INDEX), "an index page")
    )
    recognition = decode(
        RecognitionPage,
        reader.read(BlockAddress(*recognition_address), BlockClass.INDEX),
        "a recognition page",
    )
    if not len(recognition.ctimes) == len(recognition.inodes) == len(page.kinds):
        raise MalformedError("a recognition page does not fit its page")
    return OldPage(address, page, recognition_address, recognition)


def count_tree(reader: BlockReader, usage: BlockUsage, root: TreeRoot) -> None:
    """Count every block that a tree's index uses, its pages included."""
    stack = [(root.page, root.levels)]
    if root.recognition is not None:
        usage.add(*root.recognition, 1)
    while stack:
        address, level = stack.pop()
        usage.add(*address, 1)
        data = reader.read(BlockAddress(*address), BlockClass.INDEX)
        if level:
            node = decode(TreeNode, data, "a node of an index")
            stack.extend((page, level - 1) for page in node.pages)
            for recognition in node.recognition:
                usage.add(*recognition, 1)
            continue
        page = check_tree_page(decode(TreePage, data, "an index page"))
        for block, length in zip(page.piece_blocks, page.piece_lengths, strict=True):
            if block != HOLE:
                usage.add(*page.blocks[block], length)
        for levels, slot, number in page.chunk_lists:
            count_chunk_list(reader, usage, levels, (slot, number))
