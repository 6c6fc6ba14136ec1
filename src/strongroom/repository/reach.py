"""Every page that signed entries lead to, each read once however many states share it.

Successive states share most of their pages, so looking through all kept states costs little
more than looking through one. Scrub and prune both stand on this: what a kept entry reaches
has to be whole, and nothing that one reaches may go.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from strongroom.errors import IntegrityError, MalformedError
from strongroom.format.codec import Value, decode
from strongroom.format.journal import PromiseBody, SessionBody
from strongroom.format.pack import Directory
from strongroom.format.paging import (
    FAN_OUT,
    MAX_LEVELS,
    MAX_PAGE,
    Node,
    PageRef,
    TableRoot,
    check_page,
)
from strongroom.format.tables import (
    HISTORY_SPAN,
    LEDGER_SPAN,
    PACK_SET_SPAN,
    SESSION_SPAN,
    SET_SPAN,
    HistoryRecord,
    LedgerPage,
    PackSet,
    SessionRecord,
    SessionSet,
    places_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from strongroom.format.journal import Entry
    from strongroom.repository.chain import Chain

R = TypeVar("R", bound=Value)

_SEEN = struct.Struct(">16sQQB")


class Reach:
    """Walks tables of a chain and passes over what it has seen.

    What a walk yields is therefore everything of a first state, and of each further one what
    no state before it had.
    """

    def __init__(
        self,
        chain: Chain,
        damaged: Callable[[PageRef, IntegrityError], None] | None = None,
        met: Callable[[PageRef], None] | None = None,
    ) -> None:
        """Begin; nothing is seen yet.

        Args:
            chain: Whose tables.
            damaged: Is told of pages that are not what was signed, and the walk goes on without
                them; without it they are raised.
            met: Is told of every page, once.
        """
        self._chain = chain
        self._damaged = damaged
        self._met = met
        self._seen: dict[tuple[type[Value], int | bytes], set[bytes]] = {}
        self.objects: set[bytes] = set()
        """Ids of the tables objects that hold what was seen."""

    def sessions(self, body: SessionBody) -> Iterator[tuple[int, SessionRecord]]:
        """Yield records with their slots."""
        return self._walk(SessionRecord, SESSION_SPAN, body.sessions)

    def blocks(self, body: SessionBody) -> Iterator[tuple[int, int, int]]:
        """Yield slot, pack ordinal and the used places as the bits of an integer."""
        for slot, record in self._walk(SessionSet, SET_SPAN, body.sets):
            for ordinal, packs in self._walk(PackSet, PACK_SET_SPAN, record.packs, slot):
                yield slot, ordinal, places_of(packs.used)

    def ledger(self, record: SessionRecord) -> Iterator[tuple[int, bytes, Directory]]:
        """Yield the packs of a session: ordinal, encoded directory, directory."""
        for ordinal, page in self._walk(LedgerPage, LEDGER_SPAN, record.ledger, record.session_id):
            what = f"pack {ordinal} of a ledger"
            directory = decode(Directory, page.directory, what).check(what)
            if directory.ordinal != ordinal:
                raise MalformedError(f"{what} calls itself pack {directory.ordinal}")
            yield ordinal, page.directory, directory

    def history(self, root: TableRoot) -> Iterator[tuple[int, HistoryRecord]]:
        """Yield what is remembered, by entry number."""
        return self._walk(HistoryRecord, HISTORY_SPAN, root)

    def _walk(
        self, kind: type[R], span: int, root: TableRoot, inside: int | bytes = 0
    ) -> Iterator[tuple[int, R]]:
        if not 0 <= root.levels <= MAX_LEVELS:
            raise MalformedError(f"a table claims {root.levels} levels")
        leaf_type: type[list[R | None]] = list[kind | None]  # type: ignore[valid-type]
        # Apart for each table: a page that two of them share holds records of both.
        seen = self._seen.setdefault((kind, inside), set())
        stack = [(root.page, root.levels, 0)]
        while stack:
            ref, level, first = stack.pop()
            if ref is None:
                continue
            # With its place: a page means other records at another.
            place_of_page = _SEEN.pack(ref.object_id, ref.offset, first, level)
            if place_of_page in seen:
                continue
            seen.add(place_of_page)
            self.objects.add(ref.object_id)
            if self._met is not None:
                self._met(ref)
            try:
                page = self._read(ref)
                if level:
                    children = decode(Node, page, "a page of a table").children
                    _check_page_of(children, FAN_OUT)
                    step = span * FAN_OUT ** (level - 1)
                    below = [
                        (child, level - 1, first + place * step)
                        for place, child in enumerate(children)
                    ]
                    stack.extend(reversed(below))
                    continue
                records = decode(leaf_type, page, "a page of a table")
                _check_page_of(records, span)
            except IntegrityError as error:
                if self._damaged is None:
                    raise
                self._damaged(ref, error)
                continue
            for place, record in enumerate(records):
                if record is not None:
                    yield first + place, record

    def _read(self, ref: PageRef) -> bytes:
        if not 0 < ref.length <= MAX_PAGE:
            raise MalformedError(f"a reference to a page of {ref.length} bytes")
        return check_page(ref, self._chain.load_page(ref))


@dataclass(frozen=True, slots=True)
class UsedPack:
    """A pack of which some state uses a block."""

    slot: int
    ordinal: int
    session_id: bytes
    encoded: bytes
    """Its directory as the ledger has it."""
    directory: Directory
    used: int
    """Used places, as the bits of an integer."""

    @property
    def used_bytes(self) -> int:
        """Stored bytes of used blocks."""
        return bytes_at(self.directory, self.used)


def bytes_at(directory: Directory, bits: int) -> int:
    """Return how long the blocks are, together, that lie at some of a pack's places."""
    columns = zip(directory.places, directory.lengths, strict=True)
    return sum(length for place, length in columns if bits >> place & 1)


