from __future__ import annotations

import pytest

from strongroom.crypto import hpke, random
from strongroom.crypto.hpke import PrivateKey, PublicKey
from strongroom.crypto.keys import Seed
from strongroom.errors import MalformedError, UnlockError

PRIVATE = PrivateKey.from_seed(Seed(bytes(32)))


def test_a_seed_always_gives_the_same_key_pair() -> None:
    again = PrivateKey.from_seed(Seed(bytes(32)))
    assert again.public == PRIVATE.public
    assert hash(again.public) == hash(PRIVATE.public)
    assert len(again.public.raw) == 1216
    assert len(again.public.id) == 32
    assert PrivateKey.from_seed(random.seed()).public != PRIVATE.public


def test_what_is_sealed_to_a_public_half_opens_with_the_other() -> None:
    sealed = hpke.seal(PublicKey(PRIVATE.public.raw), b"info", b"text")
    assert len(sealed) == len(b"text") + hpke.OVERHEAD
    assert hpke.open_sealed(PRIVATE, b"info", sealed) == b"text"
    assert hpke.seal(PRIVATE.public, b"info", b"text") != sealed


def test_nothing_sealed_opens_for_another_purpose_or_with_another_key() -> None:
    sealed = hpke.seal(PRIVATE.public, b"info", b"text")
    with pytest.raises(hpke.NotSealedHereError):
        hpke.open_sealed(PRIVATE, b"other", sealed)
    with pytest.raises(hpke.NotSealedHereError):
        hpke.open_sealed(PrivateKey.from_seed(random.seed()), b"info", sealed)
    assert issubclass(hpke.NotSealedHereError, UnlockError)


@pytest.mark.parametrize("place", [0, 500, 1087, 1088, 1100, 1119, 1120, 1130, -1])
def test_altered_anywhere_it_does_not_open(place: int) -> None:
    sealed = bytearray(hpke.seal(PRIVATE.public, b"info", b"text"))
    sealed[place] ^= 1
    with pytest.raises(hpke.NotSealedHereError):
        hpke.open_sealed(PRIVATE, b"info", bytes(sealed))


@pytest.mark.parametrize("length", [0, 1, 1119, 1120, 1135, 1139])
def test_truncated_it_does_not_open(length: int) -> None:
    sealed = hpke.seal(PRIVATE.public, b"info", b"text")
    with pytest.raises(hpke.NotSealedHereError):
        hpke.open_sealed(PRIVATE, b"info", sealed[:length])


@pytest.mark.parametrize("length", [0, 1184, 1215, 1217])
def test_a_public_half_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(MalformedError):
        PublicKey(bytes(length))


def test_a_public_half_that_the_library_refuses_is_malformed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Strict:
        @staticmethod
        def from_public_bytes(_: bytes) -> None:
            raise ValueError("not reduced")

    monkeypatch.setattr(hpke, "MLKEM768PublicKey", Strict)
    with pytest.raises(MalformedError, match="not reduced"):
        PublicKey(PRIVATE.public.raw)


def test_nothing_is_sealed_to_a_point_of_small_order() -> None:
    weak = PublicKey(PRIVATE.public.raw[:1184] + bytes(32))
    with pytest.raises(MalformedError):
        hpke.seal(weak, b"info", b"text")


def test_both_halves_count_for_the_id() -> None:
    other = PrivateKey.from_seed(random.seed()).public.raw
    mixed = PublicKey(PRIVATE.public.raw[:1184] + other[1184:])
    assert len({mixed.id, PRIVATE.public.id, PublicKey(other).id}) == 3
    sealed = hpke.seal(mixed, b"info", b"text")
    with pytest.raises(hpke.NotSealedHereError):
        hpke.open_sealed(PRIVATE, b"info", sealed)
