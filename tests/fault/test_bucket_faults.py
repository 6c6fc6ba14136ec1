"""A bucket on a real server that dies, over a line that loses, repeats, delays and cuts.

Whatever a request meets that leaves open what happened, the operation asks again and does all of
it once. Where it cannot go on it says so, and its repetition ends where it would have.
"""

from __future__ import annotations

import signal
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from strongroom.errors import StorageUnavailableError, StrongroomError
from strongroom.storage.location import open_storage
from strongroom.storage.retrying import RetryingStorage
from tests.support.caretaker import (
    PLACES,
    Caretaker,
    HastyClock,
    in_memory,
    with_small_packs,
)
from tests.support.faulty_line import RETRIED, Fault, FaultyLine, each_once, from_on, only
from tests.support.s3_server import CREDENTIAL, S3Server, s3_server
from tests.support.server_process import lasting_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_A_WHILE_SECONDS = 0.2
"""A server that is back takes writes a moment later than it says."""


@pytest.fixture(autouse=True)
def _with_small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    with_small_packs(monkeypatch)


@pytest.fixture
def line(s3: S3Server) -> Iterator[FaultyLine]:
    with FaultyLine.before(s3.port) as line:
        yield line


def in_buckets(
    prepared: Caretaker, folder: Path, line: FaultyLine, s3: S3Server, clock: HastyClock
) -> Caretaker:
    """Return the server with its repositories in a bucket, opened as commands open them."""
    storages = {}
    for place in PLACES:
        bucket = open_storage(s3.location(endpoint=line.endpoint), credential=CREDENTIAL)
        storages[place] = RetryingStorage(bucket, clock, jitter=lambda: 0.5)
    caretaker = prepared.moved(folder, storages)
    caretaker.clock = clock
    return caretaker


def check(caretaker: Caretaker, operations: tuple[str, ...]) -> None:
    """Take all out of the bucket and look at it where that is quick."""
    caretaker.moved(caretaker.folder / "looked-at", in_memory()).check(*operations)


@pytest.mark.parametrize(
    "operations",
    [
        ("session", "copy", "copy_under_own_key", "prune"),
        ("synthetic", "first_copy", "scrub"),
        ("compact", "export", "first_copy_under_own_key"),
        ("repair",),
    ],
    ids=" ".join,
)
def test_an_operation_that_meets_a_fault_in_every_request_does_all_of_it_once(
    operations: tuple[str, ...],
    prepared: Caretaker,
    line: FaultyLine,
    s3: S3Server,
    tmp_path: Path,
) -> None:
    caretaker = in_buckets(prepared, tmp_path / "there", line, s3, HastyClock())
    caretaker.begin(operations[0])
    line.faults.clear()

    for operation in operations:
        line.rule = each_once(*RETRIED)
        caretaker.do(operation)

    line.clear()
    assert {fault for _, fault in line.faults} == {*RETRIED}
    check(caretaker, operations)


@pytest.mark.parametrize("part", ["/journal/", "/packs/"])
def test_what_a_line_sends_twice_makes_no_second_point(
    part: str, prepared: Caretaker, line: FaultyLine, s3: S3Server, tmp_path: Path
) -> None:
    """The second is told that the object is there, and nobody learns that the first was."""
    caretaker = in_buckets(prepared, tmp_path / "there", line, s3, HastyClock())
    line.rule = only("PUT", part, 1, Fault.TWICE)
    with pytest.raises(StrongroomError):
        caretaker.do("session")
    assert line.faults
    line.clear()

    contents = caretaker.contents("main")

    assert len(contents) == len(caretaker.promised) + (2 if part == "/journal/" else 0)
    caretaker.do("session")
    check(caretaker, ("session",))


class DyingServer:
    """A server that can be killed, and begun again with what it held."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = lasting_ports(9)
        self._running = ExitStack()
        self._turns = threading.Lock()
        self._is_dead = False
        self.s3 = self._begun()
        self.deaths = 0

    def _begun(self) -> S3Server:
        return self._running.enter_context(s3_server(self._folder, self._port))

    def kill(self) -> None:
        with self._turns:
            self._running.close()
            self._is_dead = True
            self.deaths += 1

    def begin_again(self) -> bool:
        """Begin again if it is dead, while everybody else waits; return whether it was."""
        with self._turns:
            was_dead, self._is_dead = self._is_dead, False
            if was_dead:
                self.s3 = self._begun()
            return was_dead


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DyingServer]:
    server = DyingServer(tmp_path_factory.mktemp("dying"))
    yield server
    server.kill()


def test_a_server_that_is_killed_within_an_operation_and_comes_back_is_waited_for(
    prepared: Caretaker, server: DyingServer, tmp_path: Path
) -> None:
    with FaultyLine.before(server.s3.port) as line:

        def come_back() -> None:
            if server.begin_again():
                line.clear()
            else:
                time.sleep(_A_WHILE_SECONDS)

        caretaker = in_buckets(prepared, tmp_path / "there", line, server.s3, HastyClock(come_back))
        operations = {"session": 4, "copy": 3, "prune": 2}
        for operation, nth in operations.items():
            line.rule = from_on(nth, server.kill)
            caretaker.do(operation)

        assert server.deaths == len(operations)
        check(caretaker, tuple(operations))


@pytest.mark.parametrize(("operation", "nth"), [("session", 6), ("copy", 2)])
def test_a_server_that_stays_away_ends_an_operation_which_then_goes_on(
    operation: str, nth: int, prepared: Caretaker, line: FaultyLine, s3: S3Server, tmp_path: Path
) -> None:
    caretaker = in_buckets(prepared, tmp_path / "there", line, s3, HastyClock())
    line.rule = from_on(nth)

    with pytest.raises(StorageUnavailableError, match=r"cannot (write|read|look up|list|delete)"):
        caretaker.do(operation)

    assert line.faults
    line.clear()
    caretaker.check_promised()
    caretaker.do(operation)
    check(caretaker, (operation,))


@pytest.mark.parametrize(("operation", "nth"), [("session", 6)])
def test_a_process_that_is_killed_over_a_bucket_loses_nothing(
    operation: str, nth: int, prepared: Caretaker, line: FaultyLine, s3: S3Server, tmp_path: Path
) -> None:
    caretaker = in_buckets(prepared, tmp_path / "there", line, s3, HastyClock())
    process = caretaker.started(operation)
    line.rule = from_on(nth, process.kill)
    process.communicate(b"go\n")

    assert process.returncode == -signal.SIGKILL
    line.clear()
    caretaker.check_promised(replaced=operation == "synthetic")
    caretaker.do(operation)
    check(caretaker, (operation,))
