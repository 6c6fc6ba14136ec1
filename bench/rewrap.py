"""Measure re-wrapping: what it takes to shut an old password out of a job's old points.

rewrap.py --work FOLDER [--sessions 100] [--chains 1,10,100]

Ten sources make ten points a session. Envelopes belong to chain keys and not to points, so the
same points are laid out in few long chains and in many short ones: as many chains as sessions is
a full every time, the worst there is. The sessions run in this process, for they are not what is
measured; `strongroom job rewrap` is a process of its own, with both passwords' secrets stored.
Beside it stand two units, measured alone just before: one derivation of a password, at what this
machine calibrates it to, and one durable write of an envelope's size. Each envelope is written
twice, and its two predecessors are removed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from strongroom import app
from strongroom.control import jobs, passwords, repositories, sessions
from strongroom.control.context import Context
from strongroom.control.secrets import SecretSource
from strongroom.crypto import kdf
from strongroom.crypto.keys import Password
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.progress import NullProgress
from strongroom.storage.location import open_storage

OLD = "mauve-otters-juggle-7-lanterns"
NEW = "quiet-harbours-sell-9-violins"
COPIES = 2
SOURCES = 10
SAMPLES = 100


@dataclass(frozen=True)
class Figures:
    """What one layout of the points took."""

    chains: int
    points: int
    envelopes: int
    envelope_bytes: int
    seconds: float
    again_seconds: float
    """The same once more, when nothing is left to do: all is read and compared."""
    derivation_seconds: float
    write_seconds: float


class Place:
    """A home, a repository and a source of one file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        self.sources = [folder / "sources" / str(number) for number in range(SOURCES)]
        for source in self.sources:
            source.mkdir(parents=True)
        self.environment = os.environ | {
            "STRONGROOM_HOME": str(folder / "home"),
            "STRONGROOM_KEY_FILE": str(folder / "key"),
        }

    @contextmanager
    def context(self) -> Iterator[Context]:
        with app.build(environment=self.environment) as ctx:
            yield ctx

    def envelopes(self) -> list[Path]:
        return [*(self.folder / "repository").rglob("envelopes/*")]

    def session(self, ctx: Context, number: int, *, full: bool) -> None:
        for source in self.sources:
            (source / "file").write_text(f"content of day {number}\n")
        sessions.run(ctx, "bench", full=full, progress=NullProgress(), cancel=Cancellation())

    def rewrap(self) -> float:
        command = [sys.executable, "-m", "strongroom", "job", "rewrap", "bench", "--yes"]
        started = time.perf_counter()
        subprocess.run(command, env=self.environment, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - started


def measure(folder: Path, count: int, chains: int) -> Figures:
    place = Place(folder)
    with place.context() as ctx:
        repositories.add(ctx, "bench", str(folder / "repository"))
        passwords.add(ctx, "bench", _secret(OLD))
        request = jobs.JobRequest(
            name="bench",
            repository="bench",
            sources=tuple(f"files:{source}" for source in place.sources),
            encrypt="password:bench",
        )
        jobs.create(ctx, request)
        for number in range(count - 1):
            place.session(ctx, number, full=number % -(-count // chains) == 0)
        passwords.edit(ctx, "bench", secret=_secret(NEW))
        place.session(ctx, count, full=False)  # from here on the new password counts
    size = max(file.stat().st_size for file in place.envelopes())
    derivation, write = derivation_seconds(), write_seconds(folder, size)
    seconds, again = place.rewrap(), place.rewrap()
    envelopes = len(place.envelopes()) // COPIES
    return Figures(chains, count * SOURCES, envelopes, size, seconds, again, derivation, write)


def derivation_seconds() -> float:
    parameters = kdf.calibrate()
    return _fastest(3, lambda: kdf.derive_seed(Password(OLD.encode()), bytes(16), parameters))


def write_seconds(folder: Path, size: int) -> float:
    """Return what one object of an envelope's size takes, of a hundred written in a row."""
    storage = open_storage(str(folder / "writes"), create=True)
    started = time.perf_counter()
    for number in range(SAMPLES):
        storage.put(f"written/{number}", bytes(size))
    return (time.perf_counter() - started) / SAMPLES


def _fastest(times: int, work: Callable[[], object]) -> float:
    readings = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        readings.append(time.perf_counter() - started)
    return min(readings)


def _secret(text: str) -> SecretSource:
    return SecretSource(environment="SECRET", variables={"SECRET": text})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="where home and repository go")
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--chains", default="1,10,100")
    options = parser.parse_args()
    print("| points | chains | envelopes | re-wrapped | an envelope | in writes | again |")
    print("|---|---|---|---|---|---|---|")
    for word in options.chains.split(","):
        load = os.getloadavg()[0]
        found = measure(options.work.resolve() / word, options.sessions, int(word))
        each = found.seconds / found.envelopes
        print(
            f"| {found.points} | {found.chains} | {found.envelopes} | {found.seconds:.2f} s "
            f"| {1000 * each:.1f} ms | {each / found.write_seconds:.1f} "
            f"| {found.again_seconds:.2f} s |\n"
            f"  a write of {found.envelope_bytes} bytes {1000 * found.write_seconds:.1f} ms, "
            f"a derivation {found.derivation_seconds:.2f} s, load {load:.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
