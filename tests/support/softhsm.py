"""A token of SoftHSM's in a folder, and its administrator, who is another process.

    with SoftHsm.made(folder) as token:
        kms = token.kms()

Whoever logs in logs the whole process in, so the administrator is none of ours.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pkcs11
import pytest

from strongroom.crypto import rsa
from strongroom.crypto.keys import SecretBytes
from strongroom.kms.base import Credentials, Surroundings
from strongroom.kms.location import parse
from strongroom.kms.pkcs11 import Pkcs11Kms

if TYPE_CHECKING:
    from collections.abc import Iterator

PIN = "pin-of-tests"
LABEL = "strongroom-test"
_CHANGE = """
import sys
import pkcs11
from pkcs11 import Attribute, KeyType, ObjectClass

module, label, pin, key, what = sys.argv[1:]
with pkcs11.lib(module).get_token(token_label=label).open(rw=True, user_pin=pin) as session:
    for held in list(session.get_objects({Attribute.ID: bytes.fromhex(key)})):
        if what == "destroy":
            held.destroy()
        elif held.object_class is ObjectClass.PRIVATE_KEY:
            held[Attribute.DECRYPT] = what == "enable"
"""


def module() -> str:
    """Return where Debian's package put the module."""
    listed = subprocess.run(
        ["dpkg", "-L", "libsofthsm2"], check=True, capture_output=True, text=True
    ).stdout
    return next(line for line in listed.splitlines() if line.endswith("/libsofthsm2.so"))


class SoftHsm:
    def __init__(self, folder: Path, pin: str = PIN) -> None:
        self.folder = folder
        self.module = module()
        self._there, self._elsewhere = folder / "tokens", folder / "taken-away"
        self._there.mkdir()
        self.configuration = folder / "softhsm2.conf"
        self.configuration.write_text(
            f"directories.tokendir = {self._there}\nobjectstore.backend = file\n"
        )
        self._util("--init-token", "--free", "--label", LABEL, "--so-pin", "0000", "--pin", pin)

    @classmethod
    @contextmanager
    def made(cls, folder: Path, pin: str = PIN) -> Iterator[SoftHsm]:
        """Make a token, and have this process see it and no other."""
        made = cls(folder, pin)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SOFTHSM2_CONF", str(made.configuration))
            pkcs11.unload(made.module)
            try:
                yield made
            finally:
                pkcs11.unload(made.module)

    def take_away(self) -> None:
        """Have no token there, in this process and in others; harmless where there is none."""
        if self._there.exists():
            self._there.rename(self._elsewhere)

    def put_back(self) -> None:
        if self._elsewhere.exists():
            self._elsewhere.rename(self._there)
            pkcs11.unload(self.module)

    @contextmanager
    def taken_away(self) -> Iterator[None]:
        self.take_away()
        try:
            yield
        finally:
            self.put_back()

    def kms(self, pin: str = PIN, token: str = LABEL) -> Pkcs11Kms:
        address = parse(f"pkcs11:token={token}?module-path={self.module}")
        return Pkcs11Kms(address, Surroundings(Credentials(secret=SecretBytes(pin.encode()))))

    def rotate(self, name: str, identifier: str = "f0") -> bytes:
        """Make a key with SoftHSM's own program, which takes one from a file; return that."""
        private, _ = rsa.generate(3072)
        file = self.folder / "key.pem"
        conversion = ["openssl", "pkey", "-inform", "DER", "-out", str(file)]
        subprocess.run(conversion, input=private, check=True)
        try:
            self._util(
                *("--import", str(file), "--token", LABEL, "--pin", PIN),
                *("--label", name, "--id", identifier, "--force"),
            )
        finally:
            file.unlink()
        return private

    def disable(self, key: str) -> None:
        self._change(key, "disable")

    def enable(self, key: str) -> None:
        self._change(key, "enable")

    def destroy(self, key: str) -> None:
        self._change(key, "destroy")

    def _util(self, *arguments: str) -> None:
        self._run("softhsm2-util", *arguments)

    def _change(self, key: str, what: str) -> None:
        self._run(sys.executable, "-c", _CHANGE, self.module, LABEL, PIN, key, what)

    def _run(self, *command: str) -> None:
        environment = os.environ | {"SOFTHSM2_CONF": str(self.configuration)}
        subprocess.run(command, check=True, capture_output=True, env=environment)
