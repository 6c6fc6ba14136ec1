"""The transit engine keeps the contract, at a real OpenBao."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from strongroom import errors, logs
from strongroom.crypto import random, rsa
from strongroom.crypto.keys import SecretBytes
from strongroom.kms.base import (
    VOUCHING_PREFIX,
    Credentials,
    KeyState,
    Kms,
    KmsKey,
    Surroundings,
)
from strongroom.kms.location import open_kms, parse
from strongroom.kms.transit import TransitKms
from strongroom.testing.kms_contract import KmsContract
from tests.support.openbao_server import (
    ROOT,
    OpenBao,
    TransitAdministrator,
    openbao,
    openbao_with_tls,
    token,
)
from tests.support.server_process import free_ports, stop

PAGE = Path(__file__).parents[2] / "docs/operations/kms-transit.md"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with openbao(tmp_path_factory.mktemp("openbao")) as running:
        yield running


@pytest.fixture
def kms(server: OpenBao):
    kms = server.kms(ROOT)
    yield kms
    kms.close()


def seal(key: KmsKey, text: bytes) -> bytes:
    return rsa.PublicKey(key.public).encrypt(text, key.oaep)


def fresh() -> str:
    return f"strongroom-nightly.web-{random.token(4).hex()}"


def nowhere_address() -> str:
    return f"transit+http://127.0.0.1:{free_ports()}/transit"


class TestTransitKms(KmsContract):
    @pytest.fixture
    def kms(self, server: OpenBao) -> Kms:
        return server.kms(ROOT)

    @pytest.fixture
    def administrator(self, server: OpenBao) -> TransitAdministrator:
        return TransitAdministrator(server)

    @pytest.fixture
    def stranger(self, server: OpenBao) -> Kms:
        return server.kms(token("guessed"))

    @pytest.fixture
    def nowhere(self) -> Kms:
        return TransitKms(parse(nowhere_address()), Surroundings(ROOT))

    def absent_key(self, key: KmsKey) -> str:
        return key.key + "0"

    def test_a_key_can_neither_be_exported_nor_saved(self, server: OpenBao, key: KmsKey) -> None:
        found = server.read(f"transit/keys/{key.key.partition(':')[0]}")
        assert (found["exportable"], found["allow_plaintext_backup"]) == (False, False)

    def test_a_name_without_a_key_is_destroyed_too(self, kms: Kms, key: KmsKey) -> None:
        absent = f"{fresh()}:1"
        assert kms.state(absent) is KeyState.DESTROYED
        with pytest.raises(errors.NotFoundError):
            kms.decrypt(absent, seal(key, b"secret"), key.oaep)
        with pytest.raises(errors.NotFoundError):
            kms.mac(absent, b"m")
        with pytest.raises(errors.NotFoundError):
            kms.rotate(fresh(), 3072)

    def test_a_name_that_is_taken_gets_the_next_version(self, kms: Kms) -> None:
        name = fresh()
        assert kms.make_key(name, 3072).key == f"{name}:1"
        assert kms.make_key(name, 3072).key == f"{name}:2"

    def test_a_key_of_another_size_is_not_rotated_into_this_one(self, kms: Kms) -> None:
        name = fresh()
        kms.make_key(name, 3072)
        with pytest.raises(errors.RefusedError, match="rsa-3072"):
            kms.rotate(name, 4096)

    def test_nothing_is_sealed_to_a_key_of_another_kind(self, kms: Kms, server: OpenBao) -> None:
        name = fresh()
        server.write(f"transit/keys/{name}", type="rsa-2048")
        with pytest.raises(errors.RefusedError, match="rsa-2048"):
            kms.newest_key(name)

    def test_a_key_that_is_deleted_softly_is_condemned(
        self, kms: Kms, key: KmsKey, server: OpenBao
    ) -> None:
        name = key.key.partition(":")[0]
        server.delete(f"transit/keys/{name}/soft-delete")
        assert kms.state(key.key) is KeyState.CONDEMNED
        with pytest.raises(errors.RefusedError, match="soft-deleted"):
            kms.decrypt(key.key, seal(key, b"secret"), key.oaep)
        with pytest.raises(errors.NotFoundError):
            kms.newest_key(name)
        server.write(f"transit/keys/{name}/soft-delete-restore")
        assert kms.state(key.key) is KeyState.ACTIVE

    def test_a_version_that_was_trimmed_is_destroyed(self, kms: Kms, server: OpenBao) -> None:
        name = fresh()
        first = kms.make_key(name, 3072)
        second = kms.rotate(name, 3072)
        server.write(
            f"transit/keys/{name}/config", min_decryption_version=2, min_encryption_version=2
        )
        assert {first.key, second.key} <= set(kms.keys())
        server.write(f"transit/keys/{name}/trim", min_available_version=2)
        assert kms.state(first.key) is KeyState.DESTROYED
        assert first.key not in set(kms.keys())

    def test_a_mac_stays_with_its_version(self, kms: Kms, server: OpenBao) -> None:
        name = VOUCHING_PREFIX + random.token(4).hex()
        key = kms.make_vouching_key(name)
        before = kms.mac(key, b"m")
        server.write(f"transit/keys/{name}/rotate")
        assert kms.mac(key, b"m") == before
        assert kms.verify_mac(key, b"m", before)
        assert not kms.verify_mac(f"{name}:2", b"m", before)
        assert kms.mac(f"{name}:2", b"m") != before

    def test_a_mount_that_is_not_there_is_no_key_that_was_destroyed(self, server: OpenBao) -> None:
        kms = TransitKms(parse(server.address + "-absent"), Surroundings(ROOT))
        with pytest.raises(errors.RefusedError) as caught:
            kms.state("strongroom-test:1")
        assert "mounted" in (caught.value.hint or "")

    def test_a_namespace_has_keys_of_its_own(self, server: OpenBao, kms: Kms, key: KmsKey) -> None:
        server.write("sys/namespaces/team")
        server.write("team/sys/mounts/transit", type="transit")
        inside = TransitKms(parse(server.address + "?namespace=team"), Surroundings(ROOT))
        assert list(inside.keys()) == []
        assert inside.state(key.key) is KeyState.DESTROYED
        made = inside.make_key(fresh(), 3072)
        assert kms.state(made.key) is KeyState.DESTROYED

    def test_without_a_token_nothing_is_asked(
        self, server: OpenBao, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("VAULT_TOKEN", "root-of-tests")
        with pytest.raises(errors.RefusedError, match="token"):
            list(server.kms(Credentials()).keys())

    def test_our_log_has_nothing_of_what_was_decrypted(
        self, kms: Kms, key: KmsKey, tmp_path: Path
    ) -> None:
        handler = logs.to_file(tmp_path / "log", "debug")
        try:
            logs.debug("begin")
            kms.decrypt(key.key, seal(key, b"plainly-secret"), key.oaep)
        finally:
            logs.stop(handler)
        assert len((tmp_path / "log").read_text().splitlines()) == 1


@pytest.fixture(scope="module")
def role(server: OpenBao) -> Credentials:
    server.write("sys/auth/approle", type="approle")
    policy = server.policy('path "transit/keys/strongroom-*" { capabilities = ["read"] }')
    server.write("auth/approle/role/backup", token_policies=[policy], token_num_uses=2)
    secret = server.write("auth/approle/role/backup/secret-id")["data"]["secret_id"]
    account = server.read("auth/approle/role/backup/role-id")["role_id"]
    return Credentials(account=account, secret=SecretBytes(secret.encode()))


class TestAppRole:
    def test_it_logs_in_and_again_when_its_token_is_spent(
        self, server: OpenBao, kms: TransitKms, role: Credentials
    ) -> None:
        name = fresh()
        key = kms.make_key(name, 3072)
        ours = server.kms(role)
        assert [ours.newest_key(name) for _ in range(5)] == [key] * 5

    def test_what_its_policy_lacks_is_named(
        self, server: OpenBao, kms: TransitKms, role: Credentials
    ) -> None:
        key = kms.make_key(fresh(), 3072)
        ours = server.kms(role)
        for _ in range(2):
            with pytest.raises(errors.RefusedError) as caught:
                ours.decrypt(key.key, seal(key, b"secret"), key.oaep)
            name = key.key.partition(":")[0]
            assert caught.value.fields["right"] == f"update transit/decrypt/{name}"

    def test_a_wrong_secret_id_is_refused(self, server: OpenBao, role: Credentials) -> None:
        ours = server.kms(Credentials(account=role.account, secret=SecretBytes(b"guessed")))
        with pytest.raises(errors.RefusedError) as caught:
            ours.state("strongroom-test:1")
        assert "guessed" not in str(caught.value)


class TestThePoliciesOfTheDocument:
    """Each suffices for what the page says of it, and allows no more of what matters."""

    @pytest.fixture
    def policies(self) -> list[str]:
        return re.findall(r"```hcl\n(.*?)```", PAGE.read_text(), re.DOTALL)

    @pytest.fixture
    def made(self, kms: TransitKms) -> KmsKey:
        return kms.make_key(fresh(), 3072)

    def test_backups_read_public_halves_and_open_nothing(
        self, server: OpenBao, policies: list[str], made: KmsKey
    ) -> None:
        ours = server.kms(server.token(policies[0]))
        name = made.key.partition(":")[0]
        assert ours.newest_key(name) == made
        assert ours.state(made.key) is KeyState.ACTIVE
        for refused in (
            lambda: ours.decrypt(made.key, seal(made, b"secret"), made.oaep),
            lambda: ours.rotate(name, 3072),
            lambda: list(ours.keys()),
        ):
            with pytest.raises(errors.RefusedError):
                refused()

    def test_restores_open_and_find_and_check(
        self, server: OpenBao, kms: TransitKms, policies: list[str], made: KmsKey
    ) -> None:
        vouching = kms.make_vouching_key(VOUCHING_PREFIX + random.token(4).hex())
        mac = kms.mac(vouching, b"m")
        kms.make_key(f"other-{random.token(4).hex()}", 3072)  # listed, and not ours to read
        ours = server.kms(server.token(policies[1]))
        assert ours.decrypt(made.key, seal(made, b"secret"), made.oaep) == b"secret"
        assert made.key in set(ours.keys())
        assert vouching in set(ours.vouching_keys())
        assert ours.verify_mac(vouching, b"m", mac)
        assert not ours.verify_mac(vouching, b"n", mac)
        with pytest.raises(errors.RefusedError, match="make a MAC"):
            ours.mac(vouching, b"m")
        with pytest.raises(errors.RefusedError):
            ours.make_key(fresh(), 3072)

    def test_setting_up_makes_and_rotates_and_destroys_nothing(
        self, server: OpenBao, policies: list[str]
    ) -> None:
        credentials = server.token(policies[2])
        ours = server.kms(credentials)
        name = fresh()
        first = ours.make_key(name, 3072)
        assert ours.rotate(name, 3072).key != first.key
        vouching = ours.make_vouching_key(VOUCHING_PREFIX + random.token(4).hex())
        assert len(ours.mac(vouching, b"m")) == 32
        with pytest.raises(errors.RefusedError):
            ours.decrypt(first.key, seal(first, b"secret"), first.oaep)
        with pytest.raises(errors.RefusedError):
            ours._ask("change it", "post", f"keys/{name}/config", {"deletion_allowed": True})

    def test_keys_of_which_none_may_be_read_are_refused(
        self, server: OpenBao, made: KmsKey
    ) -> None:
        ours = server.kms(server.token('path "transit/keys" { capabilities = ["list"] }'))
        with pytest.raises(errors.RefusedError) as caught:
            list(ours.keys())
        assert str(caught.value.fields["right"]).startswith("read transit/keys/")


def test_the_next_endpoint_is_asked_where_the_first_is_dead(server: OpenBao) -> None:
    kms = open_kms([nowhere_address(), server.address], Surroundings(ROOT))
    key = kms.make_key(fresh(), 3072)
    assert kms.decrypt(key.key, seal(key, b"secret"), key.oaep) == b"secret"
    kms.close()


def test_a_server_that_is_sealed_or_stops_between_two_calls_is_away(tmp_path: Path) -> None:
    with openbao(tmp_path) as server:
        kms = server.kms(ROOT)
        key = kms.make_key(fresh(), 3072)
        server.write("sys/seal")
        with pytest.raises(errors.KmsUnavailableError) as caught:
            kms.decrypt(key.key, seal(key, b"secret"), key.oaep)
        assert "unseal" in (caught.value.hint or "")
        stop(server.process)
        with pytest.raises(errors.KmsUnavailableError):
            kms.decrypt(key.key, seal(key, b"secret"), key.oaep)


def test_a_server_is_asked_only_if_an_authority_that_was_named_vouches_for_it(
    tmp_path: Path,
) -> None:
    with openbao_with_tls(tmp_path) as (address, authority):
        named = Credentials(secret=ROOT.secret, authorities=authority)
        with pytest.raises(errors.RefusedError, match="no handler for route"):
            TransitKms(parse(address), Surroundings(named)).state("strongroom-test:1")
        with pytest.raises(errors.KmsUnavailableError, match="certificate") as caught:
            TransitKms(parse(address), Surroundings(ROOT)).state("strongroom-test:1")
        assert "authority" in (caught.value.hint or "")
