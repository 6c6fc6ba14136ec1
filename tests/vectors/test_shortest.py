"""Two hundred and five lines written from docs/format.md get back what the engine wrote."""

from __future__ import annotations

import ast
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from strongroom.crypto import random
from strongroom.engine.backup import SessionOutcome, SourcePlan
from tests.vectors import shortest
from tests.vectors.building import ARepository
from tests.vectors.test_reader import NEW, OLD, change, flip, moments, snapshot, write_tree

SCRIPT = Path(__file__).with_name("shortest.py")


def plan(kind: str, value: str) -> SourcePlan:
    return SourcePlan(source_id=random.token(16), kind=kind, value=value)


def run(repository: ARepository, password: str, target: Path) -> subprocess.CompletedProcess[str]:
    file = repository.folder.parent / "password"
    file.write_text(password + "\n")
    arguments = [str(repository.folder), str(file), str(target)]
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False
    )


def kept(tree: dict[str, Any]) -> dict[str, object]:
    """Return what the script promises of a tree: all but extended attributes and special files."""
    found = {}
    for name, (mode, owner, mtime, device, _, first, content) in tree.items():
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode):
            found[name] = mode, owner, mtime, device, first, content
    return found


def restored(outcome: SessionOutcome, target: Path) -> tuple[dict[str, object], bytes, bytes]:
    ids = [result.point_id.hex() for result in outcome.results if result.point_id is not None]
    assert sorted(os.listdir(target)) == sorted(ids)
    tree, disk, stream = (target / one for one in ids)
    return kept(snapshot(tree)), disk.read_bytes(), stream.read_bytes()


def test_what_was_sealed_before_and_after_a_password_change_comes_back(tmp_path: Path) -> None:
    write_tree(tmp_path / "tree")
    image = bytearray(5 << 20)
    image[1 << 20 : 3 << 20] = random.token(2 << 20)
    (tmp_path / "image").write_bytes(image + b"the end")
    sources = (
        plan("files", str(tmp_path / "tree")),
        plan("image", str(tmp_path / "image")),
        plan("command", f"cat {tmp_path}/image; echo {{1..99}}"),
    )
    repository = ARepository(tmp_path / "repository", OLD, sources=sources)
    repository.run()
    change(tmp_path)
    before, (tree, *contents) = repository.run(), moments(tmp_path)
    shown_before = kept(tree), *contents
    repository.change_password(NEW)
    change(tmp_path)
    after, (tree, *contents) = repository.run(), moments(tmp_path)
    shown_after = kept(tree), *contents

    done = run(repository, NEW, tmp_path / "new")
    assert done.returncode == 0, done.stderr
    assert restored(after, tmp_path / "new") == shown_after
    done = run(repository, OLD, tmp_path / "old")
    assert done.returncode == 0, done.stderr
    assert restored(before, tmp_path / "old") == shown_before


@pytest.fixture
def small(tmp_path: Path) -> ARepository:
    (tmp_path / "alone").write_bytes(b"content " * 1000)
    sources = (plan("files", str(tmp_path / "alone")), plan("command", "true"))
    repository = ARepository(tmp_path / "repository", OLD, sources=sources)
    repository.run()
    return repository


def test_a_single_file_and_an_empty_stream_come_back(small: ARepository, tmp_path: Path) -> None:
    assert run(small, OLD, tmp_path / "target").returncode == 0
    found = sorted(path.read_bytes() for path in (tmp_path / "target").iterdir())
    assert found == [b"", b"content " * 1000]


def test_a_wrong_password_opens_nothing_and_says_so(small: ARepository, tmp_path: Path) -> None:
    done = run(small, "not this one", tmp_path / "target")
    assert "the password opens no session" in done.stdout
    assert not list((tmp_path / "target").iterdir())


def test_a_target_that_is_there_is_not_touched(small: ARepository, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    assert run(small, OLD, tmp_path / "target").returncode != 0
    assert not list((tmp_path / "target").iterdir())


@pytest.mark.parametrize("folder", ["journal", "envelopes", "tables", "packs/*"])
def test_one_flipped_bit_ends_it(small: ARepository, tmp_path: Path, folder: str) -> None:
    for path in small.folder.glob(f"chains/*/{folder}/*"):
        flip(path)
    assert run(small, OLD, tmp_path / "target").returncode != 0
    files = [path for path in (tmp_path / "target").rglob("*") if path.is_file()]
    assert not any(path.read_bytes() for path in files)


DIRECTORY, FILE, SYMLINK, HARD_LINK = 1, 2, 3, 4


@pytest.mark.parametrize(
    ("entries", "links"),
    [
        ([(FILE, b"../planted")], {}),
        ([(FILE, b"/tmp/planted")], {}),
        ([(DIRECTORY, b"..")], {}),
        ([(SYMLINK, b"out"), (FILE, b"out")], {1: b"../outside"}),
        ([(SYMLINK, b"out"), (DIRECTORY, b"out")], {1: b".."}),
        ([(SYMLINK, b"out"), (HARD_LINK, b"taken")], {1: b"..", 2: b"out/outside"}),
        ([(HARD_LINK, b"taken")], {1: b"../outside"}),
    ],
)
def test_nothing_of_a_hostile_tree_reaches_beyond_its_folder(
    tmp_path: Path, entries: list[tuple[int, bytes]], links: dict[int, bytes]
) -> None:
    (tmp_path / "outside").write_bytes(b"secret")
    kinds, names = zip((DIRECTORY, b"."), *entries, strict=True)
    count = len(kinds)
    files = kinds.count(FILE)
    attributes = [[0o600, 0, 0, "", "", []]]
    columns = [[0] * count, [0] * count, attributes, [0] * files, [0] * files]
    leaf = [bytes(kinds), names, *columns, [], [], [], b"", [], [], links, {}]
    chain = object.__new__(shortest.Chain)
    with pytest.raises((ValueError, FileExistsError)):
        chain.write_tree(os.fsencode(tmp_path / "target"), [(0, leaf)], None)
    assert sorted(os.listdir(tmp_path)) == ["outside", "target"]
    assert (tmp_path / "outside").read_bytes() == b"secret"
    assert (tmp_path / "outside").stat().st_nlink == 1


def test_a_length_that_is_claimed_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", 1 << 40)
    chain = object.__new__(shortest.Chain)
    chain.folder = tmp_path
    with pytest.raises(ValueError, match="has a limit"):
        chain.framed(tmp_path / "sparse", b"SRM1JRNL")


def test_the_script_is_short_and_imports_nothing_of_strongroom() -> None:
    lines = SCRIPT.read_text().splitlines()
    assert len(lines) <= 205
    assert max(map(len, lines)) <= 100
    nodes = list(ast.walk(ast.parse(SCRIPT.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    outside = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)
    assert outside == {"blake3", "cryptography", "msgspec", "zstandard"}
