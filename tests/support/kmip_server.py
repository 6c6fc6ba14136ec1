"""A KMIP server of our own, its certificates, and its administrator.

with KmipServer.running(folder, "decrypting") as server:
    kms = server.kms()
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kmip.core import enums
from kmip.pie.client import ProxyKmipClient

from strongroom.crypto.keys import SecretBytes
from strongroom.kms.base import Credentials, Surroundings
from strongroom.kms.kmip import KmipKms
from strongroom.kms.location import parse
from tests.support.certificates import Authority, Issued

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PROGRAM = Path(__file__).with_name("kmip_engine.py")
_CONFIGURATION = """[server]
hostname=127.0.0.1
port={port}
certificate_path={folder}/server.pem
key_path={folder}/server.key
ca_path={folder}/ca.pem
auth_suite=TLS1.2
policy_path={folder}/policy
enable_tls_client_auth=True
tls_cipher_suites=TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
logging_level=INFO
database_path={folder}/kmip.db
"""
NO_EXPORT = "no-export"
"""A policy of the server: nobody gets a private key."""
_POLICY_READ = f"Loading policy: {NO_EXPORT}".encode()
"""Another process of the server's reads it, and the port is open before."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class KmipServer:
    def __init__(self, folder: Path, engine: str) -> None:
        self.folder = folder
        self.authority = Authority()
        self.client = self.authority.issue("strongroom")
        self.port = free_port()
        self.engine = engine
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "policy").mkdir()
        (folder / "ca.pem").write_bytes(self.authority.pem)
        self.show(self.authority.issue("server", "127.0.0.1"))
        (folder / "server.conf").write_text(
            _CONFIGURATION.format(port=self.port, folder=folder), encoding="utf-8"
        )
        (folder / "client.pem").write_bytes(self.client.certificate)
        (folder / "client.key").write_bytes(self.client.key)
        operations = {"ALLOW_OWNER": ["LOCATE", "GET_ATTRIBUTES", "ACTIVATE", "REVOKE", "DESTROY"]}
        private = {one: allowed for allowed, names in operations.items() for one in names}
        rules = {"PRIVATE_KEY": private, "PUBLIC_KEY": private | {"GET": "ALLOW_ALL"}}
        policy = {NO_EXPORT: {"preset": rules}}
        (folder / "policy" / "policy.json").write_text(json.dumps(policy), encoding="utf-8")

    @classmethod
    @contextmanager
    def running(cls, folder: Path, engine: str = "stock") -> Iterator[KmipServer]:
        server = cls(folder, engine)
        server.start()
        try:
            yield server
        finally:
            server.stop()

    def show(self, certificate: Issued) -> None:
        """Have the server show a certificate from its next start on."""
        (self.folder / "server.pem").write_bytes(certificate.certificate)
        (self.folder / "server.key").write_bytes(certificate.key)

    def start(self) -> None:
        log = self.folder / "log"
        written = log.stat().st_size if log.exists() else 0
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-W", "ignore", str(_PROGRAM), self.engine),
                    *("-f", str(self.folder / "server.conf"), "-l", str(log)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + 60
        while not (self._accepts() and _POLICY_READ in log.read_bytes()[written:]):
            if time.monotonic() > deadline or self._process.poll() is not None:
                self.stop()
                raise AssertionError((self.folder / "output").read_text("utf-8", "replace"))
            time.sleep(0.05)

    def stop(self) -> None:
        """End the server and the processes it started, which are of its session."""
        process, self._process = self._process, None
        if process is not None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def kms(self, **instead: object) -> KmipKms:
        """Return a client with full rights; other credentials, host or warning on request."""
        credentials = Credentials(
            certificate=instead.get("certificate", self.client.certificate),
            key=SecretBytes(instead.get("key", self.client.key)),
            authorities=instead.get("authorities", self.authority.pem),
        )
        warn: Callable[[str], None] = instead.get("warn", lambda _: None)
        address = parse(f"kmip://{instead.get('host', '127.0.0.1')}:{self.port}")
        return KmipKms(address, Surroundings(credentials, warn))

    def operations(self) -> list[str]:
        """Return the operations that were asked for, in order, since the server first started."""
        text = (self.folder / "log").read_text("utf-8")
        return re.findall(r"Processing operation: (\w+)", text)

    @contextmanager
    def administration(self) -> Iterator[ProxyKmipClient]:
        """Connect with PyKMIP's own client, as another tool would."""
        client = ProxyKmipClient(
            hostname="127.0.0.1",
            port=self.port,
            cert=str(self.folder / "client.pem"),
            key=str(self.folder / "client.key"),
            ca=str(self.folder / "ca.pem"),
            ssl_version="PROTOCOL_TLSv1_2",
            kmip_version=enums.KMIPVersion.KMIP_1_4,
        )
        with warnings.catch_warnings():
            # The client knows no newer name for it.
            warnings.filterwarnings("ignore", "ssl.PROTOCOL_TLSv1_2", DeprecationWarning)
            client.open()
        try:
            yield client
        finally:
            client.close()

    def _accepts(self) -> bool:
        """Return whether the server answers a handshake; it refuses this one."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as plain:
                context.wrap_socket(plain).close()
        except ssl.SSLError:
            return True
        except OSError:
            return False
        return True


class KmipAdministrator:
    def __init__(self, server: KmipServer) -> None:
        self._server = server

    def rotate(self, name: str, policy: str | None = None) -> str:
        masks = enums.CryptographicUsageMask
        with self._server.administration() as client:
            public, private = client.create_key_pair(
                enums.CryptographicAlgorithm.RSA,
                3072,
                operation_policy_name=policy,
                public_name=name + "-public",
                public_usage_mask=[masks.ENCRYPT],
                private_name=name,
                private_usage_mask=[masks.DECRYPT],
            )
            client.activate(public)
            client.activate(private)
            return str(private)

    def disable(self, key: str) -> None:
        with self._server.administration() as client:
            client.revoke(enums.RevocationReasonCode.CESSATION_OF_OPERATION, key)

    def enable(self, key: str) -> None:
        raise AssertionError("KMIP knows no way back")

    def destroy(self, key: str) -> None:
        with self._server.administration() as client:
            # The one reason that a server takes in any state.
            client.revoke(enums.RevocationReasonCode.KEY_COMPROMISE, key)
            client.destroy(key)