def states_coming(chain: Chain, entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yield entries whose tables are going to be walked, read ahead where that helps."""
    return chain.tables_coming(entries, _roots_of)


def ledgers_coming(
    chain: Chain, records: Mapping[int, SessionRecord]
) -> Iterator[tuple[int, SessionRecord]]:
    """Yield sessions by slot whose ledgers are going to be walked, likewise."""
    return chain.tables_coming(records.items(), lambda item: (item[1].ledger,))


def _roots_of(entry: Entry) -> tuple[TableRoot, ...]:
    body = entry.body
    if isinstance(body, SessionBody):
        return body.sessions, body.sets, body.history
    return (body.history,) if isinstance(body, PromiseBody) else ()


def union_of(
    reach: Reach, chain: Chain, states: Iterable[Entry]
) -> tuple[dict[int, SessionRecord], dict[tuple[int, int], int]]:
    """Return what the states of session entries use together.

    Returns:
        Sessions by slot; and used places, as the bits of an integer, by slot and pack ordinal.

    Raises:
        IntegrityError: something of a state is not what was signed.
    """
    records: dict[int, SessionRecord] = {}
    used: dict[tuple[int, int], int] = {}
    for entry in states_coming(chain, states):
        body = entry.body
        assert isinstance(body, SessionBody)
        for slot, record in reach.sessions(body):
            if records.setdefault(slot, record) != record:
                raise MalformedError(f"slot {slot} of chain {chain.name} is two sessions")
        for slot, ordinal, bits in reach.blocks(body):
            used[slot, ordinal] = used.get((slot, ordinal), 0) | bits
    return records, used


def used_packs(reach: Reach, chain: Chain, states: Iterable[Entry]) -> Iterator[UsedPack]:
    """Yield every pack that one of these session entries needs, ledgers included.

    Raises:
        IntegrityError: something of a state is not what was signed.
    """
    records, used = union_of(reach, chain, states)
    for slot, record in ledgers_coming(chain, records):
        for ordinal, encoded, directory in reach.ledger(record):
            bits = used.pop((slot, ordinal), 0)
            if bits:
                yield UsedPack(slot, ordinal, record.session_id, encoded, directory, bits)
    if used:
        raise MalformedError(
            f"states of chain {chain.name} use {len(used)} packs that no ledger knows"
        )


def _check_page_of(items: list[R | None] | list[PageRef | None], most: int) -> None:
    if not 0 < len(items) <= most or items[-1] is None:
        raise MalformedError(f"a page with {len(items)} items, or none last")
