"""A vault in a folder, as an unprivileged worker and an intruder in its place meet it."""

from __future__ import annotations

import fcntl
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from strongroom.storage import inode_flags
from tests.e2e.conftest import SameProcess, Transcript
from tests.support import forked_line
from tests.support.loop_folder import loop_folder
from tests.support.s3_server import ENVIRONMENT, S3Server
from tests.support.server_process import running

NOBODY = 65534


@dataclass
class Unprivileged(Transcript):
    """A machine whose command lines run as a user without any rights."""

    def _forked(self, line: list[str], typed: str) -> subprocess.CompletedProcess[str]:
        with tempfile.TemporaryDirectory(dir=self.folder) as place:
            files = [Path(place, name) for name in ("in", "out", "err")]
            for file in files:
                file.write_text(typed if file.name == "in" else "")
                os.chown(file, NOBODY, NOBODY)
            os.chown(place, NOBODY, NOBODY)

            def run() -> int:
                become_nobody()
                return forked_line.run_line(line, self.environment, *files)

            status = forked_line.ended(forked_line.fork(run)[0])
            out, err = (file.read_text() for file in files[1:])
        return subprocess.CompletedProcess(line, status, out, err)


def become_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


@dataclass
class Site:
    """A worker's machine, the guard of its vault, and what root has of it."""

    worker: Unprivileged
    folder: Path
    root: Path

    @property
    def vault(self) -> Path:
        return self.worker.folder / "vault"

    def guard(self, *words: str | Path) -> list[str]:
        given = [str(word) for word in words]
        return [sys.executable, "-m", "strongroom", "guard", *given]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.worker.environment, "HOME": str(self.root)}

    def guarding(self, days: int = 7) -> AbstractContextManager[subprocess.Popen[bytes]]:
        state = ("--state", self.root / "state")
        command = self.guard("run", self.vault, "--days", str(days), *state)
        (self.root / "log").mkdir(exist_ok=True)
        return running(command, self.root / "log", self._listens, self.environment)

    def _listens(self) -> bool:
        sockets = Path(self.worker.environment["STRONGROOM_GUARDS"])
        return sockets.is_dir() and any(sockets.iterdir())

    def state(self, statement: str) -> None:
        """Change what the guard remembers, as only root can."""
        (file,) = (self.root / "state").glob("*.sqlite")
        with closing(sqlite3.connect(file)) as database, database:
            database.execute(statement)

    def files(self) -> list[Path]:
        return [
            path
            for path in self.vault.rglob("*")
            if path.is_file() and path.relative_to(self.vault).parts[0] not in {"locks", ".tmp"}
        ]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        root = Path(place, "root")
        root.mkdir()
        with loop_folder(Path(place), mebibytes=256) as mounted:
            worker = Unprivileged(mounted / "worker")
            worker.environment["STRONGROOM_GUARDS"] = str(root / "sockets")
            root.chmod(0o755)
            for folder in (worker.folder, worker.folder / "vault", worker.folder / "tree"):
                folder.mkdir(exist_ok=True)
                os.chown(folder, NOBODY, NOBODY)
            content = worker.folder / "tree" / "file"
            content.write_bytes(b"content" * 1000)
            os.chown(content, NOBODY, NOBODY)
            worker.home.mkdir()
            (worker.home / "config.toml").write_text("quarantine_hours = 0\n")
            os.chown(worker.home, NOBODY, NOBODY)
            yield Site(worker, mounted, root)


