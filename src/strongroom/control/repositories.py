"""Repositories: created, attached to, shown; and what one holds learnt from it alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from strongroom.catalog import credentials as credential_rows
from strongroom.catalog import jobs, repositories
from strongroom.catalog import vaults as vault_rows
from strongroom.control import (
    audit,
    chains,
    config_backup,
    copy_jobs,
    credentials,
    damage_notices,
    guarded,
    keys,
    place_checks,
    retention,
    signers,
    vaults,
)
from strongroom.control.access import Access, Reading, location_of, open_reading
from strongroom.control.views.repositories import (
    RepositoryAdded,
    RepositoryDetails,
    RepositoryEdited,
    RepositoryView,
)
from strongroom.errors import (
    ConfirmationNeededError,
    ConflictError,
    InUseError,
    InvalidInputError,
    NotARepositoryError,
    UnavailableError,
)
from strongroom.model.ids import checked_name
from strongroom.model.rate import standing_limit
from strongroom.repository import layout
from strongroom.repository.repository import Repository
from strongroom.storage.location import is_elsewhere, normalise

if TYPE_CHECKING:
    from strongroom.control.context import Context
    from strongroom.model.immutability import Immutability
    from strongroom.storage.base import LockingStorage, Storage
    from strongroom.storage.credential import Credential

_NO_VAULT = "what it demands is forgotten with it, and has to be said when it is added again"


def add(
    ctx: Context,
    name: str,
    location: str,
    *,
    credential: str | None = None,
    vault: vault_rows.Vault | None = None,
    limit: str | None = None,
) -> RepositoryAdded:
    """Create a repository, or attach to the one that is there, under a name.

    A name that is known takes another place if the same repository is there: it was moved. A
    place elsewhere is tried first: one that does not write once, say, never becomes one.

    Args:
        ctx: Surroundings.
        name: What it is to be called here.
        location: Where it is, or is to be.
        credential: The name of the one to open it with; None for what the environment has.
        vault: What it demands, if it is to be a vault.

    Args:
        ctx: Surroundings.
        name: What it is to be called.
        location: Where it is, or is to be.
        limit: How fast to read and write there; `none` and None limit nothing.

    Raises:
        ConflictError: the name or the place is taken, or the place holds something else.
        InvalidInputError: name, location or limit cannot be one.
        RefusedError: it is to lock objects, and the place does not.
        NotFoundError: there is no such credential, or no such bucket.
        PromiseBrokenError: the place does not do what a storage has to.
    """
    checked_name("repository", name)
    timetable = standing_limit(limit)
    location = normalise(location)
    if credential is not None and not is_elsewhere(location):
        raise InvalidInputError(f"the folder {location} is opened without a credential")
    opened_with = None if credential is None else credentials.named(ctx, credential)
    there = repositories.by_location(ctx.database, location)
    if there is not None and there.name == name and opened_with is not None:
        return _open_with(ctx, there, opened_with)
    if there is not None:
        raise ConflictError(
            f"there is a repository {there.name} at {there.location} already",
            hint=f"choose another place; 'strongroom repository remove {there.name}' "
            "forgets it, and what it stores stays",
            repository=there.name,
        )
    known = repositories.find(ctx.database, name)
    if known is not None:
        if vault is not None:
            raise ConflictError(
                f"there is a repository {name} already",
                hint=f"'strongroom repository edit {name} --vault' makes it one",
                repository=name,
            )
        if limit is not None:
            raise InvalidInputError(
                f"repository {name} is known, and adding it once more only moves it",
                hint=f"'strongroom repository edit {name} --limit …' changes its limit",
            )
        return _move(ctx, known, location, opened_with)
    kept = vault.immutability if vault is not None else None
    locking = None if kept is None else _locking(ctx, location, opened_with, kept)
    if is_elsewhere(location):
        place_checks.require(ctx, _storage(ctx, location, opened_with))
    repository, created = _create_or_open(ctx, locking or _storage(ctx, location, opened_with))
    if locking is not None and kept is not None:
        vaults.check(ctx, locking, kept)
        locking.lock([layout.MARKER], ctx.clock.now() + kept.lock_for)
    known = repositories.by_id(ctx.database, repository.repository_id)
    if known is not None:
        raise ConflictError(
            f"{location} is repository {known.name}, known at {known.location}",
            hint=f"if it was moved, 'strongroom repository add {known.name} {location}' takes the "
            "new place; a copy of it is another place with the same chains: read it with "
            "--repository LOCATION",
            repository=known.name,
        )
    row = repositories.RepositoryRow(
        repository.repository_id,
        name,
        location,
        ctx.clock.now(),
        opened_with[0] if opened_with is not None else None,
        timetable,
    )
    with ctx.database.transaction():
        repositories.insert(ctx.database, row)
        if vault is not None:
            vault_rows.put(ctx.database, row.repository_id, vault)
        audit.record(ctx, "repository.added", repository=name, location=location, created=created)
    return RepositoryAdded(
        repository=view(ctx, row),
        created=created,
        moved=False,
        chains=len(repository.chain_ids()),
    )


def edit(ctx: Context, name: str, *, limit: str | None = None) -> RepositoryEdited:
    """Change what is set of a repository; commands that run already go on as they began.

    Args:
        ctx: Surroundings.
        name: The repository.
        limit: How fast to read and write there, or `none`; what is None stays.

    Raises:
        InvalidInputError: the limit is none, or nothing is to be changed.
        NotFoundError: there is no such repository.
    """
    row = repositories.get(ctx.database, name)
    if limit is None:
        raise InvalidInputError(
            f"nothing is to be changed of repository {name}",
            hint="say --limit 10MB/s, or --limit none",
        )
    changed = replace(row, limit=standing_limit(limit))
    if changed != row:
        with ctx.database.transaction():
            repositories.set_limit(ctx.database, row.repository_id, changed.limit)
            audit.record(
                ctx,
                "repository.changed",
                repository=name,
                limit=None if changed.limit is None else str(changed.limit),
            )
    return RepositoryEdited(repository=view(ctx, changed), changed=changed != row)


def _storage(
    ctx: Context,
    location: str,
    opened_with: tuple[bytes, Credential] | None,
    *,
    create: bool = True,
) -> Storage:
    credential = None if opened_with is None else opened_with[1]
    return ctx.storage(location, create=create, credential=credential)


def _open_with(
    ctx: Context, row: repositories.RepositoryRow, opened_with: tuple[bytes, Credential]
) -> RepositoryAdded:
    """Let a repository be opened with another credential, once that has opened it."""
    repository = Repository.open(_storage(ctx, row.location, opened_with))
    with ctx.database.transaction():
        repositories.open_with(ctx.database, row.repository_id, opened_with[0])
        audit.record(ctx, "repository.credential-changed", repository=row.name)
    return RepositoryAdded(
        repository=view(ctx, replace(row, credential_id=opened_with[0])),
        created=False,
        moved=False,
        chains=len(repository.chain_ids()),
    )


def _move(
    ctx: Context,
    row: repositories.RepositoryRow,
    location: str,
    opened_with: tuple[bytes, Credential] | None,
) -> RepositoryAdded:
    """Let a repository be where it was moved to. What was seen of its chains stays known.

    Raises:
        ConflictError: another repository is there, or none.
    """
    try:
        repository = Repository.open(_storage(ctx, location, opened_with, create=False))
    except (NotARepositoryError, UnavailableError) as error:
        raise _name_taken(row, str(error)) from error
    if repository.repository_id != row.repository_id:
        raise _name_taken(row, f"{location} holds another one")
    with ctx.database.transaction():
        repositories.move(ctx.database, row.repository_id, location)
        if opened_with is not None:
            repositories.open_with(ctx.database, row.repository_id, opened_with[0])
        audit.record(ctx, "repository.moved", repository=row.name, location=location)
    return RepositoryAdded(
        repository=view(ctx, replace(row, location=location)),
        created=False,
        moved=True,
        chains=len(repository.chain_ids()),
    )


def _name_taken(row: repositories.RepositoryRow, why: str) -> ConflictError:
    return ConflictError(
        f"there is a repository {row.name} at {row.location} already, and it was not moved: {why}",
        hint=f"choose another name; 'strongroom repository remove {row.name}' forgets it, and "
        "what it stores stays",
        repository=row.name,
    )


def _create_or_open(ctx: Context, storage: Storage) -> tuple[Repository, bool]:
    try:
        return Repository.open(storage), False
    except NotARepositoryError:
        return Repository.create(storage, ctx.clock), True


def _locking(
    ctx: Context,
    location: str,
    opened_with: tuple[bytes, Credential] | None,
    kept: Immutability,
) -> LockingStorage:
    """Return the storage at a location that locks what is put there.

    Raises:
        RefusedError: it does not, or not for so long.
    """
    credential = None if opened_with is None else opened_with[1]
    storage = ctx.locking_storage(location, kept.lock_for, create=True, credential=credential)
    vaults.check_able(storage, kept)
    return storage


def list_all(ctx: Context) -> tuple[RepositoryView, ...]:
    """Return every repository, by name."""
    return tuple(view(ctx, row) for row in repositories.all_rows(ctx.database))


def remove(ctx: Context, name: str, *, yes_weaken: bool = False) -> RepositoryView:
    """Forget a repository; what is stored in it stays.

    Args:
        ctx: Surroundings.
        name: Which.
        yes_weaken: Confirms that a vault is none any longer, should it be added again.

    Raises:
        InUseError: a job writes to it, or a guarded job has points in it.
        ConfirmationNeededError: it is a vault, and nobody said that it is meant.
    """
    row = repositories.get(ctx.database, name)
    users = [f"job {job.name}" for job in jobs.of_repository(ctx.database, row.repository_id)]
    users += config_backup.users_of(ctx.database, repository_id=row.repository_id)
    users += copy_jobs.users_of(ctx, name)
    users += guarded.users_of(ctx, row.repository_id)
    if users:
        raise InUseError(f"repository {name} is used by {', '.join(users)}", users=users)
    if vaults.shown(ctx, row) is not None and not yes_weaken:
        raise ConfirmationNeededError(
            f"repository {name} is a vault: {_NO_VAULT}",
            hint="say --yes-weaken if that is meant; what is locked stays locked",
        )
    forgotten = view(ctx, row)
    with ctx.database.transaction():
        repositories.remove(ctx.database, row.repository_id)
        if forgotten.vault is not None:
            audit.weakened(ctx, [_NO_VAULT], repository=name)
        audit.record(ctx, "repository.removed", repository=name)
    return forgotten


def show(ctx: Context, where: str, access: Access | None = None) -> RepositoryDetails:
    """Return what a repository holds; nothing is changed."""
    chosen = access if access is not None else Access(where=where)
    return _details(ctx, where, open_reading(ctx, chosen))


def rescan(ctx: Context, where: str, access: Access | None = None) -> RepositoryDetails:
    """Learn what is in a repository from it alone, and take it into the catalog.

    Chains that nothing at hand opens are shown as locked, with the hints of their passwords.
    With a bare location and no repository of that id in the catalog, nothing is remembered.
    """
    chosen = access if access is not None else Access(where=where)
    reading = open_reading(ctx, chosen, unseen=True)
    if ctx.has_catalog:
        for repository in reading.repositories:
            if repositories.by_id(ctx.database, repository.repository_id) is not None:
                _take_in(ctx, repository, reading)
    audit.record(
        ctx, "repository.rescanned", needed=False, repository=where, chains=len(reading.chains)
    )
    return _details(ctx, where, reading)


def _take_in(ctx: Context, repository: Repository, reading: Reading) -> None:
    """Bring chains, heads and points of the catalog in line with the repository."""
    believed = keys.readers_trust(ctx, reading.access.signers)
    unknown: set[bytes] = set()
    for chain in reading.chains:
        if believed.knows(chain.identity):
            views = [view for view in reading.points if view.chain.chain_id == chain.chain_id]
            unknown |= chains.take_in(ctx, repository, chain, views)
        # Else somebody else's until accepted: its head would make its maker's word count.
    for job in jobs.of_repository(ctx.database, repository.repository_id):
        retention.flag_anew(ctx, job, unknown)


# --- views ----------------------------------------------------------------------------------


def view(ctx: Context, row: repositories.RepositoryRow) -> RepositoryView:
    """Return a repository of the catalog as doors show it."""
    return RepositoryView(
        name=row.name,
        location=row.location,
        repository_id=row.repository_id.hex(),
        added_at=row.added_at,
        jobs=tuple(job.name for job in jobs.of_repository(ctx.database, row.repository_id)),
        vault=vaults.shown(ctx, row),
        credential=_credential_name(ctx, row),
        limit=None if row.limit is None else str(row.limit),
    )


def _credential_name(ctx: Context, row: repositories.RepositoryRow) -> str | None:
    if row.credential_id is None:
        return None
    found = credential_rows.by_id(ctx.database, row.credential_id)
    return found.name if found is not None else None


def _details(ctx: Context, where: str, reading: Reading) -> RepositoryDetails:
    repository = reading.repositories[0]
    row = None
    if ctx.has_catalog:
        row = repositories.by_id(ctx.database, repository.repository_id)
    return RepositoryDetails(
        name=row.name if row else None,
        location=location_of(ctx, where),
        repository_id=repository.repository_id.hex(),
        free_bytes=repository.storage.free_bytes(),
        limit=str(row.limit) if row and row.limit else None,
        chains=tuple(sorted(chains.views(ctx, reading), key=lambda view: view.started_at)),
        warnings=tuple(reading.warnings),
        accepted_signers=signers.accepted(ctx),
        vault=vaults.shown(ctx, row) if row else None,
        damaged=damage_notices.told_of(ctx, repository.repository_id),
    )
