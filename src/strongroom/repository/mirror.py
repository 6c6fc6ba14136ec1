"""A chain copied as it is to another repository: the same objects, byte for byte, no key needed.

The copy has the chain's own id, so the same signatures, heads and secrets count there. Nothing
is signed and nothing is opened. Whoever copies judges the source like a reader: the signer is
believed, the history holds, and it is no older than what the target has or was known before. A
pack travels only if every stored block has the hash that was signed; so what is damaged or
forged at the source never takes the place of what is right at the target.

What travels is what the newest signed state promises, as far as the target lacks it. The order
is what a crash cannot hurt and a reader of the target cannot notice (docs/format.md, "Copies"):

1. envelopes and links, packs, pages;
2. entries, ascending; where a reader would miss one in between, under a mark that hides them
   until all are there;
3. of a chain that is new there, the header.

So a copy that was interrupted goes on by being made again.
"""

from __future__ import annotations

import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from strongroom.crypto import random
from strongroom.errors import (
    ForkedError,
    IntegrityError,
    MalformedError,
    NotFoundError,
    ObjectExistsError,
    ObjectLockedError,
    ObjectMissingError,
    PointDamagedError,
    StrongroomError,
    UnsupportedVersionError,
    UnvouchedError,
)
from strongroom.format import header as headers
from strongroom.format import pack as packs
from strongroom.format.codec import MAX_BODY, MAX_SMALL, unframe
from strongroom.format.journal import (
    IdentityBody,
    PromiseBody,
    SessionBody,
    SuccessionBody,
    frame_entry,
)
from strongroom.format.paging import check_page
from strongroom.format.versions import TABLES
from strongroom.model.phrases import counted
from strongroom.repository import copy_marks, layout, locks
from strongroom.repository.chain import Chain, Head
from strongroom.repository.framed import get_framed
from strongroom.repository.packs import Expected, check_pack
from strongroom.repository.progress import Silent
from strongroom.repository.reach import Reach, UsedPack, states_coming, used_packs
from strongroom.repository.scrub_report import Damage
from strongroom.repository.state import StateBlocks
from strongroom.repository.stored_packs import Form, forms_of_all, next_generation, read_form
from strongroom.storage.reading import at_once, side_by_side

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from strongroom.clock import Clock
    from strongroom.format.journal import Entry
    from strongroom.format.paging import PageRef
    from strongroom.repository.chain import LivePoint, Trust
    from strongroom.repository.progress import Cancellation, Progress
    from strongroom.repository.repository import Repository
    from strongroom.storage.base import Buffer, Composed, ObjectInfo, Part

_THREADS: Final = 4
_LARGE: Final = 48 << 20
"""Packs beyond this are held in memory one at a time."""
_MOST_PACK: Final = packs.MAX_PACK + packs.MAX_TRAILER + packs.FOOTER_LENGTH
_MOST_TABLES: Final = MAX_BODY + 64
_ATTEMPTS: Final = 5
"""Each lost to a prune of the source that came between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedChain:
    """What one copy of a chain did, or would do."""

    chain: str
    job: str
    """Id of its job."""
    sealed: bool
    done: bool
    """False after a dry run."""
    points: tuple[str, ...]
    """Ids of the points that the source promises, oldest first: the target's, once it is done."""
    newest_entry: int
    objects: int
    """Objects that travelled, or would."""
    stored_bytes: int
    replaced: tuple[str, ...]
    """Keys at the target that held something else than what belongs there."""
    damaged: tuple[Damage, ...]

    @property
    def nothing(self) -> bool:
        """Whether the target had all of it."""
        return not self.objects


@dataclass(frozen=True, slots=True)
class PackToBring:
    """A pack that travels."""

    form: Form
    """What holds it at the source."""
    key: str
    """What it is to be called at the target."""
    pack: UsedPack
    instead_of: list[str]
    """Forms at the target that lack something of it."""


