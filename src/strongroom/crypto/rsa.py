"""RSA with OAEP (RFC 8017): the one way to seal to a key that lies in a KMS.

It carries a few bytes and no more. MGF1 uses the hash of the padding itself, as every provider
does; a label is not used, since most providers take none.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from strongroom.errors import MalformedError, UnlockError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

SIZES: Final = (3072, 4096)
"""Bits of a modulus that we seal to."""


class OaepHash(IntEnum):
    """The hash inside OAEP; its numbers stand in stanzas."""

    SHA1 = 1
    """No weakness of SHA-1 touches OAEP; for tokens that know nothing else."""
    SHA256 = 2


class PublicKey:
    """The public half of an RSA key."""

    __slots__ = ("_key", "der")

    def __init__(self, der: bytes) -> None:
        """Read a SubjectPublicKeyInfo or an RSAPublicKey (PKCS#1), DER.

        Raises:
            MalformedError: it is none, is no RSA key, or is of another size than we seal to.
        """
        try:
            key = serialization.load_der_public_key(der)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise MalformedError("these bytes are no public key") from error
        if not isinstance(key, RSAPublicKey) or key.key_size not in SIZES:
            raise MalformedError(f"a KMS key is RSA with {' or '.join(map(str, SIZES))} bits")
        self._key = key
        self.der: Final = _der(key)

    @classmethod
    def from_pem(cls, pem: bytes) -> PublicKey:
        """Read PEM.

        Raises:
            MalformedError: as for DER.
        """
        try:
            key = serialization.load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise MalformedError("this is no public key in PEM") from error
        return cls(_der(key))

    @classmethod
    def from_numbers(cls, modulus: int, exponent: int) -> PublicKey:
        """Return the key that has these numbers.

        Raises:
            MalformedError: they are none of a key.
        """
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

        try:
            key = RSAPublicNumbers(exponent, modulus).public_key()
        except ValueError as error:
            raise MalformedError("these numbers are no RSA key's") from error
        return cls(_der(key))

    @property
    def length(self) -> int:
        """Bytes of the modulus, and of what is encrypted."""
        return (self._key.key_size + 7) // 8

    def encrypt(self, plaintext: bytes, oaep: OaepHash) -> bytes:
        """Return `plaintext` so that only the private half reads it."""
        return self._key.encrypt(plaintext, _padding(oaep))


def decrypt(private_der: bytes, ciphertext: bytes, oaep: OaepHash) -> bytes:
    """Return what was encrypted to the public half of a private key.

    For servers that hand the private half out instead of decrypting: whoever calls this forgets
    it at once.

    Args:
        private_der: PKCS#8 or PKCS#1, DER.
        ciphertext: What was encrypted.
        oaep: With which hash.

    Raises:
        UnlockError: it was encrypted to another key, with another hash, or altered.
    """
    # Not chained: a library's error may repeat what it was given.
    try:
        # The check looks for primes and takes fifty times as long as the decryption. A key that
        # is wrong gives nothing away: we only decrypt, OpenSSL checks each result with the public
        # exponent, and what comes out opens an authenticated value or nothing. Whoever made the
        # key decrypts without us anyway.
        key = serialization.load_der_private_key(
            private_der, None, unsafe_skip_rsa_key_validation=True
        )
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UnlockError("what the KMS handed out is no private key") from None
    if not isinstance(key, RSAPrivateKey) or key.key_size not in SIZES:
        raise UnlockError(
            f"what the KMS handed out is no RSA key with {' or '.join(map(str, SIZES))} bits"
        )
    try:
        return key.decrypt(ciphertext, _padding(oaep))
    except ValueError:
        raise UnlockError("this was not encrypted to the key that the KMS handed out") from None


def generate(bits: int) -> tuple[bytes, PublicKey]:
    """Return a fresh key pair: the private half in PKCS#8, DER, and the public half."""
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

    key = generate_private_key(65537, bits)
    private = key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private, PublicKey(_der(key.public_key()))


def _der(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _padding(oaep: OaepHash) -> padding.OAEP:
    algorithm = hashes.SHA1() if oaep is OaepHash.SHA1 else hashes.SHA256()  # noqa: S303 - above
    return padding.OAEP(padding.MGF1(algorithm), algorithm, None)
