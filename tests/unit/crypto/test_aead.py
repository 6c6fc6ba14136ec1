from __future__ import annotations

import pytest

from strongroom.crypto import aead, random
from strongroom.crypto.aead import NotSealedHereError, PackSealer
from strongroom.crypto.keys import MetaKey, SessionKey
from strongroom.errors import IntegrityError

KEY = SessionKey(bytes(range(32)))
PACK = bytes(32)
TEXT = b"sixteen bytes of" * 64


@pytest.fixture
def sealer() -> PackSealer:
    return PackSealer(KEY, PACK)


def test_a_block_opens_where_it_was_sealed(sealer: PackSealer) -> None:
    sealed = sealer.seal(7, b"context", TEXT)
    assert len(sealed) == len(TEXT) + aead.OVERHEAD
    assert PackSealer(KEY, PACK).open(7, b"context", sealed) == TEXT


def test_sealing_into_a_buffer_writes_the_same_bytes_and_no_others(sealer: PackSealer) -> None:
    buffer = bytearray(b"." * 2000)
    written = sealer.seal_into(7, b"context", memoryview(TEXT), memoryview(buffer)[100:])
    assert written == len(TEXT) + aead.OVERHEAD
    assert buffer[100 : 100 + written] == sealer.seal(7, b"context", TEXT)
    assert set(buffer[:100] + buffer[100 + written :]) == set(b".")


def test_sealing_into_too_small_a_buffer_writes_nothing(sealer: PackSealer) -> None:
    buffer = bytearray(len(TEXT) + aead.OVERHEAD - 1)
    with pytest.raises(ValueError, match="room"):
        sealer.seal_into(0, b"context", TEXT, memoryview(buffer))
    assert not any(buffer)


@pytest.mark.parametrize("text", [b"", b"x"])
def test_the_smallest_blocks_are_blocks_too(sealer: PackSealer, text: bytes) -> None:
    assert sealer.open(0, b"", sealer.seal(0, b"", text)) == text


def test_a_block_opens_in_no_other_place_pack_context_or_key(sealer: PackSealer) -> None:
    sealed = sealer.seal(7, b"context", TEXT)
    for other, place, context in (
        (sealer, 8, b"context"),
        (sealer, 7, b"another"),
        (sealer, 7, b""),
        (PackSealer(KEY, bytes(31) + b"\1"), 7, b"context"),
        (PackSealer(SessionKey(bytes(32)), PACK), 7, b"context"),
    ):
        with pytest.raises(NotSealedHereError):
            other.open(place, context, sealed)


def test_rewriting_the_place_in_the_nonce_does_not_move_a_block(sealer: PackSealer) -> None:
    sealed = sealer.seal(7, b"context", TEXT)
    with pytest.raises(NotSealedHereError):
        sealer.open(8, b"context", b"\0\0\x08" + sealed[3:])


@pytest.mark.parametrize("at", [0, 3, 11, 12, 500, -17, -16, -1])
def test_a_flipped_bit_is_noticed(sealer: PackSealer, at: int) -> None:
    sealed = bytearray(sealer.seal(7, b"context", TEXT))
    sealed[at] ^= 0x80
    with pytest.raises(NotSealedHereError):
        sealer.open(7, b"context", sealed)


@pytest.mark.parametrize("length", [0, 1, 12, 27, 28, 100, len(TEXT) + 27])
def test_a_truncated_block_is_noticed(sealer: PackSealer, length: int) -> None:
    sealed = sealer.seal(7, b"context", TEXT)
    with pytest.raises(NotSealedHereError):
        sealer.open(7, b"context", memoryview(sealed)[:length])


def test_a_longer_block_is_noticed(sealer: PackSealer) -> None:
    with pytest.raises(NotSealedHereError):
        sealer.open(7, b"context", sealer.seal(7, b"context", TEXT) + b"\0")


def test_a_cloned_machine_repeats_a_nonce_only_where_it_repeats_every_byte() -> None:
    # Both clones have the same session key and the same pack id.
    original, clone = PackSealer(KEY, PACK), PackSealer(KEY, PACK)
    first = original.seal(3, b"context", TEXT)

    assert clone.seal(3, b"context", TEXT) == first
    nonces = {
        first[:12],
        clone.seal(3, b"context", TEXT[:-1] + b"!")[:12],
        clone.seal(3, b"context", TEXT[:-1])[:12],
        # One nonce for two contexts would give away the key that authenticates.
        clone.seal(3, b"another", TEXT)[:12],
        # What leaves the context for the text is another pair, too.
        clone.seal(3, b"contex", b"t" + TEXT)[:12],
        clone.seal(4, b"context", TEXT)[:12],
    }
    assert len(nonces) == 6


def test_the_nonce_tells_the_place_and_nothing_of_the_text() -> None:
    sealed = PackSealer(KEY, PACK).seal(0x010203, b"context", TEXT)
    elsewhere = PackSealer(KEY, bytes(31) + b"\1").seal(0x010203, b"context", TEXT)
    assert sealed[:3] == elsewhere[:3] == b"\1\2\3"
    # The same text in two packs cannot be recognised by its nonce.
    assert sealed[3:12] != elsewhere[3:12]


@pytest.mark.parametrize("place", [-1, 1 << 24])
def test_a_place_that_does_not_fit_is_refused(sealer: PackSealer, place: int) -> None:
    with pytest.raises(ValueError, match="place"):
        sealer.seal(place, b"", TEXT)
    with pytest.raises(NotSealedHereError):
        sealer.open(place, b"", sealer.seal(0, b"", TEXT))


def test_the_last_place_is_a_place(sealer: PackSealer) -> None:
    assert sealer.open(aead.MAX_PLACE, b"", sealer.seal(aead.MAX_PLACE, b"", TEXT)) == TEXT


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_pack_id_has_32_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="pack id"):
        PackSealer(KEY, bytes(length))


def test_a_value_opens_under_its_key_label_and_context_only() -> None:
    key = MetaKey(random.token(32))
    sealed = aead.seal_value(key, "label", b"context", TEXT)
    assert len(sealed) == len(TEXT) + aead.VALUE_OVERHEAD
    assert aead.open_value(key, "label", b"context", sealed) == TEXT
    for other, label, context in (
        (MetaKey(random.token(32)), "label", b"context"),
        (key, "other", b"context"),
        (key, "label", b"other"),
    ):
        with pytest.raises(NotSealedHereError):
            aead.open_value(other, label, context, sealed)


def test_the_same_value_never_looks_the_same_twice() -> None:
    key = MetaKey(random.token(32))
    first, second = (aead.seal_value(key, "label", b"context", TEXT) for _ in range(2))
    assert first[:32] != second[:32]
    assert first[32:44] != second[32:44]
    assert first[44:] != second[44:]


@pytest.mark.parametrize("at", [0, 31, 32, 44, -1])
def test_a_flipped_bit_of_a_value_is_noticed(at: int) -> None:
    key = MetaKey(random.token(32))
    sealed = bytearray(aead.seal_value(key, "label", b"context", b"text"))
    sealed[at] ^= 1
    with pytest.raises(NotSealedHereError):
        aead.open_value(key, "label", b"context", sealed)


@pytest.mark.parametrize("length", [0, 59, 60, 63])
def test_a_truncated_value_is_noticed(length: int) -> None:
    key = MetaKey(random.token(32))
    sealed = aead.seal_value(key, "label", b"context", b"text")
    with pytest.raises(NotSealedHereError):
        aead.open_value(key, "label", b"context", sealed[:length])


def test_what_does_not_open_is_a_question_of_integrity() -> None:
    assert issubclass(NotSealedHereError, IntegrityError)
