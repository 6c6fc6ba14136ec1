"""A job whose repository is a bucket: the full cycle, and what is left when it is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from strongroom.clock import SystemClock
from tests.e2e.conftest import SameProcess
from tests.support.gate import Gate
from tests.support.rclone_server import rclone_server
from tests.support.s3_server import BUCKET, ENVIRONMENT, SECRET_KEY, S3Server

CLOCK = SystemClock()
_DEADLINE_SECONDS = 60


@pytest.fixture
def machine(tmp_path: Path) -> SameProcess:
    return SameProcess(tmp_path / "machine")


@pytest.fixture
def gate(s3: S3Server) -> Iterator[Gate]:
    with Gate.before(s3.port) as gate:
        yield gate


def _tree(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def _contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_job_lives_in_a_bucket_from_its_first_run_to_prune(
    machine: SameProcess, s3: S3Server, tmp_path: Path
) -> None:
    location = s3.location()
    secret = tmp_path / "secret"
    secret.write_text(SECRET_KEY)
    secret.chmod(0o600)
    first = {"one": b"1" * 5000, "two": os.urandom(70_000)}
    tree = _tree(tmp_path / "tree", first)
    run = machine.run
    run("password", "add", "mine", "--password-env", "PASSWORD")
    run("credential", "add", "offsite", "--access-key", "AKTEST", "--secret-file", secret)
    run("repository", "add", "bucket", location, "--credential", "offsite")
    job = ("job", "create", "home", "--repository", "bucket", "--source", f"files:{tree}")
    run(*job, "--encrypt", "password:mine", "--keep-last", "1")
    oldest = machine.json("job", "run", "home")["points"][0]
    second = {**first, "two": b"changed", "three": os.urandom(3000)}
    _tree(tree, second)
    newest = machine.json("job", "run", "home")["points"][0]

    assert machine.json("repository", "list")["repositories"][0]["credential"] == "offsite"
    listed = [point["id"] for point in machine.json("point", "list")["points"]]
    assert newest in listed
    run("restore", newest, "--to", tmp_path / "back")
    assert _contents(tmp_path / "back") == second
    run("repository", "verify", "bucket")
    run("repository", "scrub", "bucket")
    run("repository", "prune", "bucket", "--yes")
    run("repository", "scrub", "bucket")
    assert oldest != newest

    made = machine.json("job", "run", "home", "--synthetic-full")
    assert (made["kind"], made["copied_bytes"]) == ("synthetic-full", 0)
    assert made["copied_there_bytes"] > 70_000
    newest = made["points"][0]
    run("restore", newest, "--to", tmp_path / "synthetic")
    assert _contents(tmp_path / "synthetic") == second

    # A clean machine needs the place, the secret, and what the bucket knows it by.
    away = SameProcess(tmp_path / "away")
    options = ("--repository", location, "--password-env", "PASSWORD")
    assert "credential" in away.run("point", "list", *options, status=14).stderr
    away.environment |= ENVIRONMENT
    away.run("restore", "home@latest", "--to", tmp_path / "away-back", *options)
    assert _contents(tmp_path / "away-back") == second
    assert not away.home.exists()

    assert run("credential", "remove", "offsite", status=15)
    assert SECRET_KEY.encode() not in b"".join([*machine.said, *away.said])


def test_an_interrupted_upload_leaves_the_earlier_points_and_the_next_run_goes_on(
    machine: SameProcess, s3: S3Server, gate: Gate, tmp_path: Path
) -> None:
    machine.environment |= ENVIRONMENT
    prefix = f"interrupted-{tmp_path.name.replace('_', '-')}"
    location = s3.location(prefix, endpoint=f"http://127.0.0.1:{gate.port}")
    first = {"one": b"1" * 5000}
    tree = _tree(tmp_path / "tree", first)
    machine.run("password", "add", "mine", "--password-env", "PASSWORD")
    machine.run("repository", "add", "bucket", location)
    # The second source ends when the test lets it, and so does the session.
    held = tmp_path / "held"
    waits = f"command:while [ -e {held} ]; do sleep 0.1; done; echo done"
    job = ("job", "create", "home", "--repository", "bucket", "--source", f"files:{tree}")
    machine.run(*job, "--source", waits, "--encrypt", "password:mine")
    earlier = machine.json("job", "run", "home")["points"]
    second = {**first, **{f"large-{n}": os.urandom(12 << 20) for n in range(4)}}
    _tree(tree, second)

    held.touch()
    with _running(machine) as killed:
        _wait(lambda: _large_objects(s3, prefix) > 0)
        killed.kill()
    assert killed.returncode == -signal.SIGKILL
    held.unlink()

    points = machine.json("point", "list")["points"]
    assert {point["id"] for point in points} == {*earlier}
    machine.run("restore", earlier[0], "--to", tmp_path / "back-1")
    assert _contents(tmp_path / "back-1") == first
    machine.run("repository", "scrub", "bucket")

    before = _large_objects(s3, prefix)
    with _running(machine) as going_on:
        _wait(lambda: _large_objects(s3, prefix) > before or going_on.poll() is not None)
        gate.shut()
        CLOCK.sleep(0.2)
        gate.open()
        said = going_on.communicate(timeout=_DEADLINE_SECONDS)
    assert going_on.returncode == 0, said

    machine.run("restore", f"home/files:{tree}@latest", "--to", tmp_path / "back-2")
    assert _contents(tmp_path / "back-2") == second
    machine.run("repository", "verify", "bucket")


def test_a_server_that_overwrites_is_refused_by_the_name_of_the_promise(
    machine: SameProcess, tmp_path: Path
) -> None:
    machine.environment |= ENVIRONMENT
    (tmp_path / "rclone").mkdir()
    with rclone_server(tmp_path / "rclone") as location:
        said = machine.run("repository", "add", "bad", location, status=14).stderr
        assert "writes-once" in said
        assert machine.json("repository", "list")["repositories"] == []
        checked = machine.json("repository", "check", location, status=14)

    assert checked["error"]["code"] == "promise-broken"
    broken = {one["promise"] for one in checked["promises"] if not one["kept"]}
    assert {"writes-once", "one-winner"} <= broken
    assert "deletes" not in broken
    left = [*(tmp_path / "rclone" / "data" / BUCKET).rglob("*")]
    assert [file for file in left if file.is_file()] == []


def test_a_server_that_keeps_its_word_passes_the_check_and_keeps_nothing_of_it(
    machine: SameProcess, s3: S3Server
) -> None:
    machine.environment |= ENVIRONMENT
    location = s3.location("checked")

    assert machine.json("repository", "check", location)["ok"] is True

    left = s3.client().list_objects_v2(Bucket=BUCKET, Prefix="checked/")
    assert left["KeyCount"] == 0


def test_places_that_cannot_be_right_say_what_to_do(machine: SameProcess, s3: S3Server) -> None:
    machine.environment |= ENVIRONMENT
    said = machine.run("repository", "add", "x", "s3://AK:secret-word@bucket/x", status=2)
    assert "credential add" in said.stderr
    assert "secret-word" not in said.stderr
    plain = "s3://bucket/x?endpoint=http://storage.example"
    assert "allow_http" in machine.run("repository", "add", "x", plain, status=2).stderr
    nowhere = f"s3://no-such-bucket/x?endpoint={s3.endpoint}"
    assert "no bucket" in machine.run("repository", "show", nowhere, status=10).stderr
    machine.environment["AWS_SECRET_ACCESS_KEY"] = "another"
    said = machine.run("repository", "add", "x", s3.location(), status=14)
    assert "credential" in said.stderr


@contextmanager
def _running(machine: SameProcess) -> Iterator[subprocess.Popen[str]]:
    """Run the job in a process of its own, which does not outlive the block."""
    with subprocess.Popen(
        [sys.executable, "-m", "strongroom", "job", "run", "home"],
        env=machine.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _large_objects(s3: S3Server, prefix: str) -> int:
    found = s3.client().list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/")
    return sum(1 for one in found.get("Contents", []) if one["Size"] > 1 << 20)


def _wait(until: Callable[[], bool]) -> None:
    deadline = CLOCK.monotonic() + _DEADLINE_SECONDS
    while not until():
        assert CLOCK.monotonic() < deadline
        CLOCK.sleep(0.02)
