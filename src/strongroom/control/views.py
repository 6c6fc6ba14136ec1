"""What the control plane answers with: values that doors print or turn to JSON as they are.

Ids are 32 hexadecimal digits and moments are `datetime`s in UTC. Field names are the JSON
output's, so they are added to and never renamed.
"""

from __future__ import annotations

from datetime import datetime

import msgspec


class View(msgspec.Struct, frozen=True):
    """A value of the control plane; a `Struct` because every start of the program makes all."""


class RepositoryView(View, frozen=True, kw_only=True):
    """A repository of the catalog."""

    name: str
    location: str
    repository_id: str
    added_at: datetime
    jobs: tuple[str, ...] = ()


class RepositoryAdded(View, frozen=True, kw_only=True):
    """What `repository add` did."""

    repository: RepositoryView
    created: bool
    """False where it was there and is attached to."""
    moved: bool
    """It was known by this name, and is in another place from now on."""
    chains: int
    """Chains that were there already; `repository rescan` takes them into the catalog."""


class ChainView(View, frozen=True, kw_only=True):
    """One chain as a repository shows it."""

    chain_id: str
    job_id: str
    job: str | None
    """Its name, where the catalog knows the job or a key opened the chain."""
    encrypted: bool
    locked: bool
    """Encrypted, and nothing at hand opens it."""
    hints: tuple[str, ...]
    """Of the passwords that open it."""
    key_ids: tuple[str, ...]
    """Of the recipients that open it."""
    signer: str
    """Fingerprint."""
    trusted: bool
    """The signer is this installation's own, accepted, or vouched for by the secret; where
    signers were pinned, it is one of these."""
    points: int
    started_at: datetime
    newest_at: datetime | None
    entries: int
    """Number of the newest journal entry: compare it with what you know."""
    problem: str | None = None
    """What is wrong with it, if it cannot be read or believed."""


class AcceptedSigner(View, frozen=True, kw_only=True):
    """A signer that an operator accepted on this machine."""

    fingerprint: str
    accepted_at: datetime
    repository: str
    """Where it was seen: the name or location that was given."""


class SignerResult(View, frozen=True, kw_only=True):
    """What `repository trust` did."""

    fingerprint: str
    accepted: bool
    """False once it is revoked."""
    chains: tuple[str, ...] = ()
    """Ids of the chains in the repository that it signed."""


class RepositoryDetails(View, frozen=True, kw_only=True):
    """A repository and its chains."""

    name: str | None
    location: str
    repository_id: str
    free_bytes: int | None
    chains: tuple[ChainView, ...]
    warnings: tuple[str, ...] = ()
    accepted_signers: tuple[AcceptedSigner, ...] = ()
    """Believed on this machine, wherever they sign."""


class PasswordView(View, frozen=True, kw_only=True):
    """A password, without its secret."""

    name: str
    hint: str
    """Public: it stands readable in every repository."""
    write_only: bool
    """This machine keeps no secret for it and cannot open what it seals."""
    version: int
    """Grows with every change of the secret."""
    key_id: str
    created_at: datetime
    changed_at: datetime
    verified_at: datetime | None
    jobs: tuple[str, ...] = ()


class PasswordResult(View, frozen=True, kw_only=True):
    """What adding or changing a password did."""

    password: PasswordView
    notices: tuple[str, ...] = ()
    rekeyed: tuple[str, ...] = ()
    """Jobs whose chain got its new key and link at once."""
    pending: tuple[str, ...] = ()
    """Jobs whose next session makes key and link."""


class JobView(View, frozen=True, kw_only=True):
    """A job as it stands."""

    name: str
    job_id: str
    repository: str
    sources: tuple[str, ...]
    encrypt: str
    exclude: tuple[str, ...]
    one_file_system: bool
    exclude_caches: bool
    compression: str
    block_size: int
    keep_last: int | None
    keep_days: int | None
    full_every_points: int | None
    full_every_days: int | None
    expect_every_hours: int | None
    pre_script: str | None
    post_script: str | None
    on_failure: str | None
    recovery: bool
    """The job is sealed for the recovery key too, if there is one."""
    protected: bool
    """A lost password does not lose the data: a recovery key exists and is a recipient."""
    chain: str | None = None
    """Id of the chain that the newest session wrote to."""
    last_state: str | None = None
    last_run_at: datetime | None = None


