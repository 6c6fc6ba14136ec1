"""A clone under other keys that follows its chain: what was published since is added to it.

Only sessions that the clone lacks are sealed again. Their packs are stored and read back first;
then their entries follow, with slots, points and times as they were and under no lower numbers;
at last a PROMISE lets go what the chain let go. Cut short at any instant, the clone is whole and
only behind: packs that the clone's key made are kept, and the rest is made anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from strongroom.clock import from_microseconds
from strongroom.engine.carried import carried, of_slots, used_by
from strongroom.engine.clones import (
    OpenedPack,
    Resealing,
    body_of,
    compare,
)
from strongroom.engine.reencryption import check_keys
from strongroom.errors import ConflictError, MalformedError
from strongroom.format.codec import decode
from strongroom.format.journal import CondemnationBody, PromiseBody, SessionBody
from strongroom.format.pack import Directory
from strongroom.repository import layout
from strongroom.repository.append import append_entry
from strongroom.repository.chain import Chain
from strongroom.repository.keyring import Keyring
from strongroom.repository.pages import PageCollector
from strongroom.repository.promises import updated_history

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from strongroom.clock import Clock
    from strongroom.crypto.envelope import ChainKey
    from strongroom.crypto.hpke import PublicKey
    from strongroom.crypto.keys import MetaKey
    from strongroom.crypto.signing import SigningKey
    from strongroom.engine.cancellation import Cancellation
    from strongroom.engine.carried import Carried
    from strongroom.engine.progress import Progress
    from strongroom.format.journal import Entry, EntryRef
    from strongroom.format.tables import SessionRecord


class Lacking:
    """What a clone lacks of the chain that it follows."""

    def __init__(self, old: Chain, new: Chain) -> None:
        """Look it up in signed pages, without a key.

        Raises:
            ConflictError: it cannot be added: the clone has let go what it stands on.
            IntegrityError: one of the two is damaged or withheld in part.
        """
        newest = new.newest_session
        counter = body_of(newest).counter if newest is not None else 0
        source = carried(old)
        self.live = source.live
        self.entries = [entry for entry in source.entries if body_of(entry).counter > counter]
        self.clone = carried(new)
        self.whole = used_by(old, self.entries)
        known = self.clone.records
        self.what = of_slots(self.whole, self.whole.records.keys() - known.keys())
        for slot, record in self.whole.records.items():
            if slot in known and known[slot].session_id != record.session_id:
                raise MalformedError(f"slot {slot} of chain {new.name} is another session's")
        for key, bits in self.whole.used.items():
            if key[0] in known and bits & ~self.clone.used.get(key, 0):
                raise ConflictError(
                    f"chain {new.name} does not have what newer points of chain {old.name} stand "
                    "on",
                    hint="a new copy job begins a copy of its own; then let go of this one",
                )

    @property
    def moved(self) -> bool:
        """Whether points of the clone were let go, held or released since."""
        here = self.clone.live
        held = {point for point, is_held in here.items() if is_held}
        return bool(here.keys() - self.live.keys()) or held != self.held & here.keys()

    @property
    def held(self) -> set[bytes]:
        """Points that the chain holds."""
        return {point for point, is_held in self.live.items() if is_held}

    @property
    def nothing(self) -> bool:
        """Whether the clone has all of it."""
        return not self.entries and not self.moved


def extend(
    old: Chain,
    old_keys: Keyring,
    new: Chain,
    public: PublicKey | None,
    chain_key: ChainKey | None,
    lacking: Lacking,
    *,
    older: list[EntryRef],
    signer: SigningKey,
    clock: Clock,
    keep_metakey: Callable[[bytes, MetaKey], None],
    progress: Progress,
    cancel: Cancellation,
) -> tuple[int, int]:
    """Add to a published clone what it lacks, under the lock of its job.

    Args:
        old: The chain that it follows.
        old_keys: Opens the sessions that are added.
        new: The clone.
        public: The key that its sessions seal to; None if it is plain.
        chain_key: The same, if it is open: what an interrupted run made is gone on with.
        lacking: What it lacks.
        older: What its newest session is to say of the other chains of its job.
        signer: The clone's identity.
        clock: Tells the time of the last entry.
        keep_metakey: Told of a session's id and its new metakey before its first pack.
        progress: Is told how it goes.
        cancel: Stops it between two packs.

    Returns:
        How many packs were stored, and their bytes.

    Raises:
        UnlockError: a session's keys cannot be had.
        IntegrityError: something does not hold, in the chain or in what was made; no entry says
            that it is there.
        ConflictError: somebody else changed the clone.
        CancelledError: on request; begun again, it goes on.
    """
    work = _Extension(
        old, old_keys, new, public, chain_key, lacking.what, signer, clock, progress, cancel
    )
    if lacking.entries:
        check_keys(old, lacking.what, old_keys)
        work.pass_over(lacking.clone)
        work.take_session_keys(keep_metakey)
        work.copy_packs()
        work.read_back()
        work.append(lacking, older)
        work.verify(lacking)
    work.promise(lacking)
    return work.objects, work.stored_bytes


class _AsThen:
    """The clock of an entry that was made before."""

    def __init__(self, clock: Clock, made_at: int) -> None:
        self._made_at = made_at
        self.now_ns = clock.now_ns
        self.monotonic = clock.monotonic
        self.running = clock.running
        self.sleep = clock.sleep

    def now(self) -> datetime:
        return from_microseconds(self._made_at)


class _Extension(Resealing):
    """Sessions that a published clone lacks."""

    fills: ClassVar[bool] = False

    def pass_over(self, known: Carried) -> None:
        """Take no pack that points of the clone have for one of an earlier run."""
        chain_id = self._new.chain_id
        self._settled = frozenset(
            layout.pack(chain_id, decode(Directory, encoded, "a directory").pack_id)
            for encoded in known.directories.values()
        )

    def read_back(self) -> None:
        """Compare what was stored with what it was made of, before an entry says that it is there.

        Raises:
            IntegrityError: something is not what it was.
        """
        self._progress.begin("verifying", self._what.byte_count)
        for slot, ordinal in sorted(self._what.used):
            self._cancel.check()
            before = OpenedPack.of(self._old, self._old_keys, self._what, slot, ordinal)
            compare(before, self._written_pack(before, slot, self._directories[slot, ordinal]))
            self._progress.advance(before.used_bytes())
        self._progress.finish()

    def _new_keys(self) -> Keyring:
        keys = {} if self._chain_key is None else {self._chain_key.id: self._chain_key}
        keyring = Keyring(self._new.origin_id, keys)
        for slot, record in self._what.records.items():
            secrets = self._secrets[slot]
            if secrets is not None:
                keyring.add(record.session_id, secrets)
        return keyring

    def append(self, lacking: Lacking, older: list[EntryRef]) -> None:
        """Publish the sessions, each in one stroke and with the time that it had."""
        new = self._new
        records: dict[int, SessionRecord] = dict(lacking.clone.records)
        written = new.newest_session
        before = None if written is None else (new, body_of(written))
        for entry in lacking.entries:
            self._cancel.check()
            seen = new.listing[-1] if new.listing else 0
            pages = PageCollector(new)
            body = self._body(entry, before, written, records, pages)
            body = msgspec.structs.replace(body, older=older)
            pages.store()
            clock = _AsThen(self._clock, entry.raw.made_at)
            # No number below a slot: a session that goes on here takes the next one for its own.
            written = append_entry(
                new, body, self._signer, clock, _refuse_newer, seen, lowest=entry.number
            )
            before = self._old, body_of(entry)

    def verify(self, lacking: Lacking) -> None:
        """Read the clone's new entries as a reader will.

        Raises:
            IntegrityError: they are not what they should be.
        """
        new = Chain(self._new.storage, self._new.chain_id)
        numbers = new.listing[-len(lacking.entries) :]
        added = [new.remembered(number) for number in numbers]
        self._compare_points(new, self._new_keys(), added)
        if used_by(new, added).used != lacking.whole.used:
            raise MalformedError(f"chain {new.name} does not use the blocks it should")

    def promise(self, lacking: Lacking) -> None:
        """Promise and hold what the chain does, and nothing else."""
        new = self._new
        new.refresh()
        live = {one.point.point_id: one.held for one in new.live_points()}
        give_up = live.keys() - lacking.live.keys()
        held = {point for point, is_held in live.items() if is_held}
        if not give_up and held == lacking.held & live.keys():
            return
        seen = new.listing[-1]
        pages = PageCollector(new)
        history = updated_history(
            new,
            pages,
            give_up=give_up,
            hold_ids=lacking.held,
            release_ids=held - lacking.held,
        )
        pages.store()
        body = PromiseBody(history, "copied")
        append_entry(new, body, self._signer, self._clock, _refuse_newer, seen)


def _refuse_newer(entry: Entry) -> None:
    if isinstance(entry.body, SessionBody | PromiseBody | CondemnationBody):
        raise ConflictError(
            f"somebody changed the copy meanwhile: its entry {entry.number} is new",
            hint="copy again; what was stored is kept",
        )
