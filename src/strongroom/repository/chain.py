"""A chain as a reader sees it: header, journal, state, and whether to believe them.

Opening a chain reads its header, the newest journal entries and a few pages; no walk through
increments. What is read is checked on the way: every signature, every page by its hash,
every promise of the newest signed entry against what is there. What the chain *should*
look like comes from the reader's side: a `Trust` and, where one is known, a `Head`.

No key is needed for any of this; `wrapped` is where a secret comes in.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from strongroom.crypto.content import fingerprint
from strongroom.crypto.signing import SigningPublicKey, verify
from strongroom.errors import (
    ForgedError,
    ForkedError,
    IntegrityError,
    NotFoundError,
    ObjectMissingError,
    PointDamagedError,
    PointWithheldError,
    RolledBackError,
    StrongroomError,
    UnsupportedVersionError,
    UnvouchedError,
)
from strongroom.format import header as headers
from strongroom.format.codec import MAX_ENTRY, MAX_SMALL
from strongroom.format.journal import (
    END,
    SIGNING_DOMAIN,
    CondemnationBody,
    Entry,
    EntryKind,
    PromiseBody,
    PublicPoint,
    SessionBody,
    SuccessionBody,
    read_entry,
)
from strongroom.format.paging import PageRef, Table, TableRoot
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
)
from strongroom.format.versions import SUITE_PLAIN
from strongroom.model.phrases import counted
from strongroom.repository import layout
from strongroom.repository.framed import get_framed
from strongroom.repository.signers import Signers
from strongroom.repository.wrapped_keys import WrappedKeys
from strongroom.storage.reading import (
    WideReads,
    at_once,
    batches,
    side_by_side,
    small_objects,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from strongroom.format.journal import EntryRef
    from strongroom.repository.page_memory import PageMemory
    from strongroom.storage.base import Storage

T = TypeVar("T")

TABLES_HEAD = 12
"""Where the first page begins in a tables object: behind magic and length."""
_AHEAD = 256
"""Entries that are read ahead together."""
_TABLES_AHEAD = 32
"""What has tables that are read ahead together: as much as is kept of them."""


@dataclass(frozen=True, slots=True)
class Head:
    """The newest journal entry that a reader knows of, from a place the store cannot touch."""

    chain_id: bytes
    number: int
    entry_hash: bytes


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom a reader believes to sign."""

    pinned: frozenset[str] = frozenset()
    """Fingerprints that were given on the command: with one, nobody else is believed."""
    accepted: frozenset[str] = frozenset()
    """Fingerprints that the operator accepted before."""
    identities: frozenset[bytes] = frozenset()
    """Ids of identities this installation knows as its own."""

    def knows(self, identity: SigningPublicKey) -> bool:
        if self.pinned:
            return identity.fingerprint in self.pinned
        return identity.fingerprint in self.accepted or identity.id in self.identities

    def known_part(self, chain: Chain) -> Chain | None:
        """Return the chain up to where it was last signed by somebody known, if it ever was."""
        part: Chain | None = chain
        while part is not None and not self.knows(part.identity):
            part = part.before_succession()
        return part

    def refuse_unpinned(self, chain: Chain) -> None:
        """Go on unless signers were pinned and the chain's is none of them.

        Raises:
            UnvouchedError: it is not, whatever else would vouch for it.
        """
        if self.pinned and not self.knows(chain.identity):
            raise UnvouchedError(
                f"chain {chain.name} is signed by {chain.identity.fingerprint}, which is not the "
                "signer that was pinned",
                hint="--signer may be said several times; without it nobody is excluded",
                fingerprint=chain.identity.fingerprint,
            )


@dataclass(frozen=True, slots=True)
class LivePoint:
    """A point that retention keeps, with the entry that published it."""

    point: PublicPoint
    entry: Entry
    held: bool
    given_up: bool = False
    """Nothing promises it any longer; it is there all the same."""

    @property
    def body(self) -> SessionBody:
        assert isinstance(self.entry.body, SessionBody)
        return self.entry.body


