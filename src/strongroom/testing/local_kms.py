"""A KMS in memory, with an administrator who rotates, disables and destroys.

`LocalKmsServer` holds the keys; `LocalKms` is one endpoint of it, which can be away.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from strongroom.crypto import random, rsa
from strongroom.crypto.rsa import OaepHash
from strongroom.errors import KmsUnavailableError, NotFoundError, RefusedError, UnlockError
from strongroom.kms.base import VOUCHING_PREFIX, KeyState, KmsKey

if TYPE_CHECKING:
    from collections.abc import Iterator

_SPARE: list[tuple[bytes, rsa.PublicKey]] = []
"""Making an RSA key takes a second; tests of the same process take them in turn."""
_SPARES = 6


@dataclass(slots=True)
class _Held:
    name: str
    private: bytes
    public: bytes
    state: KeyState = KeyState.ACTIVE


@dataclass(slots=True)
class LocalKmsServer:
    """What stands behind the endpoints."""

    can_vouch: bool = True
    oaep: OaepHash = OaepHash.SHA256
    calls: Counter[str] = field(default_factory=Counter)
    """How often each operation was asked for, at any endpoint."""
    held: dict[str, _Held] = field(default_factory=dict)
    macs: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    may: bool = True
    """Whether our credentials have any right at all."""

    def make(self, name: str, bits: int) -> KmsKey:
        private, public = _key_pair(bits, len(self.held))
        key = f"{name}:{random.token(4).hex()}"
        self.held[key] = _Held(name, private, public.der)
        return KmsKey(key, public.der, self.oaep)

    def set_state(self, key: str, state: KeyState) -> None:
        """Do what an administrator does to a key."""
        if state is KeyState.DESTROYED:
            del self.held[key]
        else:
            self.held[key].state = state


def _key_pair(bits: int, number: int) -> tuple[bytes, rsa.PublicKey]:
    if bits != rsa.SIZES[0]:
        return rsa.generate(bits)
    while len(_SPARE) <= number % _SPARES:
        _SPARE.append(rsa.generate(bits))
    return _SPARE[number % _SPARES]


class LocalKms:
    """One endpoint of a `LocalKmsServer`."""

    def __init__(
        self, server: LocalKmsServer, endpoint: str = "local:1", kind: str = "local"
    ) -> None:
        """Stand at one endpoint.

        Args:
            server: What stands behind it.
            endpoint: Where it is said to be.
            kind: What it is to be taken for.
        """
        self.server = server
        self.kind = kind
        self.endpoint = endpoint
        self.away = False
        """Whether it answers nobody."""

    @property
    def can_vouch(self) -> bool:
        return self.server.can_vouch

    def make_key(self, name: str, bits: int) -> KmsKey:
        self._called("make_key")
        return self.server.make(name, bits)

    def newest_key(self, name: str) -> KmsKey:
        self._called("newest_key")
        for key, held in reversed(self.server.held.items()):
            if held.name == name and held.state.opens:
                return KmsKey(key, held.public, self.server.oaep)
        raise NotFoundError(f"no key {name} opens anything at {self.endpoint}")

    def rotate(self, name: str, bits: int) -> KmsKey:
        self._called("rotate")
        return self.server.make(name, bits)

    def state(self, key: str) -> KeyState:
        self._called("state")
        held = self.server.held.get(key)
        return KeyState.DESTROYED if held is None else held.state

    def decrypt(self, key: str, ciphertext: bytes, oaep: OaepHash) -> bytes:
        self._called("decrypt")
        held = self.server.held.get(key)
        if held is None:
            raise NotFoundError(f"there is no key {key} at {self.endpoint}")
        if not held.state.opens:
            raise RefusedError(f"key {key} is {held.state} at {self.endpoint}")
        if oaep is not self.server.oaep:
            raise UnlockError(f"{self.endpoint} does not know OAEP with {oaep.name}")
        return rsa.decrypt(held.private, ciphertext, oaep)

    def keys(self) -> Iterator[str]:
        self._called("keys")
        return iter(list(self.server.held))

    def make_vouching_key(self, name: str) -> str:
        self._called("make_vouching_key")
        if not self.can_vouch:
            raise RefusedError(f"{self.endpoint} makes no MACs")
        key = f"{name}:{random.token(4).hex()}"
        self.server.macs[key] = (name, random.token(32))
        return key

    def vouching_keys(self) -> Iterator[str]:
        self._called("vouching_keys")
        named = [
            key for key, (name, _) in self.server.macs.items() if name.startswith(VOUCHING_PREFIX)
        ]
        return iter(named)

    def mac(self, key: str, message: bytes) -> bytes:
        self._called("mac")
        return self._mac(key, message)

    def verify_mac(self, key: str, message: bytes, mac: bytes) -> bool:
        self._called("verify_mac")
        return hmac.compare_digest(self._mac(key, message), mac)

    def close(self) -> None:
        pass

    def _mac(self, key: str, message: bytes) -> bytes:
        if key not in self.server.macs:
            raise NotFoundError(f"there is no key {key} at {self.endpoint}")
        return hmac.digest(self.server.macs[key][1], message, hashlib.sha256)

    def _called(self, what: str) -> None:
        if self.away:
            raise KmsUnavailableError(f"{self.endpoint} does not answer")
        self.server.calls[what] += 1
        if not self.server.may:
            raise RefusedError(f"{self.endpoint} does not know us")
