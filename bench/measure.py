"""Measure backup programs side by side, interleaved in one run.

measure.py --data FOLDER --work FOLDER --out NAME [--corpora image,tree,...]
           [--programs strongroom,strongroom:fast,restic,...] [--repetitions 3] [--limits]

Every program goes through the same works: a full, an unchanged run, a day of change and its
increment, a restore, a check that reads everything, a prune. The programs take turns at each work,
in an order that rotates, so that a machine that is busier now than before is so for all of them.
The source is in the page cache, `sync` runs before each timing, and a figure is the best of its
repetitions. What a program restored is compared with the source by hash.

NAME.json gets every reading, NAME.md the tables; both are written anew after each work, so a run
that is broken off leaves what it had.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import changes
import corpus
import report
from peers import PEERS, Command, Peer
from strongroom_peer import Strongroom

WORKS = ("help", "create", "full", "unchanged", "increment", "restore", "check", "prune")
TIMES = {"help": 5, "unchanged": 2}
"""How often these are done in each repetition: short, so easily disturbed."""

_ALL: tuple[type[Peer], ...] = (Strongroom, *PEERS)
PROGRAMS = {peer.name: peer for peer in _ALL}
GNU_TIME = shutil.which("time")
LONGEST_SECONDS = 3600
INODES_REST_SECONDS = 365

LIMITS = {
    "read": 'find "$SOURCE" -type f -print0 | xargs -0 cat >/dev/null',
    "find -printf": 'find "$SOURCE" -printf "%p %s %T@ %C@ %i %m %U %G\\n" >/dev/null',
    "cp -a": 'cp -a "$SOURCE" copy',
    "tar, zstd -3, AES-256-CTR": (
        'tar cf - -C "$SOURCE" . | zstd -q -3 -T2 | '
        f"openssl enc -aes-256-ctr -K {0:064} -iv {0:032} >archive"
    ),
    "and back": (
        f"mkdir back && openssl enc -d -aes-256-ctr -K {0:064} -iv {0:032} <archive | "
        "zstd -q -d | tar xf - -C back"
    ),
}
"""What the machine itself can do with a corpus, in the order of measuring."""

Reading = dict[str, Any]


class Run:
    """One program on its way through the works, with a repository of its own."""

    def __init__(self, peer: Peer, source: Path, log: IO[bytes]) -> None:
        self.peer = peer
        self.failed = False
        self._source = source
        self._log = log
        remove(peer.work)
        peer.state.mkdir(parents=True, mode=0o700)

    def do(self, work: str, expected: dict[str, str]) -> Reading | None:
        """Do one work; none if the program has no such thing or failed before."""
        if self.failed:
            return None
        target = self.peer.work / "restored"
        if work == "restore":
            target.mkdir()
        commands = self._commands(work, target)
        if not commands:
            return None
        if work in ("full", "unchanged", "increment"):
            read_all(self._source)
        before = self.peer.stored_bytes()
        folder = target if work == "restore" else self.peer.work
        reading = timed(commands, self.peer.environment(), self._log, folder)
        reading["stored"] = self.peer.stored_bytes()
        reading["added"] = reading["stored"] - before
        self.failed = reading["exit"] != 0
        if work == "restore" and not self.failed:
            place = self.peer.restored(self._source, target)
            found = corpus.contents(place) if place.is_dir() else {}
            reading["same"] = found == expected
        return reading

    def _commands(self, work: str, target: Path) -> list[Command]:
        peer, source = self.peer, self._source
        match work:
            case "help":
                return [peer.help()]
            case "create":
                return peer.create(source)
            case "restore":
                return peer.restore(source, target)
            case "check":
                return peer.check()
            case "prune":
                return peer.prune()
            case _:
                return peer.backup(source)


def read_all(source: Path) -> None:
    """Bring a corpus into the page cache."""
    for path in corpus.files_under(source):
        if not os.path.islink(path):
            with open(path, "rb", buffering=0) as file:
                while file.read(4 << 20):
                    pass


def timed(
    commands: Sequence[Command], environment: dict[str, str], log: IO[bytes], folder: Path
) -> Reading:
    """Run the commands one after another: sums of time, the most memory any process took."""
    os.sync()
    load, others = os.getloadavg()[0], busy_seconds()
    wall = user = system = 0.0
    memory, status = 0, 0
    for command in commands:
        with tempfile.NamedTemporaryFile("r") as peak:
            # Started from here, a process would count this one's memory as its own.
            counting = [GNU_TIME, "-q", "-f", "%M", "-o", peak.name] if GNU_TIME else []
            started = time.perf_counter()
            process = subprocess.Popen(
                ["timeout", str(LONGEST_SECONDS), *counting, *command],
                env={**os.environ, **environment},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            _, ended, usage = os.wait4(process.pid, 0)
            wall += time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(ended)
            measured = peak.read().split()
        user += usage.ru_utime
        system += usage.ru_stime
        memory = max(memory, int(measured[-1]) if measured else usage.ru_maxrss)
        status = status or process.returncode
    others = max(0.0, busy_seconds() - others - user - system)
    started = time.perf_counter()
    os.sync()
    return {
        "wall": round(wall, 3),
        "cpu": round(user + system, 3),
        "memory": memory * 1024,
        "exit": status,
        "load": round(load, 2),
        "others_cpu": round(others, 2),
        "sync": round(time.perf_counter() - started, 3),
    }


def busy_seconds() -> float:
    """Return how long the processors have worked since the machine was started."""
    with open("/proc/stat") as file:
        ticks = [int(word) for word in file.readline().split()[1:]]
    user, nice, system, _idle, _waiting, *interrupts = ticks
    return (user + nice + system + sum(interrupts[:2])) / os.sysconf("SC_CLK_TCK")


def measure_limits(source: Path, work: Path, log: IO[bytes]) -> dict[str, Reading]:
    found = {}
    remove(work)
    work.mkdir(parents=True)
    for name, script in LIMITS.items():
        read_all(source)
        found[name] = timed([["sh", "-c", script]], {"SOURCE": str(source)}, log, work)
        tell("limit", name, found[name])
    return found


def measure_corpus(
    name: str, options: argparse.Namespace, peers: list[tuple[type[Peer], str]], results: Results
) -> None:
    source: Path = options.data / name
    changes.revert(options.data, name)
    size = corpus.size_of(source)
    print(f"== {name}: {size.files} files, {size.bytes >> 20} MiB", flush=True)
    found = results.corpus(name, size)
    if options.limits and name != "small":
        found["limits"] = measure_limits(source, options.work / "limits", results.log)
    for _ in range(options.repetitions):
        runs = [
            Run(kind(variant, options.work / f"{i}"), source, results.log)
            for i, (kind, variant) in enumerate(peers)
        ]
        works = [work for work in WORKS if work != "help" or name == "small"]
        try:
            take_turns(runs, works, options.data, name, found["programs"], results)
        finally:
            remove(*(run.peer.work for run in runs), options.work / "limits")


def take_turns(
    runs: list[Run],
    works: Sequence[str],
    data: Path,
    name: str,
    readings: dict[str, dict[str, list[Reading]]],
    results: Results,
) -> None:
    """Let each program do each work on the corpus, which is afterwards what it was."""
    try:
        for work in works:
            if work == "increment":
                changes.mutate(data, name)
            expected = corpus.contents(data / name) if work == "restore" else {}
            runs.append(runs.pop(0))
            for run in runs:
                for _ in range(TIMES.get(work, 1)):
                    reading = run.do(work, expected)
                    if reading:
                        tell(work, run.peer.title, reading)
                        program = readings.setdefault(run.peer.title, {})
                        program.setdefault(work, []).append(reading)
            results.save()
    finally:
        changes.revert(data, name)


def remove(*folders: Path) -> None:
    """Remove folders; after many files wait until the file system has forgotten them.

    ext4 reuses no inode for a minute after its file was removed, or for six while its table is not
    written back: whoever makes files meanwhile searches past all of them.
    """
    count = 0
    for folder in folders:
        count += sum(len(files) for _, _, files in os.walk(folder))
        shutil.rmtree(folder, ignore_errors=True)
    if count > 10_000:
        print(f"waiting until {count:,} removed files are forgotten", flush=True)
        os.sync()
        time.sleep(INODES_REST_SECONDS)


def tell(work: str, who: str, reading: Reading) -> None:
    print(
        f"{work:12} {who:24} {reading['wall']:8.2f} s  cpu {reading['cpu']:7.2f} s  "
        f"{reading['memory'] >> 20:5} MiB  stored {reading.get('stored', 0) / 1e6:8.1f} MB  "
        f"others {reading['others_cpu']:5.1f} s"
        + (f"  EXIT {reading['exit']}" if reading["exit"] else "")
        + ("" if reading.get("same", True) else "  NOT WHAT IT WAS"),
        flush=True,
    )


class Results:
    """All readings of this run, and where they are written."""

    def __init__(self, out: Path, log: IO[bytes]) -> None:
        self.log = log
        self._out = out
        self._all: dict[str, Any] = {
            "started": time.strftime("%Y-%m-%d %H:%M %Z"),
            "machine": machine(),
            "load": os.getloadavg(),
            "versions": {},
            "corpora": {},
        }

    def version(self, peer: Peer) -> None:
        answer = subprocess.run(
            peer.version(),
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, **peer.environment()},
            cwd=peer.work,
        )
        lines = (answer.stdout + answer.stderr).strip().splitlines()
        self._all["versions"][peer.name] = lines[0] if lines else "?"

    def corpus(self, name: str, size: corpus.Size) -> dict[str, Any]:
        found: dict[str, Any] = {"size": size._asdict(), "programs": {}}
        self._all["corpora"][name] = found
        return found

    def save(self) -> None:
        self._out.parent.mkdir(parents=True, exist_ok=True)
        self._out.with_suffix(".json").write_text(json.dumps(self._all, indent=1) + "\n")
        self._out.with_suffix(".md").write_text(report.render(self._all))


def machine() -> str:
    processor = platform.machine()
    with suppress(OSError, StopIteration), open("/proc/cpuinfo") as file:
        line = next(line for line in file if line.startswith("model name"))
        processor = line.split(":")[1].strip()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return (
        f"{processor}, {os.cpu_count()} cores, {memory / 2**30:.0f} GiB, "
        f"Linux {platform.release()}, Python {platform.python_version()}"
    )


def chosen_peers(words: str) -> list[tuple[type[Peer], str]]:
    """Read `NAME[:VARIANT],…`; a program that is not installed is left out, and said."""
    chosen = []
    for word in words.split(","):
        name, _, variant = word.partition(":")
        kind = PROGRAMS[name]
        variant = variant or next(iter(kind.variants))
        if kind(variant, Path()).installed():
            chosen.append((kind, variant))
        else:
            print(f"{name} is not installed: left out", file=sys.stderr)
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="where the corpora are")
    parser.add_argument("--work", type=Path, required=True, help="where the repositories go")
    parser.add_argument("--out", type=Path, required=True, help="results, without a suffix")
    parser.add_argument("--corpora", default=",".join(corpus.NAMES))
    parser.add_argument("--programs", default=",".join(PROGRAMS))
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--limits", action="store_true", help="also what cp, tar and find take")
    options = parser.parse_args()
    options.data, options.work = options.data.resolve(), options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    peers = chosen_peers(options.programs)
    log_path = options.work / "output.log"
    with log_path.open("wb") as log:
        results = Results(options.out, log)
        for kind, variant in peers:
            results.version(kind(variant, options.work))
        for name in options.corpora.split(","):
            measure_corpus(name, options, peers, results)
    print(f"\nwhat the programs said: {log_path}\n{options.out}.md")


if __name__ == "__main__":
    main()
