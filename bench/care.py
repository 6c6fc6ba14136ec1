"""Measure care: prune, compaction, scrub, synthetic fulls and copies, as bytes and as time.

care.py --work FOLDER --out NAME [--points 1000] [--megabytes 1024]

All runs in this process, with the calls of the storage counted. What is cared for is random bytes,
so that a byte read is a byte stored. As root a file system that clones (XFS) is mounted from a
file below FOLDER; without it only what copies is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import corpus
import measure
from corpus import MIB
from peers import Command
from place import REPOSITORY, Place

from strongroom.control import care, copies, points
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.progress import NullProgress

CLONING = "XFS"
FILE = 8 * MIB
"""Of what is compacted: several in a pack."""
PAST_QUARANTINE = timedelta(hours=25)
Row = dict[str, Any]


# --- prune -----------------------------------------------------------------------------------


def measure_prune(work: Path, count: int) -> list[Row]:
    """Give up one of many points and prune, to condemn and to remove; and then another one.

    The first prune of a machine reads every state; later ones read what is new.
    """
    place = Place(work / "prune")
    rng = random.Random(1)
    for number in range(20):
        corpus.put(place.source / f"{number:02}", rng.randbytes(4096))
    place.create(f"files:{place.source}", keep_last=count)
    with place.context() as ctx:
        made: list[str] = []
        for number in range(count):
            corpus.put(place.source / f"{number % 20:02}", rng.randbytes(4096))
            made += place.run(ctx).points
            if number % 100 == 99:
                print(f"{number + 1} points", flush=True)
    kinds = place.stored()
    metadata = [found for kind, found in kinds.items() if kind not in ("packs", "config")]
    rows: list[Row] = []
    for name, passed, given_up in (
        ("condemning, the first prune", timedelta(), made[count // 2]),
        ("removing", PAST_QUARANTINE, None),
        ("condemning another", PAST_QUARANTINE, made[count // 3]),
    ):
        if given_up is not None:
            with place.context(passed) as ctx:
                points.remove(ctx, [given_up], yes=True)
        with place.context(passed) as ctx, place.cost() as cost:
            done = care.prune(ctx, REPOSITORY)
        rows.append(
            {
                "work": f"prune of 1 of {count:,} points, {name}",
                **asdict(cost),
                "removed": sum(one.removed for one in done.outcomes),
                "metadata_objects": sum(objects for objects, _ in metadata),
                "metadata_bytes": sum(size for _, size in metadata),
                "stored": kinds,
            }
        )
    return rows


# --- much data -------------------------------------------------------------------------------


def measure_bulk(work: Path, repository: Path, size: int, system: str) -> list[Row]:
    """Back up an image of random bytes; scrub it, make a full of it without it, copy it."""
    place = Place(work / "bulk", repository)
    image = place.source / "disk.img"
    _fill(image, size)
    place.create(f"image:{image}", keep_last=10)
    with place.context() as ctx:
        place.run(ctx)
    image.unlink()
    rows = [
        {"work": f"scrub, {state}", "system": system, "of_bytes": size} | found
        for state, found in _scrubbed(place)
    ]
    room = _used(repository)
    with place.context() as ctx, place.cost() as cost:
        made = place.run(ctx, synthetic=True)
    rows.append(
        {
            "work": "synthetic full",
            "system": system,
            "of_bytes": size,
            "cloned_bytes": made.cloned_bytes,
            "copied_bytes": made.copied_bytes,
            "room_bytes": _used(repository) - room if system == CLONING else None,
        }
        | asdict(cost)
    )
    shutil.rmtree(place.folder)
    shutil.rmtree(repository)
    return rows


def _scrubbed(place: Place) -> Iterator[tuple[str, Row]]:
    """Scrub from the disk and from memory, each beside reading the same files one by one."""
    files = sorted(path for path in place.repository.rglob("*") if path.is_file())
    for state, before in (("from the disk", _forget), ("from memory", _read)):
        before(files)
        started, busy = time.perf_counter(), time.process_time()
        _read(files)
        reading = time.perf_counter() - started, time.process_time() - busy
        before(files)
        with place.context() as ctx, place.cost() as cost:
            report = care.scrub(ctx, REPOSITORY, progress=NullProgress(), cancel=Cancellation())
        assert report.ok
        yield state, {"reading_seconds": reading[0], "reading_cpu": reading[1]} | asdict(cost)


def measure_copy(work: Path, size: int) -> list[Row]:
    """Copy a repository; again with nothing to do; and again after one file of 64 has changed."""
    place = Place(work / "copy")
    for number in range(64):
        _fill(place.source / f"{number:02}", size // 64)
    place.create(f"files:{place.source}", keep_last=10)
    with place.context() as ctx:
        place.run(ctx)
    target = work / "copy" / "target"
    rows = []
    stored = 0
    for name in ("whole", "nothing new", "one increment"):
        if name == "one increment":
            _fill(place.source / "00", size // 64)
            with place.context() as ctx:
                place.run(ctx)
        before, stored = stored, sum(bytes_ for _, bytes_ in place.stored().values())
        with place.context() as ctx, place.cost() as read, place.cost(target) as written:
            copies.copy(
                ctx, REPOSITORY, str(target), create=True,
                progress=NullProgress(), cancel=Cancellation(),
            )  # fmt: skip
        rows.append(
            {
                "work": f"copy, {name}",
                "of_bytes": stored - before,
                "from_source": asdict(read),
                "to_target": asdict(written),
            }
        )
    shutil.rmtree(place.folder)
    return rows


def measure_compaction(work: Path, repository: Path, size: int, system: str) -> list[Row]:
    """Remove every second file, give up the points that had them, and win their space back."""
    place = Place(work / "compaction", repository)
    for number in range(size // FILE):
        _fill(place.source / f"{number:04}", FILE)
    place.create(f"files:{place.source}", keep_last=10)
    with place.context() as ctx:
        first = place.run(ctx)
        for number in range(0, size // FILE, 2):
            (place.source / f"{number:04}").unlink()
        place.run(ctx)
        points.remove(ctx, first.points, yes=True)
        care.prune(ctx, REPOSITORY, compacting=False)
    with place.context(PAST_QUARANTINE) as ctx:
        care.prune(ctx, REPOSITORY, compacting=False)
    room = _used(repository)
    with place.context(PAST_QUARANTINE) as ctx, place.cost() as cost:
        done = care.compact(ctx, REPOSITORY, progress=NullProgress(), cancel=Cancellation())
    shutil.rmtree(place.folder)
    row = {
        "work": "compaction of packs that are half dead",
        "system": system,
        "of_bytes": size,
        "packs": sum(one.packs for one in done.outcomes),
        "freed_bytes": sum(one.freed_bytes for one in done.outcomes),
        "cloned_bytes": sum(one.cloned_bytes for one in done.outcomes),
        "copied_bytes": sum(one.copied_bytes for one in done.outcomes),
        "room_bytes": _used(repository) - room if system == CLONING else None,
    }
    shutil.rmtree(repository)
    return [row | asdict(cost)]


# --- files and file systems ------------------------------------------------------------------


def _fill(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for offset in range(0, size, 4 * MIB):
            file.write(os.urandom(min(4 * MIB, size - offset)))


def _read(files: list[Path]) -> None:
    for path in files:
        with path.open("rb", buffering=0) as file:
            while file.read(MIB):
                pass


def _forget(files: list[Path]) -> None:
    """Have the kernel drop what it holds of the files in memory."""
    os.sync()
    for path in files:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _used(folder: Path) -> int:
    """Return what is taken of the file system, whoever took it."""
    os.sync()
    found = os.statvfs(folder)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


@contextmanager
def cloning_folder(work: Path, size: int) -> Iterator[Path | None]:
    """Mount an XFS in a file; none where this is not allowed."""
    image, mounted = work / "xfs.image", work / "xfs"
    mounted.mkdir(exist_ok=True)
    with image.open("wb") as file:
        file.truncate(size)
    commands: list[Command] = [
        ["mkfs.xfs", "-q", "-f", "-m", "reflink=1", image],
        ["mount", "-o", "loop", image, mounted],
    ]
    try:
        for command in commands:
            subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"no file system that clones: {error}", file=sys.stderr)
        yield None
        return
    try:
        yield mounted
    finally:
        # Storages of this process hold it open.
        subprocess.run(["umount", "--lazy", mounted], check=True)
        image.unlink()


# --- tables ----------------------------------------------------------------------------------


def render(results: Row) -> str:
    lines = [f"# Care, measured {results['started']}", "", results["machine"], ""]
    rows = results["rows"]
    for title, cells, names in _TABLES:
        chosen = [row for row in rows if row["work"].startswith(title)]
        if chosen:
            lines += [
                f"| {' | '.join(names)} |",
                "|---" * len(names) + "|",
                *(f"| {' | '.join(cells(row))} |" for row in chosen),
                "",
            ]
    return "\n".join(lines)


def _prune_cells(row: Row) -> list[str]:
    return [
        row["work"],
        f"{row['seconds']:.2f} s",
        f"{row['metadata_objects']:,} objects, {row['metadata_bytes']:,} bytes",
        f"{row['reads']:,} calls, {row['read_bytes']:,} bytes",
        f"{row['read_bytes'] / row['metadata_bytes']:.1%}",
        f"{row['listed']:,}",
        f"{row['removed']:,}",
    ]


def _scrub_cells(row: Row) -> list[str]:
    mib = row["read_bytes"] / MIB
    return [
        f"{row['work']}, {row['system']}",
        f"{mib:,.0f} MiB",
        f"{row['seconds']:.2f} s, {mib / row['seconds']:,.0f} MiB/s",
        f"{row['reading_seconds']:.2f} s",
        f"{row['seconds'] / row['reading_seconds']:.2f} ×",
        f"{row['cpu']:.2f} s, {row['reading_cpu']:.2f} s",
    ]


def _moving_cells(row: Row) -> list[str]:
    return [
        f"{row['work']}, {row['system']}",
        f"{row['of_bytes'] / MIB:,.0f} MiB",
        f"{row['seconds']:.2f} s, {1000 * row['seconds'] * MIB / row['of_bytes']:.2f} ms a block",
        f"{row['written_bytes'] / row['of_bytes']:.2%}",
        "–" if row["room_bytes"] is None else f"{row['room_bytes'] / row['of_bytes']:.2%}",
        f"{row['cloned_bytes']:,}",
        f"{row['copied_bytes']:,}",
    ]


def _copy_cells(row: Row) -> list[str]:
    of, source, target = row["of_bytes"], row["from_source"], row["to_target"]
    return [
        row["work"],
        f"{of:,}",
        f"{source['read_bytes']:,} in {source['reads']:,} calls",
        f"{target['written_bytes']:,} in {target['writes']:,} calls",
        f"{target['read_bytes']:,} in {target['reads']:,} calls",
        f"{target['written_bytes'] / of:.3f} ×" if of else "–",
        f"{target['seconds']:.2f} s",
    ]


_MOVING = ["", "of", "wall", "written", "room taken", "bytes cloned", "bytes copied"]
_TABLES: list[tuple[str, Callable[[Row], list[str]], list[str]]] = [
    ("prune", _prune_cells,
     ["", "wall", "metadata stored", "read", "of it", "names listed", "objects removed"]),
    ("scrub", _scrub_cells,
     ["", "read", "scrub", "reading alone", "times", "processor time of both"]),
    ("synthetic", _moving_cells, _MOVING),
    ("compaction", _moving_cells, _MOVING),
    ("copy", _copy_cells,
     ["", "bytes new at the source", "read there", "written", "read at the target", "moved",
      "wall"]),
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="where repositories go")
    parser.add_argument("--out", type=Path, required=True, help="results, without a suffix")
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--megabytes", type=int, default=1024)
    options = parser.parse_args()
    work, size = options.work.resolve(), options.megabytes * MIB
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    results: Row = {
        "started": time.strftime("%Y-%m-%d %H:%M %Z"),
        "machine": measure.machine(),
        "load": os.getloadavg(),
        "rows": [],
    }

    def note(rows: list[Row]) -> None:
        results["rows"] += rows
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
        options.out.with_suffix(".md").write_text(render(results))
        for row in rows:
            print({name: value for name, value in row.items() if name != "stored"}, flush=True)

    note(measure_bulk(work, work / "plain", size, "ext4"))
    note(measure_compaction(work, work / "plain", size, "ext4"))
    note(measure_copy(work, size))
    with cloning_folder(work, max(4 * size, 512 * MIB)) as xfs:
        if xfs is not None:
            for part in (size // 4, size):
                note(measure_bulk(work, xfs / "repository", part, CLONING))
            note(measure_compaction(work, xfs / "repository", size, CLONING))
    note(measure_prune(work, options.points))
    shutil.rmtree(work)
    print(f"\n{options.out}.md")


if __name__ == "__main__":
    main()
