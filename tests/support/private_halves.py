"""Traces of RSA private halves: what is looked for where none may be.

A search goes for a piece from the middle of each secret number, so that a cut copy is found as
well, in the ways in which keys are written down: bytes of either order (DER and PKCS#8 have
them), hexadecimal, base64 at each of its three offsets (PEM, JSON), and decimal.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PIECE: Final = 24


def traces(private: bytes) -> dict[str, bytes]:
    """Return what each secret number of a private key (DER, or PEM) looks like, by its name."""
    load = (
        serialization.load_pem_private_key
        if private.startswith(b"-----")
        else serialization.load_der_private_key
    )
    key = load(private, None)
    assert isinstance(key, rsa.RSAPrivateKey)
    numbers = key.private_numbers()
    secret = {name: getattr(numbers, name) for name in ("d", "p", "q", "dmp1", "dmq1", "iqmp")}
    return {f"{name}, {way}": look for name, one in secret.items() for way, look in _ways(one)}


def _ways(number: int) -> Iterator[tuple[str, bytes]]:
    whole = number.to_bytes((number.bit_length() + 7) // 8)
    middle = len(whole) // 2
    piece = whole[middle : middle + _PIECE]
    yield "bytes", piece
    yield "bytes, least first", piece[::-1]
    yield "hexadecimal", piece.hex().encode()
    yield "HEXADECIMAL", piece.hex().upper().encode()
    decimal = str(number).encode()
    yield "decimal", decimal[len(decimal) // 2 :][: 2 * _PIECE]
    for skipped in range(3):
        # What of the text depends on the piece alone, wherever it stands in what is encoded.
        text = base64.b64encode(piece[skipped : skipped + _PIECE - 3])
        yield f"base64 at {skipped}", text
        yield f"base64 for URLs at {skipped}", text.translate(bytes.maketrans(b"+/", b"-_"))


def found(looks: dict[str, bytes], folder: Path) -> list[str]:
    """Return which traces stand in which files below a folder; no file is left out."""
    said = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            joined = content.replace(b"\r", b"").replace(b"\n", b"")  # PEM is broken into lines
            said += [
                f"{path}: {name}"
                for name, look in looks.items()
                if look in content or look in joined
            ]
    return said
