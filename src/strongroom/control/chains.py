"""Chains: what a repository shows of them, and how one is taken into the catalog.

A chain that this installation did not write is *locked* until a secret opens it. `unlock` opens
all that the newest secret leads to and keeps what it takes to compare and to list. The job that
goes on in the chain is made by `control.succession`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from strongroom.catalog import chains as chain_rows
from strongroom.catalog import copies as copy_rows
from strongroom.catalog import jobs, removed_jobs, repositories, signers
from strongroom.catalog import points as point_rows
from strongroom.clock import from_microseconds
from strongroom.control import (
    audit,
    guarded,
    keys,
    known_chains,
    linking,
    missing_keys,
    retention,
)
from strongroom.control.access import (
    Access,
    Reading,
    open_believed,
    open_reading,
    refuse_idle,
    storage_of,
    unlocker_of,
)
from strongroom.control.missing_keys import needed_views, recipient_view
from strongroom.control.points import kind_word, row_of
from strongroom.control.views.chains import ChainDetails, ChainList, ChainUnlocked, ChainView
from strongroom.crypto.recipients import PasswordUnlocker
from strongroom.engine.points import open_points
from strongroom.errors import (
    IntegrityError,
    InvalidInputError,
    NotARepositoryError,
    NotFoundError,
    RefusedError,
    SecretNeededError,
    StrongroomError,
    UnavailableError,
    UnlockError,
    UnsupportedVersionError,
)
from strongroom.format.journal import SessionBody
from strongroom.keystore import ChainRecord
from strongroom.model.phrases import counted
from strongroom.repository.repository import Repository
from strongroom.repository.rescan import look_through

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.control.context import Context
    from strongroom.crypto.recipients import Unlocker
    from strongroom.engine.points import PointView
    from strongroom.engine.progress import Progress
    from strongroom.repository.chain import Chain, Trust
    from strongroom.repository.keyring import Keyring

SHORTEST_PREFIX = 4


# --- what there is --------------------------------------------------------------------------


def list_all(ctx: Context, access: Access) -> ChainList:
    """Return every chain of the repository that was named, or of all that the catalog knows.

    Raises:
        StrongroomError: the one that was named does not open.
    """
    reading = open_reading(ctx, access)
    found = sorted(views(ctx, reading), key=lambda view: view.started_at)
    return ChainList(chains=tuple(found), warnings=tuple(reading.warnings))


def show(ctx: Context, which: str, access: Access) -> ChainDetails:
    """Return one chain with its points.

    Raises:
        NotFoundError: there is none of this id.
        InvalidInputError: several fit.
    """
    repository, chain_id = find(ctx, which, access)
    reading = open_reading(ctx, replace(access, where=_where(ctx, repository, access)))
    return _details(ctx, reading, chain_id)


def _details(ctx: Context, reading: Reading, chain_id: bytes) -> ChainDetails:
    view = next(one for one in views(ctx, reading) if one.chain_id == chain_id.hex())
    points = [one for one in reading.points if one.chain.chain_id == chain_id]
    sources = dict.fromkeys(one.details.source for one in points if one.details is not None)
    machines = dict.fromkeys(one.details.machine for one in points if one.details is not None)
    warnings = [one for one in reading.warnings if view.chain_id[:12] in one]
    return ChainDetails(
        chain=view,
        points=tuple(row_of(one, reading.needs(one)) for one in points),
        sources=tuple(sources),
        machines=tuple(machines),
        warnings=tuple(warnings),
    )


def find(ctx: Context, which: str, access: Access) -> tuple[Repository, bytes]:
    """Return the chain whose id begins so, and the repository that it is in.

    Raises:
        NotFoundError: there is none.
        InvalidInputError: several fit, or the words can mean none.
    """
    wanted = which.lower()
    if len(wanted) < SHORTEST_PREFIX or wanted.strip("0123456789abcdef"):
        raise InvalidInputError(
            f"{which!r} names no chain",
            hint=f"give its id, or at least the first {SHORTEST_PREFIX} digits of it",
        )
    found: list[tuple[Repository, bytes]] = []
    absent: StrongroomError | None = None
    for where in _places(ctx, access):
        try:
            repository = _open(ctx, where)
        except (NotARepositoryError, RefusedError, UnavailableError) as error:
            if access.where is not None:
                raise
            absent = absent or error
            continue
        fitting = [one for one in repository.chain_ids() if one.hex().startswith(wanted)]
        found += [(repository, chain_id) for chain_id in fitting]
    if access.where is None:
        found = _without_copies(ctx, found)
    if len(found) > 1:
        raise InvalidInputError(
            f"{which} is the beginning of {len(found)} chains",
            hint="give more digits, or the repository with --repository",
            chains=[chain_id.hex() for _, chain_id in found],
        )
    if not found:
        if absent is not None:
            raise absent
        raise NotFoundError(
            f"there is no chain {which}", hint="'strongroom chain list' lists them", chain=which
        )
    return found[0]


def _without_copies(
    ctx: Context, found: list[tuple[Repository, bytes]]
) -> list[tuple[Repository, bytes]]:
    """Leave out copies of chains that were found where they are at home."""
    homes = {
        chain_id
        for repository, chain_id in found
        if not known_chains.is_copy(ctx, repository.repository_id, chain_id)
    }
    return [
        (repository, chain_id)
        for repository, chain_id in found
        if chain_id not in homes
        or not known_chains.is_copy(ctx, repository.repository_id, chain_id)
    ]


def _places(ctx: Context, access: Access) -> list[str]:
    if access.where is not None:
        return [access.where]
    if not ctx.has_catalog:
        raise InvalidInputError(
            "there is no catalog here, so say which repository is meant",
            hint="--repository LOCATION",
        )
    return [row.name for row in repositories.all_rows(ctx.database)]


def _open(ctx: Context, where: str) -> Repository:
    return Repository.open(storage_of(ctx, where))


def _where(ctx: Context, repository: Repository, access: Access) -> str:
    if access.where is not None:
        return access.where
    row = repositories.by_id(ctx.database, repository.repository_id)
    assert row is not None, "it was found by its name"
    return row.name


# --- views ----------------------------------------------------------------------------------


def views(ctx: Context, reading: Reading) -> list[ChainView]:
    """Return every chain of a reading, those that are damaged or not to be believed included."""
    believed = keys.readers_trust(ctx, reading.access.signers)
    found = [_view(ctx, chain, reading, believed) for chain in reading.chains]
    return found + [_problem_view(ctx, reading, *problem) for problem in reading.problems]


def _view(ctx: Context, chain: Chain, reading: Reading, believed: Trust) -> ChainView:
    repository = next(one for one in reading.repositories if one.storage is chain.storage)
    points = [view for view in reading.points if view.chain is chain]
    opened = next((view for view in reversed(points) if view.details is not None), None)
    name = opened.details.job if opened is not None and opened.details is not None else None
    job = jobs.by_id(ctx.database, chain.header.job_id) if ctx.has_catalog else None
    row = chain_rows.find(ctx.database, chain.chain_id) if ctx.has_catalog else None
    look = look_through(chain)
    locked = chain.sealed and opened is None
    state = "locked" if locked else "unknown"
    left = removed_jobs.find(ctx.database, chain.header.job_id) if row is not None else None
    if row is not None:
        state = "known" if job is not None else "orphaned" if left is not None else "taken-in"
    newest = chain.newest_session
    keyring = opened.keyring if opened is not None else None
    needed = reading.needed.get(chain.chain_id, ())
    opens = "names" if _only_names(keyring) else "part" if needed else "all"
    return ChainView(
        chain_id=chain.chain_id.hex(),
        repository=_name_of(ctx, repository),
        state=state,
        job_id=chain.header.job_id.hex(),
        job=job.name if job else left.name if left else name,
        encrypted=chain.sealed,
        locked=locked,
        opens="nothing" if locked else opens,
        key_id=look.present_key_id.hex() or None,
        hints=tuple(one.hint for one in look.recipients),
        key_ids=tuple(one.recipient_id.hex() for one in look.recipients),
        recipients=tuple(map(recipient_view, look.recipients)),
        unlinked=tuple(one.hex() for one in look.unlinked),
        signer=chain.identity.fingerprint,
        trusted=(chain.sealed and opened is not None) or believed.knows(chain.identity),
        points=len(points),
        started_at=from_microseconds(chain.header.created_at),
        newest_at=from_microseconds(newest.raw.made_at) if newest else None,
        entries=chain.listing[-1] if chain.listing else 0,
        problem=str(look.problem) if look.problem is not None else None,
        needed=needed_views(chain, needed),
    )


def _only_names(keyring: Keyring | None) -> bool:
    return keyring is not None and not keyring.opens_data


def _name_of(ctx: Context, repository: Repository) -> str | None:
    row = repositories.by_id(ctx.database, repository.repository_id) if ctx.has_catalog else None
    return row.name if row is not None else None


def _problem_view(
    ctx: Context, reading: Reading, chain_id: bytes, error: StrongroomError
) -> ChainView:
    """Show a chain that cannot be believed, with as much of its header as holds."""
    row = chain_rows.find(ctx.database, chain_id) if ctx.has_catalog else None
    repository = next(
        (
            one
            for one in reading.repositories
            if (row is not None and one.repository_id == row.repository_id)
            or chain_id in one.chain_ids()
        ),
        reading.repositories[0],
    )
    job = jobs.by_id(ctx.database, row.job_id) if row else None
    try:
        header = repository.chain(chain_id).header
        started, job_id = from_microseconds(header.created_at), header.job_id.hex()
    except StrongroomError:
        started = row.started_at if row else from_microseconds(0)
        job_id = row.job_id.hex() if row else ""
    return ChainView(
        chain_id=chain_id.hex(),
        repository=_name_of(ctx, repository),
        state="damaged",
        job_id=job_id,
        job=job.name if job else None,
        encrypted=row.sealed if row else False,
        locked=True,
        opens="nothing",
        key_id=None,
        hints=(),
        key_ids=(),
        recipients=(),
        unlinked=(),
        signer="",
        trusted=False,
        points=0,
        started_at=started,
        newest_at=None,
        entries=0,
        problem=str(error),
    )


# --- taking in ------------------------------------------------------------------------------


def take_in(
    ctx: Context, repository: Repository, chain: Chain, points: Sequence[PointView]
) -> frozenset[bytes]:
    """Bring what the catalog knows of a chain that is believed in line with the repository.

    Returns:
        The points that the catalog had not known; none of a copy.
    """
    if known_chains.is_copy(ctx, repository.repository_id, chain.chain_id):
        _take_copy_in(ctx, repository, chain)
        return frozenset()
    with ctx.database.transaction():
        if chain_rows.find(ctx.database, chain.chain_id) is None:
            chain_rows.insert(ctx.database, _chain_row(repository, chain))
        known_chains.remember_head(ctx, chain)
        present = {view.point_id for view in points}
        known = {row.point_id for row in point_rows.of_chain(ctx.database, chain.chain_id)}
        point_rows.remove_many(ctx.database, known - present)
        point_rows.insert_many(ctx.database, [_point_row(chain, view) for view in points])
        point_rows.set_held(ctx.database, [view.point_id for view in points if view.held], True)
    return frozenset(present - known)


def _take_copy_in(ctx: Context, repository: Repository, chain: Chain) -> None:
    """Remember which points a copy has; what the catalog says of the original stays."""
    head = chain.head()
    if head is None:
        return
    known_chains.remember_head(ctx, chain)
    row = copy_rows.CopyRow(
        repository_id=repository.repository_id,
        chain_id=chain.chain_id,
        location=repository.storage.location,
        number=head.number,
        entry_hash=head.entry_hash,
        copied_at=ctx.clock.now(),
    )
    copy_rows.remember(ctx.database, row, [live.point.point_id for live in chain.live_points()])


def _chain_row(repository: Repository, chain: Chain) -> chain_rows.ChainRow:
    chain_key_id, recipient_ids = known_chains.present_recipients(chain)
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


# --- unlock ---------------------------------------------------------------------------------


def unlock(
    ctx: Context,
    which: str,
    access: Access,
    *,
    keep_secret: bool = False,
    progress: Progress,
) -> ChainUnlocked:
    """Open a chain with its newest secret and take it into the catalog.

    The keystore gets what the next session compares by: dedup key, chunker seed and metakeys.
    What opens data it gets only with `keep_secret`. Of a chain that this installation signs,
    links that lack are made where both keys are open.

    Args:
        ctx: Surroundings.
        which: The chain's id or its beginning.
        access: Where it is, the newest secret, and older ones where no link leads to their keys.
            On a terminal those that are missing are asked for.
        keep_secret: Keep what opens the data of all its points so far.
        progress: Is told how it goes.

    Raises:
        InvalidInputError: it is not encrypted, or its repository is not in the catalog.
        SecretNeededError: no secret was named, and nobody can be asked.
        NoRecipientMatchedError: the secret is not one of the chain's.
        UnvouchedError: the secret opens it, but nothing vouches for who signs it.
    """
    repository, chain_id = find(ctx, which, access)
    name = _name_of(ctx, repository)
    if name is None:
        raise InvalidInputError(
            "this repository is not in the catalog, so nothing can be taken into it",
            hint="'strongroom repository add NAME LOCATION' adds it",
        )
    whole = repository.chain(chain_id)
    if not whole.sealed:
        raise InvalidInputError(
            f"chain {whole.name} is not encrypted, so there is nothing to unlock",
            hint="'strongroom repository rescan' takes it in once its signer is accepted",
        )
    unlocker = secret_for(ctx, whole, access)
    progress.begin(f"unlock {whole.name}")
    reading, keyring = open_with(ctx, repository, whole, unlocker, access)
    chain = reading.chains[0]
    notices = missing_keys.ask_for(ctx.secrets, chain, keyring)
    linked = linking.make(ctx, chain, keyring.chain_keys)
    needed = missing_keys.missing(chain, keyring)
    reading.needed[chain_id] = needed
    reading.points = open_points([chain], lambda _: keyring)
    keep(ctx, chain, keyring, keep_key=keep_secret, progress=progress)
    if not keys.readers_trust(ctx).knows(chain.identity):
        # The secret vouches for it: from now on the catalog may say so without the secret.
        row = signers.SignerRow(chain.identity.fingerprint, ctx.clock.now(), name)
        signers.accept(ctx.database, row)
        notices.append(f"accepted signer {row.fingerprint}, for which the secret vouches")
    unknown = take_in(ctx, repository, chain, reading.points)
    job = jobs.by_id(ctx.database, chain.header.job_id)
    if job is not None:
        retention.flag_anew(ctx, job, unknown)
    progress.finish()
    audit.record(ctx, "chain.unlocked", chain=chain_id.hex(), points=len(reading.points))
    if linked:
        notices.append(f"{counted(len(linked), 'missing link is', 'missing links are')} made")
    notices += [f"no link leads to the key of {one}" for one in needed]
    locked = sum(bool(reading.needs(view)) for view in reading.points)
    if locked:
        notices.append(f"{counted(locked, 'point stays', 'points stay')} locked, whole or in part")
    return ChainUnlocked(
        details=_details(ctx, reading, chain_id),
        keeps_secret=keep_secret,
        missing=tuple(dict.fromkeys(recipient_view(of) for one in needed for of in one.recipients)),
        linked=tuple(one.hex() for one in linked),
        notices=tuple(notices),
    )


def open_with(
    ctx: Context, repository: Repository, chain: Chain, unlocker: Unlocker, access: Access
) -> tuple[Reading, Keyring]:
    """Open one chain with a secret, as far as it is believed, and compare it with what was seen.

    Returns:
        A reading of that chain alone, and what the secret opens.

    Raises:
        NoRecipientMatchedError: the secret, or one of several, is not one of the chain's.
        UnvouchedError: it is, and nothing vouches for who signs the chain.
        RolledBackError, ForkedError: this installation has seen another history.
    """
    reading = Reading(access, [repository], [chain])
    known_chains.compare_with_seen(ctx, chain)
    believed = keys.readers_trust(ctx, access.signers)
    with guarded.guessing(ctx, [chain]):
        keyring = open_believed(
            reading, chain, lambda part: part.wrapped.unlock(unlocker, believed)
        )
        refuse_idle(access, unlocker, reading.chains)
    reading.points = open_points(reading.chains, lambda _: keyring)
    for view in reading.points:
        if isinstance(view.problem, IntegrityError):
            raise view.problem
    return reading, keyring


def secret_for(ctx: Context, chain: Chain, access: Access, prefix: str = "") -> Unlocker:
    """Return the secret for a chain that was named, or ask for it.

    Args:
        ctx: Surroundings.
        chain: A sealed one.
        access: What was named.
        prefix: Of the options that name it, for who cannot be asked.

    Raises:
        SecretNeededError: no secret was named, and nobody can be asked.
    """
    given = unlocker_of(ctx, access)
    if given is not None:
        return given
    shown = "; ".join(map(str, look_through(chain).recipients))
    if not ctx.secrets.can_ask:
        stem = f"--{prefix}password"
        raise SecretNeededError(
            f"chain {chain.name} opens with one of: {shown}",
            hint=f"name the secret with {stem}-file, {stem}-env, {stem}-command or --recovery-key",
        )
    return PasswordUnlocker(ctx.secrets.get(f"newest password of chain {chain.name}", hint=shown))


def keep(
    ctx: Context, chain: Chain, keyring: Keyring, *, keep_key: bool, progress: Progress
) -> ChainRecord:
    """Keep what the next session of an opened chain compares by, and what lists its points.

    Raises:
        UnlockError: the newest session's keys are sealed to a chain key that is closed.
        NotFoundError: the chain has no session.
    """
    newest = chain.newest_session
    body = newest.body if newest is not None else None
    if not isinstance(body, SessionBody):
        raise NotFoundError(f"chain {chain.name} has no session to go on from")
    records = dict(chain.sessions(body).items())
    secrets = keyring.secrets(records[body.slot])
    for entry in chain.kept_entries():
        if isinstance(entry.body, SessionBody) and entry.body.slot not in records:
            record = chain.sessions(entry.body).get(entry.body.slot)
            if record is not None:
                records[entry.body.slot] = record
    for record in records.values():
        try:
            metakey = keyring.secrets(record).metakey
        except (IntegrityError, UnlockError, UnsupportedVersionError):
            continue  # closed: it is told with the points that it concerns
        ctx.keystore.put_metakey(chain.chain_id, record.session_id, metakey)
        progress.advance(files=1)
    key_id = _key_in_force(ctx, chain)
    chain_key = keyring.chain_keys.get(key_id)
    kept = ChainRecord(
        chain_id=chain.chain_id,
        dedup_key=secrets.dedup_key,
        chunker_seed=secrets.chunker_seed,
        chain_key_public=chain.wrapped.envelopes()[key_id].chain_public,
        chain_key_seed=chain_key.seed if chain_key is not None and keep_key else None,
    )
    ctx.keystore.put(chain.chain_id.hex(), kept)
    return kept


def _key_in_force(ctx: Context, chain: Chain) -> bytes:
    """Return the id of the chain key that the next session seals to.

    After a change of recipients, and before the session that follows it, that is not the one
    that the newest session sealed to: what comes would be for the recipients of before.
    """
    row = chain_rows.find(ctx.database, chain.chain_id)
    own = keys.known_identity(ctx.database)
    changed = row.chain_key_id if row is not None else None
    if changed is None or own is None or chain.signs_as(own) is None:
        return chain.present_key_id
    waits = changed in chain.wrapped.envelopes() and not chain.was_in_force(changed)
    return changed if waits else chain.present_key_id
