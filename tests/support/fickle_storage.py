"""A storage that answers honestly at first, and otherwise when it is asked again."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from strongroom.crypto.content import fingerprint
from strongroom.testing.adversary_storage import AdversaryStorage

if TYPE_CHECKING:
    from strongroom.storage.base import Storage

_CHECKSUM = 32


class FickleStorage(AdversaryStorage):
    """Of framed objects that are read whole it breaks the signature, and mends the checksum."""

    def __init__(self, inner: Storage, honest_reads: int) -> None:
        super().__init__(inner)
        self.honest_reads = honest_reads
        """How often each object is what was stored."""
        self._asked: Counter[str] = Counter()

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        data = super().get(key, offset, length)
        if length is not None or not data.startswith(b"SRM1") or "/packs/" in key:
            return data
        self._asked[key] += 1
        if self._asked[key] <= self.honest_reads:
            return data
        last = len(data) - _CHECKSUM - 1
        altered = data[:last] + bytes([data[last] ^ 1])
        return altered + fingerprint(altered)
