import pytest

from strongroom.engine.cancellation import Cancellation
from strongroom.errors import CancelledError


def test_a_request_to_stop_wakes_what_waits_and_is_raised_at_the_next_look() -> None:
    cancel, woken = Cancellation(), []
    cancel.check()
    with cancel.calling(lambda: woken.append(1)):
        cancel.cancel()
    with pytest.raises(CancelledError):
        cancel.check()
    assert woken == [1]


def test_what_begins_to_wait_after_the_request_is_woken_at_once() -> None:
    cancel, woken = Cancellation(), []
    cancel.cancel()
    with cancel.calling(lambda: woken.append(1)):
        assert woken == [1]


def test_what_no_longer_waits_is_left_alone() -> None:
    cancel, woken = Cancellation(), []
    with cancel.calling(lambda: woken.append(1)):
        pass
    cancel.cancel()
    assert woken == []
