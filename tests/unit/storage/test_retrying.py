from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from strongroom import errors
from strongroom.storage.base import Composed, ObjectRange
from strongroom.storage.retrying import RetryingStorage, backoff
from strongroom.testing.faulty_storage import FaultyStorage
from strongroom.testing.memory_storage import MemoryStorage
from strongroom.testing.turned_clock import TurnedClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from strongroom.storage.base import Buffer, ObjectInfo, Storage
    from strongroom.testing.faulty_storage import Verb

NO_ANSWER = errors.StorageUnavailableError("no answer")

CALLS: dict[Verb, Callable[[Storage], object]] = {
    "put": lambda storage: storage.put("new", b"1"),
    "compose": lambda storage: storage.compose("new", [b"1", ObjectRange("old")]),
    "get": lambda storage: storage.get("old"),
    "size": lambda storage: storage.size("old"),
    "exists": lambda storage: storage.exists("old"),
    "list": lambda storage: [*storage.list()],
    "delete": lambda storage: storage.delete("old"),
    "free_bytes": lambda storage: storage.free_bytes(),
}


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
def faulty() -> FaultyStorage:
    memory = MemoryStorage()
    memory.put("old", b"0")
    return FaultyStorage(memory)


def retrying(inner: Storage, clock: TurnedClock) -> RetryingStorage:
    return RetryingStorage(inner, clock, jitter=lambda: 1.0, waits=(1.0, 2.0, 4.0))


@pytest.mark.parametrize("verb", CALLS)
def test_what_was_not_answered_is_asked_again_after_a_while(
    faulty: FaultyStorage, clock: TurnedClock, verb: Verb
) -> None:
    plain = CALLS[verb](retrying(FaultyStorage(_one_object()), TurnedClock()))
    for nth in (1, 2, 3):
        faulty.fail(verb, nth, NO_ANSWER)

    assert CALLS[verb](retrying(faulty, clock)) == plain

    assert clock.slept == (1.0, 2.0, 4.0)
    assert faulty.calls[verb] == 4
    faulty.assert_all_hit()


@pytest.mark.parametrize("verb", CALLS)
def test_after_the_last_wait_the_error_goes_up_unchanged(
    faulty: FaultyStorage, clock: TurnedClock, verb: Verb
) -> None:
    for nth in (1, 2, 3):
        faulty.fail(verb, nth, NO_ANSWER)
    last = errors.StorageUnavailableError("the last")
    faulty.fail(verb, 4, last)

    with pytest.raises(errors.StorageUnavailableError) as caught:
        CALLS[verb](retrying(faulty, clock))

    assert caught.value is last
    faulty.assert_all_hit()


@pytest.mark.parametrize("verb", CALLS)
@pytest.mark.parametrize(
    "error",
    [
        errors.RefusedError("no"),
        errors.StorageFullError("full"),
        errors.ObjectMissingError("gone"),
        errors.IntegrityError("changed"),
        errors.InvalidInputError("what"),
    ],
    ids=lambda error: error.code,
)
def test_what_was_answered_is_not_asked_again(
    faulty: FaultyStorage, clock: TurnedClock, verb: Verb, error: errors.StrongroomError
) -> None:
    faulty.fail(verb, 1, error)

    with pytest.raises(type(error)):
        CALLS[verb](retrying(faulty, clock))

    assert clock.slept == ()
    assert faulty.calls[verb] == 1


def test_a_put_whose_answer_was_lost_succeeds(faulty: FaultyStorage, clock: TurnedClock) -> None:
    faulty.fail("put", 1, NO_ANSWER, "after")

    retrying(faulty, clock).put("new", memoryview(b"1"))

    assert faulty.get("new") == b"1"
    faulty.assert_all_hit()


def test_looking_after_a_lost_answer_is_repeated_too(
    faulty: FaultyStorage, clock: TurnedClock
) -> None:
    faulty.fail("put", 1, NO_ANSWER, "after")
    faulty.fail("size", 1, NO_ANSWER)
    faulty.fail("get", 1, NO_ANSWER)

    retrying(faulty, clock).put("new", b"1")

    faulty.assert_all_hit()


@pytest.mark.parametrize("other", [b"2", b"longer", b""])
def test_a_put_whose_answer_was_lost_does_not_take_anothers_object_for_its_own(
    faulty: FaultyStorage, clock: TurnedClock, other: bytes
) -> None:
    faulty.put("new", other)
    faulty.fail("put", 1, NO_ANSWER)

    with pytest.raises(errors.ObjectExistsError):
        retrying(faulty, clock).put("new", b"1")

    faulty.assert_all_hit()


