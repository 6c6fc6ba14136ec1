"""A chain made from sealed blocks of another one, which nobody opens or reads at their source.

Sessions, slots, block numbers and index pages of the old chain stand in the new one as they are,
bound to the same origin, and open with the same keys. New is one session that publishes points of
its own over them. What none of these points uses stays behind.

Packs move as they are, by reflink or on the server where the storage can, and thinned where much
of them is of no use here.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from strongroom.clock import to_microseconds
from strongroom.crypto.aead import seal_value
from strongroom.errors import BlockDamagedError, MalformedError
from strongroom.format.codec import decode, encode
from strongroom.format.header import session_context
from strongroom.format.journal import (
    SIGNING_DOMAIN,
    EntryRef,
    PointKind,
    PublicPoint,
    SessionBody,
    encode_entry,
    frame_entry,
    signer_name,
)
from strongroom.format.pack import Directory
from strongroom.format.paging import Table, TableRoot
from strongroom.format.point import DETAILS_LABEL, PointDetails
from strongroom.format.tables import (
    LEDGER_SPAN,
    PACK_SET_SPAN,
    SESSION_SPAN,
    SET_SPAN,
    LedgerPage,
    PackSet,
    SessionRecord,
    SessionSet,
    bitmap,
)
from strongroom.format.versions import FORMAT
from strongroom.repository import layout
from strongroom.repository.compaction import thinned_parts
from strongroom.repository.packs import Expected, check_pack
from strongroom.repository.pages import PageCollector
from strongroom.repository.progress import Silent
from strongroom.repository.promises import updated_history
from strongroom.repository.stored_packs import Form, find_pack
from strongroom.storage.base import Composed, ObjectRange

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.clock import Clock
    from strongroom.crypto.envelope import SessionSecrets
    from strongroom.crypto.signing import SigningKey
    from strongroom.engine.cancellation import Cancellation
    from strongroom.engine.carried import Carried
    from strongroom.engine.progress import Progress
    from strongroom.format.journal import Entry
    from strongroom.repository.chain import Chain
    from strongroom.repository.writer import SealedKeys
    from strongroom.storage.base import Part

_WHOLE_FROM: Final = 0.9
"""A pack of which this much is used moves as it is."""
_WORKERS: Final = 4
"""Packs that move at once: each waits for the storage most of its time."""
_MOST_PAGES: Final = 64 << 20
"""Bytes of pages in one object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedPoint:
    """A point to publish in the new chain."""

    point_id: bytes
    source_id: bytes
    details: PointDetails
    """Its root is that of a point of the old chain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivingSession:
    """The session that publishes in the new chain."""

    session_id: bytes
    keys: SealedKeys
    secrets: SessionSecrets | None
    """None in a plain chain."""
    counter: int
    previous: EntryRef | None
    next_due: int
    older: Sequence[EntryRef]


def move_packs(
    old: Chain, new: Chain, what: Carried, progress: Progress, cancel: Cancellation
) -> Composed:
    """Bring every used block into the new chain, in the same repository.

    Returns:
        How much was cloned, and how much copied, here or by the storage.

    Raises:
        IntegrityError: a pack is missing or is not what was signed.
        StorageFullError: no room is left.
        CancelledError: on request.
    """
    progress.begin("moving blocks", what.byte_count)
    moved = Composed()
    with ThreadPoolExecutor(_WORKERS, "move") as pool:

        def move(key: tuple[int, int]) -> Composed:
            cancel.check()
            done = _move_pack(old, new, what, *key)
            progress.advance(done.taken_bytes)
            return done

        waiting = [pool.submit(move, key) for key in sorted(what.used)]
        try:
            for one in waiting:
                moved += one.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    progress.finish()
    return moved


def carry_packs(
    old: Chain, new: Chain, what: Carried, progress: Progress, cancel: Cancellation
) -> int:
    """Bring every used block into the new chain, in another place, each compared on the way.

    Returns:
        How many bytes were stored.

    Raises:
        IntegrityError: a pack is missing or is not what was signed.
        CancelledError: on request.
    """
    progress.begin("copying blocks", what.byte_count)
    stored = 0
    for slot, ordinal in sorted(what.used):
        cancel.check()
        key, parts, expected = _plan_pack(old, new, what, slot, ordinal)
        data = bytearray()
        for part in parts:
            if isinstance(part, ObjectRange):
                data += old.storage.get(part.key, part.offset, part.length)
            else:
                data += part
        new.storage.put(key, data)
        named = layout.pack_form(key)
        assert named is not None
        form = Form(key, len(data), named[1])
        state = check_pack(new.storage, form, new.origin_id, expected, Silent(), cancel)
        if state.problems:
            raise BlockDamagedError(
                f"{layout.pack(old.chain_id, expected.directory.pack_id)} is not what was signed: "
                f"{'; '.join(state.problems)}",
                object=layout.pack(old.chain_id, expected.directory.pack_id),
            )
        stored += len(data)
        progress.advance(len(data))
    progress.finish()
    return stored


def _move_pack(old: Chain, new: Chain, what: Carried, slot: int, ordinal: int) -> Composed:
    key, parts, _ = _plan_pack(old, new, what, slot, ordinal)
    return new.storage.compose(key, parts)


def _plan_pack(
    old: Chain, new: Chain, what: Carried, slot: int, ordinal: int
) -> tuple[str, list[Part], Expected]:
    """Return what a pack is to be called, what its used blocks are made of, and the ledger."""
    encoded, bits = what.directories[slot, ordinal], what.used[slot, ordinal]
    name = f"pack {ordinal} of a ledger"
    directory = decode(Directory, encoded, name).check(name)
    places = [place for place in directory.places if bits >> place & 1]
    pack = find_pack(old.storage, old.chain_id, old.origin_id, directory, places)
    if pack.encoded != encoded:
        raise MalformedError(f"{pack.key} has another directory than was signed")
    lengths = dict(zip(directory.places, directory.lengths, strict=True))
    used = sum(lengths[place] for place in places)
    expected = Expected(what.records[slot].session_id, encoded, directory)
    whole = used >= _WHOLE_FROM * sum(lengths[place] for place in pack.offsets)
    if whole and not pack.form.generation:
        key = layout.pack(new.chain_id, directory.pack_id)
    else:
        key = layout.thinned(new.chain_id, directory.pack_id, 1)
    return key, [ObjectRange(pack.key)] if whole else thinned_parts(pack, bits), expected


def publish(
    old: Chain,
    new: Chain,
    what: Carried,
    points: Sequence[DerivedPoint],
    session: DerivingSession,
    signer: SigningKey,
    clock: Clock,
) -> Entry:
    """Write the new chain's first entry: its state, and its points.

    Its number is above all of the old chain, whose numbers are slots here.

    Args:
        old: The chain that the blocks are from.
        new: The new one, seen as if its header were there (`repository.unpublished`).
        what: What the points use.
        points: To publish.
        session: Who publishes.
        signer: The new chain's identity.
        clock: Tells the time.
    """
    number = 1 + max(old.listing[-1], *what.records)
    pages = PageCollector(new)
    sets: dict[int, dict[int, int]] = {}
    for (slot, ordinal), bits in what.used.items():
        sets.setdefault(slot, {})[ordinal] = bits
    records: dict[int, SessionRecord | None] = {
        number: SessionRecord(
            session.session_id,
            session.keys.chain_key_id,
            session.keys.sealed,
            session.keys.commitment,
            TableRoot(),
            0,
        )
    }
    block_sets: dict[int, SessionSet | None] = {}
    for slot, used in sorted(sets.items()):
        if pages.byte_count > _MOST_PAGES:
            pages.store()
            pages = PageCollector(new)
        record = what.records[slot]
        ledger = Table(LedgerPage, LEDGER_SPAN, TableRoot(), pages.load).updated(
            {ordinal: LedgerPage(what.directories[slot, ordinal]) for ordinal in used}, pages.add
        )
        records[slot] = SessionRecord(
            record.session_id,
            record.chain_key_id,
            record.sealed_keys,
            record.commitment,
            ledger,
            1 + max(used),
        )
        block_sets[slot] = SessionSet(
            Table(PackSet, PACK_SET_SPAN, TableRoot(), pages.load).updated(
                {ordinal: PackSet(bitmap(bits)) for ordinal, bits in used.items()}, pages.add
            )
        )
    body = SessionBody(
        session.session_id,
        number,
        0,
        session.counter,
        session.previous,
        session.next_due,
        list(session.older),
        session.keys.chain_public,
        [_public(new, session, point) for point in points],
        Table(SessionRecord, SESSION_SPAN, TableRoot(), pages.load).updated(records, pages.add),
        Table(SessionSet, SET_SPAN, TableRoot(), pages.load).updated(block_sets, pages.add),
        updated_history(new, pages),
    )
    pages.store()
    encoded = encode_entry(
        new.chain_id,
        number,
        new.root_hash,
        to_microseconds(clock.now()),
        signer_name(signer.public.id, 0),
        body,
        FORMAT,
    )
    signature = signer.sign(SIGNING_DOMAIN, encoded)
    new.storage.put(layout.entry(new.chain_id, number), frame_entry(encoded, signature))
    new.refresh()
    return new.entry(number)


def _public(new: Chain, session: DerivingSession, point: DerivedPoint) -> PublicPoint:
    details = encode(point.details)
    if session.secrets is not None:
        context = session_context(new.origin_id, session.session_id) + point.point_id
        details = seal_value(session.secrets.metakey, DETAILS_LABEL, context, details)
    return PublicPoint(point.point_id, point.source_id, PointKind.SYNTHETIC_FULL, details)
