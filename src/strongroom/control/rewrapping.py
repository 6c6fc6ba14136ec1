"""Re-wrapping: a job's chain keys sealed for today's recipients, and for nobody else.

Envelopes are replaced, and nothing else: blocks, sessions and points stay as they are. It shuts
out who has an old secret and never copied an old envelope. Who did has the chain keys, and what
was sealed to them stays open to them; only re-encryption changes that.

It heals, too. A chain key without an intact envelope in the repository gets one again if the
keystore has it, or if the catalog's copy of its envelope opens; the rest is as above.

Where a change of recipients still waits for the job's next session, it is made here first. The
present chain key would otherwise seal what is to come, and an old envelope opens it.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from strongroom.catalog import chains, copied_clones, copy_jobs, jobs, repositories
from strongroom.control import audit, clone_keys, guarded, job_lock, keys, linking, rekeying
from strongroom.control.access import refuse_idle, unlockers_of
from strongroom.control.cloned_copies import as_job
from strongroom.control.known_chains import compare_with_seen, repository_of
from strongroom.control.views.rewrapping import RewrappedKey, RewrapResult
from strongroom.crypto import random
from strongroom.crypto.unlockers import SeveralUnlockers
from strongroom.errors import (
    ConfirmationNeededError,
    EnvelopeDamagedError,
    IntegrityError,
    InvalidInputError,
    NoRecipientMatchedError,
    NotFoundError,
    RefusedError,
    UnlockError,
    UnsupportedVersionError,
    UnvouchedError,
)
from strongroom.model.phrases import counted
from strongroom.repository import layout
from strongroom.repository.keyring import openers_of
from strongroom.repository.needs import points_needing
from strongroom.repository.rekey import (
    copies_of,
    has_both_copies,
    remove_envelopes,
    replace_envelope,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from strongroom.control.access import Access
    from strongroom.control.context import Context
    from strongroom.crypto.envelope import ChainKey
    from strongroom.crypto.recipients import Recipient, Unlocker
    from strongroom.errors import StrongroomError
    from strongroom.format.header import Envelope
    from strongroom.model.job import Job
    from strongroom.repository.chain import Chain
    from strongroom.repository.repository import Repository

    _Known = tuple[bytes, chains.ChainRow | None]
    """A chain by its id, and what the catalog has of it; nothing of a copy's."""


@dataclass(slots=True)
class _Plan:
    """What is to become of one chain's envelopes."""

    row: chains.ChainRow | None
    """None for a copy's chain, which the catalog has no row of."""
    chain: Chain
    opened: dict[bytes, ChainKey] = field(default_factory=dict)
    envelopes: dict[bytes, Envelope] = field(default_factory=dict)
    """The intact ones in the repository."""
    copies: dict[bytes, Envelope] = field(default_factory=dict)
    """The catalog's, of chain keys that have no intact one in the repository."""
    closed: dict[bytes, str] = field(default_factory=dict)
    """Why chain keys stay closed."""

    def envelope(self, chain_key_id: bytes) -> Envelope | None:
        """Return the newest envelope of a chain key that is known."""
        return self.envelopes.get(chain_key_id) or self.copies.get(chain_key_id)

    def outdated(self, wanted: frozenset[bytes]) -> list[bytes]:
        """Return the open chain keys that lack two envelopes for those wanted and nobody else."""
        return [
            one
            for one in self.opened
            if one not in self.envelopes
            or _sealed_for(self.envelopes[one]) != wanted
            or not has_both_copies(self.chain, self.envelopes[one])
        ]

    def leftovers(self, chain_key_id: bytes) -> set[str]:
        """Return the names of envelopes that the one which counts stands in for."""
        counts = copies_of(self.chain, chain_key_id, self.envelopes[chain_key_id].generation)
        named = self.chain.wrapped.envelope_names().items()
        return {key for key, of in named if of == chain_key_id and key not in counts}


