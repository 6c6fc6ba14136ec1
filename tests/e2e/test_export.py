"""One point as one file: what it holds, who opens it, and what does without Strongroom."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.e2e.conftest import OTHER_PASSWORD, Transcript

READER = Path(__file__).parents[1] / "vectors" / "reader.py"
ENCRYPTED = ("--repository", "main", "--encrypt", "password:mine")


@pytest.fixture(autouse=True, scope="module")
def _quick_derivation() -> None:
    """Derive as the product does: the document's reader knows no other way."""


@pytest.fixture
def machine(here: Transcript, tmp_path: Path) -> Transcript:
    """A machine with two sources in one job, and two points of each."""
    here.set_up()
    for name in ("tree", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "first").write_bytes(os.urandom(200_000))
    sources = ("--source", f"files:{tmp_path / 'tree'}", "--source", f"files:{tmp_path / 'other'}")
    here.run("job", "create", "both", *ENCRYPTED, *sources)
    here.run("job", "run", "both")
    (tmp_path / "tree" / "second").write_bytes(os.urandom(100_000))
    here.run("job", "run", "both")
    return here


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def latest(machine: Transcript, folder: Path) -> str:
    listed = machine.json("point", "list", "both")["points"]
    return [one["id"] for one in listed if one["source"] == f"files:{folder}"][-1]


def test_a_file_restores_where_nothing_else_is(
    machine: Transcript, elsewhere: Transcript, tmp_path: Path
) -> None:
    tree, file = tmp_path / "tree", tmp_path / "point.strongroom"
    point = latest(machine, tree)

    machine.run("point", "export", point, "--to", file)

    assert file.stat().st_size < 400_000  # the other source stays at home
    there = ("--repository", file, "--password-env")
    [found] = elsewhere.json("point", "list", *there, "PASSWORD")["points"]
    assert found["id"] == point
    elsewhere.run("restore", point, "--strip", "--to", tmp_path / "out", *there, "PASSWORD")
    assert contents(tmp_path / "out") == contents(tree)
    elsewhere.run("restore", point, "--to", tmp_path / "no", *there, "OTHER", status=12)
    assert not (tmp_path / "no").exists()
    assert elsewhere.json("repository", "scrub", file)["ok"]
    assert not elsewhere.home.exists()


def test_the_reader_of_the_document_restores_what_unzip_brought_out(
    machine: Transcript, tmp_path: Path
) -> None:
    tree, file = tmp_path / "tree", tmp_path / "point.strongroom"
    machine.run("point", "export", latest(machine, tree), "--to", file)
    with zipfile.ZipFile(file) as archive:
        archive.extractall(tmp_path / "apart")
    secret = tmp_path / "secret"
    secret.write_text(machine.environment["PASSWORD"])

    subprocess.run(
        [sys.executable, READER, tmp_path / "apart", secret, tmp_path / "out"],
        check=True,
        capture_output=True,
    )

    assert contents(tmp_path / "out") == contents(tree)


def test_an_older_point_opens_with_the_password_of_today(
    machine: Transcript, elsewhere: Transcript, tmp_path: Path
) -> None:
    point = latest(machine, tmp_path / "tree")
    before = contents(tmp_path / "tree")
    machine.run("password", "add", "new", "--password-env", "OTHER")
    machine.run("job", "edit", "both", "--encrypt", "password:new")
    (tmp_path / "tree" / "third").write_bytes(b"3")
    machine.run("job", "run", "both")
    file = tmp_path / "point.strongroom"

    machine.run("point", "export", point, "--to", file)

    there = ("--repository", file, "--password-env", "OTHER")
    assert elsewhere.environment["OTHER"] == OTHER_PASSWORD
    elsewhere.run("restore", point, "--strip", "--to", tmp_path / "out", *there)
    assert contents(tmp_path / "out") == before


def test_what_cannot_be_exported_leaves_nothing(
    machine: Transcript, elsewhere: Transcript, tmp_path: Path
) -> None:
    point, file = latest(machine, tmp_path / "tree"), tmp_path / "taken"
    file.write_text("mine")
    machine.run("point", "export", point, "--to", file, status=15)
    assert file.read_text() == "mine"
    machine.run("point", "export", point, "--to", tmp_path / "no" / "folder", status=15)
    machine.run("point", "export", "ffff", "--to", tmp_path / "gone", status=10)

    packs = machine.folder / "repository" / "chains"
    for pack in packs.glob("*/packs/*/*"):
        data = bytearray(pack.read_bytes())
        data[len(data) // 2] ^= 1
        pack.write_bytes(data)
    machine.run("point", "export", point, "--to", tmp_path / "gone", status=20)

    assert not (tmp_path / "gone").exists()
    assert not list(tmp_path.glob(".gone*"))
