"""How commands that read get at restore points: with the catalog, or with a secret alone.

With a location and a secret nothing else is needed, and no home is made. With a catalog, what
the keystore holds opens what it can, and every chain is compared with the head that was last
seen of it. What is expected comes from here and never from the repository: a secret that was
given means that sealed points are expected, so a plain one is refused, whoever selects it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from strongroom.catalog import chains as chain_rows
from strongroom.catalog import copied_clones, copy_jobs, heads, jobs, repositories
from strongroom.catalog import copies as copy_rows
from strongroom.catalog import kms as kms_rows
from strongroom.catalog import points as point_rows
from strongroom.clock import from_microseconds, rfc3339
from strongroom.control import audit, guarded, keys, known_chains, missing_keys, vaults
from strongroom.control.opened_points import OpenedPoints
from strongroom.control.recovery_files import read_kits
from strongroom.crypto.recipients import PasswordUnlocker, RecoveryUnlocker, local_half_of
from strongroom.crypto.unlockers import SeveralUnlockers
from strongroom.errors import (
    DowngradedError,
    IntegrityError,
    InvalidInputError,
    NoRecipientMatchedError,
    NotARepositoryError,
    NotFoundError,
    PointWithheldError,
    RefusedError,
    StrongroomError,
    UnavailableError,
    UnlockError,
    UnsupportedVersionError,
    UnvouchedError,
    with_words,
)
from strongroom.format.journal import SessionBody
from strongroom.repository import layout
from strongroom.repository.chain import Chain, Head, Trust
from strongroom.repository.repository import Repository
from strongroom.repository.succession import unlock_believed
from strongroom.storage.location import is_location, normalise
from strongroom.storage.reading import AskedAhead, at_once, side_by_side

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from strongroom.control.context import Context
    from strongroom.control.secrets import SecretSource
    from strongroom.crypto.recipients import Unlocker
    from strongroom.engine.points import PointView
    from strongroom.format.journal import Entry
    from strongroom.repository.keyring import Keyring
    from strongroom.repository.needs import NeededKey
    from strongroom.storage.base import Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How the operator said that points are to be read."""

    where: str | None = None
    """Name or location of a repository; None means those of the catalog."""
    secrets: tuple[SecretSource, ...] = ()
    """Passwords that were named on the command; without any secret the keystore's are used."""
    recovery_keys: tuple[Path, ...] = ()
    """Files of recovery kits, or of their shares."""
    kms: tuple[str, ...] = ()
    """Names of KMS of the catalog that are to open what is read."""
    signers: tuple[str, ...] = ()
    """Fingerprints of signers to believe."""
    allow_unencrypted: bool = False
    given_up: bool = False
    """Points that retention let go are read, too, by their ids, where they are still there."""
    ask: bool = True
    """A secret may be asked for where nothing at hand opens what is read."""

    @property
    def expects_sealed(self) -> bool:
        """A secret was given, so what is read is expected to be sealed."""
        return bool(self.secrets or self.recovery_keys or self.kms)


@dataclass(frozen=True, slots=True)
class Absent:
    """A repository of the catalog that could not be opened."""

    repository_id: bytes
    error: StrongroomError
    jobs: frozenset[str]
    """Names of the jobs whose newest points are in it."""


