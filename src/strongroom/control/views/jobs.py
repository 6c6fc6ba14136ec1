"""What is told of jobs, their sessions and their copies."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from strongroom.control.views.base import View


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
