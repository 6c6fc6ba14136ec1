"""Real servers as an operator and an administrator meet them, one like the other.

    with AwsUnderTest.running(folder) as server:
        machine.run("kms", "add", "corp", server.url, *server.credentials)

The operator's side is words for the command line; the administrator's uses means of the server's
own. What a server lacks is said by an attribute, with the reason beside it.
"""

from __future__ import annotations

import base64
import re
import sqlite3
from abc import ABC, abstractmethod
from contextlib import closing, contextmanager
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

import botocore.loaders
import botocore.session
import pkcs11
import pytest
from pkcs11 import Attribute, ObjectClass

from tests.support.certificates import Authority
from tests.support.gate import Gate
from tests.support.kmip_server import KmipAdministrator, KmipServer
from tests.support.ministack_server import AwsAdministrator, Ministack, ministack
from tests.support.openbao_server import ROOT_TOKEN, OpenBao, TransitAdministrator, openbao
from tests.support.server_process import free_ports, stop
from tests.support.softhsm import LABEL, PIN, SoftHsm

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Self

    from tests.support.certificates import Issued


class ServerUnderTest(ABC):
    """A KMS, its operator's words for it, and its administrator."""

    url: str
    """Where it is: behind what `stop` and `break_next_call` act on."""
    spare_url: str | None = None
    """Another endpoint of it, which these leave alone."""
    dead_url: str
    """An endpoint of the same kind at which nobody is."""
    credentials: Sequence[str]
    """Options of `kms add` and `kms edit`: we, with every right that we need."""
    wrong_credentials: Sequence[str]
    """The same for somebody whom the server does not know."""

    can_enable: ClassVar[bool] = True
    """Whether a key that was disabled can be enabled again."""
    restoring: ClassVar[tuple[str, ...] | None] = None
    """What one restore asks for, as `operations` has it; nothing where the server keeps no trace,
    nor does a network."""
    looking: ClassVar[tuple[str, ...] | None] = None
    """What a session asks for that follows another within a day."""

    @classmethod
    @contextmanager
    @abstractmethod
    def running(cls, folder: Path) -> Iterator[Self]: ...

    @abstractmethod
    def stop(self) -> None:
        """Let it answer nobody, from now on and within what is going on now."""

    @abstractmethod
    def start(self) -> None:
        """Let it answer again; harmless where it does."""

    @abstractmethod
    def break_next_call(self) -> None:
        """Take the next request, and stop before it is answered."""

    @abstractmethod
    def operations(self) -> list[str]:
        """Return what it was asked for since the last time, in order."""

    @abstractmethod
    def names(self) -> set[str]:
        """Return what keys are called there, as the administrator sees it."""

    @abstractmethod
    def rotate(self, name: str) -> None: ...

    @abstractmethod
    def disable(self, key: str) -> None: ...

    @abstractmethod
    def enable(self, key: str) -> None: ...

    @abstractmethod
    def destroy(self, key: str) -> None:
        """Destroy a key, or schedule that where the server does no more at once."""

    def secrets(self) -> set[bytes]:
        """Return what of our credentials is secret: a line that says enough of each."""
        found = set()
        for option, value in pairwise(self.credentials):
            if option in ("--secret-file", "--client-key"):
                lines = Path(value).read_bytes().splitlines()
                found.add(lines[len(lines) // 2])
        return found

    @abstractmethod
    def private_halves(self) -> set[bytes]:
        """Return the private keys that were ever there and can be had, DER or PEM.

        Nothing is asked of the server after this.
        """


class _BehindGate(ServerUnderTest):
    """A server that is reached over a network."""

    gate: Gate

    def stop(self) -> None:
        self.gate.shut()

    def start(self) -> None:
        self.gate.open()

    def break_next_call(self) -> None:
        self.gate.break_next()

    def operations(self) -> list[str]:
        return self.gate.requests()


class _Administered(_BehindGate):
    """One whose keys an administrator looks after by its own means, as in the contract tests."""

    _administrator: KmipAdministrator | AwsAdministrator | TransitAdministrator

    def disable(self, key: str) -> None:
        self._administrator.disable(key)

    def enable(self, key: str) -> None:
        self._administrator.enable(key)

    def destroy(self, key: str) -> None:
        self._administrator.destroy(key)


class _WithoutNetwork(ServerUnderTest):
    def break_next_call(self) -> None:
        raise AssertionError("a call to it is one to a library")

    def operations(self) -> list[str]:
        raise AssertionError("it keeps no trace")


def _kept(folder: Path, name: str, content: bytes | str) -> str:
    """Put what the operator has into a file of theirs; return its path."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(0o600)
    return str(path)


# --- KMIP -------------------------------------------------------------------------------------


class KmipUnderTest(_Administered):
    """PyKMIP's server with an engine that decrypts, as an HSM does."""

    can_enable = False  # what is deactivated stays so
    restoring = ("Decrypt",)
    looking = ("GetAttributes",)

    def __init__(self, server: KmipServer, gate: Gate) -> None:
        self.server = server
        self.gate = gate
        self.url = f"kmip://127.0.0.1:{gate.port}"
        self.spare_url = f"kmip://127.0.0.1:{server.port}"
        self.dead_url = f"kmip://127.0.0.1:{free_ports()}"
        self.credentials = self.shown("ours", server.client)
        self.wrong_credentials = self.shown("theirs", Authority("another").issue("strongroom"))
        self._administrator = KmipAdministrator(server)
        self._told = 0
        self._destroyed: set[bytes] = set()

    @classmethod
    @contextmanager
    def running(cls, folder: Path) -> Iterator[Self]:
        with (
            KmipServer.running(folder, "decrypting") as server,
            Gate.before(server.port) as gate,
        ):
            yield cls(server, gate)

    def shown(self, name: str, issued: Issued) -> list[str]:
        """Return the options that show a certificate to the server."""
        folder = self.server.folder
        return [
            *("--client-certificate", _kept(folder, f"{name}.pem", issued.certificate)),
            *("--client-key", _kept(folder, f"{name}.key", issued.key)),
            *("--ca", str(folder / "ca.pem")),
        ]

    def cease_to_decrypt(self) -> None:
        """Start PyKMIP's server as it comes in place of the other, with the same keys."""
        self.server.stop()
        self.server.engine = "stock"
        self.server.start()

    def operations(self) -> list[str]:
        every = self.server.operations()
        asked, self._told = every[self._told :], len(every)
        return asked

    def names(self) -> set[str]:
        return {
            str(name)
            for (name,) in self._asked(
                "SELECT name FROM managed_object_names JOIN private_keys AS one ON mo_uid = one.uid"
            )
        }

    def rotate(self, name: str, policy: str | None = None) -> None:
        self._administrator.rotate(name, policy)

    def destroy(self, key: str) -> None:
        self._destroyed |= self._present()
        super().destroy(key)

    def private_halves(self) -> set[bytes]:
        return self._destroyed | self._present()

    def _present(self) -> set[bytes]:
        return {
            bytes(value)
            for (value,) in self._asked(
                "SELECT value FROM managed_objects WHERE class_type = 'PrivateKey'"
            )
        }

    def _asked(self, question: str) -> list[tuple[object]]:
        """Return what the server's own database says."""
        with closing(sqlite3.connect(self.server.folder / "kmip.db")) as database:
            return database.execute(question).fetchall()


# --- AWS --------------------------------------------------------------------------------------


class AwsUnderTest(_Administered):
    restoring = ("Decrypt",)
    looking = ("DescribeKey",)

    def __init__(self, server: Ministack, folder: Path, gate: Gate) -> None:
        self.server = server
        self.gate = gate
        self.url = server.address.replace(server.url, f"http://127.0.0.1:{gate.port}")
        self.spare_url = server.address
        self.dead_url = server.address.replace(server.url, f"http://127.0.0.1:{free_ports()}")
        allowed = {"Effect": "Allow", "Action": "kms:*", "Resource": "*"}
        ours = server.user({"Statement": [allowed]})
        assert ours.secret is not None
        self.credentials = [
            *("--account", ours.account),
            *("--secret-file", _kept(folder, "ours", ours.secret.expose())),
        ]
        self.wrong_credentials = [
            *("--account", "AKIASTRANGER"),
            *("--secret-file", _kept(folder, "theirs", "guessed")),
        ]
        self._administrator = AwsAdministrator(server.client("kms"))

    @classmethod
    @contextmanager
    def running(cls, folder: Path) -> Iterator[Self]:
        with (
            pytest.MonkeyPatch.context() as patch,
            ministack(folder) as server,
            Gate.before(urlsplit(server.url).port or 0) as gate,
        ):
            # A process reads descriptions of all of AWS; one that runs many commands, once.
            patch.setattr(botocore.session, "create_loader", cache(botocore.loaders.create_loader))
            yield cls(server, folder, gate)

    def names(self) -> set[str]:
        listed = self._administrator.client.list_aliases()["Aliases"]
        return {one["AliasName"].removeprefix("alias/") for one in listed}

    def rotate(self, name: str) -> None:
        self._administrator.rotate(name)

    def private_halves(self) -> set[bytes]:
        """Return what ministack writes down when it stops; AWS itself shows nobody."""
        stop(self.server.process)
        state = (self.server.kept / "kms.json").read_text()
        found = re.findall(r'"_private_key_pem": "([^"]+)"', state)
        return {base64.b64decode(one) for one in found}


# --- transit ----------------------------------------------------------------------------------


class TransitUnderTest(_Administered):
    restoring = ("POST decrypt",)
    looking = ("GET keys",)

    def __init__(self, server: OpenBao, folder: Path, gate: Gate) -> None:
        self.server = server
        self.gate = gate
        self.spare_url = server.address
        self.url = self._at(gate.port)
        self.dead_url = self._at(free_ports())
        self.credentials = ["--secret-file", _kept(folder, "ours", ROOT_TOKEN)]
        self.wrong_credentials = ["--secret-file", _kept(folder, "theirs", "guessed")]
        self._administrator = TransitAdministrator(server)
        self._destroyed: set[bytes] = set()

    @classmethod
    @contextmanager
    def running(cls, folder: Path) -> Iterator[Self]:
        with openbao(folder) as server:
            port = urlsplit(server.address.removeprefix("transit+")).port
            with Gate.before(port or 0) as gate:
                yield cls(server, folder, gate)

    def _at(self, port: int) -> str:
        return re.sub(r":\d+", f":{port}", self.server.address)

    def operations(self) -> list[str]:
        asked = (re.fullmatch(r"(\w+) /v1/transit/(\w+)/.*", one) for one in self.gate.requests())
        return [f"{one[1]} {one[2]}" for one in asked if one]

    def names(self) -> set[str]:
        return set(self.server.list("transit/keys"))

    def rotate(self, name: str) -> None:
        self._administrator.rotate(name)

    def destroy(self, key: str) -> None:
        self._destroyed |= self._exported(key.partition(":")[0])
        super().destroy(key)

    def private_halves(self) -> set[bytes]:
        present = (self._exported(name) for name in self.names() if "vouching" not in name)
        return self._destroyed.union(*present)

    def _exported(self, name: str) -> set[bytes]:
        """Return every version of a key: its administrator may allow that afterwards."""
        self.server.write(f"transit/keys/{name}/config", exportable=True, min_decryption_version=1)
        versions = self.server.read(f"transit/export/encryption-key/{name}")["keys"]
        return {one.encode() for one in versions.values()}


# --- PKCS#11 ----------------------------------------------------------------------------------


class TokenUnderTest(_WithoutNetwork):
    """SoftHSM: a folder in place of a device, which is taken away and put back."""

    def __init__(self, token: SoftHsm, folder: Path) -> None:
        self.token = token
        self.url = f"pkcs11:token={LABEL}?module-path={token.module}"
        self.dead_url = f"pkcs11:token=absent?module-path={token.module}"
        self.credentials = ["--secret-file", _kept(folder, "ours", PIN)]
        self.wrong_credentials = ["--secret-file", _kept(folder, "theirs", "9999")]
        self._imported: set[bytes] = set()

    @classmethod
    @contextmanager
    def running(cls, folder: Path) -> Iterator[Self]:
        with SoftHsm.made(folder) as token:
            yield cls(token, folder)

    def stop(self) -> None:
        self.token.take_away()

    def start(self) -> None:
        self.token.put_back()

    def names(self) -> set[str]:
        lib = pkcs11.lib(self.token.module)
        with lib.get_token(token_label=LABEL).open(user_pin=PIN) as session:
            private = session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY})
            return {one[Attribute.LABEL] for one in private}

    def rotate(self, name: str) -> None:
        self._imported.add(self.token.rotate(name))

    def disable(self, key: str) -> None:
        self.token.disable(key)

    def enable(self, key: str) -> None:
        self.token.enable(key)

    def destroy(self, key: str) -> None:
        self.token.destroy(key)

    def private_halves(self) -> set[bytes]:
        """Return what `rotate` brought in from outside: what the token makes does not leave it."""
        return self._imported


EVERY_SERVER = (
    KmipUnderTest,
    AwsUnderTest,
    TransitUnderTest,
    TokenUnderTest,
)