@dataclass(slots=True)
class Reading:
    """Repositories opened for reading, with every point that could be found in them."""

    access: Access
    repositories: list[Repository] = field(default_factory=list)
    chains: list[Chain] = field(default_factory=list)
    points: list[PointView] = field(default_factory=list)
    """Oldest first; locked ones included."""
    warnings: list[str] = field(default_factory=list)
    problems: list[tuple[bytes, StrongroomError]] = field(default_factory=list)
    """Chains that are damaged or not to be believed, and why."""
    refusals: dict[bytes, StrongroomError] = field(default_factory=dict)
    """Why what would have opened a chain did not: its KMS is away, say."""
    absent: list[Absent] = field(default_factory=list)
    """Repositories that are left out: none of them was named."""
    guarded: list[Chain] = field(default_factory=list)
    """Chains that what the keystore holds was not used for: a secret has to be given."""
    needed: dict[bytes, tuple[NeededKey, ...]] = field(default_factory=dict)
    """What has to be opened beside what is at hand, by chain."""

    def needs(self, view: PointView) -> list[NeededKey]:
        """Return what has to be opened so that a point's contents open."""
        needed = self.needed.get(view.chain.chain_id, ())
        return [one for one in needed if view.point_id in one.points]

    def check_whole(self, view: PointView) -> None:
        """Go on if all of a point's contents open.

        Raises:
            UnlockError: a key is missing; it says whose secrets open it.
        """
        if self.needs(view):
            raise self._closed(view, f"point {view.id} does not open whole")

    def _closed(self, view: PointView, what: str) -> UnlockError:
        needed = self.needs(view)
        needs = f": it needs {' and '.join(map(str, needed))}" if needed else ""
        return UnlockError(
            what + needs,
            hint="give each secret with --password-file, --password-env, --password-command, "
            "--kms or --recovery-key; each can be said several times",
            point=view.id,
            needed=[
                {
                    "key_id": one.chain_key_id.hex(),
                    "recipients": [
                        {"kind": of.kind, "key_id": of.recipient_id.hex(), "hint": of.hint}
                        for of in one.recipients
                    ],
                }
                for one in needed
            ],
        )

    def select(self, text: str) -> PointView:
        """Return the point that the operator named, fit to be read.

        A chain that is not to be believed may hold any job's newest point, so a name such as
        JOB@latest is not resolved beside one; an id is.

        Raises:
            NotFoundError: there is none.
            InvalidInputError: several points fit.
            DowngradedError: it is plain, and a secret was given.
            UnlockError: nothing at hand opens it.
            IntegrityError: it is damaged.
            StorageUnavailableError: it is not here, and may be in a repository that is left out.
        """
        try:
            view = self.find(text)
        except StrongroomError:
            self.check()
            raise
        self.refuse_plain([view])
        if isinstance(view.problem, IntegrityError):
            raise view.problem
        if view.details is None:
            if view.chain.chain_id in self.refusals:
                raise self.refusals[view.chain.chain_id]
            if not self.needs(view) and view.problem is not None and view.keyring is not None:
                raise view.problem
            raise self._closed(view, f"point {view.id} is sealed, and nothing at hand opens it")
        return view

    def find(self, text: str) -> PointView:
        """Return the point that the operator named, be it locked or plain.

        Raises:
            NotFoundError: there is none.
            InvalidInputError: several points fit.
            StorageUnavailableError: it is not here, and may be in a repository that is left out.
        """
        from strongroom.engine.points import select

        job, at, _ = text.partition("@")
        if at:
            self.check()
            self.check_present(job.partition("/")[0])
        points = [view for view in self.points if not (at and view.live.given_up)]
        try:
            return select(points, text)
        except NotFoundError as error:
            if not self.absent:
                raise
            words = f"; it may hold point {text}, which is nowhere else"
            raise with_words(self.absent[0].error, words) from error

    def check_present(self, job: str) -> None:
        """Go on if the newest points of a job are in none of the repositories left out.

        Raises:
            StorageUnavailableError: they are: another point is not the latest.
        """
        for one in self.absent:
            if job in one.jobs:
                raise one.error

    def check(self) -> None:
        """Go on if every chain is to be believed.

        Raises:
            StrongroomError: the first chain's problem; `fields["readable"]` lists the points
                that can still be read by their ids.
        """
        for _, error in self.problems:
            error.fields["readable"] = [view.id for view in self.points]
            raise error

    def refuse_plain(self, views: Iterable[PointView]) -> None:
        """Go on if none of the points is plain where sealed ones are expected.

        Raises:
            DowngradedError: one is.
        """
        if not self.access.expects_sealed or self.access.allow_unencrypted:
            return
        plain = [view.id for view in views if not view.encrypted]
        if plain:
            raise DowngradedError(
                f"a secret was given and point {plain[0]} is not encrypted: anybody who can "
                "write to the repository could have put it there",
                points=plain,
            )


def storage_of(ctx: Context, where: str) -> Storage:
    """Return the storage of a repository's name or location.

    Raises:
        NotFoundError: there is no repository of this name.
    """
    row = _known_row(ctx, where) if ctx.has_catalog else None
    if row is not None:
        return vaults.storage_of(ctx, row)
    return ctx.storage(location_of(ctx, where))


