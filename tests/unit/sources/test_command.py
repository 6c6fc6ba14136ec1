from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from strongroom import errors
from strongroom.sources.command import CommandSource, CommandStream
from tests.support.descriptors import open_descriptors

ENVIRONMENT = {"PATH": os.environ["PATH"], "MARK": "a mark"}


class BodyError(Exception):
    """What goes wrong in the body of a test."""


def drain(stream: CommandStream) -> bytes:
    buffer = memoryview(bytearray(10_000))
    output = bytearray()
    while got := stream.readinto(buffer):
        output += buffer[:got]
    return bytes(output)


def run(command: str | list[str]) -> bytes:
    with CommandSource(command, ENVIRONMENT).open() as stream:
        return drain(stream)


def is_alive(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def wait_until_dead(process: int) -> None:
    """Return once it is gone; a hang is the test's time-out."""
    while is_alive(process):
        os.sched_yield()


def first_number(stream: CommandStream) -> int:
    buffer = memoryview(bytearray(100))
    return int(bytes(buffer[: stream.readinto(buffer)]))


def test_the_output_is_what_the_command_prints() -> None:
    assert run("echo one; echo two") == b"one\ntwo\n"
    assert run("head -c 3000000 /dev/zero") == bytes(3_000_000)
    assert run("true") == b""


def test_a_failure_anywhere_in_a_pipe_fails_the_session() -> None:
    with pytest.raises(errors.SessionFailedError, match="exit status 7") as failed:
        run("(echo half; exit 7) | cat")
    assert failed.value.fields["status"] == 7


def test_a_command_killed_by_a_signal_fails_with_its_name() -> None:
    with pytest.raises(errors.SessionFailedError, match="SIGKILL"):
        run("kill -KILL $$")
    with pytest.raises(errors.SessionFailedError, match="signal 40"):
        run("kill -40 $$")


def test_the_end_of_standard_error_is_shown_bounded() -> None:
    with pytest.raises(errors.SessionFailedError, match="the reason") as failed:
        run("head -c 300000 /dev/zero | tr '\\0' x >&2; echo 'the reason' >&2; exit 1")
    complaint = str(failed.value.fields["stderr"])
    assert complaint.endswith("xthe reason")
    assert 4000 < len(complaint) <= 4096


def test_a_command_that_complains_and_succeeds_is_fine() -> None:
    assert run("echo warning >&2; echo data") == b"data\n"


def test_a_command_that_closes_standard_error_is_fine() -> None:
    assert run("exec 2>&-; echo data") == b"data\n"


def test_no_shell_ever_sees_a_vector() -> None:
    assert run(["echo", "$MARK; echo `id` | cat"]) == b"$MARK; echo `id` | cat\n"


def test_the_environment_is_what_was_given_and_no_more() -> None:
    os.environ["STRONGROOM_TEST_SECRET"] = "secret"  # noqa: S105 - it is none
    try:
        variables = run(["env"]).decode().splitlines()
    finally:
        del os.environ["STRONGROOM_TEST_SECRET"]
    assert sorted(variables) == sorted(f"{name}={value}" for name, value in ENVIRONMENT.items())


def test_standard_input_is_empty_and_the_terminal_is_out_of_reach() -> None:
    assert run("cat; ps -o tty= -p $$ | tr -d ' '") == b"?\n"


def test_a_command_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(errors.SourceUnavailableError, match="no such file"):
        run(["/missing/command"])
    with pytest.raises(errors.SessionFailedError, match="exit status 127"):
        run("/missing/command")


@pytest.mark.parametrize("command", ["", "  ", [], [""], "a\0b"])
def test_what_is_no_command_is_refused(command: str | list[str]) -> None:
    with pytest.raises(errors.InvalidInputError):
        CommandSource(command, ENVIRONMENT)


def test_an_error_in_the_body_ends_the_command_and_all_it_started() -> None:
    processes = []

    def fail() -> None:
        with CommandSource("sleep 1000 & echo $!; wait", ENVIRONMENT).open() as stream:
            processes.append(first_number(stream))
            raise BodyError

    with pytest.raises(BodyError):
        fail()
    wait_until_dead(processes[0])


def test_a_command_has_time_to_clean_up_when_it_is_ended(tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    def fail() -> None:
        command = f"trap 'echo cleaned > {mark}; exit' TERM; echo $$; sleep 1000 & wait"
        with CommandSource(command, ENVIRONMENT).open() as stream:
            first_number(stream)
            raise BodyError

    with pytest.raises(BodyError):
        fail()
    assert mark.read_text() == "cleaned\n"


def test_a_cancellation_from_another_thread_ends_the_reading() -> None:
    processes = []

    def cancel() -> None:
        with CommandSource("sleep 1000 & echo $!; wait", ENVIRONMENT).open() as stream:
            processes.append(first_number(stream))
            other = threading.Thread(target=stream.cancel)
            other.start()
            assert drain(stream) == b""
            other.join()

    with pytest.raises(errors.CancelledError):
        cancel()
    wait_until_dead(processes[0])


def test_what_a_command_leaves_running_is_not_waited_for() -> None:
    with CommandSource("sleep 1000 >/dev/null & echo $!", ENVIRONMENT).open() as stream:
        process = first_number(stream)
        assert drain(stream) == b""
    assert is_alive(process)
    os.kill(process, 9)


def test_a_reader_that_leaves_early_does_not_hang() -> None:
    def leave() -> None:
        with CommandSource(["yes"], ENVIRONMENT).open() as stream:
            stream.readinto(memoryview(bytearray(10)))

    with pytest.raises(errors.SessionFailedError, match="SIGPIPE"):
        leave()


def test_no_descriptor_is_left_behind() -> None:
    before = open_descriptors()
    for command in ("echo x", "false"):
        with suppress(errors.SessionFailedError):
            run(command)
    assert open_descriptors() == before
