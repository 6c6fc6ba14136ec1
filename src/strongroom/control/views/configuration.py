"""What is told of backups of the configuration."""

from __future__ import annotations

from datetime import datetime

from strongroom.control.views.base import View


class ConfigView(View, frozen=True, kw_only=True):
    """Whether and where the configuration is backed up."""

    enabled: bool
    repository: str | None = None
    encrypt: str | None = None
    keep: int | None = None
    installation: str
    """What its backups lie under; cut from the signer's id."""
    signer: str
    number: int | None = None
    """Of the newest backup that this machine made; null if it made none."""
    made_at: datetime | None = None
    due: bool = False
    """Settings have changed since, or none was made: the next command makes one."""


class ConfigBackupView(View, frozen=True, kw_only=True):
    """One configuration backup in a repository."""

    installation: str
    number: int
    made_at: datetime | None
    signer: str | None
    hints: tuple[str, ...]
    """Of the passwords that open it."""
    opens: bool | None
    """Whether the secret given opens it and vouches for its signer; null if none was given."""
    problem: str | None = None


class ConfigRestored(View, frozen=True, kw_only=True):
    """An installation that was brought back."""

    home: str
    installation: str
    number: int
    made_at: datetime
    signer: str
    jobs: tuple[str, ...]
    moved_aside: str | None
    """Where the home that was there is now."""
    repositories: tuple[str, ...]
    """Those that answered; what they hold was taken into the catalog."""
    notices: tuple[str, ...]


class Reprotected(View, frozen=True, kw_only=True):
    """A keystore that was sealed under this machine's key."""

    records: int
    key_file: str
    changed: bool
    """False: it was sealed under this very key already."""
