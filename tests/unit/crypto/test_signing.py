from __future__ import annotations

import re

import pytest

from strongroom.crypto import random, signing
from strongroom.crypto.keys import Seed
from strongroom.crypto.signing import SigningKey, SigningPublicKey, verify
from strongroom.errors import ForgedError, MalformedError

KEY = SigningKey.from_seed(Seed(bytes(32)))
OTHER = SigningKey.from_seed(random.seed())
SIGNATURE = KEY.sign("point", b"message")


def test_a_signature_holds_for_its_message() -> None:
    verify(SigningPublicKey(KEY.public.raw), "point", b"message", SIGNATURE)
    assert len(SIGNATURE) == 64 + 3309
    assert len(KEY.public.raw) == 32 + 1952


@pytest.mark.parametrize(
    ("public", "domain", "message"),
    [
        (OTHER.public, "point", b"message"),
        (KEY.public, "header", b"message"),
        (KEY.public, "pointm", b"essage"),
        (KEY.public, "point", b"message "),
        (KEY.public, "point", b""),
    ],
)
def test_it_holds_for_nothing_else(public: SigningPublicKey, domain: str, message: bytes) -> None:
    with pytest.raises(ForgedError):
        verify(public, domain, message, SIGNATURE)


@pytest.mark.parametrize("kept", [slice(0, 64), slice(64, None)], ids=["curve", "lattice"])
def test_one_of_the_two_signatures_is_not_enough(kept: slice) -> None:
    forged = bytearray(OTHER.sign("point", b"message"))
    forged[kept] = SIGNATURE[kept]
    with pytest.raises(ForgedError):
        verify(KEY.public, "point", b"message", bytes(forged))


def test_one_half_of_two_signers_does_not_make_a_third() -> None:
    mixed = SigningPublicKey(KEY.public.raw[:32] + OTHER.public.raw[32:])
    spliced = SIGNATURE[:64] + OTHER.sign("point", b"message")[64:]
    with pytest.raises(ForgedError):
        verify(mixed, "point", b"message", spliced)


@pytest.mark.parametrize("signature", [b"", SIGNATURE[:64], SIGNATURE[:-1], SIGNATURE + b"\0"])
def test_a_signature_of_another_length_is_forged(signature: bytes) -> None:
    with pytest.raises(ForgedError):
        verify(KEY.public, "point", b"message", signature)


@pytest.mark.parametrize("length", [0, 32, 1983, 1985])
def test_a_public_half_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(MalformedError):
        SigningPublicKey(bytes(length))


def test_a_public_half_that_the_library_refuses_is_malformed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Strict:
        @staticmethod
        def from_public_bytes(_: bytes) -> None:
            raise ValueError("not on the curve")

    monkeypatch.setattr(signing, "Ed25519PublicKey", Strict)
    with pytest.raises(MalformedError, match="not on the curve"):
        SigningPublicKey(KEY.public.raw)


def test_the_fingerprint_is_160_bits_in_groups_of_four() -> None:
    shown = KEY.public.fingerprint
    assert re.fullmatch(r"[a-z2-7]{4}(-[a-z2-7]{4}){7}", shown)
    assert shown == SigningKey.from_seed(Seed(bytes(32))).public.fingerprint
    assert shown != OTHER.public.fingerprint
    assert len(KEY.public.id) == 32


def test_public_halves_are_values() -> None:
    again = SigningPublicKey(KEY.public.raw)
    assert again == KEY.public
    assert {again, KEY.public} == {again}
    assert again != OTHER.public
    assert again != KEY.public.raw
    assert repr(again) == f"<SigningPublicKey {again.fingerprint}>"
