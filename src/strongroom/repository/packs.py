"""A stored pack compared with what was signed of it, byte by byte and in pieces.

The ledger says what every block's stored bytes hash to; the pack's own trailer covers the rest.
A pack that no ledger knows (its session died, or has not published yet) is compared with its
trailer's directory: that finds accidents, and nothing of it is believed anyway.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from strongroom.crypto.content import fingerprint
from strongroom.crypto.fingerprinter import Fingerprinter
from strongroom.errors import IntegrityError, MalformedError, UnsupportedVersionError
from strongroom.format import pack as packs
from strongroom.format.codec import HASH_LENGTH
from strongroom.repository import layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from strongroom.format.pack import Directory
    from strongroom.repository.progress import Cancellation, Progress
    from strongroom.storage.base import Storage

_NAME: Final = re.compile(r"([0-9a-f]{2})/(\1[0-9a-f]{62})", re.ASCII)
PIECE = 2 << 20
"""As much is read at once: it fits the caches, so that hashing runs at memory speed."""


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


@dataclass(frozen=True, slots=True)
class StoredPack:
    """The object that holds a pack."""

    key: str
    size: int


def stored_packs(sizes: Mapping[str, int], chain_id: bytes) -> dict[bytes, StoredPack]:
    """Return which object holds each pack, of those that a listing of a chain shows."""
    found: dict[bytes, StoredPack] = {}
    for key, size in sizes.items():
        name = _NAME.fullmatch(key.removeprefix(layout.packs(chain_id)))
        if name is not None:
            found[bytes.fromhex(name[2])] = StoredPack(key, size)
    return found


def check_pack(
    storage: Storage,
    chain_id: bytes,
    pack_id: bytes,
    size: int,
    expected: Expected | None,
    progress: Progress,
    cancel: Cancellation,
) -> PackState:
    """Read every byte of a pack.

    Args:
        storage: Where it lies.
        chain_id: The chain that it is in.
        pack_id: As its name says.
        size: As the storage says.
        expected: What the ledger says; None where no ledger knows it.
        progress: Hears of every piece.
        cancel: Looked at between two pieces.

    Raises:
        ObjectMissingError: it went away.
        CancelledError: on request.
    """
    key = layout.pack(chain_id, pack_id)
    problems: list[str] = []
    directory = expected.directory if expected else None
    session_id: bytes | None = None
    aside = 0
    try:
        footer = storage.get(key, max(0, size - packs.FOOTER_LENGTH), packs.FOOTER_LENGTH)
        length = packs.footer_trailer_length(footer, size, key)
        encoded = storage.get(key, size - packs.FOOTER_LENGTH - length, length)
        header = storage.get(key, 0, packs.header_length(encoded, key))
        aside = len(header) + len(encoded) + len(footer)
        said, trailer = packs.read_trailer(header, encoded, footer, size, key)
        head = packs.read_header(header, key)
        session_id = head.session_id
        if (head.chain_id, head.pack_id) != (chain_id, pack_id):
            raise MalformedError(f"{key} was written as another pack: moved in storage")
        if expected is None:
            directory = said
        elif trailer.directory != expected.encoded:
            problems.append("its directory is not the one that was signed")
        elif head.session_id != expected.session_id:
            problems.append("its header names another session than was signed")
    except UnsupportedVersionError as error:
        problems.append(str(error))
    except IntegrityError as error:
        if not storage.exists(key):
            raise
        problems.append(str(error))
    progress.advance(aside)
    if directory is None:
        _skim(storage, key, size, progress, cancel)
        return PackState(tuple(problems), (), session_id)
    damaged = tuple(_damaged_blocks(storage, key, directory, progress, cancel))
    if damaged:
        problems.append(
            f"{len(damaged)} of its {len(directory.places)} blocks are not what was sealed"
        )
    return PackState(tuple(problems), damaged, session_id)


def _damaged_blocks(
    storage: Storage,
    key: str,
    directory: Directory,
    progress: Progress,
    cancel: Cancellation,
) -> Iterator[int]:
    """Yield the places of blocks whose stored bytes have another hash than the directory says."""
    order = sorted(range(len(directory.places)), key=directory.offsets.__getitem__)
    run: list[int] = []
    run_bytes = 0
    for index in order:
        if run and run_bytes + directory.lengths[index] > PIECE:
            yield from _compare(storage, key, directory, run, progress, cancel)
            run, run_bytes = [], 0
        run.append(index)
        run_bytes += directory.lengths[index]
    yield from _compare(storage, key, directory, run, progress, cancel)


def _compare(
    storage: Storage,
    key: str,
    directory: Directory,
    run: list[int],
    progress: Progress,
    cancel: Cancellation,
) -> Iterator[int]:
    """Compare blocks that lie one behind the other; a single one may be longer than a piece."""
    cancel.check()
    begin = directory.offsets[run[0]]
    length = sum(directory.lengths[index] for index in run)
    if length > PIECE:
        hasher = Fingerprinter()
        for at in range(begin, begin + length, PIECE):
            cancel.check()
            hasher.update(storage.get(key, at, min(PIECE, begin + length - at)))
        digests = [hasher.digest()]
    else:
        data = memoryview(storage.get(key, begin, length))
        digests = [
            fingerprint(data[offset : offset + directory.lengths[index]])
            for index in run
            for offset in [directory.offsets[index] - begin]
        ]
    progress.advance(length)
    for index, digest in zip(run, digests, strict=True):
        if digest != directory.hashes[HASH_LENGTH * index : HASH_LENGTH * (index + 1)]:
            yield directory.places[index]


def _skim(storage: Storage, key: str, size: int, progress: Progress, cancel: Cancellation) -> None:
    """Read what nothing says anything of: at least the storage can give it back."""
    for at in range(0, size, PIECE):
        cancel.check()
        progress.advance(len(storage.get(key, at, PIECE)))
