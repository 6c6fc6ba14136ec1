"""Small framed objects: repository marker, chain header, envelope, link, session keys."""

from __future__ import annotations

from strongroom.crypto.recipients import Stanza
from strongroom.format.codec import (
    Hash,
    Id,
    MaybeHash,
    Number,
    Value,
    decode,
    encode,
    frame,
    unframe,
)
from strongroom.format.journal import EntryRef
from strongroom.format.versions import (
    ENVELOPE,
    HEADER,
    LINK,
    REPOSITORY,
    SESSION_KEYS,
    SUITE_SEALED,
    check_suite,
)

HEADER_DOMAIN = "chain header"
ENVELOPE_DOMAIN = "envelope"
SESSION_KEYS_DOMAIN = "session keys"


class RepositoryMarker(Value, frozen=True):
    """What makes a place a repository; without it nothing is written there."""

    format_version: int
    repository_id: Id
    created_at: Number


class ChainHeader(Value, frozen=True):
    """What holds for a whole chain; signed, written once, before anything else of it."""

    format_version: int
    suite: int
    chain_id: Id
    origin_id: Id
    """The chain that its keys and blocks are bound to: itself, or, where it was made from sealed
    blocks of another chain, that one's origin."""
    job_id: Id
    """Random; the job's name is sealed."""
    created_at: Number
    identity: bytes
    """Public halves of the server's signing identity."""
    previous: EntryRef | None
    """The job's newest entry when this chain began: where the history goes on from."""
    recipients: MaybeHash
    """Id of the first chain key, so that a plain envelope cannot stand in; empty if plain."""


class Envelope(Value, frozen=True):
    """A chain key's private half, sealed for all its recipients. Replaceable: re-wrapping."""

    chain_id: Id
    chain_key_id: Hash
    chain_public: bytes
    generation: Number
    """The highest intact one counts."""
    identity: bytes
    stanzas: list[Stanza]


class Link(Value, frozen=True):
    """An older chain key's private half, sealed to the newer one's public half."""

    chain_id: Id
    older_id: Hash
    older_public: bytes
    newer_id: Hash
    sealed: bytes


class SessionKeysObject(Value, frozen=True):
    """A session's keys, stored before its first pack; published ones stand in the table."""

    chain_id: Id
    session_id: Id
    chain_key_id: Hash
    sealed: bytes
    commitment: Hash


def chain_key_context(origin_id: bytes) -> bytes:
    """Return what envelopes and links are bound to."""
    return b"chain key" + origin_id


def session_context(origin_id: bytes, session_id: bytes) -> bytes:
    """Return what a session's keys, and all that is sealed singly under them, are bound to."""
    return b"session" + origin_id + session_id


def frame_marker(marker: RepositoryMarker) -> bytes:
    return frame(REPOSITORY, encode(marker))


def read_marker(data: bytes, what: str) -> RepositoryMarker:
    marker = decode(RepositoryMarker, unframe(REPOSITORY, data, what).body, what)
    check_suite(marker.format_version, SUITE_SEALED, what)
    return marker


def frame_header(encoded: bytes, signature: bytes) -> bytes:
    return frame(HEADER, encoded, signature)


def read_header(data: bytes, what: str) -> tuple[ChainHeader, bytes, bytes]:
    """Return a chain's header, its signed bytes and the signature, which the caller checks."""
    framed = unframe(HEADER, data, what)
    header = decode(ChainHeader, framed.body, what)
    check_suite(header.format_version, header.suite, what)
    return header, framed.body, framed.signature


def frame_envelope(encoded: bytes, signature: bytes) -> bytes:
    return frame(ENVELOPE, encoded, signature)


def read_envelope(data: bytes, what: str) -> tuple[Envelope, bytes, bytes]:
    """Return an envelope, its signed bytes and the signature, which the caller checks."""
    framed = unframe(ENVELOPE, data, what)
    return decode(Envelope, framed.body, what), framed.body, framed.signature


def frame_link(link: Link) -> bytes:
    return frame(LINK, encode(link))


def read_link(data: bytes, what: str) -> Link:
    return decode(Link, unframe(LINK, data, what).body, what)


def frame_session_keys(keys: SessionKeysObject, signature: bytes = b"") -> bytes:
    return frame(SESSION_KEYS, encode(keys), signature)


def read_session_keys(data: bytes, what: str) -> SessionKeysObject:
    return decode(SessionKeysObject, unframe(SESSION_KEYS, data, what).body, what)


def read_session_keys_signed(data: bytes, what: str) -> tuple[SessionKeysObject, bytes, bytes]:
    """Return a session's keys, their signed bytes and the signature, which the caller checks.

    Who takes over a dead session's packs copies its sealed keys into a signed record; unsigned,
    the store could have put others there, and nobody would open those packs again.
    """
    framed = unframe(SESSION_KEYS, data, what)
    return decode(SessionKeysObject, framed.body, what), framed.body, framed.signature
