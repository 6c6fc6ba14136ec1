"""Repositories: created, attached to, shown; and what one holds learnt from it alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from strongroom import logs
from strongroom.catalog import chains as chain_rows
from strongroom.catalog import heads, jobs, repositories
from strongroom.catalog import points as point_rows
from strongroom.clock import from_microseconds
from strongroom.control import config_backup, keys, signers
from strongroom.control.access import Access, Reading, location_of, open_reading
from strongroom.control.points import kind_word
from strongroom.control.views import ChainView, RepositoryAdded, RepositoryDetails, RepositoryView
from strongroom.errors import (
    ConflictError,
    IntegrityError,
    InUseError,
    NotARepositoryError,
    StrongroomError,
    UnavailableError,
)
from strongroom.model.ids import checked_name
from strongroom.repository.repository import Repository
from strongroom.storage.location import normalise

if TYPE_CHECKING:
    from strongroom.control.context import Context
    from strongroom.engine.points import PointView
    from strongroom.repository.chain import Chain, Trust


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
    repositories.insert(ctx.database, row)
    logs.event("repository.added", repository=name, location=location, created=created)
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
    repositories.move(ctx.database, row.repository_id, location)
    logs.event("repository.moved", repository=row.name, location=location)
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
        InUseError: a job writes to it.
    """
    row = repositories.get(ctx.database, name)
    users = [f"job {job.name}" for job in jobs.of_repository(ctx.database, row.repository_id)]
    users += config_backup.users_of(ctx.database, repository_id=row.repository_id)
    if users:
        raise InUseError(f"repository {name} is used by {', '.join(users)}", users=users)
    view = _view(ctx, row)
    repositories.remove(ctx.database, row.repository_id)
    logs.event("repository.removed", repository=name)
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
    reading = open_reading(ctx, chosen)
    if ctx.has_catalog:
        for repository in reading.repositories:
            if repositories.by_id(ctx.database, repository.repository_id) is not None:
                _take_in(ctx, repository, reading)
    logs.event("repository.rescanned", repository=where, chains=len(reading.chains))
    return _details(ctx, where, reading)


def _take_in(ctx: Context, repository: Repository, reading: Reading) -> None:
    """Bring chains, heads and points of the catalog in line with the repository."""
    believed = keys.readers_trust(ctx, reading.access.signers)
    for chain in reading.chains:
        if not believed.knows(chain.identity):
            # Somebody else's until accepted: its head would make its maker's word count.
            continue
        with ctx.database.transaction():
            if chain_rows.find(ctx.database, chain.chain_id) is None:
                chain_rows.insert(ctx.database, _chain_row(repository, chain))
            head = chain.head()
            if head is not None:
                heads.remember(
                    ctx.database, head.chain_id, head.number, head.entry_hash, ctx.clock.now()
                )
            _take_in_points(ctx, chain, reading)


def _chain_row(repository: Repository, chain: Chain) -> chain_rows.ChainRow:
    chain_key_id, recipient_ids = present_recipients(chain)
    return chain_rows.ChainRow(
        chain_id=chain.chain_id,
        job_id=chain.header.job_id,
        repository_id=repository.repository_id,
        sealed=chain.sealed,
        chain_key_id=chain_key_id,
        recipient_ids=recipient_ids,
        started_at=from_microseconds(chain.header.created_at),
        current=False,
    )


def present_recipients(chain: Chain) -> tuple[bytes | None, frozenset[bytes]]:
    """Return the chain key that the newest session sealed to, and whom it is sealed for."""
    if not chain.sealed:
        return None, frozenset()
    chain_key_id = chain.present_key_id
    envelope = chain.envelopes().get(chain_key_id)
    stanzas = envelope.stanzas if envelope is not None else []
    return chain_key_id, frozenset(stanza.recipient_id for stanza in stanzas)


