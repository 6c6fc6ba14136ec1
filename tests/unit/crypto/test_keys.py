from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback
from io import StringIO

import msgspec
import pytest
from rich.pretty import pretty_repr

from strongroom.crypto import random
from strongroom.crypto.envelope import ChainKey, SessionSecrets
from strongroom.crypto.hpke import PrivateKey
from strongroom.crypto.keys import DedupKey, MetaKey, Password, SecretBytes, Seed, SessionKey
from strongroom.crypto.signing import SigningKey
from strongroom.errors import InvalidInputError

SECRET = b"the secret itself: 32 bytes long"
KINDS = [SecretBytes, Seed, SessionKey, MetaKey, DedupKey, Password]
HOLDERS = [
    *(kind(SECRET) for kind in KINDS),
    ChainKey(Seed(SECRET)),
    PrivateKey.from_seed(Seed(SECRET)),
    SigningKey.from_seed(Seed(SECRET)),
    SessionSecrets(SessionKey(SECRET), MetaKey(SECRET), DedupKey(SECRET), 987654321987654321),
]
TRACES = ["the secret itself", SECRET.hex(), "987654321987654321"]


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda one: type(one).__name__)
def test_a_secret_is_never_shown_however_it_is_formatted(holder: object) -> None:
    log = StringIO()
    handler = logging.StreamHandler(log)
    logger = logging.getLogger("secrets under test")
    logger.addHandler(handler)
    logger.error("%s %r", holder, holder)
    logger.removeHandler(handler)
    shown = [
        repr(holder),
        str(holder),
        f"{holder} {holder!r} {holder!s} {holder!a}",
        "{}".format(holder),  # noqa: UP032
        "%s %r" % (holder, holder),  # noqa: UP031
        str([holder]),
        str({"key": holder}),
        pretty_repr(holder),
        log.getvalue(),
        str(dir(holder)),
    ]

    for text in shown:
        assert not any(trace in text for trace in TRACES), text


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda one: type(one).__name__)
def test_a_secret_can_be_neither_pickled_nor_copied_nor_encoded(holder: object) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError) as raised:
            pickle.dumps(holder, protocol)
        assert "the secret" not in str(raised.value)
    for attempt in (copy.copy, copy.deepcopy, msgspec.msgpack.encode, json.dumps):
        with pytest.raises(TypeError):
            attempt(holder)


@pytest.mark.parametrize("kind", KINDS)
def test_a_secret_has_no_hash_and_no_dictionary(kind: type[SecretBytes]) -> None:
    with pytest.raises(TypeError):
        hash(kind(SECRET))
    with pytest.raises(TypeError):
        vars(kind(SECRET))


def test_a_traceback_with_locals_does_not_show_a_key() -> None:
    def fails(key: Seed) -> None:
        raise RuntimeError(key)

    try:
        fails(Seed(SECRET))
    except RuntimeError as error:
        shown = "".join(
            traceback.TracebackException.from_exception(error, capture_locals=True).format()
        )
    assert "Seed redacted" in shown
    assert "the secret itself" not in shown


def test_secrets_of_different_kinds_are_never_equal() -> None:
    assert Seed(SECRET) == Seed(SECRET)
    assert Seed(SECRET) != Seed(SECRET[::-1])
    assert SessionKey(SECRET) != MetaKey(SECRET)
    assert Seed(SECRET) != SECRET


@pytest.mark.parametrize("kind", [Seed, SessionKey, MetaKey, DedupKey])
@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_of_another_length_is_refused(kind: type[SecretBytes], length: int) -> None:
    with pytest.raises(ValueError, match="takes 32 bytes") as raised:
        kind(SECRET[:1] * length)
    assert "ttt" not in str(raised.value)


def test_changing_the_buffer_a_key_came_from_does_not_change_the_key() -> None:
    buffer = bytearray(SECRET)
    key = Seed(buffer)  # type: ignore[arg-type]
    buffer[0] = 0
    assert key.expose() == SECRET


def test_one_password_typed_composed_or_decomposed_is_one_password() -> None:
    assert Password.from_text("sch\u00f6n") == Password.from_text("scho\u0308n")
    assert Password.from_text("sch\u00f6n").expose() == "sch\u00f6n".encode()


def test_a_password_that_is_not_unicode_is_refused_without_being_quoted() -> None:
    with pytest.raises(InvalidInputError) as raised:
        Password.from_text("swordfish\udcff")
    shown = "".join(
        traceback.TracebackException.from_exception(raised.value, capture_locals=False).format()
    )
    assert "swordfish" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert "UnicodeEncodeError" not in shown


def test_shuffling_keeps_what_is_there_and_leaves_the_list_given_alone() -> None:
    items = list(range(1000))
    shuffled = random.shuffled(items)
    assert items == list(range(1000))
    assert shuffled != items
    assert sorted(shuffled) == items


def test_random_things_differ() -> None:
    assert random.seed() != random.seed()
    assert len(random.token(48)) == 48
    assert {random.number(1, 3) for _ in range(200)} == {1, 2, 3}
