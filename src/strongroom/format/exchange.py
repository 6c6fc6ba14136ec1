"""Recovery request and response: what travels between a server and the holder of a kit.

    server ──request──▶ holder      envelopes, links and sealed keys of the sessions of one point
    server ◀──response── holder     those sessions' keys, sealed to the request's own public half

Both are framed objects in armour (docs/format.md, "Recovery request and response"). Either side
takes what it gets for hostile; a mistyped letter shows in the frame's checksum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import msgspec

from strongroom.crypto import hpke
from strongroom.crypto.content import fingerprint
from strongroom.crypto.envelope import PackedSecrets
from strongroom.crypto.labels import bind
from strongroom.crypto.signing import SigningKey, SigningPublicKey, verify
from strongroom.errors import ForgedError, InvalidInputError, MalformedError
from strongroom.format.armour import armour, unarmour
from strongroom.format.codec import Frame, Hash, Id, Number, Value, decode, encode, frame, unframe
from strongroom.format.header import Envelope, Link
from strongroom.format.versions import FORMAT, REQUEST, RESPONSE, check_format

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_SESSIONS: Final = 4096
"""Of one point in a request."""
MAX_CHAIN_KEYS: Final = 1024
"""Envelopes or links in a request."""

_REQUEST_LABEL: Final = "STRONGROOM RECOVERY REQUEST"
_RESPONSE_LABEL: Final = "STRONGROOM RECOVERY RESPONSE"
_DOMAIN: Final = "recovery request"

V = TypeVar("V")


class SealedSession(Value, frozen=True):
    """A session's keys, as its signed record has them."""

    session_id: Id
    chain_key_id: Hash
    sealed: bytes
    commitment: Hash


class RecoveryRequest(Value, frozen=True):
    """A server asks for the session keys of one point. All of it is public."""

    format_version: int
    repository_id: Id
    chain_id: Id
    origin_id: Id
    """The chain's: what its keys are bound to."""
    point_id: Id
    taken_at: Number
    """When the point was taken, or published where that is sealed; the server says so."""
    made_at: Number
    machine: Annotated[str, msgspec.Meta(max_length=255)]
    """Host name of the server; it says so."""
    identity: bytes
    """Who asks, and signs."""
    public: bytes
    """Made for this request: the response is sealed to it."""
    envelopes: Annotated[list[Envelope], msgspec.Meta(max_length=MAX_CHAIN_KEYS)]
    """With the stanzas of recovery keys alone."""
    links: Annotated[list[Link], msgspec.Meta(max_length=MAX_CHAIN_KEYS)]
    sessions: Annotated[list[SealedSession], msgspec.Meta(min_length=1, max_length=MAX_SESSIONS)]


class RecoveryResponse(Value, frozen=True):
    """The session keys that a request asked for, for who made the request."""

    format_version: int
    request_hash: Hash
    sealed: bytes


class OpenedSession(Value, frozen=True):
    """One session's keys inside a response."""

    session_id: Id
    keys: Annotated[bytes, msgspec.Meta(min_length=104, max_length=104)]


def request_text(request: RecoveryRequest, signer: SigningKey) -> tuple[str, bytes]:
    """Return a request as text, signed, and the hash that its response has to name."""
    body = encode(request)
    return armour(_REQUEST_LABEL, frame(REQUEST, body, signer.sign(_DOMAIN, body))), fingerprint(
        body
    )


def read_request(text: str) -> tuple[RecoveryRequest, SigningPublicKey, bytes]:
    """Return the request that a text holds, who signed it, and its hash.

    Raises:
        InvalidInputError: it holds none, or a letter of it is mistyped.
        ForgedError: the signature is missing, or not by the identity that the request names.
        UnsupportedVersionError: a newer release made it.
    """
    framed = _unframe(REQUEST, _REQUEST_LABEL, text)
    request = _decode(RecoveryRequest, framed.body, "the recovery request")
    check_format(request.format_version, "the recovery request")
    try:
        signer = SigningPublicKey(request.identity)
        hpke.PublicKey(request.public)
    except MalformedError as error:
        raise InvalidInputError(f"the recovery request is malformed: {error}") from error
    if not request.machine.isprintable():
        raise InvalidInputError("the recovery request names a machine that cannot be shown")
    if len({session.session_id for session in request.sessions}) < len(request.sessions):
        raise InvalidInputError("the recovery request names a session twice")
    if not framed.signature:
        raise ForgedError("the recovery request is not signed: its signature was stripped")
    verify(signer, _DOMAIN, framed.body, framed.signature)
    return request, signer, fingerprint(framed.body)


def response_text(
    request_hash: bytes, public: bytes, keys: Sequence[tuple[bytes, PackedSecrets]]
) -> str:
    """Return keys of sessions as text, sealed to a request's public half and for it alone."""
    opened = [OpenedSession(session_id, packed.expose()) for session_id, packed in keys]
    sealed = hpke.seal(hpke.PublicKey(public), _info(request_hash), encode(opened))
    body = encode(RecoveryResponse(FORMAT, request_hash, sealed))
    return armour(_RESPONSE_LABEL, frame(RESPONSE, body))


def read_response(text: str) -> RecoveryResponse:
    """Return the response that a text holds, still sealed.

    Raises:
        InvalidInputError: it holds none, or a letter of it is mistyped.
        UnsupportedVersionError: a newer release made it.
    """
    framed = _unframe(RESPONSE, _RESPONSE_LABEL, text)
    response = _decode(RecoveryResponse, framed.body, "the recovery response")
    check_format(response.format_version, "the recovery response")
    return response


def open_response(
    response: RecoveryResponse, private: hpke.PrivateKey
) -> dict[bytes, PackedSecrets]:
    """Return the keys in a response by session id; whether they are right is not known yet.

    Raises:
        ForgedError: it was not sealed to this private half for this request, or was altered.
        InvalidInputError: what it holds is no list of keys.
    """
    try:
        data = hpke.open_sealed(private, _info(response.request_hash), response.sealed)
    except hpke.NotSealedHereError as error:
        raise ForgedError(
            "the recovery response does not open: it was altered on its way"
        ) from error
    opened = _decode(list[OpenedSession], data, "the recovery response")
    return {one.session_id: PackedSecrets(one.keys) for one in opened}


def _info(request_hash: bytes) -> bytes:
    return bind("recovery response", request_hash)


def _unframe(magic: bytes, label: str, text: str) -> Frame:
    what = f"the {label.lower().removeprefix('strongroom ')}"
    try:
        return unframe(magic, unarmour(label, text), what)
    except MalformedError as error:
        # It came by hand: no storage is to blame, and no scrub helps.
        raise InvalidInputError(
            f"{what} is cut short, or a letter is mistyped", hint="carry it over as a file"
        ) from error


def _decode(kind: type[V], data: bytes, what: str) -> V:
    try:
        return decode(kind, data, what)
    except MalformedError as error:
        raise InvalidInputError(str(error)) from error
