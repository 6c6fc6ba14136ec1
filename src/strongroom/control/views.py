"""What the control plane answers with: values that doors print or turn to JSON as they are.

Ids are 32 hexadecimal digits and moments are `datetime`s in UTC. Field names are the JSON
output's, so they are added to and never renamed.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta

import msgspec


class View(msgspec.Struct, frozen=True):
    """A value of the control plane; a `Struct` because every start of the program makes all."""


class Unfinished(View, frozen=True, kw_only=True):
    """A chain that somebody began to write or to copy and did not finish."""

    chain: str
    objects: int
    stored_bytes: int
    goes_at: datetime | None
    """When a prune removes it if nothing changes; None: the next one does."""


class VaultView(View, frozen=True, kw_only=True):
    """What a repository that is a vault demands and keeps."""

    immutable_days: int | None
    """No object goes before the newest point that needs it is so old; None: nothing is locked."""
    batch_days: int | None
    """Locks last so much longer, and are extended once in that time."""
    locked_until: datetime | None = None
    """All that the newest points need is locked until then at least; None before any."""


class ProtectedChain(View, frozen=True, kw_only=True):
    """A chain of a vault, and what its locks are."""

    chain: str
    extended: int
    """Objects whose locks were extended; 0 where that was not due."""
    locked_until: datetime | None
    """All that its newest point needs is locked until then; None where it has no point."""


class ProtectedVault(View, frozen=True, kw_only=True):
    """What `repository protect` did."""

    repository: str
    chains: tuple[ProtectedChain, ...]
    hidden: tuple[str, ...] = ()
    """Objects that somebody hid; `repository unhide` brings them back."""


class UnhiddenVault(View, frozen=True, kw_only=True):
    """What `repository unhide` did, or would do."""

    repository: str
    objects: tuple[str, ...]
    done: bool
    """False after a dry run."""


class CredentialView(View, frozen=True, kw_only=True):
    """A credential of the catalog; what it is, the keystore alone knows."""

    name: str
    created_at: datetime
    changed_at: datetime
    repositories: tuple[str, ...] = ()
    """Those that are opened with it."""


class RepositoryView(View, frozen=True, kw_only=True):
    """A repository of the catalog."""

    name: str
    location: str
    repository_id: str
    added_at: datetime
    jobs: tuple[str, ...] = ()
    vault: VaultView | None = None
    """None where it is none."""
    credential: str | None = None
    """What it is opened with; none where the environment has that."""
    limit: str | None = None
    """How fast this installation may read and write there."""


class RepositoryAdded(View, frozen=True, kw_only=True):
    """What `repository add` did."""

    repository: RepositoryView
    created: bool
    """False where it was there and is attached to."""
    moved: bool
    """It was known by this name, and is in another place from now on."""
    chains: int
    """Chains that were there already; `repository rescan` takes them into the catalog."""


class RepositoryEdited(View, frozen=True, kw_only=True):
    """What `repository edit` did."""

    repository: RepositoryView
    changed: bool


class ChainRecipient(View, frozen=True, kw_only=True):
    """Somebody whose secret opens a chain key."""

    kind: str
    """`password`, `recovery`, or `kms-` and the kind of KMS."""
    key_id: str
    hint: str


class NeededKey(View, frozen=True, kw_only=True):
    """A key that stays closed, and the points that need it: a link to it lacks, or all of them."""

    chain: str
    key_id: str
    """Of the chain key."""
    recipients: tuple[ChainRecipient, ...]
    """Any one of these secrets opens it; none where its envelope is gone."""
    points: tuple[str, ...]
    """Ids of points that are locked, or whose contents are, oldest first."""


class ChainView(View, frozen=True, kw_only=True):
    """One chain as a repository shows it."""

    chain_id: str
    repository: str | None
    """Its name; None where the catalog does not know the repository."""
    state: str
    """`known` (its job is one of this catalog's), `orphaned` (its job was removed here, and it
    expires by that job's last rules), `taken-in` (the catalog knows it, and no job goes on in
    it), `locked` (nothing at hand opens it), `unknown`, or `damaged`."""
    job_id: str
    job: str | None
    """Its name, where the catalog knows the job or a key opened the chain."""
    encrypted: bool
    locked: bool
    """Encrypted, and nothing at hand opens it."""
    opens: str
    """What is at hand opens `all`, `part` (`needed` says what is missing), only `names` and no
    contents, or `nothing`."""
    key_id: str | None
    """Of the chain key that the newest session sealed to; None in a plain chain."""
    hints: tuple[str, ...]
    """Of the passwords that open it."""
    key_ids: tuple[str, ...]
    """Of the recipients that open it."""
    recipients: tuple[ChainRecipient, ...]
    """The same, together."""
    unlinked: tuple[str, ...]
    """Ids of older chain keys that points need and no link leads to: their own secrets do."""
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
    needed: tuple[NeededKey, ...] = ()
    """What has to be opened beside what is at hand; nothing where `opens` is `names`."""


class PointFlag(View, frozen=True, kw_only=True):
    """Why a point is kept for long."""

    kind: str
    """`weekly`, `monthly` or `yearly`."""
    until: date
    """The first day on which it is no longer kept for that, by the rules of today."""


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
    needs: tuple[str, ...] = ()
    """Ids of the `needed` keys without which its contents do not open."""
    copies: tuple[str, ...] = ()
    """Names of the repositories that have a copy of it, or their places."""
    given_up: bool = False
    """Retention let it go, and it is still there."""
    flags: tuple[PointFlag, ...] = ()
    """Of points that this installation made and keeps for long; no other knows them."""
    damaged: bool = False
    """It uses blocks that are known to be damaged, as a scrub or a session found them."""


class CopyJobView(View, frozen=True, kw_only=True):
    """A standing order that a job's points are copied to another repository."""

    name: str
    job: str
    repository: str
    after_run: bool
    """Every session of the job is followed by the copy."""
    encrypt: str | None
    """Whom the copy's own key is sealed for; `none` where what is sealed is copied for anybody to
    read; null where it is copied as it is."""
    ran_at: datetime | None
    problem: str | None
    """Why the last copy did not bring all; null if it did, or there was none."""


