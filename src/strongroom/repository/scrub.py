"""Stored bytes against what was signed of them, without any key.

Reads every byte outside `locks/`. What the journal's signed entries lead to has to be there and
be what was signed; everything else has at least to be whole. Damage does not stop it: it is
noted, with the points that it hurts, and the rest is looked at all the same. Whether the
history is the newest one is for heads to say; they come from the reader's side, as everywhere.

`repository.packs` compares packs, `repository.reach` finds pages; opening what is sealed is for
`engine.verify`, which needs keys.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from strongroom.crypto.fingerprinter import Fingerprinter
from strongroom.crypto.hpke import PublicKey
from strongroom.crypto.recipients import check_stanza
from strongroom.crypto.signing import SigningPublicKey, verify
from strongroom.errors import (
    IntegrityError,
    MalformedError,
    NotFoundError,
    ObjectMissingError,
    StrongroomError,
    UnsupportedVersionError,
)
from strongroom.format import header as headers
from strongroom.format.codec import HASH_LENGTH, MAX_BODY, MAX_ENTRY, MAX_SMALL
from strongroom.format.journal import (
    CondemnationBody,
    Entry,
    EntryRef,
    IdentityBody,
    PromiseBody,
    SessionBody,
    SuccessionBody,
    read_entry,
)
from strongroom.format.versions import TABLES
from strongroom.model.phrases import counted
from strongroom.repository import configuration, layout
from strongroom.repository.chain import Chain, get_framed
from strongroom.repository.packs import PIECE, Expected, PackState, check_pack
from strongroom.repository.reach import Reach
from strongroom.repository.state import StateBlocks
from strongroom.repository.stored_packs import Form, forms

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from strongroom.format.paging import PageRef
    from strongroom.format.tables import HistoryRecord, SessionRecord
    from strongroom.repository.chain import Head, Trust
    from strongroom.repository.progress import Cancellation, Progress
    from strongroom.repository.repository import Repository
    from strongroom.storage.base import ObjectInfo, Storage

_ENVELOPE: Final = re.compile(r"([0-9a-f]{64})-([0-9]{6,})-[ab]", re.ASCII)
_LINK: Final = re.compile(r"[0-9a-f]{64}-[0-9a-f]{64}", re.ASCII)
_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_LISTINGS: Final = 5
"""How often a pack is looked for that compaction rewrites meanwhile."""
_ENTRY: Final = re.compile(r"[0-9]{10}", re.ASCII)
_MOST_LISTED: Final = 20
"""Points, or notes, that the text names one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """Something that is not what was written, or is not there."""

    object: str
    """Its key in the repository."""
    what: str
    points: tuple[str, ...]
    """Ids of the restore points that it hurts; perhaps none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedPack:
    """A pack that is not whole, as the ledger of its session calls it."""

    chain: str
    pack: str
    slot: int
    """Of its session in the chain."""
    ordinal: int
    places: tuple[int, ...]
    """Of the blocks that points use and no object holds as signed; perhaps none."""
    missing: bool
    """No object holds anything of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something to know that is no damage."""

    object: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrubbedChain:
    """One chain, as its signed history shows it."""

    chain: str
    sealed: bool
    signer: str
    """Fingerprint of the identity that signs it."""
    trusted: bool
    """Whether the signer was pinned, accepted, or is this installation's own."""
    points: int
    newest_entry: int
    packs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrubReport:
    """What a scrub found."""

    repository: str
    objects: int
    bytes_read: int
    chains: tuple[ScrubbedChain, ...]
    damaged: tuple[Damage, ...]
    notes: tuple[Note, ...]
    packs: tuple[DamagedPack, ...] = ()
    """Those that are not whole: what `damaged` says of them for people, for whoever repairs."""

    @property
    def ok(self) -> bool:
        """Whether every byte is what was written."""
        return not self.damaged

    @property
    def points(self) -> tuple[str, ...]:
        """Every point that is hurt, each once."""
        return tuple(dict.fromkeys(point for one in self.damaged for point in one.points))

    def text(self) -> str:
        """Return the report for people."""
        lines = [
            f"repository {self.repository}: {self.objects:,} objects, {self.bytes_read:,} bytes"
        ]
        for chain in self.chains:
            kind = "sealed" if chain.sealed else "not encrypted"
            known = "" if chain.trusted else ", which is not known here"
            lines.append(
                f"chain {chain.chain[:12]}: {kind}, {counted(chain.points, 'point')} in "
                f"{counted(chain.packs, 'pack')}, signed by {chain.signer}{known}"
            )
        for damage in self.damaged:
            lines.append(f"DAMAGED {damage.object}: {damage.what}")
            if damage.points:
                lines.append(
                    f"  hurts {counted(len(damage.points), 'point')}: {some(damage.points)}"
                )
        lines.extend(f"note: {note.object}: {note.what}" for note in self.notes[:_MOST_LISTED])
        if len(self.notes) > _MOST_LISTED:
            lines.append(f"note: and {len(self.notes) - _MOST_LISTED:,} more of these")
        if self.ok:
            lines.append("every byte is what was written")
        else:
            lines.append(
                f"damaged: {counted(len(self.damaged), 'object')}; "
                f"hurt: {counted(len(self.points), 'point')}"
            )
        return "\n".join(lines)


