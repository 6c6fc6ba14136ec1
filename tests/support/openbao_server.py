"""The transit engine, as OpenBao's own server has it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

from hvac.adapters import JSONAdapter

from strongroom.crypto import random
from strongroom.crypto.keys import SecretBytes
from strongroom.kms.base import Credentials, Surroundings
from strongroom.kms.location import parse
from strongroom.kms.transit import TransitKms
from tests.support.server_process import answers, free_ports, running

ROOT_TOKEN = "root-of-tests"


class OpenBao:
    def __init__(self, port: int, process: Popen[bytes]) -> None:
        self.process = process
        self.address = f"transit+http://127.0.0.1:{port}/transit"
        self._adapter = JSONAdapter(base_uri=f"http://127.0.0.1:{port}", token=ROOT_TOKEN)

    def write(self, path: str, **body: object) -> Any:
        return self._adapter.post(f"/v1/{path}", json=body)

    def read(self, path: str) -> Any:
        return self._adapter.get(f"/v1/{path}")["data"]

    def list(self, path: str) -> list[str]:
        found: list[str] = self._adapter.list(f"/v1/{path}")["data"]["keys"]
        return found

    def delete(self, path: str) -> None:
        self._adapter.delete(f"/v1/{path}")

    def token(self, policy: str) -> Credentials:
        """Return the credentials of somebody to whom a policy applies and no other."""
        name = self.policy(policy)
        made = self.write("auth/token/create", policies=[name], no_default_policy=True)
        return token(made["auth"]["client_token"])

    def policy(self, text: str) -> str:
        name = f"policy-{random.token(4).hex()}"
        self.write(f"sys/policies/acl/{name}", policy=text)
        return name

    def kms(self, credentials: Credentials) -> TransitKms:
        return TransitKms(parse(self.address), Surroundings(credentials))


def token(text: str) -> Credentials:
    return Credentials(secret=SecretBytes(text.encode()))


ROOT = token(ROOT_TOKEN)


class TransitAdministrator:
    def __init__(self, server: OpenBao) -> None:
        self.server = server

    def rotate(self, name: str) -> None:
        self.server.write(f"transit/keys/{name}/rotate")

    def disable(self, key: str) -> None:
        name, _, version = key.partition(":")
        if self.server.read(f"transit/keys/{name}")["latest_version"] == int(version):
            self.rotate(name)
        self._open_from(name, int(version) + 1)

    def enable(self, key: str) -> None:
        name, _, version = key.partition(":")
        self._open_from(name, int(version))

    def destroy(self, key: str) -> None:
        name = key.partition(":")[0]
        self.server.write(f"transit/keys/{name}/config", deletion_allowed=True)
        self.server.delete(f"transit/keys/{name}")

    def _open_from(self, name: str, version: int) -> None:
        self.server.write(f"transit/keys/{name}/config", min_decryption_version=version)


@contextmanager
def openbao(folder: Path) -> Iterator[OpenBao]:
    port = free_ports(2)  # it takes the next one for its cluster
    command = [
        str(Path(sys.executable).with_name("bao")),
        "server",
        "-dev",
        "-dev-no-store-token",
        f"-dev-root-token-id={ROOT_TOKEN}",
        f"-dev-listen-address=127.0.0.1:{port}",
    ]
    health = f"http://127.0.0.1:{port}/v1/sys/health"
    with running(command, folder, lambda: answers(health)) as process:
        server = OpenBao(port, process)
        server.write("sys/mounts/transit", type="transit")
        yield server


@contextmanager
def openbao_with_tls(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Run a server with an authority of its own; yield its address and the authority's PEM."""
    port = free_ports(2)
    authority = folder / "vault-ca.pem"
    command = [
        str(Path(sys.executable).with_name("bao")),
        "server",
        "-dev-tls",
        f"-dev-tls-cert-dir={folder}",
        "-dev-no-store-token",
        f"-dev-root-token-id={ROOT_TOKEN}",
        f"-dev-listen-address=127.0.0.1:{port}",
    ]

    def ready() -> bool:
        return "Root Token" in (folder / "server.log").read_text() and authority.exists()

    with running(command, folder, ready):
        yield f"transit+https://127.0.0.1:{port}/absent", authority.read_bytes()