def _known_row(ctx: Context, where: str) -> repositories.RepositoryRow | None:
    if is_location(where):
        return repositories.by_location(ctx.database, normalise(where))
    return repositories.get(ctx.database, where)


def location_of(ctx: Context, where: str) -> str:
    """Return the location that a name or a location means."""
    if is_location(where):
        return where
    if not ctx.has_catalog:
        raise InvalidInputError(
            f"{where} is the name of a repository, and there is no catalog to look it up in",
            hint="give a location: /path, ./path or file:/path",
        )
    return repositories.get(ctx.database, where).location


def open_reading(
    ctx: Context,
    access: Access,
    *,
    job: str | None = None,
    which: Sequence[str] = (),
    unseen: bool = False,
) -> Reading:
    """Open what the operator named, and find its points.

    Where no repository was named, one of the catalog's that is not there is left out, with a
    warning, unless none is left: a disk that is elsewhere keeps nobody from the others.

    Args:
        ctx: Surroundings.
        access: Where, and with what.
        job: With the catalog: only repositories that hold points of this job are opened.
        which: Points that are going to be read. Of those of a guarded job the secret is asked
            for; others of guarded jobs stay locked where none is given.
        unseen: Nothing of what is opened is shown, so guarded jobs are opened like others.

    Raises:
        SecretRequiredError: a point to be read is a guarded job's, and no secret was given.
        NoRecipientMatchedError: a secret was given, and it opens no chain at all.
        NotARepositoryError: there is no repository.
        InvalidInputError: no repository was named and there is no catalog.
    """
    from strongroom.engine.points import open_point, open_points

    reading = Reading(access)
    for where in _places(ctx, access, job):
        try:
            storage = AskedAhead(storage_of(ctx, where))
            reading.repositories.append(Repository.open(storage, layout.HEADERS))
        except (UnavailableError, NotARepositoryError, RefusedError) as error:
            if access.where is not None:
                raise
            reading.absent.append(_absent(ctx, where, error))
            reading.warnings.append(f"repository {where} is left out: {error}")
    believed = keys.readers_trust(ctx, access.signers)
    for repository in reading.repositories:
        _open_chains(ctx, repository, reading)
    if access.where is None:
        _use_copies(ctx, reading)
    if reading.absent and not reading.repositories:
        raise reading.absent[0].error
    if not access.expects_sealed and not unseen:
        reading.guarded = [chain for chain in reading.chains if guarded.is_guarded(ctx, chain)]
    keyrings = _recorded_keyrings(ctx, reading, believed, which)
    recovered = _recovered(ctx, reading)
    _look_at_plain(reading, believed)
    _look_at_older(reading, keyrings, believed)
    if access.where is None:
        _leave_out_clones(ctx, reading)
    for chain in tuple(reading.chains):
        try:
            views = open_points([chain], lambda chain: keyrings.get(chain.chain_id))
        except IntegrityError as error:
            _set_aside(reading, chain, error)
            continue
        if access.given_up:
            lost = chain.given_up_points()
            views += [open_point(chain, live, keyrings.get(chain.chain_id)) for live in lost]
        views = [recovered.opened(view, believed) if recovered else view for view in views]
        reading.points += views
        reading.problems += [
            (chain.chain_id, view.problem)
            for view in views
            if isinstance(view.problem, IntegrityError) and not view.live.given_up
        ]
    opened = {view.chain.chain_id for view in reading.points if view.details is not None}
    locked = [chain for chain in reading.guarded if chain.chain_id not in opened]
    guarded.refuse(ctx, guarded.concerned(ctx, locked, which))
    if any(view.live.given_up for view in reading.points):
        reading.warnings.append(
            "points given up are shown, too: nothing promises that all of them is still there"
        )
    reading.points.sort(key=lambda view: (view.taken_at, view.live.entry.number))
    _look_at_closed(ctx, reading, keyrings)
    reading.warnings.extend(f"{error}" for _, error in reading.problems)
    return reading


