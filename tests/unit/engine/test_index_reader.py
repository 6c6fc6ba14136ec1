from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from strongroom.engine.index_reader import (
    Gap,
    Piece,
    Scope,
    find_entry,
    pieces_of,
    tree_leaves,
    walk_disk,
    walk_stream,
    walk_tree,
)
from strongroom.engine.index_writer import Effect
from strongroom.engine.points import PointView
from strongroom.errors import IntegrityError, PointDamagedError
from strongroom.format.index import ChunkNode, DiskLeaf, DiskNode
from strongroom.format.point import DiskRoot, StreamRoot, TreeRoot
from strongroom.testing.memory_storage import MemoryStorage
from tests.support.chain_builder import (
    LEAVE,
    ChainBuilder,
    PageEntry,
    PagePiece,
    build_chain,
    chunk_page,
    directory,
    effect_of,
    file,
    start_chain,
    tree_page,
)

if TYPE_CHECKING:
    from strongroom.format.block import BlockAddress

HASH = bytes(32)
FILE, HARD_LINK, SYMLINK = 2, 4, 3


def published(
    make, *, source: str = "files:/source"
) -> tuple[PointView, TreeRoot | DiskRoot | StreamRoot]:
    """Publish what `make` makes of a session, and return the point and its root."""
    built = start_chain(MemoryStorage())
    session = built.session()
    root = make(session)
    session.publish([(source, root)])
    view = built.views()[0]
    assert view.problem is None
    return view, view.opened().root


def walked(entries: Sequence[PageEntry]) -> list[tuple[bytes, ...]]:
    view, root = published(lambda session: session.single(entries))
    assert isinstance(root, TreeRoot)
    return [entry.path for entry in walk_tree(view.reader(), root)]


def refused(make) -> None:
    """Assert that a tree is an error of integrity, and that reading it ends."""
    view, root = published(make)
    assert isinstance(root, TreeRoot)
    with pytest.raises(IntegrityError):
        for _ in walk_tree(view.reader(), root):
            pass


# --- trees: what a walk gives ------------------------------------------------------------------


def test_a_tree_is_walked_in_order_with_whole_paths() -> None:
    entries = [
        directory("."),
        file("a"),
        directory("b"),
        file("c"),
        directory("d"),
        LEAVE,
        LEAVE,
        file("e"),
        LEAVE,
    ]
    assert walked(entries) == [
        (b".",),
        (b".", b"a"),
        (b".", b"b"),
        (b".", b"b", b"c"),
        (b".", b"b", b"d"),
        (b".", b"e"),
    ]


def test_a_single_entry_is_a_tree_of_its_own() -> None:
    assert walked([file("passwd")]) == [(b"passwd",)]


@pytest.mark.parametrize("per_page", [1, 2, 3, 5, 100])
def test_pages_make_no_difference(per_page: int) -> None:
    tree = {f"{a}/{b}/{c}": b"" for a in "abc" for b in "de" for c in "fgh"} | {
        "b/x": b"",
        "z": b"",
    }
    built = build_chain(MemoryStorage(), trees=[tree], per_page=per_page)
    view = built.views()[0]
    root = view.opened().root
    assert isinstance(root, TreeRoot)

    files = [e.below for e in walk_tree(view.reader(), root) if e.kind == FILE]

    assert files == sorted(tuple(path.encode().split(b"/")) for path in tree)


def test_an_entry_brings_its_attributes_and_its_pieces() -> None:
    row = (0o4750, 12, 34, "ann", "staff", ((b"user.a", b"1"),))

    def make(session: ChainBuilder) -> TreeRoot:
        piece = session.piece(b"hello")
        entry = PageEntry(FILE, b"f", [piece, PagePiece(None, 0, 10)], row=row, mtime_ns=77)
        return session.single([directory("."), entry, LEAVE])

    view, root = published(make)
    assert isinstance(root, TreeRoot)
    entry = find_entry(view.reader(), root, (b"f",))

    assert entry is not None
    assert (entry.attributes.mode, entry.attributes.uid, entry.attributes.gid) == (0o4750, 12, 34)
    assert (entry.attributes.user, entry.attributes.xattrs) == ("ann", ((b"user.a", b"1"),))
    assert (entry.attributes.mtime_ns, entry.size) == (77, 15)
    pieces = list(pieces_of(view.reader(), entry))
    assert [(p.position, p.length, p.address is None) for p in pieces] == [
        (0, 5, False),
        (5, 10, True),
    ]


