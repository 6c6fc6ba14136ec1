"""What is told of chains, and of who signs them."""

from __future__ import annotations

from datetime import datetime

from strongroom.control.views.base import View
from strongroom.control.views.points import PointRow
from strongroom.control.views.recipients import ChainRecipient, NeededKey


class ChainView(View, frozen=True, kw_only=True):
    """One chain as a repository shows it."""

    chain_id: str
    repository: str | None
    """Its name; None where the catalog does not know the repository."""
    state: str
    """`known` (its job is one of this catalog's), `orphaned` (its job was removed here, and it
    expires by that job's last rules), `taken-in` (the catalog knows it, and no job goes on in
    it), `locked` (nothing at hand opens it), `unknown`, or `damaged`."""
    job_id: str
    job: str | None
    """Its name, where the catalog knows the job or a key opened the chain."""
    encrypted: bool
    locked: bool
    """Encrypted, and nothing at hand opens it."""
    opens: str
    """What is at hand opens `all`, `part` (`needed` says what is missing), only `names` and no
    contents, or `nothing`."""
    key_id: str | None
    """Of the chain key that the newest session sealed to; None in a plain chain."""
    hints: tuple[str, ...]
    """Of the passwords that open it."""
    key_ids: tuple[str, ...]
    """Of the recipients that open it."""
    recipients: tuple[ChainRecipient, ...]
    """The same, together."""
    unlinked: tuple[str, ...]
    """Ids of older chain keys that points need and no link leads to: their own secrets do."""
    signer: str
    """Fingerprint."""
    trusted: bool
    """The signer is this installation's own, accepted, or vouched for by the secret; where
    signers were pinned, it is one of these."""
    points: int
    started_at: datetime
    newest_at: datetime | None
    entries: int
    """Number of the newest journal entry: compare it with what you know."""
    problem: str | None = None
    """What is wrong with it, if it cannot be read or believed."""
    needed: tuple[NeededKey, ...] = ()
    """What has to be opened beside what is at hand; nothing where `opens` is `names`."""


class ChainList(View, frozen=True, kw_only=True):
    """Chains, and what is to be said of their repositories."""

    chains: tuple[ChainView, ...]
    """Oldest first."""
    warnings: tuple[str, ...] = ()


class ChainDetails(View, frozen=True, kw_only=True):
    """One chain with its points."""

    chain: ChainView
    points: tuple[PointRow, ...]
    """Oldest first."""
    sources: tuple[str, ...]
    """What its points were taken of, as far as they are open."""
    machines: tuple[str, ...]
    warnings: tuple[str, ...] = ()


class ChainUnlocked(View, frozen=True, kw_only=True):
    """What `chain unlock` did."""

    details: ChainDetails
    keeps_secret: bool
    """The keystore keeps what opens the data of all points so far."""
    missing: tuple[ChainRecipient, ...]
    """Whose secrets would open what stays locked: no link leads there. `details` says which
    points that is."""
    linked: tuple[str, ...] = ()
    """Ids of older chain keys that it made the missing links to."""
    notices: tuple[str, ...] = ()


class AcceptedSigner(View, frozen=True, kw_only=True):
    """A signer that an operator accepted on this machine."""

    fingerprint: str
    accepted_at: datetime
    repository: str
    """Where it was seen: the name or location that was given."""


class SignerResult(View, frozen=True, kw_only=True):
    """What `repository trust` did."""

    fingerprint: str
    accepted: bool
    """False once it is revoked."""
    chains: tuple[str, ...] = ()
    """Ids of the chains in the repository that it signed."""
