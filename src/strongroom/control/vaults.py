"""Vaults: repositories that take only what is encrypted, and keep it until a date.

What a vault refuses is refused before anything is read or written. What it keeps is locked by
its storage (`storage.base.LockingStorage`), which this server's own rights do not overcome; until
when is `model.immutability`'s to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.catalog import copy_jobs, jobs, repositories
from strongroom.catalog import vaults as vault_rows
from strongroom.catalog.vaults import Vault
from strongroom.clock import from_microseconds
from strongroom.control import audit, clock_guard, keys
from strongroom.control.views.repositories import (
    ProtectedChain,
    ProtectedVault,
    RepositoryView,
    UnhiddenVault,
    VaultView,
)
from strongroom.errors import (
    ClockJumpedError,
    ConfirmationNeededError,
    EncryptionRequiredError,
    InvalidInputError,
    PointLockedError,
    RefusedError,
    StrongroomError,
)
from strongroom.model.immutability import DEFAULT_BATCH_DAYS, Immutability
from strongroom.model.phrases import counted
from strongroom.storage.location import is_location, normalise

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from strongroom.catalog.repositories import RepositoryRow
    from strongroom.control.context import Context
    from strongroom.repository.chain import Chain
    from strongroom.repository.repository import Repository
    from strongroom.storage.base import LockingStorage, Storage


# --- what is one ----------------------------------------------------------------------------


def immutability_of(ctx: Context, repository_id: bytes) -> Immutability | None:
    """Return how long a repository keeps what it holds; None if it locks nothing."""
    vault = vault_rows.get(ctx.database, repository_id)
    return vault.immutability if vault is not None else None


def storage_of(ctx: Context, row: RepositoryRow, *, create: bool = False) -> Storage:
    """Return the storage of a repository of the catalog; one that locks what is put, if it does."""
    return _locking(ctx, row, create=create) or ctx.storage(row.location, create=create)


def _locking(ctx: Context, row: RepositoryRow, *, create: bool = False) -> LockingStorage | None:
    kept = immutability_of(ctx, row.repository_id)
    if kept is None:
        return None
    return ctx.locking_storage(row.location, kept.lock_for, create=create)


def is_immutable(ctx: Context, where: str) -> bool:
    """Tell whether a name or a location means a repository that locks what it holds."""
    row = _row_at(ctx, where)
    return row is not None and immutability_of(ctx, row.repository_id) is not None


def _row_at(ctx: Context, where: str) -> RepositoryRow | None:
    """Return the repository that a name or a location means, if the catalog knows it."""
    if not ctx.has_catalog:
        return None
    if is_location(where):
        return repositories.by_location(ctx.database, normalise(where))
    return repositories.find(ctx.database, where)


# --- what it refuses ------------------------------------------------------------------------


def refuse_plain(ctx: Context, row: RepositoryRow, what: str) -> None:
    """Go on unless the repository is a vault: `what` is not encrypted.

    Raises:
        EncryptionRequiredError: it is.
    """
    if vault_rows.get(ctx.database, row.repository_id) is not None:
        raise EncryptionRequiredError(
            f"repository {row.name} is a vault and takes only what is encrypted; {what} is not",
            hint="give --encrypt password:NAME or kms:NAME, or choose another repository",
            repository=row.name,
        )


def refuse_compaction(ctx: Context, where: str) -> None:
    """Go on unless a place keeps what compaction would remove.

    Raises:
        RefusedError: it is a vault that locks what it holds.
    """
    if is_immutable(ctx, where):
        raise RefusedError(
            f"repository {where} is a vault that locks its objects: a pack that is rewritten would "
            "lie there twice until its date",
            hint="'strongroom repository prune' removes whole packs when their dates have passed",
        )


def locked_until(ctx: Context, repository_id: bytes, taken_at: datetime) -> datetime | None:
    """Return until when a point of a repository cannot be given up; None if nothing keeps it."""
    kept = immutability_of(ctx, repository_id)
    return kept.kept_until(taken_at) if kept is not None else None


def refuse_giving_up(
    ctx: Context, repository_id: bytes, points: Iterable[tuple[str, datetime]]
) -> None:
    """Go on if a vault lets go of all these points.

    Args:
        ctx: Surroundings.
        repository_id: Where they are.
        points: Id and moment of each.

    Raises:
        PointLockedError: it keeps one; `fields["until"]` says until when.
        ClockJumpedError: nobody knows whether it still does.
    """
    if immutability_of(ctx, repository_id) is None:
        return
    blocked = clock_guard.removals_blocked(ctx, strict=True)
    if blocked is not None:
        raise ClockJumpedError(blocked)
    now = ctx.clock.now()
    held = [
        (until, point)
        for point, taken_at in points
        for until in [locked_until(ctx, repository_id, taken_at)]
        if until is not None and now < until
    ]
    if held:
        until, _ = max(held)
        raise PointLockedError(
            f"the vault keeps {', '.join(point for _, point in sorted(held))} until "
            f"{until:%Y-%m-%d %H:%M} UTC",
            hint="nobody can remove what a vault has locked; 'strongroom job retention JOB' says "
            "until when each point stays",
            until=until.isoformat(),
        )


# --- made, changed --------------------------------------------------------------------------


def wanted(
    immutable_days: int | None, batch_days: int | None, before: Vault | None = None
) -> Vault:
    """Return the vault that was asked for.

    Args:
        immutable_days: For how many days it keeps objects; 0 for none; None leaves it as it was.
        batch_days: How often locks are extended; None leaves it.
        before: What the repository is now, if it is one.

    Raises:
        InvalidInputError: it cannot be like that.
    """
    kept = before.immutability if before is not None else None
    days = immutable_days if immutable_days is not None else (kept.days if kept else 0)
    if days == 0:
        if batch_days is not None:
            raise InvalidInputError(
                "--batch-days goes with --immutable-days: nothing is locked without it"
            )
        return Vault()
    batch = kept.batch_days if kept is not None else DEFAULT_BATCH_DAYS
    return Vault(Immutability(days, batch if batch_days is None else batch_days))


def check_able(storage: LockingStorage, kept: Immutability) -> None:
    """Go on if a storage says that it locks objects for as long as is wanted; nothing is put.

    Raises:
        RefusedError: it does not.
    """
    most = storage.locks_at_most_days()
    if most < kept.lock_for.days:
        raise RefusedError(
            f"{storage.location} locks objects for {most} days at most, and {kept.lock_for.days} "
            f"are needed: {kept.days}, and {kept.batch_days} in which locks are extended",
            hint=f"have its guard started with --at-most-days {kept.lock_for.days} or more",
        )


def check(ctx: Context, storage: LockingStorage, kept: Immutability) -> None:
    """Go on if a storage locks objects for as long as is wanted, by trying to delete one.

    Raises:
        RefusedError: it does not.
    """
    from strongroom.storage.locking import check_locks

    check_able(storage, kept)
    check_locks(storage, ctx.clock)


def edit(
    ctx: Context,
    name: str,
    *,
    vault: bool | None = None,
    immutable_days: int | None = None,
    batch_days: int | None = None,
    yes_weaken: bool = False,
) -> RepositoryView:
    """Make a repository a vault, change how long it keeps objects, or let it be none.

    Args:
        ctx: Surroundings.
        name: The repository.
        vault: Whether it is to be one; None leaves it.
        immutable_days: As in `wanted`.
        batch_days: As in `wanted`.
        yes_weaken: Confirms what protects less.

    Raises:
        ConfirmationNeededError: the change protects less, and nobody said so.
        EncryptionRequiredError: a job writes to it that is not encrypted.
        RefusedError: its storage does not lock objects.
    """
    from strongroom.control.repositories import view

    row = repositories.get(ctx.database, name)
    before = vault_rows.get(ctx.database, row.repository_id)
    after = None
    if vault is not False and (vault or before or immutable_days):
        after = wanted(immutable_days, batch_days, before)
    elif vault is False and (immutable_days or batch_days):
        raise InvalidInputError("--no-vault goes with neither --immutable-days nor --batch-days")
    if after == before:
        return view(ctx, row)
    weakens = _weakens(row, before, after)
    if weakens and not yes_weaken:
        raise ConfirmationNeededError(
            "; ".join(weakens),
            hint="say --yes-weaken if that is meant; what is locked stays locked",
            weakens=weakens,
        )
    if after is not None:
        refuse_plain_jobs(ctx, row)
        if after.immutability is not None:
            kept = after.immutability
            check(ctx, ctx.locking_storage(row.location, kept.lock_for), kept)
    with ctx.database.transaction():
        if after is None:
            vault_rows.remove(ctx.database, row.repository_id)
        else:
            vault_rows.put(ctx.database, row.repository_id, after)
        vault_rows.forget_locks(ctx.database, row.repository_id)
        audit.weakened(ctx, weakens, repository=name)
        audit.record(ctx, "repository.changed", repository=name, vault=_told(after))
    return view(ctx, row)


def refuse_plain_jobs(ctx: Context, row: RepositoryRow) -> None:
    """Go on if every job, and every copy job, that writes to the repository is encrypted.

    Raises:
        EncryptionRequiredError: one is not.
    """
    plain = [
        job.name for job in jobs.of_repository(ctx.database, row.repository_id) if not job.encrypted
    ]
    copies = copy_jobs.of_repository(ctx.database, row.name)
    plain += [f"copy job {one.copy.name}" for one in copies if one.copy.plain]
    if plain:
        raise EncryptionRequiredError(
            f"repository {row.name} cannot become a vault: {', '.join(plain)} writes to it without "
            "encryption",
            hint="'strongroom job edit JOB --encrypt password:NAME' or --repository OTHER first",
            repository=row.name,
            jobs=plain,
        )


def _weakens(row: RepositoryRow, before: Vault | None, after: Vault | None) -> list[str]:
    if before is None:
        return []
    if after is None:
        return [f"repository {row.name} takes backups that are not encrypted"]
    kept, keeps = before.immutability, after.immutability
    if kept is not None and keeps is None:
        return [f"what is written to repository {row.name} is not locked any longer"]
    if keeps is not None and keeps.is_weaker_than(kept):
        assert kept is not None, "weaker than something"
        return [f"repository {row.name} keeps objects for {keeps.days} days instead of {kept.days}"]
    return []


def _told(vault: Vault | None) -> str:
    if vault is None:
        return "none"
    kept = vault.immutability
    return "encrypted only" if kept is None else f"encrypted only, immutable for {kept.days} days"


def shown(ctx: Context, row: RepositoryRow) -> VaultView | None:
    """Return what there is to say of a repository as a vault; None if it is none."""
    vault = vault_rows.get(ctx.database, row.repository_id)
    if vault is None:
        return None
    kept = vault.immutability
    dates = vault_rows.locks(ctx.database, row.repository_id).values()
    return VaultView(
        immutable_days=kept.days if kept else None,
        batch_days=kept.batch_days if kept else None,
        locked_until=min(dates, default=None) if kept else None,
    )


# --- locks that follow the newest point -----------------------------------------------------


def after_session(ctx: Context, row: RepositoryRow, chain: Chain, *, begun: bool) -> list[str]:
    """See to it that all the newest point needs is locked long enough; return what went wrong.

    Args:
        ctx: Surroundings.
        row: Where the chain is.
        chain: The session's.
        begun: The session began it, so everything in it was put, and locked, by the session.
    """
    kept = immutability_of(ctx, row.repository_id)
    if kept is None:
        return []
    if begun:
        started = from_microseconds(chain.header.created_at)
        vault_rows.remember_lock(
            ctx.database, row.repository_id, chain.chain_id, started + kept.lock_for
        )
    try:
        _extend(ctx, row, chain, kept)
    except StrongroomError as error:
        return [
            f"locks of older objects could not be extended: {error}; the next session tries "
            f"again, or 'strongroom repository protect {row.name}'"
        ]
    return []


def after_copy(ctx: Context, repository: Repository, chain_id: bytes) -> list[str]:
    """See to the same for a chain that was copied; return what went wrong."""
    row = repositories.by_id(ctx.database, repository.repository_id) if ctx.has_catalog else None
    if row is None or immutability_of(ctx, row.repository_id) is None:
        return []
    return after_session(ctx, row, repository.chain(chain_id), begun=False)


def refuse_plain_copy(ctx: Context, repository: Repository, chain: Chain) -> None:
    """Go on if a repository takes a copy of a chain.

    Raises:
        EncryptionRequiredError: it is a vault, and the chain is plain.
    """
    row = repositories.by_id(ctx.database, repository.repository_id) if ctx.has_catalog else None
    if row is not None and not chain.sealed:
        refuse_plain(ctx, row, f"chain {chain.name}")


def protect(ctx: Context, name: str, *, anew: bool = False) -> ProtectedVault:
    """Extend the locks of all that the newest points of a vault need, where that is due.

    Args:
        ctx: Surroundings.
        name: The repository.
        anew: Whether or not it is due.

    Raises:
        InvalidInputError: it is no vault that locks anything.
        RefusedError: its storage does not keep what it locked.
    """
    from strongroom.repository.repository import Repository

    row, kept = _immutable(ctx, name)
    storage = ctx.locking_storage(row.location, kept.lock_for)
    check(ctx, storage, kept)
    repository = Repository.open(storage)
    if anew:
        vault_rows.forget_locks(ctx.database, row.repository_id)
    believed = keys.readers_trust(ctx, ())
    found = []
    for chain_id in repository.chain_ids():
        chain = repository.chain(chain_id)
        if not believed.knows(chain.identity):
            continue  # anybody can plant one, and have it locked
        extended = _extend(ctx, row, chain, kept)
        until = vault_rows.locks(ctx.database, row.repository_id).get(chain_id)
        found.append(ProtectedChain(chain=chain_id.hex(), extended=extended, locked_until=until))
    audit.record(
        ctx,
        "repository.protected",
        needed=False,
        repository=name,
        extended=sum(one.extended for one in found),
    )
    return ProtectedVault(repository=name, chains=tuple(found), hidden=tuple(storage.hidden()))


def _immutable(ctx: Context, name: str) -> tuple[RepositoryRow, Immutability]:
    row = repositories.get(ctx.database, name)
    kept = immutability_of(ctx, row.repository_id)
    if kept is None:
        raise InvalidInputError(
            f"repository {name} locks nothing",
            hint=f"'strongroom repository edit {name} --vault --immutable-days N' makes it do so",
        )
    return row, kept


# --- what somebody hid ----------------------------------------------------------------------


def unhide(ctx: Context, name: str, *, dry_run: bool = False) -> UnhiddenVault:
    """Bring back what somebody who has the storage's credentials hid and could not remove.

    Raises:
        InvalidInputError: it is no vault that locks anything.
    """
    row, kept = _immutable(ctx, name)
    storage = ctx.locking_storage(row.location, kept.lock_for)
    hidden = tuple(storage.hidden())
    if not dry_run:
        for key in hidden:
            storage.unhide(key)
        audit.record(ctx, "repository.unhidden", repository=name, objects=len(hidden))
    return UnhiddenVault(repository=name, objects=hidden, done=not dry_run)


def warn_of_hidden(ctx: Context, where: str) -> None:
    """Tell the operator if somebody hid objects of a vault: what is missing there is not lost."""
    row = _row_at(ctx, where)
    kept = immutability_of(ctx, row.repository_id) if row is not None else None
    if row is None or kept is None:
        return
    hidden = len(list(ctx.locking_storage(row.location, kept.lock_for).hidden()))
    if hidden:
        ctx.warn(hidden_words(row.name, hidden))


def hidden_words(name: str, count: int) -> str:
    """Say that objects are hidden, and what brings them back."""
    return (
        f"hidden in vault {name}: {counted(count, 'object')}, by delete markers or by newer "
        f"versions, which this server never makes: 'strongroom repository unhide {name}' brings "
        "them back; change the credentials of the storage first"
    )


def _extend(ctx: Context, row: RepositoryRow, chain: Chain, kept: Immutability) -> int:
    """Lock what the chain's newest point needs, if that is due; return how many objects."""
    from strongroom.repository.newest_state import objects_of_newest_state

    chain.refresh()
    newest = chain.newest_session
    if newest is None:
        return 0
    taken_at = from_microseconds(newest.raw.made_at)
    known = vault_rows.locks(ctx.database, row.repository_id).get(chain.chain_id)
    if not kept.is_due(known, taken_at):
        return 0
    until = taken_at + kept.lock_for
    # A chain that ended long ago is promised nothing any more.
    needed = objects_of_newest_state(chain) if until > ctx.clock.now() else []
    if needed:
        ctx.locking_storage(row.location, kept.lock_for).lock(needed, until)
    vault_rows.remember_lock(ctx.database, row.repository_id, chain.chain_id, until)
    return len(needed)