def test_a_vault_s_life(site: Site) -> None:
    worker, vault = site.worker, site.vault
    add = ("repository", "add", "vault", vault, "--vault", "--immutable-days", "7")
    refused = worker.run(*add, status=13)
    assert "guard run" in refused.stderr
    assert list(vault.iterdir()) == []
    with site.guarding():
        worker.run(*add)
        worker.run("password", "add", "mine", "--password-env", "PASSWORD")
        create = ("job", "create", "office", "--repository", "vault", "--keep-last", "1")
        source = ("--source", f"files:{worker.folder / 'tree'}")
        before = sorted(vault.rglob("*"))
        worker.run(*create, *source, "--encrypt", "none", status=14)
        assert sorted(vault.rglob("*")) == before
        worker.run(*create, *source, "--encrypt", "password:mine")
        points = [worker.json("job", "run", "office")["points"][0] for _ in range(4)]
        every_file_is_immutable(site)
        an_intruder_removes_nothing(site)
        listed = worker.json("job", "retention", "office")["points"]
        assert [point["id"] for point in listed if point["stays"]] == points
        assert "locked by the vault until" in listed[0]["reasons"][0]
        worker.run("point", "remove", points[0], "--yes", status=14)
        worker.run("job", "edit", "office", "--keep-last", "1", "--encrypt", "none", status=14)
        waits = worker.json("repository", "prune", "vault", "--yes")["outcomes"][0]
        assert (waits["removed"], waits["waiting"]) == (0, 0)
        assert waits["locked"] > 0
        assert waits["locked_until"] > worker.json("point", "list")["points"][0]["taken_at"]
        said = worker.run("repository", "prune", "vault", "--yes").stdout
        assert "locked by the vault until" in said
        worker.run("restore", "office@latest", "--to", worker.folder / "out")
        worker.run("repository", "scrub", "vault")
        assert "7 days" in worker.run("repository", "list").stdout
        a_turned_clock_blocks_removals(site, waits["locked"])
    without_its_guard_nothing_is_written(site, points)


def every_file_is_immutable(site: Site) -> None:
    files = site.files()
    assert len(files) > 15
    for path in files:
        file = os.open(path, os.O_RDONLY)
        assert inode_flags.get(file) & inode_flags.IMMUTABLE, path
        os.close(file)


def an_intruder_removes_nothing(site: Site) -> None:
    """With every right of the worker, and all the time in the world."""
    before = {path: path.read_bytes() for path in site.files()}

    def intrude() -> int:
        become_nobody()
        (socket,) = Path(site.worker.environment["STRONGROOM_GUARDS"]).iterdir()
        from strongroom.storage.guard_socket import GuardClient

        client = GuardClient(socket.parent, site.vault)
        for path in before:
            key = str(path.relative_to(site.vault))
            for attempt in (
                path.unlink,
                lambda path=path: path.write_bytes(b""),
                lambda path=path: path.rename(path.with_name("gone")),
                lambda path=path: unlock(path),
                lambda key=key: client.remove(key),
                lambda path=path: path.parent.rename(path.parent.with_name("gone")),
            ):
                with suppress(Exception):
                    attempt()
        return 0

    def unlock(path: Path) -> None:
        file = os.open(path, os.O_RDONLY)
        with suppress(OSError):
            inode_flags.change(file, take=inode_flags.IMMUTABLE)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    assert forked_line.ended(forked_line.fork(intrude)[0]) == 0
    assert {path: path.read_bytes() for path in site.files()} == before


def a_turned_clock_blocks_removals(site: Site, locked: int) -> None:
    day = 24 * 60 * 60 * 1_000_000
    site.state("UPDATE locks SET until = 0")
    site.state(f"UPDATE clock SET wall = wall - {2 * day}")  # as if the wall clock went forward
    waits = site.worker.json("repository", "prune", "vault", "--yes")["outcomes"][0]
    assert (waits["removed"], waits["locked"]) == (0, locked)
    confirm = site.guard("confirm-clock", site.vault, "--state", site.root / "state", "--json")
    done = subprocess.run(
        confirm, env=site.environment, stdout=subprocess.PIPE, check=True, text=True
    )
    assert "forward" in json.loads(done.stdout)["reason"]
    after = site.worker.json("repository", "prune", "vault", "--yes")["outcomes"][0]
    assert after["removed"] == locked
    site.worker.run("repository", "scrub", "vault")


def without_its_guard_nothing_is_written(site: Site, points: list[str]) -> None:
    failed = site.worker.run("job", "run", "office", status=13)
    assert "guard" in failed.stderr
    listed = site.worker.json("point", "list")["points"]
    assert [point["id"] for point in listed] == points
    site.worker.run("restore", points[0], "--to", site.worker.folder / "again")


