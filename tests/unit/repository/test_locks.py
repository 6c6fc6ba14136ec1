from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

import strongroom
from strongroom import errors
from strongroom.repository import locks
from strongroom.repository.locks import acquire, this_process
from strongroom.storage.local import LocalStorage
from strongroom.storage.readonly import ReadOnlyStorage
from strongroom.storage.retrying import RetryingStorage
from strongroom.testing.faulty_storage import FaultyStorage
from strongroom.testing.memory_storage import MemoryStorage
from strongroom.testing.turned_clock import TurnedClock

if TYPE_CHECKING:
    from strongroom.storage.base import Storage

HERE = this_process()
ELSEWHERE = msgspec.structs.replace(
    HERE, host="far.example", machine="0" * 32, boot="11111111-2222", pid=1
)
UNAVAILABLE = errors.StorageUnavailableError("no answer")


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
def memory() -> MemoryStorage:
    return MemoryStorage()


def test_a_lock_that_is_held_keeps_others_out_and_says_who(
    memory: MemoryStorage, clock: TurnedClock
) -> None:
    acquire(memory, "j1", "s1", clock, command="job run")

    with pytest.raises(errors.LockedError) as caught:
        acquire(memory, "j1", "s2", clock)

    said = str(caught.value)
    for word in ("j1", "s1", HERE.host, str(os.getpid()), "job run", "2026-11-24T12:00:00"):
        assert word in said
    assert caught.value.fields["pid"] == os.getpid()
    assert caught.value.fields["host"] == HERE.host
    assert caught.value.fields["since"] == "2026-11-24T12:00:00.000000Z"


def test_a_released_lock_is_free_and_was_taken_from_nobody(
    memory: MemoryStorage, clock: TurnedClock
) -> None:
    for _ in range(20):
        with acquire(memory, "j1", "s1", clock) as lock:
            assert lock.taken_over is None
            lock.confirm()


def test_locks_of_other_names_do_not_matter(memory: MemoryStorage, clock: TurnedClock) -> None:
    with acquire(memory, "j1", "s1", clock), acquire(memory, "j2", "s2", clock):
        pass
    with acquire(memory, "j", "s1", clock), acquire(memory, "j-1", "s2", clock):
        pass


def test_numbers_only_grow(memory: MemoryStorage, clock: TurnedClock) -> None:
    numbers = []
    for _ in range(20):
        with acquire(memory, "j1", "s1", clock) as lock:
            numbers.append(lock.number)

    assert numbers == sorted(set(numbers))


def test_a_row_of_locks_does_not_pile_up(memory: MemoryStorage, clock: TurnedClock) -> None:
    for _ in range(50):
        with acquire(memory, "j1", "s1", clock) as lock:
            for _ in range(3):
                clock.advance(timedelta(hours=2))
                lock.refresh()

    assert len([*memory.list("locks/")]) <= 5


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "A", "a b", ".a", "a" * 101])
def test_a_name_that_is_no_part_of_a_key_is_refused(
    memory: MemoryStorage, clock: TurnedClock, name: str
) -> None:
    with pytest.raises(errors.InvalidInputError):
        acquire(memory, name, "s1", clock)


def test_a_second_release_does_nothing(memory: MemoryStorage, clock: TurnedClock) -> None:
    lock = acquire(memory, "j1", "s1", clock)
    lock.release()
    other = acquire(memory, "j1", "s2", clock)

    lock.release()

    other.confirm()


def test_confirming_a_released_lock_fails(memory: MemoryStorage, clock: TurnedClock) -> None:
    lock = acquire(memory, "j1", "s1", clock)
    lock.release()

    with pytest.raises(errors.FencedError):
        lock.confirm()


# --- the dead -------------------------------------------------------------------------------


def test_a_holder_whose_process_is_gone_is_taken_over(
    memory: MemoryStorage, clock: TurnedClock
) -> None:
    gone = subprocess.Popen(["/bin/true"])
    gone.wait()
    acquire(memory, "j1", "s1", clock, here=msgspec.structs.replace(HERE, pid=gone.pid))

    lock = acquire(memory, "j1", "s2", clock)

    assert lock.taken_over == "s1"


