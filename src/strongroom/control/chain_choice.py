"""Which chain a session writes to, and with which keys.

The journal is asked before the catalog: the catalog may be an old copy, and the history that
is signed is the one that goes on. `model.transition` decides; this module finds out what it
decides by, and does what it says.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.catalog import chains as chain_rows
from strongroom.catalog import damage, heads, missing_links
from strongroom.catalog import jobs as job_rows
from strongroom.catalog import points as point_rows
from strongroom.catalog import sessions as session_rows
from strongroom.clock import from_microseconds
from strongroom.control import audit, keys, known_chains
from strongroom.crypto import random
from strongroom.crypto.envelope import ChainKey
from strongroom.crypto.hpke import PublicKey
from strongroom.crypto.keys import DedupKey, MetaKey
from strongroom.crypto.recipients import PasswordUnlocker, Recipient
from strongroom.errors import (
    BlockDamagedError,
    EnvelopeDamagedError,
    IntegrityError,
    MalformedError,
    NoRecipientMatchedError,
    NotFoundError,
    ObjectCutError,
    ObjectMissingError,
    PointDamagedError,
    PointWithheldError,
    RefusedError,
    RolledBackError,
    StrongroomError,
    UnavailableError,
    UnlockError,
    UnsupportedVersionError,
)
from strongroom.format.journal import EntryRef, SessionBody
from strongroom.keystore import ChainRecord
from strongroom.model.transition import (
    Circumstances,
    Continue,
    PresentChain,
    StartChain,
    WantedEncryption,
    next_step,
)
from strongroom.repository import copy_marks, rekey
from strongroom.repository.chain import Chain, Head
from strongroom.repository.keyring import Keyring
from strongroom.storage.reading import at_once, side_by_side

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from strongroom.control.context import Context
    from strongroom.control.secrets import SecretSource
    from strongroom.format.journal import Entry
    from strongroom.model.job import Job
    from strongroom.repository.chain import Trust
    from strongroom.repository.repository import Repository


class _KeptMetakeys:
    """A chain's metakeys, asked of the keystore one by one as sessions are met."""

    def __init__(self, ctx: Context, chain_id: bytes) -> None:
        self._ctx = ctx
        self._chain_id = chain_id

    def get(self, session_id: bytes, /) -> MetaKey | None:
        try:
            return self._ctx.keystore.metakey(self._chain_id, session_id)
        except NotFoundError:
            return None


def is_damage(error: IntegrityError) -> bool:
    """Tell damage, which happens, from a history that is withheld, rolled back or forged."""
    return isinstance(
        error,
        MalformedError
        | BlockDamagedError
        | PointDamagedError
        | ObjectMissingError
        | ObjectCutError,
    )


def _opening(chain: Chain, record: ChainRecord) -> Callable[[], Keyring] | None:
    """Return what opens the chain's keys where the job's secret is stored: to mend damage."""
    seed = record.chain_key_seed
    if seed is None:
        return None
    return lambda: Keyring(chain.origin_id, chain.wrapped.opened_from(ChainKey(seed)))


@dataclass(slots=True)
class Target:
    """The chain a session writes to, with the keys for it."""

    chain: Chain
    keyring: Keyring
    record: ChainRecord | None
    """What the keystore keeps of a sealed chain."""
    reason: str = ""
    text: str = ""


