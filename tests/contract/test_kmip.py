"""The KMIP provider, against PyKMIP's server as it comes and with engines that decrypt."""

from __future__ import annotations

import importlib
import logging
import sys
from typing import TYPE_CHECKING

import pytest

from strongroom import errors, logs
from strongroom.crypto import rsa
from strongroom.crypto.keys import SecretBytes
from strongroom.crypto.rsa import OaepHash
from strongroom.kms import kmip as provider
from strongroom.kms.base import VOUCHING_PREFIX, Credentials, KeyState, Surroundings
from strongroom.kms.failover import FailoverKms
from strongroom.kms.kmip import KmipKms
from strongroom.kms.location import parse
from strongroom.testing.kms_contract import KmsContract
from tests.support.certificates import Authority
from tests.support.kmip_server import NO_EXPORT, KmipAdministrator, KmipServer, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from strongroom.kms.base import Kms, KmsKey


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KmipServer]:
    with KmipServer.running(tmp_path_factory.mktemp("stock")) as server:
        yield server


@pytest.fixture(scope="module")
def decrypting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KmipServer]:
    with KmipServer.running(tmp_path_factory.mktemp("decrypting"), "decrypting") as server:
        yield server


@pytest.fixture
def own(tmp_path: Path) -> Iterator[KmipServer]:
    """Return a server that this test may stop and start."""
    with KmipServer.running(tmp_path, "decrypting") as server:
        yield server


def seal(key: KmsKey, text: bytes) -> bytes:
    return rsa.PublicKey(key.public).encrypt(text, key.oaep)


class TestKmipThatDecrypts(KmsContract):
    can_disable = False  # a key is deactivated for good: tested below

    @pytest.fixture
    def server(self, decrypting: KmipServer) -> KmipServer:
        return decrypting

    @pytest.fixture
    def kms(self, server: KmipServer) -> Kms:
        return server.kms()

    @pytest.fixture
    def administrator(self, server: KmipServer) -> KmipAdministrator:
        return KmipAdministrator(server)

    @pytest.fixture
    def stranger(self, server: KmipServer) -> Kms:
        unknown = Authority("another").issue("strongroom")
        return server.kms(certificate=unknown.certificate, key=unknown.key)

    @pytest.fixture
    def nowhere(self, server: KmipServer) -> Kms:
        surroundings = Surroundings(
            Credentials(certificate=server.client.certificate, key=SecretBytes(server.client.key))
        )
        return KmipKms(parse(f"kmip://127.0.0.1:{free_port()}"), surroundings)

    def absent_key(self, key: KmsKey) -> str:
        return key.key + "000"

    def test_a_deactivated_key_is_disabled_and_opens_nothing(
        self, kms: Kms, key: KmsKey, administrator: KmipAdministrator
    ) -> None:
        administrator.disable(key.key)
        assert kms.state(key.key) is KeyState.DISABLED
        with pytest.raises(errors.RefusedError):
            kms.decrypt(key.key, seal(key, b"secret"), key.oaep)

    def test_the_newest_key_is_one_that_opens(
        self, kms: Kms, administrator: KmipAdministrator
    ) -> None:
        first = kms.make_key("strongroom-newest", 3072)
        second = kms.rotate("strongroom-newest", 3072)
        administrator.disable(second.key)
        assert kms.newest_key("strongroom-newest") == first

    def test_keys_that_vouch_are_found_by_their_names(self, kms: Kms, server: KmipServer) -> None:
        named = kms.make_vouching_key(VOUCHING_PREFIX + "found")
        other = kms.make_vouching_key("of-something-else")
        assert named in set(kms.vouching_keys())
        assert other not in set(kms.vouching_keys())


class TestStockKmip(TestKmipThatDecrypts):
    """The private half is handed out for each decryption."""

    @pytest.fixture
    def server(self, stock: KmipServer) -> KmipServer:
        return stock


# --- what a server decrypts with ------------------------------------------------------------


def test_a_server_that_takes_the_specification_by_the_letter_gets_sha_1(tmp_path: Path) -> None:
    with KmipServer.running(tmp_path, "literal") as server:
        kms = server.kms()
        key = kms.make_key("strongroom-literal", 3072)
        assert key.oaep is OaepHash.SHA1
        assert kms.newest_key("strongroom-literal") == key
        assert kms.decrypt(key.key, seal(key, b"secret"), key.oaep) == b"secret"
        KmipAdministrator(server).rotate("strongroom-literal")
        newest = kms.newest_key("strongroom-literal")
        assert newest.key != key.key
        assert newest.oaep is OaepHash.SHA1
        assert kms.decrypt(newest.key, seal(newest, b"new"), newest.oaep) == b"new"


