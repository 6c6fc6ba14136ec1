"""A pack put together again: from the forms there are of it, and from blocks out of other places.

What every block has to be says the signed ledger, so it does not matter where one comes from: a
copy of the repository, another form, or a session that read the same content again. What comes
out is one more form of the pack (docs/format.md, "Thinned packs"), and no key is needed for it.

The order is that of compaction: the new form is stored whole and read back before an old one goes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from strongroom.crypto.content import fingerprint
from strongroom.errors import (
    IntegrityError,
    MalformedError,
    ObjectCutError,
    ObjectMissingError,
    RefusedError,
)
from strongroom.format import pack as packs
from strongroom.format import thinned
from strongroom.format.codec import HASH_LENGTH, decode
from strongroom.format.pack import Directory
from strongroom.repository import layout
from strongroom.repository.packs import Expected, check_pack
from strongroom.repository.progress import Silent
from strongroom.repository.stored_packs import Form, forms, next_generation, read_form
from strongroom.storage.base import ObjectRange

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from strongroom.format.tables import SessionRecord
    from strongroom.repository.chain import Chain
    from strongroom.repository.progress import Cancellation
    from strongroom.storage.base import Part, Storage


class Supply(Protocol):
    """Where blocks of one pack may come from; what it gives is compared with the ledger."""

    def block(self, place: int) -> bytes | None:
        """Return the stored bytes of a block, if they are at hand."""
        ...

    def contents(self) -> bytes | None:
        """Return what the pack says of its contents, as it is stored."""
        ...


@dataclass(frozen=True, slots=True)
class Bytes:
    """Blocks that are in memory."""

    blocks: Mapping[int, bytes]

    def block(self, place: int) -> bytes | None:
        return self.blocks.get(place)

    def contents(self) -> bytes | None:
        return None


@dataclass(slots=True)
class _Held:
    """What one form holds, be it whole or not."""

    form: Form
    sound: bool
    """Whether all but its blocks is as it should be."""
    offsets: Mapping[int, int]
    contents: bytes | None


class FormsElsewhere:
    """The forms of a pack in a copy of its repository."""

    def __init__(
        self, storage: Storage, chain_id: bytes, origin_id: bytes, expected: Expected
    ) -> None:
        self._storage = storage
        self._directory = expected.directory
        self._held = _look(storage, chain_id, origin_id, expected)

    def block(self, place: int) -> bytes | None:
        index = self._directory.places.index(place)
        for held in self._held:
            data = _read(self._storage, held, self._directory, index)
            if data is not None and _is_right(self._directory, index, data):
                return data
        return None

    def contents(self) -> bytes | None:
        return next((held.contents for held in self._held if held.contents is not None), None)


@dataclass(slots=True)
class Repaired:
    """What became of a damaged pack."""

    mended: tuple[int, ...] = ()
    """Places of blocks that are there again."""
    lost: tuple[int, ...] = ()
    """Places of blocks that were wanted and that nobody has."""
    changed: bool = False
    """Whether another form holds the pack now; in a dry run, whether one would."""
    notes: list[str] = field(default_factory=list)


def expected_of(chain: Chain, record: SessionRecord, ordinal: int) -> Expected:
    """Return what the ledger of a session says of one of its packs.

    Raises:
        IntegrityError: the ledger is damaged, or knows no such pack.
    """
    what = f"the ledger of session {record.session_id.hex()[:12]}"
    page = chain.ledger(record.ledger).get(ordinal)
    if page is None:
        raise MalformedError(f"{what} has no pack {ordinal}")
    directory = decode(Directory, page.directory, what).check(what)
    return Expected(record.session_id, page.directory, directory)


def repair_pack(
    storage: Storage,
    chain_id: bytes,
    origin_id: bytes,
    expected: Expected,
    wanted: Collection[int],
    supplies: Sequence[Supply],
    cancel: Cancellation,
    *,
    dry_run: bool = False,
) -> Repaired:
    """Write a form of a pack that holds every block of it that can be had, if that is a gain.

    A block that stays damaged is carried over as it is: its hash goes on to tell.

    Args:
        storage: Where the pack lies, or should.
        chain_id: In which chain.
        origin_id: The chain's.
        expected: What the signed ledger says of it.
        wanted: Places of the blocks that have to be there.
        supplies: Asked in this order for what is not.
        cancel: Looked at between two blocks.
        dry_run: Find out what could be had, and write nothing.

    Raises:
        MalformedError: what was written did not read back.
        ObjectExistsError: somebody else is at it.
        StorageUnavailableError: the storage did not answer.
    """
    directory = expected.directory
    held = _look(storage, chain_id, origin_id, expected)
    parts: dict[int, Part] = {}
    spoilt: dict[int, Part] = {}
    sound = [one for one in held if one.sound]
    whole: list[set[int]] = [set() for _ in sound]
    mended: list[int] = []
    for index, place in enumerate(directory.places):
        cancel.check()
        for one in held:
            data = _read(storage, one, directory, index)
            if data is None:
                continue
            where = ObjectRange(one.form.key, one.offsets[place], directory.lengths[index])
            if _is_right(directory, index, data):
                parts.setdefault(place, where)
                if one.sound:
                    whole[sound.index(one)].add(place)
            else:
                spoilt.setdefault(place, where)
        if place not in parts:
            for supply in supplies:
                data = supply.block(place)
                if data is not None and _is_right(directory, index, data):
                    parts[place] = data
                    mended.append(place)
                    break
    result = Repaired(
        mended=tuple(mended), lost=tuple(place for place in sorted(wanted) if place not in parts)
    )
    best = next((one for one, has in zip(sound, whole, strict=True) if has >= parts.keys()), None)
    if not parts or (best is not None and len(held) == 1):
        return result
    result.changed = True
    if dry_run:
        return result
    if best is None:
        contents = _contents(held, supplies)
        kept = spoilt | parts
        form = _write(storage, chain_id, origin_id, expected, kept, contents, held)
        _read_back(storage, form, origin_id, expected, set(kept) - set(parts), cancel)
    else:
        form = best.form
    for one in held:
        if one.form.key == form.key:
            continue
        try:
            storage.delete(one.form.key)
        except RefusedError as error:
            result.notes.append(f"{one.form.key} stays beside what was repaired: {error}")
    return result


def _look(storage: Storage, chain_id: bytes, origin_id: bytes, expected: Expected) -> list[_Held]:
    """Look into every form of a pack; what is damaged is looked for where the ledger says."""
    found: list[_Held] = []
    directory = expected.directory
    for form in forms(storage, chain_id, directory.pack_id):
        try:
            stored = read_form(storage, form, origin_id)
        except ObjectMissingError:
            continue
        except IntegrityError:
            if not form.generation:
                offsets = dict(zip(directory.places, directory.offsets, strict=True))
                found.append(_Held(form, False, offsets, None))
            else:
                # Where the blocks of a thinned one lie, only its trailer says.
                found.append(_Held(form, False, {}, None))
            continue
        if stored.encoded != expected.encoded:
            found.append(_Held(form, False, {}, None))
            continue
        right = stored.header.session_id == expected.session_id
        contents = stored.contents or None
        found.append(_Held(form, right, stored.offsets, contents))
    return found


def _read(storage: Storage, held: _Held, directory: Directory, index: int) -> bytes | None:
    """Return a block's bytes in a form, right or wrong; None if they are not all there."""
    offset, length = held.offsets.get(directory.places[index]), directory.lengths[index]
    if offset is None or offset + length > held.form.size:
        return None
    try:
        data = storage.get(held.form.key, offset, length)
    except (ObjectMissingError, ObjectCutError):
        return None
    return data if len(data) == length else None


