"""Synthetic fulls: the job's present state as the full of a new chain, from what is stored.

No source is read and no block is opened. The blocks are those of the points before, bound to the
chain they come from (`engine.derivation`); the new chain stands alone nevertheless, and the old
one expires alone. The points that it is made from are given up, for they are the same.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from strongroom.catalog import chains, missing_links, repositories, synthetic_fulls
from strongroom.catalog import points as point_rows
from strongroom.clock import to_microseconds
from strongroom.control import audit, clock_guard, job_lock, keys, vaults
from strongroom.control.chain_choice import ChainChoice, Target
from strongroom.control.known_chains import keep_envelope
from strongroom.control.retention import Judged
from strongroom.control.sessions import SessionRun
from strongroom.crypto import random
from strongroom.crypto.envelope import SessionSecrets
from strongroom.crypto.hpke import PublicKey
from strongroom.engine import backup, derivation
from strongroom.engine.carried import used_by
from strongroom.engine.points import open_details
from strongroom.errors import (
    ConflictError,
    NotFoundError,
    RefusedError,
    StrongroomError,
    UnlockError,
)
from strongroom.format.journal import PointKind, SessionBody
from strongroom.keystore import ChainRecord
from strongroom.model.retention import Verdict
from strongroom.repository import rekey, unpublished, writer
from strongroom.repository.state import StateBlocks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.control.context import Context
    from strongroom.control.sessions import SessionResult
    from strongroom.engine.carried import Carried
    from strongroom.format.journal import Entry, EntryRef
    from strongroom.format.point import PointDetails
    from strongroom.model.job import Job
    from strongroom.repository.chain import Chain
    from strongroom.repository.keyring import Keyring
    from strongroom.repository.repository import Repository
    from strongroom.storage.base import Composed

REASON = "made from the points before"
_REPLACED = "a synthetic full has taken its place"


def remove_dead(ctx: Context, job: Job, repository: Repository) -> None:
    """Remove what synthetic fulls left that did not end; the caller holds the job's lock."""
    for row in synthetic_fulls.of_job(ctx.database, job.job_id):
        if row.repository_id != repository.repository_id:
            continue
        published = unpublished.is_published(repository.storage, row.chain_id)
        if not published and chains.find(ctx.database, row.chain_id) is None:
            try:
                unpublished.remove(repository.storage, row.chain_id)
            except RefusedError:
                continue  # a vault keeps some of it for now: another time
            ctx.keystore.delete(ChainRecord, row.chain_id.hex())
        synthetic_fulls.remove(ctx.database, row.chain_id)