class JobResult(View, frozen=True, kw_only=True):
    """What creating or changing a job did, and means."""

    job: JobView
    changed: bool = True
    """False where the job was like that already."""
    warnings: tuple[str, ...] = ()
    """To be shown loudly: what a lost password costs, say."""
    notices: tuple[str, ...] = ()
    """What the next session does because of the change."""
    would_remove: tuple[str, ...] = ()
    """Points that the next session gives up under the new retention, ids."""


class JudgedPoint(View, frozen=True, kw_only=True):
    """What retention says of one point."""

    id: str
    source: str | None
    """None of a source that the job no longer has."""
    taken_at: datetime
    stays: bool
    reasons: tuple[str, ...]
    """Why it stays; or, if it goes, each rule that no longer keeps it."""
    held: bool


class RetentionPlan(View, frozen=True, kw_only=True):
    """What retention says of every point of a job, by its rules or by others."""

    job: str
    keep_last: int | None
    keep_days: int | None
    points: tuple[JudgedPoint, ...]
    """Oldest first; those in the job's repository."""


class RemovedPoint(View, frozen=True, kw_only=True):
    """A point that was given up, or would be."""

    id: str
    job: str | None
    source: str | None
    taken_at: datetime
    reason: str


class Removed(View, frozen=True, kw_only=True):
    """What a removal took away, or would have."""

    points: tuple[RemovedPoint, ...]
    done: bool
    """False after a dry run."""


class PointRow(View, frozen=True, kw_only=True):
    """One restore point in a list."""

    id: str
    job: str | None
    """None while locked."""
    source: str | None
    kind: str
    """`full`, `incremental` or `synthetic-full`."""
    taken_at: datetime
    encrypted: bool
    size_bytes: int | None
    stored_bytes: int | None
    held: bool
    locked: bool
    chain: str
    files: int | None = None


class PointList(View, frozen=True, kw_only=True):
    """Restore points, and what is to be said of their repository."""

    points: tuple[PointRow, ...]
    """Oldest first."""
    warnings: tuple[str, ...] = ()
    complete: bool = True
    """False where a repository of the catalog did not answer and is left out."""


class PointDetailsView(View, frozen=True, kw_only=True):
    """Everything to say of one restore point."""

    point: PointRow
    repository: str
    machine: str | None
    reason: str | None
    """Why it is a full."""
    parent: str | None
    finished_at: datetime | None
    source_warnings: int | None
    signer: str
    entry: int
    """Number of the journal entry that published it."""
    next_due: datetime | None
    block_cipher: str
    key_exchange: str
    password_kdf: tuple[str, ...]
    """Parameters of each password stanza: algorithm, memory, passes, lanes, salt."""
    recipients: tuple[str, ...]
    """Kinds and ids of all that open the chain key."""
    warnings: tuple[str, ...] = ()


class RecoveryKeyView(View, frozen=True, kw_only=True):
    """A recovery key's public side."""

    key_id: str
    signer: str
    """Fingerprint of this installation's identity, as the kit prints it."""
    created_at: datetime
    """When it was made here, or imported."""
    tested_at: datetime | None
    """When a drill was last held with its kit."""
    tested_ok: bool | None
    """Whether the kit opened everything then."""
    active: bool
    """Jobs are sealed for it from now on; of all keys one is, or none."""
    jobs: tuple[str, ...]
    """Jobs that are sealed for it; of a key that is not active, those that once were."""
    chains: int
    """Chains that have, or had, a chain key sealed for it."""
    points: int
    """Points of these chains: with the kit gone they depend on passwords alone."""


