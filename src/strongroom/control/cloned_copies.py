"""Copies that are not the chains as they are: clones at the target that follow the job's chains.

Each chain of the job has a clone there (`engine.reencryption`), made once, unseen until it is
whole, and extended by what was published since (`engine.extension`). Its blocks are sealed with
new keys for the copy's recipients; what opens the job's points opens none of it. Or nobody
seals them: a plain copy, which its copy job says and each run tells of.

Which clone stands for which chain is known in the catalog. A run that was cut short is gone on
with by the next.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from strongroom.catalog import chains as chain_rows
from strongroom.catalog import copied_clones as clone_rows
from strongroom.catalog import copies as copy_rows
from strongroom.catalog import jobs, repositories
from strongroom.control import audit, clone_keys, job_lock, keys, known_chains, vaults
from strongroom.control.access import location_of, storage_of, unlockers_of
from strongroom.control.chain_keys import open_chain
from strongroom.control.copies import CopyProblem, CopyResult
from strongroom.crypto import random
from strongroom.engine import extension, reencryption
from strongroom.engine.carried import carried
from strongroom.errors import (
    CancelledError,
    ConflictError,
    ForgedError,
    IntegrityError,
    NoRecipientMatchedError,
    NotFoundError,
    PointWithheldError,
    RefusedError,
    UnlockError,
    UnsupportedVersionError,
)
from strongroom.format.journal import EntryRef
from strongroom.keystore import ChainRecord
from strongroom.repository import layout, promises, rekey, unpublished
from strongroom.repository.keyring import Keyring
from strongroom.repository.mirror import CopiedChain
from strongroom.repository.repository import Repository
from strongroom.storage.location import normalise
from strongroom.storage.reserving import KEPT_FREE, ReservingStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from strongroom.catalog.chains import ChainRow
    from strongroom.catalog.copied_clones import CloneRow
    from strongroom.control.access import Access
    from strongroom.control.context import Context
    from strongroom.crypto.envelope import ChainKey
    from strongroom.crypto.keys import MetaKey
    from strongroom.crypto.recipients import Unlocker
    from strongroom.engine.cancellation import Cancellation
    from strongroom.engine.progress import Progress
    from strongroom.keystore import Keystore
    from strongroom.model.copy_job import CopyJob
    from strongroom.model.job import Job
    from strongroom.repository.chain import Chain
    from strongroom.repository.locks import Lock

    _Begun = tuple[CloneRow, Chain, ChainKey | None]
    """A clone that nobody sees yet, and its key; none if it is plain."""

_LEFT_FOR = (IntegrityError, UnsupportedVersionError, NotFoundError, ConflictError)
"""What leaves one chain's copy as it is, and does not keep others from being copied."""


def as_job(copy: CopyJob, job: Job) -> Job:
    """Return a copy as if it was a job of its own: what is sealed for it is sealed for this."""
    assert copy.encryption is not None, "it is not copied as it is"
    return replace(
        job,
        name=copy.name,
        job_id=copy.copy_id,
        encryption=copy.encryption,
        recovery=copy.recovery,
        repository=copy.repository,
    )