def test_the_public_half_of_an_administrators_pair_is_its_own(decrypting: KmipServer) -> None:
    kms, administrator = decrypting.kms(), KmipAdministrator(decrypting)
    made = [administrator.rotate("strongroom-of-the-administrator") for _ in range(3)]
    newest = kms.newest_key("strongroom-of-the-administrator")
    assert newest.key == made[-1]
    assert kms.decrypt(newest.key, seal(newest, b"secret"), newest.oaep) == b"secret"


# --- names that nothing else has --------------------------------------------------------------


def test_a_server_whose_names_are_unique_gets_the_next_key_under_a_longer_name(
    tmp_path: Path,
) -> None:
    name = "strongroom-nightly-0a1b2c3d"
    with KmipServer.running(tmp_path, "unique") as server:
        kms = server.kms()
        with pytest.raises(errors.NotFoundError):
            kms.newest_key(name)
        first = kms.make_key(name, 3072)
        assert kms.newest_key(name) == first
        second = kms.rotate(name, 3072)
        third = kms.rotate(name, 3072)
        other = kms.make_key(name + "-else", 3072)
        kms.rotate(name + "-else", 3072)
        assert kms.newest_key(name) == third
        for key in (first, second, third, other):
            assert kms.decrypt(key.key, seal(key, b"secret"), key.oaep) == b"secret"
        with server.administration() as client:
            _, (attribute,) = client.get_attributes(second.key, ["Name"])
            assert str(attribute.attribute_value.name_value.value).startswith(name + "-")
        KmipAdministrator(server).disable(third.key)
        assert kms.newest_key(name) == second
        vouching = kms.make_vouching_key(VOUCHING_PREFIX + "again")
        assert kms.make_vouching_key(VOUCHING_PREFIX + "again") == vouching
        assert kms.mac(vouching, b"m")


def test_a_pair_that_is_refused_for_another_reason_is_not_asked_for_twice(
    decrypting: KmipServer,
) -> None:
    before = len(decrypting.operations())
    with pytest.raises(errors.RefusedError):
        decrypting.kms().make_key("strongroom-small", 100)
    asked = decrypting.operations()[before:]
    assert asked.count("CreateKeyPair") == 1


# --- only what is needed is asked for -------------------------------------------------------


def test_one_decryption_is_one_operation(decrypting: KmipServer) -> None:
    kms = decrypting.kms()
    key = kms.make_key("strongroom-trace", 3072)
    before = len(decrypting.operations())
    kms.decrypt(key.key, seal(key, b"secret"), key.oaep)
    assert decrypting.operations()[before:] == ["Decrypt"]


def test_who_follows_a_rotation_needs_no_right_to_decrypt(decrypting: KmipServer) -> None:
    kms = decrypting.kms()
    kms.make_key("strongroom-follow", 3072)
    kms.rotate("strongroom-follow", 3072)
    before = len(decrypting.operations())
    kms.newest_key("strongroom-follow")
    assert set(decrypting.operations()[before:]) == {"Locate", "GetAttributes", "Get"}


