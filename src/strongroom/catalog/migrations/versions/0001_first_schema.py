"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "accepted_signers",
        sa.Column("fingerprint", sa.String(length=128), nullable=False),
        sa.Column("accepted_at", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", name=op.f("pk_accepted_signers")),
    )
    op.create_table(
        "chain_locks",
        sa.Column("repository_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("chain_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("locked_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("repository_id", "chain_id", name=op.f("pk_chain_locks")),
    )
    op.create_table(
        "removed_jobs",
        sa.Column("job_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("removed_at", sa.BigInteger(), nullable=False),
        sa.Column("keep_last", sa.Integer(), nullable=True),
        sa.Column("keep_days", sa.Integer(), nullable=True),
        sa.Column("keep_weekly", sa.Integer(), nullable=True),
        sa.Column("keep_monthly", sa.Integer(), nullable=True),
        sa.Column("keep_yearly", sa.Integer(), nullable=True),
        sa.Column("weekly_on", sa.String(length=16), nullable=False),
        sa.Column("monthly_on", sa.String(length=16), nullable=False),
        sa.Column("yearly_in", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_removed_jobs")),
    )
    op.create_table(
        "guarded_jobs",
        sa.Column("job_id", sa.LargeBinary(length=16), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_guarded_jobs")),
    )
    op.create_table(
        "heads",
        sa.Column("chain_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("entry_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", name=op.f("pk_heads")),
    )
    op.create_table(
        "scrubs",
        sa.Column("repository_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("begun_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("repository_id", name=op.f("pk_scrubs")),
    )
    op.create_table(
        "scrubbed_packs",
        sa.Column("repository_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("pack_id", sa.LargeBinary(length=32), nullable=False),
        sa.Column("read_at", sa.BigInteger(), nullable=False),
        sa.Column("whole", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("repository_id", "pack_id", name=op.f("pk_scrubbed_packs")),
    )
    op.create_table(
        "passwords",
        sa.Column("password_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("write_only", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("verified_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("password_id", name=op.f("pk_passwords")),
        sa.UniqueConstraint("name", name=op.f("uq_passwords_name")),
    )
    op.create_table(
        "recovery_keys",
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("tested_at", sa.BigInteger(), nullable=True),
        sa.Column("tested_ok", sa.Boolean(), nullable=True),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_recovery_keys")),
    )
    op.create_table(
        "credentials",
        sa.Column("credential_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("credential_id", name=op.f("pk_credentials")),
        sa.UniqueConstraint("name", name=op.f("uq_credentials_name")),
    )
    op.create_table(
        "repositories",
        sa.Column("repository_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("added_at", sa.BigInteger(), nullable=False),
        sa.Column("credential_id", sa.LargeBinary(length=16), nullable=True),
        sa.Column("traffic_limit", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["credential_id"],
            ["credentials.credential_id"],
            name=op.f("fk_repositories_credential_id"),
        ),
        sa.PrimaryKeyConstraint("repository_id", name=op.f("pk_repositories")),
        sa.UniqueConstraint("name", name=op.f("uq_repositories_name")),
    )
    op.create_index(
        op.f("ix_repositories_credential_id"), "repositories", ["credential_id"], unique=False
    )
    op.create_table(
        "vaults",
        sa.Column("repository_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("immutable_days", sa.Integer(), nullable=True),
        sa.Column("batch_days", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.repository_id"],
            name=op.f("fk_vaults_repository_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("repository_id", name=op.f("pk_vaults")),
    )
    op.create_table(
        "sessions",
        sa.Column("session_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("job_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("job", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("chain_id", sa.LargeBinary(length=16), nullable=True),
        sa.Column("kind", sa.String(length=16), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("warnings", sa.Text(), nullable=False),
        sa.Column("read_bytes", sa.BigInteger(), nullable=False),
        sa.Column("changed_bytes", sa.BigInteger(), nullable=False),
        sa.Column("stored_bytes", sa.BigInteger(), nullable=False),
        sa.Column("files", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("points", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_job_id"), "sessions", ["job_id"], unique=False)
    op.create_index(op.f("ix_sessions_started_at"), "sessions", ["started_at"], unique=False)
    op.create_table(
        "reencryptions",
        sa.Column("chain_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("old_chain_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("job_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("repository_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("header", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", name=op.f("pk_reencryptions")),
        sa.UniqueConstraint("old_chain_id", name=op.f("uq_reencryptions_old_chain_id")),
    )
    op.create_index(op.f("ix_reencryptions_job_id"), "reencryptions", ["job_id"], unique=False)
    op.create_table(
        "synthetic_fulls",
        sa.Column("chain_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("job_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("repository_id", sa.LargeBinary(length=16), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", name=op.f("pk_synthetic_fulls")),
    )
    op.create_index(op.f("ix_synthetic_fulls_job_id"), "synthetic_fulls", ["job_id"], unique=False)
    op.create_table(
        "copies",
        sa.Column("repository_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("chain_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("entry_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("copied_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("repository_id", "chain_id", name=op.f("pk_copies")),
    )
    op.create_table(
        "copied_points",
        sa.Column("repository_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("point_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("chain_id", sa.LargeBinary(length=16), nullable=False),
        sa.PrimaryKeyConstraint("repository_id", "point_id", name=op.f("pk_copied_points")),
    )
    op.create_table(
        "floors",
        sa.Column("repository_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("points", sa.Integer(), nullable=False),
        sa.Column("days", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("repository_id", name=op.f("pk_floors")),
    )
    op.create_table(
        "settings",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_settings")),
    )
    op.create_table(
        "chains",
        sa.Column("chain_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("job_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("repository_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("sealed", sa.Boolean(), nullable=False),
        sa.Column("chain_key_id", sa.LargeBinary(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.Column("detached", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repositories.repository_id"], name=op.f("fk_chains_repository_id")
        ),
        sa.PrimaryKeyConstraint("chain_id", name=op.f("pk_chains")),
    )
    op.create_index(op.f("ix_chains_job_id"), "chains", ["job_id"], unique=False)
    op.create_index(op.f("ix_chains_repository_id"), "chains", ["repository_id"], unique=False)
    op.create_table(
        "kms",
        sa.Column("kms_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("endpoints", sa.Text(), nullable=False),
        sa.Column("bits", sa.Integer(), nullable=False),
        sa.Column("strict", sa.Boolean(), nullable=False),
        sa.Column("vouching_key", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("synced_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("kms_id", name=op.f("pk_kms")),
        sa.UniqueConstraint("name", name=op.f("uq_kms_name")),
    )
    op.create_table(
        "kms_keys",
        sa.Column("kms_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("key", sa.String(length=256), nullable=False),
        sa.Column("job_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("checked_at", sa.BigInteger(), nullable=False),
        sa.Column("proven_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["kms_id"], ["kms.kms_id"], name=op.f("fk_kms_keys_kms_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("kms_id", "key", name=op.f("pk_kms_keys")),
    )
    op.create_index(op.f("ix_kms_keys_job_id"), "kms_keys", ["job_id"], unique=False)
    op.create_table(
        "kms_recipients",
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("kms_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("key", sa.String(length=256), nullable=False),
        sa.ForeignKeyConstraint(
            ["kms_id"], ["kms.kms_id"], name=op.f("fk_kms_recipients_kms_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_kms_recipients")),
    )
    op.create_index(op.f("ix_kms_recipients_kms_id"), "kms_recipients", ["kms_id"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("job_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("repository_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("password_id", sa.LargeBinary(length=16), nullable=True),
        sa.Column("kms_id", sa.LargeBinary(length=16), nullable=True),
        sa.Column("encryption", sa.String(length=32), nullable=False),
        sa.Column("local_half", sa.Boolean(), nullable=False),
        sa.Column("exclude", sa.Text(), nullable=False),
        sa.Column("one_file_system", sa.Boolean(), nullable=False),
        sa.Column("exclude_caches", sa.Boolean(), nullable=False),
        sa.Column("compression", sa.String(length=16), nullable=False),
        sa.Column("block_size", sa.Integer(), nullable=False),
        sa.Column("keep_last", sa.Integer(), nullable=True),
        sa.Column("keep_days", sa.Integer(), nullable=True),
        sa.Column("keep_weekly", sa.Integer(), nullable=True),
        sa.Column("keep_monthly", sa.Integer(), nullable=True),
        sa.Column("keep_yearly", sa.Integer(), nullable=True),
        sa.Column("weekly_on", sa.String(length=16), nullable=False),
        sa.Column("monthly_on", sa.String(length=16), nullable=False),
        sa.Column("yearly_in", sa.String(length=16), nullable=False),
        sa.Column("full_every_points", sa.Integer(), nullable=True),
        sa.Column("full_every_days", sa.Integer(), nullable=True),
        sa.Column("expect_every_hours", sa.Integer(), nullable=True),
        sa.Column("traffic_limit", sa.Text(), nullable=True),
        sa.Column("pre_script", sa.Text(), nullable=True),
        sa.Column("post_script", sa.Text(), nullable=True),
        sa.Column("on_failure", sa.Text(), nullable=True),
        sa.Column("recovery", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("counter", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint(
            "(encryption = 'password') = (password_id IS NOT NULL)", name=op.f("ck_jobs_password")
        ),
        sa.CheckConstraint("(encryption = 'kms') = (kms_id IS NOT NULL)", name=op.f("ck_jobs_kms")),
        sa.ForeignKeyConstraint(["kms_id"], ["kms.kms_id"], name=op.f("fk_jobs_kms_id")),
        sa.ForeignKeyConstraint(
            ["password_id"], ["passwords.password_id"], name=op.f("fk_jobs_password_id")
        ),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repositories.repository_id"], name=op.f("fk_jobs_repository_id")
        ),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_jobs")),
        sa.UniqueConstraint("name", name=op.f("uq_jobs_name")),
    )
    op.create_index(op.f("ix_jobs_kms_id"), "jobs", ["kms_id"], unique=False)
    op.create_index(op.f("ix_jobs_password_id"), "jobs", ["password_id"], unique=False)
    op.create_index(op.f("ix_jobs_repository_id"), "jobs", ["repository_id"], unique=False)
    op.create_table(
        "password_versions",
        sa.Column("password_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["password_id"],
            ["passwords.password_id"],
            name=op.f("fk_password_versions_password_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("password_id", "version", name=op.f("pk_password_versions")),
    )
    op.create_index(
        op.f("ix_password_versions_key_id"), "password_versions", ["key_id"], unique=False
    )
    op.create_table(
        "chain_recipients",
        sa.Column("chain_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("chain_key_id", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["chain_id"],
            ["chains.chain_id"],
            name=op.f("fk_chain_recipients_chain_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "chain_id", "chain_key_id", "key_id", name=op.f("pk_chain_recipients")
        ),
    )
    op.create_index(
        op.f("ix_chain_recipients_key_id"), "chain_recipients", ["key_id"], unique=False
    )
    op.create_table(
        "envelopes",
        sa.Column("chain_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("chain_key_id", sa.LargeBinary(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["chain_id"],
            ["chains.chain_id"],
            name=op.f("fk_envelopes_chain_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("chain_id", "chain_key_id", name=op.f("pk_envelopes")),
    )
    op.create_table(
        "damaged_blocks",
        sa.Column("chain_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("slot", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("found_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["chain_id"],
            ["chains.chain_id"],
            name=op.f("fk_damaged_blocks_chain_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("chain_id", "slot", "number", name=op.f("pk_damaged_blocks")),
    )
    op.create_table(
        "missing_links",
        sa.Column("chain_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("older_id", sa.LargeBinary(), nullable=False),
        sa.Column("newer_id", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["chain_id"],
            ["chains.chain_id"],
            name=op.f("fk_missing_links_chain_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("chain_id", "older_id", name=op.f("pk_missing_links")),
    )
    op.create_table(
        "job_sources",
        sa.Column("job_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("source_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.job_id"], name=op.f("fk_job_sources_job_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "position", name=op.f("pk_job_sources")),
        sa.UniqueConstraint("source_id", name=op.f("uq_job_sources_source_id")),
    )
    op.create_table(
        "copy_jobs",
        sa.Column("copy_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("job_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("repository_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("after_run", sa.Boolean(), nullable=False),
        sa.Column("password_id", sa.LargeBinary(length=16), nullable=True),
        sa.Column("kms_id", sa.LargeBinary(length=16), nullable=True),
        sa.Column("local_half", sa.Boolean(), nullable=False),
        sa.Column("recovery", sa.Boolean(), nullable=False),
        sa.Column("plain", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("ran_at", sa.BigInteger(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.job_id"], name=op.f("fk_copy_jobs_job_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.repository_id"],
            name=op.f("fk_copy_jobs_repository_id"),
        ),
        sa.ForeignKeyConstraint(
            ["password_id"], ["passwords.password_id"], name=op.f("fk_copy_jobs_password_id")
        ),
        sa.ForeignKeyConstraint(["kms_id"], ["kms.kms_id"], name=op.f("fk_copy_jobs_kms_id")),
        sa.PrimaryKeyConstraint("copy_id", name=op.f("pk_copy_jobs")),
        sa.UniqueConstraint("name", name=op.f("uq_copy_jobs_name")),
    )
    op.create_index(op.f("ix_copy_jobs_job_id"), "copy_jobs", ["job_id"], unique=False)
    op.create_index(
        op.f("ix_copy_jobs_repository_id"), "copy_jobs", ["repository_id"], unique=False
    )
    op.create_index(op.f("ix_copy_jobs_password_id"), "copy_jobs", ["password_id"], unique=False)
    op.create_index(op.f("ix_copy_jobs_kms_id"), "copy_jobs", ["kms_id"], unique=False)
    op.create_table(
        "copied_clones",
        sa.Column("chain_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("copy_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("old_chain_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("header", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["copy_id"],
            ["copy_jobs.copy_id"],
            name=op.f("fk_copied_clones_copy_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("chain_id", name=op.f("pk_copied_clones")),
        sa.UniqueConstraint("copy_id", "old_chain_id", name=op.f("uq_copied_clones_copy_id")),
    )
    op.create_table(
        "points",
        sa.Column("point_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("chain_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("job_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("source_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("session_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("entry", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("taken_at", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("stored_bytes", sa.BigInteger(), nullable=False),
        sa.Column("files", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.Boolean(), nullable=False),
        sa.Column("flags", sa.String(length=32), nullable=False),
        sa.Column("flagged_on", sa.String(length=10), nullable=True),
        sa.ForeignKeyConstraint(
            ["chain_id"], ["chains.chain_id"], name=op.f("fk_points_chain_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("point_id", name=op.f("pk_points")),
    )
    op.create_index(op.f("ix_points_chain_id"), "points", ["chain_id"], unique=False)
    op.create_index(op.f("ix_points_job_id"), "points", ["job_id"], unique=False)
    op.create_table(
        "failed_attempts",
        sa.Column("attempt_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("password_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["password_id"],
            ["passwords.password_id"],
            name=op.f("fk_failed_attempts_password_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("attempt_id", name=op.f("pk_failed_attempts")),
    )
    op.create_index(
        op.f("ix_failed_attempts_password_id"), "failed_attempts", ["password_id"], unique=False
    )