def run(
    ctx: Context,
    copy: CopyJob,
    job: Job,
    *,
    given: Access | None = None,
    progress: Progress,
    cancel: Cancellation,
) -> CopyResult:
    """Bring the clones of a job's chains up to date.

    A chain that is damaged or not to be believed is left alone and told of; others are copied,
    and then no point is let go at the target.

    Args:
        ctx: Surroundings.
        copy: A copy job with a key of its own, or a plain one.
        job: Its job.
        given: Secrets that open the job's points where nothing stored does.
        progress: Is told how it goes.
        cancel: Stops it; what arrived is not sent again.

    Raises:
        NotARepositoryError, UnavailableError: one of the two places is not there.
        UnlockError: nothing at hand opens what has to be sealed again.
        EncryptionRequiredError: the copy is plain, and the target a vault.
        LockedError: another copy is at work there.
        CancelledError: on request.
    """
    origin = Repository.open(storage_of(ctx, job.repository))
    row = repositories.get(ctx.database, copy.repository)
    if copy.plain:
        vaults.refuse_plain(ctx, row, f"copy {copy.name}")
    target = Repository.open(ReservingStorage(vaults.storage_of(ctx, row), KEPT_FREE))
    if job.secret_to_read:
        jobs.guard(ctx.database, copy.copy_id)
    unlockers = [
        *([] if job.secret_to_read else keys.stored_unlockers(ctx, job)),
        *(unlockers_of(ctx, given) if given is not None else ()),
    ]
    copied_as = as_job(copy, job)
    with job_lock.acquire(
        ctx,
        copied_as,
        target,
        holder=random.token(16),
        command="job copy",
        hint="wait for the other copy to end",
    ) as lock:
        work = _Copying(
            ctx,
            copy,
            copied_as,
            origin,
            target,
            unlockers,
            lock,
            job_lock.Beating(progress, lock),
            cancel,
        )
        try:
            work.copy_all(chain_rows.of_job(ctx.database, job.job_id))
        except CancelledError as error:
            error.hint = f"'strongroom job copy run {copy.name}' goes on from here"
            raise
    if work.locked is not None:
        work.locked.hint = (
            f"give the secret of the points: 'strongroom job copy run {copy.name} --password-file "
            "F', --kms or --recovery-key"
        )
        raise work.locked
    result = CopyResult(
        source=job.repository,
        target=copy.repository,
        done=True,
        created=False,
        chains=tuple(work.copied),
        problems=tuple(work.problems),
        configurations=0,
        warnings=tuple(work.warnings),
    )
    audit.record(
        ctx,
        "repository.copied",
        needed=False,
        repository=job.repository,
        target=copy.repository,
        chains=[one.chain for one in result.chains],
        objects=sum(one.objects for one in result.chains),
        problems=len(result.problems),
    )
    return result


def _tell_plain(ctx: Context, copy: CopyJob) -> list[str]:
    """Write down that a run is going to store what anybody can read; return that in words.

    Raises:
        AuditUnwritableError: it cannot be written, and so nothing is copied.
    """
    if not copy.plain:
        return []
    audit.record(
        ctx,
        "points.copied-plain",
        severity=audit.Severity.WARNING,
        copy_job=copy.name,
        job=copy.job,
        repository=copy.repository,
    )
    return [
        f"copy {copy.name} is not encrypted: whoever reads repository {copy.repository} reads the "
        f"points of job {copy.job}"
    ]


@dataclass(slots=True)
class _Plan:
    """What is to become of one chain's clone."""

    old: Chain
    current: bool
    clone: Chain | None = None
    """As everybody sees it; None where that is still to come."""
    row: CloneRow | None = None
    lacking: extension.Lacking | None = None

    @property
    def brings(self) -> bool:
        """Whether something travels, and not only a promise changes."""
        return self.lacking is None or bool(self.lacking.entries)


