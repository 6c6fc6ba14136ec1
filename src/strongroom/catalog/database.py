"""The catalog's file: opened fast, brought up to date when it is old, one writer at a time.

SQLite in write-ahead mode, so that a `status` reads while a session writes. Alembic and
SQLAlchemy are imported only when the schema is not today's: once in a release.
What goes wrong in SQLite comes out as a family of `errors`.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Final, TypeAlias

from strongroom.errors import (
    ConflictError,
    IntegrityError,
    LockedError,
    RefusedError,
    StorageFullError,
    UnavailableError,
    UnsupportedVersionError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

REVISION: Final = "0001"
"""The newest migration's; migrations are numbered in order."""
BUSY_SECONDS: Final = 20
_ROOM: Final = 64 << 10
"""SQLite shares this much with other processes beside the catalog's file."""

Value: TypeAlias = bool | int | float | str | bytes | None
Row: TypeAlias = sqlite3.Row


class CatalogBusyError(LockedError):
    """Another process writes to the catalog and does not come to an end."""

    code = "catalog-busy"


class CatalogDamagedError(IntegrityError):
    """The catalog's file is damaged."""

    code = "catalog-damaged"
    hint = (
        "restores need no catalog; put an older copy of the home back, or start a new home and "
        "'strongroom repository add' what is there"
    )


class Database:
    """An open catalog. Calls may come from several threads; they take turns."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        """Take over an open connection; see `open`."""
        self.path = path
        self._connection = connection
        self._turn = threading.RLock()
        self._depth = 0

    @classmethod
    def open(cls, path: Path) -> Database:
        """Open the catalog at `path`, created if there is none, migrated if it is old.

        Raises:
            UnsupportedVersionError: a newer release wrote it.
            RefusedError: the home cannot be made or written.
            CatalogDamagedError: the file is no catalog.
        """
        with _translated(path):
            # The home holds the catalog's names of things and the sealed keystore: its owner's.
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not path.exists():
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            connection = _connect(path)
            try:
                if _revision(connection) != REVISION:
                    connection = _brought_up_to_date(path, connection)
            except BaseException:
                connection.close()
                raise
        return cls(path, connection)

    def copy(self) -> bytes:
        """Return the catalog as of one moment, as the bytes of an SQLite file.

        Without what scrubs have read: it grows with what is stored, and begins anew elsewhere.
        """
        with self._turn, _translated(self.path), closing(sqlite3.connect(":memory:")) as other:
            self._connection.backup(other)
            for table in ("scrubs", "scrubbed_packs"):
                other.execute(f"DELETE FROM {table}")  # noqa: S608 - a table's own name
            other.commit()
            # Else what was deleted would still stand in its free pages.
            other.execute("VACUUM")
            return other.serialize()

    def close(self) -> None:
        with self._turn:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make what happens inside happen whole or not at all; may be nested."""
        with self._turn:
            outermost = self._depth == 0
            if outermost:
                self._run("BEGIN IMMEDIATE", ())
            self._depth += 1
            try:
                yield
            except BaseException:
                self._depth -= 1
                if outermost and self._connection.in_transaction:
                    self._connection.rollback()
                raise
            self._depth -= 1
            if outermost:
                with _translated(self.path):
                    self._connection.commit()

    def execute(self, statement: str, parameters: Sequence[Value] = ()) -> int:
        """Run a statement and return how many rows it touched."""
        with self._turn:
            return self._run(statement, parameters).rowcount

    def execute_many(self, statement: str, rows: Iterable[Sequence[Value]]) -> None:
        """Run a statement for every row, in one transaction."""
        with self.transaction(), _translated(self.path):
            self._connection.executemany(statement, rows)

    def query(self, statement: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """Return all rows of an answer."""
        with self._turn, _translated(self.path):
            rows: list[Row] = self._connection.execute(statement, parameters).fetchall()
            return rows

    def one(self, statement: str, parameters: Sequence[Value] = ()) -> Row | None:
        """Return the first row of an answer, if it has one."""
        with self._turn, _translated(self.path):
            row: Row | None = self._connection.execute(statement, parameters).fetchone()
            return row

    def _run(self, statement: str, parameters: Sequence[Value]) -> sqlite3.Cursor:
        with _translated(self.path):
            return self._connection.execute(statement, parameters)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        connection.row_factory = sqlite3.Row
        if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            # Of two that do it at once SQLite lets one fail, and does not wait.
            with _alone(path.parent):
                connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")
        # Heads are what a rolled-back repository is recognised by: they survive a power cut.
        connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def _revision(connection: sqlite3.Connection) -> str | None:
    tables = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'")
    if tables.fetchone() is None:
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else None


def _brought_up_to_date(path: Path, connection: sqlite3.Connection) -> sqlite3.Connection:
    """Migrate, one process at a time, and return a connection that sees the result."""
    with _alone(path.parent):
        found = _revision(connection)
        if found is not None and found > REVISION:
            raise UnsupportedVersionError(
                f"the catalog {path} has schema {found}, and this release knows {REVISION}",
                hint="use the newest release of strongroom with this home",
            )
        connection.close()
        if found != REVISION:
            from strongroom.catalog.migrations.run import upgrade

            upgrade(path)
    return _connect(path)


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Keep other processes from what is done to a catalog once."""
    folder = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn SQLite's exceptions into ours."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise ConflictError(f"the catalog refuses: {error}") from error
    except sqlite3.DatabaseError as error:
        raise _family(path, error) from error
    except OSError as error:
        raise RefusedError(
            f"cannot use the home {path.parent}: {error.strerror}",
            hint="run it as the user who owns it, or name another home with --home",
        ) from error


def _family(path: Path, error: sqlite3.DatabaseError) -> Exception:
    kind = getattr(error, "sqlite_errorname", "").partition("_")[2]
    if kind.startswith(("BUSY", "LOCKED")):
        return CatalogBusyError(f"the catalog {path} is busy for more than {BUSY_SECONDS} s")
    if kind.startswith("FULL"):
        return _no_room(path)
    if kind.startswith(("CORRUPT", "NOTADB")):
        return CatalogDamagedError(f"the catalog {path} is damaged: {error}")
    if kind.startswith(("READONLY", "PERM", "CANTOPEN", "AUTH")):
        return RefusedError(
            f"the catalog {path} cannot be used: {error}",
            hint=f"run it as the user who owns {path.parent}, or name another home with --home",
        )
    if kind.startswith("IOERR"):
        if _is_full(path.parent):
            return _no_room(path)
        return UnavailableError(f"the catalog {path} does not answer: {error}")
    # Anything else is a wrong statement: a bug, and shown as one.
    return error


def _is_full(folder: Path) -> bool:
    """Tell whether there is no room for the file that SQLite needs even for reading."""
    try:
        status = os.statvfs(folder)
    except OSError:
        return False
    return status.f_bavail * status.f_frsize < _ROOM


def _no_room(path: Path) -> StorageFullError:
    return StorageFullError(
        f"no room is left for the catalog {path}",
        hint=f"free space in the file system of {path.parent}; a restore needs no home: "
        "--home /elsewhere --repository LOCATION with a password or recovery kit",
    )