def scrub(
    repository: Repository,
    trust: Trust,
    heads: Mapping[bytes, Head],
    *,
    chain_ids: Collection[bytes] | None = None,
    unfinished: Collection[bytes] = (),
    progress: Progress,
    cancel: Cancellation,
) -> ScrubReport:
    """Read every stored byte and compare it with what was recorded of it.

    Args:
        repository: What to read.
        trust: Whose signatures are expected. A chain of somebody else's is reported with its
            signer, and is damage where fingerprints were pinned.
        heads: The newest entries known from elsewhere, by chain.
        chain_ids: Read only these chains; all by default.
        unfinished: Chains whose header is still to come: they are being re-encrypted.
        progress: Is told how it goes.
        cancel: Stops it between two reads.

    Raises:
        StorageUnavailableError: the storage did not answer.
        CancelledError: on request.
    """
    return _Scrub(repository, trust, heads, chain_ids, unfinished, progress, cancel).run()


class _Scrub:
    """What is known of the repository while it is being read."""

    def __init__(
        self,
        repository: Repository,
        trust: Trust,
        heads: Mapping[bytes, Head],
        chain_ids: Collection[bytes] | None,
        unfinished: Collection[bytes],
        progress: Progress,
        cancel: Cancellation,
    ) -> None:
        self.repository = repository
        self.storage = repository.storage
        self.trust = trust
        self.heads = heads
        self.only = chain_ids
        self.unfinished = unfinished
        self.progress = progress
        self.cancel = cancel
        self.damaged: list[Damage] = []
        self.notes: list[Note] = []
        self.packs: list[DamagedPack] = []
        self.older: list[tuple[str, list[str], EntryRef]] = []
        """What newest entries say of other chains of their jobs: who says it, with which points."""

    def run(self) -> ScrubReport:
        count = total = 0
        begun: set[bytes] = set()
        others: set[bytes] = set()
        configurations: list[str] = []
        for info in self.storage.list(""):
            if info.key.startswith(layout.LOCKS):
                continue
            folder, _, rest = info.key.partition("/")
            name = rest.partition("/")[0]
            if folder in ("headers", "chains") and _ID.fullmatch(name):
                chain_id = bytes.fromhex(name)
                if self.only is not None and chain_id not in self.only:
                    continue
                (begun if folder == "headers" else others).add(chain_id)
            elif layout.configuration_of(info.key) is not None:
                if self.only is not None:
                    continue
                configurations.append(info.key)
            elif info.key != layout.MARKER:
                self.note(info.key, "is no part of a repository")
            count += 1
            total += info.size
        self.progress.begin("scrub", total)
        self._check_marker()
        for key in configurations:
            self._check_configuration(key)
        for chain_id in self.heads:
            if chain_id not in begun and (self.only is None or chain_id in self.only):
                self.note(layout.header(chain_id), "was known here and is gone")
        chains = [found for one in sorted(begun) if (found := self._check_chain(one)) is not None]
        for chain_id in sorted(others - begun):
            self._check_headless(chain_id)
        self._check_older()
        self.progress.finish()
        return ScrubReport(
            repository=self.repository.repository_id.hex(),
            objects=count,
            bytes_read=total,
            chains=tuple(chains),
            damaged=tuple(self.damaged),
            notes=tuple(self.notes),
            packs=tuple(self.packs),
        )

    def damage(self, key: str, what: str, points: Iterable[str] = ()) -> None:
        self.damaged.append(Damage(object=key, what=what, points=tuple(dict.fromkeys(points))))

    def note(self, key: str, what: str) -> None:
        self.notes.append(Note(object=key, what=what))

    def _check_marker(self) -> None:
        try:
            headers.read_marker(get_framed(self.storage, layout.MARKER, MAX_SMALL), layout.MARKER)
        except (IntegrityError, UnsupportedVersionError) as error:
            self.damage(layout.MARKER, str(error))

    def _check_configuration(self, key: str) -> None:
        """Check what shows without a key: that it is whole, where it belongs, and signed."""
        try:
            problem = configuration.check(self.storage, key)
        except UnsupportedVersionError as error:
            self.note(key, str(error))
        else:
            if problem is not None:
                self.damage(key, problem)

    def _check_chain(self, chain_id: bytes) -> ScrubbedChain | None:
        key = layout.header(chain_id)
        self.progress.reading(f"chain {chain_id.hex()[:12]}")
        try:
            chain = self.repository.chain(chain_id)
        except NotFoundError:
            return None  # removed since it was listed
        except (IntegrityError, UnsupportedVersionError) as error:
            self.damage(key, str(error), _claimed_points(self.storage, chain_id))
            self._check_loose(chain_id)
            return None
        return _ChainScrub(self, chain).run()

    def _check_headless(self, chain_id: bytes) -> None:
        """Judge objects of a chain that has no header.

        Envelopes are written before the header, and a removed chain's last entries go after it.
        Anything else is a chain that somebody took out of sight.
        """
        prefix = layout.chain(chain_id)
        if chain_id in self.unfinished:
            self.note(prefix, "a re-encryption that is not finished")
            self._check_loose(chain_id)
            return
        points = _claimed_points(self.storage, chain_id)
        if points or next(self.storage.list(layout.packs(chain_id)), None) is not None:
            self.damage(
                layout.header(chain_id),
                "is missing, and objects of its chain are there (a re-encryption that is not "
                "finished, or a chain taken out of sight)",
                points,
            )
        else:
            self.note(prefix, "what was left of a chain that was never begun, or was removed")
        self._check_loose(chain_id)

    def _check_loose(self, chain_id: bytes) -> None:
        """Check objects by themselves, where no header says whom to believe."""
        for info in self.storage.list(layout.chain(chain_id)):
            self.cancel.check()
            self.check_alone(chain_id, info)

    def check_alone(self, chain_id: bytes, info: ObjectInfo) -> bytes | None:
        """Check that an object is whole; return the session that a pack says it is of."""
        kind, _, name = info.key.removeprefix(layout.chain(chain_id)).partition("/")
        key = info.key
        try:
            found = layout.pack_form(name)
            if kind == "packs" and found:
                form = Form(key, info.size, found[1])
                state = check_pack(self.storage, form, None, None, self.progress, self.cancel)
                for problem in state.problems:
                    self.damage(key, problem)
                return state.session_id
            if kind == "tables" and _ID.fullmatch(name):
                check_tables(self.storage, key, self.progress)
            elif kind == "keys" and _ID.fullmatch(name):
                keys = headers.read_session_keys(get_framed(self.storage, key, MAX_SMALL), key)
                if (keys.chain_id, keys.session_id.hex()) != (chain_id, name):
                    self.damage(key, "holds the keys of another session: swapped in storage")
            elif kind == "journal" and _ENTRY.fullmatch(name):
                read_entry(get_framed(self.storage, key, MAX_ENTRY), key)
            elif kind == "envelopes" and _ENVELOPE.fullmatch(name):
                headers.read_envelope(get_framed(self.storage, key, MAX_SMALL), key)
            elif kind == "links" and _LINK.fullmatch(name):
                headers.read_link(get_framed(self.storage, key, MAX_SMALL), key)
            else:
                self.note(key, "is no part of a repository")
        except (IntegrityError, UnsupportedVersionError) as error:
            if isinstance(error, ObjectMissingError) or not self.storage.exists(key):
                return None  # removed since it was listed
            self.damage(key, str(error))
        if kind != "tables":
            self.progress.advance(info.size)
        return None

    def _check_older(self) -> None:
        """Compare other chains of a job with what its newest entries say of them."""
        for said_by, points, ref in self.older:
            key = layout.header(ref.chain_id)
            try:
                found = self.repository.chain(ref.chain_id).hash_of(ref.number)
            except NotFoundError:
                self.damage(key, f"is missing, and {said_by} says that the chain is kept", points)
                continue
            except StrongroomError as error:
                if not any(ref.chain_id.hex() in damage.object for damage in self.damaged):
                    self.damage(key, str(error), points)
                continue
            if found != ref.entry_hash:
                self.damage(
                    layout.entry(ref.chain_id, ref.number),
                    f"is missing or another than {said_by} says: an older state of the chain",
                    points,
                )


