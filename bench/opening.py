"""Measure opening a restore point through a KMS: how long, how much of it the KMS, how many calls.

opening.py --work FOLDER [--repetitions 20] URL [options of 'strongroom kms add']

A job is sealed for the KMS at URL, run three times, and its newest point opened again and again
with the KMS alone, each time as if by a new command: nothing is connected, nothing is kept. The KMS
has to be there; which calls are made of it is counted where Strongroom hands them over.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from strongroom import settings
from strongroom.clock import SystemClock
from strongroom.control.access import Access, open_reading
from strongroom.control.context import Context
from strongroom.kms.base import Kms, Surroundings
from strongroom.kms.location import open_kms

SESSIONS = 3
WITH_WARNINGS = 3
"""An exit status: a KMS that hands out private keys, for one, is warned of."""


class CountedKms:
    """Counts what is asked of a KMS, and how long it takes to answer."""

    def __init__(self, inner: Kms) -> None:
        self._inner = inner
        self.calls: Counter[str] = Counter()
        self.seconds = 0.0

    def __getattr__(self, name: str) -> object:
        found = getattr(self._inner, name)
        return self._counted(name, found) if callable(found) and name != "close" else found

    def _counted(self, name: str, call: Callable[..., object]) -> Callable[..., object]:
        def counted(*arguments: object) -> object:
            self.calls[name] += 1
            started = time.perf_counter()
            try:
                return call(*arguments)
            finally:
                self.seconds += time.perf_counter() - started

        return counted


def open_once(environment: dict[str, str]) -> tuple[float, CountedKms]:
    """Open the newest point as one command does; return its seconds and what the KMS was asked."""
    opened: list[CountedKms] = []

    def counting(urls: Sequence[str], surroundings: Surroundings) -> Kms:
        opened.append(CountedKms(open_kms(urls, surroundings)))
        return cast("Kms", opened[-1])

    started = time.perf_counter()
    with Context(settings.load(environment), SystemClock(), open_kms=counting) as ctx:
        open_reading(ctx, Access(kms="bench")).select("bench@latest")
    (asked,) = opened
    return time.perf_counter() - started, asked


def set_up(folder: Path, url: str, options: Sequence[str]) -> dict[str, str]:
    shutil.rmtree(folder, ignore_errors=True)
    source = folder / "source"
    source.mkdir(parents=True)
    environment = {
        **os.environ,
        "STRONGROOM_HOME": str(folder / "home"),
        "STRONGROOM_KEY_FILE": str(folder / "key"),
    }

    def run(*words: str) -> None:
        command = [sys.executable, "-m", "strongroom", *words]
        done = subprocess.run(command, env=environment, check=False, stdout=subprocess.DEVNULL)
        if done.returncode not in (0, WITH_WARNINGS):
            sys.exit(done.returncode)

    run("repository", "add", "bench", str(folder / "repository"))
    run("kms", "add", "bench", url, *options)
    run("job", "create", "bench", "--repository", "bench", "--source", f"files:{source}",
        "--encrypt", "kms:bench")  # fmt: skip
    for number in range(SESSIONS):
        (source / "file").write_text(f"content of day {number}\n")
        run("job", "run", "bench")
    return environment


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="where home and repository go")
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("url")
    options, more = parser.parse_known_args()
    environment = set_up(options.work.resolve(), options.url, more)
    open_once(environment)  # imports and caches are not what is measured
    found = [open_once(environment) for _ in range(options.repetitions)]
    calls = {tuple(sorted(asked.calls.items())) for _, asked in found}
    print(f"{options.url}, load {os.getloadavg()[0]:.1f}")
    print(
        f"  opened in {1000 * statistics.median(seconds for seconds, _ in found):.0f} ms (median)"
    )
    print(f"  of that the KMS {1000 * statistics.median(one.seconds for _, one in found):.0f} ms")
    print(f"  calls of one opening: {'; or '.join(map(str, calls))}")


if __name__ == "__main__":
    main()