@dataclass(slots=True)
class MirrorPlan:
    """What has to travel from one chain to a repository."""

    source: Chain
    target: Repository
    points: tuple[str, ...]
    head: Head
    kept: list[Entry]
    """Session entries whose states have to be whole."""
    packs: list[PackToBring] = field(default_factory=list)
    pages: dict[bytes, list[PageRef]] = field(default_factory=dict)
    """Tables objects that lack at the target, with the pages that are needed of each."""
    entries: list[int] = field(default_factory=list)
    hidden: bool = False
    """A reader would miss a promised entry between two of them."""
    ways: dict[str, bytes] = field(default_factory=dict)
    """Envelopes and links, as they were judged, by their keys."""
    superseded: list[str] = field(default_factory=list)
    """Keys of envelopes at the target that a re-wrap replaced."""
    keeps_ways: bool = False
    """Whether the target's envelopes stay, whatever the source has re-wrapped."""
    kept_ways: list[str] = field(default_factory=list)
    """Keys of envelopes of the source that would have replaced some of the target's."""
    header: bool = False
    replaced: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes of the source's objects, by key."""
    missing: list[UsedPack] = field(default_factory=list)
    """Packs that are at neither end."""
    named: bool = False
    """A newer chain of the job names the source."""
    there: dict[str, int] = field(default_factory=dict)
    """Bytes of the target's objects, by key."""

    @property
    def keys(self) -> list[str]:
        """Return the keys of all that travels."""
        chain_id = self.source.chain_id
        return [
            *self.ways,
            *(one.form.key for one in self.packs),
            *(layout.tables(chain_id, object_id) for object_id in self.pages),
            *(layout.entry(chain_id, number) for number in self.entries),
            *([layout.header(chain_id)] if self.header else []),
        ]

    @property
    def stored_bytes(self) -> int:
        return sum(self.sizes.get(key, 0) for key in self.keys)

    def outcome(self, *, done: bool, damaged: Iterable[Damage] = ()) -> CopiedChain:
        """Return what is to be said of it."""
        return CopiedChain(
            chain=self.source.chain_id.hex(),
            job=self.source.header.job_id.hex(),
            sealed=self.source.sealed,
            done=done,
            points=self.points,
            newest_entry=self.head.number,
            objects=len(self.keys),
            stored_bytes=self.stored_bytes,
            replaced=tuple(self.replaced),
            damaged=(*self.damages(self.missing), *damaged),
        )

    def damages(self, lacking: Iterable[UsedPack]) -> list[Damage]:
        """Tell of packs that are missing at the source."""
        return [
            Damage(
                object=layout.pack(self.source.chain_id, one.directory.pack_id),
                what="is missing",
                points=self.points_using(one, one.directory.places),
            )
            for one in lacking
        ]

    def points_using(self, pack: UsedPack, places: Iterable[int]) -> tuple[str, ...]:
        """Return the promised points whose state uses a block at one of these places."""
        bits = sum(1 << place for place in places)
        hurt: list[str] = []
        for entry in self.kept:
            assert isinstance(entry.body, SessionBody)
            if StateBlocks(self.source, entry.body).bits(pack.slot, pack.ordinal) & bits:
                hurt += [point.point_id.hex() for point in entry.body.points]
        return tuple(one for one in dict.fromkeys(hurt) if one in self.points)


def plan_mirror(
    source: Chain,
    target: Repository,
    trust: Trust,
    *,
    known: Head | None = None,
    named: bool = False,
    check: bool = False,
    keeps_ways: bool = False,
    progress: Progress,
    cancel: Cancellation,
) -> MirrorPlan | None:
    """Judge a chain, and find out what of it the target lacks; writes nothing.

    Args:
        source: The chain as it is where it is copied from.
        target: Where its copy is, or is to be.
        trust: Whose signatures count.
        known: The newest entry known of it from elsewhere.
        named: A newer chain of the job names this one, so readers look for it: without
            points its journal travels all the same, and no state that nobody goes on in.
        check: Read what the target has already, and replace what is not what was signed.
        keeps_ways: Replace no envelope of the target's that is intact: who can sign could shut
            out everybody else by it.
        progress: Is told how reading the target goes.
        cancel: Stops that.

    Returns:
        What has to travel; None where the source promises no point, the target has nothing, and
        nobody looks for it there.

    Raises:
        UnvouchedError: nobody here believes who signs it.
        RolledBackError, ForkedError: the source is older than the target or what is known, or
            has another history.
        IntegrityError: the source is damaged or withheld in part.
    """
    return _Planner(source, target, trust, known, named, check, keeps_ways, progress, cancel).plan()


