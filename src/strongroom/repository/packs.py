"""A stored pack compared with what was signed of it, byte by byte and in pieces.

The ledger says what every block's stored bytes hash to; the pack's own trailer covers the rest.
A pack that no ledger knows (its session died, or has not published yet) is compared with its
trailer's directory: that finds accidents, and nothing of it is believed anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.crypto.content import fingerprint
from strongroom.crypto.fingerprinter import Fingerprinter
from strongroom.errors import IntegrityError, UnsupportedVersionError
from strongroom.format.codec import HASH_LENGTH
from strongroom.repository.stored_packs import read_form
from strongroom.storage.reading import RUN_BYTES, is_far

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from strongroom.format.pack import Directory
    from strongroom.repository.progress import Cancellation, Progress
    from strongroom.repository.stored_packs import Form, StoredPack
    from strongroom.storage.base import Storage

PIECE = 2 << 20
"""As much is read at once: it fits the caches, so that hashing runs at memory speed."""


def piece_bytes(storage: Storage) -> int:
    """Return how much of a pack is to be read at once: more where a request takes a while."""
    return RUN_BYTES if is_far(storage) else PIECE


@dataclass(frozen=True, slots=True)
class Expected:
    """What a signed ledger says of a pack."""

    session_id: bytes
    encoded: bytes
    """The directory, as the very bytes that the trailer has to hold."""
    directory: Directory


@dataclass(frozen=True, slots=True)
class PackState:
    """How a pack was found."""

    problems: tuple[str, ...]
    """What is wrong with it; empty when it is whole."""
    damaged: tuple[int, ...]
    """Places of the blocks that are not what was sealed."""
    session_id: bytes | None
    """Whose it is, as it says itself."""
    absent: tuple[int, ...] = ()
    """Places of blocks that it was born with and does not hold: compaction left them out."""


def check_pack(
    storage: Storage,
    form: Form,
    origin_id: bytes | None,
    expected: Expected | None,
    progress: Progress,
    cancel: Cancellation,
) -> PackState:
    """Read every byte of a pack.

    Args:
        storage: Where it lies.
        form: The object that holds it, or what compaction left of it.
        origin_id: The chain's; None where nobody knows.
        expected: What the ledger says; None where no ledger knows it.
        progress: Hears of every piece.
        cancel: Looked at between two pieces.

    Raises:
        ObjectMissingError: it went away.
        CancelledError: on request.
    """
    key = form.key
    problems: list[str] = []
    stored: StoredPack | None = None
    try:
        stored = read_form(storage, form, origin_id)
        if expected is not None and stored.encoded != expected.encoded:
            problems.append("its directory is not the one that was signed")
        elif expected is not None and stored.header.session_id != expected.session_id:
            problems.append("its header names another session than was signed")
    except UnsupportedVersionError as error:
        problems.append(str(error))
    except IntegrityError as error:
        if not storage.exists(key):
            raise
        problems.append(str(error))
    session_id = stored.header.session_id if stored is not None else None
    progress.advance(stored.aside if stored is not None else 0)
    directory = expected.directory if expected is not None else None
    if directory is None and stored is not None:
        directory = stored.directory
    if directory is None or (stored is None and form.generation):
        # Where the blocks of a thinned pack lie, only its trailer says.
        _skim(storage, key, form.size, progress, cancel)
        absent = tuple(directory.places) if directory is not None else ()
        return PackState(tuple(problems), (), session_id, absent)
    places = directory.places
    offsets = stored.offsets if stored is not None and stored.directory == directory else None
    if offsets is None:
        offsets = dict(zip(places, directory.offsets, strict=True))
    damaged = tuple(_damaged_blocks(storage, key, directory, offsets, progress, cancel))
    if damaged:
        problems.append(f"{len(damaged)} of its {len(offsets)} blocks are not what was sealed")
    return PackState(
        tuple(problems),
        damaged,
        session_id,
        tuple(place for place in places if place not in offsets),
    )


def _damaged_blocks(
    storage: Storage,
    key: str,
    directory: Directory,
    offsets: Mapping[int, int],
    progress: Progress,
    cancel: Cancellation,
) -> Iterator[int]:
    """Yield the places of blocks whose stored bytes have another hash than the directory says."""
    places, piece = directory.places, piece_bytes(storage)
    order = sorted(
        (index for index, place in enumerate(places) if place in offsets),
        key=lambda index: offsets[places[index]],
    )
    run: list[int] = []
    run_bytes = 0
    for index in order:
        if run and run_bytes + directory.lengths[index] > piece:
            yield from _compare(storage, key, directory, offsets, run, progress, cancel)
            run, run_bytes = [], 0
        run.append(index)
        run_bytes += directory.lengths[index]
    if run:
        yield from _compare(storage, key, directory, offsets, run, progress, cancel)


def _compare(
    storage: Storage,
    key: str,
    directory: Directory,
    offsets: Mapping[int, int],
    run: list[int],
    progress: Progress,
    cancel: Cancellation,
) -> Iterator[int]:
    """Compare blocks that lie one behind the other; a single one may be longer than a piece."""
    cancel.check()
    begin = offsets[directory.places[run[0]]]
    length = sum(directory.lengths[index] for index in run)
    piece = piece_bytes(storage)
    if length > piece:
        hasher = Fingerprinter()
        for at in range(begin, begin + length, piece):
            cancel.check()
            hasher.update(storage.get(key, at, min(piece, begin + length - at)))
        digests = [hasher.digest()]
    else:
        data = memoryview(storage.get(key, begin, length))
        digests = [
            fingerprint(data[offset : offset + directory.lengths[index]])
            for index in run
            for offset in [offsets[directory.places[index]] - begin]
        ]
    progress.advance(length)
    for index, digest in zip(run, digests, strict=True):
        if digest != directory.hashes[HASH_LENGTH * index : HASH_LENGTH * (index + 1)]:
            yield directory.places[index]


def _skim(storage: Storage, key: str, size: int, progress: Progress, cancel: Cancellation) -> None:
    """Read what nothing says anything of: at least the storage can give it back."""
    piece = piece_bytes(storage)
    for at in range(0, size, piece):
        cancel.check()
        progress.advance(len(storage.get(key, at, piece)))
