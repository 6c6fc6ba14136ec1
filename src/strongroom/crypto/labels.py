"""Domain separation: what a key, hash or signature is for stands in front of what it is over.

Bytes made for one purpose are never valid for another, because every purpose has a label, and
never valid for other parts, because each part is preceded by its length.
"""

from __future__ import annotations

from typing import Final

PREFIX: Final = "strongroom/1/"


def label(name: str) -> bytes:
    """Return the label of one purpose."""
    return (PREFIX + name).encode("ascii")


def bind(name: str, *parts: bytes) -> bytes:
    """Return `parts` under a label, each after its length as 64 bits, big endian.

    Without the lengths, one part could end where another begins, and two different lists of
    parts would give the same bytes.
    """
    pieces = [label(name)]
    for part in parts:
        pieces.append(len(part).to_bytes(8, "big"))
        pieces.append(part)
    return b"".join(pieces)