def test_a_holder_that_was_killed_is_taken_over_even_if_nobody_has_looked_after_it(
    memory: MemoryStorage, clock: TurnedClock
) -> None:
    process = subprocess.Popen(["/bin/sleep", "60"])
    started = locks._started_ticks(process.pid)
    assert started is not None
    there = msgspec.structs.replace(HERE, pid=process.pid, started_ticks=started)
    acquire(memory, "j1", "s1", clock, here=there)
    with pytest.raises(errors.LockedError):
        acquire(memory, "j1", "s2", clock)

    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and still a zombie

    assert acquire(memory, "j1", "s2", clock).taken_over == "s1"
    process.wait()


def test_another_process_with_the_number_of_the_dead_is_not_the_holder(
    memory: MemoryStorage, clock: TurnedClock
) -> None:
    earlier = msgspec.structs.replace(HERE, pid=os.getppid(), started_ticks=1)
    acquire(memory, "j1", "s1", clock, here=earlier)

    assert acquire(memory, "j1", "s2", clock).taken_over == "s1"


def test_a_holder_from_before_the_last_boot_is_dead(
    memory: MemoryStorage, clock: TurnedClock
) -> None:
    before = msgspec.structs.replace(HERE, machine="m", boot="0000")
    now = msgspec.structs.replace(HERE, machine="m", boot="0001")
    acquire(memory, "j1", "s1", clock, here=before)

    assert acquire(memory, "j1", "s2", clock, here=now).taken_over == "s1"


@pytest.mark.parametrize(
    "there",
    [
        ELSEWHERE,
        msgspec.structs.replace(ELSEWHERE, host=HERE.host),
        msgspec.structs.replace(ELSEWHERE, machine=HERE.machine),
        msgspec.structs.replace(HERE, pid_namespace="pid:[1]", pid=4_000_000),
        msgspec.structs.replace(HERE, machine="", boot=""),
    ],
    ids=["machine", "clone", "host-name-changed", "container", "unknown"],
)
def test_a_holder_that_cannot_be_seen_lives_for_a_day_without_a_sign(
    memory: MemoryStorage, clock: TurnedClock, there: locks.Whereabouts
) -> None:
    acquire(memory, "j1", "s1", clock, here=there)

    clock.advance(timedelta(hours=23, minutes=59))
    with pytest.raises(errors.LockedError, match="s1"):
        acquire(memory, "j1", "s2", clock)
    clock.advance(timedelta(minutes=1))

    assert acquire(memory, "j1", "s2", clock).taken_over == "s1"


def test_a_holder_elsewhere_that_shows_signs_of_life_keeps_its_lock(
    memory: MemoryStorage, clock: TurnedClock
) -> None:
    lock = acquire(memory, "j1", "s1", clock, here=ELSEWHERE)

    for _ in range(100):
        clock.advance(timedelta(hours=2))
        lock.refresh()
        with pytest.raises(errors.LockedError):
            acquire(memory, "j1", "s2", clock)
    clock.advance(timedelta(hours=24))

    assert acquire(memory, "j1", "s2", clock).taken_over == "s1"
    assert lock.number == 1


def test_signs_of_life_are_written_once_an_hour(clock: TurnedClock) -> None:
    faulty = FaultyStorage(MemoryStorage())
    lock = acquire(faulty, "j1", "s1", clock)
    before = faulty.calls["put"]

    for _ in range(60 * 5):
        clock.advance(timedelta(minutes=1))
        lock.refresh()

    assert faulty.calls["put"] - before == 5


def test_refreshing_from_many_threads_beats_once(clock: TurnedClock) -> None:
    memory = MemoryStorage()
    lock = acquire(memory, "j1", "s1", clock)
    clock.advance(timedelta(hours=1))

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(lock.refresh) for _ in range(100)]:
            done.result()

    assert [info.key for info in memory.list("locks/j1/") if "beat" in info.key] == [
        "locks/j1/0000000001.beat-0000000001"
    ]


