"""One chain being read: its journal, the states it keeps, their pages and packs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from strongroom.crypto.signing import SigningPublicKey
from strongroom.errors import (
    IntegrityError,
    MalformedError,
    ObjectMissingError,
    UnsupportedVersionError,
)
from strongroom.format import header as headers
from strongroom.format.codec import MAX_SMALL
from strongroom.format.journal import (
    CondemnationBody,
    Entry,
    IdentityBody,
    PromiseBody,
    SessionBody,
    SuccessionBody,
)
from strongroom.model.phrases import counted
from strongroom.repository import layout
from strongroom.repository.framed import get_framed
from strongroom.repository.packs import Expected
from strongroom.repository.reach import Reach, states_coming
from strongroom.repository.scrub_loose import ENVELOPE, ID, LINK, claimed_points
from strongroom.repository.scrub_packs import PackReader
from strongroom.repository.scrub_report import DamagedPack, ScrubbedChain
from strongroom.repository.scrub_ways import Ways, verify_any
from strongroom.repository.state import StateBlocks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.format.paging import PageRef
    from strongroom.format.tables import HistoryRecord, SessionRecord
    from strongroom.repository.chain import Chain
    from strongroom.repository.scrub import Scrub
    from strongroom.repository.scrub_packs import Found
    from strongroom.storage.base import ObjectInfo, Storage


@dataclass(slots=True)
class Slot:
    """One session of the states that are kept."""

    record: SessionRecord
    used: dict[int, int] = field(default_factory=dict)
    """Used places, as the bits of an integer, by pack ordinal."""


class ChainScrub:
    """One chain being read."""

    def __init__(self, scrub: Scrub, chain: Chain) -> None:
        self.scrub = scrub
        self.chain = chain
        self.storage: Storage = scrub.storage
        self.findings = scrub.findings
        self.progress = scrub.progress
        self.cancel = scrub.cancel
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
        self.packs_read: dict[bytes, Found] = {}
        """Each pack that a ledger knows and that is there."""
        self.forms_read: set[str] = set()
        """Keys of what holds them."""
        self.hurt_blocks: dict[str, tuple[list[str], set[tuple[int, int]]]] = {}
        """By key of a pack: what is wrong with it, and the blocks concerned."""

    def run(self) -> ScrubbedChain:
        chain = self.chain
        self.progress.advance(_size(self.storage, layout.header(chain.chain_id)))
        self._read_journal()
        owner = self._owner()
        trusted = self.scrub.trust.knows(owner)
        if self.scrub.trust.pinned and not trusted:
            self.findings.damage(
                layout.header(chain.chain_id),
                f"is signed by {owner.fingerprint}, which is none of the pinned signers",
                claimed_points(self.storage, chain.chain_id),
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
        visible = set(chain.numbers())
        coming = chain.coming(sorted(visible))
        for info in self.storage.list(layout.journal(chain.chain_id)):
            self.cancel.check()
            self.progress.advance(info.size)
            number = layout.entry_number(info.key)
            if number is None:
                unfinished = layout.copied_up_to_number(info.key) is not None
                what = "says that a copy is not finished: 'repository copy' goes on with it"
                self.findings.note(info.key, what if unfinished else "is no part of a repository")
                continue
            if number not in visible:
                continue  # it comes with the rest of a copy
            next(coming, None)
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
            self.findings.damage(
                layout.entry(chain.chain_id, number),
                problem,
                [point.hex() for point in record.promised] if record else self._known(number),
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
            self.findings.damage(self._key(self.promise.number), str(error))
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
                    self.findings.damage(
                        self._key(number),
                        f"is missing, and entry {top} promises it",
                        promised,
                    )
            elif entry is not None and entry.hash != record.entry_hash:
                self.findings.damage(
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
                self.findings.damage(
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
                self.findings.damage(
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
        ends = max(self.numbers, default=0)
        if known.number > ends:
            lost = [
                point
                for number in range(ends + 1, known.number + 1)
                for point in self._known(number)
            ]
            self.findings.damage(
                key,
                "was seen before, and this ends below it: rolled back",
                [*self.all_points(), *lost],
            )
        elif found is None:
            if known.number not in self.numbers:
                self.findings.damage(
                    key,
                    "was seen before, and nothing follows it: rolled back",
                    self.all_points(),
                )
        elif found != known.entry_hash:
            self.findings.damage(
                key, "is another entry than was seen before: two histories exist", self.all_points()
            )

    def _known(self, number: int) -> Sequence[str]:
        """Return the points of an entry that nothing here tells of, if the catalog knows them."""
        return self.scrub.known_points.get(self.chain.chain_id, {}).get(number, ())

    def _key(self, number: int) -> str:
        return layout.entry(self.chain.chain_id, number)

    # --- states ----------------------------------------------------------------------------

    def _page_damaged(self, ref: PageRef, error: IntegrityError) -> None:
        self.pages.setdefault(ref, str(error))

    def _walk_states(self) -> dict[int, Slot]:
        """Read every page that kept entries reach, except for ledgers."""
        reach = Reach(self.chain, self._page_damaged)
        slots: dict[int, Slot] = {}
        used: list[tuple[int, int, int]] = []
        for entry in states_coming(self.chain, self.kept.values()):
            self.cancel.check()
            number, body = entry.number, entry.body
            assert isinstance(body, SessionBody)
            try:
                for slot, record in reach.sessions(body):
                    known = slots.setdefault(slot, Slot(record))
                    if known.record != record:
                        raise MalformedError(f"slot {slot} means two sessions")
                used.extend(reach.blocks(body))
            except IntegrityError as error:
                self.findings.damage(self._key(number), str(error), self.live.get(number, ()))
        for slot, ordinal, bits in used:
            if slot in slots:
                packs = slots[slot].used
                packs[ordinal] = packs.get(ordinal, 0) | bits
        for entry in states_coming(self.chain, self.entries.values()):
            number = entry.number
            # Who asks what was condemned reads the history of every entry that is there.
            if isinstance(entry.body, SessionBody | PromiseBody):
                try:
                    for _ in reach.history(entry.body.history):
                        pass
                except IntegrityError as error:
                    self.findings.damage(self._key(number), str(error), self.live.get(number, ()))
        return slots

    # --- packs -----------------------------------------------------------------------------

    def _check_packs(self, slots: dict[int, Slot]) -> None:
        """Compare every pack that a ledger knows, in the order of the ledgers."""
        with PackReader(self.chain, self.scrub.choice, self.progress, self.cancel) as reader:
            coming = self.chain.tables_coming(slots.items(), lambda one: (one[1].record.ledger,))
            for number, slot in coming:
                self._check_ledger(reader, number, slot)

    def _check_ledger(self, reader: PackReader, number: int, slot: Slot) -> None:
        reach = Reach(self.chain, self._page_damaged)
        found: set[int] = set()
        try:
            for ordinal, encoded, directory in reach.ledger(slot.record):
                found.add(ordinal)
                expected = Expected(slot.record.session_id, encoded, directory)
                judge = partial(self._judge_pack, number, ordinal, expected, slot.used)
                if directory.pack_id in self.packs_read:
                    judge(None)
                else:
                    reader.ask(expected, judge)
        except IntegrityError as error:
            self.findings.damage(
                layout.chain(self.chain.chain_id),
                f"the ledger of session {slot.record.session_id.hex()[:12]}: {error}",
                self._points_using({(number, at) for at in slot.used}),
            )
            return
        lost = {(number, ordinal) for ordinal in slot.used.keys() - found}
        if lost and not self.pages:
            self.findings.damage(
                layout.chain(self.chain.chain_id),
                f"the ledger of session {slot.record.session_id.hex()[:12]} lacks "
                f"{len(lost)} packs that are used",
                self._points_using(lost),
            )

    def _judge_pack(
        self,
        slot: int,
        ordinal: int,
        expected: Expected,
        uses: dict[int, int],
        found: Found | None,
    ) -> None:
        """Note what was found of a pack, or of one that another session refers to as well."""
        pack_id = expected.directory.pack_id
        used = uses.get(ordinal, 0)
        if pack_id not in self.packs_read:
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
        read = self.packs_read[pack_id]
        # A block is lost when no form has it as it was signed.
        lost = set.intersection(*(set(state.damaged) | set(state.absent) for _, state in read))
        hurt = tuple(place for place in sorted(lost) if used >> place & 1)
        form, state = read[0]
        if hurt:
            lacking = [place for place in hurt if place in state.absent]
            problems = (
                [f"lacks {counted(len(lacking), 'block')} that points use"] if lacking else []
            )
            self._hurt(form.key, problems, slot, ordinal, hurt)
        if hurt or any(state.problems for _, state in read):
            self._note_pack(slot, ordinal, expected, hurt, missing=False)

    def _note_pack(
        self, slot: int, ordinal: int, expected: Expected, hurt: tuple[int, ...], *, missing: bool
    ) -> None:
        self.findings.packs.append(
            DamagedPack(
                chain=self.chain.chain_id.hex(),
                pack=expected.directory.pack_id.hex(),
                slot=slot,
                ordinal=ordinal,
                places=hurt,
                missing=missing,
            )
        )

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
            self.findings.damage(key, "; ".join(problems), points)

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
                    for _ in reach.ledger(record):
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
            self.findings.damage(key, what, [point for ref in refs for point in hurt[ref]])

    # --- everything else -------------------------------------------------------------------

    def _check_rest(self, slots: dict[int, Slot]) -> None:
        """Check what no ledger leads to: keys, envelopes, links, frames, stray packs."""
        chain_id = self.chain.chain_id
        identities = {self.chain.founder.id: self.chain.founder}
        for entry in self.entries.values():
            if isinstance(entry.body, IdentityBody | SuccessionBody):
                introduced = SigningPublicKey(entry.body.identity)
                identities[introduced.id] = introduced
        ways = Ways(self, identities)
        commitments = {slot.record.session_id: slot.record.commitment for slot in slots.values()}
        elsewhere = (layout.packs(chain_id), layout.journal(chain_id))
        listed = self.storage.list(layout.chain(chain_id))
        for info in self.scrub.storage.coming(
            listed, lambda info: not info.key.startswith(elsewhere)
        ):
            self.cancel.check()
            kind, _, name = info.key.removeprefix(layout.chain(chain_id)).partition("/")
            if kind == "journal":
                continue
            form = layout.pack_form(name) if kind == "packs" else None
            if form is not None:
                if form[0] in self.packs_read and info.key not in self.forms_read:
                    self.scrub.loose.check(chain_id, info)
                    self.findings.note(info.key, "a form of a pack that there is another one of")
                elif info.key not in self.forms_read:
                    self._check_stray(info)
            elif kind == "envelopes" and ENVELOPE.fullmatch(name):
                ways.check_envelope(info)
            elif kind == "links" and LINK.fullmatch(name):
                ways.check_link(info)
            elif kind == "keys" and ID.fullmatch(name):
                self._check_keys(info, name, identities, commitments)
            else:
                self.scrub.loose.check(chain_id, info)
        ways.finish(slots)

    def _check_stray(self, info: ObjectInfo) -> None:
        session_id = self.scrub.loose.check(self.chain.chain_id, info)
        if session_id is not None:
            self.findings.note(
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
            self.findings.damage(key, str(error))
        self.progress.advance(info.size)


def _size(storage: Storage, key: str) -> int:
    try:
        return storage.size(key)
    except ObjectMissingError:
        return 0
