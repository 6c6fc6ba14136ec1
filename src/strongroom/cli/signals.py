"""How a person stops the command: Ctrl-C, `kill`, a closed terminal.

Outside long work each of these raises `KeyboardInterrupt`. Within `interruptible` the first one
asks the work to stop between two pieces, so that complete packs stay of use; the second ends
the process at once, which the format survives as it survives a power cut.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING, Final

from strongroom.cli.errors import INTERRUPTED
from strongroom.engine.cancellation import Cancellation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType
    from typing import Any, TypeAlias

    Handler: TypeAlias = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None

STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def raising() -> Iterator[None]:
    """Turn every stopping signal into `KeyboardInterrupt`; one that is ignored stays so."""
    with _handling(_raise):
        yield


@contextlib.contextmanager
def interruptible(say: Callable[[str], None]) -> Iterator[Cancellation]:
    """Give out a cancellation that the first stopping signal cancels; the second ends it all."""
    cancel = Cancellation()

    def handler(received: int, _: FrameType | None) -> None:
        if cancel.requested:
            with contextlib.suppress(OSError):
                os.write(2, b"\nstopped at once\n")
            os._exit(INTERRUPTED)
        cancel.cancel()
        again = "press Ctrl-C again" if received == signal.SIGINT else "send it again"
        say(f"stopping at the next safe place; {again} to stop at once")

    with _handling(handler):
        yield cancel


def _raise(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before: dict[signal.Signals, Handler] = {}
    if threading.current_thread() is threading.main_thread():
        for number in STOPPING:
            present = signal.getsignal(number)
            if present is not signal.SIG_IGN:  # nohup, or a parent that wants to be left alone
                before[number] = present
                signal.signal(number, handler)
    try:
        yield
    finally:
        for number, present in before.items():
            signal.signal(number, present)
