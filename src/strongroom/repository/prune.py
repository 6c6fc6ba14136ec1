"""What no promised point needs any more: decided from signed states, then condemned, then removed.

The order is what a crash and a session at work cannot hurt (docs/format.md, "Order of writes"):

1. the promise is taken back, by a session or by hand; that is not done here;
2. a CONDEMNATION names every object that is to go, so that whoever publishes later has read it;
3. the quarantine passes, for readers who still hold the older state;
4. a prune decides anew and removes what it still finds unneeded *and* finds condemned. Nobody
   removes anything because an entry says so: a condemnation may come from anybody.

What is needed is judged against every kept entry and not only against the neighbours of the
ones that go. Pages that states share are read once, so it costs little more, and it holds even
where a condemnation made a session build on an older entry than the one before it.

Where no session is at work, prune holds the job's lock, and what no entry leads to was left by one
that is dead. If the lock was broken and it does live, it finds its objects condemned and does not
publish. Packs of a dead session survive the quarantine: the next session of the job may take them
over until then.

Beside a session at work only those entries go whose points are given up, and what they lead to:
whatever the session may refer to is used by the newest state, which stays, or no entry leads to it
yet. So that stays as well, and so do sealed keys and a chain that has expired.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Final

from strongroom.clock import to_microseconds
from strongroom.crypto import random
from strongroom.errors import (
    ConflictError,
    IntegrityError,
    LockedError,
    NotFoundError,
    StrongroomError,
    UnsupportedVersionError,
)
from strongroom.format import pack as packs
from strongroom.format.journal import (
    CondemnationBody,
    DeathBody,
    Entry,
    IdentityBody,
    PromiseBody,
    SessionBody,
    SuccessionBody,
)
from strongroom.model.floor import Floor, Stored, below
from strongroom.model.phrases import counted
from strongroom.repository import copy_marks, layout, locks
from strongroom.repository.append import append_entry
from strongroom.repository.moments import claimed_moment
from strongroom.repository.reach import Reach, states_coming, used_packs
from strongroom.repository.removal import Removal, Remover
from strongroom.storage.reading import at_once, side_by_side

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from datetime import datetime, timedelta

    from strongroom.clock import Clock
    from strongroom.crypto.signing import SigningKey
    from strongroom.format.paging import PageRef
    from strongroom.format.tables import HistoryRecord
    from strongroom.repository.chain import Chain
    from strongroom.repository.repository import Repository
    from strongroom.storage.base import ObjectInfo

NO_FLOOR: Final = Floor()
_MOST_NAMED: Final = 50_000
"""Objects that one condemnation names: an entry has to stay far below its limit."""
_ATTEMPTS: Final = 20
"""Each lost to somebody else's entry; more than this and somebody is playing games."""


