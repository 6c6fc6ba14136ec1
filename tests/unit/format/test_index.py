"""Every rule about the columns of index pages, broken once."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from strongroom.errors import MalformedError
from strongroom.format.index import (
    HOLE,
    MAX_CHILDREN,
    NOT_INLINE,
    ChunkNode,
    ChunkPage,
    DiskLeaf,
    DiskNode,
    RecognitionPage,
    TreeNode,
    TreePage,
    check_chunk_node,
    check_chunk_page,
    check_disk_leaf,
    check_disk_node,
    check_recognition,
    check_tree_node,
    check_tree_page,
    disk_levels,
)
from strongroom.format.point import DiskRoot, StreamRoot, TreeRoot, check_root

ROW = (0o644, 0, 0, "root", "root", ((b"user.x", b"1"),))
HASH = bytes(range(32))
TREE = TreePage(
    kinds=bytes((1, 2, 2, 3, 4, 5, 0)),
    names=[b".", b"file", b"large", b"link", b"second", b"null", b""],
    rows=[0, 0, 0, 0, 0, 0, 0],
    mtimes=[1, 2, 3, 4, 5, -6, 0],
    attributes=[ROW],
    sizes=[110, 1 << 40],
    counts=[2, NOT_INLINE],
    piece_blocks=[0, HOLE],
    piece_offsets=[7, 0],
    piece_lengths=[100, 10],
    piece_hashes=HASH + bytes(32),
    blocks=[(3, 1 << 16)],
    chunk_lists=[(1, 4, 5)],
    links={3: b"../away", 4: b"file"},
    devices={5: 259},
)
CHUNKS = ChunkPage([(1, 0)], [0, HOLE], [5, 0], [10, 20], HASH + bytes(32))
CHUNK_NODE = ChunkNode([(1, 0), (1, 1)], [10, 20])
LEAF = DiskLeaf([(1, 0), (2, 3)], [0, 60], [2, 4], [1, 0], [0, 65536], HASH * 6)
NODE = TreeNode([(1, 0)], [(1, 1)], [5], [2], [1], [[b"a"]], [b"a"])


def altered(value: Any, **fields: object) -> Any:
    return msgspec.structs.replace(value, **fields)


def test_what_keeps_every_rule_is_taken() -> None:
    assert check_tree_page(TREE) is TREE
    assert check_chunk_page(CHUNKS) is CHUNKS
    assert check_chunk_node(CHUNK_NODE) is CHUNK_NODE
    assert check_disk_leaf(LEAF) is LEAF
    assert check_tree_node(NODE, 1) is NODE


@pytest.mark.parametrize(
    "fields",
    [
        {"kinds": b""},
        {"kinds": bytes((1, 2, 2, 3, 4, 9, 0))},
        {"kinds": bytes((1, 2, 2, 3, 4, 5))},
        {"names": [b".", b"file", b"large", b"link", b"second", b"null", b"name"]},
        {"names": [b".", b"", b"large", b"link", b"second", b"null", b""]},
        {"names": [b".", b"../up", b"large", b"link", b"second", b"null", b""]},
        {"names": [b".", b"..", b"large", b"link", b"second", b"null", b""]},
        {"names": [b".", b"a/b", b"large", b"link", b"second", b"null", b""]},
        {"names": [b".", b"a\0", b"large", b"link", b"second", b"null", b""]},
        {"rows": [0, 0, 0, 0, 0, 1, 0]},
        {"rows": [-1, 0, 0, 0, 0, 0, 0]},
        {"attributes": []},
        {"mtimes": [0]},
        {"sizes": [110]},
        {"sizes": [109, 1 << 40]},
        {"sizes": [111, 1 << 40]},
        {"sizes": [110, 0]},
        {"counts": [1, NOT_INLINE]},
        {"counts": [2, 0]},
        {"counts": [17, NOT_INLINE]},
        {"counts": [2, -2]},
        {"piece_blocks": [1, HOLE]},
        {"piece_blocks": [-2, HOLE]},
        {"piece_blocks": [0]},
        {"piece_offsets": [-1, 0]},
        {"piece_offsets": [7, 1]},
        {"piece_offsets": [(16 << 20) - 99, 0]},
        {"piece_lengths": [110, 0]},
        {"piece_lengths": [120, -10]},
        {"piece_hashes": HASH},
        {"blocks": [(0, 1 << 16)]},
        {"blocks": [(1 << 32, 0)]},
        {"blocks": [(3, 1 << 48)]},
        {"blocks": [(3, -1)]},
        {"chunk_lists": []},
        {"chunk_lists": [(9, 4, 5)]},
        {"chunk_lists": [(1, 0, 5)]},
        {"links": {3: b"../away"}},
        {"links": {3: b"../away", 4: b"file", 1: b"x"}},
        {"links": {3: b"../away", 4: b"file", 99: b"x"}},
        {"devices": {}},
        {"devices": {5: 1, 2: 1}},
    ],
    ids=str,
)
def test_a_page_of_a_tree_that_cannot_be_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(MalformedError):
        check_tree_page(altered(TREE, **fields))


def test_a_page_holds_no_more_entries_than_it_may() -> None:
    count = 1025
    page = altered(
        TREE,
        kinds=bytes((7,)) * count,
        names=[b"%d" % index for index in range(count)],
        rows=[0] * count,
        mtimes=[0] * count,
        sizes=[],
        counts=[],
        piece_blocks=[],
        piece_offsets=[],
        piece_lengths=[],
        piece_hashes=b"",
        chunk_lists=[],
        links={},
        devices={},
    )
    with pytest.raises(MalformedError):
        check_tree_page(page)


@pytest.mark.parametrize(
    "fields",
    [
        {"piece_blocks": [], "piece_offsets": [], "piece_lengths": [], "piece_hashes": b""},
        {"piece_blocks": [1, HOLE]},
        {"piece_offsets": [5]},
        {"piece_lengths": [10, 0]},
        {"piece_lengths": [16 << 20, 20]},
        {"piece_hashes": HASH},
        {"blocks": [(0, 0)]},
    ],
    ids=str,
)
def test_a_page_of_a_chunk_list_that_cannot_be_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(MalformedError):
        check_chunk_page(altered(CHUNKS, **fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"pages": [], "lengths": []},
        {"lengths": [10]},
        {"lengths": [10, 0]},
        {"pages": [(1, 0), (0, 0)]},
        {"pages": [(1, 0)] * (MAX_CHILDREN + 1), "lengths": [1] * (MAX_CHILDREN + 1)},
    ],
    ids=lambda fields: str(fields)[:60],
)
def test_a_node_of_a_chunk_list_that_cannot_be_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(MalformedError):
        check_chunk_node(altered(CHUNK_NODE, **fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"starts": [], "counts": [], "run_blocks": [], "run_offsets": [], "hashes": b""},
        {"starts": [0, 1]},
        {"starts": [-1, 60]},
        {"starts": [60, 0]},
        {"starts": [0, 61]},
        {"counts": [2]},
        {"counts": [0, 6]},
        {"run_blocks": [2, 0]},
        {"run_blocks": [-1, 0]},
        {"run_offsets": [-65536, 0]},
        {"run_offsets": [0, (16 << 20) - 65536]},
        {"hashes": HASH * 5},
        {"blocks": [(1, 0), (0, 3)]},
    ],
    ids=lambda fields: str(fields)[:60],
)
def test_a_leaf_of_a_disk_that_cannot_be_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(MalformedError):
        check_disk_leaf(altered(LEAF, **fields))


@pytest.mark.parametrize("children", [[], [None] * 65, [(0, 0)], [(1, -1)]])
def test_a_node_of_a_disk_that_cannot_be_is_refused(children: list[Any]) -> None:
    with pytest.raises(MalformedError):
        check_disk_node(DiskNode(children))
    assert check_disk_node(DiskNode([None, (1, 0)]))


@pytest.mark.parametrize(
    ("level", "fields"),
    [
        (1, {"pages": [], "recognition": []}),
        (1, {"recognition": []}),
        (2, {}),
        (1, {"entries": [0]}),
        (1, {"leaves": [-1]}),
        (1, {"leaves": []}),
        (1, {"leads": []}),
        (1, {"leads": [3]}),
        (1, {"leads": [-1]}),
        (1, {"enters": []}),
        (1, {"firsts": []}),
        (1, {"pages": [(0, 0)]}),
        (1, {"recognition": [(0, 0)]}),
    ],
)
def test_a_node_of_a_tree_that_cannot_be_is_refused(level: int, fields: dict[str, object]) -> None:
    with pytest.raises(MalformedError):
        check_tree_node(altered(NODE, **fields), level)


def test_a_recognition_page_goes_with_its_leaf() -> None:
    page = RecognitionPage([0] * 7, [1] * 7)
    assert check_recognition(page, TREE) is page
    with pytest.raises(MalformedError):
        check_recognition(RecognitionPage([0] * 7, [1] * 6), TREE)


@pytest.mark.parametrize(
    ("size", "levels"),
    [(0, 0), (1, 0), (4 << 20, 0), ((4 << 20) + 1, 1), (256 << 20, 1), ((256 << 20) + 1, 2)],
)
def test_a_disk_has_as_many_levels_as_its_size_takes(size: int, levels: int) -> None:
    assert disk_levels(size) == levels


@pytest.mark.parametrize(
    "root",
    [
        TreeRoot(0, (1, 0), None),
        TreeRoot(1, (1, 0), (1, 1)),
        TreeRoot(9, (1, 0), None),
        TreeRoot(-1, (1, 0), None),
        DiskRoot(1, (1, 0), 4 << 20, 1 << 20),
        DiskRoot(0, (1, 0), -1, 1 << 20),
        StreamRoot(0, None, 1),
        StreamRoot(0, (1, 0), 0),
    ],
    ids=repr,
)
def test_a_root_that_cannot_be_is_refused(root: TreeRoot | DiskRoot | StreamRoot) -> None:
    with pytest.raises(MalformedError):
        check_root(root)


def test_roots_that_can_be_are_taken() -> None:
    for root in (
        TreeRoot(0, (1, 0), (1, 1)),
        DiskRoot(0, None, 0, 1 << 20),
        DiskRoot(0, None, 99, 1 << 20),
        StreamRoot(0, None, 0),
        StreamRoot(2, (1, 0), 1),
    ):
        assert check_root(root) is root