class SyntheticRun(SessionRun):
    """A session that makes a synthetic full."""

    reads_sources = False
    _moved: Composed | None = None

    def _back_up_whatever_is_damaged(
        self, repository: Repository, location: str
    ) -> tuple[backup.SessionOutcome, Target]:
        # What is damaged is no base for a full; the next session that reads begins anew.
        return self._back_up(repository, location)

    def _back_up(
        self,
        repository: Repository,
        location: str,  # noqa: ARG002 - for sessions that read
    ) -> tuple[backup.SessionOutcome, Target]:
        ctx, job = self.ctx, self.job
        remove_dead(ctx, job, repository)
        choice = ChainChoice(ctx, job, repository, full=False, old=None, warnings=self.warnings)
        previous = choice.newest_of_job()
        old, keyring, record = self._present(choice, repository, previous)
        assert previous is not None
        points = _newest_points(job, old, keyring)
        newest = old.newest_session
        assert newest is not None
        what = used_by(old, [newest])

        def remember(chain_id: bytes, _: bytes) -> None:
            row = synthetic_fulls.SyntheticFullRow(
                chain_id=chain_id, job_id=job.job_id, repository_id=repository.repository_id
            )
            synthetic_fulls.insert(ctx.database, row)

        try:
            chain_id, header = rekey.prepare_derived(
                old,
                PublicKey(record.chain_key_public).id if record is not None else b"",
                ctx.identity,
                to_microseconds(ctx.clock.now()),
                previous[0],
                begun=remember,
            )
            new = unpublished.view(repository.storage, chain_id, header)
            target = self._keep_keys(what, keyring, record, new)
            self._moved = derivation.move_packs(
                old, new, what, job_lock.Beating(self.progress, self._lock), self.cancel
            )
            session = self._session(target, previous, choice)
            derived = [self._derived(source, details, ctx) for source, details, _ in points]
            derivation.publish(old, new, what, derived, session, ctx.identity, ctx.clock)
            self.cancel.check()
            self._confirm_lock()
        except BaseException:
            # What stays, the job's next session removes.
            with suppress(StrongroomError):
                remove_dead(ctx, job, repository)
            raise
        unpublished.publish(repository.storage, chain_id, header)
        chain = repository.chain(chain_id)
        self._remember(chain, old, record)
        made = {one.source_id: one.point_id for one in derived}
        self._replace({old_id: made[source] for source, _, old_id in points}, old)
        entry = chain.newest_session
        assert entry is not None
        return self._outcome(entry, session.counter, derived), replace(target, chain=chain)

    # --- what it is made from ----------------------------------------------------------------

    def _present(
        self,
        choice: ChainChoice,
        repository: Repository,
        previous: tuple[EntryRef, SessionBody] | None,
    ) -> tuple[Chain, Keyring, ChainRecord | None]:
        """Return the chain that the job is in, and what opens its index.

        Raises:
            NotFoundError: the job has no point here yet.
            ConflictError: its next session begins a chain of its own in any case.
            UnlockError: nothing at hand opens the index.
        """
        ctx, job = self.ctx, self.job
        row = chains.current(ctx.database, job.job_id)
        if previous is None or row is None:
            raise NotFoundError(
                f"job {job.name} has no point in {job.repository} that a full could be made from",
                hint=f"'strongroom job run {job.name}' makes the first",
            )
        wanted = keys.wanted_by(keys.recipients(ctx, job))
        chain = repository.chain(previous[0].chain_id)
        if row.chain_id != chain.chain_id or row.detached or wanted.sealed != chain.sealed:
            raise ConflictError(
                f"the next session of job {job.name} begins a new chain in any case",
                hint=f"'strongroom job run {job.name}' makes that full, from the source",
            )
        if missing_links.of_chain(ctx.database, chain.chain_id):
            raise ConflictError(
                f"chain {chain.name} of job {job.name} lacks links to older keys",
                hint="'strongroom chain unlock' makes them",
            )
        keyring, record = choice.keys_of(chain)
        if chain.sealed and record is None:
            raise UnlockError(
                f"the keystore has lost the keys of chain {chain.name}",
                hint=f"'strongroom job run {job.name}' goes on with the job's secret",
            )
        return chain, keyring, record

    def _keep_keys(
        self,
        what: Carried,
        keyring: Keyring,
        record: ChainRecord | None,
        new: Chain,
    ) -> Target:
        """Keep for the new chain what the keystore keeps of the old one."""
        ctx = self.ctx
        if record is None:
            return Target(new, keyring, None, REASON, REASON)
        kept = msgspec.structs.replace(record, chain_id=new.chain_id)
        ctx.keystore.put(new.chain_id.hex(), kept)
        for session in what.records.values():
            ctx.keystore.put_metakey(new.chain_id, session.session_id, keyring.metakey(session))
        return Target(new, keyring, kept, REASON, REASON)

    # --- publishing --------------------------------------------------------------------------

    def _session(
        self, target: Target, previous: tuple[EntryRef, SessionBody], choice: ChainChoice
    ) -> derivation.DerivingSession:
        ctx = self.ctx
        secrets: SessionSecrets | None = None
        sealed = writer.SealedKeys()
        if target.record is not None:
            secrets = SessionSecrets.generate(target.record.dedup_key, target.record.chunker_seed)
            sealed = writer.seal_keys(
                secrets, target.record.chain_key_public, target.chain.origin_id, self.session_id
            )
            ctx.keystore.put_metakey(target.chain.chain_id, self.session_id, secrets.metakey)
        return derivation.DerivingSession(
            session_id=self.session_id,
            keys=sealed,
            secrets=secrets,
            counter=self._next_counter(previous[1]),
            previous=previous[0],
            next_due=self._next_due(),
            older=tuple(choice.older.values()),
        )

    def _derived(
        self, source: bytes, details: PointDetails, ctx: Context
    ) -> derivation.DerivedPoint:
        made = msgspec.structs.replace(
            details,
            job=self.job.name,
            parent=b"",
            reason=REASON,
            finished_at=to_microseconds(ctx.clock.now()),
            stored_bytes=0,
        )
        return derivation.DerivedPoint(point_id=random.token(16), source_id=source, details=made)

    def _outcome(
        self, entry: Entry, counter: int, derived: list[derivation.DerivedPoint]
    ) -> backup.SessionOutcome:
        by_id = {source.source_id: source for source in self.job.sources}
        results = [
            backup.SourceResult(
                source=backup.SourcePlan(
                    source_id=one.source_id,
                    kind=by_id[one.source_id].kind.value,
                    value=by_id[one.source_id].value,
                    arguments=by_id[one.source_id].arguments(),
                ),
                point_id=one.point_id,
                details=one.details,
            )
            for one in derived
        ]
        return backup.SessionOutcome(
            entry=entry,
            counter=counter,
            kind=PointKind.SYNTHETIC_FULL,
            results=results,
            warnings=[],
            read_bytes=0,
            changed_bytes=0,
            stored_bytes=_stored_by(self._moved) if self._moved is not None else 0,
            files=sum(one.details.files for one in derived),
            given_up=frozenset(),
            bottleneck="",
        )

    def _remember(self, chain: Chain, old: Chain, record: ChainRecord | None) -> None:
        ctx = self.ctx
        before = chains.find(ctx.database, old.chain_id)
        assert before is not None, "the job is in it"
        with ctx.database.transaction():
            chains.insert(
                ctx.database,
                replace(
                    before,
                    chain_id=chain.chain_id,
                    started_at=self.started_at,
                    current=True,
                    detached=False,
                ),
            )
            if record is not None:
                keep_envelope(ctx, chain, PublicKey(record.chain_key_public).id)
            synthetic_fulls.remove(ctx.database, chain.chain_id)
            audit.record(
                ctx,
                "job.synthetic_full",
                job=self.job.name,
                chain=old.chain_id.hex(),
                new_chain=chain.chain_id.hex(),
            )

    def _replace(self, points: Mapping[bytes, bytes], old: Chain) -> None:
        """Give up the points that the new ones are the same as, where nothing keeps them.

        Args:
            points: New points by the old ones.
            old: The old ones' chain.
        """
        ctx = self.ctx
        strict = vaults.is_immutable(ctx, self.job.repository)
        blocked = clock_guard.removals_blocked(ctx, strict=strict) is not None
        for row in point_rows.of_chain(ctx.database, old.chain_id):
            new = points.get(row.point_id)
            if new is None:
                continue
            self._flagged[new] = row.flagged
            repository = repositories.get(ctx.database, self.job.repository)
            until = vaults.locked_until(ctx, repository.repository_id, row.taken_at)
            locked = until is not None and until > ctx.clock.now()
            if not (row.held or locked or blocked):
                verdict = Verdict(row.point_id, (), (_REPLACED,))
                self._given_up[row.point_id] = Judged(row, verdict)

    def _result(self, outcome: backup.SessionOutcome, target: Target) -> SessionResult:
        moved = self._moved
        assert moved is not None
        return replace(
            super()._result(outcome, target),
            kind="synthetic-full",
            cloned_bytes=moved.cloned_bytes,
            copied_bytes=moved.copied_bytes,
            copied_there_bytes=moved.copied_there_bytes,
        )


def _stored_by(moved: Composed) -> int:
    """Return how much room moving blocks took."""
    return moved.copied_bytes + moved.copied_there_bytes


def _newest_points(
    job: Job, chain: Chain, keyring: Keyring
) -> list[tuple[bytes, PointDetails, bytes]]:
    """Return of each source the newest point that the chain's state carries: details and id.

    In the order of the job's sources, as any session's points are.

    Raises:
        NotFoundError: there is none.
    """
    newest = chain.newest_session
    assert newest is not None
    assert isinstance(newest.body, SessionBody)
    state = StateBlocks(chain, newest.body)
    wanted = [source.source_id for source in job.sources]
    found: dict[bytes, tuple[PointDetails, bytes]] = {}
    for live in reversed(chain.live_points()):
        source = live.point.source_id
        if source not in wanted or source in found:
            continue
        details = open_details(chain, keyring, live.body, live.point)
        page = details.root.page
        if page is None or state.contains(*page):
            found[source] = details, live.point.point_id
    if not found:
        raise NotFoundError(
            f"chain {chain.name} has no point of a source that job {job.name} has now",
            hint=f"'strongroom job run {job.name}' makes one",
        )
    return [(source, *found[source]) for source in wanted if source in found]