def _places(ctx: Context, access: Access, job: str | None) -> list[str]:
    if access.where is not None:
        return [access.where]
    if not ctx.has_catalog:
        raise InvalidInputError(
            "there is no catalog here, so say which repository is meant",
            hint="--repository LOCATION, with --password-file, --password-env, "
            "--password-command or --recovery-key",
        )
    if job is not None:
        found = jobs.find(ctx.database, job)
        if found is not None:
            held = {row.repository_id for row in chain_rows.of_job(ctx.database, found.job_id)}
            rows = repositories.all_rows(ctx.database)
            return [
                row.name
                for row in rows
                if row.repository_id in held or row.name == found.repository
            ]
    return [row.name for row in repositories.all_rows(ctx.database) if not _is_for_copies(ctx, row)]


def _is_for_copies(ctx: Context, row: repositories.RepositoryRow) -> bool:
    """Tell whether a repository is read only where an original is away or damaged."""
    database, repository_id = ctx.database, row.repository_id
    return bool(
        (
            copy_rows.of_repository(database, repository_id)
            or copy_jobs.of_repository(database, row.name)
        )
        and not chain_rows.of_repository(database, repository_id)
        and not jobs.of_repository(database, repository_id)
    )


def _use_copies(ctx: Context, reading: Reading) -> None:
    """Read each chain once: from where it is at home, else from the newest copy that is there."""
    places = {id(one.storage): one.repository_id for one in reading.repositories}
    rows = {row.chain_id: row for row in chain_rows.all_rows(ctx.database)}

    def is_home(chain: Chain) -> bool:
        row = rows.get(chain.chain_id)
        return row is not None and row.repository_id == places[id(chain.storage)]

    once: dict[bytes, Chain] = {}
    for chain in reading.chains:
        if chain.chain_id not in once or is_home(chain):
            once[chain.chain_id] = chain
    reading.chains = [chain for chain in reading.chains if once[chain.chain_id] is chain]
    away = {one.repository_id: f"its repository is left out: {one.error}" for one in reading.absent}
    damaged = {chain_id: str(error) for chain_id, error in reading.problems}
    for chain_id, row in rows.items():
        why = damaged.get(chain_id) or away.get(row.repository_id)
        if chain_id not in once and why is not None:
            _open_copy(ctx, reading, chain_id, why)


def _leave_out_clones(ctx: Context, reading: Reading) -> None:
    """Show no point twice: what is copied under a key of its own is read from its original."""
    if not ctx.has_catalog:
        return
    there = {chain.chain_id for chain in reading.chains}
    beside = {
        row.chain_id for row in copied_clones.all_rows(ctx.database) if row.old_chain_id in there
    }
    reading.chains = [chain for chain in reading.chains if chain.chain_id not in beside]


def _open_copy(ctx: Context, reading: Reading, chain_id: bytes, why: str) -> None:
    """Take a chain from the newest copy of it that is there and holds."""
    for copy in copy_rows.of_chain(ctx.database, chain_id):
        known = repositories.by_id(ctx.database, copy.repository_id)
        location = known.location if known is not None else copy.location
        try:
            repository = Repository.open(ctx.storage(location))
            chain = repository.chain(chain_id)
            chain.check_head(Head(chain_id, copy.number, copy.entry_hash))
            chain.live_points()
        except StrongroomError:
            continue  # the next one, then; what is wrong with the original is said anyway
        if repository.repository_id != copy.repository_id:
            continue  # another drive is in its place
        reading.repositories.append(repository)
        reading.chains.append(chain)
        reading.warnings.append(f"chain {chain.name} is read from its copy in {location}: {why}")
        return


def _absent(ctx: Context, name: str, error: StrongroomError) -> Absent:
    repository_id = repositories.get(ctx.database, name).repository_id
    found: set[str] = set()
    for job in jobs.all_jobs(ctx.database):
        chain = chain_rows.current(ctx.database, job.job_id)
        if chain.repository_id == repository_id if chain else job.repository == name:
            found.add(job.name)
    return Absent(repository_id, error, frozenset(found))


