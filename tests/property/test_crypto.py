from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.crypto import aead, hpke, random
from strongroom.crypto.aead import NotSealedHereError, PackSealer
from strongroom.crypto.content import ContentHasher
from strongroom.crypto.envelope import (
    MAX_CHUNKER_SEED,
    ChainKey,
    SessionSecrets,
    make_link,
    open_link,
    open_session,
)
from strongroom.crypto.keys import DedupKey, MetaKey, Password, Seed, SessionKey
from strongroom.crypto.labels import bind
from strongroom.crypto.passwords import check_strength
from strongroom.crypto.signing import SigningKey, verify
from strongroom.errors import ForgedError, WeakPasswordError

KEY = SessionKey(bytes(range(32)))
SEALER = PackSealer(KEY, bytes(32))
PRIVATE = hpke.PrivateKey.from_seed(Seed(bytes(32)))
SIGNER = SigningKey.from_seed(Seed(bytes(32)))

places = st.integers(0, aead.MAX_PLACE)
texts = st.binary(max_size=300)
keys = st.binary(min_size=32, max_size=32)


@given(place=places, context=texts, text=texts)
def test_every_block_opens_where_it_was_sealed(place: int, context: bytes, text: bytes) -> None:
    sealed = SEALER.seal(place, context, text)
    assert SEALER.open(place, context, sealed) == text
    buffer = bytearray(len(sealed))
    assert SEALER.seal_into(place, context, text, memoryview(buffer)) == len(sealed)
    assert buffer == sealed


@given(one=st.tuples(places, texts, texts), other=st.tuples(places, texts, texts))
def test_a_nonce_is_repeated_only_for_the_same_bytes(
    one: tuple[int, bytes, bytes], other: tuple[int, bytes, bytes]
) -> None:
    first, second = SEALER.seal(*one), SEALER.seal(*other)
    assert (first[:12] == second[:12]) == (one == other)


@given(data=st.data(), context=texts, text=texts)
def test_no_bit_of_a_sealed_block_can_be_flipped(
    data: st.DataObject, context: bytes, text: bytes
) -> None:
    sealed = bytearray(SEALER.seal(5, context, text))
    bit = data.draw(st.integers(0, 8 * len(sealed) - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(NotSealedHereError):
        SEALER.open(5, context, bytes(sealed))


@given(data=st.data(), text=texts)
def test_no_sealed_block_can_be_cut(data: st.DataObject, text: bytes) -> None:
    sealed = SEALER.seal(5, b"", text)
    with pytest.raises(NotSealedHereError):
        SEALER.open(5, b"", sealed[: data.draw(st.integers(0, len(sealed) - 1))])


@given(hostile=st.binary(max_size=2000))
def test_bytes_from_anywhere_open_nowhere(hostile: bytes) -> None:
    with pytest.raises(NotSealedHereError):
        SEALER.open(0, b"", hostile)
    with pytest.raises(NotSealedHereError):
        aead.open_value(KEY, "label", b"", hostile)
    with pytest.raises(hpke.NotSealedHereError):
        hpke.open_sealed(PRIVATE, b"", hostile)
    with pytest.raises(ForgedError):
        verify(SIGNER.public, "domain", b"", hostile)


@given(key=keys, label=st.text("abc-/", max_size=9), context=texts, text=texts)
def test_every_value_opens_where_it_was_sealed(
    key: bytes, label: str, context: bytes, text: bytes
) -> None:
    sealed = aead.seal_value(MetaKey(key), label, context, text)
    assert aead.open_value(MetaKey(key), label, context, sealed) == text


@settings(max_examples=30)
@given(info=texts, text=texts, data=st.data())
def test_what_is_sealed_to_a_public_half_opens_unless_a_bit_was_flipped(
    info: bytes, text: bytes, data: st.DataObject
) -> None:
    sealed = bytearray(hpke.seal(PRIVATE.public, info, text))
    assert hpke.open_sealed(PRIVATE, info, bytes(sealed)) == text
    bit = data.draw(st.integers(0, 8 * len(sealed) - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(hpke.NotSealedHereError):
        hpke.open_sealed(PRIVATE, info, bytes(sealed))


@settings(max_examples=20)
@given(
    one=st.tuples(st.text(max_size=5), st.binary(max_size=5)),
    other=st.tuples(st.text(max_size=5), st.binary(max_size=5)),
)
def test_a_signature_holds_for_its_domain_and_message_only(
    one: tuple[str, bytes], other: tuple[str, bytes]
) -> None:
    signature = SIGNER.sign(*one)
    verify(SIGNER.public, *one, signature)
    if one != other:
        with pytest.raises(ForgedError):
            verify(SIGNER.public, *other, signature)


@settings(max_examples=20)
@given(seed=st.integers(1, MAX_CHUNKER_SEED), dedup=keys, context=texts)
def test_session_keys_survive_a_chain_of_links(seed: int, dedup: bytes, context: bytes) -> None:
    older, newer = ChainKey.generate(), ChainKey.generate()
    secrets = SessionSecrets.generate(DedupKey(dedup), seed)
    sealed = secrets.seal(older.public, context)
    link = make_link(older, newer.public, context)
    found = open_link(newer, link, older.public.raw, context)
    assert open_session(found, sealed, context, secrets.commitment(context)) == secrets


@given(one=st.lists(texts, min_size=1), other=st.lists(texts, min_size=1))
def test_bound_parts_are_equal_only_when_every_part_is(
    one: list[bytes], other: list[bytes]
) -> None:
    assert (bind("label", *one) == bind("label", *other)) == (one == other)


@given(key=st.none() | keys, text=texts)
def test_a_name_of_content_depends_on_nothing_but_content_and_key(
    key: bytes | None, text: bytes
) -> None:
    hasher = ContentHasher(None if key is None else DedupKey(key))
    again = ContentHasher(None if key is None else DedupKey(key))
    assert hasher.digest(text) == again.digest(memoryview(text))
    assert hasher.of_digests(text) != hasher.digest(text)


@given(text=st.text(max_size=40), hint=st.text(max_size=40))
def test_a_password_is_judged_whatever_it_is_and_never_quoted(text: str, hint: str) -> None:
    Password.from_text(text)
    said = ""
    try:
        check_strength(text, hint)
    except WeakPasswordError as error:
        said = str(error)
    # Shorter ones occur in any sentence.
    assert len(text) < 8 or text not in said


@given(items=st.lists(st.integers()))
def test_shuffling_loses_nothing(items: list[int]) -> None:
    assert sorted(random.shuffled(items)) == sorted(items)