# --- trees: finding ----------------------------------------------------------------------------


def a_wide_tree(per_page: int) -> tuple[PointView, TreeRoot, list[str]]:
    tree = {f"d{i:02}/s{j}/f{k}": b"" for i in range(12) for j in range(4) for k in range(6)}
    view = build_chain(MemoryStorage(), trees=[tree], per_page=per_page).views()[0]
    root = view.opened().root
    assert isinstance(root, TreeRoot)
    return view, root, list(tree)


@pytest.mark.parametrize("per_page", [1, 3, 7, 20])
def test_every_path_is_found_and_nothing_else(per_page: int) -> None:
    view, root, tree = a_wide_tree(per_page)
    reader = view.reader()
    for path in tree:
        names = tuple(path.encode().split(b"/"))
        for end in range(len(names) + 1):
            entry = find_entry(reader, root, names[:end])
            assert entry is not None, path
            assert entry.below == names[:end]
        for wrong in ((*names, b"x"), (*names[:-1], b"f9"), (*names[:-2], b"s"), (b"",)):
            assert find_entry(reader, root, wrong) is None


def test_finding_reads_a_page_a_level() -> None:
    view, root, _ = a_wide_tree(7)
    reads: list[BlockAddress] = []
    inner = view.reader()

    class Counting:
        def read(self, address, block_class):
            reads.append(address)
            return inner.read(address, block_class)

    for path in ((b"d00",), (b"d05", b"s2", b"f3"), (b"d11", b"s3", b"f5"), (b"d03", b"s0")):
        reads.clear()
        assert find_entry(Counting(), root, path) is not None  # type: ignore[arg-type]
        # The root is looked at once for its name; then one page a level.
        assert len(reads) <= 1 + root.levels + 1


@pytest.mark.parametrize("per_page", [1, 4, 9])
def test_a_walk_below_a_path_gives_that_subtree_and_no_more(per_page: int) -> None:
    view, root, tree = a_wide_tree(per_page)
    under = (b"d07", b"s1")
    found = [entry.below for entry in walk_tree(view.reader(), root, under)]

    files = [tuple(p.encode().split(b"/")) for p in tree if p.startswith("d07/s1/")]
    assert found == [under, *files]


def test_a_scope_leaves_most_pages_unread() -> None:
    view, root, _ = a_wide_tree(7)
    whole = len(list(tree_leaves(view.reader(), root)))
    some = len(list(tree_leaves(view.reader(), root, Scope([(b".", b"d07", b"s1")]))))
    assert some * 4 < whole


# --- trees: hostile pages ----------------------------------------------------------------------

BAD_TREES = {
    "leaves more than it enters": [directory("."), LEAVE, LEAVE],
    "never leaves": [directory("."), directory("a"), LEAVE],
    "names twice": [directory("."), file("a"), file("a"), LEAVE],
    "names descending": [directory("."), file("b"), file("a"), LEAVE],
    "a directory twice": [directory("."), directory("a"), LEAVE, directory("a"), LEAVE, LEAVE],
    "two roots": [directory("."), LEAVE, file("x")],
    "two single entries": [file("a"), file("b")],
    "a root with a name": [directory("etc"), LEAVE],
    "a dot inside": [directory("."), directory("."), LEAVE, LEAVE],
    "a dot file": [directory("."), file("."), LEAVE],
    "dot dot": [directory("."), file(".."), LEAVE],
    "a slash": [directory("."), file("a/b"), LEAVE],
    "a nul": [directory("."), file(b"a\0b"), LEAVE],
    "no name": [directory("."), file(b""), LEAVE],
    "a named leave": [directory("."), PageEntry(0, b"x")],
    "sizes that do not add up": [
        directory("."),
        PageEntry(FILE, b"a", [PagePiece(None, 0, 5)], size=6),
        LEAVE,
    ],
    "a negative piece": [
        directory("."),
        PageEntry(FILE, b"a", [PagePiece(None, 0, -5)], size=-5),
        LEAVE,
    ],
    "a link without target": [directory("."), PageEntry(SYMLINK, b"a"), LEAVE],
}


@pytest.mark.parametrize("entries", BAD_TREES.values(), ids=BAD_TREES.keys())
def test_a_page_that_no_tree_can_have_is_refused(entries: list[PageEntry]) -> None:
    refused(lambda session: session.single(entries))