def _open_chains(ctx: Context, repository: Repository, reading: Reading) -> None:
    """Open every chain, and compare each with what was last seen of it."""
    present = repository.chain_ids()
    # The catalog is for one thread, so it is asked before.
    seen = [known_chains.seen_of(ctx, repository.repository_id, one) for one in present]

    def opened(one: tuple[bytes, Head | None]) -> Chain | StrongroomError:
        return _opened_chain(repository, *one)

    threads = at_once(repository.storage)
    found = side_by_side(opened, zip(present, seen, strict=True), threads)
    for chain_id, chain in zip(present, found, strict=True):
        if isinstance(chain, Chain):
            reading.chains.append(chain)
            _tell_behind(ctx, repository, chain, reading)
        else:
            reading.problems.append((chain_id, chain))
    if not ctx.has_catalog:
        return
    for copy in copy_rows.of_repository(ctx.database, repository.repository_id):
        if copy.chain_id not in present:
            # Perhaps the machine that cares for it let it expire: only it can say.
            reading.warnings.append(
                f"the copy of chain {copy.chain_id.hex()[:12]} that was in "
                f"{repository.storage.location} is not there"
            )
    for row in chain_rows.of_repository(ctx.database, repository.repository_id):
        points = point_rows.of_chain(ctx.database, row.chain_id)
        if row.chain_id not in present and points:
            ids = [point.point_id.hex() for point in points]
            reading.problems.append(
                (
                    row.chain_id,
                    PointWithheldError(
                        f"chain {row.chain_id.hex()[:12]} with {len(ids)} points is not there, "
                        "and this machine saw it before",
                        hint="the storage withholds or lost it; a copy of it may have it",
                        points=ids,
                    ),
                )
            )


def _opened_chain(
    repository: Repository, chain_id: bytes, known: Head | None
) -> Chain | StrongroomError:
    """Return a chain that what was last seen of it leads to, or why it is not to be believed."""
    try:
        chain = repository.chain_to_open(chain_id)
        if known is not None:
            chain.check_head(known)
        # What the journal says has to hold before any of it is used.
        chain.live_points()
    except (IntegrityError, UnsupportedVersionError) as error:
        # One object that claims to be of a later format hides no other chain.
        return error
    return chain


def _tell_behind(ctx: Context, repository: Repository, chain: Chain, reading: Reading) -> None:
    """Say that a copy lacks what its original had already."""
    if not ctx.has_catalog:
        return
    seen = heads.get(ctx.database, chain.chain_id)
    newest = chain.listing[-1] if chain.listing else 0
    if seen is not None and newest < seen[0]:
        reading.warnings.append(
            f"chain {chain.name} in {repository.storage.location} is a copy that ends at entry "
            f"{newest}; the original went on to {seen[0]}: 'strongroom repository copy' brings it "
            "up to date"
        )


# --- keys -----------------------------------------------------------------------------------


def unlocker_of(ctx: Context, access: Access) -> Unlocker | None:
    """Return what unlocks with the secrets that were given on the command, if any was.

    Raises:
        InvalidInputError: a file has none.
        NotFoundError: there is no such KMS in the catalog.
        SecretNeededError: there is no terminal to ask on.
    """
    unlockers = unlockers_of(ctx, access)
    if not unlockers:
        return None
    return unlockers[0] if len(unlockers) == 1 else SeveralUnlockers(unlockers)


def unlockers_of(ctx: Context, access: Access) -> list[Unlocker]:
    """Return the same, one for each secret."""
    if access.kms and not ctx.has_catalog:
        raise InvalidInputError(
            "there is no catalog here that a KMS could be in",
            hint="'strongroom kms add NAME URL' makes one",
        )
    kits = read_kits(access.recovery_keys)
    # A kit carries the local half that a KMS's key may need.
    halves = [local_half_of(kit.seed) for kit in kits]
    return [
        *(PasswordUnlocker(one.get("password"), one.origin) for one in access.secrets),
        *(keys.kms_unlocker(ctx, kms_rows.get(ctx.database, name), halves) for name in access.kms),
        *(RecoveryUnlocker(kit.seed, kit.key_id.hex()[:12]) for kit in kits),
    ]