def rewrap(
    ctx: Context,
    name: str,
    *,
    old: Access | None = None,
    dry_run: bool = False,
    yes: bool = False,
) -> RewrapResult:
    """Seal every chain key of a job that can be opened for the job's recipients of today.

    Args:
        ctx: Surroundings.
        name: The job's.
        old: Secrets that open what nothing stored does.
        dry_run: Only say what would be done.
        yes: Agrees that old secrets open the job's points no longer.

    Raises:
        ConfirmationNeededError: nobody agreed.
        InvalidInputError: the job is not encrypted.
        LockedError: a session of the job is running.
        UnavailableError: a repository of the job does not answer.
    """
    job = jobs.get(ctx.database, name)
    if not job.encrypted:
        raise InvalidInputError(
            f"job {name} is not encrypted: there is nobody to seal its old points for",
            hint="'job edit --encrypt' says for whom; re-wrapping then follows it",
        )
    sealed = [row for row in chains.of_job(ctx.database, job.job_id) if row.sealed]
    found: dict[bytes, list[_Known]] = {}
    for row in sealed:
        found.setdefault(row.repository_id, []).append((row.chain_id, row))
    return _rewrap(ctx, job, found, old, "job rewrap", dry_run=dry_run, yes=yes)


def rewrap_copy(
    ctx: Context,
    name: str,
    *,
    old: Access | None = None,
    dry_run: bool = False,
    yes: bool = False,
) -> RewrapResult:
    """Seal every chain key of a copy that can be opened for its copy job's recipients of today.

    Args:
        ctx: Surroundings.
        name: The copy job's.
        old: Secrets that open what nothing stored does.
        dry_run: Only say what would be done.
        yes: Agrees that old secrets open the copy no longer.

    Raises:
        ConfirmationNeededError: nobody agreed.
        InvalidInputError: the copy has no key of its own.
        LockedError: a copy is being made.
        UnavailableError: its repository does not answer.
    """
    copy = copy_jobs.get(ctx.database, name).copy
    if copy.encryption is None or copy.plain:
        raise InvalidInputError(
            f"copy {name} has no key of its own",
            hint="what is copied as it is follows its job: 'job rewrap', and then the next copy",
        )
    job = jobs.get(ctx.database, copy.job)
    if job.secret_to_read:
        jobs.guard(ctx.database, copy.copy_id)
    clones = copied_clones.of_copy(ctx.database, copy.copy_id)
    seen: list[_Known] = [(row.chain_id, None) for row in clones if row.header is None]
    repository_id = repositories.get(ctx.database, copy.repository).repository_id
    return _rewrap(
        ctx,
        as_job(copy, job),
        {repository_id: seen},
        old,
        "job copy rewrap",
        dry_run=dry_run,
        yes=yes,
    )


def _rewrap(
    ctx: Context,
    job: Job,
    found: Mapping[bytes, Sequence[_Known]],
    old: Access | None,
    command: str,
    *,
    dry_run: bool,
    yes: bool,
) -> RewrapResult:
    """Re-wrap chains, by their repositories, for the recipients of a job or of what is like one."""
    name, recipients = job.name, keys.recipients(ctx, job)
    wanted = frozenset(recipient.id for recipient in recipients)
    given = SeveralUnlockers(unlockers_of(ctx, old) if old is not None else ())
    stored = [] if job.secret_to_read else keys.stored_unlockers(ctx, job)
    # Stored secrets first; a KMS that is away keeps nobody from what opens without it.
    unlocker = SeveralUnlockers([*stored, given])
    warnings: list[str] = []
    with ExitStack() as held:
        plans = []
        for repository_id, known in found.items():
            repository = repository_of(ctx, repository_id)
            if not dry_run:
                held.enter_context(
                    job_lock.acquire(
                        ctx,
                        job,
                        repository,
                        holder=random.token(16),
                        command=command,
                        hint="wait for it to end, then re-wrap",
                    )
                )
            plans += _plans(ctx, known, repository, unlocker, warnings)
        if old is not None:
            refuse_idle(old, given, [plan.chain for plan in plans])
        warnings += [f"{what}: {why}" for what, why in unlocker.refusals.items()]
        shown = [one for plan in plans for one in _planned(plan, wanted)]
        if not dry_run:
            _ask(name, shown, yes)
            shown = [
                one for plan in plans for one in _carry_out(ctx, job, plan, recipients, wanted)
            ]
            keys.link_made(ctx, job)
            event = "copy-job" if plans and plans[0].row is None else "job"
            audit.record(ctx, f"{event}.rewrapped", job=name, keys=len(shown))
    return RewrapResult(job=name, done=not dry_run, keys=tuple(shown), warnings=tuple(warnings))


# --- planning -------------------------------------------------------------------------------


