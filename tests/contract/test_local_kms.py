"""The KMS in memory keeps the contract, alone and behind a failover."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from strongroom.kms.base import KeyState
from strongroom.kms.failover import FailoverKms
from strongroom.testing.kms_contract import KmsContract
from strongroom.testing.local_kms import LocalKms, LocalKmsServer

if TYPE_CHECKING:
    from strongroom.kms.base import Kms, KmsKey


class LocalAdministrator:
    def __init__(self, server: LocalKmsServer) -> None:
        self.server = server

    def rotate(self, name: str) -> None:
        self.server.make(name, 3072)

    def disable(self, key: str) -> None:
        self.server.set_state(key, KeyState.DISABLED)

    def enable(self, key: str) -> None:
        self.server.set_state(key, KeyState.ACTIVE)

    def destroy(self, key: str) -> None:
        self.server.set_state(key, KeyState.DESTROYED)


class TestLocalKms(KmsContract):
    @pytest.fixture
    def server(self) -> LocalKmsServer:
        return LocalKmsServer()

    @pytest.fixture
    def kms(self, server: LocalKmsServer) -> Kms:
        return LocalKms(server)

    @pytest.fixture
    def administrator(self, server: LocalKmsServer) -> LocalAdministrator:
        return LocalAdministrator(server)

    @pytest.fixture
    def stranger(self) -> Kms:
        return LocalKms(LocalKmsServer(may=False))

    @pytest.fixture
    def nowhere(self) -> Kms:
        kms = LocalKms(LocalKmsServer())
        kms.away = True
        return kms

    def absent_key(self, key: KmsKey) -> str:
        return key.key + "0"


class TestLocalKmsWithoutMacs(TestLocalKms):
    @pytest.fixture
    def server(self) -> LocalKmsServer:
        return LocalKmsServer(can_vouch=False)


class TestFailoverWithItsFirstEndpointAway(TestLocalKms):
    @pytest.fixture
    def kms(self, server: LocalKmsServer) -> Kms:
        away = LocalKms(server, "local:away")
        away.away = True
        return FailoverKms([away, LocalKms(server, "local:here")])

    @pytest.fixture
    def nowhere(self) -> Kms:
        kms = [LocalKms(LocalKmsServer(), f"local:{number}") for number in range(2)]
        for one in kms:
            one.away = True
        return FailoverKms(kms)

    def test_every_endpoint_that_was_tried_is_named(self, nowhere: Kms) -> None:
        from strongroom.errors import KmsUnavailableError

        with pytest.raises(KmsUnavailableError, match=r"local:0.*local:1"):
            nowhere.state("key")
