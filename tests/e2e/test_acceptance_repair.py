"""Damage as an operator meets it: found, told, mended from the source or from a copy."""

from __future__ import annotations

import random
import shutil
import sqlite3
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import SameProcess

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIB = 1 << 20


@pytest.fixture
def here(tmp_path: Path) -> SameProcess:
    return SameProcess(tmp_path / "here").set_up()


def protect(here: SameProcess, kind: str, password: str = "mine") -> Path:
    """Make a job `job` of a tree or an image, with one point."""
    path = here.folder / "source"
    if kind == "files":
        path.mkdir()
        for index in range(4):
            (path / f"{index}").write_bytes(random.Random(index).randbytes(40_000))
        (path / "large").write_bytes(random.Random(9).randbytes(4 * MIB))
    else:
        path.write_bytes(random.Random(9).randbytes(4 * MIB))
    here.run(
        *("job", "create", "job", "--repository", "main", "--source", f"{kind}:{path}"),
        *("--encrypt", f"password:{password}"),
    )
    here.run("job", "run", "job")
    return path


def objects(here: SameProcess, kind: str) -> list[Path]:
    """Return the chain's objects of a kind, the largest first."""
    folder = here.folder / "repository"
    found = [one for one in folder.glob(f"chains/*/{kind}/**/*") if one.is_file()]
    return sorted(found, key=lambda path: -path.stat().st_size)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def check_newest(here: SameProcess, source: Path, *words: str | Path) -> None:
    target = here.folder / "restored"
    shutil.rmtree(target, ignore_errors=True)
    target.unlink(missing_ok=True)
    here.run("restore", "job@latest", "--to", target, "--strip", "--verify", *words)
    check_same(source, target)


def check_same(source: Path, target: Path) -> None:
    if source.is_file():
        assert target.read_bytes() == source.read_bytes()
        return
    for file in source.iterdir():
        assert (target / file.name).read_bytes() == file.read_bytes()


def delete(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("kind", "which", "attack"),
    [("files", 0, flip), ("files", -1, delete), ("image", 0, delete)],
    ids=["data of a tree", "index of a tree", "data of an image"],
)
def test_the_next_run_repairs_a_damaged_pack_from_the_source(
    here: SameProcess, kind: str, which: int, attack: Callable[[Path], None]
) -> None:
    source = protect(here, kind)
    attack(objects(here, "packs")[which])
    here.run("repository", "scrub", "main", status=20)
    assert [point["damaged"] for point in here.json("point", "list")["points"]] == [True]

    run = here.run("job", "run", "job", status=3 if which else 0)

    assert "repaired" in run.stderr
    here.run("repository", "scrub", "main")
    points = here.json("point", "list")["points"]
    assert [point["damaged"] for point in points] == [False, False]
    for point in points:
        target = here.folder / point["id"]
        here.run("restore", point["id"], "--to", target, "--strip", "--verify")
        check_same(source, target)


def test_of_a_write_only_job_new_points_are_whole_and_old_ones_are_told(here: SameProcess) -> None:
    here.run("password", "add", "sealed", "--password-env", "OTHER", "--write-only")
    source = protect(here, "files", "sealed")
    flip(objects(here, "packs")[0])
    here.run("repository", "scrub", "main", status=20)

    run = here.run("job", "run", "job", status=3)

    assert "stay damaged" in run.stderr + run.stdout
    secret = ("--password-env", "OTHER")
    points = here.json("point", "list", *secret)["points"]
    assert [point["damaged"] for point in points] == [True, False]
    check_newest(here, source, *secret)
    told = here.run("restore", points[0]["id"], "--to", here.folder / "x", *secret, status=20)
    assert "--salvage" in told.stderr
    here.run("job", "run", "job")
    here.run("repository", "repair", "main", status=20)


@pytest.mark.parametrize(
    ("kind", "attack", "statuses"),
    [("tables", delete, (3, 0)), ("journal", flip, (3, 3)), ("envelopes", delete, (0, 0))],
    ids=["tables", "newest entry", "envelope"],
)
def test_no_damage_keeps_a_job_from_making_whole_points(
    here: SameProcess, kind: str, attack: Callable[[Path], None], statuses: tuple[int, int]
) -> None:
    source = protect(here, "files")
    attack(max(objects(here, kind)))

    here.run("job", "run", "job", status=statuses[0])
    following = here.json("job", "run", "job", status=statuses[1])

    assert following["kind"] == "incremental"
    target = here.folder / "restored"
    here.run("restore", following["points"][0], "--to", target, "--strip", "--verify")
    check_same(source, target)


def test_a_newest_entry_that_is_lost_stops_a_job_until_the_operator_says_full(
    here: SameProcess,
) -> None:
    """Nobody can tell it from a repository that was set back."""
    source = protect(here, "files")
    delete(max(objects(here, "journal")))

    refused = here.run("job", "run", "job", status=20)
    full = here.json("job", "run", "job", "--full", status=3)

    assert "--full" in refused.stderr
    target = here.folder / "restored"
    here.run("restore", full["points"][0], "--to", target, "--strip", "--verify")
    check_same(source, target)
    assert here.json("job", "run", "job", status=3)["kind"] == "incremental"


def test_a_copy_mends_what_the_source_cannot(here: SameProcess, tmp_path: Path) -> None:
    source = protect(here, "files")
    copy = here.folder / "copy"
    shutil.copytree(here.folder / "repository", copy)
    shutil.move(source, here.folder / "kept")
    for kind in ("packs", "tables", "journal", "envelopes"):
        flip(objects(here, kind)[-1])
    keyless = SameProcess(tmp_path / "keyless")
    signer = here.json("repository", "show", copy)["chains"][0]["signer"]
    where = here.folder / "repository"

    left = keyless.json("repository", "repair", where, "--from", copy, status=20)
    assert left["damaged"]
    assert "not believed" in left["notes"][0]
    words = ("repository", "repair", where, "--from", copy, "--signer", signer)
    assert keyless.json(*words, "--dry-run", status=20)["mended"]
    keyless.run(*words)
    keyless.run(*words)

    here.run("repository", "scrub", "main")
    target = here.folder / "restored"
    here.run("restore", "job@latest", "--to", target, "--strip", "--verify")
    check_same(here.folder / "kept", target)
    here.run("repository", "repair", "main", "--from", "main", status=2)


def test_what_is_restored_from_a_copy_does_not_open_the_bucket_that_the_catalog_knows(
    here: SameProcess,
) -> None:
    source = protect(here, "image")
    gone = "s3://gone/office?endpoint=http://127.0.0.1:9&profile=gone"
    with sqlite3.connect(here.folder / "home" / "catalog.db") as catalog:
        catalog.execute("UPDATE repositories SET location = ?", (gone,))

    check_newest(here, source, "--repository", here.folder / "repository")
