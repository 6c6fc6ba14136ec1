"""One session: every source of a job read, compared, sealed, and published in one stroke.

The life of a session is in `run_session`, top to bottom. What it needs to know comes in as
values; it asks no catalog and keeps no key longer than it runs.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from strongroom.clock import Clock, to_microseconds
from strongroom.crypto import random
from strongroom.crypto.aead import open_value, seal_value
from strongroom.crypto.content import ContentHasher
from strongroom.engine.adoption import PackNotes, adopt
from strongroom.engine.content import ContentStore
from strongroom.engine.dedup import DedupIndex
from strongroom.engine.image_backup import back_up_image, count_disk
from strongroom.engine.index_writer import PageStore
from strongroom.engine.memory import keep_large_buffers
from strongroom.engine.pack_sealing import CONTENTS_LABEL
from strongroom.engine.pipeline import FAR_PACK_RAW_BYTES, BlockPipeline, Compression
from strongroom.engine.points import open_details
from strongroom.engine.stream_backup import back_up_stream
from strongroom.engine.tree_backup import back_up_tree, count_chunk_list, count_tree
from strongroom.engine.wear import load_wear, save_wear
from strongroom.engine.work import SourceOutcome, Work
from strongroom.errors import (
    FencedError,
    IntegrityError,
    SessionFailedError,
    SourceUnavailableError,
    StrongroomError,
)
from strongroom.format import pack as packs
from strongroom.format.block import PLACE_BITS, BlockAddress, BlockClass
from strongroom.format.codec import decode, encode
from strongroom.format.header import session_context
from strongroom.format.journal import (
    DeathBody,
    Entry,
    EntryRef,
    PointKind,
    PublicPoint,
    SessionBody,
)
from strongroom.format.point import (
    DETAILS_LABEL,
    DiskRoot,
    PointDetails,
    StreamRoot,
    TreeRoot,
)
from strongroom.format.tables import SessionRecord
from strongroom.repository import layout, locks
from strongroom.repository.append import append_entry
from strongroom.repository.reach import Reach
from strongroom.repository.reader import BlockReader
from strongroom.repository.state import StateBlocks
from strongroom.repository.usage import BlockUsage
from strongroom.repository.writer import SealedKeys, SessionWriter, WrittenSession
from strongroom.sources.base import Problem
from strongroom.sources.command import CommandSource
from strongroom.sources.files import FilesSource, is_racy
from strongroom.sources.image import ImageSource
from strongroom.storage.reading import is_far, together

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from strongroom.crypto.envelope import SessionSecrets
    from strongroom.crypto.signing import SigningKey
    from strongroom.engine.cancellation import Cancellation
    from strongroom.engine.progress import Progress
    from strongroom.repository.chain import Chain
    from strongroom.repository.keyring import Keyring
    from strongroom.storage.base import Buffer


_READ_ANEW = "the point before is damaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePlan:
    """One source of a session."""

    source_id: bytes
    kind: str
    """`files`, `image` or `command`."""
    value: str
    """Path or command."""
    arguments: tuple[str, ...] | None = None
    """A command's argument vector, where it is not for bash."""

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPoint:
    """A point that a session is about to publish: what retention has to know of it."""

    point_id: bytes
    source_id: bytes
    taken_at: int
    """Microseconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPlan:
    """Everything a session does, decided before it begins."""

    session_id: bytes
    job: str
    machine: str
    sources: tuple[SourcePlan, ...]
    compression: Compression
    block_size: int
    reason: str
    """Why this session begins a chain; empty for an increment."""
    secrets: SessionSecrets | None
    """Fresh keys; none in a plain chain."""
    keys: SealedKeys
    counter: int
    previous: EntryRef | None
    next_due: int
    older: tuple[EntryRef, ...] = ()
    """The newest entry of each other chain of the job that has promised points."""
    exclude: tuple[str, ...] = ()
    one_file_system: bool = False
    exclude_caches: bool = True
    own_paths: tuple[bytes, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    """For source commands."""
    workers: int = 2
    damaged: frozenset[tuple[int, int]] = frozenset()
    """Blocks of the chain that are known to be damaged, by slot and number."""


@dataclass(slots=True, kw_only=True)
class SourceResult:
    """What became of one source."""

    source: SourcePlan
    point_id: bytes | None = None
    details: PointDetails | None = None
    error: StrongroomError | None = None


@dataclass(slots=True, kw_only=True)
class SessionOutcome:
    """What a session that published did."""

    entry: Entry
    counter: int
    """Sessions of the job so far, this one included."""
    kind: PointKind
    results: list[SourceResult]
    warnings: list[Problem]
    read_bytes: int
    changed_bytes: int
    stored_bytes: int
    files: int
    given_up: frozenset[bytes]
    bottleneck: str
    damage_met: tuple[IntegrityError, ...] = ()
    """What could not be read of the state before; the points made are whole all the same."""
    gave_up_damage: bool = False
    """The state before used damaged blocks, and this one does not."""
    mended: frozenset[tuple[int, int]] = frozenset()
    """Damaged blocks of older points that were made again, by slot and number."""


def run_session(
    plan: SessionPlan,
    chain: Chain,
    keyring: Keyring,
    *,
    signer: SigningKey,
    clock: Clock,
    cache: Path | None,
    give_up: Callable[[Sequence[NewPoint]], Collection[bytes]],
    confirm: Callable[[], None] = lambda: None,
    progress: Progress,
    cancel: Cancellation,
) -> SessionOutcome:
    """Back up every source of the plan and publish the points together.

    Args:
        plan: What to do.
        chain: Where to; `keyring` opens the index of its newest state.
        keyring: Keys at hand; the session's own are added.
        signer: The server's identity.
        clock: Tells the time.
        cache: Folder for what may be lost; None keeps nothing.
        give_up: Retention's verdict, asked once the new points are known.
        confirm: Raises where somebody else has the job's lock by then.
        progress: Is told how it goes.
        cancel: Stops it between two pieces of work.

    Raises:
        SessionFailedError: no source could be read; nothing was published.
        FencedError: another session took this one's place.
        CancelledError: on request; complete packs are taken over by the next session.
    """
    keep_large_buffers()
    run = _Run(plan, chain, keyring, signer, clock, cache, progress, cancel)
    try:
        return run.publish(run.back_up_all(), give_up, confirm)
    except BaseException:
        run.dedup.discard()
        raise
    finally:
        run.pipeline.shut_down()


class _Run:
    """The pieces of a running session, put together."""

    def __init__(
        self,
        plan: SessionPlan,
        chain: Chain,
        keyring: Keyring,
        signer: SigningKey,
        clock: Clock,
        cache: Path | None,
        progress: Progress,
        cancel: Cancellation,
    ) -> None:
        self.plan = plan
        self.chain = chain
        self.keyring = keyring
        self.signer = signer
        self.clock = clock
        self.progress = progress
        self.cancel = cancel
        self.cache = cache
        self.warnings: list[Problem] = []
        secrets = plan.secrets
        if secrets is not None:
            keyring.add(plan.session_id, secrets)
        self.hasher = ContentHasher(secrets.dedup_key if secrets else None)
        self.dedup = DedupIndex(cache / "content" if cache else None)
        self.notes = PackNotes(cache / "packs" if cache else None)
        base = chain.newest_session
        self.body = base.body if base and isinstance(base.body, SessionBody) else None
        if self.body is not None:
            chain.pages_ahead([self.body.sessions, self.body.sets])
        self.reader = BlockReader(chain, chain.sessions(self.body), keyring) if self.body else None
        if self.reader is not None:
            self.reader.expect_whole_index()
        self.state = StateBlocks(chain, self.body)
        bound = self.body is not None and self.dedup.bind(chain.hash_of)
        if self.body is not None and not bound and chain.sealed:
            # A plain pack's contents are only what the store says; nothing is learnt of them.
            self._rebuild_cache()
        self.adopted = self._adopt_dead()
        self.wear = load_wear(cache, chain.hash_of)
        self.wear.damaged = plan.damaged
        self.damage_met: list[IntegrityError] = []
        self.writer = SessionWriter(chain, plan.session_id, plan.keys, signer, clock, self.adopted)
        if self.writer.base != base:
            # Its blocks would be referred to, and they need not be of the newest state.
            raise FencedError("another session published after this one was planned")
        together(chain.storage, self.writer.begin, self._read_ahead)
        self.adopted_slots = frozenset(one.slot for one in self.adopted if one.directories)
        self.pipeline = BlockPipeline(
            chain.origin_id,
            plan.session_id,
            self.writer.slot,
            secrets,
            plan.compression,
            self._store_pack,
            plan.workers,
            FAR_PACK_RAW_BYTES if is_far(chain.storage) else None,
        )
        self.work = self._work()

    def _read_ahead(self) -> None:
        """Read the tables that lead to the blocks of the state before, where that saves waiting.

        They are judged when they are used.
        """
        if self.body is None or not is_far(self.chain.storage):
            return
        with suppress(StrongroomError):
            ledgers = [one.ledger for _, one in self.chain.sessions(self.body).items()]
            sets = [one.packs for _, one in self.chain.sets(self.body).items()]
            self.chain.pages_ahead([*ledgers, *sets])

    def _work(self) -> Work:
        plan = self.plan
        slot = self.writer.slot
        return Work(
            pipeline=self.pipeline,
            hasher=self.hasher,
            dedup=self.dedup,
            pages=PageStore(self.pipeline, self.hasher, self.dedup, self._reusable, slot),
            content=ContentStore(
                self.pipeline,
                self.hasher,
                self.dedup,
                self._reusable,
                self.wear.regain,
                slot,
                plan.secrets.chunker_seed if plan.secrets else 0,
                plan.block_size,
            ),
            reusable=self._reusable,
            own_slot=slot,
            reader=self.reader,
            wear=self.wear,
            block_size=plan.block_size,
            clock=self.clock,
            progress=self.progress,
            cancel=self.cancel,
            workers=plan.workers,
        )

    def _reusable(self, slot: int, number: int) -> bool:
        """Tell whether a block of the state before may be referred to from now on."""
        if slot in self.adopted_slots:
            return True
        return self.state.contains(slot, number) and not self.wear.is_doomed(slot, number)

    def _store_pack(self, pack_id: bytes, ordinal: int, directory: bytes, data: Buffer) -> None:
        self.writer.put_pack(pack_id, ordinal, directory, data)
        self.notes.note(self.plan.session_id, pack_id)

    # --- reading the sources -----------------------------------------------------------------

    def back_up_all(self) -> tuple[list[SourceResult], BlockUsage, list[SourceOutcome]]:
        """Back up every source; one that fails leaves its newest point in the job's state."""
        usage = BlockUsage()
        results: list[SourceResult] = []
        outcomes: list[SourceOutcome] = []
        for source in self.plan.sources:
            self.cancel.check()
            previous = self._previous(source.source_id)
            anew = False
            stored = self.pipeline.stored_bytes
            warned = len(self.warnings)
            taken_at = to_microseconds(self.clock.now())
            result = SourceResult(source=source)
            results.append(result)
            try:
                try:
                    outcome = self._back_up(source, previous[1] if previous else None)
                except IntegrityError as error:
                    if previous is None:
                        raise
                    self._meet_damage(source, error, warned)
                    previous, anew = None, True
                    outcome = self._back_up(source, None)
            except (SourceUnavailableError, SessionFailedError) as error:
                result.error = error
                # A block left open would hold a pack, and a storer, until the next source is done.
                self.work.content.flush()
                if previous is not None:
                    self._carry_over(source, previous[1].root, usage)
                continue
            self.work.content.flush()
            self.pipeline.flush()
            usage.add_all(outcome.usage)
            outcomes.append(outcome)
            result.point_id = random.token(16)
            result.details = PointDetails(
                self.plan.job,
                self.plan.machine,
                str(source),
                previous[0] if previous else b"",
                self.plan.reason or (_READ_ANEW if anew else ""),
                taken_at,
                to_microseconds(self.clock.now()),
                outcome.size_bytes,
                self.pipeline.stored_bytes - stored,
                outcome.files,
                len(self.warnings) - warned,
                outcome.root,
                outcome.recognition,
            )
        if not outcomes:
            first = results[0].error
            if len(results) == 1 and first is not None:
                raise first
            raise SessionFailedError(
                f"none of the {len(results)} sources of job {self.plan.job} could be read: "
                + "; ".join(str(result.error) for result in results)
            )
        return results, usage, outcomes

    def _meet_damage(self, source: SourcePlan, error: IntegrityError, warned: int) -> None:
        """Begin a source over, without the point before, which cannot be read."""
        self.damage_met.append(error)
        del self.warnings[warned:]  # of what is read once more
        self.warnings.append(
            Problem(
                os.fsencode(source.value),
                f"was read as if for the first time: the point before is damaged ({error})",
            )
        )
        self.work.content.flush()
        self.work.pages.confirm = self._confirm_page
        slot, number = error.fields.get("slot"), error.fields.get("number")
        if isinstance(slot, int) and isinstance(number, int):
            # Its neighbours were written together with it, and are pages of the same index.
            ordinal = number >> PLACE_BITS
            used = self.state.bits(slot, ordinal)
            for place in range(used.bit_length()):
                if used >> place & 1:
                    self._confirm_page(slot, ordinal << PLACE_BITS | place)

    def _confirm_page(self, slot: int, number: int) -> bool:
        """Tell whether a page of the state before can be read; one that cannot is given up."""
        assert self.reader is not None
        try:
            self.reader.read(BlockAddress(slot, number), BlockClass.INDEX)
        except IntegrityError:
            self.wear.damaged |= {(slot, number)}
            return False
        return True

    def _back_up(self, source: SourcePlan, previous: PointDetails | None) -> SourceOutcome:
        root = previous.root if previous else None
        if source.kind == "files":
            self.progress.begin(str(source))
            tree = FilesSource(
                os.fsencode(source.value),
                exclude=self.plan.exclude,
                one_file_system=self.plan.one_file_system,
                exclude_caches=self.plan.exclude_caches,
                own_paths=self.plan.own_paths,
                report=self.warnings.append,
            )
            return back_up_tree(tree, root if isinstance(root, TreeRoot) else None, self.work)
        if source.kind == "image":
            return self._back_up_image(source, previous)
        self.progress.begin(str(source))
        command = CommandSource(source.arguments or source.value, self.plan.environment)
        with command.open() as stream, self.cancel.calling(stream.cancel):
            return back_up_stream(stream.readinto, self.work)

    def _back_up_image(self, source: SourcePlan, previous: PointDetails | None) -> SourceOutcome:
        with ImageSource(Path(source.value)) as image:
            self.progress.begin(str(source), image.size)
            identity = image.identity()
            recognition = b""
            if identity is not None and not is_racy(Path(source.value).stat(), self.clock.now_ns()):
                recognition = msgspec.msgpack.encode(identity)
            root = previous.root if previous else None
            if not isinstance(root, DiskRoot):
                root = None
            if (
                root is not None
                and previous is not None
                and recognition
                and recognition == previous.recognition
            ):
                usage = BlockUsage()
                assert self.reader is not None
                count_disk(self.reader, usage, root)
                damaged = self.plan.damaged
                if not (damaged and any((one.slot, one.number) in damaged for one in usage)):
                    self.progress.advance(image.size)
                    return SourceOutcome(
                        root, usage, size_bytes=root.size, files=1, recognition=recognition
                    )
            outcome = back_up_image(image, root, self.work)
            after = image.identity()
            if after != identity:
                self.warnings.append(
                    Problem(
                        os.fsencode(source.value),
                        "changed while it was being read; the point may mix moments",
                    )
                )
                recognition = b""
            outcome.recognition = recognition
            return outcome

    def _previous(self, source_id: bytes) -> tuple[bytes, PointDetails] | None:
        """Return the source's newest point in the state that this session builds on."""
        if self.body is None:
            return None
        base = self.writer.base
        assert base is not None
        for number in reversed(self.chain.listing):
            if number > base.number:
                continue
            entry = self.chain.remembered(number)
            if not isinstance(entry.body, SessionBody):
                continue
            for point in entry.body.points:
                if point.source_id == source_id:
                    details = open_details(self.chain, self.keyring, entry.body, point)
                    page = details.root.page
                    if self.chain.is_condemned(number) or not (
                        page is None or self.state.contains(*page)
                    ):
                        # Given up, or older than what the state carries: blocks it uses
                        # may be on their way out.
                        return None
                    return point.point_id, details
        return None

    def _carry_over(
        self, source: SourcePlan, root: TreeRoot | DiskRoot | StreamRoot, usage: BlockUsage
    ) -> None:
        """Let the state go on using what the newest point of a failed source uses."""
        assert self.reader is not None
        carried = BlockUsage()
        try:
            if isinstance(root, TreeRoot):
                count_tree(self.reader, carried, root)
            elif isinstance(root, DiskRoot):
                count_disk(self.reader, carried, root)
            elif root.page is not None:
                count_chunk_list(self.reader, carried, root.levels, root.page)
        except IntegrityError as error:
            self.damage_met.append(error)
            self.warnings.append(
                Problem(
                    os.fsencode(source.value),
                    f"has a damaged newest point, so the next one begins anew ({error})",
                )
            )
            return
        usage.add_all(carried)

    # --- publishing --------------------------------------------------------------------------

    def publish(
        self,
        read: tuple[list[SourceResult], BlockUsage, list[SourceOutcome]],
        give_up: Callable[[Sequence[NewPoint]], Collection[bytes]],
        confirm: Callable[[], None],
    ) -> SessionOutcome:
        """Make the points exist and remember for the next session what helps it."""
        results, usage, outcomes = read
        plan = self.plan
        points: list[PublicPoint] = []
        fresh: list[NewPoint] = []
        for result in results:
            if result.point_id is None or result.details is None:
                continue
            kind = PointKind.INCREMENTAL if result.details.parent else PointKind.FULL
            points.append(
                PublicPoint(
                    result.point_id,
                    result.source.source_id,
                    kind,
                    seal_details(self.chain, plan.session_id, plan.secrets, result),
                )
            )
            fresh.append(
                NewPoint(
                    point_id=result.point_id,
                    source_id=result.source.source_id,
                    taken_at=result.details.taken_at,
                )
            )
        # While the session can still end: of a damaged state nobody could tell.
        hurt = any(self.state.contains(*block) for block in self.wear.damaged)
        self.cancel.check()
        given_up = frozenset(give_up(fresh))
        entry = self.writer.publish(
            points,
            usage,
            give_up=given_up,
            counter=plan.counter,
            previous=plan.previous,
            next_due=plan.next_due,
            older=plan.older,
            confirm=confirm,
        )
        self._remember(entry, usage)
        mended = self._reseal(entry) if self.wear.damaged else frozenset()
        waited = self.pipeline.waited_seconds
        name, seconds = max(waited.items(), key=lambda item: item[1])
        kinds = {point.kind for point in points}
        return SessionOutcome(
            entry=entry,
            counter=plan.counter,
            kind=(PointKind.INCREMENTAL if PointKind.INCREMENTAL in kinds else PointKind.FULL),
            results=results,
            warnings=self.warnings,
            read_bytes=sum(outcome.read_bytes for outcome in outcomes),
            changed_bytes=sum(outcome.changed_bytes for outcome in outcomes),
            stored_bytes=self.pipeline.stored_bytes,
            files=sum(outcome.files for outcome in outcomes),
            given_up=given_up,
            bottleneck=name if seconds > 0.1 else "read",
            damage_met=tuple(self.damage_met),
            gave_up_damage=hurt,
            mended=mended,
        )

    def _remember(self, entry: Entry, usage: BlockUsage) -> None:
        """Keep the cache; what fails here costs the next session time and nothing else."""
        try:
            self.dedup.save(entry.number, entry.hash, usage.bitmaps())
            if self.cache is not None:
                following = self.wear.successor(usage, self._born_with)
                save_wear(self.cache, following, entry.number, entry.hash)
            for session_id in (self.plan.session_id, *(one.session_id for one in self.adopted)):
                self.notes.forget(session_id)
        except OSError as error:
            self.warnings.append(
                Problem(
                    os.fsencode(str(self.cache)),
                    f"the cache could not be kept ({error.strerror}); the next session rebuilds it",
                )
            )

    def _reseal(self, entry: Entry) -> frozenset[tuple[int, int]]:
        """Make damaged blocks again that older points need; the session has published already."""
        # Not at the top: what it imports, hardly a session needs.
        from strongroom.engine.resealing import reseal

        assert isinstance(entry.body, SessionBody)
        try:
            with locks.acquire(
                self.chain.storage,
                layout.care_lock(self.chain.chain_id),
                random.token(16).hex(),
                self.clock,
                command=locks.RUNNING,
            ):
                done = reseal(
                    self.chain,
                    entry.body,
                    self.keyring,
                    self.dedup,
                    self.hasher,
                    self.wear.damaged,
                    self.plan.compression.level,
                    self.cancel,
                )
        except StrongroomError as error:
            self._say_unmended(str(error))
            return frozenset()
        for problem in done.problems:
            self._say_unmended(problem)
        return frozenset(done.mended)

    def _say_unmended(self, why: str) -> None:
        self.warnings.append(Problem(b"older points", f"could not all be repaired: {why}"))

    def _born_with(self, slot: int, ordinal: int) -> int:
        """Return how many blocks a pack was born with."""
        for session in (self.writer.own, *self.adopted):
            if session.slot == slot:
                encoded = session.directories[ordinal]
                return len(decode(packs.Directory, encoded, "a directory").places)
        if self.reader is None:
            return 0
        try:
            return len(self.reader.directory(slot, ordinal).places)
        except IntegrityError:
            return 0  # what cannot be told apart is not given up

    # --- what earlier sessions left ------------------------------------------------------------

    def _adopt_dead(self) -> list[WrittenSession]:
        """Declare sessions dead that left packs and never published, and take those over."""
        adopted = []
        noted = [one for one in self.notes.sessions() if one != self.plan.session_id]
        known = self._known_sessions() if noted else frozenset()
        for session_id in noted:
            pack_ids = self.notes.packs(session_id)
            if not pack_ids or known is None or session_id in known:
                self.notes.forget(session_id)
                continue
            entry = append_entry(
                self.chain, DeathBody(session_id, self.plan.session_id), self.signer, self.clock
            )
            metakey = None
            if self.chain.sealed:
                try:
                    metakey = self.keyring.metakey(_record_of(session_id))
                except StrongroomError:
                    # What its packs hold cannot be told, now or later: prune removes them.
                    self.notes.forget(session_id)
                    continue
            adopted.append(
                adopt(
                    self.chain,
                    session_id,
                    entry.number,
                    pack_ids,
                    metakey,
                    self.dedup,
                    self.hasher,
                    self.signer.public,
                )
            )
        return adopted

    def _known_sessions(self) -> frozenset[bytes] | None:
        """Return the sessions that published, and those whose packs an entry leads to already.

        Care may rewrite or remove what entries lead to, beside this session: of a dead one only
        that is taken over which nobody has taken over before. None if damage hides who did.
        """
        damaged: list[IntegrityError] = []
        reach = Reach(self.chain, lambda _, error: damaged.append(error))
        found: set[bytes] = set()
        for number in self.chain.listing:
            body = self.chain.entry(number).body
            if isinstance(body, SessionBody):
                found.add(body.session_id)
                found.update(record.session_id for _, record in reach.sessions(body))
        return None if damaged else frozenset(found)

    def _rebuild_cache(self) -> None:
        """Learn again where content lies, from the sealed contents of the state's packs."""
        assert self.body is not None
        sessions = self.chain.sessions(self.body)
        for slot, record in sessions.items():
            ledger = self.chain.ledger(record.ledger)
            for ordinal, page in ledger.items():
                if not self.state.bits(slot, ordinal):
                    continue
                directory = decode(packs.Directory, page.directory, "a page of a ledger")
                try:
                    contents = _contents_of(
                        self.chain, self.keyring, record, directory, page.directory
                    )
                except StrongroomError:
                    # A pack that cannot be read helps nobody to recognise anything.
                    continue
                for piece in contents.pieces:
                    self.dedup.add(
                        piece.content_hash,
                        slot,
                        ordinal << PLACE_BITS | piece.place,
                        piece.offset,
                        piece.length,
                    )


