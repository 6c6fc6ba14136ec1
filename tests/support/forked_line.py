"""Command lines in forks of the process that tests: what is imported already costs nothing.

A fork is a process of its own, with its own memory, variables and signals. Starting Python and
importing takes half a second, and calibrating a password's key a second more; a life story has
dozens of lines. That the command starts is shown by those tests that start it.
"""

from __future__ import annotations

import functools
import gc
import importlib
import os
import pkgutil
import pty
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

import strongroom
from strongroom import app
from strongroom.cli import main as entry
from strongroom.crypto import kdf
from strongroom.testing.turned_clock import LaterClock

_UNEXPECTED: Final = 99


@functools.cache
def import_everything() -> None:
    """Import all of the product, once and not in each fork."""
    for module in pkgutil.walk_packages(strongroom.__path__, "strongroom."):
        if not module.name.endswith((".__main__", ".env")):
            importlib.import_module(module.name)


def fork(work: Callable[[], int], *, terminal: bool = False) -> tuple[int, int]:
    """Do `work` in a fork, whose status it returns; return its id, and the terminal it sits at."""
    import_everything()
    child, end = pty.fork() if terminal else (os.fork(), -1)
    if child == 0:
        status = _UNEXPECTED
        try:
            gc.freeze()  # what a collection would touch here would be copied first
            status = work()
        except BaseException:  # noqa: BLE001 - nothing may go on in this copy of the tests
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(status)
    return child, end


def ended(child: int) -> int:
    """Wait for a fork, and return its status."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run_line(
    line: list[str],
    environment: Mapping[str, str],
    *files: Path,
    passed: timedelta = timedelta(),
    jumped: timedelta = timedelta(),
) -> int:
    """Run a command line in this fork, as a process of these variables would.

    Args:
        line: The command's words.
        environment: All its variables.
        files: Standard input, output and error; none where those of this process are right.
        passed: How much later it is than the machine's clock says.
        jumped: How far the clock was set beside that.
    """
    if passed or jumped:
        app.SystemClock = lambda: LaterClock(passed, jumped)  # type: ignore[assignment, misc]
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    warnings.simplefilter("ignore")
    for number, (file, flags) in enumerate(
        zip(files, (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY), strict=False)
    ):
        os.dup2(os.open(file, flags), number)
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode, closefd=False) for number, mode in enumerate(("r", "w", "w"))
    )
    # What calibration would find is no matter here.
    kdf.calibrate = lambda *_: kdf.MINIMUM  # type: ignore[assignment]
    status = entry.main(line)
    sys.stdout.flush()
    sys.stderr.flush()
    return status
