"""Damaged objects of a repository replaced by what a copy of it has; no key is needed.

What scrub finds is what is mended. An object comes back byte for byte, and only after it was
judged by what is signed: an entry by its signature and its place in the history, a page by the
reference that leads to it, an envelope and session keys by who signed them. Packs are put
together block by block by their ledger (`repository.repaired_packs`). What a copy has beyond
that is no reason to change anything: it may be older, and retention has let go since.

The good bytes are there and checked before the bad ones go; names are written once.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from strongroom.crypto import random
from strongroom.crypto.hpke import PublicKey
from strongroom.errors import (
    IntegrityError,
    LockedError,
    MalformedError,
    NotFoundError,
    ObjectExistsError,
    ObjectMissingError,
    RefusedError,
    UnsupportedVersionError,
)
from strongroom.format import header as headers
from strongroom.format.codec import MAX_BODY, MAX_SMALL
from strongroom.format.journal import (
    Entry,
    IdentityBody,
    PromiseBody,
    SessionBody,
    SuccessionBody,
    frame_entry,
)
from strongroom.model.phrases import counted
from strongroom.repository import configuration, layout, locks
from strongroom.repository.chain import Chain
from strongroom.repository.framed import get_framed
from strongroom.repository.progress import Silent
from strongroom.repository.reach import Reach
from strongroom.repository.repaired_packs import FormsElsewhere, expected_of, repair_pack
from strongroom.repository.scrub import scrub
from strongroom.repository.scrub_loose import check_tables
from strongroom.repository.scrub_report import Damage, ScrubReport, some
from strongroom.repository.scrub_ways import verify_any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from strongroom.clock import Clock
    from strongroom.crypto.signing import SigningPublicKey
    from strongroom.format.paging import PageRef
    from strongroom.format.tables import SessionRecord
    from strongroom.repository.chain import Head, Trust
    from strongroom.repository.progress import Cancellation, Progress
    from strongroom.repository.repository import Repository
    from strongroom.repository.scrub_report import DamagedPack
    from strongroom.storage.base import Buffer, Composed, ObjectInfo, Part, Storage

_ROUNDS: Final = 5
"""A header shows a journal, that shows tables, those show ledgers, and they show packs."""
_CHAIN: Final = re.compile(r"(?:headers|chains)/([0-9a-f]{32})(?:/(.*))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mended:
    """An object that is as it was written, or in a dry run could be."""

    object: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairReport:
    """What was repaired, and what stays damaged."""

    repository: str
    done: bool
    """False after a dry run, and where there was no copy to repair from."""
    mended: tuple[Mended, ...]
    damaged: tuple[Damage, ...]
    """What stays as it is: the copy has not got it, or not whole."""
    notes: tuple[str, ...]
    scrubbed: ScrubReport
    """How the repository was found in the end; after a dry run, how it is."""

    @property
    def ok(self) -> bool:
        """Whether nothing stays damaged."""
        return not self.damaged

    @property
    def points(self) -> tuple[str, ...]:
        """Every point that stays hurt, each once."""
        return tuple(dict.fromkeys(point for one in self.damaged for point in one.points))

    def text(self) -> str:
        """Return the report for people."""
        did = "mended" if self.done else "can be mended"
        lines = [f"{did} {one.object}: {one.what}" for one in self.mended]
        for one in self.damaged:
            lines.append(f"DAMAGED {one.object}: {one.what}")
            if one.points:
                lines.append(f"  hurts {counted(len(one.points), 'point')}: {some(one.points)}")
        lines.extend(f"note: {note}" for note in self.notes)
        if self.ok and not self.mended:
            lines.append("every byte is what was written")
        elif self.ok:
            lines.append(f"{did}: {counted(len(self.mended), 'object')}; nothing stays damaged")
        else:
            lines.append(
                f"{did}: {counted(len(self.mended), 'object')}; "
                f"stays damaged: {counted(len(self.damaged), 'object')}, "
                f"hurt: {counted(len(self.points), 'point')}"
            )
        return "\n".join(lines)


def only_found(report: ScrubReport) -> RepairReport:
    """Return what is to be said of a repository where there is no copy to repair it from."""
    return RepairReport(
        repository=report.repository,
        done=False,
        mended=(),
        damaged=report.damaged,
        notes=_what_sessions_do(report),
        scrubbed=report,
    )


def _what_sessions_do(report: ScrubReport) -> tuple[str, ...]:
    blocks = sum(len(pack.places) for pack in report.packs)
    if not blocks:
        return ()
    return (
        f"{counted(blocks, 'block')} that points use {'is' if blocks == 1 else 'are'} damaged: "
        "the next session of the job reads again what they held, so that its points are whole, "
        "and mends older points with it where the source still has it",
    )


def repair(
    repository: Repository,
    copy: Repository,
    trust: Trust,
    heads: Mapping[bytes, Head],
    *,
    clock: Clock,
    unfinished: Collection[bytes] = (),
    dry_run: bool = False,
    progress: Progress,
    cancel: Cancellation,
) -> RepairReport:
    """Scrub a repository and bring back from a copy what is damaged.

    Chains whose signer is not believed are left alone.

    Args:
        repository: What to repair.
        copy: Where the same chains are.
        trust: Whose signatures are believed.
        heads: The newest entries known from elsewhere, by chain.
        clock: Tells the time, for locks.
        unfinished: Chains whose header is still to come.
        dry_run: Find out what could be mended, and change nothing.
        progress: Is told how it goes.
        cancel: Stops it between two objects.

    Raises:
        StorageUnavailableError: a storage did not answer; repair again.
        CancelledError: on request; what was mended is mended.
    """
    mended: dict[str, str] = {}
    notes: list[str] = []
    while True:
        report = scrub(
            repository, trust, heads, unfinished=unfinished, progress=progress, cancel=cancel
        )
        done: dict[str, str] = {}
        by_chain: dict[bytes, list[Damage]] = defaultdict(list)
        for damage in report.damaged:
            found = _CHAIN.match(damage.object)
            if found is not None:
                by_chain[bytes.fromhex(found[1])].append(damage)
            elif layout.configuration_of(damage.object) is not None:
                objects = _Objects(repository.storage, copy.storage, dry_run=dry_run)
                data, wrong = configuration.checked(copy.storage, damage.object)
                if wrong is None:
                    objects.replace(damage.object, data)
                done |= objects.done
                notes.extend(objects.notes)
        for chain_id, damages in by_chain.items():
            if chain_id in unfinished:
                continue
            objects = _Objects(repository.storage, copy.storage, dry_run=dry_run)
            packs = [one for one in report.packs if one.chain == chain_id.hex()]
            _ChainRepair(objects, chain_id, trust, heads.get(chain_id)).run(
                damages, packs, clock, cancel
            )
            done |= objects.done
            notes.extend(objects.notes)
        fresh = done.keys() - mended.keys()
        mended |= done
        if dry_run or not fresh or report.ok:
            break
    left = report.damaged
    if dry_run:
        left = tuple(damage for damage in left if damage.object not in mended)
    return RepairReport(
        repository=report.repository,
        done=not dry_run,
        mended=tuple(Mended(object=key, what=what) for key, what in mended.items()),
        damaged=left,
        notes=tuple(dict.fromkeys(notes)),
        scrubbed=report,
    )


class _Objects:
    """Objects brought from a copy, each judged by whoever asks for it."""

    def __init__(self, storage: Storage, copy: Storage, *, dry_run: bool) -> None:
        self.storage = storage
        self.copy = copy
        self.dry_run = dry_run
        self.done: dict[str, str] = {}
        self.notes: list[str] = []

    def fetch(self, key: str, limit: int, judge: Callable[[bytes], None]) -> bytes | None:
        """Return an object of the copy that its judge finds nothing wrong with."""
        try:
            data = get_framed(self.copy, key, limit)
            judge(data)
        except ObjectMissingError:
            return None
        except (IntegrityError, UnsupportedVersionError) as error:
            self.notes.append(f"the copy does not help with {key}: {error}")
            return None
        return data

    def replace(self, key: str, data: bytes) -> bool:
        """Put good bytes in the place of damaged ones, or of nothing; tell if that was done."""
        there = self.storage.exists(key)
        # What is there may be as large as a disk.
        if there and self.storage.size(key) == len(data) and self.storage.get(key) == data:
            return False
        if not self.dry_run:
            try:
                if there:
                    self.storage.delete(key)
                self.storage.put(key, data)
            except RefusedError as error:
                self.notes.append(f"{key} stays as it is: {error}")
                return False
            except ObjectExistsError:
                return False  # somebody else wrote it just now
        self.done[key] = "brought back from the copy"
        return True


class _ChainRepair:
    """One chain being mended, from what shows the rest to the rest."""

    def __init__(self, objects: _Objects, chain_id: bytes, trust: Trust, head: Head | None) -> None:
        self._objects = objects
        self._chain_id = chain_id
        self._trust = trust
        self._head = head

    def run(
        self,
        damages: Collection[Damage],
        packs: Collection[DamagedPack],
        clock: Clock,
        cancel: Cancellation,
    ) -> None:
        copy = self._copy()
        if copy is None:
            return
        if self._objects.dry_run:
            self._mend(copy, damages, packs, cancel)
            return
        try:
            lock = locks.acquire(
                self._objects.storage,
                layout.care_lock(self._chain_id),
                random.token(16).hex(),
                clock,
                command="repository repair",
            )
        except LockedError as error:
            self._note(f"is left alone: {error}")
            return
        with lock:
            self._mend(copy, damages, packs, cancel)

    def _note(self, text: str) -> None:
        self._objects.notes.append(f"chain {self._chain_id.hex()[:12]} {text}")

    def _copy(self) -> Chain | None:
        """Return the copy's chain, if it is one to go by."""
        try:
            copy = Chain(self._objects.copy, self._chain_id)
            if not self._trust.knows(copy.identity):
                self._note(
                    f"is left alone: its signer {copy.identity.fingerprint} is not believed here; "
                    "pin it with --signer, or accept it once with 'strongroom repository trust'"
                )
                return None
            _ = copy.listing
        except NotFoundError:
            self._note("is not in the copy")
            return None
        except (IntegrityError, UnsupportedVersionError) as error:
            self._note(f"is damaged in the copy too: {error}")
            return None
        if self._head is not None:
            try:
                copy.check_head(self._head)
            except IntegrityError:
                newest = copy.listing[-1] if copy.listing else 0
                self._note(
                    f"ends at entry {newest} in the copy, and entry {self._head.number} was seen: "
                    "what came after that, the copy does not have"
                )
        return copy

    def _mend(
        self,
        copy: Chain,
        damages: Collection[Damage],
        packs: Collection[DamagedPack],
        cancel: Cancellation,
    ) -> None:
        objects = self._objects
        prefix = layout.chain(self._chain_id)
        kinds: dict[str, list[str]] = defaultdict(list)
        for damage in damages:
            kinds[damage.object.removeprefix(prefix).partition("/")[0]].append(damage.object)
        header = layout.header(self._chain_id)
        if header in (damage.object for damage in damages):
            objects.replace(header, copy.stored_header)
        try:
            chain = Chain(objects.storage, self._chain_id)
        except (NotFoundError, IntegrityError, UnsupportedVersionError):
            return  # a dry run sees no more
        if chain.root_hash != copy.root_hash:
            self._note("is another chain in the copy: its header is not the same")
            return
        if kinds["journal"]:
            self._mend_journal(chain, copy)
        if kinds["tables"]:
            self._mend_tables(kinds["tables"])
        self._mend_ways(copy, kinds["envelopes"], kinds["links"])
        for key in kinds["keys"]:
            data = objects.fetch(key, MAX_SMALL, lambda data, key=key: _check_keys(copy, key, data))  # type: ignore[misc]
            if data is not None:
                objects.replace(key, data)
        self._mend_packs(chain, packs, damages, cancel)

    # --- journal ---------------------------------------------------------------------------

    def _mend_journal(self, chain: Chain, copy: Chain) -> None:
        """Bring back entries that the newest history here remembers, or that follow it."""
        there = set(chain.numbers())
        intact: dict[int, Entry] = {}
        for number in sorted(there):
            try:
                intact[number] = chain.entry(number)
            except (IntegrityError, UnsupportedVersionError):
                continue
        bearers = (
            one for one in intact.values() if isinstance(one.body, SessionBody | PromiseBody)
        )
        newest = max(bearers, key=lambda one: one.number, default=None)
        history = {}
        if newest is not None:
            body = newest.body
            assert isinstance(body, SessionBody | PromiseBody)
            history = dict(Reach(chain, lambda _ref, _error: None).history(body.history))
        for number in copy.listing:
            if number in intact:
                continue
            try:
                entry = copy.remembered(number)
            except (IntegrityError, UnsupportedVersionError) as error:
                self._note(f"has a damaged entry {number} in the copy too: {error}")
                continue
            if newest is not None and number < newest.number:
                record = history.get(number)
                if record is None or record.entry_hash != entry.hash:
                    continue
                lasting = isinstance(entry.body, IdentityBody | SuccessionBody)
                if number not in there and not record.promised and not lasting:
                    continue  # retention let it go
            else:
                before = intact.get(number - 1)
                previous = chain.root_hash if number == 1 else before.hash if before else None
                if previous is None or (entry.raw.signer and entry.raw.previous_hash != previous):
                    self._note(f"goes on otherwise in the copy from entry {number} on")
                    break
            key = layout.entry(self._chain_id, number)
            # As it was judged: the copy may answer otherwise when it is asked again.
            if self._objects.replace(key, frame_entry(entry.encoded, entry.signature)):
                intact[number] = entry

    # --- tables ----------------------------------------------------------------------------

    def _mend_tables(self, keys: Collection[str]) -> None:
        """Bring back tables objects of which every page is what a signed reference says."""
        objects = self._objects
        found: dict[str, bytes] = {}
        for key in dict.fromkeys(keys):
            data = objects.fetch(
                key,
                MAX_BODY,
                lambda _, key=key: check_tables(objects.copy, key, Silent()),  # type: ignore[misc]
            )
            if data is not None:
                found[key] = data
        if not found:
            return
        shown = Chain(_Overlaid(objects.storage, found), self._chain_id)
        wrong: set[bytes] = set()

        def damaged(ref: PageRef, _: IntegrityError) -> None:
            wrong.add(ref.object_id)

        reach = Reach(shown, damaged)
        for body in _bearers(shown):
            for _ in reach.history(body.history):
                pass
            if isinstance(body, SessionBody):
                for _ in reach.blocks(body):
                    pass
                for _slot, record in reach.sessions(body):
                    for _ in reach.ledger(record):
                        pass
        for key, data in found.items():
            object_id = bytes.fromhex(key.rpartition("/")[2])
            if object_id in reach.objects and object_id not in wrong:
                objects.replace(key, data)

    # --- ways to the keys --------------------------------------------------------------------

    def _mend_ways(self, copy: Chain, envelopes: Collection[str], links: Collection[str]) -> None:
        """Bring back envelopes, and links if no envelope is left of a key."""
        wanted = set(links)
        for key in envelopes:
            wanted.add(key)
            if layout.envelope_parts(key) is None:
                # Nothing opens a key: whatever the copy has of ways to it.
                for folder in (layout.envelopes(self._chain_id), layout.links(self._chain_id)):
                    named = (info.key for info in self._objects.copy.list(folder))
                    wanted.update(one for one in named if key.rpartition("/")[2] in one)
        for key in sorted(wanted):
            if layout.envelope_parts(key) is not None:
                self._mend_envelope(copy, key)
            elif layout.link_keys(key) is not None:
                data = self._objects.fetch(
                    key,
                    MAX_SMALL,
                    lambda data, key=key: _check_link(copy, key, data),  # type: ignore[misc]
                )
                if data is not None:
                    self._objects.replace(key, data)

    def _mend_envelope(self, copy: Chain, key: str) -> None:
        def judge(data: bytes) -> None:
            envelope = copy.wrapped.read_envelope(data, key)
            if layout.envelope_parts(key) != (envelope.chain_key_id, envelope.generation):
                raise MalformedError(f"{key} is the envelope of something else")

        data = self._objects.fetch(key, MAX_SMALL, judge)
        if data is not None:
            self._objects.replace(key, data)

    # --- packs -----------------------------------------------------------------------------

    def _mend_packs(
        self,
        chain: Chain,
        packs: Collection[DamagedPack],
        damages: Collection[Damage],
        cancel: Cancellation,
    ) -> None:
        objects = self._objects
        records: dict[int, SessionRecord] = {}
        if packs:
            reach = Reach(chain, lambda _ref, _error: None)
            for body in _bearers(chain):
                if isinstance(body, SessionBody):
                    records.update(reach.sessions(body))
        for pack in packs:
            cancel.check()
            key = layout.pack(self._chain_id, bytes.fromhex(pack.pack))
            try:
                expected = expected_of(chain, records[pack.slot], pack.ordinal)
                supply = FormsElsewhere(objects.copy, self._chain_id, chain.origin_id, expected)
                result = repair_pack(
                    objects.storage,
                    self._chain_id,
                    chain.origin_id,
                    expected,
                    pack.places,
                    [supply],
                    cancel,
                    dry_run=objects.dry_run,
                )
            except (IntegrityError, ObjectExistsError) as error:
                objects.notes.append(f"{key} is left as it is: {error}")
                continue
            objects.notes.extend(result.notes)
            if result.lost:
                count = counted(len(result.lost), "block")
                objects.notes.append(f"{key}: {count} is nowhere in the copy, or damaged there")
            if result.changed and not (objects.dry_run and result.lost):
                count = counted(len(result.mended), "block")
                named = [one.object for one in damages if one.object.startswith(key)]
                objects.done |= dict.fromkeys(
                    named or [key], f"put together again, {count} from the copy"
                )


