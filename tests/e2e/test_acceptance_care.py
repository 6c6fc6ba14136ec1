"""Care through the command line: forever forward, compaction, synthetic fulls."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Transcript

ENCRYPTED = ("--repository", "main", "--encrypt", "password:mine")
CLUSTER = 64 << 10


@pytest.fixture
def machine(here: Transcript) -> Transcript:
    here.set_up()
    (here.home / "config.toml").write_text("quarantine_hours = 0\n")
    return here


def points(machine: Transcript, job: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = machine.json("point", "list", job)["points"]
    return found


def stored(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def change(disk: Path, clusters: range) -> None:
    time.sleep(0.012)
    with disk.open("r+b") as file:
        for cluster in clusters:
            file.seek(cluster * CLUSTER)
            file.write(os.urandom(CLUSTER))


def make_job(machine: Transcript, disk: Path) -> None:
    words = (*ENCRYPTED, "--source", f"image:{disk}", "--keep-last", "3")
    machine.run("job", "create", "disk", *words)


def test_forever_forward_keeps_three_whole_points_and_gives_space_back(
    machine: Transcript, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(os.urandom(64 * CLUSTER))
    machine.run(
        "job", "create", "disk", *ENCRYPTED, "--source", f"image:{disk}", "--keep-last", "3"
    )
    kinds, saved = {}, {}
    for day in range(5):
        change(disk, range(day, 64, 2))
        session = machine.json("job", "run", "disk")
        [point] = session["points"]
        saved[point] = disk.read_bytes()
        kinds[point] = next(one["kind"] for one in points(machine, "disk") if one["id"] == point)
        change(disk, range(day, 64, 2))
    repository = machine.folder / "repository"
    before = stored(repository)

    pruned = machine.json("repository", "prune", "main", "--yes")

    left = [one["id"] for one in points(machine, "disk")]
    assert left == list(saved)[2:]
    assert {one["id"]: one["kind"] for one in points(machine, "disk")} == {
        point: kinds[point] for point in left
    }
    for point in left:
        machine.run("restore", point, "--to", tmp_path / point)
        assert (tmp_path / point).read_bytes() == saved[point]
    freed = before - stored(repository)
    assert freed > 32 * CLUSTER
    assert pruned["done"]
    assert machine.json("repository", "scrub", "main")["ok"]


def test_compaction_shrinks_the_repository_and_restores_are_the_same(
    machine: Transcript, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(os.urandom(64 * CLUSTER))
    machine.run(
        "job", "create", "disk", *ENCRYPTED, "--source", f"image:{disk}", "--keep-last", "3"
    )
    for _ in range(4):
        change(disk, range(32))
        machine.run("job", "run", "disk")
    machine.run("repository", "prune", "main", "--yes", "--no-compact")
    repository = machine.folder / "repository"
    before = stored(repository)
    plan = machine.json("repository", "compact", "main", "--dry-run")
    assert stored(repository) == before
    assert plan["plans"][0]["packs"]

    done = machine.json("repository", "compact", "main")

    assert before - stored(repository) == pytest.approx(
        done["outcomes"][0]["freed_bytes"], abs=2_000
    )
    assert before - stored(repository) > 20 * CLUSTER
    machine.run("restore", "disk@latest", "--to", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == disk.read_bytes()


def test_a_machine_without_keys_compacts_what_a_pinned_signer_signed(
    machine: Transcript, elsewhere: Transcript, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(os.urandom(64 * CLUSTER))
    machine.run(
        "job", "create", "disk", *ENCRYPTED, "--source", f"image:{disk}", "--keep-last", "3"
    )
    for _ in range(4):
        change(disk, range(32))
        machine.run("job", "run", "disk")
    machine.run("repository", "prune", "main", "--yes", "--no-compact")
    repository = machine.folder / "repository"
    signer = machine.json("repository", "show", "main")["chains"][0]["signer"]

    left_alone = elsewhere.json("repository", "compact", repository)
    assert left_alone["outcomes"] == []
    assert "is not believed here" in left_alone["warnings"][0]
    done = elsewhere.json("repository", "compact", repository, "--signer", signer)

    assert done["outcomes"][0]["packs"] >= 1
    assert elsewhere.json("repository", "scrub", repository, "--signer", signer)["ok"]
    machine.run("restore", "disk@latest", "--to", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == disk.read_bytes()


def test_a_synthetic_full_equals_the_last_point_without_its_source(
    machine: Transcript, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "one").write_bytes(os.urandom(300_000))
    machine.run("job", "create", "tree", *ENCRYPTED, "--source", f"files:{tree}")
    machine.run("job", "run", "tree")
    (tree / "two").write_bytes(os.urandom(300_000))
    machine.run("job", "run", "tree")
    tree.rename(tmp_path / "away")

    said = machine.run("job", "run", "tree", "--synthetic-full").stdout

    assert "synthetic-full (made from the points before)" in said
    assert "copied, no cloning" in said
    assert [one["kind"] for one in points(machine, "tree")] == ["full", "synthetic-full"]
    machine.run("restore", "tree@latest", "--strip", "--to", tmp_path / "out")
    for name in ("one", "two"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "away" / name).read_bytes()
    (tmp_path / "away").rename(tree)
    (tree / "three").write_text("3")
    assert machine.json("job", "run", "tree")["kind"] == "incremental"
    machine.run("job", "run", "tree", "--full", "--synthetic-full", status=2)