@pytest.mark.parametrize("entries", BAD_TREES.values(), ids=BAD_TREES.keys())
def test_nor_does_such_a_tree_pass_cut_into_small_pages(entries: list[PageEntry]) -> None:
    if len(entries) > 1:
        refused(lambda session: session.paged(entries, 1))


def test_a_page_that_refers_to_itself_cannot_be_made_so_one_that_repeats_is_refused() -> None:
    def make(session: ChainBuilder) -> TreeRoot:
        step = [directory("a")]
        page = session.page(tree_page(step))
        top = session.page(tree_page([directory(".")]))
        deep = session.node(
            [top, *[page] * 1000], [effect_of([directory(".")]), *[effect_of(step)] * 1000]
        )
        return TreeRoot(1, deep, None)

    refused(make)


def test_a_tower_of_nodes_over_one_page_is_refused_before_it_is_climbed() -> None:
    def make(session: ChainBuilder) -> TreeRoot:
        entries = [directory("."), LEAVE]
        pair = session.page(tree_page(entries))
        effect = effect_of(entries)
        for level in range(4):
            effects = [effect] * 900
            pair = session.node([pair] * 900, effects, lowest=level == 0)
            effect = Effect(effect.entries * 900, 0, 0, [], b".")
        return TreeRoot(4, pair, None)

    refused(make)


@pytest.mark.parametrize(
    "lie",
    [
        Effect(3, 0, 0, [b".", b"b"], b"."),
        Effect(2, 1, 0, [b".", b"a"], b"."),
        Effect(2, 0, 0, [b"."], b"."),
        Effect(2, 0, 0, [b".", b"b"], b"."),
        Effect(2, 0, 0, [b".", b"a"], b"a"),
    ],
)
def test_a_page_has_to_do_what_its_node_says(lie: Effect) -> None:
    first, second = [directory("."), directory("a")], [file("f"), LEAVE, LEAVE]

    def make(session: ChainBuilder) -> TreeRoot:
        pages = [session.page(tree_page(part)) for part in (first, second)]
        return TreeRoot(1, session.node(pages, [lie, effect_of(second)]), None)

    refused(make)


def test_a_node_has_to_do_what_the_node_above_says() -> None:
    entries = [directory("."), file("a"), LEAVE]

    def make(session: ChainBuilder) -> TreeRoot:
        below = session.node([session.page(tree_page(entries))], [effect_of(entries)])
        lie = Effect(3, 0, 0, [], b"b")
        return TreeRoot(2, session.node([below], [lie], lowest=False), None)

    refused(make)


@pytest.mark.parametrize("page", [b"", b"\xc1", b"\x90", b"\xdc\xff\xff", b"\x93\x01\x02\x03"])
def test_a_page_of_garbage_is_refused(page: bytes) -> None:
    refused(lambda session: TreeRoot(0, session.page(page), session.recognition(1)))
    refused(lambda session: TreeRoot(1, session.page(page), None))


@pytest.mark.parametrize("address", [(0, 0), (7, 0), (1, 1 << 60), (1, 0xFFFF)])
def test_a_page_that_is_nowhere_is_refused(address: tuple[int, int]) -> None:
    refused(lambda session: TreeRoot(0, address, session.recognition(1)))


def test_a_walk_can_go_on_behind_pages_that_do_not_open() -> None:
    parts = [
        [directory("."), file("a")],
        [directory("b"), file("lost")],
        [file("m"), LEAVE, file("z")],
        [LEAVE],
    ]

    def make(session: ChainBuilder) -> TreeRoot:
        pages = [session.page(tree_page(part)) for part in parts]
        pages[1] = session.page(b"garbage")
        return TreeRoot(1, session.node(pages, [effect_of(part) for part in parts]), None)

    view, root = published(make)
    assert isinstance(root, TreeRoot)
    gaps: list[Gap] = []
    found = [entry.path for entry in walk_tree(view.reader(), root, on_gap=gaps.append)]

    assert found == [(b".",), (b".", b"a"), (b".", b"b", b"m"), (b".", b"z")]
    assert [(gap.before, gap.after) for gap in gaps] == [((b".",), (b".", b"b"))]


# --- chunk lists -------------------------------------------------------------------------------