@dataclass(frozen=True, kw_only=True)
class PrunePlan:
    """What may go from one chain."""

    chain: str
    job: str
    whole_chain: bool
    """Whether all of it goes: no point of it is promised, and nobody goes on in it."""
    kept_points: int
    spared_points: tuple[str, ...]
    """Ids of points that the signer gave up, and that the keeper's floor keeps."""
    entries: tuple[int, ...]
    """Session entries whose points are all given up."""
    removals: tuple[Removal, ...]
    """In the order in which they go."""
    freed_bytes: int
    """Bytes of all removals."""
    live_bytes: int
    """Bytes of blocks that a kept entry uses."""
    dead_bytes: int
    """Bytes of blocks that none uses, in packs that stay for their other blocks."""
    remarks: tuple[str, ...]
    """Why something stays that one might expect to go."""

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to do."""
        return not self.removals

    def text(self) -> str:
        """Return the plan for people."""
        if self.whole_chain:
            lines = [f"chain {self.chain[:12]}: expired, all of it goes"]
        else:
            lines = [f"chain {self.chain[:12]}: {counted(self.kept_points, 'point')} kept"]
        if self.spared_points:
            lines.append(
                f"  {counted(len(self.spared_points), 'point')} that the signer gave up stay: "
                "the floor keeps them"
            )
        reasons: dict[str, tuple[int, int]] = {}
        for one in self.removals:
            count, size = reasons.get(one.reason, (0, 0))
            reasons[one.reason] = (count + 1, size + one.stored_bytes)
        lines.extend(
            f"  {counted(count, 'object')}, {counted(size, 'byte')}: {reason}"
            for reason, (count, size) in reasons.items()
        )
        lines.extend(f"  {remark}" for remark in self.remarks)
        if self.nothing:
            lines.append("  nothing to remove")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneResult:
    """What one prune of a chain did."""

    chain: str
    condemned: int
    """Objects newly condemned."""
    removed: int
    freed_bytes: int
    waiting: int
    """Objects whose quarantine is not over."""
    due_at: datetime | None
    """When the last of them may go."""
    locked: int
    """Objects whose quarantine is over, and which the storage keeps locked all the same."""
    locked_until: datetime | None
    """When the last of those may go."""
    left: str | None
    """Why nothing was done: who holds the job."""
    beside: str | None
    """The session that is at work on the job: what may be its own stays meanwhile."""


def plan_prune(
    repository: Repository,
    chain: Chain,
    clock: Clock,
    quarantine: timedelta,
    floor: Floor = NO_FLOOR,
) -> PrunePlan:
    """Decide what may go from a chain; changes nothing.

    The caller has checked that it believes the chain's signer, and that the chain is not older
    than what it knows of it: decided from an older state, this would remove what newer points
    need.

    Args:
        repository: Where the chain is; the job's other chains say whether it goes on.
        chain: The chain.
        clock: Tells whose quarantine is over.
        quarantine: How long what is condemned from now on stays.
        floor: What stays although its signer gave it up.

    Raises:
        IntegrityError: the chain is damaged or withheld in part; nothing may go from it.
    """
    return _Prune(repository, chain, clock, quarantine, floor).decide()


def carry_out(plan: PrunePlan, signer: SigningKey | None = None) -> PruneResult:
    """Condemn what the plan names, and remove what was condemned and has served its quarantine.

    Safe to repeat after a crash at any instant. If the chain has changed since the plan was made,
    it is made anew, and only what stands in both goes.

    Args:
        plan: From `plan_prune`.
        signer: Signs the condemnation, if it is one of the chain's signers; keyless machines
            have none.

    Raises:
        IntegrityError: the chain is damaged or withheld in part; nothing was removed.
        StorageUnavailableError: the storage did not answer; prune again.
        ConflictError: others keep changing the chain.
    """
    if not isinstance(plan, _ChainPlan):
        raise TypeError("a plan to carry out comes from plan_prune")
    return plan.prune.carry_out(plan, signer)


# --- deciding --------------------------------------------------------------------------------


class _ChainPlan(PrunePlan):
    """A plan that knows what it was made from."""

    prune: _Prune
    top: tuple[int, bytes]
    """Number and hash of the journal's newest entry when the plan was made."""
    bearers: dict[int, set[bytes]]
    """Tables objects that the history of an entry that goes is read from, by entry: as long as
    the entry is there, so must they be."""


@dataclass(slots=True)
class _Needed:
    """What must stay."""

    packs: set[bytes] = field(default_factory=set)
    tables: set[bytes] = field(default_factory=set)
    live_bytes: int = 0
    dead_bytes: int = 0


@dataclass(slots=True)
class _Sorted:
    """A chain's entries by what becomes of them."""

    kept: list[Entry] = field(default_factory=list)
    given_up: list[int] = field(default_factory=list)
    """Session entries of which no point is promised, and which no session will build on."""
    spared: list[int] = field(default_factory=list)
    """Session entries that are given up, and kept by the floor."""
    spent: list[int] = field(default_factory=list)
    """Other entries that a newer session has made meaningless."""

    @property
    def gone(self) -> list[int]:
        return sorted([*self.given_up, *self.spent])