def test_a_list_of_several_pages_is_read_to_its_end(
    decrypting: KmipServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    kms = decrypting.kms()
    made = {kms.make_key("strongroom-pages", 3072).key for _ in range(3)}
    whole = list(kms.keys())
    monkeypatch.setattr(provider, "_PAGE", 2)
    assert list(kms.keys()) == whole
    assert made <= set(whole)


# --- private keys that are handed out -------------------------------------------------------


def test_a_private_key_handed_out_is_logged_each_time_and_told_once(
    stock: KmipServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider, "_warned", set())
    told: list[str] = []
    kms = stock.kms(warn=told.append)
    key = kms.make_key("strongroom-told", 3072)
    log = tmp_path / "log"
    handler = logs.to_file(log, "debug")
    try:
        before = len(stock.operations())
        for _ in range(2):
            assert kms.decrypt(key.key, seal(key, b"secret"), key.oaep) == b"secret"
    finally:
        logs.stop(handler)
    assert stock.operations()[before:] == ["Decrypt", "GetAttributes", "Get"] * 2
    assert log.read_text().count("kms.private-key-handed-out") == 2
    assert len(told) == 1
    assert "private key" in told[0]


def test_a_server_that_decrypts_hands_no_private_key_out(decrypting: KmipServer) -> None:
    told: list[str] = []
    kms = decrypting.kms(warn=told.append)
    kms.make_key("strongroom-kept", 3072)
    assert told == []


def test_a_server_that_neither_decrypts_nor_exports_says_both(tmp_path: Path) -> None:
    with KmipServer.running(tmp_path, "unsupporting") as server:
        key = KmipAdministrator(server).rotate("strongroom-kept-in", NO_EXPORT)
        for call in (
            lambda: server.kms().decrypt(key, bytes(384), OaepHash.SHA256),
            lambda: server.kms().newest_key("strongroom-kept-in"),
        ):
            with pytest.raises(errors.RefusedError) as caught:
                call()
            assert "not supported" in str(caught.value)
            assert "Could not locate object" in str(caught.value)


def test_a_stock_server_that_forbids_export_refuses(stock: KmipServer) -> None:
    key = KmipAdministrator(stock).rotate("strongroom-forbidden", NO_EXPORT)
    with pytest.raises(errors.RefusedError, match="PERMISSION_DENIED"):
        stock.kms().decrypt(key, bytes(384), OaepHash.SHA256)


def test_a_server_that_decrypts_needs_to_export_nothing(decrypting: KmipServer) -> None:
    key = KmipAdministrator(decrypting).rotate("strongroom-hsm", NO_EXPORT)
    newest = decrypting.kms().newest_key("strongroom-hsm")
    assert newest.key == key
    assert decrypting.kms().decrypt(key, seal(newest, b"secret"), newest.oaep) == b"secret"


def test_the_librarys_own_records_reach_nobody(
    stock: KmipServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = stock.kms().make_key("strongroom-quiet", 3072)
    stock.kms().decrypt(key.key, seal(key, b"secret"), key.oaep)
    assert [one for one in caplog.records if one.name.startswith("kmip")] == []


# --- who is whom ----------------------------------------------------------------------------


def test_a_server_of_another_authority_is_not_trusted(decrypting: KmipServer) -> None:
    kms = decrypting.kms(authorities=Authority("another").pem)
    with pytest.raises(errors.RefusedError, match="not to be trusted"):
        list(kms.keys())


def test_a_server_of_another_name_is_not_trusted(decrypting: KmipServer) -> None:
    with pytest.raises(errors.RefusedError, match="localhost"):
        list(decrypting.kms(host="localhost").keys())


def test_a_revoked_server_is_not_trusted(own: KmipServer) -> None:
    issued = own.authority.issue("server", "127.0.0.1")
    own.stop()
    own.show(issued)
    own.start()
    nobody = own.authority.pem + own.authority.revocations()
    assert list(own.kms(authorities=nobody).keys()) == []
    revoked = own.authority.pem + own.authority.revocations(issued.serial)
    with pytest.raises(errors.RefusedError, match="revoked"):
        list(own.kms(authorities=revoked).keys())


def test_an_expired_server_is_not_trusted(own: KmipServer) -> None:
    own.stop()
    own.show(own.authority.issue("server", "127.0.0.1", expired=True))
    own.start()
    with pytest.raises(errors.RefusedError, match="expired"):
        list(own.kms().keys())


def test_a_client_that_the_server_does_not_know_is_told_so(decrypting: KmipServer) -> None:
    unknown = Authority("another").issue("strongroom")
    kms = decrypting.kms(certificate=unknown.certificate, key=unknown.key)
    with pytest.raises(errors.RefusedError, match="ends the TLS handshake"):
        list(kms.keys())


def test_a_certificate_without_its_key_is_refused_before_anything_is_asked(
    decrypting: KmipServer,
) -> None:
    other = decrypting.authority.issue("another")
    with pytest.raises(errors.InvalidInputError):
        list(decrypting.kms(key=other.key).keys())
    with pytest.raises(errors.InvalidInputError):
        KmipKms(parse("kmip://127.0.0.1"), Surroundings())


# --- servers that go away -------------------------------------------------------------------


def test_a_server_may_be_restarted_between_two_calls(own: KmipServer) -> None:
    kms = own.kms()
    key = kms.make_key("strongroom-restart", 3072)
    own.stop()
    with pytest.raises(errors.KmsUnavailableError):
        kms.state(key.key)
    own.start()
    assert kms.decrypt(key.key, seal(key, b"secret"), key.oaep) == b"secret"


def test_an_endpoint_that_is_away_is_passed_over(decrypting: KmipServer) -> None:
    away = KmipKms(
        parse(f"kmip://127.0.0.1:{free_port()}"),
        Surroundings(
            Credentials(
                certificate=decrypting.client.certificate, key=SecretBytes(decrypting.client.key)
            )
        ),
    )
    kms = FailoverKms([away, decrypting.kms()])
    key = kms.make_key("strongroom-failover", 3072)
    assert kms.decrypt(key.key, seal(key, b"secret"), key.oaep) == b"secret"


def test_without_the_library_the_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kmip.core", None)
    monkeypatch.delitem(sys.modules, "strongroom.kms.kmip")
    with pytest.raises(errors.RefusedError, match="kmip"):
        importlib.import_module("strongroom.kms.kmip")