def carry_out(
    plan: MirrorPlan,
    trust: Trust,
    clock: Clock,
    *,
    declare: bool = True,
    progress: Progress,
    cancel: Cancellation,
) -> CopiedChain:
    """Bring to the target what it lacks.

    Safe to repeat after it stopped at any instant: what arrived is not sent again.

    Args:
        plan: From `plan_mirror`.
        trust: As there.
        clock: For the target's lock, and notes.
        declare: Let the target's chain be one that is kept by copying. It is not where a copy
            mends the chain that a job writes to.
        progress: Is told of every byte that travelled.
        cancel: Looked at between two objects.

    Raises:
        LockedError: somebody is at work on this job at the target.
        StorageUnavailableError: one end did not answer; copy again.
        CancelledError: on request.
    """
    job_lock = layout.job_lock(plan.source.header.job_id)
    storage = plan.target.storage
    with locks.acquire(
        storage, job_lock, random.token(16).hex(), clock, command="repository copy"
    ) as lock:
        for attempt in range(_ATTEMPTS):
            carrier = _Carrier(plan, clock, lock, declare, progress, cancel)
            try:
                return carrier.run()
            except _SourceMovedError as moved:
                # A prune of the source removed what its newest state no longer needs.
                if attempt == _ATTEMPTS - 1:
                    raise moved.error from None
                newer = Chain(plan.source.storage, plan.source.chain_id)
                found = plan_mirror(
                    newer,
                    plan.target,
                    trust,
                    known=plan.head,
                    named=True,
                    keeps_ways=plan.keeps_ways,
                    progress=progress,
                    cancel=cancel,
                )
                if found is None or found.head == plan.head:
                    raise moved.error from None
                plan = found
    raise AssertionError("the last attempt returns or raises")


class _SourceMovedError(Exception):
    """Something went away at the source while it was being copied."""

    def __init__(self, error: StrongroomError) -> None:
        self.error = error
        super().__init__(str(error))


# --- deciding --------------------------------------------------------------------------------


