"""Signers that an operator accepted, by fingerprint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.clock import to_microseconds

if TYPE_CHECKING:
    from datetime import datetime

    from strongroom.catalog.database import Database


def accept(database: Database, fingerprint: str, at: datetime, note: str = "") -> None:
    """Believe this signer from now on."""
    database.execute(
        "INSERT INTO accepted_signers (fingerprint, accepted_at, note) VALUES (?, ?, ?) "
        "ON CONFLICT (fingerprint) DO NOTHING",
        (fingerprint, to_microseconds(at), note),
    )


def accepted(database: Database) -> frozenset[str]:
    """Return the fingerprints of all accepted signers."""
    rows = database.query("SELECT fingerprint FROM accepted_signers")
    return frozenset(str(row["fingerprint"]) for row in rows)
