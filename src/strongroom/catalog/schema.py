"""The catalog's tables, as SQLAlchemy describes them.

What the migrations build has to equal this (a test compares them), and a catalog on another
database than SQLite is made from it. The everyday statements are plain SQL that both understand,
in one module a noun: importing SQLAlchemy takes 250 ms, half of what a whole `job run` may
take (docs/decisions, "Start-up").

Moments are microseconds since 1970 in UTC. Ids are 16 random bytes.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

credentials = Table(
    "credentials",
    metadata,
    Column("credential_id", LargeBinary(16), primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
)

repositories = Table(
    "repositories",
    metadata,
    Column("repository_id", LargeBinary(16), primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("location", Text, nullable=False),
    Column("added_at", BigInteger, nullable=False),
    Column("credential_id", LargeBinary(16), ForeignKey("credentials.credential_id"), index=True),
    Column("traffic_limit", Text),
)

vaults = Table(
    "vaults",
    metadata,
    Column(
        "repository_id",
        LargeBinary(16),
        ForeignKey("repositories.repository_id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("immutable_days", Integer),
    Column("batch_days", Integer, nullable=False),
)

chain_locks = Table(
    "chain_locks",
    metadata,
    # With the repository: a copy of a chain has its id.
    Column("repository_id", LargeBinary(16), primary_key=True),
    Column("chain_id", LargeBinary(16), primary_key=True),
    Column("locked_until", BigInteger, nullable=False),
)

passwords = Table(
    "passwords",
    metadata,
    Column("password_id", LargeBinary(16), primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("hint", Text, nullable=False),
    Column("write_only", Boolean(create_constraint=False), nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Column("verified_at", BigInteger),
)

password_versions = Table(
    "password_versions",
    metadata,
    Column(
        "password_id",
        LargeBinary(16),
        ForeignKey("passwords.password_id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("version", Integer, primary_key=True),
    Column("key_id", LargeBinary, nullable=False, index=True),
    Column("made_at", BigInteger, nullable=False),
)

recovery_keys = Table(
    "recovery_keys",
    metadata,
    Column("key_id", LargeBinary, primary_key=True),
    Column("created_at", BigInteger, nullable=False),
    Column("tested_at", BigInteger),
    Column("tested_ok", Boolean(create_constraint=False)),
    Column("active", Boolean(create_constraint=False), nullable=False),
)

kms = Table(
    "kms",
    metadata,
    Column("kms_id", LargeBinary(16), primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("kind", String(16), nullable=False),
    Column("endpoints", Text, nullable=False),
    Column("bits", Integer, nullable=False),
    Column("strict", Boolean(create_constraint=False), nullable=False),
    Column("vouching_key", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Column("synced_at", BigInteger),
)

kms_keys = Table(
    "kms_keys",
    metadata,
    Column(
        "kms_id", LargeBinary(16), ForeignKey("kms.kms_id", ondelete="CASCADE"), primary_key=True
    ),
    Column("key", String(256), primary_key=True),
    Column("job_id", LargeBinary(16), nullable=False, index=True),
    Column("name", String(256), nullable=False),
    Column("version", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("made_at", BigInteger, nullable=False),
    Column("checked_at", BigInteger, nullable=False),
    Column("proven_at", BigInteger),
)

kms_recipients = Table(
    "kms_recipients",
    metadata,
    Column("key_id", LargeBinary, primary_key=True),
    Column(
        "kms_id",
        LargeBinary(16),
        ForeignKey("kms.kms_id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("key", String(256), nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("job_id", LargeBinary(16), primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column(
        "repository_id",
        LargeBinary(16),
        ForeignKey("repositories.repository_id"),
        nullable=False,
        index=True,
    ),
    Column("password_id", LargeBinary(16), ForeignKey("passwords.password_id"), index=True),
    Column("kms_id", LargeBinary(16), ForeignKey("kms.kms_id"), index=True),
    Column("encryption", String(32), nullable=False),
    Column("local_half", Boolean(create_constraint=False), nullable=False),
    Column("exclude", Text, nullable=False),
    Column("one_file_system", Boolean(create_constraint=False), nullable=False),
    Column("exclude_caches", Boolean(create_constraint=False), nullable=False),
    Column("compression", String(16), nullable=False),
    Column("block_size", Integer, nullable=False),
    Column("keep_last", Integer),
    Column("keep_days", Integer),
    Column("keep_weekly", Integer),
    Column("keep_monthly", Integer),
    Column("keep_yearly", Integer),
    Column("weekly_on", String(16), nullable=False),
    Column("monthly_on", String(16), nullable=False),
    Column("yearly_in", String(16), nullable=False),
    Column("full_every_points", Integer),
    Column("full_every_days", Integer),
    Column("expect_every_hours", Integer),
    Column("traffic_limit", Text),
    Column("pre_script", Text),
    Column("post_script", Text),
    Column("on_failure", Text),
    Column("recovery", Boolean(create_constraint=False), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("counter", BigInteger, nullable=False, server_default="0"),
    CheckConstraint("(encryption = 'password') = (password_id IS NOT NULL)", name="password"),
    CheckConstraint("(encryption = 'kms') = (kms_id IS NOT NULL)", name="kms"),
)

removed_jobs = Table(
    "removed_jobs",
    metadata,
    # The rules that points of a job go on by when it is gone.
    Column("job_id", LargeBinary(16), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("removed_at", BigInteger, nullable=False),
    Column("keep_last", Integer),
    Column("keep_days", Integer),
    Column("keep_weekly", Integer),
    Column("keep_monthly", Integer),
    Column("keep_yearly", Integer),
    Column("weekly_on", String(16), nullable=False),
    Column("monthly_on", String(16), nullable=False),
    Column("yearly_in", String(16), nullable=False),
)

guarded_jobs = Table(
    "guarded_jobs",
    metadata,
    # Of no table: the points of a job that was removed stay guarded.
    Column("job_id", LargeBinary(16), primary_key=True),
)

job_sources = Table(
    "job_sources",
    metadata,
    Column(
        "job_id", LargeBinary(16), ForeignKey("jobs.job_id", ondelete="CASCADE"), primary_key=True
    ),
    Column("position", Integer, primary_key=True),
    Column("source_id", LargeBinary(16), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("value", Text, nullable=False),
    UniqueConstraint("source_id"),
)

chains = Table(
    "chains",
    metadata,
    Column("chain_id", LargeBinary(16), primary_key=True),
    Column("job_id", LargeBinary(16), nullable=False, index=True),
    Column(
        "repository_id",
        LargeBinary(16),
        ForeignKey("repositories.repository_id"),
        nullable=False,
        index=True,
    ),
    Column("sealed", Boolean(create_constraint=False), nullable=False),
    Column("chain_key_id", LargeBinary),
    Column("started_at", BigInteger, nullable=False),
    Column("current", Boolean(create_constraint=False), nullable=False),
    Column("detached", Boolean(create_constraint=False), nullable=False),
)

chain_recipients = Table(
    "chain_recipients",
    metadata,
    Column(
        "chain_id",
        LargeBinary(16),
        ForeignKey("chains.chain_id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("chain_key_id", LargeBinary, primary_key=True),
    Column("key_id", LargeBinary, primary_key=True, index=True),
)

missing_links = Table(
    "missing_links",
    metadata,
    Column(
        "chain_id",
        LargeBinary(16),
        ForeignKey("chains.chain_id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("older_id", LargeBinary, primary_key=True),
    Column("newer_id", LargeBinary, nullable=False),
)

envelopes = Table(
    "envelopes",
    metadata,
    Column(
        "chain_id",
        LargeBinary(16),
        ForeignKey("chains.chain_id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("chain_key_id", LargeBinary, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)

reencryptions = Table(
    "reencryptions",
    metadata,
    Column("chain_id", LargeBinary(16), primary_key=True),
    Column("old_chain_id", LargeBinary(16), nullable=False, unique=True),
    Column("job_id", LargeBinary(16), nullable=False, index=True),
    Column("repository_id", LargeBinary(16), nullable=False),
    Column("header", LargeBinary, nullable=False),
)

synthetic_fulls = Table(
    "synthetic_fulls",
    metadata,
    Column("chain_id", LargeBinary(16), primary_key=True),
    Column("job_id", LargeBinary(16), nullable=False, index=True),
    Column("repository_id", LargeBinary(16), nullable=False),
)

copy_jobs = Table(
    "copy_jobs",
    metadata,
    Column("copy_id", LargeBinary(16), primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column(
        "job_id",
        LargeBinary(16),
        ForeignKey("jobs.job_id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column(
        "repository_id",
        LargeBinary(16),
        ForeignKey("repositories.repository_id"),
        nullable=False,
        index=True,
    ),
    Column("after_run", Boolean(create_constraint=False), nullable=False),
    # Whom its own key is sealed for; none of them where ciphertext is copied as it is, or opened.
    Column("password_id", LargeBinary(16), ForeignKey("passwords.password_id"), index=True),
    Column("kms_id", LargeBinary(16), ForeignKey("kms.kms_id"), index=True),
    Column("local_half", Boolean(create_constraint=False), nullable=False),
    Column("recovery", Boolean(create_constraint=False), nullable=False),
    Column("plain", Boolean(create_constraint=False), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("ran_at", BigInteger),
    Column("problem", Text),
)

copied_clones = Table(
    "copied_clones",
    metadata,
    Column("chain_id", LargeBinary(16), primary_key=True),
    Column(
        "copy_id",
        LargeBinary(16),
        ForeignKey("copy_jobs.copy_id", ondelete="CASCADE"),
        nullable=False,
    ),
    # Of no table: it may expire before its clone.
    Column("old_chain_id", LargeBinary(16), nullable=False),
    # The object to store, until it is stored for certain.
    Column("header", LargeBinary),
    UniqueConstraint("copy_id", "old_chain_id"),
)

copies = Table(
    "copies",
    metadata,
    # Of no table: a drive that has no name here is remembered by what it is.
    Column("repository_id", LargeBinary(16), primary_key=True),
    Column("chain_id", LargeBinary(16), primary_key=True),
    Column("location", Text, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("entry_hash", LargeBinary(32), nullable=False),
    Column("copied_at", BigInteger, nullable=False),
)

copied_points = Table(
    "copied_points",
    metadata,
    Column("repository_id", LargeBinary(16), primary_key=True),
    Column("point_id", LargeBinary(16), primary_key=True),
    Column("chain_id", LargeBinary(16), nullable=False),
)

floors = Table(
    "floors",
    metadata,
    Column("repository_id", LargeBinary(16), primary_key=True),
    Column("points", Integer, nullable=False),
    Column("days", Integer, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("session_id", LargeBinary(16), primary_key=True),
    Column("job_id", LargeBinary(16), nullable=False, index=True),
    Column("job", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("started_at", BigInteger, nullable=False, index=True),
    Column("finished_at", BigInteger),
    Column("chain_id", LargeBinary(16)),
    Column("kind", String(16)),
    Column("reason", Text, nullable=False),
    Column("error", Text),
    Column("warnings", Text, nullable=False),
    Column("read_bytes", BigInteger, nullable=False),
    Column("changed_bytes", BigInteger, nullable=False),
    Column("stored_bytes", BigInteger, nullable=False),
    Column("files", BigInteger, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("points", LargeBinary, nullable=False),
)

points = Table(
    "points",
    metadata,
    Column("point_id", LargeBinary(16), primary_key=True),
    Column(
        "chain_id",
        LargeBinary(16),
        ForeignKey("chains.chain_id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("job_id", LargeBinary(16), nullable=False, index=True),
    Column("source_id", LargeBinary(16), nullable=False),
    Column("session_id", LargeBinary(16), nullable=False),
    Column("entry", BigInteger, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("taken_at", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("stored_bytes", BigInteger, nullable=False),
    Column("files", BigInteger, nullable=False),
    Column("held", Boolean(create_constraint=False), nullable=False),
    Column("flags", String(32), nullable=False),
    Column("flagged_on", String(10)),
)

heads = Table(
    "heads",
    metadata,
    Column("chain_id", LargeBinary(16), primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("entry_hash", LargeBinary(32), nullable=False),
    Column("seen_at", BigInteger, nullable=False),
)

scrubs = Table(
    "scrubs",
    metadata,
    Column("repository_id", LargeBinary(16), primary_key=True),
    Column("begun_at", BigInteger, nullable=False),
)

scrubbed_packs = Table(
    "scrubbed_packs",
    metadata,
    Column("repository_id", LargeBinary(16), primary_key=True),
    Column("pack_id", LargeBinary(32), primary_key=True),
    Column("read_at", BigInteger, nullable=False),
    Column("whole", Boolean(create_constraint=False), nullable=False),
)

damaged_blocks = Table(
    "damaged_blocks",
    metadata,
    Column(
        "chain_id",
        LargeBinary(16),
        ForeignKey("chains.chain_id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("slot", BigInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("found_at", BigInteger, nullable=False),
)

failed_attempts = Table(
    "failed_attempts",
    metadata,
    Column("attempt_id", LargeBinary(16), primary_key=True),
    Column(
        "password_id",
        LargeBinary(16),
        ForeignKey("passwords.password_id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("at", BigInteger, nullable=False),
)

accepted_signers = Table(
    "accepted_signers",
    metadata,
    Column("fingerprint", String(128), primary_key=True),
    Column("accepted_at", BigInteger, nullable=False),
    Column("note", Text, nullable=False),
)

settings = Table(
    "settings",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
