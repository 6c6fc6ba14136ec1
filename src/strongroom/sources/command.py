"""What a command prints: a database dump, a snapshot's stream.

The output is worth nothing until the command has said that it succeeded, so the exit status
is the last thing read, and a failure fails the session. The command gets a process group of
its own, so that a cancellation ends all it started.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from strongroom.errors import (
    CancelledError,
    InvalidInputError,
    SessionFailedError,
    SourceUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_KEPT_BYTES: Final = 4096
"""As much of the end of standard error goes into the session's record."""
_PIPE_BYTES: Final = 1 << 20
"""The largest pipe that needs no privilege: fewer turns between command and reader."""
_GRACE_SECONDS: Final = 5.0
"""From SIGTERM, on which a dump removes its snapshot, to SIGKILL."""


class CommandStream:
    """The standard output of a running command."""

    def __init__(self, process: subprocess.Popen[bytes], words: str) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self._words = words
        self._output = process.stdout
        self._errors = process.stderr
        self._tail = bytearray()
        self._cancelled = False
        self._reaping = threading.Lock()
        # Reading both in turn, the command never hangs on a standard error nobody reads.
        self._both = select.poll()
        self._both.register(self._output, select.POLLIN)
        self._both.register(self._errors, select.POLLIN)
        with suppress(OSError):  # the user's pipes are many, and this one stays small
            fcntl.fcntl(self._output, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def readinto(self, buffer: memoryview) -> int:
        """Read what is there, at least one byte, into `buffer`; return 0 at the end."""
        while True:
            ready = {fd for fd, _ in self._both.poll()}
            if self._errors.fileno() in ready and not self._read_errors():
                self._both.unregister(self._errors)
            if self._output.fileno() in ready:
                return os.readv(self._output.fileno(), [buffer])

    def cancel(self) -> None:
        """End the command and all it started, at once; from any thread."""
        self._cancelled = True
        self._signal(signal.SIGKILL)

    def finish(self) -> None:
        """Wait for the command.

        Raises:
            SessionFailedError: it failed.
            CancelledError: it was cancelled.
        """
        self._output.close()
        self._wait(None)
        status = self._reap()
        if self._cancelled:
            raise CancelledError(f"cancelled: {self._words}")
        if status:
            raise self._failure(status)

    def end(self) -> None:
        """End the command and all it started, leaving it a moment to clean up."""
        self._output.close()
        self._signal(signal.SIGTERM)
        self._wait(_GRACE_SECONDS)
        self._signal(signal.SIGKILL)
        self._reap()

    def _wait(self, seconds: float | None) -> None:
        """Wait until the command has ended; it is not reaped, so its id stays its own."""
        handle = os.pidfd_open(self._process.pid)
        try:
            either = select.poll()
            either.register(handle, select.POLLIN)
            either.register(self._errors, select.POLLIN)
            while ready := {fd for fd, _ in either.poll(seconds and seconds * 1000)}:
                if handle in ready:
                    break
                if not self._read_errors():
                    either.unregister(self._errors)
        finally:
            os.close(handle)

    def _signal(self, number: signal.Signals) -> None:
        with self._reaping:
            if self._process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, number)

    def _reap(self) -> int:
        # What it left running may hold the pipe open, so nobody waits for its end.
        os.set_blocking(self._errors.fileno(), False)
        with suppress(BlockingIOError):
            while self._read_errors():
                pass
        self._errors.close()
        with self._reaping:
            return self._process.wait()

    def _read_errors(self) -> bool:
        """Keep the end of standard error; false at its end."""
        got = os.read(self._errors.fileno(), 65536)
        self._tail += got
        del self._tail[:-_KEPT_BYTES]
        return bool(got)

    def _failure(self, status: int) -> SessionFailedError:
        how = f"exit status {status}"
        if status < 0:
            how = f"signal {-status}"
            with suppress(ValueError):
                how = signal.Signals(-status).name
        complaint = self._tail.decode("utf-8", "replace").strip()
        words = f"the source command failed with {how}: {self._words}"
        if complaint:
            words += f"\n{complaint}"
        return SessionFailedError(words, command=self._words, status=status, stderr=complaint)


class CommandSource:
    """A command that prints what is to be protected.

    Args:
        command: A string is run by `bash -o pipefail`, so that no failure in a pipe goes
            unseen. A sequence is an argument vector, and no shell ever sees it.
        environment: All the variables it gets.

    Raises:
        InvalidInputError: there is no command in it.
    """

    def __init__(self, command: str | Sequence[str], environment: Mapping[str, str]) -> None:
        if isinstance(command, str):
            self._arguments = ["bash", "-o", "pipefail", "-c", command]
            self._words = command.strip()
        else:
            self._arguments = list(command)
            self._words = " ".join(self._arguments)
        if not self._words or not self._arguments[0] or "\0" in self._words:
            raise InvalidInputError("a command source needs a command")
        self._environment = dict(environment)

    @contextmanager
    def open(self) -> Iterator[CommandStream]:
        """Run the command and give its output; on leaving, wait for it to succeed.

        An error in the body ends the command and all it started.

        Raises:
            SourceUnavailableError: it cannot be started.
            SessionFailedError: it failed.
            CancelledError: it was cancelled.
        """
        try:
            process = subprocess.Popen(  # noqa: S603 - running it is what this source is for
                self._arguments,
                bufsize=0,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._environment,
                start_new_session=True,
            )
        except OSError as error:
            words = f"cannot start {self._words}: {(error.strerror or str(error)).lower()}"
            raise SourceUnavailableError(words, command=self._words) from error
        stream = CommandStream(process, self._words)
        try:
            yield stream
        except BaseException:
            stream.end()
            raise
        try:
            stream.finish()
        except KeyboardInterrupt:
            stream.end()
            raise
