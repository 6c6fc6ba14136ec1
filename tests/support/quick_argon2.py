"""Stands in for the derivation of seeds from passwords, which costs a quarter of a second each."""

from __future__ import annotations

from typing import ClassVar

import pytest

from strongroom.crypto import kdf
from strongroom.crypto.content import fingerprint


class QuickArgon2id:
    """Costs nothing, and notes what it derived from; each parameter makes another seed."""

    made: ClassVar[list[tuple[bytes, bytes]]] = []

    def __init__(self, *, salt: bytes, **parameters: int) -> None:
        self._salt = salt
        self._parameters = repr(sorted(parameters.items())).encode()

    def derive(self, password: bytes) -> bytes:
        self.made.append((password, self._salt))
        return fingerprint(self._salt + self._parameters + password)


def install(patch: pytest.MonkeyPatch) -> None:
    """Take the stand-in for as long as the patch lasts."""
    patch.setattr(kdf, "Argon2id", QuickArgon2id)