def _is_right(directory: Directory, index: int, data: bytes) -> bool:
    return fingerprint(data) == directory.hashes[HASH_LENGTH * index : HASH_LENGTH * (index + 1)]


def _contents(held: Sequence[_Held], supplies: Sequence[Supply]) -> bytes:
    """Return what the pack says of its contents; nothing, if nobody has that any more."""
    own = (one.contents for one in held)
    others = (supply.contents() for supply in supplies)
    return next((one for several in (own, others) for one in several if one is not None), b"")


def _write(
    storage: Storage,
    chain_id: bytes,
    origin_id: bytes,
    expected: Expected,
    kept: Mapping[int, Part],
    contents: bytes,
    held: Sequence[_Held],
) -> Form:
    directory = expected.directory
    header = thinned.header_of(
        packs.header_bytes(
            packs.PackHeader(
                origin_id,
                expected.session_id,
                directory.pack_id,
                directory.ordinal,
                directory.block_class,
            ),
            aligned=min(directory.offsets) == packs.ALIGNED_HEADER,
        )
    )
    places, offsets, order, _ = thinned.arrange(directory, kept, len(header))
    trailer = thinned.ThinnedTrailer(expected.encoded, contents, places, offsets)
    parts: list[Part] = [header]
    parts.extend(_joined(kept[directory.places[index]] for index in order))
    parts.append(thinned.finish(header, trailer))
    generation = next_generation(one.form for one in held)
    key = layout.thinned(chain_id, directory.pack_id, generation)
    done = storage.compose(key, parts)
    return Form(key, done.size, generation)


def _joined(parts: Iterator[Part]) -> Iterator[Part]:
    """Yield parts, those put together that lie one behind the other in one object."""
    run: ObjectRange | None = None
    for part in parts:
        if run is not None:
            assert run.length is not None
            end = run.offset + run.length
            if isinstance(part, ObjectRange) and (part.key, part.offset) == (run.key, end):
                assert part.length is not None
                run = ObjectRange(run.key, run.offset, run.length + part.length)
                continue
            yield run
            run = None
        if isinstance(part, ObjectRange):
            run = part
        else:
            yield part
    if run is not None:
        yield run


def _read_back(
    storage: Storage,
    form: Form,
    origin_id: bytes,
    expected: Expected,
    spoilt: Collection[int],
    cancel: Cancellation,
) -> None:
    """Go on if a form just written is what it should be; it is removed otherwise.

    Raises:
        MalformedError: it is not.
    """
    state = check_pack(storage, form, origin_id, expected, Silent(), cancel)
    # One problem of its own says that blocks are damaged, and that is what was carried over.
    if set(state.damaged) != set(spoilt) or len(state.problems) != bool(spoilt):
        storage.delete(form.key)
        raise MalformedError(
            f"{form.key} did not read back as it was written: {'; '.join(state.problems)}"
        )
