"""Taking over what a dead session left: its complete packs, never its claims.

A pack is written whole or not at all, and its sealed contents say what it holds. So the next
session need not read and compress the same again: it declares the other dead in the journal,
checks every byte of the packs against their directories, and refers to them under a slot of
their own. Which packs there are is noted beside the cache as they are written; without the
note, nothing is taken over and prune removes them in time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.crypto.aead import open_value
from strongroom.crypto.content import ContentHasher, fingerprint
from strongroom.crypto.signing import SigningPublicKey, verify
from strongroom.engine.pack_sealing import CONTENTS_LABEL
from strongroom.errors import IntegrityError, StrongroomError
from strongroom.format import header as headers
from strongroom.format import pack as packs
from strongroom.format.block import PLACE_BITS, BlockClass, read_frame
from strongroom.format.codec import MAX_SMALL, decode
from strongroom.format.index import CLUSTER
from strongroom.repository import layout
from strongroom.repository.framed import get_framed
from strongroom.repository.writer import SealedKeys, WrittenSession
from strongroom.sources.image import is_zero

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.crypto.keys import MetaKey
    from strongroom.engine.dedup import DedupIndex
    from strongroom.repository.chain import Chain


class PackNotes:
    """The packs that running sessions have stored, one file a session, one line a pack."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def note(self, session_id: bytes, pack_id: bytes) -> None:
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._path(session_id).open("a") as file:
                file.write(pack_id.hex() + "\n")

    def sessions(self) -> list[bytes]:
        """Return the sessions that left notes."""
        if self._folder is None or not self._folder.is_dir():
            return []
        return [bytes.fromhex(path.stem) for path in sorted(self._folder.glob("*.packs"))]

    def packs(self, session_id: bytes) -> list[bytes]:
        try:
            lines = self._path(session_id).read_text().split("\n")
        except OSError:
            return []
        # A line cut short by a crash names no pack.
        return [bytes.fromhex(line) for line in lines if len(line) == 64]

    def forget(self, session_id: bytes) -> None:
        if self._folder is not None:
            self._path(session_id).unlink(missing_ok=True)

    def _path(self, session_id: bytes) -> Path:
        assert self._folder is not None
        return self._folder / f"{session_id.hex()}.packs"


def adopt(
    chain: Chain,
    session_id: bytes,
    slot: int,
    pack_ids: list[bytes],
    metakey: MetaKey | None,
    dedup: DedupIndex,
    hasher: ContentHasher,
    signer: SigningPublicKey,
) -> WrittenSession:
    """Check a dead session's packs and make their contents recognisable.

    Args:
        chain: Where they lie.
        session_id: The dead session.
        slot: The number of its DEATH entry, which is its slot from now on.
        pack_ids: The packs it noted.
        metakey: Opens their contents; none in a plain chain.
        dedup: Learns what they hold.
        hasher: Names content; in a plain chain nothing is believed that is not hashed again.
        signer: The server's identity, which signed the session's keys.

    Returns:
        The session with those packs that are whole; perhaps none.
    """
    found = WrittenSession(session_id, slot, _keys(chain, session_id, signer))
    if chain.sealed and not found.keys.sealed:
        return found
    for pack_id in pack_ids:
        try:
            _adopt_pack(chain, found, pack_id, metakey, dedup, hasher)
        except StrongroomError:
            # Not whole, or not there: it is not needed, only welcome.
            continue
    return found


def _keys(chain: Chain, session_id: bytes, signer: SigningPublicKey) -> SealedKeys:
    """Return the dead session's sealed keys, if this server signed them."""
    if not chain.sealed:
        return SealedKeys()
    key = layout.session_keys(chain.chain_id, session_id)
    try:
        stored, encoded, signature = headers.read_session_keys_signed(
            get_framed(chain.storage, key, MAX_SMALL), key
        )
        verify(signer, headers.SESSION_KEYS_DOMAIN, encoded, signature)
    except StrongroomError:
        return SealedKeys()
    if stored.chain_id != chain.chain_id or stored.session_id != session_id:
        return SealedKeys()
    return SealedKeys(stored.chain_key_id, b"", stored.sealed, stored.commitment)


