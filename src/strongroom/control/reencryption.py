"""Re-encryption of a job's chains: new keys for what was backed up, without its source.

Each sealed chain with live points is cloned into a new one (`engine.reencryption`) for the job's
recipients of today. Only when all of it has been read back and compared is the new chain
published; only then are the old chain's points given up, and prune removes them as ever.

What is unfinished stands in the catalog. Jobs go on in the old chain meanwhile, and the next call
goes on where this one was cut short, with what was published since as well.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from strongroom.catalog import chains, heads, jobs, reencryptions
from strongroom.catalog import points as point_rows
from strongroom.control import audit, job_lock, keys, vaults
from strongroom.control.access import unlockers_of
from strongroom.control.chain_choice import ChainChoice
from strongroom.control.chain_keys import open_chain
from strongroom.control.known_chains import (
    compare_with_seen,
    keep_envelope,
    present_recipients,
    remember_head,
    repository_of,
)
from strongroom.control.traffic import Traffic
from strongroom.control.views.rewrapping import ReencryptedChain, ReencryptResult
from strongroom.crypto import random
from strongroom.engine import reencryption
from strongroom.engine.carried import Carried, carried
from strongroom.errors import (
    CancelledError,
    ConfirmationNeededError,
    ConflictError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    RefusedError,
    UnlockError,
    UnsupportedVersionError,
)
from strongroom.format.journal import SessionBody
from strongroom.keystore import ChainRecord
from strongroom.model.phrases import counted
from strongroom.repository import promises, rekey, unpublished

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.catalog.chains import ChainRow
    from strongroom.catalog.reencryptions import ReencryptionRow
    from strongroom.control.access import Access
    from strongroom.control.context import Context
    from strongroom.crypto.envelope import ChainKey
    from strongroom.crypto.recipients import Recipient, Unlocker
    from strongroom.engine.cancellation import Cancellation
    from strongroom.engine.progress import Progress
    from strongroom.format.header import ChainHeader
    from strongroom.format.journal import EntryRef
    from strongroom.model.job import Job
    from strongroom.repository.chain import Chain
    from strongroom.repository.keyring import Keyring
    from strongroom.repository.locks import Lock
    from strongroom.repository.repository import Repository


_LEFT_FOR = (IntegrityError, UnsupportedVersionError, NotFoundError, RefusedError, UnlockError)
"""What leaves one chain as it is, and does not keep others from being re-encrypted."""


@dataclass(slots=True)
class _Plan:
    """What is to become of one chain."""

    row: ChainRow
    repository: Repository
    unfinished: ReencryptionRow | None
    chain: Chain | None = None
    keyring: Keyring | None = None
    begun: tuple[Chain, ChainKey] | None = None
    """The new chain and its key, where this very call began it."""
    what: Carried = field(default_factory=lambda: Carried([], {}))
    reason: str = ""
    """Why it is left as it is."""

    def view(self, state: str = "") -> ReencryptedChain:
        planned = "left" if self.reason else "unfinished" if self.unfinished else "due"
        return ReencryptedChain(
            chain=self.row.chain_id.hex(),
            state=state or planned,
            new_chain=self.unfinished.chain_id.hex() if self.unfinished else None,
            points=len(self.what.live),
            stored_bytes=self.what.byte_count,
            reason=self.reason,
        )


def reencrypt(
    ctx: Context,
    name: str,
    *,
    old: Access | None = None,
    dry_run: bool = False,
    yes: bool = False,
    progress: Progress,
    cancel: Cancellation,
) -> ReencryptResult:
    """Give the live points of a job's sealed chains new keys, in new chains.

    Args:
        ctx: Surroundings.
        name: The job's.
        old: Secrets that open what nothing stored does.
        dry_run: Only say what would be done.
        yes: Agrees that the old chains' points are given up once the new ones are verified.
        progress: Is told how it goes.
        cancel: Stops it between two packs.

    Raises:
        ConfirmationNeededError: nobody agreed.
        InvalidInputError: the job is not encrypted.
        ConflictError: it is unfinished, and sealed for others than the job's recipients now.
        LockedError: a session of the job is running.
        UnavailableError: a repository of the job does not answer.
        IntegrityError: what was made is not what it should be; the old chain is untouched.
        CancelledError: on request; called again, it goes on.
    """
    job = jobs.get(ctx.database, name)
    ctx.traffic = Traffic(job=job.limit, check=cancel.check)
    recipients = keys.recipients(ctx, job)
    if not recipients:
        raise InvalidInputError(
            f"job {name} is not encrypted: there is nobody to seal its old points for",
            hint="'job edit --encrypt' says for whom",
        )
    unlockers = [
        *([] if job.secret_to_read else keys.stored_unlockers(ctx, job)),
        *(unlockers_of(ctx, old) if old is not None else ()),
    ]
    warnings: list[str] = []
    with ExitStack() as held:
        locks = {} if dry_run else _lock(ctx, job, held)
        if not dry_run:
            _drop_expired(ctx, job)
        plans = _plans(ctx, job, unlockers)
        views = [plan.view() for plan in plans]
        if not dry_run:
            _ask(name, views, yes)
            work = _Work(ctx, job, recipients, unlockers, warnings, cancel)
            work.begin(plans)
            try:
                views = [
                    work.carry_out(
                        plan,
                        locks[plan.row.repository_id],
                        job_lock.Beating(progress, locks[plan.row.repository_id]),
                    )
                    for plan in plans
                ]
            except CancelledError as error:
                error.hint = (
                    f"'strongroom job reencrypt {name}' goes on from here, --abandon drops what "
                    "was made; points and jobs are as they were"
                )
                raise
    return ReencryptResult(
        job=name, done=not dry_run, chains=tuple(views), warnings=tuple(warnings)
    )


def abandon(ctx: Context, name: str) -> ReencryptResult:
    """Remove what unfinished re-encryptions of a job have made. Its points are as they were.

    Raises:
        NotFoundError: none is unfinished.
        ConflictError: its new chain is published already: it can only be finished.
        LockedError: a session of the job is running.
    """
    job = jobs.get(ctx.database, name)
    rows = reencryptions.of_job(ctx.database, job.job_id)
    if not rows:
        raise NotFoundError(f"no re-encryption of job {name} is unfinished")
    views = []
    warnings: list[str] = []
    with ExitStack() as held:
        for repository_id in dict.fromkeys(row.repository_id for row in rows):
            held.enter_context(_acquire(ctx, job, repository_of(ctx, repository_id)))
        for row in rows:
            try:
                _remove(ctx, repository_of(ctx, row.repository_id), row)
            except RefusedError as error:
                warnings.append(f"of chain {row.chain_id.hex()[:12]} something stays: {error}")
            views.append(
                ReencryptedChain(
                    chain=row.old_chain_id.hex(),
                    state="abandoned",
                    new_chain=row.chain_id.hex(),
                    points=0,
                    stored_bytes=0,
                )
            )
        audit.record(ctx, "job.reencryption_abandoned", job=name)
    return ReencryptResult(job=name, done=True, chains=tuple(views), warnings=tuple(warnings))


def _is_published(ctx: Context, repository: Repository, row: ReencryptionRow) -> bool:
    """Tell whether a new chain was published, though the storage may hide its header now."""
    known = chains.find(ctx.database, row.chain_id) is not None
    return known or unpublished.is_published(repository.storage, row.chain_id)


def _remove(ctx: Context, repository: Repository, row: ReencryptionRow) -> None:
    """Remove all that was made, and forget it.

    Raises:
        ConflictError: it is published.
        RefusedError: the storage keeps something; it is forgotten all the same, since nobody can
            see or open what is left, and the job is not to be stuck with it.
    """
    if _is_published(ctx, repository, row):
        raise ConflictError(
            f"chain {row.chain_id.hex()[:12]} is published already",
            hint="'strongroom job reencrypt' finishes what is left to do",
        )
    try:
        unpublished.remove(repository.storage, row.chain_id)
    except RefusedError:
        _forget(ctx, row)
        raise
    _forget(ctx, row)


def _forget(ctx: Context, row: ReencryptionRow) -> None:
    ctx.keystore.delete(ChainRecord, row.chain_id.hex())
    reencryptions.remove(ctx.database, row.chain_id)


def _drop_expired(ctx: Context, job: Job) -> None:
    """Remove what was made for old chains that have expired since."""
    for row in reencryptions.of_job(ctx.database, job.job_id):
        if chains.find(ctx.database, row.old_chain_id) is None:
            _remove(ctx, repository_of(ctx, row.repository_id), row)


def _acquire(ctx: Context, job: Job, repository: Repository) -> Lock:
    return job_lock.acquire(
        ctx,
        job,
        repository,
        holder=random.token(16),
        command="job reencrypt",
        hint="wait for it to end, then re-encrypt",
    )


def _lock(ctx: Context, job: Job, held: ExitStack) -> dict[bytes, Lock]:
    """Take the job's lock in every repository where it has sealed chains."""
    rows = [row for row in chains.of_job(ctx.database, job.job_id) if row.sealed]
    return {
        one: held.enter_context(_acquire(ctx, job, repository_of(ctx, one)))
        for one in dict.fromkeys(row.repository_id for row in rows)
    }


