"""Signers that an operator accepted, by fingerprint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.clock import from_microseconds, to_microseconds

if TYPE_CHECKING:
    from datetime import datetime

    from strongroom.catalog.database import Database


@dataclass(frozen=True, slots=True)
class SignerRow:
    """A signer that is believed from `accepted_at` on."""

    fingerprint: str
    accepted_at: datetime
    note: str = ""
    """Where it was seen."""


def accept(database: Database, signer: SignerRow) -> None:
    """Believe this signer from now on; who is accepted already stays as it is."""
    database.execute(
        "INSERT INTO accepted_signers (fingerprint, accepted_at, note) VALUES (?, ?, ?) "
        "ON CONFLICT (fingerprint) DO NOTHING",
        (signer.fingerprint, to_microseconds(signer.accepted_at), signer.note),
    )


def revoke(database: Database, fingerprint: str) -> bool:
    """Believe this signer no longer; return whether it was accepted."""
    return bool(
        database.execute("DELETE FROM accepted_signers WHERE fingerprint = ?", (fingerprint,))
    )


def accepted(database: Database) -> tuple[SignerRow, ...]:
    """Return all accepted signers, in the order in which they were accepted."""
    rows = database.query(
        "SELECT fingerprint, accepted_at, note FROM accepted_signers "
        "ORDER BY accepted_at, fingerprint"
    )
    return tuple(
        SignerRow(row["fingerprint"], from_microseconds(row["accepted_at"]), row["note"])
        for row in rows
    )
