"""What is told of all keys together, and of what is amiss with them."""

from __future__ import annotations

from datetime import datetime

from strongroom.control.views.base import View


class KeyUse(View, frozen=True, kw_only=True):
    """A chain that a secret opens."""

    chain: str
    job: str | None
    """None if the job was removed."""
    points: int
    whole: bool
    """It opens all of it; otherwise only what was sealed before a later change."""
    alone: bool
    """Nothing else that is known opens it."""
    beside: bool = False
    """It is needed beside the newest secret: a link is still to be made."""


class KeyView(View, frozen=True, kw_only=True):
    """A secret that opens backups, or an identity that signs them."""

    kind: str
    """`password`, `kms`, `recovery` or `signer`."""
    name: str
    key_id: str
    """As it stands in envelopes, hexadecimal; of a signer its fingerprint."""
    version: int
    present: bool
    """Sessions to come are sealed for it, or signed by it."""
    state: str
    """`stored` or `write-only`, `offline` (a kit), `own` or `accepted` (a signer), or what a KMS
    says of its key."""
    made_at: datetime
    age_days: int
    proven_at: datetime | None
    """When it was last seen to be the right secret, or to open something."""
    jobs: tuple[str, ...] = ()
    """Jobs whose next session is sealed for it."""
    guarded: tuple[str, ...] = ()
    """Those of them that are read only with a secret that is given with the command."""
    chains: tuple[KeyUse, ...] = ()
    points: int = 0
    """Points of the chains that it opens whole."""
    alone: int = 0
    """Those of them that nothing else known opens."""


class Finding(View, frozen=True, kw_only=True):
    """Something that the report tells."""

    code: str
    """Stable, for scripts: `unencrypted`, `unprotected`, `password-old`, …"""
    subject: str
    text: str
    problem: bool
    """It needs attention; otherwise it is only to be known."""


class JobKeysView(View, frozen=True, kw_only=True):
    """How one job stands with its keys."""

    job: str
    encrypt: str
    key_id: str | None
    key_age_days: int | None
    protected: bool
    """The recovery key opens it too."""
    points: int
    opened_by: int
    """How many known secrets open its newest points."""
    copies: int
    """Repositories that have its points besides its own."""
    secret_to_read: bool = False
    """Its points are read only with a secret that is given with the command."""


class KeyReport(View, frozen=True, kw_only=True):
    """Who can open what, and what is wrong with that."""

    made_at: datetime
    ok: bool
    jobs: tuple[JobKeysView, ...]
    findings: tuple[Finding, ...]
    keys: tuple[KeyView, ...]


# --- configuration ---------------------------------------------------------------------------