class _Overlaid:
    """A storage as it would be with some objects in it; only for looking."""

    def __init__(self, storage: Storage, objects: Mapping[str, bytes]) -> None:
        self._storage = storage
        self._objects = objects

    @property
    def location(self) -> str:
        return self._storage.location

    def put(self, key: str, data: Buffer) -> None:
        raise RefusedError(f"{key}, {len(data)} bytes, is not to be written here")

    def compose(self, target: str, parts: Sequence[Part]) -> Composed:
        raise RefusedError(f"{target} of {len(parts)} parts is not to be written here")

    def delete(self, key: str) -> None:
        raise RefusedError(f"{key} is not to be removed here")

    def size(self, key: str) -> int:
        data = self._objects.get(key)
        return self._storage.size(key) if data is None else len(data)

    def exists(self, key: str) -> bool:
        return key in self._objects or self._storage.exists(key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return self._storage.list(prefix)

    def free_bytes(self) -> int | None:
        return self._storage.free_bytes()

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        data = self._objects.get(key)
        if data is None:
            return self._storage.get(key, offset, length)
        return data[offset : len(data) if length is None else offset + length]


def _bearers(chain: Chain) -> Iterator[SessionBody | PromiseBody]:
    """Yield what the intact entries say that lead to tables."""
    for number in chain.numbers():
        try:
            body = chain.entry(number).body
        except (IntegrityError, UnsupportedVersionError):
            continue
        if isinstance(body, SessionBody | PromiseBody):
            yield body


def _check_keys(chain: Chain, key: str, data: bytes) -> None:
    keys, encoded, signature = headers.read_session_keys_signed(data, key)
    if layout.session_keys(keys.chain_id, keys.session_id) != key:
        raise MalformedError(f"{key} holds the keys of another session")
    identities: dict[bytes, SigningPublicKey] = {one.id: one for one in chain.signers}
    verify_any(identities, headers.SESSION_KEYS_DOMAIN, encoded, signature)


def _check_link(chain: Chain, key: str, data: bytes) -> None:
    link = headers.read_link(data, key)
    if (
        layout.link(link.chain_id, link.newer_id, link.older_id) != key
        or link.chain_id != chain.chain_id
        or PublicKey(link.older_public).id != link.older_id
    ):
        raise MalformedError(f"{key} links something else")
