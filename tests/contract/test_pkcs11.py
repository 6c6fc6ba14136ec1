"""The PKCS#11 provider, against SoftHSM."""

from __future__ import annotations

import importlib
import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pkcs11
import pytest
from pkcs11 import Attribute, ObjectClass

from strongroom import errors
from strongroom.crypto import random, rsa
from strongroom.crypto.keys import SecretBytes
from strongroom.crypto.rsa import OaepHash
from strongroom.kms.base import VOUCHING_PREFIX, Credentials, KeyState, Surroundings
from strongroom.kms.location import parse
from strongroom.kms.pkcs11 import Pkcs11Kms
from strongroom.testing.kms_contract import KmsContract
from tests.support.softhsm import LABEL, PIN, SoftHsm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.kms.base import Kms, KmsKey


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftHsm]:
    with SoftHsm.made(tmp_path_factory.mktemp("softhsm")) as made:
        yield made


def seal(key: KmsKey, text: bytes) -> bytes:
    return rsa.PublicKey(key.public).encrypt(text, key.oaep)


class TestPkcs11(KmsContract):
    @pytest.fixture
    def kms(self, token: SoftHsm) -> Kms:
        return token.kms()

    @pytest.fixture
    def administrator(self, token: SoftHsm) -> Iterator[SoftHsm]:
        yield token
        # Its keys have the shortest of ids; the next test's has it again.
        if "f0" in set(token.kms().keys()):
            token.destroy("f0")

    @pytest.fixture
    def stranger(self, token: SoftHsm) -> Kms:
        return token.kms(pin="9999")

    @pytest.fixture
    def nowhere(self, token: SoftHsm) -> Kms:
        return token.kms(token="absent")

    def absent_key(self, key: KmsKey) -> str:
        return key.key + "00"

    def test_what_we_make_is_newer_than_what_the_administrator_made(
        self, kms: Kms, administrator: SoftHsm
    ) -> None:
        kms.make_key("strongroom-order", 3072)
        administrator.rotate("strongroom-order")
        made = kms.rotate("strongroom-order", 3072)
        assert kms.newest_key("strongroom-order") == made

    def test_the_newest_key_is_one_that_opens(self, kms: Kms, administrator: SoftHsm) -> None:
        first = kms.make_key("strongroom-newest", 3072)
        second = kms.rotate("strongroom-newest", 3072)
        administrator.disable(second.key)
        assert kms.newest_key("strongroom-newest") == first


def test_a_token_that_knows_sha_1_only_is_sealed_to_with_it(token: SoftHsm) -> None:
    key = token.kms().make_key("strongroom-hash", 3072)
    assert key.oaep is OaepHash.SHA1
    with pytest.raises(errors.RefusedError):
        token.kms().decrypt(key.key, bytes(384), OaepHash.SHA256)


def test_a_private_key_does_not_leave_the_token_and_only_decrypts(token: SoftHsm) -> None:
    key = token.kms().make_key("strongroom-attributes", 3072)
    with pkcs11.lib(token.module).get_token(token_label=LABEL).open(user_pin=PIN) as session:
        (held,) = session.get_objects(
            {Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.ID: bytes.fromhex(key.key)}
        )
        for yes in (Attribute.SENSITIVE, Attribute.TOKEN, Attribute.PRIVATE, Attribute.DECRYPT):
            assert held[yes]
        for no in (Attribute.EXTRACTABLE, Attribute.SIGN, Attribute.UNWRAP, Attribute.DERIVE):
            assert not held[no]
        with pytest.raises(pkcs11.exceptions.AttributeSensitive):
            _ = held[Attribute.PRIVATE_EXPONENT]


def test_a_wrong_pin_is_tried_once(token: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = token.kms(pin="9999")
    with pytest.raises(errors.RefusedError, match="refuses the PIN"):
        list(stranger.keys())
    monkeypatch.setattr(stranger, "_token", lambda: pytest.fail("the PIN was tried again"))
    with pytest.raises(errors.RefusedError, match="refuses the PIN") as caught:
        list(stranger.keys())
    assert "9999" not in str(caught.value)


def test_without_a_pin_nothing_is_opened() -> None:
    with pytest.raises(errors.InvalidInputError):
        Pkcs11Kms(parse("pkcs11:token=x?module-path=/x.so"), Surroundings())


def test_a_module_that_is_missing_is_away() -> None:
    address = parse("pkcs11:token=x?module-path=/nonexistent.so")
    kms = Pkcs11Kms(address, Surroundings(Credentials(secret=SecretBytes(b"1234"))))
    with pytest.raises(errors.KmsUnavailableError, match="/nonexistent"):
        list(kms.keys())


def test_a_token_that_is_taken_away_while_its_module_is_loaded_is_away(token: SoftHsm) -> None:
    kms = token.kms()
    assert kms.state("00") is KeyState.DESTROYED
    with token.taken_away(), pytest.raises(errors.KmsUnavailableError):
        kms.state("00")
    assert kms.state("00") is KeyState.DESTROYED


def test_keys_that_vouch_are_found_by_their_names(token: SoftHsm) -> None:
    kms = token.kms()
    named = kms.make_vouching_key(VOUCHING_PREFIX + "found")
    other = kms.make_vouching_key("of-something-else")
    assert named in set(kms.vouching_keys())
    assert other not in set(kms.vouching_keys())


def test_among_dated_keys_the_latest_is_the_newest_and_ours_comes_after(token: SoftHsm) -> None:
    kms = token.kms()
    name = "strongroom-dated"
    dated, other = kms.make_key(name, 3072), kms.make_key(name, 3072)
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    with pkcs11.lib(token.module).get_token(token_label=LABEL).open(user_pin=PIN, rw=True) as one:
        wanted = {Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.ID: bytes.fromhex(dated.key)}
        (held,) = one.get_objects(wanted)
        held[Attribute.START_DATE] = tomorrow
    assert other.key > dated.key
    assert kms.newest_key(name) == dated
    assert kms.rotate(name, 3072) == kms.newest_key(name)


def test_threads_take_turns(token: SoftHsm) -> None:
    key = token.kms().make_key("strongroom-threads", 3072)
    sealed = seal(key, b"secret")
    opened: list[bytes] = []

    def work() -> None:
        for _ in range(5):
            opened.append(token.kms().decrypt(key.key, sealed, key.oaep))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened == [b"secret"] * 20


def test_two_keys_with_one_id_are_not_guessed_between(token: SoftHsm) -> None:
    identifier = random.token(4).hex()
    for name in ("strongroom-one", "strongroom-two"):
        token.rotate(name, identifier)
    with pytest.raises(errors.RefusedError, match="2 keys"):
        token.kms().state(identifier)


def test_without_the_library_the_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    monkeypatch.delitem(sys.modules, "strongroom.kms.pkcs11")
    with pytest.raises(errors.RefusedError, match="pkcs11"):
        importlib.import_module("strongroom.kms.pkcs11")
