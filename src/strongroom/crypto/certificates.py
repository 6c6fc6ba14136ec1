"""What a certificate in PEM says of itself: whose it is, and until when it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from strongroom.errors import InvalidInputError

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Certificate:
    """The parts that an operator asks about."""

    subject: str
    """RFC 4514."""
    not_before: datetime
    not_after: datetime


def read(pem: bytes, what: str) -> list[Certificate]:
    """Return the certificates in a PEM text, in its order.

    Args:
        pem: The text.
        what: What it is, for the message: `the client certificate`.

    Raises:
        InvalidInputError: there is none, or one cannot be read.
    """
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise InvalidInputError(f"{what} is no certificate in PEM") from error
    return [
        Certificate(one.subject.rfc4514_string(), one.not_valid_before_utc, one.not_valid_after_utc)
        for one in found
    ]


def check_pair(certificate: bytes, key: bytes) -> None:
    """Go on if a private key in PEM belongs to the first certificate of a PEM text.

    Raises:
        InvalidInputError: it does not, needs a passphrase, or is none.
    """
    # Not chained: a library's error may repeat what it was given.
    try:
        private = serialization.load_pem_private_key(key, None)
    except TypeError:
        raise InvalidInputError(
            "the client key is protected by a passphrase",
            hint="'openssl pkey -in KEY -out PLAIN-KEY' takes it off; the keystore seals it",
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidInputError("the client key is no private key in PEM") from None
    public = x509.load_pem_x509_certificates(certificate)[0].public_key()
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != public.public_bytes(*form):
        raise InvalidInputError("the client key is not the client certificate's")
