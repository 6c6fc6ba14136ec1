"""Bytes and values: strict MessagePack inside a framed object.

Every object but a pack is one frame (docs/format.md, "Framed objects"):

    magic 8 │ body length u32 │ body │ signature length u16 │ signature │ BLAKE3 of all before, 32

The checksum finds accidents. What an adversary could do is for signatures, ledgers and
sealing to find; the checksum is never taken as proof of origin.

A value has one encoding: what does not come out the same when it is encoded again is refused,
so nobody can make a second object with the same meaning and another hash.
"""

from __future__ import annotations

import struct
from typing import Annotated, Any, TypeVar

import msgspec

from strongroom.crypto.content import fingerprint
from strongroom.errors import MalformedError, UnsupportedVersionError

T = TypeVar("T")

HASH_LENGTH = 32
MAX_BODY = 256 << 20
"""No framed body is longer; a longer one is refused before it is read into values."""
MAX_SMALL = 2 << 20
"""Headers, envelopes, links and session keys are no longer than this as objects."""
MAX_ENTRY = 16 << 20
"""Nor is a journal entry longer than this."""

Id = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
"""Random, of a chain, job, session, source, point or object. Contexts put ids side by side, so
their length has to be fixed."""
Hash = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
"""BLAKE3 of something, or the random id of a pack."""
MaybeId = Annotated[bytes, msgspec.Meta(max_length=16)]
"""An id, or empty."""
MaybeHash = Annotated[bytes, msgspec.Meta(max_length=32)]
"""A hash, or empty."""
Number = Annotated[int, msgspec.Meta(ge=0)]
"""A count, a length or a time after 1970."""

_encoder = msgspec.msgpack.Encoder()
_decoders: dict[Any, msgspec.msgpack.Decoder[Any]] = {}


class Value(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A value whose MessagePack form is the array of its fields, in order, and nothing else."""


def encode(value: object) -> bytes:
    """Return the MessagePack form of `value`."""
    return _encoder.encode(value)


def decode(kind: type[T], data: bytes | memoryview, what: str) -> T:
    """Return the `kind` that `data` encodes.

    Raises:
        MalformedError: `data` is anything else, or another encoding of it than `encode` makes;
            `what` names it in the message.
    """
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.msgpack.Decoder(kind)
    try:
        value: T = decoder.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError, OverflowError) as error:
        raise MalformedError(f"{what} is malformed: {error}") from error
    if _encoder.encode(value) != data:
        raise MalformedError(f"{what} is not in its one encoding")
    return value


class Frame(msgspec.Struct, frozen=True):
    """A framed object taken apart."""

    body: bytes
    signature: bytes
    """Empty where the object is not signed."""


def frame(magic: bytes, body: bytes, signature: bytes = b"") -> bytes:
    """Return the object that carries `body`."""
    head = b"".join(
        (
            magic,
            struct.pack(">I", len(body)),
            body,
            struct.pack(">H", len(signature)),
            signature,
        )
    )
    return head + fingerprint(head)


def unframe(magic: bytes, data: bytes, what: str) -> Frame:
    """Take a framed object apart.

    Raises:
        MalformedError: wrong magic, wrong lengths or a checksum that does not match.
        UnsupportedVersionError: the object is of another major version.
    """
    refuse_other_version(magic, data, what)
    if len(data) < 8 + 4 + 2 + HASH_LENGTH or data[:8] != magic:
        raise MalformedError(f"{what} is not a {magic[4:].decode('ascii')} object")
    (length,) = struct.unpack_from(">I", data, 8)
    if length > MAX_BODY or 12 + length + 2 + HASH_LENGTH > len(data):
        raise MalformedError(f"{what} is cut short: its body claims {length} bytes")
    (signed,) = struct.unpack_from(">H", data, 12 + length)
    end = 14 + length + signed
    if end + HASH_LENGTH != len(data):
        raise MalformedError(f"{what} has {len(data)} bytes where its lengths say otherwise")
    if fingerprint(data[:end]) != data[end:]:
        raise MalformedError(f"{what} does not match its checksum: changed or damaged in storage")
    return Frame(body=data[12 : 12 + length], signature=data[14 + length : end])


def refuse_other_version(magic: bytes, data: bytes, what: str) -> None:
    """Tell an object of another major version from one that is no such object at all.

    Raises:
        UnsupportedVersionError: `data` begins with `magic` but for its digit.
    """
    found = data[3:4]
    if found.isdigit() and found != magic[3:4] and data[:3] + data[4:8] == magic[:3] + magic[4:]:
        raise UnsupportedVersionError(
            f"{what} is of format {found.decode('ascii')}; "
            f"this release reads format {magic[3:4].decode('ascii')}"
        )


def exact_length(value: bytes, length: int, what: str) -> bytes:
    """Return `value` if it has `length` bytes.

    Raises:
        MalformedError: it has another length.
    """
    if len(value) != length:
        raise MalformedError(f"{what} has {len(value)} bytes instead of {length}")
    return value