def refuse_idle(access: Access, unlocker: Unlocker | None, chains: Iterable[Chain]) -> None:
    """Go on if each of several secrets opens something, be it nothing that others do not.

    Raises:
        NoRecipientMatchedError: one opens nothing at all.
    """
    idle = unlocker.idle if isinstance(unlocker, SeveralUnlockers) else ()
    sealed = [chain for chain in chains if chain.sealed]
    for one in idle if sealed else ():
        if isinstance(one, RecoveryUnlocker) and access.kms:
            continue  # it was given for its local half
        if not any(chain.wrapped.is_for(one) for chain in sealed):
            hints = _hints(sealed)
            shown = f"; the hints here: {'; '.join(hints)}" if hints else ""
            raise NoRecipientMatchedError(f"{one.describe()} opens nothing{shown}", hints=hints)


def _recorded_keyrings(
    ctx: Context, reading: Reading, believed: Trust, which: Sequence[str]
) -> dict[bytes, Keyring]:
    """Return the keys of what opens, and write down that they were used.

    Where what this machine keeps opens it, the record is a condition; who brings the secret
    restores on a day without a log, too.

    Raises:
        AuditUnwritableError: stored keys were to be used, and it cannot be written down.
    """
    access = reading.access
    given = [
        *(["password"] if access.secrets else []),
        *(f"kms:{name}" for name in access.kms),
        *(["recovery kit"] if access.recovery_keys else []),
    ]
    by = " and ".join(given) or "keystore"
    stored = not access.expects_sealed
    try:
        found = _keyrings(ctx, reading, believed, which)
    except UnlockError as error:
        audit.failure(ctx, "keys.unwrapped", error, needed=False, by=by)
        raise
    if found:
        audit.record(
            ctx,
            "keys.unwrapped",
            needed=stored,
            by=by,
            chains=[chain_id.hex() for chain_id in found],
            chain_keys=[key.hex() for ring in found.values() for key in ring.chain_keys],
        )
    return found


def _keyrings(
    ctx: Context, reading: Reading, believed: Trust, which: Sequence[str]
) -> dict[bytes, Keyring]:
    sealed = [chain for chain in reading.chains if chain.sealed]
    unlocker = unlocker_of(ctx, reading.access)
    if unlocker is not None:
        with guarded.guessing(ctx, sealed):
            found = _unlocked(reading, sealed, unlocker, believed)
            try:
                refuse_idle(reading.access, unlocker, reading.chains)
            except NoRecipientMatchedError as error:
                if not (reading.problems or reading.absent):
                    raise
                reading.warnings.append(f"{error}, as far as it could be looked at")
        if isinstance(unlocker, SeveralUnlockers):
            reading.warnings += [f"{what}: {why}" for what, why in unlocker.refusals.items()]
        return found
    if not sealed:
        return {}
    if ctx.has_catalog:
        free = [chain for chain in sealed if chain not in reading.guarded]
        found = _stored(ctx, reading, free, believed)
        sealed = [chain for chain in sealed if chain.chain_id not in found]
        if reading.access.where is None or not is_location(reading.access.where):
            sealed = guarded.concerned(ctx, reading.guarded, which)
    else:
        found = {}
    if sealed and reading.access.ask and ctx.secrets.can_ask:
        hints = _hints(sealed)
        asked = PasswordUnlocker(ctx.secrets.get("password", hint="; ".join(hints)))
        with guarded.guessing(ctx, sealed):
            opened = _unlocked(reading, sealed, asked, believed)
        for chain in reading.chains:
            if chain.chain_id in opened:
                said = missing_keys.ask_for(ctx.secrets, chain, opened[chain.chain_id])
                reading.warnings += said
        found |= opened
    return found


def _unlocked(
    reading: Reading,
    sealed: list[Chain],
    unlocker: Unlocker,
    believed: Trust,
) -> dict[bytes, Keyring]:
    """Open what a secret opens; a chain that is somebody else's stays locked.

    Raises:
        StrongroomError: it opens no chain at all.
    """
    found: dict[bytes, Keyring] = {}
    refusal: StrongroomError | None = None
    for chain in sealed:
        try:
            found[chain.chain_id] = open_believed(
                reading, chain, lambda part: part.wrapped.unlock(unlocker, believed)
            )
        except NoRecipientMatchedError as error:
            refusal = refusal or error
        except (UnlockError, UnavailableError, RefusedError) as error:
            # A KMS that opens this one not, or not now, may open the next.
            refusal = reading.refusals[chain.chain_id] = error
            reading.warnings.append(f"chain {chain.name} stays locked: {error}")
        except (IntegrityError, UnsupportedVersionError) as error:
            _set_aside(reading, chain, error)
    if refusal is not None and not found and not reading.problems:
        raise refusal
    return found


