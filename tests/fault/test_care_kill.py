"""`kill -9` of a session and of every operation of care, at moments that are counted.

An operation dies at one of its writes, is repeated, dies at a later one, and so on. Each time all
that was promised is read; when it ends, all is there once, and nothing that nobody uses.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from strongroom.errors import ConflictError
from tests.support import forked_line
from tests.support.caretaker import OPERATIONS, Caretaker, in_folders, with_small_packs
from tests.support.dying_storage import WRITES, Death

if TYPE_CHECKING:
    from pathlib import Path

READS = ("get",)
SHARES = (0.4, 1.0)
"""How far an operation is when it dies, of its calls that count."""


@pytest.fixture(scope="module")
def on_disk(prepared: Caretaker, tmp_path_factory: pytest.TempPathFactory) -> Caretaker:
    folder = tmp_path_factory.mktemp("on-disk")
    return prepared.moved(folder, in_folders(folder))


@pytest.fixture(autouse=True)
def _with_small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    with_small_packs(monkeypatch)


def attempt(caretaker: Caretaker, operation: str) -> None:
    """Do it, or what its refusal tells to do first.

    A synthetic full that was published before the catalog knew is taken in by the next session.
    """
    try:
        caretaker.do(operation)
    except ConflictError:
        if operation != "synthetic":
            raise
        caretaker.do("session")


def killed(caretaker: Caretaker, operation: str, death: Death) -> bool:
    """Let a fork do it and die; return whether it did."""

    def work() -> int:
        attempt(caretaker.dying(death), operation)
        return 0

    status = forked_line.ended(forked_line.fork(work)[0])
    assert status in (0, -signal.SIGKILL)
    return status != 0


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_is_killed_at_any_write_loses_nothing_and_is_done_once_when_it_is_repeated(
    on_disk: Caretaker, operation: str, tmp_path: Path
) -> None:
    verbs = READS if operation in ("scrub", "export") else WRITES
    counted = on_disk.copied(tmp_path / "counted")
    counted.begin(operation)
    whole = Death(verbs=verbs)
    counted.dying(whole).do(operation)
    assert whole.calls > len(SHARES)
    caretaker = on_disk.copied(tmp_path / "killed")
    caretaker.begin(operation)

    # What one attempt has done the next need not do, so that a later moment may not come.
    for share in SHARES:
        hit = killed(caretaker, operation, Death(max(1, round(whole.calls * share)), verbs))
        assert hit or share > SHARES[0]
        if operation != "repair":  # that has something to bring back first
            caretaker.check_promised(replaced=operation == "synthetic")
    if not caretaker.archive.exists():
        attempt(caretaker, operation)

    caretaker.check(operation)


@pytest.mark.parametrize("operation", ["synthetic", "first_copy_under_own_key"])
def test_a_chain_that_has_nothing_but_an_envelope_is_removed_by_the_next_attempt(
    on_disk: Caretaker, operation: str, tmp_path: Path
) -> None:
    caretaker = on_disk.copied(tmp_path / "killed")

    assert killed(caretaker, operation, Death(1, part="/envelopes/"))
    caretaker.do(operation)

    caretaker.check(operation)
