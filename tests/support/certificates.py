"""Certificates for servers and clients of tests, all in PEM."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_HASH = hashes.SHA256()
_DAYS = 90
"""How long a certificate holds: long enough for nobody to be warned."""


@dataclass(frozen=True)
class Issued:
    certificate: bytes
    key: bytes
    serial: int


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


class Authority:
    """Signs certificates, and lists those it revoked."""

    def __init__(self, name: str = "test authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        self._certificate = self._sign(
            self._builder(self._name, self._key.public_key()).add_extension(
                x509.BasicConstraints(ca=True, path_length=0), critical=True
            )
        )

    @property
    def pem(self) -> bytes:
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, name: str, *hosts: str, expired: bool = False, days: int = _DAYS) -> Issued:
        """Return a certificate for a server at `hosts`, or, without any, for a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = self._builder(
            _name(name), key.public_key(), timedelta(hours=-1) if expired else timedelta(days)
        ).add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if hosts:
            names = x509.SubjectAlternativeName([_alternative(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        certificate = self._sign(builder)
        return Issued(
            certificate.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
            certificate.serial_number,
        )

    def revocations(self, *serials: int) -> bytes:
        """Return a list of revoked certificates."""
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder(
            self._name, now - timedelta(hours=1), now + timedelta(days=1)
        )
        for serial in serials:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder(serial, now - timedelta(minutes=5)).build()
            )
        return builder.sign(self._key, _HASH).public_bytes(serialization.Encoding.PEM)

    def _builder(
        self,
        name: x509.Name,
        public: ec.EllipticCurvePublicKey,
        holds: timedelta = timedelta(_DAYS),
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        begin, end = now - timedelta(days=1), now + holds
        return x509.CertificateBuilder(
            self._name, name, public, x509.random_serial_number(), begin, end
        )

    def _sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        return builder.sign(self._key, _HASH)