def test_an_object_that_vanishes_while_it_is_looked_at_was_anothers(
    faulty: FaultyStorage, clock: TurnedClock
) -> None:
    faulty.put("new", b"1")
    faulty.fail("put", 1, NO_ANSWER)
    faulty.fail("get", 1, errors.ObjectMissingError("gone"))

    with pytest.raises(errors.ObjectExistsError):
        retrying(faulty, clock).put("new", b"1")

    faulty.assert_all_hit()


def test_what_was_composed_although_the_answer_was_lost_is_found(
    faulty: FaultyStorage, clock: TurnedClock
) -> None:
    faulty.fail("compose", 1, NO_ANSWER, "after")

    composed = retrying(faulty, clock).compose("new", [b"1", ObjectRange("old"), b"2"])

    assert faulty.get("new") == b"102"
    assert composed == Composed(written_bytes=2, copied_bytes=1)
    faulty.assert_all_hit()


@pytest.mark.parametrize("other", [b"112", b"1023", b"10", b""])
def test_composing_does_not_take_anothers_object_for_its_own(
    faulty: FaultyStorage, clock: TurnedClock, other: bytes
) -> None:
    faulty.put("new", other)
    faulty.fail("compose", 1, NO_ANSWER)

    with pytest.raises(errors.ObjectExistsError):
        retrying(faulty, clock).compose("new", [b"1", ObjectRange("old"), b"2"])

    faulty.assert_all_hit()


def test_a_second_put_of_the_same_bytes_is_refused_if_nothing_was_lost(
    faulty: FaultyStorage, clock: TurnedClock
) -> None:
    storage = retrying(faulty, clock)
    storage.put("new", b"1")

    with pytest.raises(errors.ObjectExistsError):
        storage.put("new", b"1")


class _Breaking(MemoryStorage):
    """A storage whose listings break off after three objects, `times` times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        listing = super().list(prefix)
        # From the beginning each time, as a listing of pages would be asked for again.
        for count, info in enumerate(listing, 1):
            yield info
            if self.times and count % 3 == 0:
                self.times -= 1
                raise NO_ANSWER


def test_a_listing_that_breaks_off_goes_on_where_it_was(clock: TurnedClock) -> None:
    breaking = _Breaking(times=2)
    for number in range(10):
        breaking.put(f"a/{number}", b"")

    listed = [info.key for info in retrying(breaking, clock).list("a/")]

    assert listed == [f"a/{number}" for number in range(10)]
    assert breaking.times == 0


def test_a_listing_that_gets_no_further_ends_with_the_error(clock: TurnedClock) -> None:
    breaking = _Breaking(times=1000)
    for number in range(10):
        breaking.put(f"a/{number}", b"")

    listing = retrying(breaking, clock).list("a/")
    assert [next(listing).key for _ in range(3)] == ["a/0", "a/1", "a/2"]
    with pytest.raises(errors.StorageUnavailableError):
        next(listing)
    assert clock.slept == (1.0, 2.0, 4.0)


@pytest.mark.parametrize(("jitter", "slept"), [(0.0, 2.0), (0.5, 3.0), (1.0, 4.0)])
def test_jitter_takes_from_the_second_half_of_a_wait(
    faulty: FaultyStorage, clock: TurnedClock, jitter: float, slept: float
) -> None:
    faulty.fail("get", 1, NO_ANSWER)

    RetryingStorage(faulty, clock, jitter=lambda: jitter, waits=(4.0,)).get("old")

    assert clock.slept == (slept,)


def test_waits_grow_to_a_limit() -> None:
    assert backoff(1, 2, 5, 5) == (1, 2, 4, 5, 5)
    assert 60 < sum(backoff()) < 180


def _one_object() -> MemoryStorage:
    memory = MemoryStorage()
    memory.put("old", b"0")
    return memory


def test_a_buffer_is_compared_as_bytes(faulty: FaultyStorage, clock: TurnedClock) -> None:
    buffers: tuple[Buffer, ...] = (b"x", bytearray(b"x"), memoryview(b"x"))
    for number, data in enumerate(buffers):
        faulty.fail("put", 1, NO_ANSWER, "after")
        retrying(faulty, clock).put(f"new/{number}", data)
    faulty.assert_all_hit()


def test_waits_that_are_worth_saying_are_said(faulty: FaultyStorage, clock: TurnedClock) -> None:
    said: list[str] = []
    storage = RetryingStorage(
        faulty, clock, jitter=lambda: 1.0, waits=(0.5, 2.0, 4.0), tell=said.append
    )
    for nth in (1, 2, 3):
        faulty.fail("get", nth, NO_ANSWER)

    storage.get("old")

    assert said == ["no answer; trying again in 2 s", "no answer; trying again in 4 s"]
