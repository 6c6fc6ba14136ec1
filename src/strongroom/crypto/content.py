"""Hashes that name content.

Two kinds, never compared with each other. A *content hash* is keyed by the chain's dedup key
and says that two plaintexts are the same; the store never sees one. A *fingerprint* is public:
anyone may compute it over what is stored. In a plain chain there is no key and no secret, and
content hashes are fingerprints of the plaintext.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from blake3 import blake3

from strongroom.crypto.labels import PREFIX

if TYPE_CHECKING:
    from strongroom.crypto.keys import DedupKey

Buffer = bytes | bytearray | memoryview

HASH_LENGTH: Final = 32

_DIGESTS: Final = PREFIX + "digests"


class ContentHasher:
    """Names content with 32 bytes, under one chain's dedup key; safe to share by threads."""

    def __init__(self, key: DedupKey | None) -> None:
        """Hash under `key`; without one, as a plain chain does."""
        self._key = None if key is None else key.expose()
        self._digests_key = (
            None if self._key is None else blake3(self._key, derive_key_context=_DIGESTS).digest()
        )

    def digest(self, data: Buffer) -> bytes:
        """Return the name of `data`."""
        if self._key is None:
            return blake3(data).digest()
        return blake3(data, key=self._key).digest()

    def of_digests(self, digests: Buffer) -> bytes:
        """Return the name of a run of content given the names of its parts, one after another.

        In a domain of its own: content that happens to be a list of digests has another name
        than what these digests name.
        """
        if self._digests_key is None:
            return blake3(digests, derive_key_context=_DIGESTS).digest()
        return blake3(digests, key=self._digests_key).digest()


def fingerprint(data: Buffer) -> bytes:
    """Return the public hash of `data`: BLAKE3, unkeyed, 32 bytes.

    For what the store sees anyway: ciphertext, pages, entries, public keys.
    """
    return blake3(data).digest()
