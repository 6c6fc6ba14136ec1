"""A password costs a fifth of a second, so all tests share one."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from strongroom.crypto import random
from strongroom.crypto.kdf import MINIMUM
from strongroom.crypto.keys import Password, Seed
from strongroom.crypto.recipients import (
    PasswordRecipient,
    PasswordUnlocker,
    RecoveryRecipient,
    RecoveryUnlocker,
    SeedUnlocker,
    make_password_recipient,
    make_recovery_recipient,
)
from strongroom.crypto.signing import SigningKey


@dataclass(frozen=True)
class Household:
    identity: SigningKey
    password: PasswordRecipient
    password_seed: Seed
    recovery: RecoveryRecipient
    by_password: PasswordUnlocker
    by_stored_secret: SeedUnlocker
    by_kit: RecoveryUnlocker


@pytest.fixture(scope="session")
def household() -> Household:
    identity = SigningKey.from_seed(random.seed())
    typed = Password.from_text("Nine pigeons, 4 hats")
    recipient, seed = make_password_recipient(typed, "birds", identity.public, MINIMUM)
    kit = random.seed()
    return Household(
        identity,
        recipient,
        seed,
        make_recovery_recipient(kit, "kit in the safe", identity.public),
        PasswordUnlocker(typed),
        SeedUnlocker(seed),
        RecoveryUnlocker(kit),
    )