def _record_of(session_id: bytes) -> SessionRecord:
    """Return a record that only names a session, for looking up a metakey that was kept."""
    from strongroom.format.paging import TableRoot

    return SessionRecord(session_id, b"", b"", b"", TableRoot(), 0)


def _contents_of(
    chain: Chain,
    keyring: Keyring,
    record: SessionRecord,
    directory: packs.Directory,
    encoded_directory: bytes,
) -> packs.Contents:
    from strongroom.repository.stored_packs import find_pack

    stored = find_pack(chain.storage, chain.chain_id, chain.origin_id, directory, ())
    name, encoded = stored.key, stored.contents
    if chain.sealed:
        encoded = open_value(
            keyring.metakey(record),
            CONTENTS_LABEL,
            packs.trailer_context(chain.origin_id, record.session_id, encoded_directory),
            encoded,
        )
    return decode(packs.Contents, encoded, name)


def seal_details(
    chain: Chain, session_id: bytes, secrets: SessionSecrets | None, result: SourceResult
) -> bytes:
    """Return a point's details as its entry holds them."""
    assert result.details is not None
    assert result.point_id is not None
    encoded = encode(result.details)
    if secrets is None:
        return encoded
    context = session_context(chain.origin_id, session_id) + result.point_id
    return seal_value(secrets.metakey, DETAILS_LABEL, context, encoded)


def points_of(results: Iterable[SourceResult]) -> list[bytes]:
    """Return the ids of the points that a session made."""
    return [result.point_id for result in results if result.point_id is not None]
