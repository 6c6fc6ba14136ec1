"""What a place elsewhere is to know us by."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Credential:
    """An account at a place and its secret, which no `repr` shows."""

    account: str
    """Not secret: an access key id, an Azure account; empty where the secret says all."""
    secret: str = field(repr=False)
    """A secret access key, an Azure account's key, a Google service account in JSON."""
