"""A search for private keys finds them, however they were written down."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support import private_halves

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = rsa.generate_private_key(65537, 1024)


def der() -> bytes:
    return _written(serialization.Encoding.DER)


def pem() -> bytes:
    return _written(serialization.Encoding.PEM)


def _written(encoding: serialization.Encoding) -> bytes:
    plain = serialization.NoEncryption()
    return KEY.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)


@pytest.mark.parametrize(
    "ways",
    [
        [der, pem],
        [lambda: pem().replace(b"\n", b""), lambda: pem().replace(b"\n", b"\r\n")],
        [lambda: der()[:350], lambda: der()[350:]],
        [lambda: der()[::-1]],
        [lambda: der().hex().encode(), lambda: der().hex().upper().encode()],
        [lambda more=more: base64.b64encode(b"-" * more + der()) for more in range(3)],
        [lambda: base64.urlsafe_b64encode(der())],
        [lambda: repr(KEY.private_numbers().d).encode()],
    ],
    ids=["files", "line ends", "parts", "turned", "hexadecimal", "base64", "for URLs", "numbers"],
)
def test_a_private_half_is_found(ways: list[Callable[[], bytes]], tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    looks = private_halves.traces(der())
    assert looks == private_halves.traces(pem())
    for way in ways:
        (tmp_path / "below" / "file").write_bytes(b"-" * 100 + way() + b"-" * 100)
        assert private_halves.found(looks, tmp_path)


def test_a_public_half_is_none(tmp_path: Path) -> None:
    public = KEY.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (tmp_path / "file").write_bytes(public + base64.b64encode(public))
    assert private_halves.found(private_halves.traces(der()), tmp_path) == []
