"""Retention as an operator sees it: what a session let go and why, and what it leaves alone."""

from __future__ import annotations

import shutil
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.e2e.test_rules import Office

if TYPE_CHECKING:
    from pathlib import Path

REASON = "not one of the newest 1"


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office.open(tmp_path, "password:mine", "--keep-last", "1")


def listed(office: Office) -> list[str]:
    return [point["id"] for point in office.listed()]


def test_a_session_says_what_it_let_go_and_why_and_the_dry_run_said_it_before(
    office: Office,
) -> None:
    points = [office.run()["points"][0] for _ in range(3)]
    plan = office.machine.json("job", "retention", "office")
    assert all(point["stays"] for point in plan["points"])
    done = office.run()
    (gone,) = done["given_up"]
    assert (gone["id"], gone["reason"], gone["job"]) == (points[0], REASON, "office")
    assert listed(office) == [*points[1:], *done["points"]]
    tried = office.machine.run("job", "retention", "office", "--keep-last", "5").stdout
    assert "keeps: one of the newest 5; one of the last 3, which always stay" in tried
    assert listed(office) == [*points[1:], *done["points"]]


def test_points_of_an_identity_that_was_lost_are_left_as_they_are(office: Office) -> None:
    """An entry of the new identity would be a forgery in the old chain, and end it for readers."""
    before = [office.run()["points"][0] for _ in range(2)]
    shutil.rmtree(office.machine.home / "keystore")
    office.machine.run("password", "edit", "mine", "--password-env", "PASSWORD")
    runs = [office.run() for _ in range(4)]
    assert [run["state"] for run in runs] == ["success"] * 4
    assert [gone["id"] for run in runs for gone in run["given_up"]] == runs[0]["points"]
    at = ("--repository", office.repository, "--password-env", "PASSWORD")
    office.check(office.machine, office.place / "out", [*before, *runs[-1]["points"]], *at)


def test_a_job_that_moved_lets_go_nothing_of_the_repository_it_left(office: Office) -> None:
    before = [office.run()["points"][0] for _ in range(4)][-3:]
    office.machine.run("repository", "add", "other", office.place / "other")
    office.edit("--repository", "other")
    runs = [office.run() for _ in range(4)]
    assert [run["state"] for run in runs] == ["success"] * 4
    assert [gone["id"] for run in runs for gone in run["given_up"]] == runs[0]["points"]
    assert listed(office)[:3] == before


def test_a_clock_that_jumped_lets_nothing_go_until_it_is_confirmed(office: Office) -> None:
    points = [office.run()["points"][0] for _ in range(3)]
    office.machine.jumped = timedelta(days=400)
    told = office.run(status=3)
    assert told["given_up"] == []
    assert "the clock has jumped by 400 days ahead" in told["warnings"][0]
    assert "strongroom clock confirm" in told["warnings"][0]
    assert listed(office) == [*points, *told["points"]]
    office.machine.run("point", "remove", points[0], "--yes")  # this goes by no clock
    refused = office.machine.json("repository", "prune", "main", "--yes", status=14)["error"]
    assert refused["code"] == "clock-jumped"
    confirmed = office.machine.json("clock", "confirm")
    assert confirmed["jumped"] == pytest.approx(400 * 86400, abs=60)
    assert [gone["id"] for gone in office.run()["given_up"]] == points[1:2]
    office.machine.run("repository", "prune", "main", "--yes")