class _Planner:
    """Looks at both ends."""

    def __init__(
        self,
        source: Chain,
        target: Repository,
        trust: Trust,
        known: Head | None,
        named: bool,
        check: bool,
        keeps_ways: bool,
        progress: Progress,
        cancel: Cancellation,
    ) -> None:
        self._chain = source
        self._target = target
        self._storage = target.storage
        self._trust = trust
        self._known = known
        self._named = named
        self._check = check
        self._keeps_ways = keeps_ways
        self._progress = progress
        self._cancel = cancel

    def plan(self) -> MirrorPlan | None:
        chain = self._chain
        copy = self._copy()
        live = self._judge(copy)
        head = chain.head()
        if head is None or not (live or copy is not None or self._named):
            return None
        promise = chain.promise_entry
        assert promise is not None or not live
        newest = chain.newest_session
        kept = {entry.number: entry for entry in chain.kept_entries()}
        if newest is not None and (live or not self._named):
            kept[newest.number] = newest  # whoever goes on in the copy builds on it
        plan = MirrorPlan(
            source=chain,
            target=self._target,
            points=tuple(one.point.point_id.hex() for one in live),
            head=head,
            kept=[kept[number] for number in sorted(kept)],
            named=self._named,
            keeps_ways=self._keeps_ways,
        )
        prefix = layout.chain(chain.chain_id)
        plan.sizes = {info.key: info.size for info in chain.storage.list(prefix)}
        header = layout.header(chain.chain_id)
        plan.sizes[header] = chain.storage.size(header)
        plan.there = {info.key: info.size for info in self._storage.list(prefix)}
        plan.header = copy is None
        needed = self._entries(plan, promise.number if promise else 0)
        self._plan_pages_and_packs(plan, needed)
        self._plan_entries(plan, needed)
        self._plan_ways(plan)
        return plan

    # --- judging -----------------------------------------------------------------------------

    def _copy(self) -> Chain | None:
        """Return the chain as the target has it; None where it has none that readers see.

        Raises:
            ForkedError: another chain stands under this one's id.
        """
        try:
            copy = Chain(self._storage, self._chain.chain_id)
        except NotFoundError:
            return None
        if copy.root_hash != self._chain.root_hash:
            raise ForkedError(
                f"the header of chain {copy.name} at {self._storage.location} is another one: it "
                "is no copy of this chain",
                chain=self._chain.chain_id.hex(),
            )
        return copy

    def _judge(self, copy: Chain | None) -> list[LivePoint]:
        """Return the source's promised points, if all of it is to be believed."""
        chain, trust = self._chain, self._trust
        trust.refuse_unpinned(chain)
        if not trust.knows(chain.identity):
            raise UnvouchedError(
                f"chain {chain.name} is signed by {chain.identity.fingerprint}, which is not "
                "believed here",
                hint="pin it with --signer, or accept it once with 'strongroom repository trust'",
                fingerprint=chain.identity.fingerprint,
            )
        if self._known is not None:
            chain.check_head(self._known)
        if copy is not None:
            has = _newest_believed(copy, trust)
            if has is not None:
                chain.check_head(has)
                self._refuse_forgetting(copy)
        return chain.live_points()

    def _refuse_forgetting(self, copy: Chain) -> None:
        """Go on if the source's history still has every entry that the copy's has.

        What is remembered stays so (docs/format.md, "History"). A signer who lets the past be
        forgotten would have what a keeper's floor keeps be nobody's.

        Raises:
            ForkedError: the source's history has another entry, or none.
        """
        known, newest = _newest_history(copy), self._chain.promise_entry
        if known is None or newest is None or newest.hash == known.hash:
            return
        forgotten = []
        if self._chain.hash_of(known.number) != known.hash:
            forgotten.append(known.number)
        try:
            forgotten += [
                number
                for number, now, then in self._chain.history(newest).differences(
                    copy.history(known)
                )
                if then is not None and (now is None or now.entry_hash != then.entry_hash)
            ]
        except PointDamagedError:
            # Pages at the target, which are about to be replaced: what they led to is there.
            forgotten += [
                number
                for number in copy.numbers()
                if number < known.number and self._chain.hash_of(number) != _hash_at(copy, number)
            ]
        if forgotten:
            raise ForkedError(
                f"the history of chain {self._chain.name} at {self._chain.storage.location} has "
                f"another entry {min(forgotten)} than its copy, or none: two histories exist",
                number=min(forgotten),
            )

    # --- what is needed ------------------------------------------------------------------------

    def _entries(self, plan: MirrorPlan, promise: int) -> list[Entry]:
        """Return the entries that a copy has to have: what readers of the newest state read."""
        chain = self._chain
        kept = {entry.number for entry in plan.kept}
        needed: list[Entry] = []
        for number in chain.coming(chain.listing):
            if number > plan.head.number:
                continue  # unsigned, and nothing signed follows it yet
            entry = chain.entry(number)
            introduces = isinstance(entry.body, IdentityBody | SuccessionBody)
            if number >= promise or number in kept or introduces:
                needed.append(chain.remembered(number))
        return needed

    def _plan_pages_and_packs(self, plan: MirrorPlan, needed: list[Entry]) -> None:
        chain_id = self._chain.chain_id
        pages: dict[bytes, list[PageRef]] = {}
        reach = Reach(self._chain, met=lambda ref: pages.setdefault(ref.object_id, []).append(ref))
        here = forms_of_all(plan.sizes.items())
        there = forms_of_all(plan.there.items())
        for pack in used_packs(reach, self._chain, plan.kept):
            pack_id = pack.directory.pack_id
            source, copied = here.get(pack_id, []), there.get(pack_id, [])
            if any(self._holds(form, pack, source) for form in copied):
                continue
            plan.replaced.extend(form.key for form in copied)
            if not source:
                plan.missing.append(pack)
                continue
            # Beside what compaction made of it at the target, under a number of its own.
            generation = next_generation(copied)
            key = (
                layout.thinned(chain_id, pack_id, max(generation, source[0].generation))
                if source[0].generation
                else source[0].key
            )
            plan.packs.append(PackToBring(source[0], key, pack, [form.key for form in copied]))
        for entry in states_coming(self._chain, needed):
            if isinstance(entry.body, SessionBody | PromiseBody):
                for _ in reach.history(entry.body.history):
                    pass
        for object_id, refs in pages.items():
            key = layout.tables(chain_id, object_id)
            if key in plan.there:
                if plan.there[key] == plan.sizes.get(key) and self._has_pages(key, refs):
                    continue
                plan.replaced.append(key)
            plan.pages[object_id] = refs

    def _holds(self, form: Form, pack: UsedPack, source: Sequence[Form]) -> bool:
        """Tell whether a form at the target has every block that is needed of a pack."""
        origin_id = self._chain.origin_id
        try:
            if self._check:
                expected = Expected(pack.session_id, pack.encoded, pack.directory)
                state = check_pack(
                    self._storage, form, origin_id, expected, self._progress, self._cancel
                )
                self._progress.reading(form.key)
                lost = any(pack.used >> place & 1 for place in state.absent)
                return not (state.problems or lost)
            if form.generation and not any(
                (form.key, form.size) == (one.key, one.size) for one in source
            ):
                offsets = read_form(self._storage, form, origin_id).offsets
                return all(
                    place in offsets for place in pack.directory.places if pack.used >> place & 1
                )
        except (ObjectMissingError, IntegrityError):
            return False
        whole = next((one for one in source if not one.generation), None)
        return form.generation != 0 or whole is None or whole.size == form.size

    def _has_pages(self, key: str, refs: list[PageRef]) -> bool:
        if not self._check:
            return True
        try:
            _check_tables(self._storage.get(key), key, refs)
        except IntegrityError:
            return False
        return True

    def _plan_entries(self, plan: MirrorPlan, needed: list[Entry]) -> None:
        """Find the entries that lack, and whether readers would miss one in between."""
        chain = self._chain
        present = {
            number
            for key in plan.there
            if (number := layout.entry_number(key)) is not None
            and key == layout.entry(chain.chain_id, number)
        }
        for entry in needed:
            key = layout.entry(chain.chain_id, entry.number)
            if entry.number in present:
                if plan.there[key] == plan.sizes.get(key) and self._is_same(plan, key):
                    continue
                plan.replaced.append(key)
            plan.entries.append(entry.number)
        reach = Reach(chain)
        for number in plan.entries if not plan.header else ():
            body = chain.entry(number).body
            if isinstance(body, SessionBody | PromiseBody) and not plan.hidden:
                plan.hidden = any(
                    record.promised and one not in present
                    for one, record in reach.history(body.history)
                )
            present.add(number)
        if len(plan.entries) == 1:
            plan.hidden = False  # one entry comes whole or not at all

    def _is_same(self, plan: MirrorPlan, key: str) -> bool:
        """Tell whether an entry at the target is the source's.

        Of one that readers use the histories say so, unless it is to be looked at.
        """
        if not (self._check or plan.header or layout.entry_number(key) == plan.head.number):
            return True
        return self._storage.get(key) == self._chain.storage.get(key)

    def _plan_ways(self, plan: MirrorPlan) -> None:
        """Find envelopes and links that lack, and envelopes that a re-wrap replaced.

        Never goes back behind a generation that the target has.
        """
        chain = self._chain
        highest: dict[bytes, int] = {}
        for key in plan.there:
            parts = layout.envelope_parts(key) if key.startswith(self._envelopes) else None
            if parts is not None and self._intact(key):
                highest[parts[0]] = max(highest.get(parts[0], 0), parts[1])
        best = {key_id: one.generation for key_id, one in chain.wrapped.read_envelopes()[0].items()}
        if self._keeps_ways:
            for key_id, generation in highest.items():
                if best.get(key_id, 0) > generation:
                    plan.kept_ways.append(
                        layout.envelope(chain.chain_id, key_id, best.pop(key_id), "a")
                    )
        for key in plan.sizes:
            if key.startswith(self._envelopes):
                parts = layout.envelope_parts(key)
                if parts is None or parts[1] != best.get(parts[0]):
                    continue
                if parts[1] < highest.get(parts[0], 0):
                    continue
                if key in plan.there:
                    if self._intact(key):
                        continue
                    plan.replaced.append(key)
                with suppress(IntegrityError, UnsupportedVersionError):
                    data = get_framed(chain.storage, key, MAX_SMALL)
                    envelope = chain.wrapped.read_envelope(data, key)
                    if parts == (envelope.chain_key_id, envelope.generation):
                        plan.ways[key] = data
            elif key.startswith(layout.links(chain.chain_id)) and key not in plan.there:
                ends = layout.link_keys(key)
                with suppress(IntegrityError, UnsupportedVersionError):
                    data = get_framed(chain.storage, key, MAX_SMALL)
                    link = headers.read_link(data, key)
                    if (link.chain_id, (link.newer_id, link.older_id)) == (chain.chain_id, ends):
                        plan.ways[key] = data
        for key in plan.there:
            parts = layout.envelope_parts(key) if key.startswith(self._envelopes) else None
            if parts is not None and parts[1] < best.get(parts[0], 0):
                plan.superseded.append(key)

    @property
    def _envelopes(self) -> str:
        return layout.envelopes(self._chain.chain_id)

    def _intact(self, key: str) -> bool:
        try:
            envelope = self._chain.wrapped.read_envelope(
                get_framed(self._storage, key, MAX_SMALL), key
            )
        except (IntegrityError, UnsupportedVersionError):
            return False
        return layout.envelope_parts(key) == (envelope.chain_key_id, envelope.generation)