class _Copying:
    """One run of a copy job."""

    def __init__(
        self,
        ctx: Context,
        copy: CopyJob,
        copied_as: Job,
        origin: Repository,
        target: Repository,
        unlockers: Sequence[Unlocker],
        lock: Lock,
        progress: Progress,
        cancel: Cancellation,
    ) -> None:
        self._ctx = ctx
        self._copy = copy
        self._copied_as = copied_as
        self._origin = origin
        self._target = target
        self._unlockers = unlockers
        self._lock = lock
        self._progress = progress
        self._cancel = cancel
        self._recipients = keys.recipients(ctx, copied_as)
        self._ids = frozenset(recipient.id for recipient in self._recipients)
        self._clones = {
            row.old_chain_id: row for row in clone_rows.of_copy(ctx.database, copy.copy_id)
        }
        self.copied: list[CopiedChain] = []
        self.problems: list[CopyProblem] = []
        self.warnings = _tell_plain(ctx, copy)
        self.locked: UnlockError | None = None
        """Why a chain could not be opened, if one could not."""

    def copy_all(self, rows: Sequence[ChainRow]) -> None:
        """Copy every chain that is in the job's repository.

        What brings something comes first, the chain that the job goes on in last of it: its
        newest session names the others. Then points are let go, if all others have arrived.
        """
        plans = []
        for row in rows:
            if row.repository_id != self._origin.repository_id:
                continue
            if not (row.sealed or self._copy.plain):
                self.warnings.append(
                    f"chain {row.chain_id.hex()[:12]} is not encrypted, and stays out of a copy "
                    "that is"
                )
                continue
            try:
                plans.append(self._plan(row))
            except _LEFT_FOR as error:
                self._problem(row.chain_id, error)
        for plan in sorted(plans, key=lambda one: (not one.brings, one.current)):
            self._cancel.check()
            if not plan.brings and self._incomplete:
                continue
            try:
                self._carry_out(plan)
            except UnlockError as error:
                self.locked = self.locked or error
            except _LEFT_FOR as error:
                self._problem(plan.old.chain_id, error)
        if not self._incomplete:
            self._let_go({row.chain_id for row in rows})

    @property
    def _incomplete(self) -> bool:
        return bool(self.problems) or self.locked is not None

    def _plan(self, row: ChainRow) -> _Plan:
        """Find out what one chain's clone lacks.

        Raises:
            IntegrityError: a chain is damaged, withheld, or not to be believed.
            ConflictError: the clone cannot follow any longer.
        """
        ctx = self._ctx
        old = self._origin.chain(row.chain_id)
        known_chains.compare_with_seen(ctx, old)
        if not keys.readers_trust(ctx).knows(old.identity):
            raise ForgedError(
                f"chain {old.name} is signed by {old.identity.fingerprint}, whom nothing here "
                "vouches for"
            )
        plan = _Plan(old, row.current, row=self._clones.get(row.chain_id))
        if plan.row is None:
            return plan
        if plan.row.header is not None and not unpublished.is_published(
            self._target.storage, plan.row.chain_id
        ):
            return plan
        plan.clone = self._clone(plan.row)
        plan.lacking = extension.Lacking(old, plan.clone)
        return plan

    def _clone(self, row: CloneRow) -> Chain:
        """Return a clone as everybody sees it.

        Raises:
            PointWithheldError: it is not there.
            IntegrityError: it is another history than was written here.
        """
        try:
            clone = self._target.chain(row.chain_id)
        except NotFoundError as error:
            raise PointWithheldError(
                f"chain {row.chain_id.hex()[:12]}, the copy of chain "
                f"{row.old_chain_id.hex()[:12]}, is not at {self._copy.repository} any longer",
                hint="if it is lost, a new copy job begins a copy of its own",
            ) from error
        known_chains.compare_with_seen(self._ctx, clone)
        return clone

    def _carry_out(self, plan: _Plan) -> None:
        if plan.lacking is not None and plan.clone is not None:
            packs, size = self._extend(plan, plan.clone, plan.lacking)
            clone, live = plan.clone, plan.lacking.live
        else:
            if not plan.old.live_points():
                self._drop(plan)
                return
            clone = self._fill(plan)
            sizes = [info.size for info in clone.storage.list(layout.packs(clone.chain_id))]
            packs, size = len(sizes), sum(sizes)
            live = {one.point.point_id: one.held for one in clone.live_points()}
        self._remember(clone, live, packs, size)

    # --- the first copy ----------------------------------------------------------------------

    def _fill(self, plan: _Plan) -> Chain:
        """Make the clone, verify it, and let everybody see it."""
        ctx = self._ctx
        keyring = self._opened_source(plan.old)
        reencryption.check_keys(plan.old, carried(plan.old), keyring)
        begun = self._begun(plan)
        try:
            row, chain_key = self._made(plan, keyring, begun or self._begin(plan))
        except RefusedError:
            if begun is None:
                raise
            # A storage that lets nothing go keeps the journal that was begun: without its header
            # nobody sees it.
            self._drop(plan)
            row, chain_key = self._made(plan, keyring, self._begin(plan))
        if chain_key is not None:
            self._keep(plan, keyring, row.chain_id, chain_key)
        self._lock.confirm()
        assert row.header is not None
        unpublished.publish(self._target.storage, row.chain_id, row.header)
        clone_rows.published(ctx.database, row.chain_id)
        return self._target.chain(row.chain_id)

    def _opened_source(self, old: Chain) -> Keyring:
        """Return the keys of a chain of the job, which a plain one has none of."""
        if not old.sealed:
            return Keyring(old.origin_id)
        return open_chain(self._ctx, old, self._unlockers)

    def _made(
        self, plan: _Plan, keyring: Keyring, begun: _Begun
    ) -> tuple[CloneRow, ChainKey | None]:
        """Fill a clone that nobody sees yet."""
        ctx = self._ctx
        row, new, chain_key = begun
        reencryption.reencrypt(
            plan.old,
            keyring,
            new,
            chain_key,
            counter=None,
            older=self._others(row.chain_id) if plan.current else [],
            signer=ctx.identity,
            clock=ctx.clock,
            keep_metakey=_keeper(ctx.keystore, row.chain_id),
            progress=self._progress,
            cancel=self._cancel,
        )
        return row, chain_key

    def _begin(self, plan: _Plan) -> _Begun:
        """Store the envelopes of a clone, sign its header, and open it."""
        ctx, storage = self._ctx, self._target.storage

        def row_of(chain_id: bytes, header: bytes) -> CloneRow:
            return clone_rows.CloneRow(
                chain_id=chain_id,
                copy_id=self._copy.copy_id,
                old_chain_id=plan.old.chain_id,
                header=header,
            )

        chain_id, header, chain_key = rekey.prepare_chain(
            storage,
            self._copy.copy_id,
            self._recipients,
            ctx.identity,
            plan.old.header.created_at,
            None,
            begun=lambda *begun: clone_rows.insert(ctx.database, row_of(*begun)),
        )
        assert (chain_key is None) == self._copy.plain, (
            "a copy with a key of its own has recipients"
        )
        new = unpublished.view(storage, chain_id, header)
        if chain_key is not None:
            audit.wrapped(ctx, self._copied_as, new, chain_key.id, self._ids)
        return row_of(chain_id, header), new, chain_key

    def _begun(self, plan: _Plan) -> _Begun | None:
        """Open the clone that an earlier run began; None if none did, or it is of no use."""
        row = plan.row
        if row is None or row.header is None:
            return None
        new = unpublished.view(self._target.storage, row.chain_id, row.header)
        if not new.sealed:
            return row, new, None
        # Both copies of the only one: who was killed between them has done nothing else.
        ways = list(new.storage.list(layout.envelopes(row.chain_id)))
        envelope = new.wrapped.envelopes().get(new.header.recipients) if len(ways) > 1 else None
        stanzas = envelope.stanzas if envelope is not None else ()
        if frozenset(stanza.recipient_id for stanza in stanzas) == self._ids:
            chain_key = self._opened(new, new.header.recipients)
            if chain_key is not None:
                return row, new, chain_key
        # Without its envelope, sealed for others than it should be now, or closed: nobody has
        # seen it.
        self._drop(plan)
        return None

    def _drop(self, plan: _Plan) -> None:
        """Remove what was made of a clone that nobody has seen, if anything was."""
        if plan.row is None:
            return
        with suppress(RefusedError):
            unpublished.remove(self._target.storage, plan.row.chain_id)
        self._ctx.keystore.delete(ChainRecord, plan.row.chain_id.hex())
        clone_rows.remove(self._ctx.database, plan.row.chain_id)

    def _keep(self, plan: _Plan, keyring: Keyring, chain_id: bytes, chain_key: ChainKey) -> None:
        """Keep of a clone what the keystore keeps of a job's chain."""
        ctx = self._ctx
        record = next(iter(carried(plan.old).records.values()))
        secrets = keyring.secrets(record)
        kept = ChainRecord(
            chain_id=chain_id,
            dedup_key=secrets.dedup_key,
            chunker_seed=secrets.chunker_seed,
            chain_key_public=chain_key.public.raw,
            chain_key_seed=chain_key.seed if keys.keeps_secret(ctx, self._copied_as) else None,
        )
        ctx.keystore.put(chain_id.hex(), kept)

    # --- what came since ---------------------------------------------------------------------

    def _extend(self, plan: _Plan, clone: Chain, lacking: extension.Lacking) -> tuple[int, int]:
        ctx = self._ctx
        if plan.row is not None and plan.row.header is not None:
            clone_rows.published(ctx.database, clone.chain_id)
        if clone.sealed:
            self._follow(clone)
        if lacking.nothing:
            return 0, 0
        public = clone_keys.next_key(ctx, clone) if clone.sealed else None
        # Not needed for a promise alone, which no secret is asked for.
        keyring = Keyring(plan.old.origin_id)
        if lacking.entries:
            keyring = self._opened_source(plan.old)
        self._lock.confirm()
        return extension.extend(
            plan.old,
            keyring,
            clone,
            public,
            self._opened(clone, public.id) if public is not None and lacking.entries else None,
            lacking,
            older=self._others(clone.chain_id) if plan.current else [],
            signer=ctx.identity,
            clock=ctx.clock,
            keep_metakey=_keeper(ctx.keystore, clone.chain_id),
            progress=self._progress,
            cancel=self._cancel,
        )

    def _follow(self, clone: Chain) -> None:
        """Seal what comes for whom the copy job names now, if that is somebody else."""
        ctx = self._ctx
        if clone_keys.is_sealed_for(ctx, clone, self._recipients):
            return
        self._lock.confirm()
        # Nobody's secret gets into a guarded copy by what is stored here.
        guarded = self._copied_as.secret_to_read
        stored = [] if guarded else keys.stored_unlockers(ctx, self._copied_as)
        opened: Mapping[bytes, ChainKey] = {}
        with suppress(NoRecipientMatchedError):
            opened = open_chain(ctx, clone, stored).chain_keys
        if clone_keys.follow(ctx, self._copied_as, clone, opened, self._recipients) is None:
            warning = (
                f"copy {self._copy.name} stays sealed for whom it was sealed before, since nothing "
                "at hand opens it: the secrets of now do not open it. 'strongroom job copy rewrap "
                f"{self._copy.name} --old-password-file F' lets it follow"
            )
            if warning not in self.warnings:
                self.warnings.append(warning)

    def _opened(self, clone: Chain, chain_key_id: bytes) -> ChainKey | None:
        """Return a clone's key if something at hand opens it."""
        stored = keys.stored_unlockers(self._ctx, self._copied_as)
        try:
            return open_chain(self._ctx, clone, stored).chain_keys.get(chain_key_id)
        except NoRecipientMatchedError:
            return None

    def _others(self, chain_id: bytes) -> list[EntryRef]:
        """Return the heads of the copy's other chains that have points."""
        found = []
        for row in clone_rows.of_copy(self._ctx.database, self._copy.copy_id):
            if row.chain_id == chain_id or row.header is not None:
                continue
            clone = self._clone(row)
            head = clone.head()
            if head is not None and clone.live_points():
                found.append(EntryRef(row.chain_id, head.number, head.entry_hash))
        return found

    def _let_go(self, present: set[bytes]) -> None:
        """Let go the points of chains that expired and were removed at the source."""
        ctx = self._ctx
        for row in self._clones.values():
            if row.old_chain_id in present or chain_rows.find(ctx.database, row.old_chain_id):
                continue
            if row.header is not None and not unpublished.is_published(
                self._target.storage, row.chain_id
            ):
                with suppress(RefusedError):
                    unpublished.remove(self._target.storage, row.chain_id)
                clone_rows.remove(ctx.database, row.chain_id)
                continue
            clone = self._clone(row)
            live = [one.point.point_id for one in clone.live_points()]
            if live:
                promises.take_back(clone, live, ctx.identity, ctx.clock, "copied")
                known_chains.remember_head(ctx, clone)

    # --- what is remembered ------------------------------------------------------------------

    def _remember(self, clone: Chain, live: dict[bytes, bool], packs: int, size: int) -> None:
        ctx = self._ctx
        clone.refresh()
        head = clone.head()
        assert head is not None, "a clone has entries"
        known_chains.remember_head(ctx, clone)
        copy_rows.remember(
            ctx.database,
            copy_rows.CopyRow(
                repository_id=self._target.repository_id,
                chain_id=clone.chain_id,
                location=normalise(location_of(ctx, self._copy.repository)),
                number=head.number,
                entry_hash=head.entry_hash,
                copied_at=ctx.clock.now(),
            ),
            list(live),
        )
        self.warnings += vaults.after_copy(ctx, self._target, clone.chain_id)
        self.copied.append(
            CopiedChain(
                chain=clone.chain_id.hex(),
                job=self._copy.copy_id.hex(),
                sealed=clone.sealed,
                done=True,
                points=tuple(point.hex() for point in live),
                newest_entry=head.number,
                objects=packs,
                stored_bytes=size,
                replaced=(),
                damaged=(),
            )
        )

    def _problem(self, chain_id: bytes, error: Exception) -> None:
        assert isinstance(error, _LEFT_FOR)
        self.problems.append(
            CopyProblem(chain=chain_id.hex(), code=error.code, message=str(error), hint=error.hint)
        )


def _keeper(keystore: Keystore, chain_id: bytes) -> Callable[[bytes, MetaKey], None]:
    """Return what keeps the metakeys of a chain."""

    def keep(session_id: bytes, metakey: MetaKey) -> None:
        keystore.put_metakey(chain_id, session_id, metakey)

    return keep