def _plans(
    ctx: Context,
    known: Sequence[_Known],
    repository: Repository,
    unlocker: Unlocker,
    warnings: list[str],
) -> list[_Plan]:
    plans = []
    for chain_id, row in known:
        try:
            plans.append(_plan(ctx, repository.chain(chain_id), row, unlocker))
        except (IntegrityError, UnsupportedVersionError, NotFoundError) as error:
            # One chain that is damaged does not keep the others from being re-wrapped.
            warnings.append(f"chain {chain_id.hex()[:12]} is left alone: {error}")
    return plans


def _plan(ctx: Context, chain: Chain, row: chains.ChainRow | None, unlocker: Unlocker) -> _Plan:
    compare_with_seen(ctx, chain)
    if not keys.trust(ctx).knows(chain.identity):
        raise UnvouchedError(
            f"it is signed by {chain.identity.fingerprint}, and only who signs a chain can "
            "replace its envelopes",
            hint="its points open with the secrets that they were sealed for",
            fingerprint=chain.identity.fingerprint,
        )
    envelopes, damaged = chain.wrapped.read_envelopes()
    present = damaged.get(chain.present_key_id)
    if isinstance(present, UnsupportedVersionError):
        raise present
    known = {chain.present_key_id, *envelopes, *chain.wrapped.envelope_names().values()}
    plan = _Plan(row, chain, envelopes=envelopes)
    plan.copies = _kept_copies(ctx, chain, known - set(envelopes))
    if not guarded.is_guarded(ctx, chain):
        plan.opened = keys.kept_chain_keys(ctx, chain)
    refused: dict[bytes, StrongroomError] = {}
    with suppress(NoRecipientMatchedError), guarded.guessing(ctx, [chain]):
        _open(ctx, plan, unlocker, refused)
    for chain_key_id in known - set(plan.opened):
        whole = plan.envelope(chain_key_id) is not None
        plan.closed[chain_key_id] = (
            str(refused.get(chain_key_id, "nothing at hand opens it"))
            if whole
            else "no intact envelope of it is left"
        )
    return plan


def _open(
    ctx: Context, plan: _Plan, unlocker: Unlocker, refused: dict[bytes, StrongroomError]
) -> None:
    """Add the chain keys that secrets open; why they do not open others goes to `refused`.

    Raises:
        NoRecipientMatchedError: they open none.
    """
    opened = _opened_by(ctx, plan, unlocker, refused)
    plan.opened |= opened
    if not opened:
        raise NoRecipientMatchedError(f"nothing at hand opens chain {plan.chain.name}")


def _opened_by(
    ctx: Context, plan: _Plan, unlocker: Unlocker, refused: dict[bytes, StrongroomError]
) -> dict[bytes, ChainKey]:
    """Return the chain keys that a secret opens, with the catalog's copies where those lack.

    Why it does not open others that are sealed for it goes to `refused`.
    """
    chain = plan.chain
    opened: dict[bytes, ChainKey] = {}
    try:
        keyring = chain.wrapped.unlock(unlocker, keys.trust(ctx))
        opened |= keyring.chain_keys
        refused |= keyring.refused
    except NoRecipientMatchedError:
        pass
    except EnvelopeDamagedError:
        if chain.present_key_id in plan.envelopes:
            raise
    except (RefusedError, UnlockError) as error:
        refused[chain.present_key_id] = error
    for chain_key_id, copy in plan.copies.items():
        if chain_key_id in {*plan.opened, *opened}:
            continue
        try:
            opened |= chain.wrapped.opened_from(chain.wrapped.open_envelope(copy, unlocker))
        except NoRecipientMatchedError:
            continue
        except (RefusedError, UnlockError) as error:
            refused[chain_key_id] = error
    return opened


def _kept_copies(
    ctx: Context, chain: Chain, chain_key_ids: Collection[bytes]
) -> dict[bytes, Envelope]:
    """Return the catalog's copies of the envelopes of these chain keys, as far as it has some."""
    copies = {}
    for chain_key_id in chain_key_ids:
        data = chains.envelope(ctx.database, chain.chain_id, chain_key_id)
        if data is not None:
            with suppress(IntegrityError, UnsupportedVersionError):
                copies[chain_key_id] = chain.wrapped.read_envelope(data, "the catalog's copy")
    return copies


def _planned(plan: _Plan, wanted: frozenset[bytes]) -> list[RewrappedKey]:
    outdated = plan.outdated(wanted)
    needed = points_needing(plan.chain, plan.closed)
    return [
        *(
            _key(plan, one, "old" if one in outdated else "current", _shut_out(plan, one, wanted))
            for one in plan.opened
        ),
        *(
            _key(plan, one, "closed", _shut_out(plan, one, wanted), reason, needed[one])
            for one, reason in plan.closed.items()
        ),
    ]


