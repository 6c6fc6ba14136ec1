"""AES-256-GCM for packs and for single values.

A sealed block is `nonce 12 │ ciphertext │ tag 16`. Its nonce is its place in the birth pack,
24 bits, and 72 bits of a keyed hash over exactly what is sealed, associated data included: a
machine that was cloned or rolled back, and seals under the same key and pack id again, repeats
a nonce only where it repeats the very same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from strongroom.crypto import random
from strongroom.crypto.kdf import expand
from strongroom.errors import IntegrityError

if TYPE_CHECKING:
    from strongroom.crypto.content import Buffer
    from strongroom.crypto.keys import MetaKey, SecretBytes, SessionKey

NONCE_LENGTH: Final = 12
TAG_LENGTH: Final = 16
OVERHEAD: Final = NONCE_LENGTH + TAG_LENGTH
PACK_ID_LENGTH: Final = 32
MAX_PLACE: Final = (1 << 24) - 1

_PLACE_LENGTH: Final = 3
_KEY_LENGTH: Final = 32
_SALT_LENGTH: Final = 32

VALUE_OVERHEAD: Final = _SALT_LENGTH + OVERHEAD


class NotSealedHereError(IntegrityError):
    """These bytes were not sealed here: another key, pack, place or context, or altered."""

    code = "sealed-elsewhere"


class PackSealer:
    """Seals and opens the blocks of one pack.

    The key of a pack comes from the session's and the pack's random id, so no two packs share
    one, and two threads that seal share no pack.
    """

    __slots__ = ("_aead", "_nonce_key")

    def __init__(self, key: SessionKey | MetaKey, pack_id: bytes) -> None:
        if len(pack_id) != PACK_ID_LENGTH:
            raise ValueError(f"a pack id has {PACK_ID_LENGTH} bytes, not {len(pack_id)}")
        self._aead = AESGCM(expand(key, "pack", _KEY_LENGTH, pack_id))
        self._nonce_key = expand(key, "nonce", _KEY_LENGTH, pack_id)

    def seal_into(self, place: int, context: bytes, plaintext: Buffer, out: memoryview) -> int:
        """Seal one block into the front of `out`, without a copy.

        Args:
            place: Its number in this pack.
            context: What it is bound to besides; opening needs the same.
            plaintext: The block; must not overlap `out`.
            out: At least `OVERHEAD` longer than the block, in bytes.

        Returns:
            How many bytes of `out` were written.
        """
        data = memoryview(plaintext)
        end = data.nbytes + OVERHEAD
        if out.nbytes < end:
            raise ValueError(f"sealing takes {end} bytes of room, there are {out.nbytes}")
        nonce = self._nonce(place, context, data)
        out[:NONCE_LENGTH] = nonce
        self._aead.encrypt_into(nonce, data, context, out[NONCE_LENGTH:end])
        return end

    def seal(self, place: int, context: bytes, plaintext: Buffer) -> bytes:
        """Seal one block; as `seal_into`, with a buffer of its own."""
        nonce = self._nonce(place, context, memoryview(plaintext))
        return nonce + self._aead.encrypt(nonce, plaintext, context)

    def open(self, place: int, context: bytes, sealed: Buffer) -> bytes:
        """Return the block that was sealed at `place` for `context`.

        Raises:
            NotSealedHereError: these bytes are no such block.
        """
        data = memoryview(sealed)
        if data.nbytes < OVERHEAD:
            raise NotSealedHereError(f"{data.nbytes} bytes are too few for a sealed block")
        if not 0 <= place <= MAX_PLACE or data[:_PLACE_LENGTH] != _as_bytes(place):
            found = int.from_bytes(data[:_PLACE_LENGTH], "big")
            raise NotSealedHereError(f"sealed for place {found} of a pack, found at place {place}")
        try:
            return self._aead.decrypt(data[:NONCE_LENGTH], data[NONCE_LENGTH:], context)
        except InvalidTag as error:
            raise NotSealedHereError(
                f"the block at place {place} does not open: altered, or another pack's"
            ) from error

    def _nonce(self, place: int, context: bytes, plaintext: memoryview) -> bytes:
        if not 0 <= place <= MAX_PLACE:
            raise ValueError(f"a place in a pack is at most {MAX_PLACE}, not {place}")
        # The length keeps context and plaintext apart. The context is hashed too: one nonce
        # for two contexts would give away the key that authenticates.
        head = len(context).to_bytes(8, "big") + context
        hasher = blake3(head, key=self._nonce_key).update(plaintext)
        return _as_bytes(place) + hasher.digest(NONCE_LENGTH - _PLACE_LENGTH)


def _as_bytes(place: int) -> bytes:
    return place.to_bytes(_PLACE_LENGTH, "big")


def seal_value(key: SecretBytes, label: str, context: bytes, plaintext: bytes) -> bytes:
    """Seal a small single value so that it opens only under `key`, `label` and `context`.

    What comes back is `salt 32 │ nonce 12 │ ciphertext │ tag 16`. The salt makes a fresh key
    for every value, so no number of values under one key uses up its nonces.
    """
    salt = random.token(_SALT_LENGTH)
    nonce = random.token(NONCE_LENGTH)
    return salt + nonce + _value_aead(key, label, salt).encrypt(nonce, plaintext, context)


def open_value(key: SecretBytes, label: str, context: bytes, sealed: Buffer) -> bytes:
    """Return the value that was sealed under `key` and `label` for `context`.

    Raises:
        NotSealedHereError: these bytes are no such value.
    """
    data = memoryview(sealed)
    if data.nbytes < VALUE_OVERHEAD:
        raise NotSealedHereError(f"{data.nbytes} bytes are too few for a sealed value")
    salt = bytes(data[:_SALT_LENGTH])
    nonce = data[_SALT_LENGTH : _SALT_LENGTH + NONCE_LENGTH]
    try:
        return _value_aead(key, label, salt).decrypt(
            nonce, data[_SALT_LENGTH + NONCE_LENGTH :], context
        )
    except InvalidTag as error:
        raise NotSealedHereError(f"this value was not sealed here as {label}") from error


def _value_aead(key: SecretBytes, label: str, salt: bytes) -> AESGCM:
    return AESGCM(expand(key, f"value/{label}", _KEY_LENGTH, salt))