# --- a bucket -------------------------------------------------------------------------------


def test_a_vault_in_a_bucket(tmp_path: Path, s3: S3Server) -> None:
    # In no fork: it would inherit the library's locks, and not the threads that have them.
    here = SameProcess(tmp_path / "here")
    client = s3.client()
    client.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    place = replace(s3.place(), bucket="locked")
    here.environment |= ENVIRONMENT
    vault = ("--vault", "--immutable-days", "1", "--batch-days", "0")
    here.home.mkdir()
    (here.home / "config.toml").write_text("quarantine_hours = 0\n")
    no_locks = here.run("repository", "add", "vault", s3.location(), *vault, status=14)
    assert "no Object Lock" in no_locks.stderr
    here.run("repository", "add", "vault", place.location, *vault)
    here.run("password", "add", "mine", "--password-env", "PASSWORD")
    tree = here.folder / "tree"
    tree.mkdir()
    (tree / "file").write_bytes(b"content" * 1000)
    create = ("job", "create", "office", "--repository", "vault", "--source", f"files:{tree}")
    here.run(*create, "--encrypt", "none", status=14)
    here.run(*create, "--encrypt", "password:mine", "--keep-last", "1")
    here.run("job", "run", "office")
    before = dates(client, place.prefix)
    here.run("job", "run", "office")
    time.sleep(1.1)  # the server counts in seconds, and three sessions may take less than one
    points = [here.json("job", "run", "office")["points"][0]]
    # The third session extended what the first one stored, for it is used again.
    after = dates(client, place.prefix)
    grown = {key for key, until in before.items() if after[key] > until}
    kinds = {key.split("/")[2] if key.startswith("chains/") else key for key in grown}
    assert {"strongroom-repository", "packs", "envelopes", "journal"} <= kinds
    listed = here.json("job", "retention", "office")["points"]
    assert all("locked by the vault until" in point["reasons"][0] for point in listed)
    (waits,) = here.json("repository", "prune", "vault", "--yes")["outcomes"]
    assert (waits["removed"], waits["locked"] > 0) == (0, True)
    nobody_removes_a_version(client, place.prefix)
    # What the credentials do allow: a delete marker on everything.
    for key in after:
        client.delete_object(Bucket="locked", Key=f"{place.prefix}/{key}")
    here.run("point", "list", status=10)
    shown = here.json("repository", "unhide", "vault", "--dry-run")
    assert sorted(shown["objects"]) == sorted(after)
    here.run("repository", "unhide", "vault")
    scrubbed = here.run("repository", "scrub", "vault")
    assert "hidden" not in scrubbed.stderr
    here.run("restore", points[0], "--to", here.folder / "out")
    assert here.json("repository", "protect", "vault")["hidden"] == []


def dates(client: Any, prefix: str) -> dict[str, datetime]:
    """Return until when each object is locked, but for those that come and go."""
    found = {}
    for one in client.list_objects_v2(Bucket="locked", Prefix=f"{prefix}/")["Contents"]:
        key = one["Key"].removeprefix(f"{prefix}/")
        if not key.startswith(("locks/", "probes/")):
            answer = client.get_object_retention(Bucket="locked", Key=one["Key"])
            assert answer["Retention"]["Mode"] == "COMPLIANCE"
            found[key] = answer["Retention"]["RetainUntilDate"]
    return found


def nobody_removes_a_version(client: Any, prefix: str) -> None:
    versions = client.list_object_versions(Bucket="locked", Prefix=f"{prefix}/")["Versions"]
    tried = [one for one in versions if not re.search("/(locks|check-[^/]*)/", one["Key"])]
    assert len(tried) > 15
    for one in tried:
        with pytest.raises(ClientError, match="AccessDenied"):
            client.delete_object(
                Bucket="locked",
                Key=one["Key"],
                VersionId=one["VersionId"],
                BypassGovernanceRetention=True,
            )
