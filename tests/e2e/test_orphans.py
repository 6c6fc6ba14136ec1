"""What becomes of the points of a job that was removed: they expire by its last rules."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from strongroom import settings
from strongroom.control.keys import open_keystore
from strongroom.keystore import ChainRecord
from tests.e2e.conftest import Transcript

if TYPE_CHECKING:
    from pathlib import Path


class Server(Transcript):
    """A machine that backs up the output of a command."""

    def create(self, name: str, *options: str, encrypt: str = "none") -> None:
        self.run(
            *("job", "create", name, "--repository", "main", "--encrypt", encrypt),
            *("--source", "command:echo words", *options),
        )

    def back_up(self, name: str, *options: str) -> str:
        (point,) = self.json("job", "run", name, *options)["points"]
        return str(point)

    def prune(self) -> list[str]:
        """Prune, and again after the quarantine; return the points that were given up."""
        done = self.json("repository", "prune", "main", "--yes")
        self.wait(hours=25)
        again = self.json("repository", "prune", "main", "--yes")
        return [one["id"] for one in (*done["expired"], *again["expired"])]

    @property
    def points(self) -> list[str]:
        return [one["id"] for one in self.json("point", "list")["points"]]

    @property
    def chains(self) -> dict[str, str]:
        """Return the state of each chain by its id."""
        found = self.json("chain", "list")["chains"]
        return {one["chain_id"]: one["state"] for one in found}

    @property
    def objects(self) -> list[str]:
        """Return the names of all that is left of chains in the repository."""
        place = self.folder / "repository"
        names = [str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()]
        return [name for name in names if name.startswith(("chains/", "headers/"))]

    def kept_keys(self) -> list[str]:
        keystore = open_keystore(settings.load(self.environment))
        return keystore.names(ChainRecord)


@pytest.fixture
def server(tmp_path: Path) -> Server:
    server = Server(tmp_path / "here")
    server.run("repository", "add", "main", server.folder / "repository")
    return server


def test_a_removed_job_s_chain_expires_with_its_keys(server: Server) -> None:
    server.run("password", "add", "mine", "--password-env", "PASSWORD")
    server.create("nightly", "--keep-days", "7", encrypt="password:mine")
    points = []
    for _ in range(3):
        points.append(server.back_up("nightly"))
        server.wait(days=1)
    (chain,) = server.chains
    refused = server.run("job", "remove", "nightly", status=2).stderr
    today = datetime.now(UTC).date()
    last = [str(today + timedelta(days=after)) for after in (9, 10)]  # past midnight, perhaps
    assert "its points (3) go on by its rules (7 days)" in refused
    assert any(f"the last of them goes on {day}, with" in refused for day in last)
    done = server.json("job", "remove", "nightly", "--yes")
    assert (done["points"], done["staying"]) == (3, 0)
    assert done["gone_on"] in last
    assert server.chains == {chain: "orphaned"}
    assert server.kept_keys() == [chain]
    assert server.prune() == []
    assert server.points == points
    server.wait(days=4.5)  # the first two are too old now
    plan = server.json("repository", "prune", "main", "--dry-run")
    assert [one["id"] for one in plan["expired"]] == points[:2]
    assert server.points == points
    server.run("repository", "prune", "main", "--yes")
    assert server.points == points[2:]
    assert server.prune() == points[2:]  # the last one goes as well
    assert server.points == []
    server.run("repository", "prune", "main", "--yes")
    server.wait(hours=25)
    server.run("repository", "prune", "main", "--yes")
    assert server.objects == []
    assert server.chains == {}
    assert server.points == []
    assert server.kept_keys() == []
    assert server.json("repository", "prune", "main", "--yes")["plans"] == []
    assert server.json("repository", "scrub", "main")["ok"]


def test_whose_last_rules_keep_a_number_has_that_many_left(server: Server) -> None:
    server.create("nightly", "--keep-last", "1")
    points = [server.back_up("nightly") for _ in range(4)]
    done = server.json("job", "remove", "nightly", "--yes")
    assert (done["points"], done["staying"]) == (3, 1)
    assert (
        "1 of them (held, or the newest that --keep-last counts) stays until" in done["notices"][0]
    )
    assert server.prune() == points[1:3]
    assert server.points == points[3:]
    server.run("point", "remove", points[3], "--yes")
    assert server.prune() == []
    assert server.objects == []


def test_holds_and_flags_keep_points_as_long_as_they_say(server: Server) -> None:
    server.create("nightly", "--keep-days", "2", "--keep-monthly", "1")
    monthly, held, other = (server.back_up("nightly") for _ in range(3))
    server.run("point", "hold", held)
    assert server.json("job", "remove", "nightly", "--yes")["staying"] == 1
    server.wait(days=20)
    (shown,) = [one for one in server.json("point", "list")["points"] if one["flags"]]
    assert shown["id"] == monthly
    assert server.prune() == [other]
    server.wait(days=20)
    assert server.prune() == [monthly]
    server.run("point", "release", held)
    assert server.prune() == [held]
    assert server.objects == []


def test_of_several_chains_the_newest_goes_first(server: Server) -> None:
    """It says that the older ones are there: were they gone, readers would call them withheld."""
    server.create("nightly", "--keep-days", "30")
    server.back_up("nightly")
    server.back_up("nightly", "--full")
    server.run("job", "remove", "nightly", "--yes")
    older, newer = server.chains
    server.wait(days=31)
    assert len(server.json("repository", "prune", "main", "--yes")["expired"]) == 2
    assert [*server.chains] == [older, newer]
    server.wait(hours=25)
    server.run("repository", "prune", "main", "--yes")
    assert newer not in server.chains
    assert not any("packs" in name for name in server.objects)
    server.run("repository", "prune", "main", "--yes")
    assert server.objects == []


def test_a_machine_without_the_catalog_removes_what_has_ended(
    server: Server, tmp_path: Path
) -> None:
    server.create("nightly", "--keep-days", "1")
    server.back_up("nightly")
    (chain,) = server.json("chain", "list")["chains"]
    server.run("job", "remove", "nightly", "--yes")
    keeper = Transcript(tmp_path / "keeper")
    where = ("repository", "prune", server.folder / "repository", "--signer", chain["signer"])
    keeper.passed = timedelta(days=2)
    (plan,) = keeper.json(*where, "--yes")["plans"]
    assert not plan["whole_chain"]  # whether anybody goes on in it, only its owner can say
    server.wait(days=2)
    server.run("repository", "prune", "main", "--yes")
    keeper.passed = timedelta(days=4)
    (plan,) = keeper.json(*where, "--yes")["plans"]
    assert plan["whole_chain"]
    assert server.objects == []


def test_a_job_that_goes_on_in_the_chain_again_keeps_it(server: Server) -> None:
    server.create("nightly", "--keep-days", "5")
    point = server.back_up("nightly")
    server.run("job", "remove", "nightly", "--yes")
    (chain,) = server.chains
    server.create("again", "--chain", chain[:12], "--keep-days", "5")
    server.wait(days=6)
    assert server.prune() == []
    assert server.points == [point]
    assert server.chains == {chain: "known"}


def test_only_the_server_that_signs_a_chain_lets_it_expire(server: Server) -> None:
    server.create("nightly", "--keep-days", "1")
    point = server.back_up("nightly")
    server.run("job", "remove", "nightly", "--yes")
    shutil.rmtree(server.home / "keystore")
    server.wait(days=2)
    before = server.objects
    done = server.json("repository", "prune", "main", "--yes")
    assert done["expired"] == []
    assert "of removed job nightly does not expire: it is signed by" in done["warnings"][0]
    assert server.json("repository", "prune", "main", "--dry-run")["expired"] == []
    assert server.objects == before
    assert server.points == [point]


def test_nobody_goes_on_in_a_chain_that_has_ended(server: Server) -> None:
    server.create("nightly", "--keep-days", "1")
    server.back_up("nightly")
    server.run("job", "remove", "nightly", "--yes")
    (chain,) = server.chains
    server.wait(days=2)
    server.run("repository", "prune", "main", "--yes")
    told = server.run(
        *("job", "create", "again", "--repository", "main", "--encrypt", "none"),
        *("--chain", chain[:12]),
        status=15,
    )
    assert "has ended" in told.stderr