# --- planning -------------------------------------------------------------------------------


def _plans(ctx: Context, job: Job, unlockers: Sequence[Unlocker]) -> list[_Plan]:
    """Return what is to be done, the chain that the job goes on in last: it names the others.

    While some are unfinished, those alone: all that were due were begun together, so that what
    else there is was re-encrypted before, or is left.
    """
    unfinished = {row.old_chain_id: row for row in reencryptions.of_job(ctx.database, job.job_id)}
    plans = []
    for row in sorted(chains.of_job(ctx.database, job.job_id), key=lambda one: one.current):
        if not row.sealed:
            continue
        repository = repository_of(ctx, row.repository_id)
        plan = _Plan(row, repository, unfinished.get(row.chain_id))
        try:
            _look(ctx, plan, unlockers)
        except _LEFT_FOR as error:
            plan.reason = str(error)
        due = plan.unfinished is not None or (plan.what.live and not unfinished)
        if due or plan.reason:
            plans.append(plan)
    return plans


def _look(ctx: Context, plan: _Plan, unlockers: Sequence[Unlocker]) -> None:
    if vaults.immutability_of(ctx, plan.row.repository_id) is not None:
        raise RefusedError(
            "it lies in a vault, which keeps the old ciphertext until its date whatever is done; "
            "'strongroom job run JOB --full' begins a chain under new keys, and the old one goes "
            "when the vault lets it"
        )
    chain = plan.chain = plan.repository.chain(plan.row.chain_id)
    compare_with_seen(ctx, chain)
    if chain.signs_as(ctx.identity.public) is None:
        raise UnlockError(
            f"it is signed by {chain.identity.fingerprint}, and only who signs a chain can give "
            "its points up"
        )
    plan.what = carried(chain)
    plan.keyring = open_chain(ctx, chain, unlockers)
    reencryption.check_keys(chain, plan.what, plan.keyring)