def _key(
    plan: _Plan,
    chain_key_id: bytes,
    state: str,
    shut_out: str = "",
    reason: str = "",
    points: Sequence[bytes] = (),
) -> RewrappedKey:
    return RewrappedKey(
        chain=plan.chain.chain_id.hex(),
        key_id=chain_key_id.hex(),
        state=state,
        shut_out=shut_out,
        reason=reason,
        points=tuple(point_id.hex() for point_id in points),
    )


def _sealed_for(envelope: Envelope) -> frozenset[bytes]:
    return frozenset(stanza.recipient_id for stanza in envelope.stanzas)


def _shut_out(plan: _Plan, chain_key_id: bytes, wanted: frozenset[bytes]) -> str:
    """Say whose secrets open the chain key now and are none of those wanted."""
    envelope = plan.envelope(chain_key_id)
    if envelope is None:
        return ""
    others = [stanza for stanza in envelope.stanzas if stanza.recipient_id not in wanted]
    return openers_of({chain_key_id: msgspec.structs.replace(envelope, stanzas=others)})[
        chain_key_id
    ]


def _ask(name: str, shown: Sequence[RewrappedKey], yes: bool) -> None:
    old = [one for one in shown if one.state == "old"]
    if yes or not old:
        return
    shut_out = sorted({one.shut_out for one in old if one.shut_out})
    raise ConfirmationNeededError(
        f"{counted(len(old), 'chain key')} of job {name} are to be re-wrapped: what was sealed "
        f"before opens no longer with {' or '.join(shut_out) or 'an older secret'}",
        hint="say --yes if that is meant; --dry-run shows each",
        job=name,
    )


# --- carrying out ---------------------------------------------------------------------------


def _carry_out(
    ctx: Context,
    job: Job,
    plan: _Plan,
    recipients: Sequence[Recipient],
    wanted: frozenset[bytes],
) -> list[RewrappedKey]:
    _make_pending_change(ctx, job, plan, recipients, wanted)
    linking.make(ctx, plan.chain, plan.opened)
    outdated = plan.outdated(wanted)
    results: list[RewrappedKey] = []
    for chain_key_id, chain_key in plan.opened.items():
        shut_out = _shut_out(plan, chain_key_id, wanted)
        held = plan.envelope(chain_key_id)
        if held is None or chain_key_id in outdated:
            state = "rewrapped"
            replaced = replace_envelope(plan.chain, chain_key, held, recipients, ctx.identity)
            generation, remaining = replaced.generation, replaced.remaining
        else:
            # What an earlier re-wrap was kept from removing, or had no time to.
            state, generation = "current", held.generation
            remaining = remove_envelopes(plan.chain, chain_key_id, plan.leftovers(chain_key_id))
        name = layout.envelope(plan.chain.chain_id, chain_key_id, generation, "a")
        data = plan.chain.storage.get(name)
        if plan.row is not None:
            chains.rewrapped(ctx.database, plan.chain.chain_id, chain_key_id, wanted, data)
        if remaining:
            points = points_needing(plan.chain, {chain_key_id})[chain_key_id]
            reason = f"{', '.join(remaining)} stays: {next(iter(remaining.values()))}"
            results.append(_key(plan, chain_key_id, "kept", shut_out, reason, points))
        else:
            results.append(_key(plan, chain_key_id, state, shut_out))
    return results + [one for one in _planned(plan, wanted) if one.state == "closed"]


def _make_pending_change(
    ctx: Context,
    job: Job,
    plan: _Plan,
    recipients: Sequence[Recipient],
    wanted: frozenset[bytes],
) -> None:
    """Give the chain that goes on its new key, where recipients changed since its last one."""
    row = plan.row
    if row is None:
        newer = clone_keys.follow(ctx, job, plan.chain, plan.opened, recipients)
        if newer is not None:
            plan.opened[newer.id] = newer
            plan.envelopes = plan.chain.wrapped.envelopes()
        return
    present = plan.opened.get(row.chain_key_id or b"")
    if not row.current or row.detached or present is None or row.recipient_ids == wanted:
        return
    prepared = rekeying.Prepared(job, plan.chain, present)
    rekeyed = rekeying.carry_out(ctx, prepared, recipients)
    rekeying.settle(ctx, rekeyed, keep_key=keys.keeps_secret(ctx, job))
