"""A password becomes a seed, and seeds and keys become further keys.

Parameters travel with what they made, so they come back from storage that may be hostile:
nothing is derived before `check_limits` has seen them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from strongroom.clock import SystemClock
from strongroom.crypto.keys import KEY_LENGTH, Password, Seed
from strongroom.crypto.labels import label as full_label
from strongroom.errors import MalformedError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.crypto.keys import SecretBytes

SALT_LENGTH: Final = 16


@dataclass(frozen=True, slots=True)
class Argon2Parameters:
    """What one derivation costs, whoever does it."""

    memory_kib: int
    passes: int
    lanes: int


MINIMUM: Final = Argon2Parameters(64 << 10, 3, 4)
"""RFC 9106's second recommendation; nothing weaker is written or read."""

MAXIMUM: Final = Argon2Parameters(1 << 20, 10, 8)
"""A hostile envelope asks a reader for no more than this."""

_CALIBRATED_MEMORY_KIB: Final = 256 << 10
"""Calibration stops here: a restore may have to run on a small machine."""


def check_limits(parameters: Argon2Parameters) -> None:
    """Refuse parameters that are too weak to have been written or too dear to be tried.

    Raises:
        MalformedError: one of them is below `MINIMUM` or above `MAXIMUM`.
    """
    for name in ("memory_kib", "passes", "lanes"):
        value: int = getattr(parameters, name)
        lowest: int = getattr(MINIMUM, name)
        highest: int = getattr(MAXIMUM, name)
        if not lowest <= value <= highest:
            raise MalformedError(
                f"key derivation asks for {name} {value}, allowed are {lowest} to {highest}"
            )


def calibrate(
    target_seconds: float = 0.5,
    measure: Callable[[Argon2Parameters], float] | None = None,
) -> Argon2Parameters:
    """Return parameters whose derivation takes about `target_seconds` on this machine.

    Memory first, for it is what costs an attacker with many small cores; then passes.

    Args:
        target_seconds: How long an unlock may take.
        measure: Returns the seconds that one derivation takes; by default, does it.
    """
    measure = measure or _measure
    parameters = MINIMUM
    seconds = measure(parameters)
    while parameters.memory_kib < _CALIBRATED_MEMORY_KIB and 2 * seconds <= target_seconds:
        parameters = replace(parameters, memory_kib=2 * parameters.memory_kib)
        seconds = measure(parameters)
    passes = int(parameters.passes * target_seconds / max(seconds, 1e-6))
    return replace(parameters, passes=min(max(passes, MINIMUM.passes), MAXIMUM.passes))


def _measure(parameters: Argon2Parameters) -> float:
    clock = SystemClock()
    start = clock.monotonic()
    derive_seed(Password(b"calibration"), bytes(SALT_LENGTH), parameters)
    return clock.monotonic() - start


def derive_seed(password: Password, salt: bytes, parameters: Argon2Parameters) -> Seed:
    """Return the seed that `password` becomes: Argon2id, 32 bytes.

    Raises:
        MalformedError: the parameters are out of bounds, or the salt has a wrong length.
        RefusedError: this machine has not the memory they ask for.
    """
    check_limits(parameters)
    if len(salt) != SALT_LENGTH:
        raise MalformedError(f"a salt has {SALT_LENGTH} bytes, not {len(salt)}")
    argon = Argon2id(
        salt=salt,
        length=KEY_LENGTH,
        iterations=parameters.passes,
        lanes=parameters.lanes,
        memory_cost=parameters.memory_kib,
    )
    try:
        return Seed(argon.derive(password.expose()))
    except MemoryError as error:
        raise RefusedError(
            f"deriving the key of this password takes {parameters.memory_kib >> 10} MiB of "
            "memory, which this machine does not give",
            hint="free memory, raise the limit, or restore on a larger machine",
        ) from error


def expand(seed_or_key: SecretBytes, label: str, length: int, salt: bytes = b"") -> bytes:
    """Return `length` bytes for one purpose: HKDF-SHA256 with the purpose's label as info."""
    hkdf = HKDF(SHA256(), length, salt or None, full_label(label))
    return hkdf.derive(seed_or_key.expose())
