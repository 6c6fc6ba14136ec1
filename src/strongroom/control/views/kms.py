"""What is told of key management services and their keys."""

from __future__ import annotations

from datetime import datetime

from strongroom.control.views.base import View


class CertificateView(View, frozen=True, kw_only=True):
    """A certificate that a KMS is used with."""

    role: str
    """`client`, or `authority` of the server's."""
    subject: str
    not_after: datetime
    days_left: int


class KmsKeyView(View, frozen=True, kw_only=True):
    """A key at a KMS."""

    name: str
    """What it is called there."""
    key: str
    """Its id there, its version included."""
    job: str | None
    """The job it was made for; none if that was removed."""
    version: int
    present: bool
    """The job's next session is sealed for it."""
    state: str
    """`active`, `disabled`, `condemned` (its deletion is scheduled) or `destroyed`."""
    made_at: datetime
    checked_at: datetime
    points: int
    """Restore points in chains whose present key is sealed for it."""


class KmsView(View, frozen=True, kw_only=True):
    """A KMS, without what opens it."""

    name: str
    kind: str
    endpoints: tuple[str, ...]
    bits: int
    strict: bool
    """A session fails while it is away."""
    vouches: bool
    """It vouches for this server's identity, so that readers need no fingerprint."""
    created_at: datetime
    synced_at: datetime | None
    jobs: tuple[str, ...]
    certificates: tuple[CertificateView, ...] = ()
    keys: tuple[KmsKeyView, ...] = ()


class KmsResult(View, frozen=True, kw_only=True):
    """What adding or changing a KMS did."""

    kms: KmsView
    notices: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class KmsEndpointTest(View, frozen=True, kw_only=True):
    """How one endpoint of a KMS answered."""

    endpoint: str
    ok: bool
    seconds: float
    problem: str | None = None
    code: str | None = None


class KmsKeyTest(View, frozen=True, kw_only=True):
    """Whether a KMS opened what was sealed for one of its keys."""

    name: str
    key: str
    job: str | None
    state: str
    opened: bool
    problem: str | None = None


class KmsTestResult(View, frozen=True, kw_only=True):
    """What `kms test` found."""

    ok: bool
    endpoints: tuple[KmsEndpointTest, ...]
    keys: tuple[KmsKeyTest, ...]
    warnings: tuple[str, ...] = ()


class KmsSyncResult(View, frozen=True, kw_only=True):
    """What `kms sync` and `kms rotate` learned."""

    kms: KmsView
    rotated: tuple[str, ...] = ()
    """Names of keys that have a newer version: the next session is sealed for it."""
    warnings: tuple[str, ...] = ()
    """Keys that open nothing any longer, with the points that need them."""
