"""The one source of randomness: the operating system's."""

from __future__ import annotations

import os
from random import SystemRandom
from typing import TypeVar

from strongroom.crypto.keys import KEY_LENGTH, Seed

T = TypeVar("T")

_system = SystemRandom()


def token(n: int) -> bytes:
    """Return `n` random bytes."""
    return os.urandom(n)


def number(lowest: int, highest: int) -> int:
    """Return a uniform number, both ends included."""
    return _system.randint(lowest, highest)


def shuffled(items: list[T]) -> list[T]:
    """Return `items` in a uniformly random order; the list given stays as it is."""
    result = list(items)
    # Fisher-Yates over the operating system's generator.
    _system.shuffle(result)
    return result


def seed() -> Seed:
    """Return a fresh seed."""
    return Seed(token(KEY_LENGTH))