def test_a_broken_lock_goes_to_who_broke_it_and_fences_the_holder(
    memory: MemoryStorage, clock: TurnedClock
) -> None:
    old = acquire(memory, "j1", "s1", clock, here=ELSEWHERE)

    new = acquire(memory, "j1", "s2", clock, break_lock=True)

    assert new.taken_over == "s1"
    with pytest.raises(errors.FencedError, match="s1"):
        old.confirm()
    clock.advance(timedelta(hours=2))
    with pytest.raises(errors.FencedError):
        old.refresh()
    old.release()
    new.confirm()
    with pytest.raises(errors.LockedError, match="s2"):
        acquire(memory, "j1", "s3", clock)


def test_breaking_a_free_lock_takes_it_over_from_nobody(
    memory: MemoryStorage, clock: TurnedClock
) -> None:
    acquire(memory, "j1", "s1", clock).release()

    assert acquire(memory, "j1", "s2", clock, break_lock=True).taken_over is None


# --- a storage that fails or lies -----------------------------------------------------------


def test_a_lock_whose_release_was_not_answered_does_not_lock_out_its_own_process(
    clock: TurnedClock,
) -> None:
    faulty = FaultyStorage(MemoryStorage())
    lock = acquire(faulty, "j1", "s1", clock)
    faulty.fail("put", 1, UNAVAILABLE)
    with pytest.raises(errors.StorageUnavailableError):
        lock.release()

    assert acquire(faulty, "j1", "s2", clock).taken_over == "s1"
    faulty.assert_all_hit()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("verb", "nth"), [("list", 1), ("put", 1), ("list", 2)])
def test_a_lock_that_could_not_be_taken_can_be_taken_later(
    clock: TurnedClock, verb: str, nth: int, when: str
) -> None:
    faulty = FaultyStorage(MemoryStorage())
    faulty.fail(verb, nth, UNAVAILABLE, when)  # type: ignore[arg-type]
    with pytest.raises(errors.StorageUnavailableError):
        acquire(faulty, "j1", "s1", clock)

    acquire(faulty, "j1", "s2", clock).confirm()
    faulty.assert_all_hit()


def test_failing_to_clear_up_takes_nothing_from_the_lock(clock: TurnedClock) -> None:
    faulty = FaultyStorage(MemoryStorage())
    for _ in range(3):
        acquire(faulty, "j1", "s1", clock).release()
    for nth in range(1, 4):
        faulty.fail("delete", nth, errors.RefusedError("kept until next year"))

    for _ in range(3):
        with acquire(faulty, "j1", "s1", clock) as lock:
            lock.confirm()
    faulty.assert_all_hit()


def test_a_put_whose_answer_was_lost_is_known_again(clock: TurnedClock) -> None:
    faulty = FaultyStorage(MemoryStorage())
    faulty.fail("put", 1, UNAVAILABLE, "after")
    patient = RetryingStorage(faulty, clock, jitter=lambda: 0.0)

    acquire(patient, "j1", "s1", clock).confirm()

    with pytest.raises(errors.LockedError):
        acquire(patient, "j1", "s1", clock)
    faulty.assert_all_hit()


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"{}",
        b"\xff\xfe",
        b"[" * 60_000,
        b'{"state":"held"}',
        b'{"state":"other"}',
        b'{"state":"free","token":"","released_at":"2026-11-24T12:00:00"}',
        b" " * 70_000,
    ],
)
def test_a_record_that_cannot_be_read_counts_as_held(
    memory: MemoryStorage, clock: TurnedClock, record: bytes
) -> None:
    memory.put("locks/j1/0000000007", record)

    with pytest.raises(errors.LockedError, match="cannot be read"):
        acquire(memory, "j1", "s1", clock)

    assert acquire(memory, "j1", "s1", clock, break_lock=True).number == 8


