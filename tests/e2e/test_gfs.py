"""Weekly, monthly and yearly points as an operator sees them, through the command line."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.conftest import Transcript

DAY = timedelta(days=1)


class Server(Transcript):
    """A machine with one plain job, whose clock the tests turn."""

    def begin(self, *options: str) -> None:
        self.run("repository", "add", "main", self.folder / "repository")
        self.run(
            *("job", "create", "nightly", "--repository", "main", "--encrypt", "none"),
            *("--source", "command:true", *options),
        )

    def turn_to(self, day: date) -> None:
        """Make it noon of a day."""
        noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
        self.passed = noon - datetime.now(UTC)

    def back_up(self, day: date) -> str:
        self.turn_to(day)
        (point,) = self.json("job", "run", "nightly")["points"]
        return str(point)

    def flags(self) -> dict[str, dict[str, str]]:
        """Return the flags of every point with their ends, by the point's day."""
        return {
            point["taken_at"][:10]: {one["kind"]: one["until"] for one in point["flags"]}
            for point in self.json("point", "list")["points"]
        }


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path / "here")


def first_sunday(year: int, month: int) -> date:
    return next(day for day in (date(year, month, at) for at in range(1, 8)) if day.weekday() == 6)


def test_fourteen_months_of_sessions_keep_what_the_rules_say(server: Server) -> None:
    """A point every Sunday and on some days between, from January on; each check is by hand."""
    server.begin("--keep-days", "10", "--keep-weekly", "4", "--keep-monthly", "3")
    server.run("job", "edit", "nightly", "--keep-yearly", "1", "--monthly-on", "first")
    begins = first_sunday(datetime.now(UTC).year + 1, 1)
    sundays = [begins + 7 * at * DAY for at in range(61)]
    missing = sundays[30]
    for sunday in sundays:
        if sunday is not missing:
            server.back_up(sunday)
        else:
            server.back_up(sunday + 2 * DAY)
    last = sundays[-1]
    made = [missing + 2 * DAY if day is missing else day for day in sundays]
    firsts = {
        next(day for day in made if (day.year, day.month) == month)
        for month in {(day.year, day.month) for day in made}
    }

    def later(day: date, months: int) -> date:
        month = day.month - 1 + months
        return date(day.year + month // 12, month % 12 + 1, day.day) + DAY

    expected: dict[str, dict[str, str]] = {}
    for day in made:
        ends = {"weekly": day + 28 * DAY}
        if day in firsts:
            ends["monthly"] = later(day, 3)
        if day in firsts and day.month == 1:
            ends["yearly"] = later(day, 12)
        stays = last - day < 10 * DAY or any(last < end for end in ends.values())
        if stays or day in made[-3:]:
            expected[day.isoformat()] = {kind: end.isoformat() for kind, end in ends.items()}
    assert server.flags() == expected
    assert 6 <= len(expected) <= 8
    told = server.run("point", "list").stdout
    assert f"weekly until {last + 28 * DAY}" in told


def test_the_flags_are_shown_and_to_lower_them_is_agreed_to(server: Server) -> None:
    server.begin("--keep-last", "1", "--keep-weekly", "8")
    begins = first_sunday(datetime.now(UTC).year + 1, 3)
    points = [server.back_up(begins + 7 * at * DAY) for at in range(5)]
    points += [server.back_up(begins + (29 + at) * DAY) for at in range(3)]
    shown = server.run("job", "show", "nightly").stdout
    assert "weekly (on Sunday) for 8 weeks" in shown
    plan = server.json("job", "retention", "nightly", "--keep-weekly", "2")
    goes = [one["id"] for one in plan["points"] if not one["stays"]]
    assert goes == points[:3]
    assert plan["keep_weekly"] == 2
    until = begins + 14 * DAY
    assert plan["points"][0]["reasons"] == ["not one of the newest 1", f"was weekly until {until}"]
    told = server.run("point", "remove", points[3], points[5], status=2).stderr
    assert f"removed by hand; weekly until {begins + (21 + 56) * DAY}\n" in told
    assert "removed by hand\n" in told
    assert (
        f"weekly until {begins + (21 + 56) * DAY}" in server.run("point", "show", points[3]).stdout
    )
    refused = server.json("job", "edit", "nightly", "--keep-weekly", "2", status=2)["error"]
    assert refused["would_remove"] == goes
    assert "weekly (on Sunday) for 8 weeks to" in refused["message"]
    assert "--keep-weekly 2' tells why" in refused["hint"]
    off = server.json("job", "edit", "nightly", "--keep-weekly", "none", "--yes")
    assert off["job"]["keep_weekly"] is None
    assert off["would_remove"] == points[:5]
    server.run("job", "edit", "nightly", "--keep-weekly", "9", "--weekly-on", "Monday")
    assert [*server.flags().values()][:5] == [
        {"weekly": (begins + (7 * at + 63) * DAY).isoformat()} for at in range(5)
    ]


def test_points_of_before_get_no_flag_when_rules_for_it_come(server: Server) -> None:
    server.begin("--keep-days", "60")
    begins = first_sunday(datetime.now(UTC).year + 1, 3)
    server.back_up(begins)
    server.run("job", "edit", "nightly", "--keep-weekly", "4")
    server.back_up(begins + DAY)
    server.back_up(begins + 2 * DAY)
    assert [*server.flags().values()] == [
        {},
        {"weekly": (begins + 29 * DAY).isoformat()},
        {},
    ]


def test_what_a_lost_catalog_knew_of_flags_is_found_anew_from_the_points(server: Server) -> None:
    server.begin("--keep-days", "60", "--keep-weekly", "4", "--keep-monthly", "2")
    begins = first_sunday(datetime.now(UTC).year + 1, 3)
    for at in (0, 3, 7, 8, 35):
        server.back_up(begins + at * DAY)
    known = server.flags()
    (chain,) = server.json("chain", "list")["chains"]
    signer = chain["signer"]
    shutil.rmtree(server.home)
    server.run("repository", "add", "main", server.folder / "repository")
    server.run("repository", "trust", "main", signer, "--yes")
    server.run("repository", "rescan", "main")
    assert set(map(str, server.flags().values())) == {"{}"}
    server.run(
        *("job", "create", "again", "--repository", "main", "--encrypt", "none"),
        *("--chain", chain["chain_id"][:12], "--keep-days", "60"),
        *("--keep-weekly", "4", "--keep-monthly", "2"),
    )
    assert server.flags() == known
    assert sum(map(len, known.values())) == 5


def test_words_and_numbers_that_cannot_be_are_refused(server: Server) -> None:
    server.begin()
    for words in (
        ("--keep-weekly", "0"),
        ("--keep-yearly", "1000"),
        ("--weekly-on", "funday"),
        ("--monthly-on", "fifth"),
        ("--keep-last", "none", "--keep-days", "none", "--keep-weekly", "3"),
    ):
        server.run("job", "edit", "nightly", *words, status=2)
    assert server.json("job", "show", "nightly")["job"]["keep_weekly"] is None