def _adopt_pack(
    chain: Chain,
    session: WrittenSession,
    pack_id: bytes,
    metakey: MetaKey | None,
    dedup: DedupIndex,
    hasher: ContentHasher,
) -> None:
    name = layout.pack(chain.chain_id, pack_id)
    if chain.storage.size(name) > packs.MAX_PACK:
        raise IntegrityError(f"{name} is longer than any pack")
    data = chain.storage.get(name)
    footer = data[-packs.FOOTER_LENGTH :]
    length = packs.footer_trailer_length(footer, len(data), name)
    trailer_at = len(data) - packs.FOOTER_LENGTH - length
    header = packs.read_header(data, name)
    provisional = decode(packs.Trailer, data[trailer_at : trailer_at + length], name)
    begin = min(decode(packs.Directory, provisional.directory, name).offsets, default=0)
    directory, trailer = packs.read_trailer(
        data[:begin], data[trailer_at : trailer_at + length], footer, len(data), name
    )
    if (header.origin_id, header.session_id, header.pack_id) != (
        chain.origin_id,
        session.session_id,
        pack_id,
    ) or (directory.pack_id, directory.ordinal) != (pack_id, header.ordinal):
        raise IntegrityError(f"{name} belongs to something else")
    for index, (offset, size) in enumerate(zip(directory.offsets, directory.lengths, strict=True)):
        if (
            fingerprint(data[offset : offset + size])
            != directory.hashes[32 * index : 32 * index + 32]
        ):
            raise IntegrityError(f"{name} has a damaged block")
    encoded = trailer.contents
    if chain.sealed:
        if metakey is None:
            raise IntegrityError(f"{name} cannot be taken over without its metakey")
        # Authentic: the contents are bound to the directory, and the directory to the bytes.
        encoded = open_value(
            metakey,
            CONTENTS_LABEL,
            packs.trailer_context(chain.origin_id, session.session_id, trailer.directory),
            encoded,
        )
    contents = decode(packs.Contents, encoded, name).check(directory, name)
    if not chain.sealed:
        _check_plain(data, directory, contents, hasher, name)
    for piece in contents.pieces:
        dedup.add(
            piece.content_hash,
            session.slot,
            header.ordinal << PLACE_BITS | piece.place,
            piece.offset,
            piece.length,
        )
    session.directories[header.ordinal] = trailer.directory


def _check_plain(
    data: bytes,
    directory: packs.Directory,
    contents: packs.Contents,
    hasher: ContentHasher,
    name: str,
) -> None:
    """Hash every piece again: nothing in a plain pack tells that the store did not write it.

    Raises:
        IntegrityError: a piece is not what the contents call it.
    """
    index_of = {place: index for index, place in enumerate(directory.places)}
    at, raw, area = -1, b"", b""
    # In order of the blocks, so that each is decompressed once, however many pieces name it.
    for piece in sorted(contents.pieces, key=lambda piece: piece.place):
        if piece.place != at:
            at, index = piece.place, index_of[piece.place]
            begin = directory.offsets[index]
            raw = read_frame(data[begin : begin + directory.lengths[index]], name)
            if len(raw) != contents.raw_lengths[index]:
                raise IntegrityError(f"{name} has a block of another length than it says")
            area = _area_name(raw, hasher)
        found = hasher.digest(raw[piece.offset : piece.offset + piece.length])
        # A page found among content, or content among pages, would be read by nobody.
        if directory.block_class == BlockClass.INDEX:
            names = [hasher.of_digests(found)]
        elif piece.length == len(raw):
            names = [found, area]
        else:
            names = [found]
        if piece.content_hash not in names:
            raise IntegrityError(f"{name} calls a piece by the hash of another")


def _area_name(raw: bytes, hasher: ContentHasher) -> bytes:
    """Return the name of a whole area of a disk: that of its clusters' hashes together."""
    digests = []
    for at in range(0, len(raw), CLUSTER):
        cluster = raw[at : at + CLUSTER]
        digests.append(bytes(32) if is_zero(cluster) else hasher.digest(cluster))
    return hasher.of_digests(b"".join(digests))
