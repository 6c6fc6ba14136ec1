"""Trees of any shape, cut into pages anywhere, read as what they are."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.engine.index_reader import Path, find_entry, walk_tree
from strongroom.engine.index_writer import Effect, composed
from strongroom.errors import IntegrityError
from strongroom.format.index import MAX_PAGE_ENTRIES
from strongroom.format.point import TreeRoot
from strongroom.testing.memory_storage import MemoryStorage
from tests.support.chain_builder import (
    LEAVE,
    ChainBuilder,
    PageEntry,
    directory,
    effect_of,
    file,
    start_chain,
    tree_page,
)

NAMES = st.one_of(
    st.sampled_from([b"a", b"a!", b"a0", b"aa", b"b", b"\xff", b"-", b"..."]),
    st.binary(min_size=1, max_size=3).filter(
        lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
    ),
)
TREES = st.recursive(
    st.none(), lambda inner: st.dictionaries(NAMES, inner, max_size=4), max_leaves=30
)
"""A file is None, a directory a dictionary of what it holds."""


def entries_of(tree: object, name: bytes = b".") -> list[PageEntry]:
    if not isinstance(tree, dict):
        return [file(name)]
    entries = [directory(name)]
    for inner in sorted(tree):
        entries.extend(entries_of(tree[inner], inner))
    return [*entries, LEAVE]


def paths_of(tree: object, path: Path = ()) -> list[Path]:
    paths = [path]
    if isinstance(tree, dict):
        for name in sorted(tree):
            paths.extend(paths_of(tree[name], (*path, name)))
    return paths


def store(session: ChainBuilder, entries: list[PageEntry], cuts: list[int]) -> TreeRoot:
    """Store pages and nodes whose lengths `cuts` gives, over and over."""
    pages, effects = [], []
    at = turn = 0
    while at < len(entries):
        step = cuts[turn % len(cuts)]
        part = entries[at : at + step]
        pages.append(session.page(tree_page(part)))
        effects.append(effect_of(part))
        at, turn = at + step, turn + 1
    if len(pages) == 1:
        return TreeRoot(0, pages[0], session.recognition(len(entries)))
    level = 0
    while len(pages) > 1 or level == 0:
        nodes, above = [], list[Effect]()
        at = turn = 0
        while at < len(pages):
            step = 1 + cuts[turn % len(cuts)]
            part_effects = effects[at : at + step]
            nodes.append(session.node(pages[at : at + step], part_effects, lowest=level == 0))
            above.append(composed(part_effects))
            at, turn = at + step, turn + 1
        pages, effects, level = nodes, above, level + 1
    return TreeRoot(level, pages[0], None)


@settings(max_examples=60, deadline=None)
@given(
    tree=st.dictionaries(NAMES, TREES, max_size=5),
    cuts=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    data=st.data(),
)
def test_any_tree_cut_anywhere_is_walked_and_searched_as_it_is(tree, cuts, data) -> None:
    built = start_chain(MemoryStorage(), sealed=False)
    session = built.session()
    session.publish([("files:/source", store(session, entries_of(tree), cuts))])
    view = built.views()[0]
    root = view.opened().root
    assert isinstance(root, TreeRoot)
    reader = view.reader()
    paths = paths_of(tree)

    assert [entry.below for entry in walk_tree(reader, root)] == paths

    under = data.draw(st.sampled_from(paths))
    found = find_entry(reader, root, under)
    assert found is not None
    assert found.below == under
    below = [entry.below for entry in walk_tree(reader, root, under)]
    assert below == [path for path in paths if path[: len(under)] == under]

    other = data.draw(st.lists(NAMES, max_size=4).map(tuple))
    found = find_entry(reader, root, other)
    assert (found is not None) == (other in paths)


@settings(max_examples=80, deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.just(LEAVE),
            NAMES.map(directory),
            NAMES.map(file),
            st.just(directory(".")),
        ),
        min_size=1,
        max_size=30,
    ),
    cuts=st.lists(st.integers(1, 6), min_size=1, max_size=4),
)
def test_any_entries_at_all_are_walked_in_order_or_refused(steps, cuts) -> None:
    built = start_chain(MemoryStorage(), sealed=False)
    session = built.session()
    session.publish([("files:/source", store(session, steps, cuts))])
    view = built.views()[0]
    root = view.opened().root
    assert isinstance(root, TreeRoot)

    try:
        paths = [entry.path for entry in walk_tree(view.reader(), root)]
    except IntegrityError:
        return
    assert paths == sorted(set(paths))
    assert len(paths) <= MAX_PAGE_ENTRIES
    assert steps.count(LEAVE) == sum(step.kind == 1 for step in steps)
    for path in paths:
        assert path[:-1] == () or path[:-1] in paths