class ChainList(View, frozen=True, kw_only=True):
    """Chains, and what is to be said of their repositories."""

    chains: tuple[ChainView, ...]
    """Oldest first."""
    warnings: tuple[str, ...] = ()


class ChainDetails(View, frozen=True, kw_only=True):
    """One chain with its points."""

    chain: ChainView
    points: tuple[PointRow, ...]
    """Oldest first."""
    sources: tuple[str, ...]
    """What its points were taken of, as far as they are open."""
    machines: tuple[str, ...]
    warnings: tuple[str, ...] = ()


class ChainUnlocked(View, frozen=True, kw_only=True):
    """What `chain unlock` did."""

    details: ChainDetails
    keeps_secret: bool
    """The keystore keeps what opens the data of all points so far."""
    missing: tuple[ChainRecipient, ...]
    """Whose secrets would open what stays locked: no link leads there. `details` says which
    points that is."""
    linked: tuple[str, ...] = ()
    """Ids of older chain keys that it made the missing links to."""
    notices: tuple[str, ...] = ()


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
    limit: str | None
    """How fast this installation may read and write there."""
    chains: tuple[ChainView, ...]
    warnings: tuple[str, ...] = ()
    accepted_signers: tuple[AcceptedSigner, ...] = ()
    """Believed on this machine, wherever they sign."""
    vault: VaultView | None = None
    damaged: tuple[str, ...] = ()
    """What this server knows to be damaged, in words, by chain."""


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


class CertificateView(View, frozen=True, kw_only=True):
    """A certificate that a KMS is used with."""

    role: str
    """`client`, or `authority` of the server's."""
    subject: str
    not_after: datetime
    days_left: int


class KmsKeyView(View, frozen=True, kw_only=True):
    """A key at a KMS."""

    name: str
    """What it is called there."""
    key: str
    """Its id there, its version included."""
    job: str | None
    """The job it was made for; none if that was removed."""
    version: int
    present: bool
    """The job's next session is sealed for it."""
    state: str
    """`active`, `disabled`, `condemned` (its deletion is scheduled) or `destroyed`."""
    made_at: datetime
    checked_at: datetime
    points: int
    """Restore points in chains whose present key is sealed for it."""


class KmsView(View, frozen=True, kw_only=True):
    """A KMS, without what opens it."""

    name: str
    kind: str
    endpoints: tuple[str, ...]
    bits: int
    strict: bool
    """A session fails while it is away."""
    vouches: bool
    """It vouches for this server's identity, so that readers need no fingerprint."""
    created_at: datetime
    synced_at: datetime | None
    jobs: tuple[str, ...]
    certificates: tuple[CertificateView, ...] = ()
    keys: tuple[KmsKeyView, ...] = ()


class KmsResult(View, frozen=True, kw_only=True):
    """What adding or changing a KMS did."""

    kms: KmsView
    notices: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class KmsEndpointTest(View, frozen=True, kw_only=True):
    """How one endpoint of a KMS answered."""

    endpoint: str
    ok: bool
    seconds: float
    problem: str | None = None
    code: str | None = None


class KmsKeyTest(View, frozen=True, kw_only=True):
    """Whether a KMS opened what was sealed for one of its keys."""

    name: str
    key: str
    job: str | None
    state: str
    opened: bool
    problem: str | None = None