def _take_in_points(ctx: Context, chain: Chain, reading: Reading) -> None:
    views = [view for view in reading.points if view.chain.chain_id == chain.chain_id]
    present = {view.point_id for view in views}
    known = {row.point_id for row in point_rows.of_chain(ctx.database, chain.chain_id)}
    point_rows.remove_many(ctx.database, known - present)
    point_rows.insert_many(ctx.database, [_point_row(chain, view) for view in views])
    point_rows.set_held(ctx.database, [view.point_id for view in views if view.held], True)


def _point_row(chain: Chain, view: PointView) -> point_rows.PointRow:
    details = view.details
    body = view.live.body
    return point_rows.PointRow(
        point_id=view.point_id,
        chain_id=chain.chain_id,
        job_id=chain.header.job_id,
        source_id=view.live.point.source_id,
        session_id=body.session_id,
        entry=view.live.entry.number,
        kind=kind_word(view.kind),
        taken_at=view.taken_at,
        size_bytes=details.size_bytes if details else 0,
        stored_bytes=details.stored_bytes if details else 0,
        files=details.files if details else 0,
        held=view.held,
    )


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
    believed = keys.readers_trust(ctx, reading.access.signers)
    row = None
    if ctx.has_catalog:
        row = repositories.by_id(ctx.database, repository.repository_id)
    views = [_chain_view(ctx, chain, reading, believed) for chain in reading.chains]
    views += [_problem_view(ctx, repository, *problem) for problem in reading.problems]
    return RepositoryDetails(
        name=row.name if row else None,
        location=location_of(ctx, where),
        repository_id=repository.repository_id.hex(),
        free_bytes=repository.storage.free_bytes(),
        chains=tuple(sorted(views, key=lambda view: view.started_at)),
        warnings=tuple(reading.warnings),
        accepted_signers=signers.accepted(ctx),
    )


def _chain_view(ctx: Context, chain: Chain, reading: Reading, believed: Trust) -> ChainView:
    views = [view for view in reading.points if view.chain.chain_id == chain.chain_id]
    opened = next((view.details for view in reversed(views) if view.details is not None), None)
    job = jobs.by_id(ctx.database, chain.header.job_id) if ctx.has_catalog else None
    problem: str | None = None
    stanzas = []
    try:
        envelopes = chain.envelopes() if chain.sealed else {}
        chain_key_id, _ = present_recipients(chain)
        if chain_key_id in envelopes:
            stanzas = envelopes[chain_key_id].stanzas
    except IntegrityError as error:
        problem = str(error)
    newest = chain.newest_session
    return ChainView(
        chain_id=chain.chain_id.hex(),
        job_id=chain.header.job_id.hex(),
        job=job.name if job else opened.job if opened else None,
        encrypted=chain.sealed,
        locked=chain.sealed and opened is None,
        hints=tuple(stanza.hint for stanza in stanzas if stanza.hint.isprintable()),
        key_ids=tuple(stanza.recipient_id.hex() for stanza in stanzas),
        signer=chain.identity.fingerprint,
        trusted=(chain.sealed and opened is not None) or believed.knows(chain.identity),
        points=len(views),
        started_at=from_microseconds(chain.header.created_at),
        newest_at=from_microseconds(newest.raw.made_at) if newest else None,
        entries=chain.listing[-1] if chain.listing else 0,
        problem=problem,
    )


def _problem_view(
    ctx: Context, repository: Repository, chain_id: bytes, error: StrongroomError
) -> ChainView:
    """Show a chain that cannot be believed, with as much of its header as holds."""
    row = chain_rows.find(ctx.database, chain_id) if ctx.has_catalog else None
    job = jobs.by_id(ctx.database, row.job_id) if row else None
    try:
        header = repository.chain(chain_id).header
        started, job_id = from_microseconds(header.created_at), header.job_id.hex()
    except StrongroomError:
        started = row.started_at if row else from_microseconds(0)
        job_id = row.job_id.hex() if row else ""
    return ChainView(
        chain_id=chain_id.hex(),
        job_id=job_id,
        job=job.name if job else None,
        encrypted=row.sealed if row else False,
        locked=True,
        hints=(),
        key_ids=(),
        signer="",
        trusted=False,
        points=0,
        started_at=started,
        newest_at=None,
        entries=0,
        problem=str(error),
    )
