"""Private keys that a KMS hands out: used without the library's own check of them."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPrivateNumbers,
    generate_private_key,
)

from strongroom.crypto import rsa
from strongroom.crypto.rsa import OaepHash
from strongroom.errors import UnlockError

SECRET = b"s" * 32


@pytest.fixture(scope="module")
def numbers() -> RSAPrivateNumbers:
    key = serialization.load_der_private_key(rsa.generate(3072)[0], None)
    assert isinstance(key, RSAPrivateKey)
    return key.private_numbers()


def sealed(numbers: RSAPrivateNumbers) -> bytes:
    public = rsa.PublicKey.from_numbers(numbers.public_numbers.n, numbers.public_numbers.e)
    return public.encrypt(SECRET, OaepHash.SHA256)


def der(numbers: RSAPrivateNumbers, **instead: int) -> bytes:
    """Return an RSAPrivateKey (PKCS#1), with some of its numbers replaced."""
    parts = {
        "version": 0,
        "n": numbers.public_numbers.n,
        "e": numbers.public_numbers.e,
        "d": numbers.d,
        "p": numbers.p,
        "q": numbers.q,
        "dmp1": numbers.dmp1,
        "dmq1": numbers.dmq1,
        "iqmp": numbers.iqmp,
    }
    values = {**parts, **instead}.values()
    return _tagged(0x30, b"".join(_tagged(0x02, _signed(value)) for value in values))


def _signed(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1)


def _tagged(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def test_a_key_that_is_handed_out_decrypts(numbers: RSAPrivateNumbers) -> None:
    assert rsa.decrypt(der(numbers), sealed(numbers), OaepHash.SHA256) == SECRET


def test_of_a_key_with_wrong_numbers_comes_what_was_sealed_or_nothing(
    numbers: RSAPrivateNumbers,
) -> None:
    other = rsa.generate(3072)[0]
    n, e, p = numbers.public_numbers.n, numbers.public_numbers.e, numbers.p
    ciphertext = sealed(numbers)
    wrong: list[dict[str, int]] = [
        *({part: 0} for part in ("n", "e", "d", "p", "q", "dmp1", "dmq1", "iqmp")),
        {"n": n - 1},
        {"n": n + 2},
        {"e": 1},
        {"e": e + 2},
        {"p": p - 1},
        {"p": 1, "q": n},
        {"dmp1": numbers.dmp1 + 2},
        {"d": numbers.d + 2, "dmp1": numbers.dmp1 + 2, "dmq1": numbers.dmq1 + 2},
        {"p": 0, "q": 0, "dmp1": 0, "dmq1": 0, "iqmp": 0},
    ]
    for key in [other, *(der(numbers, **instead) for instead in wrong)]:
        try:
            opened = rsa.decrypt(key, ciphertext, OaepHash.SHA256)
        except UnlockError:
            continue
        assert opened == SECRET


def test_a_key_of_another_size_or_kind_is_none() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    for key in (generate_private_key(65537, 2048), Ed25519PrivateKey.generate()):
        encoded = key.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        with pytest.raises(UnlockError, match="no RSA key with 3072 or 4096 bits"):
            rsa.decrypt(encoded, bytes(384), OaepHash.SHA256)
    with pytest.raises(UnlockError, match="no private key"):
        rsa.decrypt(b"nothing", bytes(384), OaepHash.SHA256)