class RecoveryResult(View, frozen=True, kw_only=True):
    """What became of a recovery key, and of its kit where one was written or read."""

    key: RecoveryKeyView
    path: str | None
    """The kit's file, or the folder of its shares."""
    paths: tuple[str, ...] = ()
    """Every file that was written."""
    notices: tuple[str, ...] = ()


class ChainProof(View, frozen=True, kw_only=True):
    """What became of one chain in `recovery test`."""

    repository: str
    chain: str | None
    """None: the repository itself did not open."""
    point: str | None
    """The newest point, that was opened."""
    opened: bool
    problem: str | None = None
    blocks: int = 0
    """How many blocks, chosen at random, were read and opened."""


class RecoveryTestResult(View, frozen=True, kw_only=True):
    """Whether a recovery kit opens what it should."""

    ok: bool
    key_id: str
    chains: tuple[ChainProof, ...]


class RecoveryAsked(View, frozen=True, kw_only=True):
    """A recovery request that was made."""

    request_id: str
    """Its hash, which the response names."""
    point: str
    sessions: int
    """How many sessions' keys are asked for."""
    signer: str
    """Fingerprint of this installation, which signed it: the holder compares it."""
    text: str
    """The request itself; all of it is public."""


class RecoveryQuestion(View, frozen=True, kw_only=True):
    """What a recovery request asks, for the holder of the kit to judge."""

    request_id: str
    machine: str
    """Host name of who asks; only they say so."""
    signer: str
    """Fingerprint of who asks, and signed."""
    made_at: datetime
    repository_id: str
    chain: str
    point: str
    taken_at: datetime
    """When the point was taken; only who asks says so."""
    sessions: int
    """How many sessions' keys a response gives away."""
    key_id: str
    """Of the recovery key that would answer."""


class RecoveryAnswered(View, frozen=True, kw_only=True):
    """A recovery request that was answered."""

    question: RecoveryQuestion
    text: str
    """The response; it opens on the server that asked, and nowhere else."""


class RequestView(View, frozen=True, kw_only=True):
    """A recovery request that waits for its response."""

    request_id: str
    point: str
    repository: str | None
    """Where the point is to be looked for; None: in those of the catalog."""
    made_at: datetime


class OpenedPointView(View, frozen=True, kw_only=True):
    """A point that a recovery response opened on this server."""

    point: str
    sessions: int
    expires_at: datetime
    """It is closed from then on."""


class OpenRequests(View, frozen=True, kw_only=True):
    """What recovery by request has left on this server."""

    requests: tuple[RequestView, ...]
    points: tuple[OpenedPointView, ...]


class SessionErrorView(View, frozen=True, kw_only=True):
    """Why a session made no point."""

    code: str
    message: str
    hint: str | None


class SessionView(View, frozen=True, kw_only=True):
    """One session as the catalog remembers it."""

    id: str
    job: str
    """The job's name when it ran."""
    state: str
    """`running`, `success`, `warning`, `failed` or `cancelled`; one whose process died stays
    `running` until the job runs again."""
    started_at: datetime
    finished_at: datetime | None
    kind: str | None
    """`full` or `incremental`; null where no point was made."""
    reason: str
    """Why it is a full."""
    read_bytes: int
    changed_bytes: int
    stored_bytes: int
    files: int
    seconds: float
    warnings: tuple[str, ...]
    error: SessionErrorView | None
    chain: str | None
    points: tuple[str, ...]
    """Ids of the points that it made; retention may have let them go since."""


class JobStatus(View, frozen=True, kw_only=True):
    """How one job stands."""

    job: str
    ok: bool
    state: str | None
    """Of the newest session; None if it never ran."""
    started_at: datetime | None
    finished_at: datetime | None
    last_success_at: datetime | None
    overdue: bool
    message: str | None
    """Its error's or first warning's words, or why it counts as overdue."""
    warnings: int
    encrypted: bool
    protected: bool
    points: int


class StatusReport(View, frozen=True, kw_only=True):
    """How all jobs stand."""

    ok: bool
    jobs: tuple[JobStatus, ...]
    notices: tuple[str, ...] = ()