def _stored(
    ctx: Context, reading: Reading, sealed: list[Chain], believed: Trust
) -> dict[bytes, Keyring]:
    found: dict[bytes, Keyring] = {}
    secrets = keys.StoredSecrets(ctx)
    for chain in sealed:
        try:
            found[chain.chain_id] = open_believed(
                reading, chain, lambda part: keys.stored_keyring(ctx, part, believed, secrets)
            )
        except NoRecipientMatchedError:
            continue
        except (UnlockError, UnavailableError, RefusedError) as error:
            # A KMS that is away keeps nobody from what opens without it.
            reading.refusals[chain.chain_id] = error
            reading.warnings.append(f"chain {chain.name} stays locked: {error}")
        except (IntegrityError, UnsupportedVersionError) as error:
            _set_aside(reading, chain, error)
    return found


def open_believed(reading: Reading, chain: Chain, unlock: Callable[[Chain], Keyring]) -> Keyring:
    """Open a chain as far as it is believed, and read no more of it.

    Raises:
        UnvouchedError: none of it is.
        PointWithheldError: whoever took the chain over let points go that this reader expects.
    """
    part, keyring = unlock_believed(chain, unlock)
    if part is not chain:
        read_part(reading, chain, part)
    return keyring


def read_part(reading: Reading, chain: Chain, part: Chain) -> None:
    """Read a chain as it was before somebody took it over whom nothing here vouches for.

    Raises:
        PointWithheldError: what was promised then is not there now.
    """
    successor = chain.identity.fingerprint
    try:
        part.live_points()
    except PointWithheldError as error:
        error.hint = (
            f"another server took the chain over, signer {successor}, and may have let them go: "
            f"'--signer {successor}' believes it, if it is the right one"
        )
        raise
    reading.chains = [part if one is chain else one for one in reading.chains]
    reading.warnings.append(
        f"chain {chain.name} was taken over by a server that nothing here vouches for, signer "
        f"{successor}: its points are left out. --signer, with this fingerprint, believes it"
    )


def _recovered(ctx: Context, reading: Reading) -> OpenedPoints | None:
    """Return the points that recovery responses opened here, unless a secret was given."""
    if reading.access.expects_sealed or not ctx.has_catalog:
        return None
    if not any(chain.sealed for chain in reading.chains):
        return None
    return OpenedPoints(ctx)


def _set_aside(reading: Reading, chain: Chain, error: StrongroomError) -> None:
    reading.problems.append((chain.chain_id, error))
    reading.chains = [one for one in reading.chains if one.chain_id != chain.chain_id]


def _hints(sealed: list[Chain]) -> list[str]:
    """Return the public hints of the passwords that open these chains."""
    hints: dict[str, None] = {}
    for chain in sealed:
        try:
            envelopes = chain.wrapped.envelopes()
        except (IntegrityError, UnsupportedVersionError):
            continue  # it is told where it is opened, and keeps nobody from the others
        for envelope in envelopes.values():
            for stanza in envelope.stanzas:
                if stanza.kind == "password" and stanza.hint.isprintable() and stanza.hint:
                    hints[stanza.hint] = None
    return list(hints)


# --- what is to be said ---------------------------------------------------------------------


def _look_at_plain(reading: Reading, believed: Trust) -> None:
    """Judge who signs the plain chains: no secret vouches for them."""
    for chain in tuple(reading.chains):
        if chain.sealed or believed.knows(chain.identity):
            continue
        try:
            part = believed.known_part(chain)
            if part is not None:
                read_part(reading, chain, part)
                continue
            believed.refuse_unpinned(chain)
        except (PointWithheldError, UnvouchedError) as error:
            _set_aside(reading, chain, error)
            continue
        reading.warnings.append(
            f"chain {chain.name} is not encrypted, and nothing vouches for its signer "
            f"{chain.identity.fingerprint}: compare it, and pin it with --signer or accept it "
            "once with 'strongroom repository trust'"
        )


