"""OpenSSH's own server, on a free port of loopback, with a host key and a user key of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.support.server_process import free_ports, running, stop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/{host_key}
PidFile {folder}/sshd.pid
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
    _stack: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def location(self, path: Path | str) -> str:
        return f"sftp://{getpass.getuser()}@127.0.0.1:{self.port}{path}"

    @contextmanager
    def running(self) -> Iterator[None]:
        config = self.folder / "sshd.conf"
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
            self._stack.append(process)
            try:
                yield
            finally:
                self._stack.pop()

    def kill(self) -> None:
        """End the server and every connection to it, as a power cut would."""
        process = self._stack[-1]
        os.killpg(process.pid, 9)
        for line in subprocess.run(
            ["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True
        ).stdout.splitlines():
            pid, parent = map(int, line.split())
            if parent == process.pid:
                os.kill(pid, 9)
        process.wait()

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


__all__ = ["Sshd", "prepared", "stop"]
