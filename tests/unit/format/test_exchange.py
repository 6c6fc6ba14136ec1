from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.crypto import hpke
from strongroom.crypto.envelope import PackedSecrets
from strongroom.crypto.keys import Seed
from strongroom.crypto.signing import SigningKey
from strongroom.errors import ForgedError, InvalidInputError, StrongroomError
from strongroom.errors import UnsupportedVersionError as Unsupported
from strongroom.format.armour import armour, unarmour
from strongroom.format.codec import encode, frame
from strongroom.format.exchange import (
    MAX_SESSIONS,
    RecoveryRequest,
    SealedSession,
    open_response,
    read_request,
    read_response,
    request_text,
    response_text,
)
from strongroom.format.versions import REQUEST, RESPONSE

SIGNER = SigningKey.from_seed(Seed(b"s" * 32))
PRIVATE = hpke.PrivateKey.from_seed(Seed(b"p" * 32))
KEYS = PackedSecrets(bytes(103) + b"\x01")
LABEL = "STRONGROOM RECOVERY REQUEST"
ANSWER_LABEL = "STRONGROOM RECOVERY RESPONSE"
ASKED = RecoveryRequest(
    format_version=1,
    repository_id=b"r" * 16,
    chain_id=b"c" * 16,
    origin_id=b"o" * 16,
    point_id=b"p" * 16,
    taken_at=1,
    made_at=2,
    machine="host",
    identity=SIGNER.public.raw,
    public=PRIVATE.public.raw,
    envelopes=[],
    links=[],
    sessions=[SealedSession(b"1" * 16, b"k" * 32, b"sealed", b"m" * 32)],
)


def signed(**changes: object) -> str:
    return request_text(msgspec.structs.replace(ASKED, **changes), SIGNER)[0]


def test_a_request_reads_back_with_who_signed_it_and_its_hash() -> None:
    text, request_hash = request_text(ASKED, SIGNER)
    assert read_request(f"dear holder,\n{text}\nyours") == (ASKED, SIGNER.public, request_hash)


def test_a_response_reads_back_for_whom_it_was_sealed() -> None:
    text = response_text(b"h" * 32, PRIVATE.public.raw, [(b"1" * 16, KEYS)])
    response = read_response(text)
    assert response.request_hash == b"h" * 32
    assert open_response(response, PRIVATE) == {b"1" * 16: KEYS}
    with pytest.raises(ForgedError):
        open_response(response, hpke.PrivateKey.from_seed(Seed(b"o" * 32)))
    with pytest.raises(ForgedError):
        open_response(msgspec.structs.replace(response, request_hash=b"i" * 32), PRIVATE)


def test_quoted_and_indented_blocks_read_back() -> None:
    text = armour(LABEL, bytes(range(256)))
    quoted = "\r\n".join(f"> {line}  " for line in text.splitlines())
    assert unarmour(LABEL, quoted) == bytes(range(256))
    assert max(map(len, text.splitlines()[1:-1])) == 64


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-----BEGIN STRONGROOM RECOVERY REQUEST-----\nAAAA",
        armour(LABEL, b"x") * 2,
        armour(ANSWER_LABEL, b"x"),
        armour(LABEL, b"x").replace("eA==", "eA="),
        armour(LABEL, b"x").replace("eA==", "e!=="),
        armour(LABEL, b"too short for a frame"),
    ],
)
def test_what_is_no_request_is_refused_as_what_was_typed(text: str) -> None:
    with pytest.raises(InvalidInputError):
        read_request(text)


def test_a_later_format_is_refused_as_such() -> None:
    later = REQUEST.replace(b"1", b"2", 1)
    with pytest.raises(Unsupported):
        read_request(armour(LABEL, frame(later, b"")))
    with pytest.raises(Unsupported):
        read_request(signed(format_version=2))
    with pytest.raises(Unsupported):
        read_response(armour(ANSWER_LABEL, frame(RESPONSE.replace(b"1", b"2", 1), b"")))


@pytest.mark.parametrize(
    "changes",
    [
        {"sessions": []},
        {"sessions": ASKED.sessions * 2},
        {"sessions": ASKED.sessions * (MAX_SESSIONS + 1)},
        {"machine": "two\nlines"},
        {"machine": "x" * 256},
        {"public": b"short"},
        {"chain_id": b"short"},
    ],
)
def test_a_request_that_breaks_a_limit_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError):
        read_request(signed(**changes))


def test_a_signature_by_somebody_else_is_refused() -> None:
    body = encode(ASKED)
    other = SigningKey.from_seed(Seed(b"o" * 32))
    with pytest.raises(ForgedError):
        read_request(armour(LABEL, frame(REQUEST, body, other.sign("recovery request", body))))
    with pytest.raises(ForgedError):
        read_request(armour(LABEL, frame(REQUEST, body, SIGNER.sign("vouch", body))))


@given(st.binary(max_size=300), st.booleans())
def test_whatever_the_bytes_are_the_outcome_is_one_of_ours(data: bytes, framed: bool) -> None:
    for magic, label, read in (
        (REQUEST, LABEL, read_request),
        (RESPONSE, ANSWER_LABEL, read_response),
    ):
        text = armour(label, frame(magic, data) if framed else data)
        with pytest.raises(StrongroomError):
            read(text)  # type: ignore[operator]


@given(st.text(max_size=300))
def test_whatever_the_text_is_the_outcome_is_one_of_ours(text: str) -> None:
    for read in (read_request, read_response):
        with pytest.raises(InvalidInputError):
            read(text)  # type: ignore[operator]
