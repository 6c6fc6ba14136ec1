"""OpenSSH's own server, on a free port of loopback, with a host key and a user key of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from tests.support.server_process import free_ports, running

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/{host_key}
PidFile none
AuthorizedKeysFile {folder}/authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
MaxStartups 100
Subsystem sftp {subsystem}
"""


@dataclass
class Sshd:
    """A server that may be stopped and started, and a home whose `~/.ssh` is let in there."""

    folder: Path
    home: Path
    port: int
    subsystem: str = "internal-sftp"
    host_key: str = "host_key"
    _process: subprocess.Popen[bytes] | None = None

    def location(self, path: Path | str) -> str:
        return f"sftp://{getpass.getuser()}@127.0.0.1:{self.port}{path}"

    @contextmanager
    def running(self) -> Iterator[None]:
        config = self.folder / f"sshd-{self.port}.conf"
        config.write_text(
            _CONFIG.format(
                port=self.port,
                folder=self.folder,
                host_key=self.host_key,
                subsystem=self.subsystem,
            )
        )
        # It goes over to another process for each connection, and wants to be called by its path.
        command = [_program("sshd"), "-D", "-e", "-f", str(config)]
        with running(command, self.folder, self._answers) as process:
            self._process = process
            yield

    @contextmanager
    def at_home(self) -> Iterator[None]:
        """Have this process use the home's `~/.ssh`, and no agent."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HOME", str(self.home))
            patch.delenv("SSH_AUTH_SOCK", raising=False)
            yield

    @contextmanager
    def another(self, **changes: str) -> Iterator[Sshd]:
        """Run one more server, with changes and with a home like this one's, and be at home."""
        with TemporaryDirectory(dir=self.folder) as folder:
            home = Path(folder) / "home"
            shutil.copytree(self.home, home)
            server = replace(self, home=home, port=free_ports(), **changes)
            server.trust()
            with server.at_home(), server.running():
                yield server

    def kill(self) -> None:
        """End the server and every connection to it, as a power cut would."""
        assert self._process is not None
        # Those that serve a connection have left its group, and are still its children.
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        connections = [int(pid) for pid in children.read_text().split()]
        self._process.kill()
        for pid in connections:
            os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def trust(self, host_key: str | None = None) -> None:
        """Have the home know the server's key, as it is or another."""
        public = (self.folder / f"{host_key or self.host_key}.pub").read_text()
        known = self.home / ".ssh" / "known_hosts"
        known.write_text(f"[127.0.0.1]:{self.port} {public}")

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def prepared(folder: Path) -> Sshd:
    """Make keys and a home below `folder` for a server that does not run yet."""
    ssh = folder / "home" / ".ssh"
    ssh.mkdir(parents=True, mode=0o700)
    if os.geteuid() == 0:
        # Where a server gives up its rights; Debian's own makes it when it starts.
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    for path in (folder / "host_key", folder / "other_key", ssh / "id_ed25519"):
        subprocess.run(
            [_program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True
        )
    shutil.copy(ssh / "id_ed25519.pub", folder / "authorized_keys")
    server = Sshd(folder, folder / "home", free_ports())
    server.trust()
    return server


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise RuntimeError(f"{name} is not installed; scripts/setup.sh develop does it")
    return found
