"""Credentials of places elsewhere: kept sealed, named by repositories, given to their storages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from strongroom.catalog import credentials as rows
from strongroom.catalog import repositories
from strongroom.control import audit
from strongroom.control.views.repositories import CredentialView
from strongroom.crypto import random
from strongroom.crypto.keys import SecretBytes
from strongroom.errors import ConflictError, InUseError, InvalidInputError, KeystoreLockedError
from strongroom.keystore import CredentialRecord
from strongroom.model.ids import checked_name
from strongroom.storage.credential import Credential

if TYPE_CHECKING:
    from strongroom.control.context import Context
    from strongroom.control.secrets import SecretSource


def add(ctx: Context, name: str, account: str, secret: SecretSource) -> CredentialView:
    """Keep a credential; no place is asked whether it knows it before a repository uses it.

    Raises:
        ConflictError: the name is taken.
        SecretNeededError: no place of the secret was named, and there is no terminal to ask on.
    """
    audit.require(ctx)
    checked_name("credential", name)
    if rows.find(ctx.database, name) is not None:
        raise ConflictError(
            f"there is a credential {name} already",
            hint=f"'strongroom credential edit {name}' changes it",
        )
    record = CredentialRecord(account=_account(account), secret=_secret(name, secret))
    now = ctx.clock.now()
    row = rows.CredentialRow(random.token(16), name, now, now)
    ctx.keystore.put(row.credential_id.hex(), record)
    with ctx.database.transaction():
        rows.insert(ctx.database, row)
        audit.record(ctx, "credential.added", credential=name)
    return _view(ctx, row)


def edit(
    ctx: Context, name: str, account: str | None = None, secret: SecretSource | None = None
) -> CredentialView:
    """Replace a credential: the next command that opens its repositories uses the new one.

    Raises:
        NotFoundError: there is none of this name.
        InvalidInputError: nothing is to be changed.
    """
    audit.require(ctx)
    row = rows.get(ctx.database, name)
    if account is None and secret is None:
        raise InvalidInputError(
            f"nothing is to be changed of credential {name}",
            hint="give --access-key, --secret-file, or both",
        )
    record = ctx.keystore.get(CredentialRecord, row.credential_id.hex())
    if account is not None:
        record = msgspec.structs.replace(record, account=_account(account))
    if secret is not None:
        record = msgspec.structs.replace(record, secret=_secret(name, secret))
    ctx.keystore.put(row.credential_id.hex(), record)
    with ctx.database.transaction():
        rows.touch(ctx.database, row.credential_id, ctx.clock.now())
        audit.record(ctx, "credential.changed", credential=name)
    return _view(ctx, rows.get(ctx.database, name))


def list_all(ctx: Context) -> tuple[CredentialView, ...]:
    """Return every credential, by name."""
    return tuple(_view(ctx, row) for row in rows.all_rows(ctx.database))


def remove(ctx: Context, name: str) -> CredentialView:
    """Forget a credential.

    Raises:
        NotFoundError: there is none of this name.
        InUseError: a repository is opened with it.
    """
    audit.require(ctx)
    row = rows.get(ctx.database, name)
    view = _view(ctx, row)
    if view.repositories:
        users = [f"repository {one}" for one in view.repositories]
        raise InUseError(
            f"credential {name} is used by {', '.join(users)}",
            hint="give them another with 'strongroom repository add NAME LOCATION --credential'",
            users=users,
        )
    with ctx.database.transaction():
        rows.remove(ctx.database, row.credential_id)
        audit.record(ctx, "credential.removed", credential=name)
    ctx.keystore.delete(CredentialRecord, row.credential_id.hex())
    return view


def named(ctx: Context, name: str) -> tuple[bytes, Credential]:
    """Return the id of a credential, and itself.

    Raises:
        NotFoundError: there is none of this name.
    """
    row = rows.get(ctx.database, name)
    return row.credential_id, _opened(ctx, row.credential_id)


def of_location(ctx: Context, location: str) -> Credential | None:
    """Return what the repository at a location is opened with, if a credential is kept for it.

    A home whose keystore does not open must not stand in the way of a restore: then the
    environment's has to do.
    """
    if not ctx.has_catalog:
        return None
    row = repositories.by_location(ctx.database, location)
    if row is None or row.credential_id is None:
        return None
    try:
        return _opened(ctx, row.credential_id)
    except KeystoreLockedError as error:
        ctx.warn(f"{error}; what the environment has is tried for {location}")
        return None


def _opened(ctx: Context, credential_id: bytes) -> Credential:
    record = ctx.keystore.get(CredentialRecord, credential_id.hex())
    return Credential(record.account, record.secret.expose().decode())


def _account(account: str) -> str:
    if not account.isprintable() or account != account.strip():
        raise InvalidInputError(f"{account!r} is no access key id")
    return account


def _secret(name: str, source: SecretSource) -> SecretBytes:
    secret = source.get(f"secret of credential {name}").expose()
    try:
        secret.decode()
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"the secret of credential {name} is no text") from error
    return SecretBytes(secret)


def _view(ctx: Context, row: rows.CredentialRow) -> CredentialView:
    users = repositories.of_credential(ctx.database, row.credential_id)
    return CredentialView(
        name=row.name,
        created_at=row.created_at,
        changed_at=row.changed_at,
        repositories=tuple(one.name for one in users),
    )