def _newest_believed(copy: Chain, trust: Trust) -> Head | None:
    """Return the newest entry of a copy that somebody signed who is believed.

    What is damaged there, or planted, is passed over: it is to be replaced.
    """
    for number in reversed(copy.numbers()):
        try:
            entry = copy.entry(number)
            if not entry.raw.signer:
                continue
            upto = Chain(copy.storage, copy.chain_id, number)
            if trust.knows(upto.identity):
                return Head(copy.chain_id, number, entry.hash)
        except (IntegrityError, UnsupportedVersionError):
            continue
    return None


def _newest_history(copy: Chain) -> Entry | None:
    """Return the newest intact entry of a copy that carries a history."""
    for number in reversed(copy.numbers()):
        try:
            entry = copy.entry(number)
        except (IntegrityError, UnsupportedVersionError):
            continue
        if isinstance(entry.body, SessionBody | PromiseBody):
            return entry
    return None


def _hash_at(copy: Chain, number: int) -> bytes | None:
    try:
        return copy.entry(number).hash
    except (IntegrityError, UnsupportedVersionError):
        return None


# --- acting ----------------------------------------------------------------------------------


class _Carrier:
    """Brings the objects of one plan."""

    def __init__(
        self,
        plan: MirrorPlan,
        clock: Clock,
        lock: locks.Lock,
        declare: bool,
        progress: Progress,
        cancel: Cancellation,
    ) -> None:
        self._plan = plan
        self._clock = clock
        self._lock = lock
        self._declare = declare
        self._progress = progress
        self._cancel = cancel
        self._source = plan.source.storage
        self._target = plan.target.storage
        self._chain_id = plan.source.chain_id
        self._wrong = set(plan.replaced)
        self._large = threading.Lock()
        self._threads = min(at_once(self._source, self._target), _THREADS)

    def run(self) -> CopiedChain:
        plan = self._plan
        if plan.keys and self._declare:
            copy_marks.declare(self._target, self._chain_id, self._clock)
        self._progress.begin(f"copy {plan.source.name}", plan.stored_bytes)
        for key, data in plan.ways.items():
            self._bring(key, data)
        damaged = self._bring_packs()
        for _ in side_by_side(self._bring_pages, plan.pages.items(), self._threads):
            pass
        self._bring_entries()
        if plan.header:
            self._bring(layout.header(self._chain_id), plan.source.stored_header)
        for key in plan.superseded:
            with suppress(ObjectLockedError):  # a vault lets a later copy have it
                self._target.delete(key)
        self._progress.finish()
        return plan.outcome(done=True, damaged=damaged)

    def _bring_pages(self, one: tuple[bytes, list[PageRef]]) -> None:
        self._cancel.check()
        object_id, refs = one
        key = layout.tables(self._chain_id, object_id)
        if self._plan.sizes.get(key, 0) > _MOST_TABLES:
            raise MalformedError(f"{key} is longer than any object of its kind")
        data = self._read(key)
        _check_tables(data, key, refs)
        self._bring(key, data)

    # --- packs -------------------------------------------------------------------------------

    def _bring_packs(self) -> list[Damage]:
        """Bring the packs, several at once; return those that are damaged at the source."""
        damaged: list[Damage] = []
        pending: set[Future[Damage | None]] = set()
        with ThreadPoolExecutor(_THREADS, "copy") as threads:
            try:
                for pack in self._plan.packs:
                    self._cancel.check()
                    self._lock.refresh()
                    pending.add(threads.submit(self._bring_pack, pack))
                    if len(pending) > _THREADS:
                        done, pending = wait(pending, return_when=FIRST_COMPLETED)
                        damaged += [one for future in done if (one := future.result()) is not None]
                damaged += [one for future in pending if (one := future.result()) is not None]
            finally:
                threads.shutdown(wait=True, cancel_futures=True)
        return sorted(damaged, key=lambda one: one.object)

    def _bring_pack(self, one: PackToBring) -> Damage | None:
        form, pack = one.form, one.pack
        if form.size > _MOST_PACK:
            what = f"has {form.size} bytes, more than any pack"
            places = pack.directory.places
            return Damage(object=form.key, what=what, points=self._plan.points_using(pack, places))
        with self._large if form.size > _LARGE else nullcontext():
            data = self._read(form.key)
            state = check_pack(
                _Held(form.key, data),
                Form(form.key, len(data), form.generation),
                self._plan.source.origin_id,
                Expected(pack.session_id, pack.encoded, pack.directory),
                Silent(),
                self._cancel,
            )
            problems = list(state.problems)
            lost = [place for place in state.absent if pack.used >> place & 1]
            if lost:
                problems.append(f"lacks {counted(len(lost), 'block')} that points use")
            if problems:
                # Where not even the directory holds, nobody can say which blocks still do.
                places = [*state.damaged, *lost] or pack.directory.places
                return Damage(
                    object=form.key,
                    what="; ".join(problems),
                    points=self._plan.points_using(pack, places),
                )
            self._bring(one.key, data)
            for key in one.instead_of:
                if key != one.key:
                    with suppress(ObjectLockedError):
                        self._target.delete(key)
        return None

    # --- entries -----------------------------------------------------------------------------

    def _bring_entries(self) -> None:
        """Bring the entries, so that readers see the state before or the newest, none between."""
        plan, chain_id = self._plan, self._chain_id
        marks = copy_marks.unfinished(self._target, chain_id)
        if plan.hidden and not marks:
            copy = Chain(self._target, chain_id)
            seen = copy.listing[-1] if copy.listing else 0
            mark = layout.copied_up_to(chain_id, seen)
            self._target.put(mark, b"upto")
            marks = [mark]
        # Which nobody sees yet may come in any order.
        unseen = bool(plan.header or marks)
        for _ in side_by_side(self._bring_entry, plan.entries, self._threads if unseen else 1):
            pass
        for mark in marks:
            self._target.delete(mark)

    def _bring_entry(self, number: int) -> None:
        self._cancel.check()
        # As it was judged: the source may answer otherwise when it is asked again.
        entry = self._plan.source.entry(number)
        data = frame_entry(entry.encoded, entry.signature)
        self._bring(layout.entry(self._chain_id, number), data)

    # --- objects -----------------------------------------------------------------------------

    def _read(self, key: str) -> bytes:
        try:
            return self._source.get(key)
        except ObjectMissingError as error:
            raise _SourceMovedError(error) from error

    def _bring(self, key: str, data: bytes) -> None:
        if key in self._wrong:
            self._target.delete(key)
        try:
            self._target.put(key, data)
        except ObjectExistsError:
            # Of another copy that was at work a moment ago, or an answer that was lost.
            if self._target.size(key) != len(data):
                raise
        self._progress.advance(len(data))


