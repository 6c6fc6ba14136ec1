"""Restore points: listed, looked into, held, released and removed by hand.

What reads needs no catalog. Holding, releasing and removing change what the repository
promises, so they publish an entry signed by this server's identity; the bytes go later, with
prune.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from strongroom.catalog import heads
from strongroom.catalog import points as point_rows
from strongroom.clock import from_microseconds
from strongroom.control import audit, damage, retention, vaults
from strongroom.control.access import Access, Reading, open_reading
from strongroom.control.missing_keys import needed_views
from strongroom.control.views.points import (
    PointDetailsView,
    PointList,
    PointRow,
    Removed,
    RemovedPoint,
)
from strongroom.errors import (
    ConfirmationNeededError,
    InUseError,
    InvalidInputError,
    NotFoundError,
    RefusedError,
)
from strongroom.format.journal import PointKind
from strongroom.model.phrases import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from strongroom.control.context import Context
    from strongroom.crypto.recipients import Stanza
    from strongroom.engine.diff import Change
    from strongroom.engine.listing import ListedFile
    from strongroom.engine.points import PointView
    from strongroom.format.journal import Entry
    from strongroom.repository.chain import Chain
    from strongroom.repository.needs import NeededKey


# --- look -----------------------------------------------------------------------------------


def list_points(ctx: Context, access: Access, job: str | None = None) -> PointList:
    """Return the points of a repository, or of all, or of one job; oldest first.

    Locked points are listed with what is public of them, unless one job's are asked for:
    whose they are is sealed.

    Raises:
        NotFoundError: there is no such job.
        StrongroomError: a chain is damaged or not to be believed; `fields["readable"]` lists
            the points that can still be read by their ids.
    """
    reading = open_reading(ctx, access, job=job)
    reading.check()
    if job is not None:
        reading.check_present(job)
    rows = [
        row_of(
            view,
            reading.needs(view),
            damaged=damage.hurts(ctx, view.chain, view.live.body),
        )
        for view in reading.points
    ]
    if job is not None:
        job_id = _job_id(ctx, job)
        rows = [
            row
            for row, view in zip(rows, reading.points, strict=True)
            if row.job == job or (job_id is not None and view.chain.header.job_id == job_id)
        ]
        if not rows and job_id is None:
            raise _no_points_of(ctx, job)
    if ctx.has_catalog:
        rows = _with_copies(ctx, _flagged(ctx, rows))
    return PointList(
        points=tuple(rows),
        warnings=tuple(reading.warnings),
        needed=tuple(
            one
            for chain in reading.chains
            for one in needed_views(chain, reading.needed.get(chain.chain_id, ()))
            if job is None or any(row.id in one.points for row in rows)
        ),
        complete=not reading.absent,
    )


def _with_copies(ctx: Context, rows: Sequence[PointRow]) -> list[PointRow]:
    """Return the rows with the other repositories that have each point."""
    from strongroom.catalog import copies as copy_rows
    from strongroom.control.copies import repository_name

    places = copy_rows.places_of_points(ctx.database)
    return [
        msgspec.structs.replace(
            row,
            copies=tuple(
                sorted(repository_name(ctx, one) for one in places.get(bytes.fromhex(row.id), ()))
            ),
        )
        for row in rows
    ]


def _flagged(ctx: Context, rows: Sequence[PointRow]) -> list[PointRow]:
    """Return points with the flags that the catalog knows of them."""
    if not ctx.has_catalog:
        return list(rows)
    flags = retention.known_flags(ctx, [bytes.fromhex(row.id) for row in rows])
    return [msgspec.structs.replace(row, flags=flags.get(row.id, ())) for row in rows]


def _no_points_of(ctx: Context, job: str) -> NotFoundError:
    if ctx.has_catalog:
        from strongroom.catalog import jobs

        return jobs.unknown(ctx.database, job)
    return NotFoundError(f"there is no point of job {job}", job=job)


def _job_id(ctx: Context, name: str) -> bytes | None:
    if not ctx.has_catalog:
        return None
    from strongroom.catalog import jobs

    job = jobs.find(ctx.database, name)
    return job.job_id if job else None


def row_of(view: PointView, needs: Sequence[NeededKey] = (), *, damaged: bool = False) -> PointRow:
    """Return a point as lists show it; what is sealed and locked is None."""
    details = view.details
    return PointRow(
        id=view.id,
        job=details.job if details else None,
        source=details.source if details else None,
        kind=kind_word(view.kind),
        taken_at=view.taken_at,
        encrypted=view.encrypted,
        size_bytes=details.size_bytes if details else None,
        stored_bytes=details.stored_bytes if details else None,
        held=view.held,
        locked=details is None,
        chain=view.chain.chain_id.hex(),
        files=details.files if details else None,
        needs=tuple(one.chain_key_id.hex() for one in needs),
        given_up=view.live.given_up,
        damaged=damaged,
    )


def kind_word(kind: int) -> str:
    """Return a point's kind as doors show it: `full`, `incremental`, `synthetic-full`."""
    return PointKind(kind).name.lower().replace("_", "-")


