"""Several endpoints of one KMS as one: they are tried in turn.

The endpoint that answered last is asked first next time. Only what did not answer is passed
over: an endpoint that answers no has answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from strongroom import logs
from strongroom.errors import KmsUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from strongroom.crypto.rsa import OaepHash
    from strongroom.kms.base import KeyState, Kms, KmsKey

T = TypeVar("T")


class FailoverKms:
    """A `Kms` over one or more others that show the same keys."""

    def __init__(self, endpoints: Sequence[Kms]) -> None:
        """Connect to none yet.

        Args:
            endpoints: In the order in which they are to be tried; at least one.
        """
        self._endpoints = list(endpoints)

    @property
    def kind(self) -> str:
        return self._endpoints[0].kind

    @property
    def endpoint(self) -> str:
        return ", ".join(one.endpoint for one in self._endpoints)

    @property
    def can_vouch(self) -> bool:
        return self._endpoints[0].can_vouch

    def make_key(self, name: str, bits: int) -> KmsKey:
        return self._first(lambda one: one.make_key(name, bits))

    def newest_key(self, name: str) -> KmsKey:
        return self._first(lambda one: one.newest_key(name))

    def rotate(self, name: str, bits: int) -> KmsKey:
        return self._first(lambda one: one.rotate(name, bits))

    def state(self, key: str) -> KeyState:
        return self._first(lambda one: one.state(key))

    def decrypt(self, key: str, ciphertext: bytes, oaep: OaepHash) -> bytes:
        return self._first(lambda one: one.decrypt(key, ciphertext, oaep))

    def keys(self) -> Iterator[str]:
        return iter(self._first(lambda one: list(one.keys())))

    def make_vouching_key(self, name: str) -> str:
        return self._first(lambda one: one.make_vouching_key(name))

    def vouching_keys(self) -> Iterator[str]:
        return iter(self._first(lambda one: list(one.vouching_keys())))

    def mac(self, key: str, message: bytes) -> bytes:
        return self._first(lambda one: one.mac(key, message))

    def verify_mac(self, key: str, message: bytes, mac: bytes) -> bool:
        return self._first(lambda one: one.verify_mac(key, message, mac))

    def close(self) -> None:
        for one in self._endpoints:
            one.close()

    def _first(self, call: Callable[[Kms], T]) -> T:
        """Return what the first endpoint that answers says.

        Raises:
            KmsUnavailableError: none does; it names every endpoint, and why.
        """
        failures: list[KmsUnavailableError] = []
        for one in tuple(self._endpoints):
            try:
                result = call(one)
            except KmsUnavailableError as error:
                logs.warning("kms.unavailable", endpoint=one.endpoint, message=str(error))
                failures.append(error)
                continue
            if failures:
                self._endpoints.remove(one)
                self._endpoints.insert(0, one)
            return result
        if len(failures) == 1:
            raise failures[0]
        tried = "; ".join(str(error) for error in failures)
        raise KmsUnavailableError(
            f"none of {len(failures)} endpoints answers: {tried}",
            tried=[one.endpoint for one in self._endpoints],
        ) from failures[-1]