class KmsTestResult(View, frozen=True, kw_only=True):
    """What `kms test` found."""

    ok: bool
    endpoints: tuple[KmsEndpointTest, ...]
    keys: tuple[KmsKeyTest, ...]
    warnings: tuple[str, ...] = ()


class KmsSyncResult(View, frozen=True, kw_only=True):
    """What `kms sync` and `kms rotate` learned."""

    kms: KmsView
    rotated: tuple[str, ...] = ()
    """Names of keys that have a newer version: the next session is sealed for it."""
    warnings: tuple[str, ...] = ()
    """Keys that open nothing any longer, with the points that need them."""


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
    keep_weekly: int | None
    keep_monthly: int | None
    keep_yearly: int | None
    weekly_on: str
    """The day with which a week of points begins: its first point is kept."""
    monthly_on: str
    """The week with which a month of points begins."""
    yearly_in: str
    """The month with which a year of points begins."""
    full_every_points: int | None
    full_every_days: int | None
    expect_every_hours: int | None
    limit: str | None
    """How fast its sessions may read and write in the repository."""
    pre_script: str | None
    post_script: str | None
    on_failure: str | None
    recovery: bool
    """The job is sealed for the recovery key too, if there is one."""
    protected: bool
    """A lost password or KMS does not lose the data: a recovery key exists and is a recipient."""
    local_half: bool = False
    """A KMS's key opens the backups only together with a local half."""
    secret_to_read: bool = False
    """Its points are read only with a secret that is given with the command."""
    unlinked: tuple[str, ...] = ()
    """Ids of older chain keys that the links to are still to be made."""
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


class ClockConfirmed(View, frozen=True, kw_only=True):
    """The clock is believed as it is."""

    at: datetime
    jumped: timedelta | None
    """How far it was ahead of where it had been expected; null if it had not jumped."""


class JobRemoved(View, frozen=True, kw_only=True):
    """A job that was removed, and what becomes of its points."""

    job: JobView
    """As it was."""
    points: int
    """How many it has left."""
    staying: int
    """How many of them do not expire: held ones, and the newest that a `keep_last` counts."""
    gone_on: date | None
    """The first day on which all others have expired; null where there are none."""
    notices: tuple[str, ...] = ()
    """The same in words."""


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
    flags: tuple[PointFlag, ...] = ()


class RetentionPlan(View, frozen=True, kw_only=True):
    """What retention says of every point of a job, by its rules or by others."""

    job: str
    keep_last: int | None
    keep_days: int | None
    keep_weekly: int | None
    keep_monthly: int | None
    keep_yearly: int | None
    weekly_on: str
    """The day with which a week of points begins: its first point is kept."""
    monthly_on: str
    """The week with which a month of points begins."""
    yearly_in: str
    """The month with which a year of points begins."""
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


class PointList(View, frozen=True, kw_only=True):
    """Restore points, and what is to be said of their repository."""

    points: tuple[PointRow, ...]
    """Oldest first."""
    warnings: tuple[str, ...] = ()
    needed: tuple[NeededKey, ...] = ()
    """What has to be opened beside what is at hand, so that all of them open."""
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
    content_hash: str
    """What tells whether content is the same as before."""
    signatures: str
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


class RewrappedKey(View, frozen=True, kw_only=True):
    """One chain key of a job, and what re-wrapping did to its envelope."""

    chain: str
    key_id: str
    state: str
    """`old` (it would be re-wrapped), `rewrapped`, `current` (sealed for today's recipients
    already), `kept` (re-wrapped, and the storage keeps an older envelope) or `closed`."""
    shut_out: str
    """Whose secrets open it no longer, in words; of a `kept` one, whoever has the older
    envelope opens it with them still. Of a `closed` one, whose secrets are needed."""
    reason: str
    """Why it is `kept` or `closed`."""
    points: tuple[str, ...]
    """Ids of the points that need it; told of `kept` and `closed` ones."""


class RewrapResult(View, frozen=True, kw_only=True):
    """What re-wrapping a job did, or would do."""

    job: str
    done: bool
    keys: tuple[RewrappedKey, ...]
    warnings: tuple[str, ...] = ()


class ReencryptedChain(View, frozen=True, kw_only=True):
    """One chain of a job, and what re-encryption did with it."""

    chain: str
    state: str
    """`due` (it would be re-encrypted), `unfinished` (it would be gone on with), `reencrypted`,
    `abandoned`, or `left` as it is."""
    new_chain: str | None
    """Where its points are from now on, or are being made."""
    points: int
    """Live ones."""
    stored_bytes: int
    """What they use, and what the new chain takes."""
    reason: str = ""
    """Why it is left as it is."""


class ReencryptResult(View, frozen=True, kw_only=True):
    """What re-encrypting a job did, or would do."""

    job: str
    done: bool
    chains: tuple[ReencryptedChain, ...]
    warnings: tuple[str, ...] = ()


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


