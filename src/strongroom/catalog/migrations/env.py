"""What Alembic runs around the migrations; `run.config_for` hands it the connection."""

from __future__ import annotations

from alembic import context

from strongroom.catalog.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=False,
)
context.run_migrations()