@pytest.mark.parametrize("pid", [-1, 0, 2**31, 2**62])
def test_a_process_number_that_none_can_have_is_dead(
    memory: MemoryStorage, clock: TurnedClock, pid: int
) -> None:
    acquire(memory, "j1", "s1", clock, here=msgspec.structs.replace(HERE, pid=pid))

    assert acquire(memory, "j1", "s2", clock).taken_over == "s1"


def test_a_record_cannot_write_to_the_terminal(memory: MemoryStorage, clock: TurnedClock) -> None:
    acquire(memory, "j1", "s\x1b[2J", clock, here=ELSEWHERE, command="\r\u202egone")

    with pytest.raises(errors.LockedError) as caught:
        acquire(memory, "j1", "s2", clock)

    assert str(caught.value).isprintable()


def test_foreign_objects_beside_the_locks_do_not_matter(
    memory: MemoryStorage, clock: TurnedClock
) -> None:
    for name in ("readme", "1", "00000000010", "0000000009.beat-0000000001", "0000000001.beat"):
        memory.put(f"locks/j1/{name}", b"?")

    assert acquire(memory, "j1", "s1", clock).number == 1


def test_a_storage_that_lists_what_it_does_not_have_ends_the_attempt(clock: TurnedClock) -> None:
    class Liar(MemoryStorage):
        def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
            raise errors.ObjectMissingError(key)

    liar = Liar()
    liar.put("locks/j1/0000000001", b"")

    with pytest.raises(errors.LockedError):
        acquire(liar, "j1", "s1", clock)


def test_a_storage_opened_read_only_gives_no_locks(
    memory: MemoryStorage, clock: TurnedClock
) -> None:
    with pytest.raises(errors.RefusedError):
        acquire(ReadOnlyStorage(memory), "j1", "s1", clock)


def test_a_contender_that_read_the_row_long_ago_gets_nothing(
    memory: MemoryStorage, clock: TurnedClock
) -> None:
    """It is about to create a number that others have used and cleared away meanwhile."""
    acquire(memory, "j1", "s0", clock, here=ELSEWHERE)
    clock.advance(timedelta(hours=24))

    class Slow(FaultyStorage):
        slept = False

        def put(self, key: str, data: bytes | bytearray | memoryview) -> None:
            if not self.slept:
                self.slept = True
                assert key == "locks/j1/0000000002"
                for _ in range(10):
                    acquire(memory, "j1", "s1", clock).release()
                acquire(memory, "j1", "s1", clock)
                assert not memory.exists(key)
            super().put(key, data)

    with pytest.raises(errors.LockedError, match="s1"):
        acquire(Slow(memory), "j1", "s2", clock)
    assert not memory.exists("locks/j1/0000000002")


# --- at the same instant --------------------------------------------------------------------


@pytest.mark.parametrize("dead_holder", [False, True], ids=["free", "dead"])
@pytest.mark.parametrize("place", ["memory", "local"])
def test_of_threads_that_start_at_the_same_instant_exactly_one_wins(
    clock: TurnedClock, tmp_path: Path, place: str, dead_holder: bool
) -> None:
    storage: Storage = MemoryStorage() if place == "memory" else LocalStorage(tmp_path)
    gone = msgspec.structs.replace(HERE, started_ticks=1)
    contenders = 6
    barrier = threading.Barrier(contenders)

    def contend(name: str, session: str) -> locks.Lock | None:
        barrier.wait()
        try:
            return acquire(storage, name, session, clock)
        except errors.LockedError:
            return None

    with ThreadPoolExecutor(contenders) as threads:
        for turn in range(200):
            name = f"j{turn}"
            if dead_holder:
                acquire(storage, name, "dead", clock, here=gone)
            asked = [threads.submit(contend, name, f"s{number}") for number in range(contenders)]
            winners = [lock for each in asked if (lock := each.result()) is not None]
            assert len(winners) == 1
            assert winners[0].taken_over == ("dead" if dead_holder else None)
            winners[0].confirm()


