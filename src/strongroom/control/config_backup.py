"""Backups of the configuration: catalog and keystore, sealed, into a repository.

Made by command, and by `after_command` where settings changed: one place, whatever command it
was (docs/decisions, "Configuration backups"). What a backup holds is what the keystore holds,
so a write-only password gains no secret by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from strongroom.catalog import digest, passwords, repositories, values
from strongroom.clock import from_microseconds, to_microseconds
from strongroom.errors import (
    ConfirmationNeededError,
    InvalidInputError,
    NotFoundError,
    RefusedError,
    StrongroomError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.catalog.database import Database
    from strongroom.control.context import Context
    from strongroom.control.views.configuration import ConfigView
    from strongroom.crypto.recipients import Recipient

RECOVERY: Final = "recovery"
DEFAULT_KEEP: Final = 10
_PLAN: Final = "configuration"
_STATE: Final = f"{digest.OWN_PREFIX}newest"
_PASSWORD: Final = "password:"  # noqa: S105 - how a recipient is written


class _Plan(msgspec.Struct, frozen=True):
    """Where the configuration is backed up to, and for whom."""

    repository_id: bytes
    password_id: bytes | None
    """None: for the recovery key alone."""
    keep: int


class _State(msgspec.Struct, frozen=True):
    """The newest backup that this installation made."""

    number: int
    body_hash: bytes
    made_at: int
    digest: bytes


def set_plan(ctx: Context, repository: str, encrypt: str | None, keep: int | None) -> ConfigView:
    """Back the configuration up to a repository from now on, and now.

    Args:
        ctx: Surroundings.
        repository: Its name.
        encrypt: `password:NAME` or `recovery`; the recovery key, if there is one, opens either.
            None leaves it.
        keep: How many backups stay; None leaves it.

    Raises:
        InvalidInputError: nobody was named to seal for: there is no plain backup.
        NotFoundError: there is no such repository, password or recovery key.
    """
    from strongroom.control import audit

    row = repositories.get(ctx.database, repository)
    before = _plan(ctx.database)
    if encrypt is None and before is None:
        raise InvalidInputError(
            "say whom the configuration is sealed for: it holds keys, and is never plain",
            hint="--encrypt password:NAME, or --encrypt recovery",
        )
    password_id = before.password_id if before else None
    if encrypt is not None:
        password_id = _password_id(ctx, encrypt)
    plan = _Plan(row.repository_id, password_id, keep or (before.keep if before else DEFAULT_KEEP))
    recipients(ctx, plan)
    values.put(ctx.database, _PLAN, msgspec.msgpack.encode(plan))
    audit.record(ctx, "configuration.set", repository=repository, keep=plan.keep)
    backup(ctx)
    return show(ctx)


def turn_off(ctx: Context, *, yes_weaken: bool) -> ConfigView:
    """Back the configuration up no longer; what was stored stays.

    Raises:
        ConfirmationNeededError: nobody said that it is meant.
    """
    if not yes_weaken:
        raise ConfirmationNeededError(
            "without configuration backups a lost server takes its jobs and its identity with it",
            hint="say --yes-weaken if that is meant",
        )
    from strongroom.control import audit

    ctx.database.execute("DELETE FROM settings WHERE name = ?", (_PLAN,))
    audit.weakened(ctx, ["the configuration is no longer backed up"])
    return show(ctx)


def backup(ctx: Context, repository: str | None = None) -> ConfigView:
    """Store a backup of the configuration now.

    Args:
        ctx: Surroundings.
        repository: Another repository than the one that is set, this once.

    Raises:
        NotFoundError: nothing was set.
    """
    from strongroom.control import audit, vaults
    from strongroom.format.configuration import Configuration
    from strongroom.repository import configuration
    from strongroom.repository.repository import Repository

    plan = _plan(ctx.database)
    if plan is None:
        raise NotFoundError(
            "it is not set for whom the configuration is sealed",
            hint="'strongroom config set --repository R --encrypt password:NAME' sets it",
        )
    row = _repository(ctx.database, plan)
    if repository is not None:
        row = repositories.get(ctx.database, repository)
    sealed_for = recipients(ctx, plan)
    opened = Repository.open(vaults.storage_of(ctx, row))
    if opened.repository_id != row.repository_id:
        raise RefusedError(f"{row.location} holds another repository than {row.name}")
    # Before the copy: a change that comes between makes the next command store one more.
    mark = digest.of_settings(ctx.database)
    identity = ctx.identity
    exported = ctx.keystore.export()
    content = Configuration(ctx.database.copy(), exported.records, exported.metakeys)
    now = to_microseconds(ctx.clock.now())
    state = _state(ctx.database)
    previous = configuration.Seen(state.number, state.body_hash) if state else None
    seen = configuration.publish(opened.storage, content, sealed_for, identity, now, previous)
    remember(ctx.database, seen, now, mark)
    installation = configuration.installation_id(identity.public)
    configuration.let_go(opened.storage, installation, seen.number, plan.keep)
    audit.record(ctx, "configuration.stored", needed=False, repository=row.name, number=seen.number)
    return show(ctx)


def after_command(ctx: Context) -> None:
    """Store a backup if the command that ends here, or one before, changed what is worth one.

    A repository that is away is told of, and tried again by the next command.
    """
    try:
        if is_due(ctx.database):
            backup(ctx)
    except StrongroomError as error:
        ctx.warn(
            f"the configuration was not backed up: {error}; the next command tries again, or "
            "'strongroom config backup'"
        )


def is_due(database: Database) -> bool:
    """Tell whether settings changed since the newest backup; never where none is wanted."""
    if _plan(database) is None:
        return False
    state = _state(database)
    return state is None or state.digest != digest.of_settings(database)


def is_set(database: Database) -> bool:
    """Tell whether the configuration is backed up at all."""
    return _plan(database) is not None


def show(ctx: Context) -> ConfigView:
    """Return whether and where the configuration is backed up."""
    from strongroom.control.views.configuration import ConfigView
    from strongroom.repository.configuration import installation_id

    plan, state = _plan(ctx.database), _state(ctx.database)
    signer = ctx.identity.public
    return ConfigView(
        enabled=plan is not None,
        repository=_repository(ctx.database, plan).name if plan else None,
        encrypt=_shown(ctx.database, plan) if plan else None,
        keep=plan.keep if plan else None,
        installation=installation_id(signer).hex(),
        signer=signer.fingerprint,
        number=state.number if state else None,
        made_at=from_microseconds(state.made_at) if state else None,
        due=is_due(ctx.database),
    )


def users_of(
    database: Database, *, repository_id: bytes = b"", password_id: bytes = b""
) -> list[str]:
    """Return who needs a repository or a password here, for a message: nobody, or these backups."""
    plan = _plan(database)
    if plan is None or not (repository_id or password_id):
        return []
    used = plan.repository_id == repository_id or plan.password_id == password_id
    return ["the configuration backups"] if used else []


def recipients(ctx: Context, plan: _Plan) -> Sequence[Recipient]:
    """Return whom the configuration is sealed for.

    Raises:
        NotFoundError: there is nobody.
    """
    from strongroom.control import keys

    found: list[Recipient] = []
    row = next(
        (one for one in passwords.all_rows(ctx.database) if one.password_id == plan.password_id),
        None,
    )
    if row is not None:
        found.append(keys.password_record(ctx, row).recipient())
    recovery = keys.recovery_recipient(ctx)
    if recovery is not None:
        found.append(recovery)
    if not found:
        raise NotFoundError(
            "there is nobody to seal the configuration for: no recovery key, and no password",
            hint="'strongroom recovery create FILE' makes a key, --encrypt password:NAME takes one",
        )
    return found


def remember(database: Database, seen: object, made_at: int, mark: bytes) -> None:
    """Keep what the newest backup is, so that a roll-back of it is noticed."""
    from strongroom.repository.configuration import Seen

    assert isinstance(seen, Seen)
    state = _State(seen.number, seen.body_hash, made_at, mark)
    values.put(database, _STATE, msgspec.msgpack.encode(state))


def seen_by(database: Database) -> tuple[int, bytes] | None:
    """Return number and hash of the newest backup that this installation made."""
    state = _state(database)
    return (state.number, state.body_hash) if state else None


def _plan(database: Database) -> _Plan | None:
    raw = values.get(database, _PLAN)
    return msgspec.msgpack.decode(raw, type=_Plan) if raw is not None else None


def _state(database: Database) -> _State | None:
    raw = values.get(database, _STATE)
    return msgspec.msgpack.decode(raw, type=_State) if raw is not None else None


def _repository(database: Database, plan: _Plan) -> repositories.RepositoryRow:
    row = repositories.by_id(database, plan.repository_id)
    if row is None:
        raise NotFoundError(
            "the repository for configuration backups is known no longer",
            hint="'strongroom config set --repository R' names another",
        )
    return row


def _password_id(ctx: Context, encrypt: str) -> bytes | None:
    if encrypt == RECOVERY:
        return None
    if not encrypt.startswith(_PASSWORD):
        raise InvalidInputError(
            f"the configuration cannot be sealed for {encrypt!r}: it is never plain",
            hint="--encrypt password:NAME, or --encrypt recovery",
        )
    return passwords.get(ctx.database, encrypt.removeprefix(_PASSWORD)).password_id


def _shown(database: Database, plan: _Plan) -> str:
    for row in passwords.all_rows(database):
        if row.password_id == plan.password_id:
            return f"{_PASSWORD}{row.name}"
    return RECOVERY
