"""A folder of OpenSSH's own server."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from strongroom.storage.sftp import SftpStorage
from strongroom.storage.sftp_place import parse
from strongroom.testing.storage_contract import StorageContract
from tests.support.sshd import Sshd, prepared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.storage.base import Storage


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    server = prepared(tmp_path_factory.mktemp("sshd"))
    with pytest.MonkeyPatch.context() as patch, server.running():
        patch.setenv("HOME", str(server.home))
        patch.delenv("SSH_AUTH_SOCK", raising=False)
        yield server


@pytest.fixture(scope="module")
def connected(sshd: Sshd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpStorage]:
    """One connection for all tests: a login takes longer than most of them."""
    storage = SftpStorage(parse(sshd.location(tmp_path_factory.mktemp("root") / "storage")))
    yield storage
    storage.close()


@pytest.fixture
def storage(connected: SftpStorage) -> Iterator[Storage]:
    connected.make_root()
    yield connected
    shutil.rmtree(parse(connected.location).path)


class TestSftpStorage(StorageContract):
    @pytest.fixture
    def storage(self, connected: SftpStorage) -> Iterator[Storage]:
        connected.make_root()
        yield connected
        shutil.rmtree(parse(connected.location).path)