def test_threads_that_take_turns_are_never_two(clock: TurnedClock) -> None:
    memory = MemoryStorage()
    inside = 0
    entered = 0

    def work() -> None:
        nonlocal inside, entered
        for _ in range(200):
            try:
                lock = acquire(memory, "j1", "s", clock)
            except errors.LockedError:
                continue
            inside += 1
            assert inside == 1
            entered += 1
            lock.confirm()
            assert inside == 1
            inside -= 1
            lock.release()

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(work) for _ in range(8)]:
            done.result()
    assert entered > 8


CONTENDER = """
import sys
from pathlib import Path
from strongroom import errors
from strongroom.clock import SystemClock
from strongroom.repository.locks import acquire
from strongroom.storage.local import LocalStorage

storage = LocalStorage(Path(sys.argv[1]))
print("ready", flush=True)
for line in sys.stdin:
    name = line.strip()
    try:
        lock = acquire(storage, name, sys.argv[2], SystemClock())
        print("won", lock.taken_over, flush=True)
    except errors.LockedError as error:
        print("lost", error.fields.get("session"), flush=True)
"""


def contender(root: Path, session: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(Path(strongroom.__file__).parents[1]), *sys.path])
    process = subprocess.Popen(  # noqa: S603 - this very interpreter
        [sys.executable, "-c", CONTENDER, str(root), session],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_of_processes_that_start_at_the_same_instant_exactly_one_wins(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    gone = msgspec.structs.replace(HERE, started_ticks=1)
    with ExitStack() as stack:
        processes = [stack.enter_context(contender(tmp_path, f"s{number}")) for number in range(4)]
        for turn in range(300):
            if turn % 2:
                acquire(storage, f"j{turn}", "dead", TurnedClock(), here=gone)
            for process in processes:
                assert process.stdin is not None
                process.stdin.write(f"j{turn}\n")
                process.stdin.flush()
            answers = [process.stdout.readline().split() for process in processes if process.stdout]
            won = [number for number, answer in enumerate(answers) if answer[0] == "won"]
            assert len(won) == 1
            assert answers[won[0]][1] == ("dead" if turn % 2 else "None")
            assert all(answer == ["lost", f"s{won[0]}"] for answer in answers if answer[0] != "won")
        for process in processes:
            process.communicate()


def test_a_session_that_is_killed_leaves_a_lock_that_the_next_takes_over(tmp_path: Path) -> None:
    with contender(tmp_path, "s1") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("j1\n")
        process.stdin.flush()
        assert process.stdout.readline() == "won None\n"
        storage = LocalStorage(tmp_path)
        with pytest.raises(errors.LockedError) as caught:
            acquire(storage, "j1", "s2", TurnedClock())
        assert caught.value.fields["pid"] == process.pid

        process.send_signal(signal.SIGKILL)
        process.communicate()

    assert acquire(storage, "j1", "s2", TurnedClock()).taken_over == "s1"


def test_the_machine_id_itself_is_not_shown(memory: MemoryStorage, clock: TurnedClock) -> None:
    machine_id = Path("/etc/machine-id")
    acquire(memory, "j1", "s1", clock)

    record = json.loads(memory.get("locks/j1/0000000001"))

    assert record["holder"]["pid"] == os.getpid()
    if machine_id.exists() and (word := machine_id.read_text().strip()):
        assert word not in json.dumps(record)


@pytest.mark.parametrize("number", [9_999_999_999, 10**9, 10**9 - 1])
def test_a_number_planted_to_leave_none_above_it_keeps_nobody_out(
    memory: MemoryStorage, clock: TurnedClock, number: int
) -> None:
    with acquire(memory, "j1", "s1", clock):
        pass
    (left,) = [info.key for info in memory.list("locks/j1/")]
    memory.put(f"locks/j1/{number:010}", memory.get(left))

    with acquire(memory, "j1", "s2", clock), pytest.raises(errors.LockedError, match="s2"):
        acquire(memory, "j1", "s3", clock)
    with acquire(memory, "j1", "s4", clock) as lock:
        assert lock.taken_over is None
