"""AWS KMS keeps the contract; ministack plays it, and checks signatures and policies."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TypeAlias, cast

import pytest

from strongroom import errors, logs
from strongroom.crypto import random, rsa
from strongroom.crypto.keys import SecretBytes
from strongroom.kms.aws import TAG, AwsKms
from strongroom.kms.base import (
    VOUCHING_PREFIX,
    Credentials,
    KeyState,
    Kms,
    KmsKey,
    Surroundings,
)
from strongroom.kms.location import open_kms, parse
from strongroom.testing.kms_contract import KmsContract
from tests.support.ministack_server import AwsAdministrator, Ministack, ministack
from tests.support.server_process import free_ports

Policy: TypeAlias = dict[str, list[dict[str, object]]]
PAGE = Path(__file__).parents[2] / "docs/operations/kms-aws.md"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ministack(tmp_path_factory.mktemp("ministack")) as running:
        yield running


@pytest.fixture(scope="module")
def owner(server: Ministack) -> Credentials:
    return server.user(
        {"Statement": [{"Effect": "Allow", "Action": "kms:*", "Resource": "*"}]},
    )


def seal(key: KmsKey, text: bytes) -> bytes:
    return rsa.PublicKey(key.public).encrypt(text, key.oaep)


def fresh() -> str:
    return f"strongroom-nightly-{random.token(4).hex()}"


class TestAwsKms(KmsContract):
    lists_other_kinds = True

    @pytest.fixture
    def kms(self, server: Ministack, owner: Credentials) -> Kms:
        return server.kms(owner)

    @pytest.fixture
    def administrator(self, server: Ministack) -> AwsAdministrator:
        return AwsAdministrator(server.client("kms"))

    @pytest.fixture
    def stranger(self, server: Ministack) -> Kms:
        return server.kms(Credentials(account="AKIASTRANGER", secret=SecretBytes(b"guessed")))

    @pytest.fixture
    def nowhere(self, owner: Credentials) -> Kms:
        url = f"aws://eu-central-1?endpoint=http://127.0.0.1:{free_ports()}"
        return AwsKms(parse(url), Surroundings(owner))

    def absent_key(self, key: KmsKey) -> str:
        return "00000000" + key.key[8:]

    def test_the_administrator_sees_name_and_purpose(
        self, kms: Kms, administrator: AwsAdministrator
    ) -> None:
        name = fresh() + ".web"
        key = kms.make_key(name, 3072)
        found = administrator.client.describe_key(KeyId=f"alias/{name.replace('.', '-')}")
        assert found["KeyMetadata"]["KeyId"] == key.key
        assert name in found["KeyMetadata"]["Description"]
        tags = administrator.client.list_resource_tags(KeyId=key.key)["Tags"]
        assert tags == [{"TagKey": TAG, "TagValue": name}]

    def test_a_name_that_is_taken_gets_the_next_key(self, kms: Kms) -> None:
        name = fresh()
        first = kms.make_key(name, 3072)
        second = kms.make_key(name, 3072)
        assert second.key != first.key
        assert kms.newest_key(name) == second

    def test_a_name_without_a_key_is_not_rotated(self, kms: Kms) -> None:
        with pytest.raises(errors.NotFoundError):
            kms.rotate(fresh(), 3072)

    def test_a_deletion_that_is_scheduled_can_be_taken_back(
        self, kms: Kms, key: KmsKey, administrator: AwsAdministrator
    ) -> None:
        administrator.destroy(key.key)
        assert kms.state(key.key) is KeyState.CONDEMNED
        administrator.client.cancel_key_deletion(KeyId=key.key)
        assert kms.state(key.key) is KeyState.DISABLED

    def test_nothing_is_sealed_to_a_newest_key_that_opens_nothing(
        self, kms: Kms, administrator: AwsAdministrator
    ) -> None:
        name = fresh()
        administrator.disable(kms.make_key(name, 3072).key)
        with pytest.raises(errors.NotFoundError, match="Disabled"):
            kms.newest_key(name)

    def test_nothing_is_sealed_to_a_key_of_another_kind(
        self, kms: Kms, administrator: AwsAdministrator
    ) -> None:
        name = fresh()
        made = administrator.client.create_key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")
        administrator.client.create_alias(
            AliasName=f"alias/{name}", TargetKeyId=made["KeyMetadata"]["KeyId"]
        )
        with pytest.raises(errors.RefusedError, match="RSA_2048"):
            kms.newest_key(name)

    def test_a_key_that_cannot_get_its_alias_is_named(self, server: Ministack) -> None:
        allowed = {"Effect": "Allow", "Action": ["kms:CreateKey", "kms:TagResource"]}
        kms = server.kms(server.user({"Statement": [allowed | {"Resource": "*"}]}))
        with pytest.raises(errors.RefusedError, match=r"key [0-9a-f-]{36} was made") as caught:
            kms.make_key(fresh(), 3072)
        assert caught.value.fields["right"] == "kms:CreateAlias"
        assert "kms:CreateAlias" in (caught.value.hint or "")

    def test_a_wrong_secret_is_refused(self, server: Ministack, owner: Credentials) -> None:
        kms = server.kms(Credentials(account=owner.account, secret=SecretBytes(b"guessed")))
        with pytest.raises(errors.RefusedError) as caught:
            list(kms.keys())
        assert "access key" in (caught.value.hint or "")
        assert "guessed" not in str(caught.value)

    def test_the_next_endpoint_is_asked_where_the_first_is_dead(
        self, server: Ministack, owner: Credentials
    ) -> None:
        dead = f"aws://eu-central-1?endpoint=http://127.0.0.1:{free_ports()}"
        kms = open_kms([dead, server.address], Surroundings(owner))
        key = kms.make_key(fresh(), 3072)
        assert kms.decrypt(key.key, seal(key, b"secret"), key.oaep) == b"secret"

    def test_our_log_has_nothing_of_what_was_decrypted(
        self, kms: Kms, key: KmsKey, owner: Credentials, tmp_path: Path
    ) -> None:
        handler = logs.to_file(tmp_path / "log", "debug")
        try:
            logs.debug("begin")
            kms.decrypt(key.key, seal(key, b"plainly-secret"), key.oaep)
        finally:
            logs.stop(handler)
        assert len((tmp_path / "log").read_text().splitlines()) == 1


def as_ministack_reads(
    policy: Policy,
) -> Policy:
    """Return a policy with what ministack does otherwise than AWS.

    AWS asks about the key that an alias leads to, ministack about the alias; and of a request
    that makes an alias it sees neither alias nor key.
    """
    for statement in policy["Statement"]:
        if "kms:CreateAlias" in cast("list[str]", statement["Action"]):
            assert statement["Resource"] != "*"
            statement["Resource"] = "*"
    by_alias = {
        "Effect": "Allow",
        "Action": "kms:DescribeKey",
        "Resource": "arn:aws:kms:*:*:alias/*",
    }
    policy["Statement"].append(by_alias)
    return policy


class TestThePoliciesOfTheDocument:
    """Each suffices for what the page says of it, and allows no more of what matters."""

    @pytest.fixture
    def policies(self) -> list[Policy]:
        found = re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
        return [as_ministack_reads(json.loads(one)) for one in found]

    @pytest.fixture
    def name(self) -> str:
        return fresh()

    @pytest.fixture
    def made(self, server: Ministack, owner: Credentials, name: str) -> KmsKey:
        return server.kms(owner).make_key(name, 3072)

    def test_backups_read_public_halves_and_open_nothing(
        self,
        server: Ministack,
        policies: list[Policy],
        made: KmsKey,
        name: str,
    ) -> None:
        kms = server.kms(server.user(policies[0]))
        assert kms.newest_key(name) == made
        assert kms.state(made.key) is KeyState.ACTIVE
        for refused in (
            lambda: kms.decrypt(made.key, seal(made, b"secret"), made.oaep),
            lambda: kms.make_key(name, 3072),
        ):
            with pytest.raises(errors.RefusedError):
                refused()

    def test_restores_open_and_find_and_check(
        self,
        server: Ministack,
        owner: Credentials,
        policies: list[Policy],
        made: KmsKey,
    ) -> None:
        vouching = server.kms(owner).make_vouching_key(VOUCHING_PREFIX + random.token(4).hex())
        mac = server.kms(owner).mac(vouching, b"m")
        kms = server.kms(server.user(policies[1]))
        assert kms.decrypt(made.key, seal(made, b"secret"), made.oaep) == b"secret"
        assert made.key in set(kms.keys())
        assert vouching in set(kms.vouching_keys())
        assert kms.verify_mac(vouching, b"m", mac)
        assert not kms.verify_mac(vouching, b"n", mac)
        with pytest.raises(errors.RefusedError, match="kms:GenerateMac"):
            kms.mac(vouching, b"m")
        with pytest.raises(errors.RefusedError):
            kms.make_key(fresh(), 3072)

    def test_keys_without_our_tag_stay_closed(
        self, server: Ministack, policies: list[Policy], made: KmsKey
    ) -> None:
        other = server.client("kms").create_key(KeySpec="RSA_3072", KeyUsage="ENCRYPT_DECRYPT")
        kms = server.kms(server.user(policies[1]))
        with pytest.raises(errors.RefusedError, match="kms:Decrypt"):
            kms.decrypt(other["KeyMetadata"]["KeyId"], seal(made, b"secret"), made.oaep)

    def test_setting_up_makes_and_rotates(
        self, server: Ministack, policies: list[Policy], name: str
    ) -> None:
        kms = server.kms(server.user(policies[2]))
        first = kms.make_key(name, 3072)
        assert kms.rotate(name, 3072).key != first.key
        vouching = kms.make_vouching_key(VOUCHING_PREFIX + random.token(4).hex())
        assert len(kms.mac(vouching, b"m")) == 32
        with pytest.raises(errors.RefusedError):
            kms.decrypt(first.key, seal(first, b"secret"), first.oaep)
