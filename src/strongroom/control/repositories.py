"""Repositories: created, attached to, shown; and what one holds learnt from it alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from strongroom.catalog import jobs, repositories
from strongroom.control import audit, chains, config_backup, damage, guarded, keys, signers
from strongroom.control.access import Access, Reading, location_of, open_reading
from strongroom.control.views import RepositoryAdded, RepositoryDetails, RepositoryView
from strongroom.errors import (
    ConflictError,
    InUseError,
    NotARepositoryError,
    UnavailableError,
)
from strongroom.model.ids import checked_name
from strongroom.repository.repository import Repository
from strongroom.storage.location import normalise

if TYPE_CHECKING:
    from strongroom.control.context import Context


def add(ctx: Context, name: str, location: str) -> RepositoryAdded:
    """Create a repository, or attach to the one that is there, under a name.

    A name that is known takes another place if the same repository is there: it was moved.

    Raises:
        ConflictError: the name or the place is taken, or the place holds something else.
    """
    checked_name("repository", name)
    location = normalise(location)
    there = repositories.by_location(ctx.database, location)
    if there is not None:
        raise ConflictError(
            f"there is a repository {there.name} at {there.location} already",
            hint=f"choose another place; 'strongroom repository remove {there.name}' "
            "forgets it, and what it stores stays",
            repository=there.name,
        )
    known = repositories.find(ctx.database, name)
    if known is not None:
        return _move(ctx, known, location)
    repository, created = _create_or_open(ctx, location)
    known = repositories.by_id(ctx.database, repository.repository_id)
    if known is not None:
        raise ConflictError(
            f"{location} is repository {known.name}, known at {known.location}",
            hint=f"if it was moved, 'strongroom repository add {known.name} {location}' takes the "
            "new place; a copy of it is another place with the same chains: read it with "
            "--repository LOCATION",
            repository=known.name,
        )
    row = repositories.RepositoryRow(repository.repository_id, name, location, ctx.clock.now())
    with ctx.database.transaction():
        repositories.insert(ctx.database, row)
        audit.record(ctx, "repository.added", repository=name, location=location, created=created)
    return RepositoryAdded(
        repository=_view(ctx, row),
        created=created,
        moved=False,
        chains=len(repository.chain_ids()),
    )


def _move(ctx: Context, row: repositories.RepositoryRow, location: str) -> RepositoryAdded:
    """Let a repository be where it was moved to. What was seen of its chains stays known.

    Raises:
        ConflictError: another repository is there, or none.
    """
    try:
        repository = Repository.open(ctx.storage(location))
    except (NotARepositoryError, UnavailableError) as error:
        raise _name_taken(row, str(error)) from error
    if repository.repository_id != row.repository_id:
        raise _name_taken(row, f"{location} holds another one")
    with ctx.database.transaction():
        repositories.move(ctx.database, row.repository_id, location)
        audit.record(ctx, "repository.moved", repository=row.name, location=location)
    return RepositoryAdded(
        repository=_view(ctx, replace(row, location=location)),
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


def _create_or_open(ctx: Context, location: str) -> tuple[Repository, bool]:
    storage = ctx.storage(location, create=True)
    try:
        return Repository.open(storage), False
    except NotARepositoryError:
        return Repository.create(storage, ctx.clock), True


def list_all(ctx: Context) -> tuple[RepositoryView, ...]:
    """Return every repository, by name."""
    return tuple(_view(ctx, row) for row in repositories.all_rows(ctx.database))


def remove(ctx: Context, name: str) -> RepositoryView:
    """Forget a repository; what is stored in it stays.

    Raises:
        InUseError: a job writes to it, or a guarded job has points in it.
    """
    row = repositories.get(ctx.database, name)
    users = [f"job {job.name}" for job in jobs.of_repository(ctx.database, row.repository_id)]
    users += config_backup.users_of(ctx.database, repository_id=row.repository_id)
    users += guarded.users_of(ctx, row.repository_id)
    if users:
        raise InUseError(f"repository {name} is used by {', '.join(users)}", users=users)
    view = _view(ctx, row)
    with ctx.database.transaction():
        repositories.remove(ctx.database, row.repository_id)
        audit.record(ctx, "repository.removed", repository=name)
    return view


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
    for chain in reading.chains:
        if believed.knows(chain.identity):
            views = [view for view in reading.points if view.chain.chain_id == chain.chain_id]
            chains.take_in(ctx, repository, chain, views)
        # Else somebody else's until accepted: its head would make its maker's word count.


# --- views ----------------------------------------------------------------------------------


def _view(ctx: Context, row: repositories.RepositoryRow) -> RepositoryView:
    return RepositoryView(
        name=row.name,
        location=row.location,
        repository_id=row.repository_id.hex(),
        added_at=row.added_at,
        jobs=tuple(job.name for job in jobs.of_repository(ctx.database, row.repository_id)),
    )


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
        chains=tuple(sorted(chains.views(ctx, reading), key=lambda view: view.started_at)),
        warnings=tuple(reading.warnings),
        accepted_signers=signers.accepted(ctx),
        damaged=damage.told_of(ctx, repository.repository_id),
    )
