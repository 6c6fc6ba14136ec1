"""The journal's entries: a chain's one ordered history.

An entry is a framed object under the next free number. Its hash is over its body and not over
the signature, so a body signed twice is one entry. What a session publishes is signed by the
server; a condemnation may be unsigned, since keyless machines prune.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Any, Final

import msgspec

from strongroom.crypto.content import fingerprint
from strongroom.errors import MalformedError, UnsupportedVersionError
from strongroom.format.codec import (
    Hash,
    Id,
    MaybeHash,
    MaybeId,
    Number,
    Value,
    decode,
    encode,
    frame,
    unframe,
)
from strongroom.format.paging import TableRoot
from strongroom.format.versions import ENTRY, FORMAT

SIGNING_DOMAIN = "journal entry"


class EntryKind(IntEnum):
    """What an entry says."""

    SESSION = 1
    CONDEMNATION = 2
    PROMISE = 3
    DEATH = 4
    IDENTITY = 5
    SUCCESSION = 6


class PointKind(IntEnum):
    """How a point came about; it never changes."""

    FULL = 1
    INCREMENTAL = 2
    SYNTHETIC_FULL = 3


class EntryRef(Value, frozen=True):
    """An entry of some chain of the job."""

    chain_id: Id
    number: Number
    entry_hash: Hash


class PublicPoint(Value, frozen=True):
    """What anybody may know of a restore point."""

    point_id: Id
    source_id: Id
    """Random, one for each source of the job; the source's name is sealed."""
    kind: int
    details: bytes
    """`point.PointDetails`, sealed under the session's metakey (plain chains: encoded)."""


class SessionBody(Value, frozen=True):
    """What a session publishes: its points and the job's whole state, in one stroke."""

    session_id: Id
    slot: Number
    base: Number
    """Number of the session entry whose state it builds on; 0 in the first."""
    counter: Number
    """Sessions of the job so far, over all its chains."""
    previous: EntryRef | None
    """The job's session entry before this one; maybe in another chain."""
    next_due: Number
    """When the next point was due, microseconds since 1970; 0 if nobody said."""
    older: list[EntryRef]
    """The newest entry of each other chain of the job that still has promised points."""
    chain_public: bytes
    """Public half of the chain key the session sealed to; empty in a plain chain."""
    points: list[PublicPoint]
    sessions: TableRoot
    sets: TableRoot
    history: TableRoot


class CondemnationBody(Value, frozen=True):
    """What prune is about to remove."""

    entries: list[int]
    """Session entries whose points are all given up."""
    objects: list[str]
    """Keys, below the chain, of objects that nothing kept refers to."""
    not_before: int
    """End of the quarantine, microseconds since 1970: a courtesy to readers, not the proof."""


END: Final = "end"
"""The reason of a PROMISE that ends its chain: it promises nothing, and nobody goes on there."""


class PromiseBody(Value, frozen=True):
    """A promise taken back, or given anew by a hold."""

    history: TableRoot
    reason: str


class DeathBody(Value, frozen=True):
    """A session that will never publish, and who takes over its packs."""

    session_id: Id
    heir: MaybeId
    """Empty when nobody does."""


class IdentityBody(Value, frozen=True):
    """A new signer, introduced by the one before (whose signature is the entry's)."""

    identity: bytes


class SuccessionBody(Value, frozen=True):
    """Another server goes on in the chain; it signs this itself, and who believes it vouches.

    From here on whoever signed before signs no more.
    """

    identity: bytes
    header_hash: Hash
    """BLAKE3 of the header's body: with the entry's own place it fixes all that came before."""
    before: Number
    """The SUCCESSION before this one, or 0."""


Body = SessionBody | CondemnationBody | PromiseBody | DeathBody | IdentityBody | SuccessionBody
_BODIES: dict[int, type[Any]] = {
    EntryKind.SESSION: SessionBody,
    EntryKind.CONDEMNATION: CondemnationBody,
    EntryKind.PROMISE: PromiseBody,
    EntryKind.DEATH: DeathBody,
    EntryKind.IDENTITY: IdentityBody,
    EntryKind.SUCCESSION: SuccessionBody,
}
_KINDS = {kind: number for number, kind in _BODIES.items()}


SignerName = Annotated[bytes, msgspec.Meta(max_length=40)]


def signer_name(identity_id: bytes, introduced: int) -> bytes:
    """Return what an entry calls its signer.

    Args:
        identity_id: The identity's id.
        introduced: The entry that introduces it, so that nobody has to look for it; 0 for the
            header's own identity.
    """
    return identity_id + introduced.to_bytes(8, "big") if introduced else identity_id


def introduction(name: bytes) -> int:
    """Return the number of the entry that introduces a signer; 0 for the header's identity.

    Raises:
        MalformedError: no signer is called so.
    """
    introduced = int.from_bytes(name[32:], "big")
    if len(name) not in (32, 40) or bool(introduced) != (len(name) == 40):
        raise MalformedError("an entry names its signer in no way that the format knows")
    return introduced


class RawEntry(Value, frozen=True):
    """An entry as it is encoded."""

    format_version: int
    chain_id: Id
    number: Number
    kind: int
    previous_hash: MaybeHash
    """Hash of the entry numbered one less; BLAKE3 of the header's body in the first."""
    made_at: Number
    signer: SignerName
    """Whose signature it has, as `signer_name` writes it; empty when unsigned."""
    body: bytes


class Entry(Value, frozen=True):
    """An entry taken apart, with what is needed to check it."""

    raw: RawEntry
    body: Body
    encoded: bytes
    """The signed bytes."""
    signature: bytes

    @property
    def number(self) -> int:
        return self.raw.number

    @property
    def hash(self) -> bytes:
        return fingerprint(self.encoded)


def encode_entry(
    chain_id: bytes,
    number: int,
    previous_hash: bytes,
    made_at: int,
    signer: bytes,
    body: Body,
    format_version: int,
) -> bytes:
    """Return an entry's bytes, to be signed and then framed."""
    kind = _KINDS[type(body)]
    raw = RawEntry(
        format_version, chain_id, number, kind, previous_hash, made_at, signer, encode(body)
    )
    return encode(raw)


def frame_entry(encoded: bytes, signature: bytes) -> bytes:
    """Return the object to store."""
    return frame(ENTRY, encoded, signature)


def read_entry(data: bytes, what: str) -> Entry:
    """Take a stored entry apart; its signature is the caller's to check.

    Raises:
        MalformedError: these bytes are no entry, or an unsigned one with signature bytes.
        UnsupportedVersionError: it is of a format or kind unknown to this release.
    """
    framed = unframe(ENTRY, data, what)
    raw = decode(RawEntry, framed.body, what)
    if raw.format_version != FORMAT:
        raise UnsupportedVersionError(
            f"{what} has format {raw.format_version}; this release reads format {FORMAT}"
        )
    if bool(raw.signer) != bool(framed.signature):
        raise MalformedError(f"{what} has a signer without a signature or the reverse")
    kind = _BODIES.get(raw.kind)
    if kind is None:
        raise UnsupportedVersionError(f"{what} is of kind {raw.kind}, unknown to this release")
    body: Body = decode(kind, raw.body, what)
    return Entry(raw, body, framed.body, framed.signature)
