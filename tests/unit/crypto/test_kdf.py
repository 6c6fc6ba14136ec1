from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from strongroom.crypto import kdf
from strongroom.crypto.kdf import MAXIMUM, MINIMUM, Argon2Parameters
from strongroom.crypto.keys import Password, Seed
from strongroom.errors import MalformedError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

SALT = bytes(range(16))


@pytest.mark.parametrize(
    "parameters",
    [
        replace(MAXIMUM, memory_kib=MAXIMUM.memory_kib + 1),
        replace(MAXIMUM, passes=11),
        replace(MAXIMUM, lanes=9),
        replace(MINIMUM, memory_kib=MINIMUM.memory_kib - 1),
        replace(MINIMUM, passes=2),
        replace(MINIMUM, lanes=3),
        Argon2Parameters(1 << 62, 3, 4),
        Argon2Parameters(-1, 3, 4),
        Argon2Parameters(0, 0, 0),
    ],
    ids=str,
)
def test_a_hostile_envelope_can_neither_exhaust_nor_weaken_a_derivation(
    parameters: Argon2Parameters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kdf, "Argon2id", lambda **_: pytest.fail("it was tried"))
    with pytest.raises(MalformedError):
        kdf.derive_seed(Password(b"x"), SALT, parameters)


@pytest.mark.parametrize("parameters", [MINIMUM, MAXIMUM])
def test_the_limits_themselves_are_allowed(parameters: Argon2Parameters) -> None:
    kdf.check_limits(parameters)


@pytest.mark.parametrize("length", [0, 8, 15, 17, 64])
def test_a_salt_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(MalformedError):
        kdf.derive_seed(Password(b"x"), bytes(length), MINIMUM)


def test_a_password_becomes_another_seed_under_another_salt() -> None:
    first = kdf.derive_seed(Password(b"x"), SALT, MINIMUM)
    # Fixed here so that a library's change of mind is seen before a user's is.
    assert first.expose().hex() == (
        "2c148ab9dffae5a6c9eea4e603daff295fc98208ea656a8b4aea898741c9e578"
    )
    assert kdf.derive_seed(Password(b"x"), SALT[::-1], MINIMUM) != first


def test_a_machine_without_the_memory_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Greedy:
        def __init__(self, **_: object) -> None: ...

        def derive(self, _: bytes) -> bytes:
            raise MemoryError

    monkeypatch.setattr(kdf, "Argon2id", Greedy)
    with pytest.raises(RefusedError, match="1024 MiB"):
        kdf.derive_seed(Password(b"x"), SALT, MAXIMUM)


def _machine(gib_passes_a_second: float) -> Callable[[Argon2Parameters], float]:
    return lambda one: one.memory_kib * one.passes / (1 << 20) / gib_passes_a_second


@pytest.mark.parametrize(
    ("speed", "expected"),
    [
        (0.01, MINIMUM),
        (0.9, Argon2Parameters(128 << 10, 3, 4)),
        (2.0, Argon2Parameters(256 << 10, 4, 4)),
        (4.0, Argon2Parameters(256 << 10, 8, 4)),
        (1000.0, Argon2Parameters(256 << 10, 10, 4)),
    ],
)
def test_calibration_spends_the_time_on_memory_first(
    speed: float, expected: Argon2Parameters
) -> None:
    found = kdf.calibrate(0.5, _machine(speed))
    assert found == expected
    kdf.check_limits(found)


def test_calibration_measures_this_machine_by_itself() -> None:
    assert kdf.calibrate(0.0) == MINIMUM


def test_expanding_is_hkdf_with_a_label_of_its_own() -> None:
    seed = Seed(bytes(32))
    expected = HKDF(SHA256(), 40, SALT, b"strongroom/1/pack").derive(bytes(32))
    assert kdf.expand(seed, "pack", 40, SALT) == expected
    assert kdf.expand(seed, "nonce", 40, SALT) != expected
    assert kdf.expand(seed, "pack", 40) != expected
