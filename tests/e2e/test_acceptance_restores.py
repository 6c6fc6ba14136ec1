"""Restores that meet damage, things in the way and lists of names; retention, holds and kits."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.conftest import Transcript

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIB = 1 << 20


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Transcript:
    """One machine for all that follows, with a repository and a password."""
    return Transcript(tmp_path_factory.mktemp("restores") / "here").set_up("--hint", "page nine")


def protect(machine: Transcript, job: str, root: Path) -> None:
    """Make a tree of two large files and a small one, and the job that protects it."""
    (root / "sub").mkdir(parents=True)
    (root / "first").write_bytes(os.urandom(MIB))
    (root / "second").write_bytes(os.urandom(MIB))
    (root / "sub" / "small").write_text("small")
    machine.run(
        *("job", "create", job, "--repository", "main", "--encrypt", "password:mine"),
        *("--source", f"files:{root}", "--keep-last", "3"),
    )


@dataclass
class Damaged:
    """A repository with an old point and a new one, and the largest pack of each."""

    repository: Path
    tree: Path
    points: list[str]
    packs: list[str]


@pytest.fixture(scope="module")
def whole(here: Transcript, tmp_path_factory: pytest.TempPathFactory) -> Damaged:
    """The repository before anything is done to it."""
    folder = tmp_path_factory.mktemp("whole")
    root, repository = folder / "tree", folder / "repository"
    here.run("repository", "add", "other", repository)
    protect(here, "damaged", root)
    here.run("job", "edit", "damaged", "--repository", "other")
    found: list[str] = []
    largest: list[Path] = []
    seen: set[Path] = set()
    for name in ("third", "fourth"):
        (root / name).write_bytes(os.urandom(3 * MIB))
        found += here.json("job", "run", "damaged")["points"]
        packs = set(repository.rglob("packs/*/*")) - seen
        seen |= packs
        largest.append(max(packs, key=lambda path: path.stat().st_size))
    return Damaged(repository, root, found, [str(one.relative_to(repository)) for one in largest])


@pytest.fixture
def tree(here: Transcript, tmp_path: Path) -> Path:
    """A tree and the job, named as its folder, that protects it."""
    protect(here, tmp_path.name, tmp_path / "tree")
    return tmp_path / "tree"


def points(machine: Transcript, job: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = machine.json("point", "list", job)["points"]
    return found


def flip(pack: Path, _: Path) -> None:
    pack.chmod(0o600)
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 1
    pack.write_bytes(content)


def cut(pack: Path, _: Path) -> None:
    pack.chmod(0o600)
    os.truncate(pack, pack.stat().st_size // 2)


def swap(pack: Path, other: Path) -> None:
    aside = pack.with_suffix(".aside")
    pack.rename(aside)
    other.rename(pack)
    aside.rename(other)


@pytest.mark.parametrize("damage", [flip, cut, swap])
def test_damage_is_named_by_scrub_and_verify_and_a_restore_of_it_leaves_nothing(
    here: Transcript, whole: Damaged, tmp_path: Path, damage: Callable[[Path, Path], None]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(whole.repository, copy)
    old, new = whole.points
    damage(copy / whole.packs[1], copy / whole.packs[0])

    scrubbed = here.json("repository", "scrub", copy, status=20)
    hurt = {point for one in scrubbed["damaged"] for point in one["points"]}
    assert hurt == ({old, new} if damage is swap else {new})
    verified = here.json("point", "verify", new, "--repository", copy, status=20)
    assert {point for one in verified["damaged"] for point in one["points"]} == {new}
    here.run("restore", new, "--to", tmp_path / "all", "--repository", copy, status=20)
    assert not (tmp_path / "all").exists()

    there = tmp_path / "there"
    words = ("--to", there, "--strip", "--salvage", "--repository", copy)
    lost = {loss["path"] for loss in here.json("restore", new, *words, status=20)["losses"]}
    assert str(there / "fourth") in lost
    assert not (there / "fourth").exists()
    for name in ("first", "second", "third", "sub/small"):
        path = there / name
        assert str(path) in lost or path.read_bytes() == (whole.tree / name).read_bytes()


def test_paths_are_chosen_by_a_list_that_may_hold_any_name(
    here: Transcript, tree: Path, tmp_path: Path
) -> None:
    odd = os.fsdecode(b"odd\xff [*] name")
    (tree / odd).write_text("odd")
    here.run("job", "run", tmp_path.name)
    names = tmp_path / "names"
    names.write_bytes(os.fsencode(f"{tree}/{odd}\n{tree}/sub/small\n"))
    here.run(
        "restore",
        f"{tmp_path.name}@latest",
        "--to",
        tmp_path / "there",
        "--strip",
        "--files-from",
        names,
    )

    restored = {path.name for path in (tmp_path / "there").rglob("*") if path.is_file()}
    assert restored == {odd, "small"}
    names.write_text("/not/there\n")
    words = ("--to", tmp_path / "none", "--files-from", names)
    here.run("restore", f"{tmp_path.name}@latest", *words, status=10)
    assert not (tmp_path / "none").exists()


def test_what_is_in_the_way_is_replaced_only_if_that_was_said(
    here: Transcript, tree: Path, tmp_path: Path
) -> None:
    here.run("job", "run", tmp_path.name)
    there, outside = tmp_path / "there", tmp_path / "outside"
    restore = ("restore", f"{tmp_path.name}@latest", "--to", there, "--strip")
    here.run(*restore)
    (there / "first").write_text("mine now")
    (there / "own").write_text("not of the backup")
    here.run(*restore, status=15)
    assert (there / "first").read_text() == "mine now"

    different = here.json(*restore, "--overwrite", "if-different")
    assert (different["files"], different["unchanged"]) == (1, 2)
    assert (there / "own").read_text() == "not of the backup"

    shutil.rmtree(there / "sub")
    outside.mkdir()
    (there / "sub").symlink_to(outside)
    here.run(*restore, "--overwrite", "always", "--verify")
    assert list(outside.iterdir()) == []
    for name in ("first", "second", "sub/small"):
        assert (there / name).read_bytes() == (tree / name).read_bytes()


def test_retention_by_number_keeps_the_newest_and_what_is_held_and_all_of_them_restore(
    here: Transcript, tree: Path, tmp_path: Path
) -> None:
    def run(day: int) -> str:
        (tree / "sub" / "small").write_text(str(day))
        point: str = here.json("job", "run", tmp_path.name)["points"][0]
        return point

    days = [run(0)]
    here.run("point", "hold", days[0])
    days += [run(day) for day in range(1, 5)]
    assert [point["id"] for point in points(here, tmp_path.name)] == [days[0], *days[2:]]
    here.run("point", "remove", days[0], "--yes", status=15)

    (here.home / "config.toml").write_text("quarantine_hours = 0\n")
    here.run("repository", "prune", "main", "--yes")
    for day in (0, 4):
        here.run("restore", days[day], "--to", tmp_path / str(day), "--strip")
        assert (tmp_path / str(day) / "sub" / "small").read_text() == str(day)
        assert (tmp_path / str(day) / "first").read_bytes() == (tree / "first").read_bytes()


def test_a_repository_copied_to_another_machine_shows_as_locked_with_its_hint_and_opens_by_kit(
    here: Transcript, elsewhere: Transcript, tree: Path, tmp_path: Path
) -> None:
    here.run("recovery", "create", tmp_path / "kit")
    here.run("job", "run", tmp_path.name)
    shutil.copytree(here.folder / "repository", tmp_path / "copy")

    assert not elsewhere.json("repository", "add", "found", tmp_path / "copy")["created"]
    chains = elsewhere.json("repository", "rescan", "found")["chains"]
    assert {(chain["encrypted"], chain["locked"]) for chain in chains} == {(True, True)}
    assert all("page nine" in chain["hints"] for chain in chains)
    listed = elsewhere.json("point", "list")["points"]
    assert {point["locked"] for point in listed} == {True}

    restore = ("restore", f"{tmp_path.name}@latest", "--to", tmp_path / "there", "--strip")
    where = ("--repository", tmp_path / "copy", "--recovery-key", tmp_path / "kit")
    elsewhere.run("restore", listed[-1]["id"], "--to", tmp_path / "no", status=12)
    elsewhere.run(*restore, *where)
    assert (tmp_path / "there" / "first").read_bytes() == (tree / "first").read_bytes()