class _Held:
    """One object that was read, as a storage to check it in."""

    location = "memory"

    def __init__(self, key: str, data: bytes) -> None:
        self._key = key
        self._data = memoryview(data)

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        self.size(key)
        return bytes(self._data[offset : None if length is None else offset + length])

    def size(self, key: str) -> int:
        if key != self._key:
            raise ObjectMissingError(f"{key} is not held")
        return len(self._data)

    def exists(self, key: str) -> bool:
        return key == self._key

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        raise NotImplementedError(prefix)

    def put(self, key: str, data: Buffer) -> None:
        raise NotImplementedError(key, len(data))

    def delete(self, key: str) -> None:
        raise NotImplementedError(key)

    def compose(self, target: str, parts: Sequence[Part]) -> Composed:
        raise NotImplementedError(target, len(parts))

    def free_bytes(self) -> int | None:
        return None


def _check_tables(data: bytes, key: str, refs: Iterable[PageRef]) -> None:
    """Go on if an object holds these pages.

    Raises:
        IntegrityError: it does not.
    """
    unframe(TABLES, data, key)
    for ref in refs:
        page = data[ref.offset : ref.offset + ref.length]
        if len(page) != ref.length:
            raise MalformedError(f"{key} ends before a page that was signed")
        check_page(ref, page)
