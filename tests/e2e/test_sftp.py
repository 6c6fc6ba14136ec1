"""A repository on an SSH server over the command line, which breaks in the middle of a session."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import Transcript
from tests.support.sshd import Sshd, prepared

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    server = prepared(tmp_path_factory.mktemp("sshd"))
    with server.running():
        yield server


@pytest.fixture(scope="module")
def here(sshd: Sshd, tmp_path_factory: pytest.TempPathFactory) -> Transcript:
    """A machine whose user the server knows."""
    machine = Transcript(tmp_path_factory.mktemp("here"))
    machine.environment["HOME"] = str(sshd.home)
    machine.run("password", "add", "mine", "--password-env", "PASSWORD")
    return machine


def test_a_full_cycle(here: Transcript, sshd: Sshd, tmp_path: Path) -> None:
    here.run("repository", "add", "far", sshd.location(tmp_path / "far"))
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_bytes(os.urandom(MIB))
    here.run(
        *("job", "create", "tree", "--repository", "far", "--encrypt", "password:mine"),
        *("--source", f"files:{tree}", "--keep-last", "1"),
    )
    here.run("job", "run", "tree")
    (tree / "later").write_text("more")
    here.run("job", "run", "tree")
    here.run("repository", "scrub", "far")
    here.run("repository", "prune", "far", "--yes")

    # A machine that has nothing but the location and the password.
    bare = Transcript(tmp_path / "bare")
    bare.environment["HOME"] = str(sshd.home)
    words = ("--repository", sshd.location(tmp_path / "far"), "--password-env", "PASSWORD")
    point = here.json("point", "list", "tree")["points"][-1]["id"]
    bare.run("restore", point, "--to", tmp_path / "out", "--strip", *words)

    assert (tmp_path / "out" / "later").read_text() == "more"
    assert (tmp_path / "out" / "file").read_bytes() == (tree / "file").read_bytes()


def test_a_server_that_restarts_in_the_middle_of_a_session_costs_nothing(
    here: Transcript, sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, go_on = tmp_path / "sent", tmp_path / "go-on"
    sent.write_bytes(os.urandom(80 * MIB))  # two packs, and what is still on its way
    command = f"cat {sent}; until [ -e {go_on} ]; do sleep 0.05; done; cat {sent}.more"
    (tmp_path / "sent.more").write_bytes(b"the end")
    with sshd.another() as server, ThreadPoolExecutor(1) as beside:
        monkeypatch.setitem(here.environment, "HOME", str(server.home))
        here.run("repository", "add", "restarted", server.location(tmp_path / "far"))
        here.run(
            *("job", "create", "command", "--repository", "restarted"),
            *("--encrypt", "password:mine", "--source", f"command:{command}"),
        )
        session = beside.submit(here.run, "job", "run", "command")
        while not session.done() and not [*(tmp_path / "far").glob("chains/*/packs/*/*")]:
            time.sleep(0.02)
        server.kill()
        with server.running():
            go_on.touch()
            session.result()
            here.run("restore", "command@latest", "--to", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == sent.read_bytes() + b"the end"


def test_a_server_whose_key_has_changed_gets_nothing(
    here: Transcript, sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sshd.another() as server:
        server.trust("other_key")
        monkeypatch.setitem(here.environment, "HOME", str(server.home))

        refused = here.run("repository", "add", "new", server.location(tmp_path / "far"), status=14)

    assert "is another than the one known" in refused.stderr
    assert "ssh-keygen -R" in refused.stderr
    assert not (tmp_path / "far").exists()