class Chain:
    """One chain of a repository, read without keys."""

    def __init__(self, storage: Storage, chain_id: bytes, end: int | None = None) -> None:
        """Read the header and check that it is signed by the identity it names.

        Args:
            storage: Where it lies.
            chain_id: Which.
            end: The last entry to look at: what follows is not believed (`before_succession`).

        Raises:
            NotFoundError: no such chain.
            ForgedError: the header's signature does not hold.
        """
        self.storage = storage
        self.chain_id = chain_id
        self.end = end
        key = layout.header(chain_id)
        try:
            data = get_framed(storage, key, MAX_SMALL)
        except ObjectMissingError:
            raise NotFoundError(f"there is no chain {chain_id.hex()}") from None
        self.stored_header = data
        """The header as it was read, once: a storage may say something else the next time."""
        self.header, encoded, signature = headers.read_header(data, key)
        if self.header.chain_id != chain_id:
            raise ForgedError(f"{key} is the header of another chain: swapped in storage")
        self.founder = SigningPublicKey(self.header.identity)
        """Who signed the header; others may have taken the chain over since."""
        verify(self.founder, headers.HEADER_DOMAIN, encoded, signature)
        self.root_hash = fingerprint(encoded)
        """What the journal's first entry follows."""
        self._signers = Signers(self, self.founder)
        self._entries: dict[int, Entry] = {}
        self._ahead: dict[int, bytes] = {}
        """Entries that were read and not yet looked at."""
        self._pages = WideReads(storage)
        self.memory: PageMemory | None = None
        """What was read of the chain before, where that is kept."""

    @property
    def sealed(self) -> bool:
        """Whether the chain is encrypted."""
        return self.header.suite != SUITE_PLAIN

    @property
    def origin_id(self) -> bytes:
        """The chain that keys and blocks of this one are bound to; mostly itself."""
        return self.header.origin_id

    @property
    def name(self) -> str:
        return self.chain_id.hex()[:12]

    # --- journal ---------------------------------------------------------------------------

    def numbers(self) -> list[int]:
        """Return the numbers of the entries that are there, ascending.

        Those that a copy is still bringing are not there yet.
        """
        found: list[int] = []
        ends = [] if self.end is None else [self.end]
        for info in self.storage.list(layout.journal(self.chain_id)):
            number = layout.entry_number(info.key)
            if number is not None:
                found.append(number)
            elif (mark := layout.copied_up_to_number(info.key)) is not None:
                ends.append(mark)
        return sorted(number for number in found if all(number <= end for end in ends))

    @cached_property
    def _listed(self) -> list[int]:
        """What `numbers` told when it was first asked: one listing for all that is judged by it."""
        return self.numbers()

    def coming(self, numbers: Iterable[int]) -> Iterator[int]:
        """Yield numbers whose entries are going to be asked for, each before it is.

        Where a request takes a while, the next entries are read side by side meanwhile. They are
        judged when they are asked for.
        """
        for some in batches(numbers, _AHEAD):
            keys = {
                layout.entry(self.chain_id, number): number
                for number in some
                if number not in self._entries and not self._is_in_memory(number)
            }
            if len(keys) > 1:
                ahead = small_objects(self.storage, keys)
                self._ahead = {keys[key]: data for key, data in ahead.items()}
            yield from some

    def entry(self, number: int) -> Entry:
        """Return an entry whose place and signature hold.

        Raises:
            ObjectMissingError: there is none of this number.
            ForgedError: moved from elsewhere, unsigned where it must be, or a signature that
                does not hold.
        """
        known = self._entries.get(number)
        if known is not None:
            return known
        key = layout.entry(self.chain_id, number)
        data = (
            self._from_memory(number)
            or self._ahead.pop(number, None)
            or get_framed(self.storage, key, MAX_ENTRY)
        )
        entry = read_entry(data, key)
        raw = entry.raw
        if raw.chain_id != self.chain_id or raw.number != number:
            raise ForgedError(
                f"{key} was written as entry {raw.number} of chain {raw.chain_id.hex()[:12]}: "
                "moved or replayed in storage"
            )
        if raw.signer:
            signer = self._signers.of(entry)
            verify(signer.identity, SIGNING_DOMAIN, entry.encoded, entry.signature)
            self._signers.remember(signer)
        elif raw.kind != EntryKind.CONDEMNATION:
            raise ForgedError(f"{key} is not signed: its signature was stripped")
        self._entries[number] = entry
        if self.memory is not None:
            self.memory.put(entry.hash, data)
        return entry

    def _from_memory(self, number: int) -> bytes | None:
        """Return an entry that was read before, if it is the one that the history says."""
        if self.memory is None or not self._is_in_memory(number):
            return None
        return self.memory.get(self._remembered_hashes[number])

    def _is_in_memory(self, number: int) -> bool:
        if self.memory is None or "promise_entry" not in self.__dict__:
            return False
        return self._remembered_hashes.get(number, b"") in self.memory

    @cached_property
    def _remembered_hashes(self) -> dict[int, bytes]:
        """The hashes of entries by the newest history, as far as it can be read."""
        if self.promise_entry is None:
            return {}
        try:
            records = dict(self.history(self.promise_entry).items())
        except IntegrityError:
            return {}
        return {number: record.entry_hash for number, record in records.items()}

    # --- whose it is -----------------------------------------------------------------------

    @cached_property
    def lines(self) -> tuple[int, ...]:
        """The SUCCESSION entries that the newest signed entry goes back to; 0 for the header."""
        for number in reversed(self.listing):
            entry = self.entry(number)
            if entry.raw.signer:
                return self._signers.lines_to(self._signers.line_of(entry))
        return (0,)

    @property
    def identity(self) -> SigningPublicKey:
        """Whose the chain is: the identity that its newest line of signers begins with.

        Who believes it believes the whole chain. What it signed fixes what came before.
        """
        return self._signers.beginning(self.lines[-1]).identity

    @property
    def owners(self) -> tuple[SigningPublicKey, ...]:
        """The identities that the chain's lines of signers begin with, the header's first."""
        return tuple(self._signers.beginning(line).identity for line in self.lines)

    @property
    def signers(self) -> tuple[SigningPublicKey, ...]:
        """All identities that sign in this chain, or did, the header's first."""
        found = [signer.identity for signer in self._signers.introduced()]
        return (self.founder, *reversed(found))

    def signs_as(self, identity: SigningPublicKey) -> bytes | None:
        """Return what entries call an identity that may sign now; None if it may not."""
        line = self.lines[-1]
        first = self._signers.beginning(line)
        if first.identity == identity:
            return first.name
        for signer in self._signers.introduced(line):
            if signer.identity == identity and signer.line == line:
                return signer.name
        return None

    def before_succession(self) -> Chain | None:
        """Return the chain as it was before another server took it over last; None if none did.

        For readers who believe the one before and not the one after. Nothing is written to it.
        """
        line = self.lines[-1]
        return Chain(self.storage, self.chain_id, line - 1) if line else None

    @cached_property
    def promise_entry(self) -> Entry | None:
        """The newest entry that says what retention promises; always a signed one.

        What stands behind a hole above it, and does not hold, was planted or has lost what
        leads to it: it is no part of the journal, and closes nothing.

        Raises:
            IntegrityError: an entry does not hold, and nothing is missing before it.
        """
        numbers = self._listed
        refused: dict[int, IntegrityError | UnsupportedVersionError] = {}
        found: Entry | None = None
        for number in reversed(numbers):
            try:
                entry = self.entry(number)
            except (IntegrityError, UnsupportedVersionError) as error:
                refused[number] = error
                continue
            if isinstance(entry.body, SessionBody | PromiseBody):
                found = entry
                break
        present = set(numbers)
        number = 1 + (found.number if found else 0)
        while number in present:
            if number in refused:
                raise refused[number]
            number += 1
        return found

    @property
    def ended(self) -> bool:
        """Whether its owner has said that nothing of it is promised and nobody goes on in it."""
        entry = self.promise_entry
        return (
            entry is not None
            and isinstance(entry.body, PromiseBody)
            and entry.body.reason == END
            and self.lines[-1] < entry.number  # nobody has taken it over since
            and not self.live_points()
        )

    @property
    def older(self) -> Sequence[EntryRef]:
        """What the newest session says of the job's other chains.

        Points held or given up since change nothing of it; nor does a condemnation, since
        anybody may have put that there.
        """
        for number in reversed(self.listing):
            try:
                body = self.remembered(number).body
            except (IntegrityError, UnsupportedVersionError):
                # It promises nothing, or the chain would not be read: the same as missing.
                continue
            if isinstance(body, SessionBody):
                return body.older
        return ()

    @cached_property
    def listing(self) -> list[int]:
        """Numbers of the entries that belong to this history, as they were when first asked.

        Behind the newest entry that carries a history, numbers follow without a hole and each
        entry follows the hash of the one before. What lies below is compared with that history
        when it is used (`remembered`), so that opening a chain does not read all of it. An entry
        far behind a hole is nobody's successor: it is left out, so that nobody can end a
        journal by planting one.

        Raises:
            ForkedError: an entry follows another one than the one before it.
        """
        newest = self.promise_entry
        start = newest.number if newest else 0
        listing: list[int] = []
        previous = newest.hash if newest else self.root_hash
        line = self._line_at(newest) if newest else 0
        for number in self._listed:
            if number <= start:
                listing.append(number)
            elif number == (listing[-1] if listing else 0) + 1:
                entry = self.entry(number)
                # Anybody may add an unsigned entry; what it says it follows proves nothing.
                if entry.raw.signer and entry.raw.previous_hash != previous:
                    raise self._forked(number)
                if entry.raw.signer:
                    line = self._next_line(entry, line)
                previous = entry.hash
                listing.append(number)
        return listing

    def _line_at(self, newest: Entry) -> int:
        """Return the line that signed the newest history, compared with the entry before.

        Raises:
            ForgedError: that line had been succeeded.
        """
        line = self._signers.line_of(newest)
        try:
            before = self.entry(newest.number - 1) if newest.number > 1 else None
        except (IntegrityError, UnsupportedVersionError):
            before = None  # if it is needed, it is refused where it is used
        if before is not None and before.raw.signer:
            return self._next_line(newest, self._signers.line_of(before))
        return line

    def _next_line(self, entry: Entry, line: int) -> int:
        """Return the line of an entry that follows one of `line`.

        Raises:
            ForgedError: whoever signed it had been succeeded, or it succeeds another line.
        """
        found = self._signers.line_of(entry)
        body = entry.body
        if found < line or (isinstance(body, SuccessionBody) and body.before != line):
            raise self._succeeded(entry.number)
        return found

    def succeeded(self, entries: Mapping[int, Entry]) -> dict[int, str]:
        """Return what is wrong with entries of signers who had been succeeded by then.

        Readers notice it of what they use; whoever has read the whole journal can tell of all.
        """
        line = 0
        wrong: dict[int, str] = {}
        for number in sorted(entries):
            if not entries[number].raw.signer:
                continue
            try:
                line = self._next_line(entries[number], line)
            except ForgedError as error:
                wrong[number] = str(error)
        return wrong

    def _succeeded(self, number: int) -> ForgedError:
        return ForgedError(
            f"entry {number} of chain {self.name} is signed by an identity that another server "
            "had taken the chain over from"
        )

    def remembered(self, number: int) -> Entry:
        """Return an entry of the listing, compared with what the newest history says of it.

        Raises:
            ForkedError: another entry stands in its place.
            ForgedError: whoever signed it had been succeeded by then.
        """
        entry = self.entry(number)
        if entry.raw.signer and self._signers.line_of(entry) != max(
            line for line in self.lines if line <= number
        ):
            raise self._succeeded(number)
        newest = self.promise_entry
        if newest is not None and number < newest.number:
            record = self.history(newest).get(number)
            if record is not None and record.entry_hash != entry.hash:
                raise self._forked(number)
        return entry

    def _forked(self, number: int) -> ForkedError:
        return ForkedError(
            f"entry {number} of chain {self.name} is not the one that its history says: "
            "two histories exist",
            number=number,
        )

    def refresh(self) -> None:
        """Forget what was listed, so that newer entries are seen."""
        for name in (
            *("lines", "listing", "newest_session", "promise_entry"),
            *("_listed", "_remembered_hashes"),
        ):
            self.__dict__.pop(name, None)

    def list_anew(self) -> None:
        """Forget what was listed, and list the journal now."""
        self.refresh()
        self._listed = self.numbers()

    @cached_property
    def newest_session(self) -> Entry | None:
        """The newest session entry that is not given up, or None in an empty chain."""
        for number in reversed(self.listing):
            entry = self.entry(number)
            if isinstance(entry.body, SessionBody) and not self.is_condemned(number):
                return self.remembered(number)
        return None

    def is_condemned(self, number: int) -> bool:
        """Tell whether prune has given up this session entry; reads only what came after it."""
        return number in self._condemned_after(number)

    def condemned(self) -> set[int]:
        """Return the numbers of the session entries that prune has given up.

        A condemnation may come from anybody, so it counts for an entry only if the newest
        history before it remembers that entry and promises none of its points.
        """
        return self._condemned_after(0)

    def _condemned_after(self, start: int) -> set[int]:
        """Return what the condemnations numbered above `start` give up."""
        gone: set[int] = set()
        for number in reversed(self.listing):
            if number <= start:
                break
            body = self.entry(number).body
            if isinstance(body, CondemnationBody):
                history = self._history_before(number)
                for condemned in body.entries if history else ():
                    record = history.get(condemned) if history else None
                    if record is not None and not record.promised:
                        gone.add(condemned)
        return gone

    def _history_before(self, number: int) -> Table[HistoryRecord] | None:
        for earlier in reversed(self.listing):
            if earlier < number:
                entry = self.entry(earlier)
                if isinstance(entry.body, SessionBody | PromiseBody):
                    return self.history(entry)
        return None

    def head(self) -> Head | None:
        """Return the newest signed entry, as a reader would remember it."""
        for number in reversed(self.listing):
            entry = self.entry(number)
            if entry.raw.signer:
                return Head(self.chain_id, number, entry.hash)
        return None

    # --- what is promised ------------------------------------------------------------------

    def history(self, entry: Entry) -> Table[HistoryRecord]:
        body = entry.body
        assert isinstance(body, SessionBody | PromiseBody)
        return Table(HistoryRecord, HISTORY_SPAN, body.history, self.load_page)

    def check_head(self, known: Head) -> None:
        """Compare what is there with a head known from elsewhere.

        Raises:
            RolledBackError: the known entry is newer than anything here.
            ForkedError: the known number carries another history here.
        """
        newest = self.listing[-1] if self.listing else 0
        if known.number > newest:
            raise RolledBackError(
                f"chain {self.name} ends at entry {newest}, but entry {known.number} was seen "
                "before: the repository shows an older state",
                hint=self._why_older(known.number),
                known=known.number,
                newest=newest,
            )
        found = self.hash_of(known.number)
        if found is None:
            raise RolledBackError(
                f"entry {known.number} of chain {self.name} was seen before, and nothing here "
                "follows from it: the repository shows an older state",
                known=known.number,
            )
        if found != known.entry_hash:
            raise ForkedError(
                f"entry {known.number} of chain {self.name} is not the one that was seen "
                "before: two histories exist",
                number=known.number,
            )

    def _why_older(self, known: int) -> str:
        """Say what a reader who misses an entry may do."""
        for info in self.storage.list(layout.journal(self.chain_id)):
            mark = layout.copied_up_to_number(info.key)
            if mark is not None and mark < known:
                return (
                    f"{info.key} hides the newer points: a copy that stopped leaves it, and "
                    "copying again removes it. If nothing is copied here, somebody put it there: "
                    "without it they show again"
                )
        return "was an old copy of the storage put back? The newer points are missing"

    def hash_of(self, number: int) -> bytes | None:
        """Return the hash of an entry that is there or that the newest history remembers."""
        newest = self.promise_entry
        if newest is not None and number < newest.number:
            record = self.history(newest).get(number)
            if record is not None:
                return record.entry_hash
        return self.entry(number).hash if number in self.listing else None

    def live_points(self) -> list[LivePoint]:
        """Return every point that the newest signed entry promises, oldest first.

        Raises:
            PointWithheldError: a promised entry is missing.
            ForkedError: another stands in its place.
        """
        promise = self.promise_entry
        if promise is None:
            return []
        live: list[LivePoint] = []
        missing: list[str] = []
        there = set(self.listing)
        promised = {number: one for number, one in self.history(promise).items() if one.promised}
        for number, record in promised.items():
            if number not in there:
                missing.extend(point.hex() for point in record.promised)
        for number in self.coming(sorted(there & promised.keys())):
            record = promised[number]
            entry = self.remembered(number)
            live.extend(
                LivePoint(point, entry, point.point_id in record.held)
                for point in _points(entry)
                if point.point_id in record.promised
            )
        if missing:
            raise PointWithheldError(
                f"chain {self.name} lacks {counted(len(missing), 'point')} that entry "
                f"{promise.number} promises: {', '.join(missing)}",
                hint="the storage withholds or lost them; a copy of the repository may have them",
                points=missing,
            )
        if isinstance(promise.body, SessionBody):
            live.extend(LivePoint(point, promise, False) for point in promise.body.points)
        return live

    def given_up_points(self) -> list[LivePoint]:
        """Return points that nothing promises any longer, of entries that are still there.

        They are as genuine as ever: the newest history has the hash of each entry. What they
        need may be gone.
        """
        promise = self.promise_entry
        if promise is None:
            return []
        found: list[LivePoint] = []
        history = self.history(promise)
        for number in self.listing:
            record = history.get(number) if number < promise.number else None
            if record is None:
                continue
            try:
                entry = self.remembered(number)
            except (IntegrityError, UnsupportedVersionError):
                continue  # nobody promises that it is whole
            found += [
                LivePoint(point, entry, held=False, given_up=True)
                for point in _points(entry)
                if point.point_id not in record.promised
            ]
        return found

    def kept_entries(self) -> list[Entry]:
        """Return the session entries that hold at least one live point, oldest first."""
        numbers = {point.entry.number: point.entry for point in self.live_points()}
        return [numbers[number] for number in sorted(numbers)]

    # --- tables ----------------------------------------------------------------------------

    def load_page(self, ref: PageRef) -> bytes:
        """Return a page's bytes as stored; `paging` checks them against the reference.

        Raises:
            PointDamagedError: its tables object is missing or too short.
        """
        if self.memory is not None:
            kept = self.memory.get(ref.page_hash)
            if kept is not None:
                return kept
        key = layout.tables(self.chain_id, ref.object_id)
        try:
            page = self._pages.get(key, ref.offset, ref.length)
            if fingerprint(page) != ref.page_hash:
                page = self._pages.anew(key, ref.offset, ref.length)
        except ObjectMissingError:
            raise PointDamagedError(
                f"{key} is missing; every point of chain {self.name} made since refers to it"
            ) from None
        if self.memory is not None and fingerprint(page) == ref.page_hash:
            self.memory.put(ref.page_hash, page)
        return page

    def tables_coming(
        self, items: Iterable[T], roots_of: Callable[[T], Iterable[TableRoot]]
    ) -> Iterator[T]:
        """Yield what has tables that are going to be walked, each when their first pages are here.

        Where an answer takes a while, those of several items come side by side.
        """
        for some in batches(items, _TABLES_AHEAD):
            self.pages_ahead(root for one in some for root in roots_of(one))
            yield from some

    def pages_ahead(self, roots: Iterable[TableRoot]) -> None:
        """Read the pages that tables begin with, side by side where an answer takes a while.

        They are judged when they are used.
        """
        threads = at_once(self.storage)
        if threads > 1:
            refs = {root.page.object_id: root.page for root in roots if root.page is not None}
            for _ in side_by_side(self._look_ahead, refs.values(), threads):
                pass

    def _look_ahead(self, ref: PageRef) -> None:
        with suppress(StrongroomError):
            self.load_page(ref)

    def sessions(self, body: SessionBody) -> Table[SessionRecord]:
        return Table(SessionRecord, SESSION_SPAN, body.sessions, self.load_page)

    def sets(self, body: SessionBody) -> Table[SessionSet]:
        return Table(SessionSet, SET_SPAN, body.sets, self.load_page)

    def pack_sets(self, record: SessionSet) -> Table[PackSet]:
        return Table(PackSet, PACK_SET_SPAN, record.packs, self.load_page)

    def ledger(self, root: TableRoot) -> Table[LedgerPage]:
        return Table(LedgerPage, LEDGER_SPAN, root, self.load_page)

    # --- keys ------------------------------------------------------------------------------

    @cached_property
    def wrapped(self) -> WrappedKeys:
        """The chain keys, as they lie there for who can open them."""
        return WrappedKeys(self)

    @property
    def present_key_id(self) -> bytes:
        """The id of the chain key that the newest session sealed to; empty in a plain chain."""
        newest = self.newest_session
        body = newest.body if newest is not None else None
        if isinstance(body, SessionBody) and body.chain_public:
            from strongroom.crypto.hpke import PublicKey

            return PublicKey(body.chain_public).id
        return self.header.recipients

    def was_in_force(self, chain_key_id: bytes) -> bool:
        """Tell whether the chain began with this key, or a session that is here sealed to it."""
        if chain_key_id == self.header.recipients:
            return True
        from strongroom.crypto.hpke import PublicKey

        bodies = (self.entry(number).body for number in reversed(self.listing))
        return any(
            isinstance(body, SessionBody)
            and bool(body.chain_public)
            and PublicKey(body.chain_public).id == chain_key_id
            for body in bodies
        )


def _points(entry: Entry) -> list[PublicPoint]:
    return entry.body.points if isinstance(entry.body, SessionBody) else []
