from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from strongroom.catalog import database as database_module
from strongroom.catalog.database import REVISION, CatalogDamagedError, Database
from strongroom.errors import (
    ConflictError,
    RefusedError,
    StorageFullError,
    UnavailableError,
    UnsupportedVersionError,
)

if TYPE_CHECKING:
    from pathlib import Path

OPEN = (
    "import sys; from pathlib import Path; from strongroom.catalog.database import Database\n"
    "Database.open(Path(sys.argv[1])).close()"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "catalog.db"


def test_a_new_catalog_is_its_owners_alone(path: Path) -> None:
    Database.open(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {file.name for file in path.parent.iterdir()} == {"catalog.db"}


def test_a_full_disk_is_not_taken_for_one_that_does_not_answer(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite needs room even for reading, and says only that it failed."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname = "SQLITE_IOERR_SHMSIZE"
    for free, family in ((0, StorageFullError), (1 << 30, UnavailableError)):
        status = SimpleNamespace(f_bavail=free, f_frsize=1)
        monkeypatch.setattr(database_module.os, "statvfs", lambda _, status=status: status)
        with pytest.raises(family) as caught, database_module._translated(path):
            raise error
        assert ("--home /elsewhere" in str(caught.value.hint)) == (free == 0)


def test_what_was_committed_is_there_when_it_is_opened_again(path: Path) -> None:
    database = Database.open(path)
    database.execute("INSERT INTO settings VALUES (?, ?)", ("n", b"v"))
    database.close()
    again = Database.open(path)
    assert again.query("SELECT value FROM settings")[0]["value"] == b"v"
    again.close()


def test_opening_imports_neither_sqlalchemy_nor_alembic(path: Path) -> None:
    Database.open(path).close()
    program = f"{OPEN}\nassert not {{'sqlalchemy', 'alembic', 'asyncio'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)


def test_the_revision_is_alembics_newest_and_the_migrations_build_the_schema(path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from sqlalchemy import URL, create_engine

    from strongroom.catalog.migrations.run import config_for
    from strongroom.catalog.schema import metadata

    Database.open(path).close()
    engine = create_engine(URL.create("sqlite", database=str(path)))
    with engine.connect() as connection:
        config = config_for(connection)
        assert ScriptDirectory.from_config(config).get_current_head() == REVISION
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_a_migration_that_fails_leaves_nothing_of_itself(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alembic import op

    def power_cut(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(op, "create_index", power_cut)
        with pytest.raises(KeyboardInterrupt):
            Database.open(path)
    with sqlite3.connect(path) as left:
        assert left.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    left.close()
    Database.open(path).close()


def test_a_catalog_of_a_newer_release_is_left_alone(path: Path) -> None:
    database = Database.open(path)
    database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    before = path.read_bytes()
    with pytest.raises(UnsupportedVersionError, match="9999"):
        Database.open(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_catalog_is_said_to_be_damaged(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(CatalogDamagedError):
        Database.open(path)


def test_a_home_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RefusedError):
        Database.open(tmp_path / "file" / "catalog.db")


def test_a_transaction_happens_whole_or_not_at_all(path: Path) -> None:
    database = Database.open(path)
    insert = "INSERT INTO settings VALUES (?, ?)"
    with pytest.raises(ConflictError), database.transaction():
        database.execute(insert, ("a", b""))
        with database.transaction():
            database.execute(insert, ("b", b""))
        database.execute(insert, ("b", b""))
    assert database.query("SELECT * FROM settings") == []
    with database.transaction():
        database.execute(insert, ("a", b""))
        database.execute_many(insert, [("b", b""), ("c", b"")])
    assert len(database.query("SELECT * FROM settings")) == 3
    database.close()


def test_another_process_that_writes_for_too_long_is_reported(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "BUSY_SECONDS", 0)
    first, second = Database.open(path), Database.open(path)
    with (
        first.transaction(),
        pytest.raises(database_module.CatalogBusyError, match="busy"),
        second.transaction(),
    ):
        pass
    first.close()
    second.close()


def test_many_first_commands_at_once_make_one_catalog(path: Path) -> None:
    started = [subprocess.Popen([sys.executable, "-c", OPEN, str(path)]) for _ in range(4)]
    assert [process.wait() for process in started] == [0] * 4
    Database.open(path).close()
    assert [file.name for file in path.parent.iterdir()] == ["catalog.db"]