@dataclass(slots=True)
class _Slot:
    """One session of the states that are kept."""

    record: SessionRecord
    used: dict[int, int] = field(default_factory=dict)
    """Used places, as the bits of an integer, by pack ordinal."""


class _ChainScrub:
    """One chain being read."""

    def __init__(self, scrub: _Scrub, chain: Chain) -> None:
        self.scrub = scrub
        self.chain = chain
        self.storage: Storage = scrub.storage
        self.entries: dict[int, Entry] = {}
        self.numbers: list[int] = []
        self.promise: Entry | None = None
        self.history: dict[int, HistoryRecord] = {}
        self.kept: dict[int, Entry] = {}
        """Session entries whose state has to be whole."""
        self.live: dict[int, list[str]] = {}
        """Points that are promised, by entry."""
        self.pages: dict[PageRef, str] = {}
        """Damaged pages."""
        self.packs_read: dict[bytes, list[tuple[Form, PackState]]] = {}
        """Forms of each pack that were compared with a ledger, and how they were found."""
        self.forms_read: set[str] = set()
        self.hurt_blocks: dict[str, tuple[list[str], set[tuple[int, int]]]] = {}
        """By key of a pack: what is wrong with it, and the blocks concerned."""

    def run(self) -> ScrubbedChain:
        chain = self.chain
        self.scrub.progress.advance(_size(self.storage, layout.header(chain.chain_id)))
        self._read_journal()
        owner = self._owner()
        trusted = self.scrub.trust.knows(owner)
        if self.scrub.trust.pinned and not trusted:
            self.scrub.damage(
                layout.header(chain.chain_id),
                f"is signed by {owner.fingerprint}, which is none of the pinned signers",
                _claimed_points(self.storage, chain.chain_id),
            )
        self._judge_history()
        slots = self._walk_states()
        self._check_packs(slots)
        self._check_rest(slots)
        self._report_pages()
        self._report_blocks()
        return ScrubbedChain(
            chain=chain.chain_id.hex(),
            sealed=chain.sealed,
            signer=owner.fingerprint,
            trusted=trusted,
            points=sum(map(len, self.live.values())),
            newest_entry=max(self.numbers, default=0),
            packs=len(self.packs_read),
        )

    def all_points(self) -> list[str]:
        return [point for points in self.live.values() for point in points]

    # --- journal ---------------------------------------------------------------------------

    def _read_journal(self) -> None:
        chain = self.chain
        problems: dict[int, str] = {}
        for info in self.storage.list(layout.journal(chain.chain_id)):
            self.scrub.cancel.check()
            self.scrub.progress.advance(info.size)
            number = layout.entry_number(info.key)
            if number is None:
                self.scrub.note(info.key, "is no part of a repository")
                continue
            try:
                self.entries[number] = chain.entry(number)
            except ObjectMissingError:
                continue  # removed since it was listed
            except (IntegrityError, UnsupportedVersionError) as error:
                problems[number] = str(error)
            self.numbers.append(number)
        problems |= self.chain.succeeded(self.entries)
        for number in problems.keys() & self.entries.keys():
            del self.entries[number]
        bearers = [
            entry
            for entry in self.entries.values()
            if isinstance(entry.body, SessionBody | PromiseBody)
        ]
        self.promise = max(bearers, key=lambda entry: entry.number, default=None)
        self._read_history()
        for number, problem in problems.items():
            record = self.history.get(number)
            self.scrub.damage(
                layout.entry(chain.chain_id, number),
                problem,
                [point.hex() for point in record.promised] if record else [],
            )

    def _owner(self) -> SigningPublicKey:
        """Return whose the chain is, as far as its journal can be read."""
        try:
            return self.chain.identity
        except (IntegrityError, UnsupportedVersionError):
            return self.chain.founder

    def _read_history(self) -> None:
        if self.promise is None:
            return
        body = self.promise.body
        assert isinstance(body, SessionBody | PromiseBody)
        try:
            self.history = dict(Reach(self.chain, self._page_damaged).history(body.history))
        except IntegrityError as error:
            self.scrub.damage(self._key(self.promise.number), str(error))
        if isinstance(body, SessionBody):
            self.live[self.promise.number] = [point.point_id.hex() for point in body.points]
        for number in sorted(self.entries, reverse=True):
            newest = self.entries[number].body
            if isinstance(newest, SessionBody):
                said_by = f"entry {number} of chain {self.chain.name}"
                points = [point.point_id.hex() for point in newest.points]
                self.scrub.older.extend((said_by, points, ref) for ref in newest.older)
                break

    def _judge_history(self) -> None:
        """Compare what is there with what the newest entry remembers and promises."""
        top = self.promise.number if self.promise else 0
        for number, record in sorted(self.history.items()):
            promised = [point.hex() for point in record.promised]
            entry = self.entries.get(number)
            if number not in self.numbers:
                if promised:
                    self.scrub.damage(
                        self._key(number),
                        f"is missing, and entry {top} promises it",
                        promised,
                    )
            elif entry is not None and entry.hash != record.entry_hash:
                self.scrub.damage(
                    self._key(number), "is another entry than the history says: a fork", promised
                )
            elif entry is not None and promised:
                self.live[number] = promised
        self.kept = {
            number: self.entries[number]
            for number in sorted(self.live)
            if isinstance(self.entries[number].body, SessionBody)
        }
        newest = max(
            (
                number
                for number, entry in self.entries.items()
                if isinstance(entry.body, SessionBody)
            ),
            default=0,
        )
        if newest and newest not in self.kept and newest not in self._condemned():
            # The next session builds on it, promised or not.
            self.kept[newest] = self.entries[newest]
        self._judge_order(top)
        self._judge_head()

    def _condemned(self) -> set[int]:
        return {
            number
            for entry in self.entries.values()
            if isinstance(entry.body, CondemnationBody)
            for number in entry.body.entries
        }

    def _judge_order(self, top: int) -> None:
        """Check that each entry follows the one before it, as far as both are there."""
        expected = None if top else 1
        for number in sorted(self.numbers):
            if number > top and expected is not None and number != expected:
                self.scrub.damage(
                    self._key(number),
                    "follows a gap: planted, or what lies between is withheld",
                )
                break
            if number >= top:
                expected = number + 1
            entry = self.entries.get(number)
            before = self.entries.get(number - 1)
            previous = self.chain.root_hash if number == 1 else before.hash if before else None
            if (
                entry is not None
                and entry.raw.signer
                and previous is not None
                and entry.raw.previous_hash != previous
            ):
                self.scrub.damage(
                    self._key(number),
                    "does not follow the entry before it: two histories exist",
                    self.live.get(number, ()),
                )

    def _judge_head(self) -> None:
        known = self.scrub.heads.get(self.chain.chain_id)
        if known is None:
            return
        key = self._key(known.number)
        entry = self.entries.get(known.number)
        record = self.history.get(known.number)
        found = entry.hash if entry else record.entry_hash if record else None
        if known.number > max(self.numbers, default=0):
            self.scrub.damage(
                key,
                "was seen before, and this ends below it: rolled back",
                self.all_points(),
            )
        elif found is None:
            if known.number not in self.numbers:
                self.scrub.damage(
                    key,
                    "was seen before, and nothing follows it: rolled back",
                    self.all_points(),
                )
        elif found != known.entry_hash:
            self.scrub.damage(
                key, "is another entry than was seen before: two histories exist", self.all_points()
            )

    def _key(self, number: int) -> str:
        return layout.entry(self.chain.chain_id, number)

    # --- states ----------------------------------------------------------------------------

    def _page_damaged(self, ref: PageRef, error: IntegrityError) -> None:
        self.pages.setdefault(ref, str(error))

    def _walk_states(self) -> dict[int, _Slot]:
        """Read every page that kept entries reach, except for ledgers."""
        reach = Reach(self.chain, self._page_damaged)
        slots: dict[int, _Slot] = {}
        used: list[tuple[int, int, int]] = []
        for number, entry in self.kept.items():
            self.scrub.cancel.check()
            body = entry.body
            assert isinstance(body, SessionBody)
            try:
                for slot, record in reach.sessions(body):
                    known = slots.setdefault(slot, _Slot(record))
                    if known.record != record:
                        raise MalformedError(f"slot {slot} means two sessions")
                used.extend(reach.blocks(body))
            except IntegrityError as error:
                self.scrub.damage(self._key(number), str(error), self.live.get(number, ()))
        for slot, ordinal, bits in used:
            if slot in slots:
                packs = slots[slot].used
                packs[ordinal] = packs.get(ordinal, 0) | bits
        for number, entry in self.entries.items():
            # Who asks what was condemned reads the history of every entry that is there.
            if isinstance(entry.body, SessionBody | PromiseBody):
                try:
                    for _ in reach.history(entry.body.history):
                        pass
                except IntegrityError as error:
                    self.scrub.damage(self._key(number), str(error), self.live.get(number, ()))
        return slots

    # --- packs -----------------------------------------------------------------------------

    def _check_packs(self, slots: dict[int, _Slot]) -> None:
        """Compare every pack that a ledger knows, in the order of the ledgers."""
        reach = Reach(self.chain, self._page_damaged)
        for number, slot in slots.items():
            found: set[int] = set()
            try:
                for ordinal, encoded, directory in reach.ledger(slot.record.ledger):
                    found.add(ordinal)
                    expected = Expected(slot.record.session_id, encoded, directory)
                    self._check_pack(number, ordinal, expected, slot.used.get(ordinal, 0))
            except IntegrityError as error:
                self.scrub.damage(
                    layout.chain(self.chain.chain_id),
                    f"the ledger of session {slot.record.session_id.hex()[:12]}: {error}",
                    self._points_using({(number, at) for at in slot.used}),
                )
                continue
            lost = {(number, ordinal) for ordinal in slot.used.keys() - found}
            if lost and not self.pages:
                self.scrub.damage(
                    layout.chain(self.chain.chain_id),
                    f"the ledger of session {slot.record.session_id.hex()[:12]} lacks "
                    f"{len(lost)} packs that are used",
                    self._points_using(lost),
                )

    def _check_pack(self, slot: int, ordinal: int, expected: Expected, used: int) -> None:
        pack_id = expected.directory.pack_id
        found = self.packs_read.get(pack_id)
        if found is None:
            found = self._read_pack(pack_id, expected)
            if not found:
                if used:
                    key = layout.pack(self.chain.chain_id, pack_id)
                    gone = tuple(one for one in expected.directory.places if used >> one & 1)
                    self._hurt(key, ["is missing"], slot, ordinal, gone)
                    self._note_pack(slot, ordinal, expected, gone, missing=True)
                return
            self.packs_read[pack_id] = found
            for form, state in found:
                self.forms_read.add(form.key)
                if state.problems:
                    self._hurt(form.key, [*state.problems], slot, ordinal, ())
        # A block is lost when no form has it as it was signed.
        lost = set.intersection(*(set(state.damaged) | set(state.absent) for _, state in found))
        hurt = tuple(place for place in sorted(lost) if used >> place & 1)
        form, state = found[0]
        if hurt:
            lacking = [place for place in hurt if place in state.absent]
            problems = (
                [f"lacks {counted(len(lacking), 'block')} that points use"] if lacking else []
            )
            self._hurt(form.key, problems, slot, ordinal, hurt)
        if hurt or any(state.problems for _, state in found):
            self._note_pack(slot, ordinal, expected, hurt, missing=False)

    def _note_pack(
        self, slot: int, ordinal: int, expected: Expected, hurt: tuple[int, ...], *, missing: bool
    ) -> None:
        self.scrub.packs.append(
            DamagedPack(
                chain=self.chain.chain_id.hex(),
                pack=expected.directory.pack_id.hex(),
                slot=slot,
                ordinal=ordinal,
                places=hurt,
                missing=missing,
            )
        )

    def _read_pack(self, pack_id: bytes, expected: Expected) -> list[tuple[Form, PackState]]:
        """Compare a pack with the ledger, form by form until one is whole; none if it is gone."""
        chain = self.chain
        for _ in range(_LISTINGS):
            found: list[tuple[Form, PackState]] = []
            with suppress(ObjectMissingError):  # compacted meanwhile
                for form in forms(self.storage, chain.chain_id, pack_id):
                    state = check_pack(
                        self.storage,
                        form,
                        chain.origin_id,
                        expected,
                        self.scrub.progress,
                        self.scrub.cancel,
                    )
                    found.append((form, state))
                    if not state.problems:
                        break
                return found
        return []

    def _hurt(
        self, key: str, problems: list[str], slot: int, ordinal: int, places: tuple[int, ...]
    ) -> None:
        """Note what is wrong with a pack, and which blocks of which session it concerns."""
        known = self.hurt_blocks.setdefault(key, ([], set()))
        known[0].extend(problems)
        known[1].update((slot, ordinal << 16 | place) for place in places)

    def _report_blocks(self) -> None:
        for key, (problems, blocks) in self.hurt_blocks.items():
            points: list[str] = []
            if blocks:
                for number, entry in self.kept.items():
                    state = self._state(entry)
                    if state is None or any(state.contains(*block) for block in blocks):
                        points.extend(self.live.get(number, ()))
            self.scrub.damage(key, "; ".join(problems), points)

    def _points_using(self, packs: set[tuple[int, int]]) -> list[str]:
        """Return the points of entries whose state uses a block of one of the packs."""
        points: list[str] = []
        for number, entry in self.kept.items():
            state = self._state(entry)
            try:
                if state is None or any(state.bits(*pack) for pack in packs):
                    points.extend(self.live.get(number, ()))
            except IntegrityError:
                points.extend(self.live.get(number, ()))
        return points

    def _state(self, entry: Entry) -> StateBlocks | None:
        """Return which blocks an entry uses, or nothing if that cannot be read."""
        assert isinstance(entry.body, SessionBody)
        state = StateBlocks(self.chain, entry.body)
        try:
            state.all_bits()
        except IntegrityError:
            return None
        return state

    # --- pages -----------------------------------------------------------------------------

    def _report_pages(self) -> None:
        """Say for each damaged page which entries lead to it."""
        if not self.pages:
            return
        hurt: dict[PageRef, list[str]] = {ref: [] for ref in self.pages}
        for number, entry in self.kept.items():
            met: dict[PageRef, IntegrityError] = {}
            body = entry.body
            assert isinstance(body, SessionBody)
            reach = Reach(self.chain, met.__setitem__)
            try:
                for _ in reach.blocks(body):
                    pass
                for _slot, record in reach.sessions(body):
                    for _ in reach.ledger(record.ledger):
                        pass
                for _ in reach.history(body.history):
                    pass
            except IntegrityError:
                continue  # said before
            for ref in met:
                hurt.setdefault(ref, []).extend(self.live.get(number, ()))
        by_object: dict[bytes, list[PageRef]] = {}
        for ref in hurt:
            by_object.setdefault(ref.object_id, []).append(ref)
        for object_id, refs in by_object.items():
            key = layout.tables(self.chain.chain_id, object_id)
            reasons = [self.pages.get(ref, "a page is not what was signed") for ref in refs]
            what = reasons[0] if len(refs) == 1 else f"{len(refs)} pages: {reasons[0]}"
            self.scrub.damage(key, what, [point for ref in refs for point in hurt[ref]])

    # --- everything else -------------------------------------------------------------------

    def _check_rest(self, slots: dict[int, _Slot]) -> None:
        """Check what no ledger leads to: keys, envelopes, links, frames, stray packs."""
        chain_id = self.chain.chain_id
        identities = {self.chain.founder.id: self.chain.founder}
        for entry in self.entries.values():
            if isinstance(entry.body, IdentityBody | SuccessionBody):
                introduced = SigningPublicKey(entry.body.identity)
                identities[introduced.id] = introduced
        ways = _Ways(self, identities)
        commitments = {slot.record.session_id: slot.record.commitment for slot in slots.values()}
        for info in self.storage.list(layout.chain(chain_id)):
            self.scrub.cancel.check()
            kind, _, name = info.key.removeprefix(layout.chain(chain_id)).partition("/")
            if kind == "journal":
                continue
            form = layout.pack_form(name) if kind == "packs" else None
            if form is not None:
                if form[0] in self.packs_read and info.key not in self.forms_read:
                    self.scrub.check_alone(chain_id, info)
                    self.scrub.note(info.key, "a form of a pack that there is another one of")
                elif info.key not in self.forms_read:
                    self._check_stray(info)
            elif kind == "envelopes" and _ENVELOPE.fullmatch(name):
                ways.check_envelope(info)
            elif kind == "links" and _LINK.fullmatch(name):
                ways.check_link(info)
            elif kind == "keys" and _ID.fullmatch(name):
                self._check_keys(info, name, identities, commitments)
            else:
                self.scrub.check_alone(chain_id, info)
        ways.finish(slots)

    def _check_stray(self, info: ObjectInfo) -> None:
        session_id = self.scrub.check_alone(self.chain.chain_id, info)
        if session_id is not None:
            self.scrub.note(
                info.key,
                f"of session {session_id.hex()[:12]}, which has not published or was given up",
            )

    def _check_keys(
        self,
        info: ObjectInfo,
        name: str,
        identities: dict[bytes, SigningPublicKey],
        commitments: dict[bytes, bytes],
    ) -> None:
        key = info.key
        try:
            keys, encoded, signature = headers.read_session_keys_signed(
                get_framed(self.storage, key, MAX_SMALL), key
            )
            if (keys.chain_id, keys.session_id.hex()) != (self.chain.chain_id, name):
                raise MalformedError("holds the keys of another session: swapped in storage")
            verify_any(identities, headers.SESSION_KEYS_DOMAIN, encoded, signature)
            if commitments.get(keys.session_id, keys.commitment) != keys.commitment:
                raise MalformedError("holds other keys than the session published")
        except ObjectMissingError:
            return
        except (IntegrityError, UnsupportedVersionError) as error:
            self.scrub.damage(key, str(error))
        self.scrub.progress.advance(info.size)


