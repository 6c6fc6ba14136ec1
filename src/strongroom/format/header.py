"""Small framed objects: repository marker, chain header, envelope, link, session keys."""

from __future__ import annotations

from strongroom.crypto.recipients import Stanza
from strongroom.format.codec import Value, decode, encode, frame, unframe
from strongroom.format.journal import EntryRef
from strongroom.format.versions import (
    ENVELOPE,
    HEADER,
    LINK,
    REPOSITORY,
    SESSION_KEYS,
    check_suite,
)

HEADER_DOMAIN = "chain header"
ENVELOPE_DOMAIN = "envelope"


class RepositoryMarker(Value, frozen=True):
    """What makes a place a repository; without it nothing is written there."""

    format_version: int
    repository_id: bytes
    created_at: int


class ChainHeader(Value, frozen=True):
    """What holds for a whole chain; signed, written once, before anything else of it."""

    format_version: int
    suite: int
    chain_id: bytes
    job_id: bytes
    """Random; the job's name is sealed."""
    created_at: int
    identity: bytes
    """Public halves of the server's signing identity."""
    previous: EntryRef | None
    """The job's newest entry when this chain began: where the history goes on from."""
    recipients: bytes
    """Id of the first chain key, so that a plain envelope cannot stand in; empty if plain."""


class Envelope(Value, frozen=True):
    """A chain key's private half, sealed for all its recipients. Replaceable: re-wrapping."""

    chain_id: bytes
    chain_key_id: bytes
    chain_public: bytes
    generation: int
    """The highest intact one counts."""
    identity: bytes
    stanzas: list[Stanza]


class Link(Value, frozen=True):
    """An older chain key's private half, sealed to the newer one's public half."""

    chain_id: bytes
    older_id: bytes
    older_public: bytes
    newer_id: bytes
    sealed: bytes


class SessionKeysObject(Value, frozen=True):
    """A session's keys, stored before its first pack; published ones stand in the table."""

    chain_id: bytes
    session_id: bytes
    chain_key_id: bytes
    sealed: bytes
    commitment: bytes


def chain_key_context(chain_id: bytes) -> bytes:
    """Return what envelopes and links are bound to."""
    return b"chain key" + chain_id


def session_context(chain_id: bytes, session_id: bytes) -> bytes:
    """Return what a session's keys, and all that is sealed singly under them, are bound to."""
    return b"session" + chain_id + session_id


def frame_marker(marker: RepositoryMarker) -> bytes:
    return frame(REPOSITORY, encode(marker))


def read_marker(data: bytes, what: str) -> RepositoryMarker:
    marker = decode(RepositoryMarker, unframe(REPOSITORY, data, what).body, what)
    check_suite(marker.format_version, 1, what)
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


def frame_session_keys(keys: SessionKeysObject) -> bytes:
    return frame(SESSION_KEYS, encode(keys))


def read_session_keys(data: bytes, what: str) -> SessionKeysObject:
    return decode(SessionKeysObject, unframe(SESSION_KEYS, data, what).body, what)