def _ask(name: str, views: Sequence[ReencryptedChain], yes: bool) -> None:
    due = [one for one in views if one.state != "left"]
    if yes or not due:
        return
    points = sum(one.points for one in due)
    size = sum(one.stored_bytes for one in due)
    raise ConfirmationNeededError(
        f"{counted(points, 'point')} of job {name} in {counted(len(due), 'chain')} get new keys: "
        f"about {size:,} bytes are written, and the old chains go with a later prune",
        hint="say --yes if that is meant; --dry-run shows each",
        job=name,
    )


# --- carrying out ---------------------------------------------------------------------------


class _Work:
    """Carries plans out, one chain after the other."""

    def __init__(
        self,
        ctx: Context,
        job: Job,
        recipients: Sequence[Recipient],
        unlockers: Sequence[Unlocker],
        warnings: list[str],
        cancel: Cancellation,
    ) -> None:
        self._ctx = ctx
        self._job = job
        self._recipients = recipients
        self._ids = frozenset(recipient.id for recipient in recipients)
        self._unlockers = unlockers
        self._warnings = warnings
        self._cancel = cancel

    def begin(self, plans: Sequence[_Plan]) -> None:
        """Begin every new chain, all in one: what was due is known however this ends."""
        rows = [
            self._prepare(plan, plan.chain.header)
            for plan in plans
            if plan.chain is not None and not plan.reason and plan.unfinished is None
        ]
        with self._ctx.database.transaction():
            for row in rows:
                reencryptions.insert(self._ctx.database, row)

    def carry_out(self, plan: _Plan, lock: Lock, progress: Progress) -> ReencryptedChain:
        """Make, verify and publish the chain that takes one's place; return what was done."""
        if plan.chain is None:
            return plan.view()
        if plan.unfinished is not None and _is_published(
            self._ctx, plan.repository, plan.unfinished
        ):
            # Nothing has to be opened to finish it.
            self._settle(plan, plan.chain, plan.unfinished)
            return plan.view("reencrypted")
        if plan.reason or plan.keyring is None:
            return plan.view()
        assert plan.unfinished is not None, "all that is due was begun"
        row = plan.unfinished
        if not plan.what.live:
            _remove(self._ctx, plan.repository, plan.unfinished)
            return plan.view("abandoned")
        new, chain_key = plan.begun or self._resumed(plan, row)
        self._keep(plan, new, chain_key)
        self._fill(plan, plan.chain, plan.keyring, new, chain_key, progress)
        self._cancel.check()
        lock.confirm()
        unpublished.publish(plan.repository.storage, row.chain_id, row.header)
        self._settle(plan, plan.chain, row)
        return plan.view("reencrypted")

    def _fill(
        self,
        plan: _Plan,
        old: Chain,
        keyring: Keyring,
        new: Chain,
        chain_key: ChainKey,
        progress: Progress,
    ) -> None:
        """Clone the old chain as it is in the end: points are held and removed without the lock."""
        ctx = self._ctx
        counter, older = self._place_in_job(plan)
        while True:
            old.refresh()
            plan.what = reencryption.reencrypt(
                old,
                keyring,
                new,
                chain_key,
                counter=counter,
                older=older,
                signer=ctx.identity,
                clock=ctx.clock,
                keep_metakey=lambda session_id, metakey: ctx.keystore.put_metakey(
                    new.chain_id, session_id, metakey
                ),
                progress=progress,
                cancel=self._cancel,
            )
            old.refresh()
            if {one.point.point_id: one.held for one in old.live_points()} == plan.what.live:
                return

    def _prepare(self, plan: _Plan, header: ChainHeader) -> ReencryptionRow:
        """Store the envelopes of a new chain, sign its header, and open it."""
        storage = plan.repository.storage
        chain_id, data, chain_key = rekey.prepare_chain(
            storage,
            self._job.job_id,
            self._recipients,
            self._ctx.identity,
            header.created_at,
            header.previous,
        )
        assert chain_key is not None, "a job that is re-encrypted has recipients"
        new = unpublished.view(storage, chain_id, data)
        plan.begun = new, chain_key
        audit.wrapped(self._ctx, self._job, new, chain_key.id, self._ids)
        plan.unfinished = reencryptions.ReencryptionRow(
            chain_id=chain_id,
            old_chain_id=plan.row.chain_id,
            job_id=self._job.job_id,
            repository_id=plan.repository.repository_id,
            header=data,
        )
        return plan.unfinished

    def _resumed(self, plan: _Plan, row: ReencryptionRow) -> tuple[Chain, ChainKey]:
        """Open the chain that an earlier call began.

        Raises:
            ConflictError: it is sealed for others than the job's recipients are now.
            UnlockError: nothing at hand opens it.
        """
        ctx = self._ctx
        new = unpublished.view(plan.repository.storage, row.chain_id, row.header)
        chain_key_id = new.header.recipients
        stanzas = new.wrapped.envelopes()[chain_key_id].stanzas
        if frozenset(stanza.recipient_id for stanza in stanzas) != self._ids:
            raise ConflictError(
                f"the recipients of job {self._job.name} have changed since its re-encryption "
                "began, and what was made is sealed for those before",
                hint="--abandon drops it; then begin anew",
            )
        chain_key = open_chain(ctx, new, self._unlockers).chain_keys.get(chain_key_id)
        if chain_key is not None:
            return new, chain_key
        raise UnlockError(
            f"nothing at hand opens the chain that the re-encryption of job {self._job.name} began",
            hint="give the job's present password with --old-password-file as well",
        )

    def _keep(self, plan: _Plan, new: Chain, chain_key: ChainKey) -> None:
        """Keep what the job's next session in the new chain needs."""
        ctx = self._ctx
        assert plan.keyring is not None
        record = next(iter(plan.what.records.values()))
        secrets = plan.keyring.secrets(record)
        kept = ChainRecord(
            chain_id=new.chain_id,
            dedup_key=secrets.dedup_key,
            chunker_seed=secrets.chunker_seed,
            chain_key_public=chain_key.public.raw,
            chain_key_seed=chain_key.seed if keys.keeps_secret(ctx, self._job) else None,
        )
        ctx.keystore.put(new.chain_id.hex(), kept)

    def _place_in_job(self, plan: _Plan) -> tuple[int | None, list[EntryRef] | None]:
        """Return what the newest entry counts as and says of other chains, if it is the job's.

        Of a chain that the job does not go on in, nothing changes.
        """
        ctx, job = self._ctx, self._job
        choice = ChainChoice(
            ctx, job, plan.repository, full=False, old=None, warnings=self._warnings
        )
        newest = choice.newest_of_job()
        if newest is None or newest[0].chain_id != plan.row.chain_id:
            return None, None
        counter = 1 + max(jobs.counter(ctx.database, job.job_id), newest[1].counter)
        older = [ref for chain_id, ref in choice.older.items() if chain_id != plan.row.chain_id]
        return counter, older

    def _settle(self, plan: _Plan, old: Chain, row: ReencryptionRow) -> None:
        """Let the new chain take the old one's place; may be done again after a crash."""
        ctx, job = self._ctx, self._job
        chain = plan.repository.chain(row.chain_id)
        # Recipients may have changed since it was published, and sessions have gone on in it.
        chain_key_id, recipient_ids = present_recipients(chain)
        live = [one.point.point_id for one in chain.live_points()]
        carried = {
            point.point_id
            for number in chain.listing
            if isinstance(body := chain.remembered(number).body, SessionBody)
            for point in body.points
        }
        newest = chain.newest_session
        with ctx.database.transaction():
            if chains.find(ctx.database, row.chain_id) is None:
                chains.insert(
                    ctx.database,
                    chains.ChainRow(
                        chain_id=row.chain_id,
                        job_id=job.job_id,
                        repository_id=row.repository_id,
                        sealed=True,
                        chain_key_id=chain_key_id,
                        recipient_ids=recipient_ids,
                        started_at=plan.row.started_at,
                        current=plan.row.current,
                        detached=plan.row.detached,
                    ),
                )
                keep_envelope(ctx, chain, chain.header.recipients)
            point_rows.move_many(ctx.database, live, row.chain_id)
            remember_head(ctx, chain)
            if newest is not None and isinstance(newest.body, SessionBody):
                jobs.remember_counter(ctx.database, job.job_id, newest.body.counter)
            audit.record(
                ctx,
                "job.reencrypted",
                job=job.name,
                chain=row.old_chain_id.hex(),
                new_chain=row.chain_id.hex(),
                points=len(live),
            )
        # Only now: what is given up stands in the new chain, which everybody can read.
        still = {one.point.point_id for one in old.live_points()} & carried
        if still:
            entry = promises.take_back(old, still, ctx.identity, ctx.clock, "re-encrypted")
            heads.remember(
                ctx.database, row.old_chain_id, entry.number, entry.hash, ctx.clock.now()
            )
        reencryptions.remove(ctx.database, row.chain_id)
        keys.link_made(ctx, job)