class _Ways:
    """Envelopes and links of a chain, and whether they lead to every key in use."""

    def __init__(self, scrub: _ChainScrub, identities: dict[bytes, SigningPublicKey]) -> None:
        self._of = scrub
        self._scrub = scrub.scrub
        self._chain = scrub.chain
        self._identities = identities
        self._copies: dict[tuple[bytes, int], int] = {}
        self._links: list[tuple[bytes, bytes]] = []
        self._damaged: list[tuple[str, str, bytes]] = []

    def check_envelope(self, info: ObjectInfo) -> None:
        key = info.key
        found = _ENVELOPE.fullmatch(key.rpartition("/")[2])
        assert found is not None
        chain_key_id, generation = bytes.fromhex(found[1]), int(found[2])
        self._copies.setdefault((chain_key_id, generation), 0)
        try:
            envelope, encoded, signature = headers.read_envelope(
                get_framed(self._chain.storage, key, MAX_SMALL), key
            )
            if (envelope.chain_id, envelope.chain_key_id, envelope.generation) != (
                self._chain.chain_id,
                chain_key_id,
                generation,
            ) or PublicKey(envelope.chain_public).id != chain_key_id:
                raise MalformedError("is the envelope of something else: swapped in storage")
            signer = SigningPublicKey(envelope.identity)
            if signer.id not in self._identities:
                raise MalformedError(f"is signed by {signer.fingerprint}, which is not the chain's")
            verify(signer, headers.ENVELOPE_DOMAIN, encoded, signature)
            for stanza in envelope.stanzas:
                check_stanza(stanza)
            self._copies[(chain_key_id, generation)] += 1
        except ObjectMissingError:
            return
        except (IntegrityError, UnsupportedVersionError) as error:
            self._damaged.append((key, str(error), chain_key_id))
        self._scrub.progress.advance(info.size)

    def check_link(self, info: ObjectInfo) -> None:
        key = info.key
        newer, older = key.rpartition("/")[2].split("-")
        try:
            link = headers.read_link(get_framed(self._chain.storage, key, MAX_SMALL), key)
            if (link.chain_id, link.newer_id.hex(), link.older_id.hex()) != (
                self._chain.chain_id,
                newer,
                older,
            ) or PublicKey(link.older_public).id != link.older_id:
                raise MalformedError("links something else: swapped in storage")
            self._links.append((link.newer_id, link.older_id))
        except ObjectMissingError:
            return
        except (IntegrityError, UnsupportedVersionError) as error:
            self._damaged.append((key, str(error), bytes.fromhex(older)))
        self._scrub.progress.advance(info.size)

    def finish(self, slots: dict[int, _Slot]) -> None:
        """Report what is damaged, and keys that neither an envelope nor a link leads to."""
        open_ids = {chain_key_id for (chain_key_id, _), copies in self._copies.items() if copies}
        pending = list(open_ids)
        while pending:
            newer_id = pending.pop()
            for link_newer, older_id in self._links:
                if link_newer == newer_id and older_id not in open_ids:
                    open_ids.add(older_id)
                    pending.append(older_id)
        users: dict[bytes, set[int]] = {}
        if self._chain.sealed:
            for number, slot in slots.items():
                users.setdefault(slot.record.chain_key_id, set()).add(number)
        lost = {one: self._points(numbers) for one, numbers in users.items() if one not in open_ids}
        for key, what, chain_key_id in self._damaged:
            self._scrub.damage(key, what, lost.pop(chain_key_id, ()))
        for chain_key_id, points in lost.items():
            self._scrub.damage(
                f"{layout.envelopes(self._chain.chain_id)}{chain_key_id.hex()}",
                "neither an envelope nor a link opens this chain key",
                points,
            )
        damaged = {key for key, _, _ in self._damaged}
        for (chain_key_id, generation), copies in self._copies.items():
            for copy in ("a", "b") if copies == 1 else ():
                key = layout.envelope(self._chain.chain_id, chain_key_id, generation, copy)
                if key not in damaged and not self._chain.storage.exists(key):
                    self._scrub.damage(key, "is missing: the other copy is the last one")

    def _points(self, slots: set[int]) -> list[str]:
        points: list[str] = []
        for number, entry in self._of.kept.items():
            assert isinstance(entry.body, SessionBody)
            try:
                if any(slot in slots for slot, _ in self._chain.sessions(entry.body).items()):
                    points.extend(self._of.live.get(number, ()))
            except IntegrityError:
                points.extend(self._of.live.get(number, ()))
        return points


