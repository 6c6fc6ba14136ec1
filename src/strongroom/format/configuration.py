"""A configuration backup: what a server knows and keeps, sealed, as one object.

Public is what finds and judges it: whose it is, its number, when it was made, whom it is sealed
for. Catalog and keystore are the sealed payload (docs/format.md, "Configuration backups").
"""

from __future__ import annotations

import struct

import msgspec
import zstandard

from strongroom.crypto.labels import bind
from strongroom.crypto.recipients import Stanza
from strongroom.errors import MalformedError, UnsupportedVersionError
from strongroom.format.codec import (
    MAX_BODY,
    Hash,
    Id,
    MaybeHash,
    Number,
    Value,
    decode,
    encode,
    frame,
    unframe,
)
from strongroom.format.padding import padme
from strongroom.format.versions import CONFIGURATION, FORMAT

DOMAIN = "configuration backup"
MAX_OBJECT = MAX_BODY + (1 << 20)
MAX_PAYLOAD = 1 << 30
"""No payload unpacks to more."""
_HEAD = struct.Struct(">QQ")


class ConfigurationBackup(Value, frozen=True):
    """The object's body, which is signed."""

    format_version: int
    installation_id: Id
    """The first 16 bytes of the signer's id: nobody else's object fits among these names."""
    number: Number
    made_at: Number
    previous: MaybeHash
    """Hash of the body of the one before, where the server knew one."""
    identity: bytes
    """Public half of the identity that signs."""
    key_public: bytes
    """Public half of the key pair, made for this one object, that the payload is sealed to."""
    stanzas: list[Stanza]
    sealed: bytes


class Configuration(Value, frozen=True):
    """The payload: all that an installation is made of."""

    catalog: bytes
    """An SQLite database."""
    records: list[tuple[str, bytes]]
    """The keystore's records: the kind's folder, and the record with its name."""
    metakeys: list[tuple[Id, Id, Hash]]
    """Chain id, session id, metakey."""

    def __repr__(self) -> str:
        return "<Configuration redacted>"


def context(installation_id: bytes, number: int) -> bytes:
    """Return what stanzas and payload of one backup are bound to."""
    return b"configuration backup" + installation_id + number.to_bytes(8, "big")


def payload_info(installation_id: bytes, number: int) -> bytes:
    """Return the `info` that the payload is sealed with."""
    return bind("configuration payload", context(installation_id, number))


def pack_payload(configuration: Configuration, overhead: int) -> bytes:
    """Return the payload compressed, and padded so that its sealed length says little.

    Args:
        configuration: What is to be sealed.
        overhead: How much longer sealing makes it.
    """
    raw = encode(configuration)
    packed = zstandard.ZstdCompressor(level=3).compress(raw)
    length = _HEAD.size + len(packed) + overhead
    return _HEAD.pack(len(raw), len(packed)) + packed + bytes(padme(length) - length)


def unpack_payload(payload: bytes, what: str) -> Configuration:
    """Return what a payload holds that was opened and so is authentic.

    Raises:
        MalformedError: lengths that cannot be, or padding that is not zero.
    """
    if len(payload) < _HEAD.size:
        raise MalformedError(f"{what} has a payload that is cut short")
    raw_length, length = _HEAD.unpack_from(payload)
    end = _HEAD.size + length
    if raw_length > MAX_PAYLOAD or end > len(payload) or any(payload[end:]):
        raise MalformedError(f"{what} has a payload whose lengths cannot be")
    try:
        raw = zstandard.ZstdDecompressor().decompress(
            payload[_HEAD.size : end], max_output_size=raw_length, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise MalformedError(f"{what} does not decompress: {error}") from error
    if len(raw) != raw_length:
        raise MalformedError(f"{what} holds {len(raw)} bytes where it claims {raw_length}")
    return decode(Configuration, raw, what)


def frame_configuration(encoded: bytes, signature: bytes) -> bytes:
    return frame(CONFIGURATION, encoded, signature)


def read_configuration(data: bytes, what: str) -> tuple[ConfigurationBackup, bytes, bytes]:
    """Return a backup, its signed bytes and the signature, which the caller checks.

    Raises:
        MalformedError: it is none.
        UnsupportedVersionError: a later release wrote it.
    """
    framed = unframe(CONFIGURATION, data, what)
    # Before its fields are read: those of a later version may be others.
    version = _version(framed.body)
    if version not in (None, FORMAT):
        raise UnsupportedVersionError(
            f"{what} has format {version}; this release reads format {FORMAT}"
        )
    return decode(ConfigurationBackup, framed.body, what), framed.body, framed.signature


def _version(body: bytes) -> int | None:
    try:
        fields = msgspec.msgpack.decode(body, type=list[msgspec.Raw])
        return msgspec.msgpack.decode(fields[0], type=int)
    except (msgspec.DecodeError, ValueError, IndexError):
        return None
