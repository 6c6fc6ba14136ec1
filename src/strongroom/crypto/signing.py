"""Signatures by Ed25519 and ML-DSA-65 together; both have to hold.

The server's identity signs points; the secrets of recipients vouch for the identity. Both are
key pairs of this kind, kept apart by the domain that every signature names.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey

from strongroom.crypto.content import fingerprint
from strongroom.crypto.kdf import expand
from strongroom.crypto.labels import bind
from strongroom.errors import ForgedError, MalformedError

if TYPE_CHECKING:
    from strongroom.crypto.keys import Seed

_ED25519_PUBLIC: Final = 32
_ED25519_SIGNATURE: Final = 64
_MLDSA_PUBLIC: Final = 1952
_MLDSA_SIGNATURE: Final = 3309

PUBLIC_LENGTH: Final = _ED25519_PUBLIC + _MLDSA_PUBLIC
SIGNATURE_LENGTH: Final = _ED25519_SIGNATURE + _MLDSA_SIGNATURE

_FINGERPRINT_BYTES: Final = 20


class SigningPublicKey:
    """What checking a signature takes: Ed25519's public half, then ML-DSA-65's."""

    __slots__ = ("_ed25519", "_mldsa", "id", "raw")

    def __init__(self, raw: bytes) -> None:
        """Read a public half.

        Raises:
            MalformedError: these bytes are none.
        """
        if len(raw) != PUBLIC_LENGTH:
            raise MalformedError(f"a signer's key has {PUBLIC_LENGTH} bytes, not {len(raw)}")
        self.raw: Final = bytes(raw)
        self.id: Final = fingerprint(bind("signing public", self.raw))
        try:
            self._ed25519 = Ed25519PublicKey.from_public_bytes(self.raw[:_ED25519_PUBLIC])
            self._mldsa = MLDSA65PublicKey.from_public_bytes(self.raw[_ED25519_PUBLIC:])
        except ValueError as error:
            raise MalformedError(f"this is no signer's key: {error}") from error

    @property
    def fingerprint(self) -> str:
        """What people compare: 160 bits in groups of four letters and digits."""
        text = base64.b32encode(self.id[:_FINGERPRINT_BYTES]).decode("ascii").lower()
        return "-".join(text[start : start + 4] for start in range(0, len(text), 4))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SigningPublicKey) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"<SigningPublicKey {self.fingerprint}>"


class SigningKey:
    """What signing takes; made from a seed, and never written itself."""

    __slots__ = ("_ed25519", "_mldsa", "public")

    def __init__(self, ed25519: Ed25519PrivateKey, mldsa: MLDSA65PrivateKey) -> None:
        self._ed25519 = ed25519
        self._mldsa = mldsa
        self.public: Final = SigningPublicKey(
            ed25519.public_key().public_bytes_raw() + mldsa.public_key().public_bytes_raw()
        )

    @classmethod
    def from_seed(cls, seed: Seed) -> SigningKey:
        """Return the key pair of `seed`, always the same."""
        return cls(
            Ed25519PrivateKey.from_private_bytes(expand(seed, "sign/ed25519", 32)),
            MLDSA65PrivateKey.from_seed_bytes(expand(seed, "sign/ml-dsa-65", 32)),
        )

    def sign(self, domain: str, message: bytes) -> bytes:
        """Return a signature that holds for `message` in `domain` only."""
        bound = _bound(self.public, domain, message)
        return self._ed25519.sign(bound) + self._mldsa.sign(bound)

    def __repr__(self) -> str:
        return f"<SigningKey redacted, public half {self.public.fingerprint}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("SigningKey is not to be serialised")


def verify(public: SigningPublicKey, domain: str, message: bytes, signature: bytes) -> None:
    """Check that `public`'s other half signed `message` in `domain`.

    Raises:
        ForgedError: it did not, or only one of the two signatures holds.
    """
    if len(signature) == SIGNATURE_LENGTH:
        bound = _bound(public, domain, message)
        try:
            public._ed25519.verify(signature[:_ED25519_SIGNATURE], bound)
            public._mldsa.verify(signature[_ED25519_SIGNATURE:], bound)
        except InvalidSignature:
            pass
        else:
            return
    raise ForgedError(
        f"the signature over this {domain} is not by {public.fingerprint}",
        fingerprint=public.fingerprint,
    )


def _bound(public: SigningPublicKey, domain: str, message: bytes) -> bytes:
    # Both halves sign the same bytes, and these name both public halves: neither signature
    # can be cut out and stand alone, or be paired with another signer's.
    return bind("signature", domain.encode("utf-8"), public.id, message)
