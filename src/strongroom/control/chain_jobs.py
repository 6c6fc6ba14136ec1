"""Jobs that go on in a chain which is there already, and which another server began.

Such a job has the id that the chain's header names, and its sources keep the ids that the points
have, so that its next session is an ordinary increment.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from strongroom.catalog import jobs as job_rows
from strongroom.catalog import points as point_rows
from strongroom.control import (
    audit,
    chains,
    guarded,
    jobs,
    keys,
    known_chains,
    retention,
    succession,
)
from strongroom.control.access import Reading
from strongroom.crypto import random
from strongroom.engine.points import open_points
from strongroom.errors import (
    ConflictError,
    InvalidInputError,
    UnlockError,
    UnvouchedError,
)
from strongroom.format.journal import SessionBody
from strongroom.model.job import SourceSpec
from strongroom.model.phrases import counted
from strongroom.repository import layout, locks
from strongroom.repository.keyring import Keyring, dedup_key_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.control.access import Access
    from strongroom.control.context import Context
    from strongroom.control.jobs import JobRequest
    from strongroom.control.views.jobs import JobResult
    from strongroom.engine.points import PointView
    from strongroom.repository.chain import Chain
    from strongroom.repository.repository import Repository


def create(
    ctx: Context,
    request: JobRequest,
    which: str,
    access: Access,
    *,
    repoint: Sequence[tuple[str, str]] = (),
) -> JobResult:
    """Make a job that goes on in a chain of its repository.

    Args:
        ctx: Surroundings.
        request: The job; without sources it has those of the chain.
        which: The chain's id or its beginning.
        access: The chain's newest secret, where the keystore was not told to keep it.
        repoint: Sources of the chain that are read from elsewhere now: the old one, the new one.

    Raises:
        ConflictError: the name is taken, the chain is another job's here, or its server is at
            work.
        InvalidInputError: the sources are not the chain's, or one of the two is not encrypted.
        NotFoundError: there is no such chain, repository or password.
        SecretNeededError, UnlockError: nothing at hand opens the chain's present key.
        UnvouchedError: nothing vouches for who signs the chain.
    """
    jobs.check_free(ctx, request.name)
    repository, chain_id = chains.find(ctx, which, replace(access, where=request.repository))
    whole = repository.chain(chain_id)
    owner = job_rows.by_id(ctx.database, whole.header.job_id)
    if owner is not None:
        raise ConflictError(
            f"chain {whole.name} is job {owner.name}'s",
            hint=f"'strongroom job run {owner.name}' goes on in it",
            job=owner.name,
        )
    known_chains.compare_with_seen(ctx, whole)
    reading, keyring = _open(ctx, repository, whole, access)
    chain = reading.chains[0]
    if chain.end is not None:
        raise UnvouchedError(
            f"chain {whole.name} was taken over by {whole.identity.fingerprint}, for whom nothing "
            "here vouches",
            hint="--signer, with this fingerprint, believes it",
            fingerprint=whole.identity.fingerprint,
        )
    if chain.ended:
        raise ConflictError(
            f"chain {chain.name} has ended: its last point has expired, and prune removes it",
            hint="a job without --chain begins a chain of its own",
        )
    sources = _sources(_sources_of(reading.points), request.sources, repoint)
    job = jobs.build(ctx, request, chain.header.job_id, sources)
    if job.encrypted != chain.sealed:
        raise InvalidInputError(
            f"chain {chain.name} is {'' if chain.sealed else 'not '}encrypted and the job is "
            f"{'' if job.encrypted else 'not '}to be, so it cannot go on in it",
            hint="a job without --chain begins a chain of its own",
        )
    if not chain.sealed and _is_plain_copy(chain):
        raise InvalidInputError(
            f"chain {chain.name} is a plain copy of an encrypted one: it can be read, and no "
            "session goes on in it",
            hint="a job without --chain begins a chain of its own",
        )
    before = chain.identity.fingerprint
    recipients = keys.recipients(ctx, job)
    with locks.acquire(
        repository.storage,
        layout.job_lock(job.job_id),
        random.token(16).hex(),
        ctx.clock,
        command="job create",
    ):
        newer = succession.take_over(
            ctx, chain, keyring, recipients, keep_key=keys.keeps_secret(ctx, job)
        )
        with ctx.database.transaction():
            job_rows.insert(ctx.database, job, ctx.clock.now())
            chains.take_in(ctx, repository, chain, reading.points)
            succession.remember(ctx, job, chain, newer, recipients)
            known = {row.point_id for row in point_rows.of_job(ctx.database, job.job_id)}
            retention.flag_anew(ctx, job, known)
    audit.record(
        ctx, "job.created", job=job.name, encrypt=str(job.encryption), chain=chain_id.hex()
    )
    result = jobs.made(ctx, job)
    return msgspec.structs.replace(
        result, notices=(*result.notices, *_notices(repository, chain, before))
    )


def _notices(repository: Repository, chain: Chain, before: str) -> list[str]:
    notices = []
    own = chain.identity.fingerprint
    if before != own:
        notices.append(
            f"chain {chain.name} is signed by this server from now on, {own}: the one before, "
            f"{before}, writes nothing more to it"
        )
    job_id = chain.header.job_id
    others = [
        other
        for other in repository.chain_ids()
        if other != chain.chain_id and repository.chain(other).header.job_id == job_id
    ]
    if others:
        notices.append(
            f"{counted(len(others), 'other chain')} of this job stay as they are: they can be "
            "read, and no retention of this server touches them"
        )
    return notices


def _is_plain_copy(chain: Chain) -> bool:
    """Tell whether a plain chain was made from a sealed one: its content hashes are keyed."""
    newest = chain.newest_session
    if newest is None or not isinstance(newest.body, SessionBody):
        return False
    record = chain.sessions(newest.body).get(newest.body.slot)
    return record is not None and dedup_key_of(chain, record, None) is not None


def _open(
    ctx: Context, repository: Repository, chain: Chain, access: Access
) -> tuple[Reading, Keyring]:
    """Open a chain with what was kept when it was unlocked, or with its secret."""
    if not chain.sealed:
        return _open_plain(ctx, repository, chain, access), Keyring(chain.origin_id)
    believed = keys.readers_trust(ctx, access.signers)
    given = access.expects_sealed or guarded.is_guarded(ctx, chain)
    if not given and believed.knows(chain.identity):
        with suppress(UnlockError):
            keyring = keys.stored_keyring(ctx, chain, believed)
            if chain.present_key_id in keyring.chain_keys:
                reading = Reading(access, [repository], [chain])
                reading.points = open_points(reading.chains, lambda _: keyring)
                return reading, keyring
    unlocker = chains.secret_for(ctx, chain, access, "old-")
    return chains.open_with(ctx, repository, chain, unlocker, access)


def _open_plain(ctx: Context, repository: Repository, chain: Chain, access: Access) -> Reading:
    """Read a chain that needs no key, as far as it is believed.

    Raises:
        UnvouchedError: nobody believes who signs it.
    """
    part = keys.readers_trust(ctx, access.signers).known_part(chain)
    if part is None:
        raise UnvouchedError(
            f"chain {chain.name} is not encrypted, and nothing vouches for its signer "
            f"{chain.identity.fingerprint}",
            hint="compare it, and pin it with --signer",
            fingerprint=chain.identity.fingerprint,
        )
    reading = Reading(access, [repository], [part])
    reading.points = open_points(reading.chains, lambda _: None)
    return reading


# --- sources --------------------------------------------------------------------------------


def _sources_of(points: Sequence[PointView]) -> dict[str, bytes]:
    """Return the sources of a chain, by what the sealed part of its newest points says of each.

    Raises:
        UnlockError: of some source no point is open.
    """
    newest: dict[bytes, str] = {}
    for view in points:  # oldest first
        source_id = view.live.point.source_id
        if view.details is not None:
            newest[source_id] = view.details.source
    closed = {view.live.point.source_id for view in points} - newest.keys()
    if closed:
        raise UnlockError(
            f"of {counted(len(closed), 'source')} no point opens, so nobody can say what it is",
            hint="the chain's newest secret opens all of them",
        )
    return {source: source_id for source_id, source in newest.items()}


def _sources(
    known: Mapping[str, bytes], given: Sequence[str], repoint: Sequence[tuple[str, str]]
) -> tuple[SourceSpec, ...]:
    """Return the job's sources; one that the chain has keeps its id, and with it its history.

    Raises:
        InvalidInputError: the chain has a source that the job would not have, or one is pointed
            elsewhere that the chain does not have.
    """
    moved = {str(jobs.new_source(old)): jobs.new_source(new) for old, new in repoint}
    unknown = moved.keys() - known.keys()
    if unknown:
        raise InvalidInputError(
            f"the chain has no source {', '.join(sorted(unknown))}",
            hint=f"it has {', '.join(sorted(known))}",
        )
    present: dict[str, SourceSpec] = {}
    for text, source_id in known.items():
        place = str(moved.get(text, text))
        present[place] = SourceSpec.parse(place, source_id)
    if not given:
        return tuple(present.values())
    wanted = {str(source): source for source in map(jobs.new_source, given)}
    left_out = present.keys() - wanted.keys()
    if left_out:
        raise InvalidInputError(
            f"the chain has a source that the job would not have: {', '.join(sorted(left_out))}",
            hint="name it with --source as well, or say where it is read from now with --repoint "
            "OLD NEW; 'job edit --remove-source' takes it from the job later",
            sources=sorted(known),
        )
    return tuple(present.get(text, source) for text, source in wanted.items())
