"""What is told of the audit log."""

from __future__ import annotations

from strongroom.control.views.base import View


class AuditRecord(View, frozen=True, kw_only=True):
    """A line of the audit log."""

    number: int
    at: str
    event: str
    severity: str
    outcome: str
    """`ok`, `failed` or `refused`."""
    who: dict[str, str | int]
    """`uid`, `pid`, and where they are known `user`, `sudo_user` and `tty`."""
    command: str
    """Noun and verb."""
    fields: dict[str, object]


class AuditVerified(View, frozen=True, kw_only=True):
    """What a whole audit log is known by."""

    lines: int
    head: str
    """Number and tag of the newest line: written down elsewhere, the log is checked against it."""


# --- keys and the report ------------------------------------------------------------------------
