"""The public hash of what is too long to be held at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blake3 import blake3

if TYPE_CHECKING:
    from strongroom.crypto.content import Buffer


class Fingerprinter:
    """`content.fingerprint`, fed piece by piece."""

    def __init__(self) -> None:
        self._hash = blake3()

    def update(self, data: Buffer) -> None:
        self._hash.update(data)

    def digest(self) -> bytes:
        """Return the fingerprint of everything fed so far."""
        return self._hash.digest()