# --- audit ----------------------------------------------------------------------------------


class AuditRecord(View, frozen=True, kw_only=True):
    """A line of the audit log."""

    number: int
    at: str
    event: str
    severity: str
    outcome: str
    """`ok`, `failed` or `refused`."""
    who: dict[str, str | int]
    """`uid`, `pid`, and where they are known `user`, `sudo_user` and `tty`."""
    command: str
    """Noun and verb."""
    fields: dict[str, object]


class AuditVerified(View, frozen=True, kw_only=True):
    """What a whole audit log is known by."""

    lines: int
    head: str
    """Number and tag of the newest line: written down elsewhere, the log is checked against it."""


# --- keys and the report ------------------------------------------------------------------------


class KeyUse(View, frozen=True, kw_only=True):
    """A chain that a secret opens."""

    chain: str
    job: str | None
    """None if the job was removed."""
    points: int
    whole: bool
    """It opens all of it; otherwise only what was sealed before a later change."""
    alone: bool
    """Nothing else that is known opens it."""
    beside: bool = False
    """It is needed beside the newest secret: a link is still to be made."""


class KeyView(View, frozen=True, kw_only=True):
    """A secret that opens backups, or an identity that signs them."""

    kind: str
    """`password`, `kms`, `recovery` or `signer`."""
    name: str
    key_id: str
    """As it stands in envelopes, hexadecimal; of a signer its fingerprint."""
    version: int
    present: bool
    """Sessions to come are sealed for it, or signed by it."""
    state: str
    """`stored` or `write-only`, `offline` (a kit), `own` or `accepted` (a signer), or what a KMS
    says of its key."""
    made_at: datetime
    age_days: int
    proven_at: datetime | None
    """When it was last seen to be the right secret, or to open something."""
    jobs: tuple[str, ...] = ()
    """Jobs whose next session is sealed for it."""
    guarded: tuple[str, ...] = ()
    """Those of them that are read only with a secret that is given with the command."""
    chains: tuple[KeyUse, ...] = ()
    points: int = 0
    """Points of the chains that it opens whole."""
    alone: int = 0
    """Those of them that nothing else known opens."""


class Finding(View, frozen=True, kw_only=True):
    """Something that the report tells."""

    code: str
    """Stable, for scripts: `unencrypted`, `unprotected`, `password-old`, …"""
    subject: str
    text: str
    problem: bool
    """It needs attention; otherwise it is only to be known."""


class JobKeysView(View, frozen=True, kw_only=True):
    """How one job stands with its keys."""

    job: str
    encrypt: str
    key_id: str | None
    key_age_days: int | None
    protected: bool
    """The recovery key opens it too."""
    points: int
    opened_by: int
    """How many known secrets open its newest points."""
    copies: int
    """Repositories that have its points besides its own."""
    secret_to_read: bool = False
    """Its points are read only with a secret that is given with the command."""


class KeyReport(View, frozen=True, kw_only=True):
    """Who can open what, and what is wrong with that."""

    made_at: datetime
    ok: bool
    jobs: tuple[JobKeysView, ...]
    findings: tuple[Finding, ...]
    keys: tuple[KeyView, ...]


# --- configuration ---------------------------------------------------------------------------


class ConfigView(View, frozen=True, kw_only=True):
    """Whether and where the configuration is backed up."""

    enabled: bool
    repository: str | None = None
    encrypt: str | None = None
    keep: int | None = None
    installation: str
    """What its backups lie under; cut from the signer's id."""
    signer: str
    number: int | None = None
    """Of the newest backup that this machine made; null if it made none."""
    made_at: datetime | None = None
    due: bool = False
    """Settings have changed since, or none was made: the next command makes one."""


class ConfigBackupView(View, frozen=True, kw_only=True):
    """One configuration backup in a repository."""

    installation: str
    number: int
    made_at: datetime | None
    signer: str | None
    hints: tuple[str, ...]
    """Of the passwords that open it."""
    opens: bool | None
    """Whether the secret given opens it and vouches for its signer; null if none was given."""
    problem: str | None = None


class ConfigRestored(View, frozen=True, kw_only=True):
    """An installation that was brought back."""

    home: str
    installation: str
    number: int
    made_at: datetime
    signer: str
    jobs: tuple[str, ...]
    moved_aside: str | None
    """Where the home that was there is now."""
    repositories: tuple[str, ...]
    """Those that answered; what they hold was taken into the catalog."""
    notices: tuple[str, ...]


class Reprotected(View, frozen=True, kw_only=True):
    """A keystore that was sealed under this machine's key."""

    records: int
    key_file: str
    changed: bool
    """False: it was sealed under this very key already."""
