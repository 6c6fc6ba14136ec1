"""Brings a catalog to today's schema. The only importer of Alembic."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.pool import NullPool


def config_for(connection: Connection) -> Config:
    """Return what Alembic needs to know: where the migrations are, and what to migrate."""
    config = Config()
    folder = str(Path(__file__).parent)
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade(path: Path) -> None:
    """Migrate the SQLite catalog at `path`, whole or not at all."""
    engine = create_engine(URL.create("sqlite", database=str(path)), poolclass=NullPool)

    # SQLite's driver commits before DDL unless it is left to us: a migration cut short would
    # leave half of its tables.
    @event.listens_for(engine, "connect")
    def leave_transactions_to_us(dbapi_connection: object, _: object) -> None:
        dbapi_connection.isolation_level = None  # type: ignore[attr-defined]

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    try:
        with engine.begin() as connection:
            command.upgrade(config_for(connection), "head")
    finally:
        engine.dispose()