def show(ctx: Context, access: Access, which: str) -> PointDetailsView:
    """Return everything to say of one point."""
    reading = open_reading(ctx, access)
    view = reading.find(which)
    details = view.details
    entry = view.live.entry
    body = view.live.body
    stanzas = _stanzas(view.chain, body.chain_public)
    return PointDetailsView(
        point=_flagged(ctx, [row_of(view, reading.needs(view))])[0],
        repository=view.chain.storage.location,
        machine=details.machine if details else None,
        reason=details.reason if details else None,
        parent=details.parent.hex() or None if details else None,
        finished_at=from_microseconds(details.finished_at) if details else None,
        source_warnings=details.warnings if details else None,
        signer=view.chain.identity.fingerprint,
        entry=entry.number,
        next_due=from_microseconds(body.next_due) if body.next_due else None,
        block_cipher="AES-256-GCM" if view.encrypted else "none",
        key_exchange="ML-KEM-768 + X25519 (HPKE)" if view.encrypted else "none",
        content_hash="BLAKE3, keyed" if view.encrypted else "BLAKE3",
        signatures="Ed25519 + ML-DSA-65",
        password_kdf=tuple(
            f"Argon2id, {stanza.memory_kib >> 10} MiB, {stanza.passes} passes, "
            f"{stanza.lanes} lanes, salt {stanza.salt.hex()}"
            for stanza in stanzas
            if stanza.kind == "password"
        ),
        recipients=tuple(f"{stanza.kind} {stanza.recipient_id.hex()}" for stanza in stanzas),
        warnings=tuple(reading.warnings),
    )


def _stanzas(chain: Chain, chain_public: bytes) -> list[Stanza]:
    if not chain.sealed:
        return []
    for envelope in chain.wrapped.envelopes().values():
        if envelope.chain_public == chain_public:
            return list(envelope.stanzas)
    return []


def files(
    ctx: Context, access: Access, which: str, pattern: str | None = None
) -> Iterator[ListedFile]:
    """Yield what a point holds, in walk order, or what of it fits a pattern."""
    from strongroom.engine.listing import list_files

    view = _selected(ctx, access, which)
    return list_files(view, pattern)


def diff(ctx: Context, access: Access, before: str, after: str) -> Iterator[Change]:
    """Yield how one point differs from another."""
    from strongroom.engine.diff import diff as compare

    reading = open_reading(ctx, access, which=(before, after))
    first, second = reading.select(before), reading.select(after)
    _tell(ctx, reading)
    return compare(first, second)


def _selected(ctx: Context, access: Access, which: str) -> PointView:
    reading = open_reading(ctx, access, which=(which,))
    view = reading.select(which)
    _tell(ctx, reading)
    return view


def _tell(ctx: Context, reading: Reading) -> None:
    for warning in reading.warnings:
        ctx.report(warning)


# --- hold, release, remove ------------------------------------------------------------------


def hold(ctx: Context, which: Sequence[str], where: str | None = None) -> tuple[PointRow, ...]:
    """Keep points whatever retention says, until they are released."""
    from strongroom.repository.promises import hold as publish

    def publish_hold(chain: Chain, ids: list[bytes]) -> Entry:
        return publish(chain, ids, ctx.identity, ctx.clock)

    views = _change(ctx, which, where, publish_hold)
    point_rows.set_held(ctx.database, [view.point_id for view in views], True)
    audit.record(ctx, "point.held", points=[view.id for view in views])
    return _rows(views, held=True)