def verify_any(
    identities: dict[bytes, SigningPublicKey], domain: str, encoded: bytes, signature: bytes
) -> None:
    """Check a signature that does not say whose it is.

    Raises:
        ForgedError: it is by none of the chain's identities.
    """
    last: IntegrityError | None = None
    for identity in identities.values():
        try:
            verify(identity, domain, encoded, signature)
        except IntegrityError as error:
            last = error
        else:
            return
    assert last is not None, "a chain has at least the identity of its header"
    raise last


def check_tables(storage: Storage, key: str, progress: Progress) -> None:
    """Check the frame of a tables object, in pieces.

    Raises:
        MalformedError: wrong magic, wrong lengths or a checksum that does not match.
    """
    size = storage.size(key)
    head = storage.get(key, 0, 12)
    length = int.from_bytes(head[8:12], "big")
    end = 12 + length + 2
    if head[:8] != TABLES or length > MAX_BODY or end + HASH_LENGTH != size:
        raise MalformedError(f"{key} is no tables object, or has another length than it says")
    hasher = Fingerprinter()
    for at in range(0, end, PIECE):
        data = storage.get(key, at, min(PIECE, end - at))
        hasher.update(data)
        progress.advance(len(data))
    if storage.get(key, end - 2, 2) != b"\0\0":
        raise MalformedError(f"{key} carries a signature, which no tables object has")
    if hasher.digest() != storage.get(key, end, HASH_LENGTH):
        raise MalformedError(f"{key} does not match its checksum: changed or damaged in storage")
    progress.advance(HASH_LENGTH)


def _claimed_points(storage: Storage, chain_id: bytes) -> list[str]:
    """Return the points that a chain's entries name, believed or not: to say what may be hurt."""
    points: list[str] = []
    for info in storage.list(layout.journal(chain_id)):
        try:
            entry = read_entry(get_framed(storage, info.key, MAX_ENTRY), info.key)
        except (IntegrityError, UnsupportedVersionError):
            continue
        if isinstance(entry.body, SessionBody):
            points.extend(point.point_id.hex() for point in entry.body.points)
    return points


def _size(storage: Storage, key: str) -> int:
    try:
        return storage.size(key)
    except ObjectMissingError:
        return 0


def some(points: tuple[str, ...]) -> str:
    """Return the ids of points, or of so many as fit."""
    shown = ", ".join(point[:12] for point in points[:_MOST_LISTED])
    return shown if len(points) <= _MOST_LISTED else f"{shown}, …"