def _look_at_older(reading: Reading, keyrings: dict[bytes, Keyring], believed: Trust) -> None:
    """Look for the chains that newer ones of their jobs say are there.

    A newest session names the job's other chains that still have points (docs/format.md,
    "Promise and withholding: rules for readers"). What a locked chain of an unknown signer
    says counts for nothing: anybody could have put it there to make others look withheld.
    """
    by_id = {chain.chain_id: chain for chain in reading.chains}
    aside = {chain_id for chain_id, _ in reading.problems}
    for chain in tuple(reading.chains):
        if chain.sealed and chain.chain_id not in keyrings and not believed.knows(chain.identity):
            continue
        for ref in chain.older:
            older = by_id.get(ref.chain_id)
            try:
                if older is not None:
                    older.check_head(Head(ref.chain_id, ref.number, ref.entry_hash))
                elif ref.chain_id not in aside:
                    raise _withheld(ref.chain_id, chain)
            except IntegrityError as error:
                aside.add(ref.chain_id)
                if older is None:
                    reading.problems.append((ref.chain_id, error))
                else:
                    _set_aside(reading, older, error)


def _withheld(chain_id: bytes, named_by: Chain) -> PointWithheldError:
    return PointWithheldError(
        f"chain {chain_id.hex()[:12]}, which the newest session of chain {named_by.name} says is "
        "there, is not",
        hint="the storage withholds or lost it; a copy of it may have it",
        chain=chain_id.hex(),
    )


def _look_at_closed(ctx: Context, reading: Reading, keyrings: dict[bytes, Keyring]) -> None:
    """Find out what is missing of each chain, and say whose secrets that needs."""
    by_response = {
        view.chain.chain_id for view in reading.points if view.details is not None
    } - keyrings.keys()

    def missing(chain: Chain) -> tuple[NeededKey, ...] | StrongroomError:
        try:
            return missing_keys.missing(chain, keyrings.get(chain.chain_id))
        except (IntegrityError, UnsupportedVersionError) as error:
            return error

    asked = [
        chain
        for chain in reading.chains
        if chain.sealed and chain.listing and chain.chain_id not in by_response
    ]
    threads = at_once(*(chain.storage for chain in asked))
    for chain, needed in zip(asked, side_by_side(missing, asked, threads), strict=True):
        keyring = keyrings.get(chain.chain_id)
        locked = f"chain {chain.name} is encrypted and locked: nothing at hand opens it"
        if isinstance(needed, StrongroomError):
            reading.warnings.append(str(needed))
            continue
        reading.needed[chain.chain_id] = needed
        if keyring is None:
            needs = f"; it needs {missing_keys.in_words(needed)}" if needed else ""
            if chain in reading.guarded:
                needs = f": it is read only with a secret that is given{needs}"
            reading.warnings.append(f"{locked}{needs}")
        elif needed:
            reading.warnings.append(
                f"chain {chain.name} opens in part; it needs, too, {missing_keys.in_words(needed)}"
            )
            reasons = (keyring.why_closed(one.chain_key_id) for one in needed)
            reading.warnings += [f"chain {chain.name}: {why}" for why in reasons if why is not None]
    if _has_seen(ctx, reading):
        return
    newest = max(
        (chain.newest_session for chain in reading.chains if chain.newest_session is not None),
        key=lambda entry: entry.raw.made_at,
        default=None,
    )
    if newest is not None:
        # No head is known here, so a store could show an old state. Said, since nothing more
        # can be found out (threat model, "A bare machine").
        reading.warnings.extend(_freshness(newest))


def _has_seen(ctx: Context, reading: Reading) -> bool:
    """Tell whether this machine knows heads to compare what was read with."""
    return ctx.has_catalog and any(
        heads.get(ctx.database, chain.chain_id) is not None for chain in reading.chains
    )


def _freshness(newest: Entry) -> list[str]:
    if not isinstance(newest.body, SessionBody):
        return []
    due = newest.body.next_due
    shown = f"; the next was due {rfc3339(from_microseconds(due))}" if due else ""
    made = rfc3339(from_microseconds(newest.raw.made_at))
    return [
        f"the newest session here is number {newest.body.counter} of its job, made {made}{shown}: "
        "compare it with what you expect, this machine has seen nothing of it before"
    ]
