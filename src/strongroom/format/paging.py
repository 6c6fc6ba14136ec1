"""Persistent tables: lists of records in small pages that successive states share.

A table is a tree of pages with a fixed fan-out. A state that changes a record rewrites the
leaf that holds it and the nodes above, and refers to all other pages where they already
lie. So a state is written in proportion to what changed, two states are compared by looking
only where their references differ, and any page is found by reading one page a level.

Pages are public, and authentic by the hash in the reference that led to them; the first
reference stands in a signed journal entry. Reading and storing are handed in: this module
does no I/O.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from strongroom.crypto.content import fingerprint
from strongroom.errors import MalformedError, PointDamagedError
from strongroom.format.codec import Hash, Id, Number, Value, decode, encode

R = TypeVar("R", bound=Value)

FAN_OUT = 64
MAX_PAGE = 1 << 20
MAX_LEVELS = 6
_KEPT_PAGES = 256
"""Decoded pages that a table keeps: enough for every way down, however large it is."""


class PageRef(Value, frozen=True):
    """Where a page lies and what its bytes hash to."""

    object_id: Id
    """The tables object that holds the page; random."""
    offset: Number
    """From the object's first byte."""
    length: Number
    page_hash: Hash


class TableRoot(Value, frozen=True):
    """A whole table."""

    levels: Number = 0
    """Levels of nodes above the leaves."""
    page: PageRef | None = None
    """The topmost page; none for an empty table."""


class Node(Value, frozen=True):
    """A page that refers to pages."""

    children: list[PageRef | None]


Load = Callable[[PageRef], bytes]
Store = Callable[[bytes], PageRef]


def check_page(ref: PageRef, data: bytes) -> bytes:
    """Return `data` if it is the page that `ref` means.

    Raises:
        PointDamagedError: it is not: changed, cut short or swapped in storage.
    """
    if len(data) != ref.length or fingerprint(data) != ref.page_hash:
        raise PointDamagedError(
            f"a page of {ref.length} bytes in tables/{ref.object_id.hex()} "
            f"at {ref.offset} is not what was signed: changed or damaged in storage"
        )
    return data


