"""A limit held to with a stopwatch, and a scrub's answer, as an operator gets them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from strongroom.crypto import random
from tests.e2e.conftest import SameProcess

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 12_000_000
RATE = 10_000_000


@pytest.fixture
def office(tmp_path: Path) -> SameProcess:
    machine = SameProcess(tmp_path / "office").set_up()
    (machine.folder / "tree").mkdir()
    (machine.folder / "tree" / "file").write_bytes(random.token(SIZE))
    tree = f"files:{machine.folder / 'tree'}"
    machine.run(
        *("job", "create", "office", "--repository", "main", "--source", tree),
        *("--encrypt", "password:mine"),
    )
    return machine


def test_a_session_and_a_restore_take_the_time_that_the_limit_gives_them(
    office: SameProcess,
) -> None:
    office.run("repository", "edit", "main", "--limit", "10MB/s")
    least = SIZE / RATE / 1.1

    begun = time.monotonic()
    ran = office.json("job", "run", "office")
    assert time.monotonic() - begun > least
    assert ran["stored_bytes"] / ran["seconds"] < 1.1 * RATE
    assert ran["bottleneck"] == "limit"

    begun = time.monotonic()
    office.run("restore", "office@latest", "--to", office.folder / "out")
    assert time.monotonic() - begun > least


def test_a_scrub_of_a_share_tells_how_far_it_is_and_which_points_are_hurt(
    office: SameProcess,
) -> None:
    (point,) = office.json("job", "run", "office")["points"]
    office.run("repository", "scrub", "main")
    (entry,) = (office.folder / "repository").rglob("journal/*")
    whole = entry.read_bytes()
    entry.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))

    told = office.json("repository", "scrub", "main", "--every", "30d", status=20)

    assert [damage["points"] for damage in told["damaged"]] == [[point]]
    assert told["coverage"]["read_packs"] == told["coverage"]["packs"] > 0
    assert told["coverage"]["oldest_days"] == 0
    lines = office.run("repository", "scrub", "main", "--every", "30d", status=20).stdout
    assert f"hurts 1 point: {point[:12]}" in lines
    assert "the oldest reading lies 0 days back" in lines
