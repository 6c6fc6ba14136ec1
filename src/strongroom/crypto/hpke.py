"""Sealing to a public half: RFC 9180 with ML-KEM-768 and X25519 together.

A backup's secrecy has to outlive today's curves, so whoever records ciphertext has to break
both. The public half is all that sealing takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from strongroom.crypto.content import fingerprint
from strongroom.crypto.kdf import expand
from strongroom.crypto.labels import bind
from strongroom.errors import MalformedError, UnlockError

if TYPE_CHECKING:
    from strongroom.crypto.keys import Seed

_MLKEM_PUBLIC: Final = 1184
_MLKEM_SEED: Final = 64
_X25519: Final = 32

PUBLIC_LENGTH: Final = _MLKEM_PUBLIC + _X25519
OVERHEAD: Final = 1088 + _X25519 + 16
"""How much longer sealed bytes are: both encapsulations and the tag."""

_SUITE: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class NotSealedHereError(UnlockError):
    """These bytes were not sealed to this public half for this purpose, or were altered."""

    code = "not-sealed-here"


class PublicKey:
    """What sealing takes: ML-KEM-768's public half, then X25519's."""

    __slots__ = ("_key", "id", "raw")

    def __init__(self, raw: bytes) -> None:
        """Read a public half.

        Raises:
            MalformedError: these bytes are none.
        """
        if len(raw) != PUBLIC_LENGTH:
            raise MalformedError(f"a public key has {PUBLIC_LENGTH} bytes, not {len(raw)}")
        self.raw: Final = bytes(raw)
        self.id: Final = fingerprint(bind("hpke public", self.raw))
        try:
            self._key = MLKEM768X25519PublicKey(
                MLKEM768PublicKey.from_public_bytes(self.raw[:_MLKEM_PUBLIC]),
                X25519PublicKey.from_public_bytes(self.raw[_MLKEM_PUBLIC:]),
            )
        except ValueError as error:
            raise MalformedError(f"this is no public key: {error}") from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"<PublicKey {self.id.hex()[:12]}>"


class PrivateKey:
    """What opening takes; made from a seed, and never written itself."""

    __slots__ = ("_key", "public")

    def __init__(self, mlkem: MLKEM768PrivateKey, x25519: X25519PrivateKey) -> None:
        self._key = MLKEM768X25519PrivateKey(mlkem, x25519)
        self.public: Final = PublicKey(
            mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
        )

    @classmethod
    def from_seed(cls, seed: Seed) -> PrivateKey:
        """Return the key pair of `seed`, always the same."""
        expanded = expand(seed, "hpke", _MLKEM_SEED + _X25519)
        return cls(
            MLKEM768PrivateKey.from_seed_bytes(expanded[:_MLKEM_SEED]),
            X25519PrivateKey.from_private_bytes(expanded[_MLKEM_SEED:]),
        )

    def __repr__(self) -> str:
        return f"<PrivateKey redacted, public half {self.public.id.hex()[:12]}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("PrivateKey is not to be serialised")


def seal(public: PublicKey, info: bytes, plaintext: bytes) -> bytes:
    """Seal `plaintext` so that it opens only with the other half of `public` and for `info`.

    Raises:
        MalformedError: the public half is a weak one, which no key pair has.
    """
    try:
        return _SUITE.encrypt(plaintext, public._key, info)
    except ValueError as error:
        # A point of small order, put into an envelope so that sealing to it yields a shared
        # secret that everyone knows.
        raise MalformedError(f"nothing can be sealed to {public!r}: {error}") from error


def open_sealed(private: PrivateKey, info: bytes, sealed: bytes) -> bytes:
    """Return what was sealed to `private`'s public half for `info`.

    Raises:
        NotSealedHereError: it was sealed to another, for something else, or altered since.
    """
    try:
        return _SUITE.decrypt(sealed, private._key, info)
    except (InvalidTag, ValueError) as error:
        raise NotSealedHereError(f"these bytes were not sealed to {private.public!r}") from error