class Table(Generic[R]):
    """Records by their index, from 0; absent ones are None."""

    def __init__(self, kind: type[R], span: int, root: TableRoot, load: Load) -> None:
        """Open the table at `root`.

        Args:
            kind: The records' type.
            span: Records in a leaf page.
            root: What the signed entry, or another table's record, says.
            load: Returns the bytes of a page; `check_page` is applied here.
        """
        if not 0 <= root.levels <= MAX_LEVELS:
            raise MalformedError(f"a table claims {root.levels} levels")
        self.root = root
        self._leaf_type: type[list[R | None]] = list[kind | None]  # type: ignore[valid-type]
        self._span = span
        self._load = load
        self._pages: OrderedDict[PageRef, list[R | None] | Node] = OrderedDict()

    def get(self, index: int) -> R | None:
        """Return the record at `index`, or None."""
        if index < 0 or index >= self._capacity():
            return None
        ref = self.root.page
        for level in range(self.root.levels, 0, -1):
            if ref is None:
                return None
            step = self._span * FAN_OUT ** (level - 1)
            children = self._node(ref).children
            child, index = divmod(index, step)
            ref = children[child] if child < len(children) else None
        if ref is None:
            return None
        leaf = self._leaf(ref)
        return leaf[index] if index < len(leaf) else None

    def items(self) -> Iterator[tuple[int, R]]:
        """Yield every record with its index, ascending."""
        for first, ref in self._leaves(self.root.page, self.root.levels, 0):
            for place, record in enumerate(self._leaf(ref)):
                if record is not None:
                    yield first + place, record

    def pages(self) -> Iterator[PageRef]:
        """Yield a reference to every page, nodes before what they hold."""
        stack = [(self.root.page, self.root.levels)]
        while stack:
            ref, level = stack.pop()
            if ref is None:
                continue
            yield ref
            if level:
                stack.extend((child, level - 1) for child in self._node(ref).children)

    def differences(self, other: Table[R]) -> Iterator[tuple[int, R | None, R | None]]:
        """Yield index, own and other record wherever the two differ.

        Pages that both share are not read.
        """
        mine = dict(self._leaves(self.root.page, self.root.levels, 0, other._shared(self)))
        theirs = dict(other._leaves(other.root.page, other.root.levels, 0, self._shared(other)))
        for first in sorted(mine.keys() | theirs.keys()):
            a = self._leaf(mine[first]) if first in mine else []
            b = other._leaf(theirs[first]) if first in theirs else []
            for place in range(max(len(a), len(b))):
                left = a[place] if place < len(a) else None
                right = b[place] if place < len(b) else None
                if left != right:
                    yield first + place, left, right

    def updated(self, changes: Mapping[int, R | None], store: Store) -> TableRoot:
        """Return the root of a table with `changes` made; new pages go to `store`."""
        if not changes:
            return self.root
        if min(changes) < 0:
            raise ValueError("records of a table are counted from 0")
        levels = self.root.levels
        while max(changes) >= self._span * FAN_OUT**levels:
            levels += 1
        if levels > MAX_LEVELS:
            raise ValueError(f"a table has no room for record {max(changes)}")
        leaves: dict[int, dict[int, R | None]] = {}
        for index, record in changes.items():
            leaves.setdefault(index // self._span, {})[index % self._span] = record
        return TableRoot(levels, self._grow(levels, leaves, store))

    # --- inside --------------------------------------------------------------------------

    def _capacity(self) -> int:
        return int(self._span * FAN_OUT**self.root.levels)

    def _grow(
        self, level: int, leaves: Mapping[int, Mapping[int, R | None]], store: Store
    ) -> PageRef | None:
        """Rewrite the table as one of `level` levels, in which it is the first child so far."""
        if level == self.root.levels:
            return self._rewrite(self.root.page, level, 0, leaves, store)
        step = FAN_OUT ** (level - 1)
        first = {leaf: change for leaf, change in leaves.items() if leaf < step}
        children = [
            self._grow(level - 1, first, store) if first else self._lifted(level - 1, store)
        ]
        for child in sorted({leaf // step for leaf in leaves} - {0}):
            begin = child * step
            below = {leaf: c for leaf, c in leaves.items() if begin <= leaf < begin + step}
            children.extend([None] * (child + 1 - len(children)))
            children[child] = self._rewrite(None, level - 1, begin, below, store)
        return _put_node(children, store)

    def _lifted(self, level: int, store: Store) -> PageRef | None:
        """Return the table as it is, under as many nodes as `level` takes."""
        page = self.root.page
        for _ in range(level - self.root.levels):
            page = None if page is None else store(encode(Node([page])))
        return page

    def _rewrite(
        self,
        ref: PageRef | None,
        level: int,
        first_leaf: int,
        leaves: Mapping[int, Mapping[int, R | None]],
        store: Store,
    ) -> PageRef | None:
        if level == 0:
            records = list(self._leaf(ref)) if ref is not None else []
            for place, record in leaves[first_leaf].items():
                records.extend([None] * (place + 1 - len(records)))
                records[place] = record
            while records and records[-1] is None:
                records.pop()
            if not records:
                return None
            page = encode(records)
            if len(page) > MAX_PAGE:
                # Written, it could never be read again.
                raise ValueError(f"a page of {len(page)} bytes, of at most {MAX_PAGE}")
            return store(page)
        step = FAN_OUT ** (level - 1)
        children = list(self._node(ref).children) if ref is not None else []
        for child in sorted({(leaf - first_leaf) // step for leaf in leaves}):
            begin = first_leaf + child * step
            below = {leaf: c for leaf, c in leaves.items() if begin <= leaf < begin + step}
            children.extend([None] * (child + 1 - len(children)))
            children[child] = self._rewrite(children[child], level - 1, begin, below, store)
        return _put_node(children, store)

    def _leaves(
        self,
        ref: PageRef | None,
        level: int,
        first: int,
        skip: frozenset[tuple[PageRef, int, int]] = frozenset(),
    ) -> Iterator[tuple[int, PageRef]]:
        if ref is None or (ref, level, first) in skip:
            return
        if level == 0:
            yield first, ref
            return
        step = self._span * FAN_OUT ** (level - 1)
        for child, below in enumerate(self._node(ref).children):
            yield from self._leaves(below, level - 1, first + child * step, skip)

    def _shared(self, other: Table[R]) -> frozenset[tuple[PageRef, int, int]]:
        """Return the topmost pages, with level and first index, that `other` has as well."""
        shared: set[tuple[PageRef, int, int]] = set()
        theirs: dict[tuple[int, int], PageRef] = {}
        pending = [(other.root.page, other.root.levels, 0)]
        mine = [(self.root.page, self.root.levels, 0)]
        # Walk both from the top; descend only where the references differ.
        for level in range(max(self.root.levels, other.root.levels), -1, -1):
            for ref, at, first in pending:
                if ref is not None and at == level:
                    theirs[(at, first)] = ref
            below_mine: list[tuple[PageRef | None, int, int]] = []
            met: set[tuple[int, int]] = set()
            for ref, at, first in mine:
                if ref is None:
                    continue
                if at < level:
                    below_mine.append((ref, at, first))
                elif theirs.get((at, first)) == ref:
                    shared.add((ref, at, first))
                    met.add((at, first))
                elif at:
                    below_mine.extend(self._children(ref, at, first))
            mine = below_mine
            below: list[tuple[PageRef | None, int, int]] = []
            for ref, at, first in pending:
                if ref is None or (at, first) in met:
                    continue
                below.extend([(ref, at, first)] if at < level else other._children(ref, at, first))
            pending = below
        return frozenset(shared)

    def _children(
        self, ref: PageRef, level: int, first: int
    ) -> list[tuple[PageRef | None, int, int]]:
        if level == 0:
            return []
        step = self._span * FAN_OUT ** (level - 1)
        return [
            (child, level - 1, first + place * step)
            for place, child in enumerate(self._node(ref).children)
        ]

    def _bytes(self, ref: PageRef) -> bytes:
        if not 0 < ref.length <= MAX_PAGE:
            raise MalformedError(f"a reference to a page of {ref.length} bytes")
        return check_page(ref, self._load(ref))

    def _keep(self, ref: PageRef, page: list[R | None] | Node) -> None:
        self._pages[ref] = page
        self._pages.move_to_end(ref)
        if len(self._pages) > _KEPT_PAGES:
            self._pages.popitem(last=False)

    def _node(self, ref: PageRef) -> Node:
        page = self._pages.get(ref)
        if not isinstance(page, Node):
            page = decode(Node, self._bytes(ref), "a page of a table")
            if not 0 < len(page.children) <= FAN_OUT or page.children[-1] is None:
                raise MalformedError(f"a page with {len(page.children)} children, or none last")
        self._keep(ref, page)
        return page

    def _leaf(self, ref: PageRef) -> list[R | None]:
        page = self._pages.get(ref)
        if page is None or isinstance(page, Node):
            page = decode(self._leaf_type, self._bytes(ref), "a page of a table")
            if not 0 < len(page) <= self._span or page[-1] is None:
                raise MalformedError(f"a page with {len(page)} records, or none last")
        self._keep(ref, page)
        return page


def _put_node(children: list[PageRef | None], store: Store) -> PageRef | None:
    while children and children[-1] is None:
        children.pop()
    return store(encode(Node(children))) if children else None
