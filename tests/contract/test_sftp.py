"""A folder of OpenSSH's own server: the contract, and what else a server on a network does."""

from __future__ import annotations

import gc
import getpass
import os
import shutil
import stat
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from strongroom import errors
from strongroom.clock import SystemClock
from strongroom.storage.base import Composed, ObjectInfo, ObjectRange
from strongroom.storage.retrying import RetryingStorage
from strongroom.storage.sftp import SftpStorage
from strongroom.storage.sftp_place import parse
from strongroom.testing.storage_contract import StorageContract
from tests.support.sshd import Sshd, prepared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.storage.base import Storage

MIB = 1 << 20


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    server = prepared(tmp_path_factory.mktemp("sshd"))
    with server.at_home(), server.running():
        yield server


@pytest.fixture(scope="module")
def connected(sshd: Sshd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpStorage]:
    """One connection for all of the contract: a login takes longer than most of its tests."""
    storage = at(sshd, tmp_path_factory.mktemp("root") / "storage")
    yield storage
    storage.close()


def at(server: Sshd, path: Path | str) -> SftpStorage:
    return SftpStorage(parse(server.location(path)))


class TestSftpStorage(StorageContract):
    @pytest.fixture
    def storage(self, connected: SftpStorage) -> Iterator[Storage]:
        connected.make_root()
        yield connected
        shutil.rmtree(parse(connected.location).path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def storage(sshd: Sshd, root: Path) -> Iterator[SftpStorage]:
    storage = at(sshd, root)
    yield storage
    storage.close()


def files_under(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


# --- what lies in the folder ----------------------------------------------------------------


def test_an_object_is_a_file_that_only_its_owner_reads(storage: SftpStorage, root: Path) -> None:
    storage.put("packs/00/a", b"data")

    assert (root / "packs/00/a").read_bytes() == b"data"
    assert stat.S_IMODE((root / "packs/00/a").stat().st_mode) == 0o600
    for folder in ("packs", "packs/00", ".tmp"):
        assert stat.S_IMODE((root / folder).stat().st_mode) == 0o700
    assert files_under(root) == ["packs/00/a"]


def test_links_and_foreign_files_are_not_objects(storage: SftpStorage, root: Path) -> None:
    (root / "outside").mkdir()
    (root / "outside" / "Secret").write_bytes(b"secret")
    (root / "a").symlink_to(root / "outside" / "Secret")
    (root / ".hidden").write_bytes(b"")
    os.mkfifo(root / "pipe")

    assert [*storage.list()] == []
    for key in ("a", "pipe", "outside"):
        assert not storage.exists(key)
        with pytest.raises(errors.ObjectMissingError):
            storage.get(key)
    with pytest.raises(errors.RefusedError, match="does not give the file its name"):
        storage.put("a", b"mine")
    assert (root / "outside" / "Secret").read_bytes() == b"secret"
    assert files_under(root / ".tmp") == []


def test_a_root_that_is_not_there_is_unavailable_and_never_made(sshd: Sshd, root: Path) -> None:
    storage = at(sshd, root / "gone")
    for call in (
        lambda: storage.put("a", b"1"),
        lambda: storage.compose("a", [b"1"]),
        lambda: storage.get("a"),
        lambda: storage.size("a"),
        lambda: storage.exists("a"),
        lambda: [*storage.list()],
        lambda: storage.delete("a"),
        lambda: storage.free_bytes(),
    ):
        with pytest.raises(errors.StorageUnavailableError, match="there is no folder sftp://"):
            call()

    assert not (root / "gone").exists()
    storage.make_root()
    storage.make_root()
    storage.put("a", b"1")
    storage.close()


def test_a_root_below_a_file_cannot_be_made(sshd: Sshd, root: Path) -> None:
    (root / "file").write_bytes(b"")
    storage = at(sshd, root / "file" / "inner")

    with pytest.raises(errors.RefusedError, match="cannot make the folder of sftp://"):
        storage.make_root()

    storage.close()


def test_only_old_leftovers_are_swept(sshd: Sshd, root: Path) -> None:
    (root / ".tmp").mkdir()
    day = 24 * 3600
    for name, age in (("old", day + 60), ("young", day - 60)):
        (root / ".tmp" / name).write_bytes(b"left")
        os.utime(root / ".tmp" / name, (time.time() - age,) * 2)
    storage = at(sshd, root)

    storage.put("a", b"1")

    assert files_under(root) == [".tmp/young", "a"]
    storage.close()


# --- a server that says no ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("denied", "what"), [("hardlink", "link a file"), ("fsync", "sync a file")]
)
def test_a_server_that_cannot_keep_an_object_whole_is_refused(
    sshd: Sshd, root: Path, denied: str, what: str
) -> None:
    with sshd.another(subsystem=f"internal-sftp -P {denied}") as server:
        storage = at(server, root)

        with pytest.raises(errors.RefusedError, match=f"the server cannot {what}"):
            storage.put("a", b"1")

        assert files_under(root) == []
        storage.close()


def test_a_server_that_neither_copies_nor_measures_serves_too(sshd: Sshd, root: Path) -> None:
    with sshd.another(subsystem="internal-sftp -P copy-data,statvfs") as server:
        storage = at(server, root)
        storage.put("a", b"0123")

        assert storage.compose("b", [ObjectRange("a", 1), b"4"]) == Composed(1, 0, 3)
        assert storage.get("b") == b"1234"
        assert storage.free_bytes() is None
        storage.close()


def test_a_full_disk_leaves_whole_objects_and_nothing_else(sshd: Sshd, root: Path) -> None:
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(root)]
    subprocess.run(command, check=True)
    try:
        storage = at(sshd, root)
        storage.put("a", bytes(MIB))

        with pytest.raises(errors.StorageFullError, match="cannot write b to sftp://"):
            storage.put("b", bytes(2 * MIB))
        with pytest.raises(errors.StorageFullError):
            storage.compose("b", [ObjectRange("a"), ObjectRange("a")])

        assert files_under(root) == ["a"]
        storage.put("b", bytes(MIB // 2))
        storage.close()
    finally:
        subprocess.run(["umount", str(root)], check=True)


def test_a_server_without_sftp_is_refused(sshd: Sshd, root: Path) -> None:
    with sshd.another(subsystem="/bin/false") as server:
        storage = at(server, root)
        with pytest.raises(errors.StrongroomError, match="sftp://"):
            storage.exists("a")
        storage.close()


# --- who is let in, and by whom -------------------------------------------------------------


def test_a_server_whose_key_is_not_known_is_refused(sshd: Sshd, root: Path) -> None:
    with sshd.another() as server:
        (server.home / ".ssh" / "known_hosts").unlink()
        storage = at(server, root)

        with pytest.raises(errors.RefusedError, match=r"is not known: .*127\.0\.0\.1\]") as caught:
            storage.exists("a")

        assert f"'ssh -p {server.port} {getpass.getuser()}@127.0.0.1 exit'" in caught.value.hint
        server.trust()
        assert not storage.exists("a")
        storage.close()


def test_a_server_whose_key_has_changed_is_refused(sshd: Sshd, root: Path) -> None:
    with sshd.another() as server:
        server.trust("other_key")
        storage = at(server, root)

        with pytest.raises(errors.RefusedError, match="is another than the one known") as caught:
            storage.exists("a")

        assert f"ssh-keygen -R '[127.0.0.1]:{server.port}'" in caught.value.hint
        storage.close()


def test_a_server_is_not_believed_without_a_check_of_its_key(sshd: Sshd, root: Path) -> None:
    with sshd.another() as server:
        (server.home / ".ssh" / "config").write_text("UserKnownHostsFile none\n")
        storage = at(server, root)

        with pytest.raises(errors.RefusedError, match="checked against nothing"):
            storage.exists("a")

        storage.close()


def test_a_user_whose_key_is_not_accepted_is_refused(sshd: Sshd, root: Path) -> None:
    with sshd.another() as server:
        (server.home / ".ssh" / "id_ed25519").unlink()
        storage = at(server, root)

        with pytest.raises(errors.RefusedError, match="does not let us in as") as caught:
            storage.exists("a")

        assert "ssh-agent" in (caught.value.hint or "")
        storage.close()


def test_host_user_port_and_key_come_from_the_configuration_too(sshd: Sshd, root: Path) -> None:
    with sshd.another(subsystem=f"internal-sftp -d {root.parent}") as server:
        ssh = server.home / ".ssh"
        (ssh / "id_ed25519").rename(ssh / "of_its_own")
        (ssh / "config").write_text(
            f"Host vault\n HostName 127.0.0.1\n Port {server.port}\n User {getpass.getuser()}\n"
            f" IdentityFile {ssh}/of_its_own\n UserKnownHostsFile {ssh}/known\n"
        )
        (ssh / "known_hosts").rename(ssh / "known")
        storage = SftpStorage(parse("sftp://vault/~/root"))

        storage.put("a", b"1")

        assert files_under(root) == ["a"]
        storage.close()


def test_an_agent_lets_us_in(sshd: Sshd, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sshd.another() as server:
        key = server.home / ".ssh" / "id_ed25519"
        socket = root / "agent"
        command = ["ssh-agent", "-D", "-a", str(socket)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as agent:
            try:
                while not socket.exists():
                    time.sleep(0.01)
                monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
                subprocess.run(["ssh-add", "-q", str(key)], check=True)
                key.unlink()
                storage = at(server, root)
                assert not storage.exists("a")
                storage.close()
            finally:
                agent.terminate()


# --- a network that breaks ------------------------------------------------------------------


def test_a_server_that_does_not_run_is_unavailable(sshd: Sshd, root: Path) -> None:
    with sshd.another() as server:
        pass
    storage = at(server, root)

    with pytest.raises(errors.StorageUnavailableError, match="cannot reach sftp://"):
        storage.put("a", b"1")

    storage.close()


def test_a_buffer_may_be_used_again_after_a_put_that_failed(sshd: Sshd, root: Path) -> None:
    with sshd.another() as server:
        storage = at(server, root)
        buffer = bytearray(64 * MIB)
        failed: list[errors.StrongroomError] = []

        def put() -> None:
            with memoryview(buffer) as view:
                try:
                    storage.put("a", view)
                except errors.StrongroomError as error:
                    failed.append(error)  # its traceback keeps whatever the frames kept

        thread = threading.Thread(target=put)
        thread.start()
        while not [path for path in root.glob(".tmp/*") if path.stat().st_size]:
            assert thread.is_alive()
        server.kill()
        thread.join()

        assert [error.code for error in failed] == ["storage-unavailable"]
        buffer.extend(b"more")
        storage.close()


def test_after_a_lost_connection_the_next_call_connects_again(sshd: Sshd, root: Path) -> None:
    with sshd.another() as server:
        storage = at(server, root)
        storage.put("a", b"1")
        server.kill()
        with pytest.raises(errors.StorageUnavailableError):
            storage.get("a")
        with server.running():
            assert storage.get("a") == b"1"
            storage.put("b", b"2")
            assert [*storage.list()] == [ObjectInfo("a", 1), ObjectInfo("b", 1)]
        storage.close()


def test_what_waits_on_a_lost_connection_is_told_and_leaves_whole_objects(
    sshd: Sshd, root: Path
) -> None:
    """Four threads write while the server dies and comes back; each repeats what it was told."""
    with sshd.another() as server:
        inner = at(server, root)
        storage = RetryingStorage(inner, SystemClock(), jitter=lambda: 0.0, waits=(0.2,) * 100)
        half = threading.Semaphore(0)
        lost: list[errors.StrongroomError] = []

        def write(number: int) -> None:
            try:
                for turn in range(20):
                    storage.put(f"{number}/{turn:02}", bytes([number]) * (MIB // 4))
                    half.release()
            except errors.StrongroomError as error:
                lost.append(error)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            half.acquire()
        server.kill()
        with server.running():
            for thread in threads:
                thread.join()
            assert lost == []
            assert [*inner.list()] == [
                ObjectInfo(f"{number}/{turn:02}", MIB // 4)
                for number in range(4)
                for turn in range(20)
            ]
        inner.close()
    for path in root.glob("[0-9]/*"):
        assert path.read_bytes() == bytes([int(path.parent.name)]) * (MIB // 4)


def test_a_storage_that_is_dropped_ends_its_connection(sshd: Sshd, root: Path) -> None:
    storage = at(sshd, root)
    assert not storage.exists("a")
    speaking = [thread for thread in threading.enumerate() if thread.name == "sftp"]

    del storage
    gc.collect()

    left = [thread for thread in threading.enumerate() if thread.name == "sftp"]
    assert len(left) == len(speaking) - 1