def release(ctx: Context, which: Sequence[str], where: str | None = None) -> tuple[PointRow, ...]:
    """Let retention decide about points again."""
    from strongroom.repository.promises import release as publish

    def publish_release(chain: Chain, ids: list[bytes]) -> Entry:
        return publish(chain, ids, ctx.identity, ctx.clock)

    views = _change(ctx, which, where, publish_release)
    point_rows.set_held(ctx.database, [view.point_id for view in views], False)
    audit.record(ctx, "point.released", points=[view.id for view in views])
    return _rows(views, held=False)


def remove(
    ctx: Context,
    which: Sequence[str],
    *,
    where: str | None = None,
    yes: bool = False,
    dry_run: bool = False,
) -> Removed:
    """Give points up. They are gone for readers at once; the bytes go with the next prune.

    Args:
        ctx: Surroundings.
        which: Ids, unique prefixes, or JOB@latest.
        where: The repository; those of the catalog by default.
        yes: Confirms it.
        dry_run: Says what would go, and nothing more.

    Raises:
        ConfirmationNeededError: nobody said yes; `fields["would_remove"]` lists the points.
        InUseError: one of them is held.
        PointLockedError: a vault keeps one of them.
    """
    reading = open_reading(ctx, Access(where=where), unseen=True)
    views = _found(reading, which)
    held = [view.id for view in views if view.held]
    if held:
        raise InUseError(
            f"{len(held)} of the points are held: {', '.join(held)}",
            hint="'strongroom point release' lets them go",
            users=held,
        )
    _refuse_locked(ctx, reading, views)
    removed = tuple(
        RemovedPoint(
            id=view.id,
            job=view.details.job if view.details else None,
            source=view.details.source if view.details else None,
            taken_at=view.taken_at,
            reason="; ".join(
                ("removed by hand", *(f"{one.kind} until {one.until}" for one in row.flags))
            ),
        )
        for view, row in zip(views, _flagged(ctx, [*map(row_of, views)]), strict=True)
    )
    if dry_run:
        return Removed(points=removed, done=False)
    if not yes:
        raise ConfirmationNeededError(
            f"to be removed for good: {counted(len(removed), 'point')}",
            hint="say --yes if that is meant",
            would_remove=[point.id for point in removed],
        )
    from strongroom.repository.promises import take_back

    def publish(chain: Chain, ids: list[bytes]) -> Entry:
        return take_back(chain, ids, ctx.identity, ctx.clock, "removed by hand")

    _publish(ctx, views, publish)
    point_rows.remove_many(ctx.database, [view.point_id for view in views])
    audit.record(ctx, "point.removed", points=[view.id for view in views])
    return Removed(points=removed, done=True)


def _refuse_locked(ctx: Context, reading: Reading, views: list[PointView]) -> None:
    for repository in reading.repositories:
        vaults.refuse_giving_up(
            ctx,
            repository.repository_id,
            [
                (view.id, view.taken_at)
                for view in views
                if view.chain.storage is repository.storage
            ],
        )


def _change(
    ctx: Context,
    which: Sequence[str],
    where: str | None,
    publish: Callable[[Chain, list[bytes]], Entry],
) -> list[PointView]:
    reading = open_reading(ctx, Access(where=where), unseen=True)
    views = _found(reading, which)
    _publish(ctx, views, publish)
    return views


def _found(reading: Reading, which: Sequence[str]) -> list[PointView]:
    if not which:
        raise InvalidInputError("no point is named")
    found = {view.point_id: view for view in map(reading.find, which)}
    return list(found.values())


def _publish(
    ctx: Context, views: list[PointView], publish: Callable[[Chain, list[bytes]], Entry]
) -> None:
    """Publish one entry a chain, and remember each as the chain's head.

    Raises:
        RefusedError: a chain is not this server's: its readers would not believe the entry.
    """
    audit.require(ctx)
    own = ctx.identity.public
    by_chain: dict[bytes, list[PointView]] = {}
    for view in views:
        by_chain.setdefault(view.chain.chain_id, []).append(view)
        if view.chain.signs_as(own) is None:
            raise RefusedError(
                f"chain {view.chain.name} is signed by another server, so this one cannot "
                "change what it promises",
                hint="do it on the server whose jobs write to it",
            )
    for chain_id, members in by_chain.items():
        entry = publish(members[0].chain, [view.point_id for view in members])
        heads.remember(ctx.database, chain_id, entry.number, entry.hash, ctx.clock.now())


def _rows(views: list[PointView], *, held: bool) -> tuple[PointRow, ...]:
    return tuple(msgspec.structs.replace(row_of(view), held=held) for view in views)
