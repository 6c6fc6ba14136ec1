"""What is told of passwords."""

from __future__ import annotations

from datetime import datetime

from strongroom.control.views.base import View


class PasswordView(View, frozen=True, kw_only=True):
    """A password, without its secret."""

    name: str
    hint: str
    """Public: it stands readable in every repository."""
    write_only: bool
    """This machine keeps no secret for it and cannot open what it seals."""
    version: int
    """Grows with every change of the secret."""
    key_id: str
    created_at: datetime
    changed_at: datetime
    verified_at: datetime | None
    jobs: tuple[str, ...] = ()


class PasswordResult(View, frozen=True, kw_only=True):
    """What adding or changing a password did."""

    password: PasswordView
    notices: tuple[str, ...] = ()
    rekeyed: tuple[str, ...] = ()
    """Jobs whose chain got its new key and link at once."""
    pending: tuple[str, ...] = ()
    """Jobs whose next session makes key and link."""