def chunk_walk(make, size: int) -> list[Piece]:
    """Walk a stream whose root `make` gives as levels and page."""

    def root_of(session: ChainBuilder) -> StreamRoot:
        levels, page = make(session)
        return StreamRoot(levels, page, size)

    view, root = published(root_of, source="command:true")
    assert isinstance(root, StreamRoot)
    return list(walk_stream(view.reader(), root))


def test_a_chunk_list_gives_its_pieces_in_order() -> None:
    def make(session: ChainBuilder):
        levels, *pair = session.chunk_list(
            [session.piece(b"12345"), PagePiece(None, 0, 7), session.piece(b"678")]
        )
        return levels, tuple(pair)

    pieces = chunk_walk(make, 15)
    assert [(piece.position, piece.length) for piece in pieces] == [(0, 5), (5, 7), (12, 3)]


@pytest.mark.parametrize("size", [9, 11, 1 << 50])
def test_the_pieces_of_a_chunk_list_have_to_add_up(size: int) -> None:
    with pytest.raises(IntegrityError):
        chunk_walk(lambda s: (0, s.page(chunk_page([PagePiece(None, 0, 10)]))), size)


def test_a_node_of_a_chunk_list_has_to_be_as_long_as_its_pages() -> None:
    def make(session: ChainBuilder):
        page = session.page(chunk_page([PagePiece(None, 0, 10)]))
        return 1, session.page(ChunkNode([page, page], [10, 11]))

    with pytest.raises(IntegrityError):
        chunk_walk(make, 21)


@pytest.mark.parametrize("piece", [PagePiece((1, 0), 16 << 20, 1), PagePiece((1, 0), -1, 5)])
def test_a_piece_lies_in_a_block_that_can_be(piece: PagePiece) -> None:
    with pytest.raises(IntegrityError):
        chunk_walk(lambda s: (0, s.page(chunk_page([piece]))), piece.length)


# --- disks -------------------------------------------------------------------------------------

LEAF_BYTES = 64 << 16


def disk_walk(make, size: int, levels: int) -> list[tuple[int, int]]:
    def root_of(session: ChainBuilder) -> DiskRoot:
        return DiskRoot(levels, make(session), size, 1 << 20)

    view, root = published(root_of, source="image:/disk")
    assert isinstance(root, DiskRoot)
    return [(run.position, run.length) for run in walk_disk(view.reader(), root)]


def leaf(session: ChainBuilder, start: int, count: int) -> tuple[int, int]:
    block = session.data(bytes(64 << 16))
    return session.page(DiskLeaf([block], [start], [count], [0], [0], HASH * count))


def test_a_disk_gives_its_runs_and_ends_where_it_ends() -> None:
    def make(session: ChainBuilder):
        return session.page(DiskNode([leaf(session, 1, 2), None, leaf(session, 0, 1)]))

    size = 2 * LEAF_BYTES + 1000
    assert disk_walk(make, size, 1) == [(65536, 131072), (2 * LEAF_BYTES, 1000)]


def test_a_disk_of_zeros_has_no_pages() -> None:
    assert disk_walk(lambda _: None, 1 << 40, 3) == []


@pytest.mark.parametrize("size", [65536, 65537, 2 * 65536])
def test_a_map_may_not_reach_beyond_the_disk(size: int) -> None:
    with pytest.raises(IntegrityError):
        disk_walk(lambda session: leaf(session, 1, 2), size, 0)


def test_a_node_may_not_reach_beyond_the_disk() -> None:
    def make(session: ChainBuilder):
        page = leaf(session, 0, 1)
        return session.page(DiskNode([page, page, page]))

    with pytest.raises(IntegrityError):
        disk_walk(make, LEAF_BYTES + 1, 1)


def test_a_disk_has_as_many_levels_as_its_size_needs() -> None:
    built = start_chain(MemoryStorage())
    session = built.session()
    session.publish([("image:/disk", DiskRoot(5, leaf(session, 0, 1), 65536, 1 << 20))])

    view = built.views()[0]
    assert view.details is None
    assert isinstance(view.problem, IntegrityError)


def test_a_piece_beyond_the_end_of_its_block_is_seen_when_it_is_opened() -> None:
    from strongroom.engine.index_reader import part_of

    assert bytes(part_of(b"12345", 1, 4, "it")) == b"2345"
    for offset, length in ((1, 5), (6, 0), (-1, 2), (0, -1)):
        with pytest.raises(PointDamagedError):
            part_of(b"12345", offset, length, "it")
