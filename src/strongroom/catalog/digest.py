"""Whether the catalog changed in a way that a configuration backup has to follow.

What sessions write all the time is left out: a rescan gives it back, as another scrub does what
scrubs write. A new table counts until
it is left out here. Of a job of whose secret nothing is stored, the newest session counts: its
metakey is in the keystore only, and the chain cannot give it back.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from strongroom.catalog.database import Database

OWN_PREFIX: Final = "configuration."
"""Values of this name's kind tell of the backups themselves."""
_GIVEN_BACK: Final = frozenset(
    (
        "sessions",
        "points",
        "heads",
        "copies",
        "copied_points",
        "chain_locks",
        "envelopes",
        "chain_recipients",
        "failed_attempts",
        "scrubs",
        "scrubbed_packs",
        "alembic_version",
    )
)
_COUNTED_BY_SESSIONS: Final = {
    "jobs": ("counter",),
    "copy_jobs": ("ran_at", "problem"),
    "copied_clones": ("header",),
    "kms": ("synced_at",),
    "kms_keys": ("state", "checked_at", "proven_at"),
}
_NEWEST_UNSTORED: Final = """
    SELECT points.job_id, MAX(points.entry), points.chain_id FROM points
    JOIN jobs ON jobs.job_id = points.job_id
    LEFT JOIN passwords ON passwords.password_id = jobs.password_id
    WHERE jobs.encryption != 'none' AND COALESCE(passwords.write_only, 1)
    GROUP BY points.job_id, points.chain_id ORDER BY points.job_id, points.chain_id
"""


def of_settings(database: Database) -> bytes:
    """Return 32 bytes that are others as soon as a backup of the configuration is due."""
    found = hashlib.sha256()
    tables = database.query(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' "
        "ORDER BY name"
    )
    for name in (str(row["name"]) for row in tables):
        if name in _GIVEN_BACK:
            continue
        rows = database.query(f"SELECT * FROM {name}")  # noqa: S608 - a table's own name
        skipped = _COUNTED_BY_SESSIONS.get(name, ())
        shown = sorted(
            repr([(key, row[key]) for key in row.keys() if key not in skipped])  # noqa: SIM118
            for row in rows
            if not (name == "settings" and str(row["name"]).startswith(OWN_PREFIX))
        )
        found.update(repr((name, shown)).encode())
    found.update(repr([tuple(row) for row in database.query(_NEWEST_UNSTORED)]).encode())
    return found.digest()
