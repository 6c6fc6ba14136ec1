"""What is told of repositories, vaults and credentials."""

from __future__ import annotations

from datetime import datetime

from strongroom.control.views.base import View
from strongroom.control.views.chains import AcceptedSigner, ChainView


class Unfinished(View, frozen=True, kw_only=True):
    """A chain that somebody began to write or to copy and did not finish."""

    chain: str
    objects: int
    stored_bytes: int
    goes_at: datetime | None
    """When a prune removes it if nothing changes; None: the next one does."""


class VaultView(View, frozen=True, kw_only=True):
    """What a repository that is a vault demands and keeps."""

    immutable_days: int | None
    """No object goes before the newest point that needs it is so old; None: nothing is locked."""
    batch_days: int | None
    """Locks last so much longer, and are extended once in that time."""
    locked_until: datetime | None = None
    """All that the newest points need is locked until then at least; None before any."""


class ProtectedChain(View, frozen=True, kw_only=True):
    """A chain of a vault, and what its locks are."""

    chain: str
    extended: int
    """Objects whose locks were extended; 0 where that was not due."""
    locked_until: datetime | None
    """All that its newest point needs is locked until then; None where it has no point."""


class ProtectedVault(View, frozen=True, kw_only=True):
    """What `repository protect` did."""

    repository: str
    chains: tuple[ProtectedChain, ...]
    hidden: tuple[str, ...] = ()
    """Objects that somebody hid; `repository unhide` brings them back."""


class UnhiddenVault(View, frozen=True, kw_only=True):
    """What `repository unhide` did, or would do."""

    repository: str
    objects: tuple[str, ...]
    done: bool
    """False after a dry run."""


class CredentialView(View, frozen=True, kw_only=True):
    """A credential of the catalog; what it is, the keystore alone knows."""

    name: str
    created_at: datetime
    changed_at: datetime
    repositories: tuple[str, ...] = ()
    """Those that are opened with it."""


class RepositoryView(View, frozen=True, kw_only=True):
    """A repository of the catalog."""

    name: str
    location: str
    repository_id: str
    added_at: datetime
    jobs: tuple[str, ...] = ()
    vault: VaultView | None = None
    """None where it is none."""
    credential: str | None = None
    """What it is opened with; none where the environment has that."""
    limit: str | None = None
    """How fast this installation may read and write there."""


class RepositoryAdded(View, frozen=True, kw_only=True):
    """What `repository add` did."""

    repository: RepositoryView
    created: bool
    """False where it was there and is attached to."""
    moved: bool
    """It was known by this name, and is in another place from now on."""
    chains: int
    """Chains that were there already; `repository rescan` takes them into the catalog."""


class RepositoryEdited(View, frozen=True, kw_only=True):
    """What `repository edit` did."""

    repository: RepositoryView
    changed: bool


class RepositoryDetails(View, frozen=True, kw_only=True):
    """A repository and its chains."""

    name: str | None
    location: str
    repository_id: str
    free_bytes: int | None
    limit: str | None
    """How fast this installation may read and write there."""
    chains: tuple[ChainView, ...]
    warnings: tuple[str, ...] = ()
    accepted_signers: tuple[AcceptedSigner, ...] = ()
    """Believed on this machine, wherever they sign."""
    vault: VaultView | None = None
    damaged: tuple[str, ...] = ()
    """What this server knows to be damaged, in words, by chain."""