class ChainChoice:
    """Finds the job's newest history and the chain that its next session writes to."""

    def __init__(
        self,
        ctx: Context,
        job: Job,
        repository: Repository,
        *,
        full: bool,
        old: SecretSource | None,
        warnings: list[str],
        damaged: bool = False,
    ) -> None:
        """Ask nothing yet.

        Args:
            ctx: The command's surroundings.
            job: Whose session it is.
            repository: Where it writes.
            full: An active full was asked for.
            old: The secret of the chain before, where the catalog cannot open it.
            warnings: Takes what the operator has to know.
            damaged: The job's present chain turned out too damaged to build on.
        """
        self.ctx = ctx
        self.job = job
        self.repository = repository
        self.full = full
        self.old = old
        self.warnings = warnings
        self.damaged = damaged
        self.older: dict[bytes, EntryRef] = {}
        """Heads of the job's chains that have promised points."""
        self._seen: dict[bytes, Chain] = {}
        """Chains of the job, as they were compared with what this server has seen."""
        self._withheld: dict[bytes, int] = {}
        """Chains of the job that should be here and are not, with the points known of each."""

    def newest_of_job(self) -> tuple[EntryRef, SessionBody] | None:
        """Return the job's newest published session, whatever chain it is in.

        The repository is asked, not the catalog: the catalog may be an old copy, and the
        history that is signed is the one that goes on. Chains that somebody else signed are
        passed over: anyone who can write there could have begun them in the job's name.

        Raises:
            RolledBackError, ForkedError: the repository shows an older or another history
                than this server has seen.
            IntegrityError: a chain that this server has written to is replaced, or the one
                that the session would go on in is damaged and no full was asked for.
        """
        newest: tuple[EntryRef, SessionBody] | None = None
        highest = (0, False)
        damaged: dict[bytes, IntegrityError] = {}
        trust = keys.trust(self.ctx)
        present: set[bytes] = set()
        others: dict[bytes, Chain] = {}
        behind = self._go_on_in_copies()
        chain_ids = [one for one in self.repository.chain_ids() if one not in behind]
        found = side_by_side(self._look_at, chain_ids, at_once(self.repository.storage))
        for chain_id, look in zip(chain_ids, found, strict=True):
            try:
                chain = self._chain_of_job(chain_id, look)
                if chain is None:
                    continue
                self._seen[chain_id] = chain
                if not self._is_own(chain, trust) and not self._take_over(chain):
                    others[chain_id] = chain
                    if heads.get(self.ctx.database, chain_id) is not None:
                        present.add(chain_id)  # as it was seen; of an identity before this one
                    continue
                entry = chain.newest_session
                head = chain.head()
            except IntegrityError as error:
                if not self._may_pass_over(chain_id, error):
                    raise
                present.add(chain_id)
                continue
            present.add(chain_id)
            if entry is None or not isinstance(entry.body, SessionBody):
                continue
            try:
                promised = bool(chain.live_points())
            except IntegrityError as error:
                damaged[chain_id] = error
                promised = True
            if head is not None and promised:
                self.older[chain_id] = EntryRef(chain_id, head.number, head.entry_hash)
            # An archive of a point says the number of the session that made the point.
            rank = (entry.body.counter, chain_rows.find(self.ctx.database, chain_id) is not None)
            if newest is None or rank > highest:
                newest = (EntryRef(chain_id, entry.number, entry.hash), entry.body)
                highest = rank
        self._judge_damaged(damaged, newest)
        present |= self._keep_others(newest, others)
        self._look_for_withheld(newest, present)
        return newest

    def _go_on_in_copies(self) -> frozenset[bytes]:
        """Let chains of the job that were copied here be at home here; return those behind."""
        rows = chain_rows.of_job(self.ctx.database, self.job.job_id)
        if all(row.repository_id == self.repository.repository_id for row in rows):
            return frozenset()
        # Not at the top: most sessions have no use for it.
        from strongroom.control import seeding

        return seeding.go_on_in_copies(self.ctx, self.job, self.repository, full=self.full)

    def _may_pass_over(self, chain_id: bytes, error: IntegrityError) -> bool:
        """Tell whether the session may leave a chain as it is: it begins one, or is in another.

        It goes on being named by what was last seen of it, so that nobody takes it for removed.
        Of an older state than was seen only the operator can say that a full is wanted beside it.
        """
        row = chain_rows.find(self.ctx.database, chain_id)
        current = chain_rows.current(self.ctx.database, self.job.job_id)
        if row is None or row.job_id != self.job.job_id:
            return False
        beside = current is not None and current.chain_id != chain_id
        if not (self.full or self.damaged or beside):
            if isinstance(error, RolledBackError):
                error.hint = (
                    "was an old copy of the storage put back? The newer points are missing. "
                    "'repository repair --from COPY' brings them back, and 'job run --full' "
                    "begins a new chain beside this one"
                )
            return False
        asked_for = (self.full or beside) and isinstance(error, RolledBackError)
        if not (is_damage(error) or asked_for):
            return False
        seen = heads.get(self.ctx.database, chain_id)
        if seen is not None and point_rows.of_chain(self.ctx.database, chain_id):
            self.older[chain_id] = EntryRef(chain_id, *seen)
        self.warnings.append(f"chain {chain_id.hex()[:12]} is damaged: {error}")
        return True

    def _keep_others(
        self, newest: tuple[EntryRef, SessionBody] | None, others: Mapping[bytes, Chain]
    ) -> set[bytes]:
        """Go on naming chains of identities before this one; return those that are there.

        What the newest session says of them was signed, or taken over with its chain.
        """
        there: set[bytes] = set()
        for ref in newest[1].older if newest else ():
            chain = others.get(ref.chain_id)
            if chain is None:
                continue
            try:
                chain.check_head(Head(ref.chain_id, ref.number, ref.entry_hash))
            except IntegrityError:
                continue  # as if it were not there
            there.add(ref.chain_id)
            self.older[ref.chain_id] = ref
        return there

    def _is_own(self, chain: Chain, trust: Trust) -> bool:
        """Tell whether this installation signs a chain now.

        Raises:
            IntegrityError: it did, and what came after does not hold.
        """
        try:
            return trust.knows(chain.identity)
        except (IntegrityError, UnsupportedVersionError):
            if trust.knows(chain.founder):
                raise
            return False  # a stranger's; what is wrong with it stops nobody

    def _take_over(self, chain: Chain) -> bool:
        """Go on in the job's chain that another identity signs, if the secret for it was given.

        That is how it is where the keystore was lost: the identity with it. Or another server
        goes on in the chain, and this one is an old copy of the one before.

        Raises:
            UnlockError: the secret is not the chain's newest.
            UnvouchedError: it does not vouch for who signs the chain.
            RefusedError: another server took the chain over from this one.
        """
        ctx, job = self.ctx, self.job
        row = chain_rows.current(ctx.database, job.job_id)
        if self.full or row is None or row.chain_id != chain.chain_id or row.detached:
            return False
        recipients = keys.recipients(ctx, job)
        if self.old is not None and self.old.named and chain.sealed and recipients:
            # Not at the top: what it imports, hardly a session needs.
            from strongroom.control import succession

            secret = self.old.get("password of the chain before")
            keyring = chain.wrapped.unlock(PasswordUnlocker(secret), keys.trust(ctx))
            keeps = keys.keeps_secret(ctx, job)
            newer = succession.take_over(ctx, chain, keyring, recipients, keep_key=keeps)
            with ctx.database.transaction():
                succession.remember(ctx, job, chain, newer, recipients)
            self.warnings.append(
                f"chain {chain.name} was signed by another identity; this one goes on in it"
            )
            return True
        if keys.trust(ctx).known_part(chain) is not None:
            raise RefusedError(
                f"chain {chain.name} of job {job.name} was taken over by another server, signer "
                f"{chain.identity.fingerprint}: two servers cannot go on in one chain",
                hint="this server may be an old copy. 'job run --full' begins a new chain here",
                fingerprint=chain.identity.fingerprint,
            )
        return False

    def _judge_damaged(
        self,
        damaged: Mapping[bytes, IntegrityError],
        newest: tuple[EntryRef, SessionBody] | None,
    ) -> None:
        """Tell of damaged chains; a session that begins a chain, or is in another, goes on.

        Raises:
            IntegrityError: the session would build on damage.
        """
        row = chain_rows.current(self.ctx.database, self.job.job_id)
        builds_on = {row.chain_id} if row is not None else set()
        if newest is not None:
            builds_on.add(newest[0].chain_id)
        for chain_id, error in damaged.items():
            if chain_id in builds_on and not (self.full or self.damaged):
                error.hint = "'job run --full' begins a new chain beside the damaged one"
                raise error
            self.warnings.append(f"chain {chain_id.hex()[:12]} is damaged: {error}")

    def _look_at(self, chain_id: bytes) -> Chain | StrongroomError:
        """Return a chain, of which only the header is read, or what is wrong with that."""
        try:
            return self.repository.chain(chain_id)
        except (NotFoundError, IntegrityError, UnsupportedVersionError) as error:
            return error

    def _chain_of_job(self, chain_id: bytes, look: Chain | StrongroomError) -> Chain | None:
        """Return a chain if it is the job's, compared with what this server has seen of it."""
        database = self.ctx.database
        row = chain_rows.find(database, chain_id)
        known = row is not None and row.job_id == self.job.job_id
        if isinstance(look, NotFoundError):
            return None  # removed since it was listed
        if isinstance(look, StrongroomError):
            if known:
                raise look
            # Anybody can put a header there; it is not to stop the jobs of others.
            self.warnings.append(f"chain {chain_id.hex()[:12]} cannot be read: {look}")
            return None
        chain = look
        if not known and chain.header.job_id != self.job.job_id:
            return None
        # Whoever signs it now: a stranger's header may stand in the place of ours.
        known_chains.compare_with_seen(self.ctx, chain)
        return chain if chain.header.job_id == self.job.job_id else None

    def _look_for_withheld(
        self, newest: tuple[EntryRef, SessionBody] | None, present: Collection[bytes]
    ) -> None:
        """Go on naming chains that are kept back, and tell the operator.

        The session's own entry says which other chains have points. If it left out what the
        storage hides for the moment, nobody would ever miss it.
        """
        database = self.ctx.database
        promised = {ref.chain_id: ref for ref in newest[1].older} if newest else {}
        counts = dict.fromkeys(promised, 0)
        if not self._is_ahead(newest):
            for row in chain_rows.of_job(database, self.job.job_id):
                seen = heads.get(database, row.chain_id)
                count = len(point_rows.of_chain(database, row.chain_id))
                if row.repository_id == self.repository.repository_id and seen and count:
                    promised[row.chain_id] = EntryRef(row.chain_id, *seen)
                    counts[row.chain_id] = count
        for chain_id, ref in promised.items():
            if chain_id in present:
                continue
            self.older[chain_id] = ref
            self._withheld[chain_id] = counts[chain_id]
            self.warnings.append(
                f"chain {chain_id.hex()[:12]} of job {self.job.name} has promised points and is "
                "not there: the storage withholds or lost it"
            )

    def _is_ahead(self, newest: tuple[EntryRef, SessionBody] | None) -> bool:
        """Tell whether the job's newest session is none that the catalog knows of."""
        if newest is None:
            return False
        seen = heads.get(self.ctx.database, newest[0].chain_id)
        if seen is None:
            # What expired here and was put back, or was exported, is signed here as well.
            return newest[1].counter > job_rows.counter(self.ctx.database, self.job.job_id)
        return newest[0].number > seen[0]

    def target(self, newest: tuple[EntryRef, SessionBody] | None) -> Target:
        """Return the chain to write to: the present one, rekeyed if need be, or a new one.

        Raises:
            PointWithheldError: the present one is not there, and no full was asked for.
        """
        ctx, job = self.ctx, self.job
        row = chain_rows.current(ctx.database, job.job_id)
        recipients = keys.recipients(ctx, job)
        wanted = keys.wanted_by(recipients)
        if row is not None and row.chain_id in self._withheld and not self._is_ahead(newest):
            return self._start_beside(row, recipients, newest, wanted)
        if newest is not None:
            row = self._row_of_newest(newest, row, wanted)
        if row is None:
            return self._start(recipients, newest, next_step(None, wanted, self._facts()))
        if self.damaged or damage.of_chain(ctx.database, row.chain_id).state:
            self.damaged = True
            present = PresentChain(
                sealed=row.sealed,
                recipient_ids=row.recipient_ids,
                points=0,
                started_at=row.started_at,
            )
            return self._start(recipients, newest, next_step(present, wanted, self._facts()))
        if row.repository_id != self.repository.repository_id:
            present = PresentChain(
                sealed=row.sealed,
                recipient_ids=row.recipient_ids,
                points=0,
                started_at=row.started_at,
            )
            return self._start(
                recipients, newest, next_step(present, wanted, self._facts(moved=True))
            )
        chain = self._seen.get(row.chain_id) or self.repository.chain(row.chain_id)
        # The catalog has it at home here, whatever copied something into it.
        copy_marks.end(self.repository.storage, row.chain_id)
        # A chain of another identity is one of before the keystore was lost: nobody here can
        # say that its newest entries are this server's own.
        own = keys.trust(ctx).knows(chain.identity)
        keyring, record = self.keys_of(chain) if own else (Keyring(chain.origin_id), None)
        older = None
        if (
            record is not None
            and wanted.recipient_ids != row.recipient_ids
            and not row.detached
            and self._may_link(row, wanted)
        ):
            older = self._present_key(chain, record)
        step = next_step(
            PresentChain(
                sealed=chain.sealed,
                recipient_ids=row.recipient_ids,
                points=self._points_of(chain.chain_id),
                started_at=row.started_at,
            ),
            wanted,
            self._facts(
                # In a plain chain of another identity this server's entries would be forgeries.
                detached=row.detached or not (own or chain.sealed),
                keys_at_hand=own and (not chain.sealed or record is not None),
                link_possible=older is not None,
            ),
        )
        if isinstance(step, StartChain):
            return self._start(recipients, newest, step)
        if older is not None and record is not None:
            record = self._change(chain, record, older, recipients, wanted)
        self._make_links(chain)
        return Target(chain, keyring, record)

    def _is_new_chain(self, row: chain_rows.ChainRow | None) -> bool:
        """Tell whether the current chain is there and simply has no session yet."""
        return row is not None and not point_rows.of_chain(self.ctx.database, row.chain_id)

    def _row_of_newest(
        self,
        newest: tuple[EntryRef, SessionBody],
        row: chain_rows.ChainRow | None,
        wanted: WantedEncryption,
    ) -> chain_rows.ChainRow | None:
        """Return the chain of the job's newest session here, and tell if it is news to the catalog.

        A session that died after it published is none: its record was made before. Nor is one
        of before the job wrote elsewhere for a while.
        """
        ref, body = newest
        elsewhere = row is None or row.chain_id != ref.chain_id
        remembered = session_rows.find(self.ctx.database, body.session_id) is not None
        if elsewhere and self._is_new_chain(row):
            return row
        if not remembered and (elsewhere or self._is_ahead(newest)):
            self.warnings.append(
                f"this server is behind its own history: job {self.job.name} ran session "
                f"{body.session_id.hex()[:12]} in chain {ref.chain_id.hex()[:12]}, which it does "
                "not remember: its catalog or home was set back, or a copy of it is at work. "
                f"'repository rescan {self.job.repository}' takes in the points it has forgotten"
            )
        if not elsewhere:
            return row
        known = chain_rows.find(self.ctx.database, ref.chain_id) if remembered else None
        if known is None:
            return self._adopt(ref.chain_id, wanted)
        if row is not None and row.detached:
            return row
        chain_rows.make_current(self.ctx.database, self.job.job_id, ref.chain_id)
        return known

    def _adopt(self, chain_id: bytes, wanted: WantedEncryption) -> chain_rows.ChainRow:
        """Go on in a chain that the catalog has forgotten: this server was set back.

        Raises:
            EnvelopeDamagedError: whom the newest history is sealed for is not to be found.
            RefusedError: the newest history is sealed and the catalog, which is older, says
                plain; that is not followed without somebody saying so.
        """
        ctx, job = self.ctx, self.job
        chain = self.repository.chain(chain_id)
        if chain.sealed and not wanted.sealed:
            raise RefusedError(
                f"the newest points of job {job.name} are sealed, but this server's older "
                "catalog says that the job is not encrypted",
                hint="'job edit --encrypt' says which of the two holds",
            )
        found = chain_rows.find(ctx.database, chain_id)
        if found is None:
            chain_key_id, recipient_ids = known_chains.present_recipients(chain)
            if chain.sealed and not recipient_ids:
                # Kept like this, the catalog would hold a sealed chain that is for nobody.
                raise EnvelopeDamagedError(
                    f"chain {chain.name} has no envelope of the key that its newest session "
                    "sealed to: removed from storage"
                )
            found = chain_rows.ChainRow(
                chain_id=chain_id,
                job_id=job.job_id,
                repository_id=self.repository.repository_id,
                sealed=chain.sealed,
                chain_key_id=chain_key_id,
                recipient_ids=recipient_ids,
                started_at=from_microseconds(chain.header.created_at),
            )
            chain_rows.insert(ctx.database, found)
        chain_rows.make_current(ctx.database, job.job_id, chain_id)
        return found

    def _start_beside(
        self,
        row: chain_rows.ChainRow,
        recipients: Sequence[Recipient],
        newest: tuple[EntryRef, SessionBody] | None,
        wanted: WantedEncryption,
    ) -> Target:
        """Begin a chain beside the present one, which is not there; only if that was asked for.

        An older chain of the job is no substitute: what was sealed for its recipients may be
        open to others by now.

        Raises:
            PointWithheldError: it was not.
        """
        if not self.full:
            raise PointWithheldError(
                f"chain {row.chain_id.hex()[:12]}, which job {self.job.name} writes to, is not "
                f"there, and {self._withheld[row.chain_id]} of its points are promised",
                hint="is the right storage mounted, and whole? 'job run --full' begins a new chain",
                chain=row.chain_id.hex(),
            )
        present = PresentChain(
            sealed=row.sealed,
            recipient_ids=row.recipient_ids,
            points=self._withheld[row.chain_id],
            started_at=row.started_at,
        )
        return self._start(recipients, newest, next_step(present, wanted, self._facts()))

    def _facts(
        self,
        *,
        detached: bool = False,
        moved: bool = False,
        keys_at_hand: bool = True,
        link_possible: bool = True,
    ) -> Circumstances:
        return Circumstances(
            now=self.ctx.clock.now(),
            detached=detached,
            moved=moved,
            full_requested=self.full,
            damaged=self.damaged,
            full_every_points=self.job.full_every_points,
            full_every_days=self.job.full_every_days,
            keys_at_hand=keys_at_hand,
            link_possible=link_possible,
        )

    def _points_of(self, chain_id: bytes) -> int:
        counts: dict[bytes, int] = {}
        for row in point_rows.of_chain(self.ctx.database, chain_id):
            counts[row.source_id] = counts.get(row.source_id, 0) + 1
        return max(counts.values(), default=0)

    # --- keys --------------------------------------------------------------------------------

    def keys_of(self, chain: Chain) -> tuple[Keyring, ChainRecord | None]:
        """Return what is at hand to compare with the chain's newest state.

        The keystore first; where it lost something, a stored or given secret opens it.
        """
        ctx = self.ctx
        kept = _KeptMetakeys(ctx, chain.chain_id)
        if not chain.sealed:
            return Keyring(chain.origin_id), None
        newest = chain.newest_session
        body = newest.body if newest is not None else None
        try:
            record = ctx.keystore.get(ChainRecord, chain.chain_id.hex())
        except NotFoundError:
            record = None
        if record is not None:
            self._refuse_older_recipients(chain, record, newest)
        if record is not None and (
            not isinstance(body, SessionBody) or kept.get(body.session_id) is not None
        ):
            return Keyring(chain.origin_id, {}, kept, later=_opening(chain, record)), record
        if not isinstance(body, SessionBody):
            return Keyring(chain.origin_id, {}, kept), record
        unlockers = list(keys.stored_unlockers(ctx, self.job))
        if self.old is not None:
            unlockers.append(PasswordUnlocker(self.old.get("password of the chain before")))
        for unlocker in unlockers:
            try:
                opened = chain.wrapped.unlock(unlocker, keys.trust(ctx))
            except UnlockError:
                continue
            except UnavailableError as error:
                self.warnings.append(f"chain {chain.name} could not be opened: {error}")
                continue
            audit.record(
                ctx,
                "keys.unwrapped",
                needed=False,
                by=unlocker.describe(),
                chains=[chain.chain_id.hex()],
            )
            session = chain.sessions(body).get(body.slot)
            if session is None:
                break
            try:
                secrets = opened.secrets(session)
            except UnlockError:
                # An older secret: it opens what is older, and not the newest state.
                continue
            chain_key = opened.chain_keys[session.chain_key_id]
            record = self._keep(chain, chain_key, secrets.dedup_key, secrets.chunker_seed)
            ctx.keystore.put_metakey(chain.chain_id, body.session_id, secrets.metakey)
            self.warnings.append(
                f"the keystore had lost keys of chain {chain.name}; the job's secret opened it"
            )
            return opened, record
        return Keyring(chain.origin_id, {}, kept), None

    def _refuse_older_recipients(
        self, chain: Chain, record: ChainRecord, newest: Entry | None
    ) -> None:
        """Go on unless the chain has a newer key than this server remembers.

        A link to that key shows it, but the storage can hide links. So does a session that this
        server does not know of and that is sealed to another key, where its own was in force
        before: that nobody can hide who shows the session.

        Raises:
            RefusedError: the server was set back to before a change of recipients; what it
                would write now, the recipients of before could read.
        """
        own = PublicKey(record.chain_key_public)
        body = newest.body if newest is not None else None
        seen = heads.get(self.ctx.database, chain.chain_id)
        # A rescan takes in heads, and not the memory of having run those sessions.
        unknown = newest is not None and (
            seen is None
            or newest.number > seen[0]
            or (
                isinstance(body, SessionBody)
                and session_rows.find(self.ctx.database, body.session_id) is None
            )
        )
        other = unknown and isinstance(body, SessionBody) and body.chain_public != own.raw
        if (other and chain.was_in_force(own.id)) or chain.wrapped.superseded(own.id):
            raise RefusedError(
                f"chain {chain.name} of job {self.job.name} was given other recipients since "
                "this server's catalog was saved: it was set back to an older state",
                hint="'password edit' with the newest password brings the catalog up to date, "
                "and 'job detach' then begins a new chain",
            )

    def _keep(
        self, chain: Chain, chain_key: ChainKey, dedup_key: DedupKey, chunker_seed: int
    ) -> ChainRecord:
        """Keep what the chain's next session needs.

        The chain key is kept only if the secret that opens it is stored anyway.
        """
        record = ChainRecord(
            chain_id=chain.chain_id,
            dedup_key=dedup_key,
            chunker_seed=chunker_seed,
            chain_key_public=chain_key.public.raw,
            chain_key_seed=chain_key.seed if keys.keeps_secret(self.ctx, self.job) else None,
        )
        self.ctx.keystore.put(chain.chain_id.hex(), record)
        return record

    def _may_link(self, row: chain_rows.ChainRow, wanted: WantedEncryption) -> bool:
        if not self.job.secret_to_read:
            return True
        # Not at the top: most sessions have no use for it.
        from strongroom.control import guarded

        return guarded.may_link(self.ctx, self.job, row, wanted.recipient_ids)

    def _present_key(self, chain: Chain, record: ChainRecord) -> ChainKey | None:
        """Return the chain's present key, kept or opened by a KMS; None if nothing does."""
        if record.chain_key_seed is not None:
            return ChainKey(record.chain_key_seed)
        present = PublicKey(record.chain_key_public).id
        try:
            keyring = chain.wrapped.unlock(keys.StoredSecrets(self.ctx), keys.trust(self.ctx))
        except NoRecipientMatchedError:
            return None
        except (UnavailableError, RefusedError) as error:
            self.warnings.append(f"no link to the present key of chain {chain.name}: {error}")
            return None
        if present in keyring.refused:
            self.warnings.append(
                f"no link to the present key of chain {chain.name}: {keyring.refused[present]}"
            )
        return keyring.chain_keys.get(present)

    def _change(
        self,
        chain: Chain,
        record: ChainRecord,
        older: ChainKey,
        recipients: Sequence[Recipient],
        wanted: WantedEncryption,
    ) -> ChainRecord:
        """Give the chain a key for the present recipients, linked to the one before."""
        newer = rekey.change_recipients(chain, older, recipients, self.ctx.identity)
        audit.wrapped(self.ctx, self.job, chain, newer.id, wanted.recipient_ids, needed=False)
        kept = self._keep(chain, newer, record.dedup_key, record.chunker_seed)
        chain_rows.rekeyed(self.ctx.database, chain.chain_id, newer.id, wanted.recipient_ids)
        known_chains.keep_envelope(self.ctx, chain, newer.id)
        keys.link_made(self.ctx, self.job)
        return kept

    def _make_links(self, chain: Chain) -> None:
        """Make the links that were put off, where what opens the older key is at hand now."""
        if not missing_links.of_chain(self.ctx.database, chain.chain_id):
            return
        # Not at the top: what they import, hardly a session needs.
        from strongroom.control import guarded, linking
        from strongroom.crypto.unlockers import SeveralUnlockers

        given = []
        if self.old is not None and self.old.named:
            secret = self.old.get("password of the chain before")
            given.append(PasswordUnlocker(secret, self.old.origin))
        # Of a guarded job nobody new comes to read without having given the secret.
        stored = [] if self.job.secret_to_read else keys.stored_unlockers(self.ctx, self.job)
        if not (stored or given):
            return
        unlocker = SeveralUnlockers([*stored, *given])
        made: list[bytes] = []
        with suppress(NoRecipientMatchedError), guarded.guessing(self.ctx, [chain]):
            opened = chain.wrapped.unlock(unlocker, keys.trust(self.ctx)).chain_keys
            made = linking.make(self.ctx, chain, opened)
        if made:
            self.ctx.report(f"chain {chain.name} has its missing link: the newest secret opens it")
        elif given:
            self.warnings.append(
                f"{given[0].describe()} opens no key of chain {chain.name} that the link to lacks"
            )

    def _start(
        self,
        recipients: Sequence[Recipient],
        newest: tuple[EntryRef, SessionBody] | None,
        step: StartChain | Continue,
    ) -> Target:
        """Begin a chain and remember it as the job's current one."""
        assert isinstance(step, StartChain)
        ctx, job = self.ctx, self.job
        chain, chain_key = rekey.start_chain(
            self.repository.storage,
            job.job_id,
            recipients,
            ctx.identity,
            ctx.clock,
            newest[0] if newest else None,
        )
        record = None
        if chain_key is not None:
            ids = frozenset(recipient.id for recipient in recipients)
            audit.wrapped(ctx, job, chain, chain_key.id, ids, needed=False)
            record = self._keep(
                chain,
                chain_key,
                DedupKey(random.token(32)),
                random.number(1, (1 << 63) - 1),
            )
        chain_rows.insert(
            ctx.database,
            chain_rows.ChainRow(
                chain_id=chain.chain_id,
                job_id=job.job_id,
                repository_id=self.repository.repository_id,
                sealed=chain.sealed,
                chain_key_id=chain_key.id if chain_key else None,
                recipient_ids=frozenset(recipient.id for recipient in recipients),
                started_at=ctx.clock.now(),
            ),
        )
        if chain_key is not None:
            known_chains.keep_envelope(ctx, chain, chain_key.id)
        return Target(chain, Keyring(chain.origin_id), record, step.reason.value, step.text)