class _Prune:
    """Decides for one chain, and acts."""

    def __init__(
        self,
        repository: Repository,
        chain: Chain,
        clock: Clock,
        quarantine: timedelta,
        floor: Floor,
    ) -> None:
        self._repository = repository
        self._storage = repository.storage
        self._chain = chain
        self._clock = clock
        self._quarantine = quarantine
        self._floor = floor
        self._prefix = layout.chain(chain.chain_id)
        self._mirror = copy_marks.is_mirror(self._storage, chain.chain_id)

    def decide(self, *, beside: bool = False) -> _ChainPlan:
        """Return what may go as the chain is now, beside a session at work or without one."""
        chain = self._chain
        chain.refresh()
        live = chain.live_points()
        remarks: list[str] = []
        below = self._below_floor()
        if live and self._mirror and self._dropped_elsewhere(below, remarks):
            live = []
        # Nobody goes on in a copy: without points it is of no use, and the next one brings all.
        ended = self._mirror or chain.ended
        over = not beside and not live and (ended or self._goes_on_elsewhere(remarks))
        entries = self._sort(over, below)
        spared = [entry for entry in entries.kept if entry.number in entries.spared]
        whole = over and not spared and not self._named_elsewhere(remarks)
        stay = [
            entry
            for number in chain.listing
            if number not in entries.gone
            for entry in [chain.entry(number)]
            if isinstance(entry.body, SessionBody | PromiseBody)
        ]
        needed = self._needed(entries.kept, stay)
        removals = self._removals(entries, needed, whole)
        bearers = self._bearers(entries)
        if beside:
            led_to = self._led_to(entries, bearers)
            removals = [one for one in removals if led_to(one.object)]
        plan = _ChainPlan(
            chain=chain.chain_id.hex(),
            job=chain.header.job_id.hex(),
            whole_chain=whole,
            kept_points=len(live),
            spared_points=tuple(
                point.point_id.hex()
                for entry in spared
                if isinstance(entry.body, SessionBody)
                for point in entry.body.points
            ),
            entries=tuple(entries.given_up),
            removals=tuple(removals),
            freed_bytes=sum(one.stored_bytes for one in removals),
            live_bytes=needed.live_bytes,
            dead_bytes=needed.dead_bytes,
            remarks=tuple(remarks),
        )
        plan.prune = self
        plan.top = self._top()
        plan.bearers = bearers
        return plan

    def _top(self) -> tuple[int, bytes]:
        listing = self._chain.listing
        return (listing[-1], self._chain.entry(listing[-1]).hash) if listing else (0, b"")

    def _below_floor(self) -> frozenset[bytes]:
        """Return the points that the keeper's floor keeps, of all of the job's chains here."""
        if self._floor.nothing:
            return frozenset()
        bodies = [
            (entry.body, claimed_moment(entry.raw.made_at))
            for chain in (self._chain, *(other for other, _ in self._others([])))
            for number in chain.listing
            for entry in [chain.entry(number)]
            if isinstance(entry.body, SessionBody)
        ]
        stored = (
            Stored(point.point_id, point.source_id, made_at)
            for body, made_at in bodies
            for point in body.points
        )
        return below(self._floor, stored, self._clock.now())

    def _sort(self, over: bool, spare: Collection[bytes]) -> _Sorted:
        """Tell which entries stay, and which of the others may go.

        What no history remembers stays, and so does the newest entry that has one: what is
        promised stands there.
        """
        chain = self._chain
        promise = chain.promise_entry
        if promise is None:
            return _Sorted()
        assert isinstance(promise.body, SessionBody | PromiseBody)
        history = dict(Reach(chain).history(promise.body.history))
        kept = {entry.number: entry for entry in chain.kept_entries()}
        newest = chain.newest_session
        if newest is not None and not over:
            kept[newest.number] = newest  # the next session builds on it
        found = _Sorted(kept=[kept[number] for number in sorted(kept)])
        bound = promise.number if over else newest.number if newest else 0
        for number in chain.coming(chain.listing):
            entry = chain.entry(number)
            if number in kept:
                continue
            if isinstance(entry.body, SessionBody) and any(
                point.point_id in spare for point in entry.body.points
            ):
                # Whatever the newest history says of it, or says nothing.
                found.kept.append(entry)
                found.spared.append(number)
            elif not _is_given_up(entry, history.get(number)):
                continue
            elif isinstance(entry.body, SessionBody):
                found.given_up.append(number)
            elif number < bound and isinstance(
                entry.body, PromiseBody | CondemnationBody | DeathBody
            ):
                # Whoever could still need it began before the session that follows it, so
                # finds that session and does not publish.
                found.spent.append(number)
        return found

    def _needed(self, kept: Iterable[Entry], stay: Iterable[Entry]) -> _Needed:
        """Look through every kept state, and the history of every entry that stays.

        Raises:
            IntegrityError: something of it is not what was signed; nothing may go then.
        """
        reach = Reach(self._chain)
        needed = _Needed()
        for pack in used_packs(reach, self._chain, kept):
            needed.packs.add(pack.directory.pack_id)
            needed.live_bytes += pack.used_bytes
            needed.dead_bytes += sum(pack.directory.lengths) - pack.used_bytes
        for entry in states_coming(self._chain, stay):
            assert isinstance(entry.body, SessionBody | PromiseBody)
            for _ in reach.history(entry.body.history):
                pass
        needed.tables = reach.objects
        return needed

    def _led_to(
        self, entries: _Sorted, bearers: Mapping[int, Collection[bytes]]
    ) -> Callable[[str], bool]:
        """Return what tells whether entries that go lead to an object, or it is one of them."""
        # Perhaps part of it is gone already, in an earlier prune that did not end.
        reach = Reach(self._chain, _ignore)
        packs: set[bytes] = set()
        for number in entries.given_up:
            body = self._chain.entry(number).body
            assert isinstance(body, SessionBody)
            for _, record in reach.sessions(body):
                packs.update(one.pack_id for _, _, one in reach.ledger(record))
            for _ in reach.blocks(body):
                pass
        tables = reach.objects.union(*bearers.values())
        gone = {*map(_entry_name, entries.gone)}

        def led_to(name: str) -> bool:
            kind, _, tail = name.partition("/")
            if kind == "packs":
                form = layout.pack_form(tail)
                return form is not None and form[0] in packs
            return name in gone or (kind == "tables" and layout.tables_id(tail) in tables)

        return led_to

    def _bearers(self, entries: _Sorted) -> dict[int, set[bytes]]:
        found: dict[int, set[bytes]] = {}
        for number in entries.gone:
            body = self._chain.entry(number).body
            if isinstance(body, SessionBody | PromiseBody):
                # Perhaps part of it is gone already, in an earlier prune that did not end.
                reach = Reach(self._chain, _ignore)
                for _ in reach.history(body.history):
                    pass
                found[number] = reach.objects
        return found

    # --- the job's other chains --------------------------------------------------------------

    def _others(self, remarks: list[str]) -> list[tuple[Chain, SessionBody | None]]:
        """Return the job's other chains, each with its newest session."""
        found: list[tuple[Chain, SessionBody | None]] = []
        for chain_id in self._repository.chain_ids():
            if chain_id == self._chain.chain_id:
                continue
            try:
                other = self._repository.chain(chain_id)
                if other.header.job_id != self._chain.header.job_id:
                    continue
                newest = other.newest_session
            except NotFoundError:
                continue  # removed since it was listed
            except (IntegrityError, UnsupportedVersionError) as error:
                remarks.append(f"chain {chain_id.hex()[:12]} cannot be read: {error}")
                continue
            body = newest.body if newest is not None else None
            found.append((other, body if isinstance(body, SessionBody) else None))
        return found

    def _goes_on_elsewhere(self, remarks: list[str]) -> bool:
        """Tell whether the job has published in a newer chain, or since an empty one began.

        A session that died right after it began a chain leaves it empty, and the next one may not
        know of it.
        """
        own = max((body.counter for body in self._session_bodies()), default=0)
        started = self._chain.header.created_at
        return any(
            newest.counter > own if own else other.newest_session.raw.made_at > started
            for other, newest in self._others(remarks)
            if newest is not None and other.newest_session is not None
        )

    def _dropped_elsewhere(self, spare: Collection[bytes], remarks: list[str]) -> bool:
        """Tell whether the job's history says that nothing here is promised any longer.

        Where an original expired between two copies, nobody brought what took the last promise
        back. The newest session of the job names every other chain that has promised points, so
        one of the same signer that leaves this one out says the same. It names those of its own
        repository: where its history does not lead back to this chain, it was published in
        another one, or in an archive, and says nothing of this.
        """
        bodies = self._session_bodies()
        own = max((body.counter for body in bodies), default=0)
        others = {
            other.chain_id: (other, body)
            for other, body in self._others([])
            if body is not None and other.identity == self._chain.identity
        }
        newest = max(others.values(), key=lambda one: one[1].counter, default=None)
        if newest is None or newest[1].counter <= own:
            return False
        if any(ref.chain_id == self._chain.chain_id for ref in newest[1].older):
            return False
        if not self._leads_here(newest[0].chain_id, others):
            return False
        if any(point.point_id in spare for body in bodies for point in body.points):
            remarks.append("its original expired; the floor keeps all of this copy")
            return False
        return True

    def _leads_here(
        self, chain_id: bytes, others: Mapping[bytes, tuple[Chain, SessionBody]]
    ) -> bool:
        """Tell whether a chain began, over others or at once, where the job was in this one."""
        passed: set[bytes] = set()
        while chain_id in others and chain_id not in passed:
            passed.add(chain_id)
            before = others[chain_id][0].header.previous
            if before is None:
                return False
            chain_id = before.chain_id
        return chain_id == self._chain.chain_id

    def _session_bodies(self) -> list[SessionBody]:
        bodies = (self._chain.entry(number).body for number in self._chain.listing)
        return [body for body in bodies if isinstance(body, SessionBody)]

    def _named_elsewhere(self, remarks: list[str]) -> bool:
        """Tell whether a newer chain still says that this one is kept."""
        for other, _ in self._others([]):
            if any(ref.chain_id == self._chain.chain_id for ref in other.older):
                until = f"chain {other.name} is gone" if other.ended else "the job's next session"
                remarks.append(
                    f"header and journal stay until {until}: chain {other.name} says that this "
                    "one is there"
                )
                return True
        return False

    # --- objects -----------------------------------------------------------------------------

    def _removals(self, entries: _Sorted, needed: _Needed, whole: bool) -> list[Removal]:
        """Return the objects that may go, in the order in which they go.

        Packs first, since everything else can be decided anew without them. Entries go from the
        oldest on, and pages after the entries that they are read for. Of a whole chain the
        newest history, and what tells who signed it, stays until the header is gone: up to then
        a prune that was interrupted finds a chain none of whose points is promised, and goes on.
        """
        condemned = self._condemned()
        published = {body.session_id for body in self._session_bodies()}
        promise = self._chain.promise_entry
        last = promise.number if promise else 0
        introducing = {
            number
            for number in self._chain.listing
            if isinstance(self._chain.entry(number).body, IdentityBody | SuccessionBody)
        }
        lasting: set[bytes] = set()
        if whole and promise is not None:
            assert isinstance(promise.body, SessionBody | PromiseBody)
            reach = Reach(self._chain)
            for _ in reach.history(promise.body.history):
                pass
            lasting = reach.objects
        ordered: list[tuple[int, Removal]] = []
        listed = [*self._storage.list(self._prefix)]
        unneeded = self._unneeded_packs(listed, needed, published)
        for info in listed:
            name = info.key.removeprefix(self._prefix)
            kind, _, tail = name.partition("/")
            found: tuple[int, str] | None = None
            if info.key in unneeded:
                found = 0, unneeded[info.key]
            elif kind == "mirror":
                # Up to the header's removal they time the quarantine of everything else.
                found = (6, "the rest of an expired chain") if whole else None
            elif kind == "keys":
                found = 1, "sealed keys of sessions that are over"
            elif kind == "journal" and tail.isdigit():
                number = int(tail)
                if number in entries.given_up:
                    found = 2, "entries whose points are all given up"
                elif number in entries.spent:
                    found = 2, "entries that a newer session made meaningless"
                elif whole:
                    # Who signed the newest history is known by entries that introduce.
                    first = number < last and number not in introducing
                    found = (2 if first else 7), "the journal of an expired chain"
            elif kind == "tables" and (whole or layout.tables_id(tail) not in needed.tables):
                last_page = whole and layout.tables_id(tail) in lasting
                found = (6 if last_page else 3), "pages that no kept entry leads to"
            elif whole:
                found = 4, "the rest of an expired chain"
            if found is not None:
                until = condemned.get(name)
                ordered.append(
                    (
                        found[0],
                        Removal(
                            object=name,
                            stored_bytes=info.size,
                            reason=found[1],
                            condemned_until=until,
                        ),
                    )
                )
        if whole:
            key = layout.header(self._chain.chain_id)
            ordered.append(
                (
                    5,
                    Removal(
                        object=key,
                        stored_bytes=self._storage.size(key),
                        reason="the rest of an expired chain",
                        condemned_until=None,
                    ),
                )
            )
        return [one for _, one in sorted(ordered, key=lambda pair: (pair[0], pair[1].object))]

    def _unneeded_packs(
        self, listed: Iterable[ObjectInfo], needed: _Needed, published: Collection[bytes]
    ) -> dict[str, str]:
        """Return the packs that no state needs, and why each of them is there."""
        folder = layout.packs(self._chain.chain_id)
        found: list[ObjectInfo] = []
        for info in listed:
            if info.key.startswith(folder):
                form = layout.pack_form(info.key.removeprefix(folder))
                if form is None or form[0] not in needed.packs:
                    found.append(info)
        why = partial(self._why_pack, published=published)
        reasons = side_by_side(why, found, at_once(self._storage))
        return dict(zip((info.key for info in found), reasons, strict=True))

    def _why_pack(self, info: ObjectInfo, published: Collection[bytes]) -> str:
        """Say what an unneeded pack is, as it says itself: for people, nothing hangs on it."""
        try:
            start = self._storage.get(info.key, 0, packs.HEADER_LENGTH)
            session_id = packs.read_header(start, info.key).session_id
        except StrongroomError:
            session_id = b""
        if session_id in published:
            return "packs that no kept point uses"
        return "packs of sessions that did not publish, or whose points are gone"

    def _condemned(self) -> dict[str, datetime]:
        """Return what entries condemn, with the end of its quarantine."""
        found: dict[str, int] = {}
        for number in self._chain.listing:
            body = self._chain.entry(number).body
            if isinstance(body, CondemnationBody):
                for name in (*body.objects, *map(_entry_name, body.entries)):
                    found[name] = min(found.get(name, body.not_before), body.not_before)
        dates = {name: claimed_moment(until) for name, until in found.items()}
        if self._mirror:
            for name, date in copy_marks.condemned(self._storage, self._chain.chain_id).items():
                dates[name] = min(dates.get(name, date), date)
        return dates

    # --- acting ------------------------------------------------------------------------------

    def carry_out(self, plan: _ChainPlan, signer: SigningKey | None) -> PruneResult:
        """See the function of this name."""
        agreed = {one.object for one in plan.removals}
        session: str | None = None
        try:
            lock = self._acquire(layout.job_lock(self._chain.header.job_id))
        except LockedError as error:
            if self._mirror or error.fields.get("command") != locks.RUNNING:
                return self._result(plan, left=str(error))
            session = str(error)
            try:
                # Of several prunes beside sessions one is enough; sessions do not ask for it.
                lock = self._acquire(layout.care_lock(self._chain.chain_id))
            except LockedError as other:
                return self._result(plan, left=str(other))
        with lock:
            done = self._act(plan, agreed, signer, lock, beside=session is not None)
        return replace(done, beside=session)

    def _acquire(self, name: str) -> locks.Lock:
        return locks.acquire(
            self._storage, name, random.token(16).hex(), self._clock, command=locks.PRUNING
        )

    def _act(
        self,
        plan: _ChainPlan,
        agreed: Collection[str],
        signer: SigningKey | None,
        lock: locks.Lock,
        *,
        beside: bool,
    ) -> PruneResult:
        self._chain.refresh()
        hidden = copy_marks.why_unfinished(self._storage, self._chain.chain_id)
        if hidden is not None:
            return self._result(plan, left=hidden)
        if beside or self._top() != plan.top:
            plan = self.decide(beside=beside)
        condemned = 0
        for _ in range(_ATTEMPTS):
            try:
                condemned += self._condemn(plan, agreed, signer)
            except _MovedError as moved:
                condemned += moved.condemned
                plan = self.decide(beside=beside)
                continue
            if condemned:
                # What was condemned has its date now, and may have been taken into use
                # just before it was.
                plan = self.decide(beside=beside)
                if self._fresh(plan, agreed):
                    continue
            return self._remove(plan, agreed, condemned, lock)
        raise ConflictError(f"chain {self._chain.name} is changed again and again; prune later")

    def _fresh(self, plan: PrunePlan, agreed: Collection[str]) -> list[Removal]:
        """Return what was agreed on and has still to be condemned.

        A header is no object below the chain, and what goes after it goes with it.
        """
        latest = self._clock.now() + self._quarantine
        named = takewhile(lambda one: not one.is_header, plan.removals)
        return [
            one
            for one in named
            if one.object in agreed
            and (one.condemned_until is None or one.condemned_until > latest)
        ]

    def _condemn(self, plan: _ChainPlan, agreed: Collection[str], signer: SigningKey | None) -> int:
        """Announce what is to go; return how many objects were named.

        Raises:
            _MovedError: an entry that the plan does not know came first.
        """
        fresh = self._fresh(plan, agreed)
        if self._mirror:
            self._note(fresh)
            return len(fresh)
        if signer is not None and self._chain.signs_as(signer.public) is None:
            signer = None  # a stranger's signature would be refused, none is not
        seen = plan.top[0]
        not_before = to_microseconds(self._clock.now() + self._quarantine)
        given_up = {_entry_name(number): number for number in plan.entries}

        named = 0

        def refuse(_: Entry) -> None:
            raise _MovedError(named)

        for at in range(0, len(fresh), _MOST_NAMED):
            names = [one.object for one in fresh[at : at + _MOST_NAMED]]
            body = CondemnationBody(
                [given_up[name] for name in names if name in given_up],
                [name for name in names if name not in given_up],
                not_before,
            )
            entry = append_entry(self._chain, body, signer, self._clock, refuse, seen)
            seen = entry.number
            named += len(names)
        return named

    def _note(self, fresh: list[Removal]) -> None:
        """Announce beside the journal what is to go from a copy: its journal is the original's."""
        until = self._clock.now() + self._quarantine
        for at in range(0, len(fresh), _MOST_NAMED):
            names = [one.object for one in fresh[at : at + _MOST_NAMED]]
            copy_marks.condemn(self._storage, self._chain.chain_id, names, self._clock, until)

    def _remove(
        self, plan: _ChainPlan, agreed: Collection[str], condemned: int, lock: locks.Lock
    ) -> PruneResult:
        """Remove what is due, in the plan's order."""
        now = self._clock.now()

        def is_due(one: Removal) -> bool:
            until = one.condemned_until
            return one.object in agreed and until is not None and until <= now

        remover = Remover(self._storage, self._chain.chain_id, plan.bearers)
        done = remover.run(plan.removals, is_due, lock)
        if self._mirror and not done.with_header:
            copy_marks.tidy(self._storage, self._chain.chain_id)
        dates = [one.condemned_until for one in done.waiting if one.condemned_until is not None]
        return PruneResult(
            chain=plan.chain,
            condemned=condemned,
            removed=done.count,
            freed_bytes=done.freed_bytes,
            waiting=len(done.waiting) - len(done.locked),
            due_at=max(dates, default=None),
            locked=len(done.locked),
            locked_until=max((one.until for one in done.locked), default=None),
            left=None,
            beside=None,
        )

    def _result(self, plan: PrunePlan, left: str) -> PruneResult:
        return PruneResult(
            chain=plan.chain,
            condemned=0,
            removed=0,
            freed_bytes=0,
            waiting=len(plan.removals),
            due_at=None,
            locked=0,
            locked_until=None,
            left=left,
            beside=None,
        )


class _MovedError(Exception):
    """An entry came in between; what was decided has to be decided anew."""

    def __init__(self, condemned: int) -> None:
        self.condemned = condemned
        super().__init__(condemned)


def _is_given_up(entry: Entry, record: HistoryRecord | None) -> bool:
    return record is not None and not record.promised and record.entry_hash == entry.hash


def _entry_name(number: int) -> str:
    return f"journal/{number:010d}"


def _ignore(ref: PageRef, error: IntegrityError) -> None:
    """Pass over a page that is gone."""
