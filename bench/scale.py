"""Measure what a large disk costs over many points, at small scale, and compute what it would be.

scale.py --work FOLDER --out NAME [--quick]

The real code backs up a disk that is nowhere: each cluster is a kilobyte of its own, repeated, so
that hardly anything is stored, while clusters, blocks, packs, pages and entries are as many as
with real content (packs are cut by what goes in, not by what comes out). Every day 2 % of the
clusters change, scattered, and all points are kept. Each layout is a process of its own, whose
peak memory is told. FOLDER should be in memory (/dev/shm), or `fsync` is what is measured.

Two sizes at two days fix a + b·size + c·day + d·size·day for each figure. How well that holds,
the smallest disk tells, which goes through all days, and one of 16 times its size, which goes
through few. What stands in the column of the full size is therefore computed. Peak memory is
looked at apart, of disks that a session's index of new content no longer holds in memory.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import measure
from corpus import GIB, KIB, MIB
from place import REPOSITORY, Place

from strongroom.control import care
from strongroom.engine import backup
from strongroom.format.block import BlockClass
from strongroom.format.pack import HEADER_LENGTH, read_header
from strongroom.sources.image import CLUSTER_BYTES, Extent

FULL = 1 << 40
DAYS = 1000
AREA_CLUSTERS = 16
SHARE = 50
"""One cluster in so many changes from day to day."""
Figures = dict[str, float]


class SyntheticDisk:
    """A disk that is nowhere, behind the name by which the engine opens images."""

    size = 0
    versions: bytearray
    """How often each cluster has changed, modulo 256."""
    is_device = True

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def identity(self) -> None:
        return None

    def extents(self) -> Iterator[Extent]:
        yield Extent(0, self.size)

    def read(self, offset: int, length: int) -> bytes:
        clusters = range(offset // CLUSTER_BYTES, (offset + length) // CLUSTER_BYTES)
        return b"".join(map(self._cluster, clusters))

    def _cluster(self, number: int) -> bytes:
        seed = number << 8 | self.versions[number]
        return random.Random(seed).randbytes(KIB) * (CLUSTER_BYTES // KIB)

    @classmethod
    def begin(cls, size: int) -> None:
        cls.size = size
        cls.versions = bytearray(size // CLUSTER_BYTES)

    @classmethod
    def pass_a_day(cls, rng: random.Random) -> None:
        count = len(cls.versions)
        for number in rng.sample(range(count), count // SHARE):
            cls.versions[number] = (cls.versions[number] + 1) % 256


def one_layout(work: Path, size: int, days: list[int]) -> None:
    """Let days pass, and print what there is after some of them, a line each."""
    place = _begun(work, size, keep_last=days[-1])
    rng = random.Random(1)
    with place.context() as ctx:
        for day in range(1, days[-1] + 1):
            with place.cost() as session:
                place.run(ctx)
            if day in days:
                figures = {"size": size, "day": day, **_stored(place)}
                figures["session calls"] = session.calls
                figures["session CPU seconds"] = session.cpu
                with place.cost() as plan:
                    care.prune(ctx, REPOSITORY, compacting=False, dry_run=True)
                figures["prune calls"] = plan.calls
                figures["prune bytes read"] = plan.read_bytes
                figures["prune names listed"] = plan.listed
                figures["prune CPU seconds"] = plan.cpu
                print(json.dumps(figures), flush=True)
            SyntheticDisk.pass_a_day(rng)
    shutil.rmtree(work)


def one_memory(work: Path, size: int) -> None:
    """Make nearly every cluster a block of its own, as a disk gets with age; tell the peak."""
    place = _begun(work, size, keep_last=10)
    with place.context() as ctx:
        place.run(ctx)
        for number in range(len(SyntheticDisk.versions)):
            if number % AREA_CLUSTERS:  # of which all were new, an area would be one block
                SyntheticDisk.versions[number] = 1
        place.run(ctx)
    before = _peak_memory()
    with place.context() as ctx:
        place.run(ctx)
    told = {"size": size, "blocks": len(SyntheticDisk.versions), "peak": _peak_memory()}
    print(json.dumps({**told, "peak of the sessions before": before}), flush=True)
    shutil.rmtree(work)


def _begun(work: Path, size: int, keep_last: int) -> Place:
    backup.ImageSource = SyntheticDisk  # type: ignore[assignment, attr-defined]
    SyntheticDisk.begin(size)
    place = Place(work)
    image = place.source / "disk.img"
    image.parent.mkdir()
    image.write_bytes(b"opened by nobody")
    place.create(f"image:{image}", keep_last)
    return place


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB


def _stored(place: Place) -> Figures:
    """Return what is stored: packs by what they hold, the rest by kind."""
    found: Figures = {"objects": 0}
    for kind, (objects, size) in place.stored().items():
        found["objects"] += objects
        if kind in ("tables", "journal"):
            found[f"{kind} bytes"] = size
    for path in place.repository.glob("chains/*/packs/*/*"):
        with path.open("rb") as file:
            header = read_header(file.read(HEADER_LENGTH), path.name)
        data = header.block_class == BlockClass.DATA
        name = "data packs" if data else "index packs"
        found[name] = found.get(name, 0) + 1
        if not data:
            found["index bytes"] = found.get("index bytes", 0) + path.stat().st_size
    found["dedup cache bytes"] = sum(
        path.stat().st_size for path in (place.folder / "home" / "cache").rglob("*.run")
    )
    return found


# --- computing -------------------------------------------------------------------------------


def render(results: dict[str, Any]) -> str:
    """Lay out what was measured, and beside it what the plane through the corners says."""
    readings = {(one["size"], one["day"]): one for one in results["readings"]}
    small, large, *larger = sorted({size for size, _ in readings})
    early, common = sorted(day for size, day in readings if size == large)[-2:]
    last = max(day for size, day in readings if size == small)
    corners = [(size, day) for day in (early, common) for size in (small, large)]
    checks = [(small, last), *(key for key in sorted(readings) if key[0] in larger)]
    heads = [
        *(f"{_size(size)}, day {day}" for size, day in corners),
        *(f"{_size(size)}, day {day} (computed)" for size, day in checks),
        f"{_size(FULL)}, day {DAYS}, computed",
    ]
    lines = [
        f"# Scale, measured {results['started']}",
        "",
        results["machine"],
        "",
        f"| | {' | '.join(heads)} |",
        "|---" * (len(heads) + 1) + "|",
    ]
    for name in readings[small, last]:
        if name in ("size", "day") or not all(name in readings[key] for key in corners):
            continue
        ends = {key: readings[key][name] for key in corners}
        cells = [
            *(f"{value:,.6g}" for value in ends.values()),
            *(f"{readings[key][name]:,.6g} ({_computed(ends, *key):,.6g})" for key in checks),
            f"{_computed(ends, FULL, DAYS):,.3g}",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *_memory(results["memory"]), ""])


def _computed(corners: dict[tuple[int, int], float], size: float, day: float) -> float:
    """Return what a + b·size + c·day + d·size·day is, fixed by two sizes at two days."""
    (small, early), (large, _), (_, late), _ = corners
    at_early = _line(small, corners[small, early], large, corners[large, early], size)
    at_late = _line(small, corners[small, late], large, corners[large, late], size)
    return _line(early, at_early, late, at_late, day)


def _line(x1: float, y1: float, x2: float, y2: float, x: float) -> float:
    return y1 + (y2 - y1) * (x - x1) / (x2 - x1)


def _memory(readings: list[Figures]) -> list[str]:
    """Lay out peak memory with nearly every cluster a block of its own."""
    if len(readings) < 2:
        return []
    first, last = readings[0], readings[-1]
    a_block = (last["peak"] - first["peak"]) / (last["blocks"] - first["blocks"])
    full = _line(first["size"], first["peak"], last["size"], last["peak"], FULL)
    rows = [(_size(one["size"]), one["blocks"], one["peak"]) for one in readings]
    return [
        "| a disk of | blocks | peak memory |",
        "|---|---|---|",
        *(f"| {size} | {blocks:,} | {peak / MIB:,.0f} MiB |" for size, blocks, peak in rows),
        f"| {_size(FULL)}, computed at {a_block:.0f} bytes a block | {FULL // CLUSTER_BYTES:,} "
        f"| {full / MIB:,.0f} MiB |",
    ]


def _size(size: float) -> str:
    for unit, name in ((FULL, "TiB"), (GIB, "GiB")):
        if size >= unit:
            return f"{size / unit:g} {name}"
    return f"{size / MIB:g} MiB"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="in memory, best")
    parser.add_argument("--out", type=Path, help="results, without a suffix")
    parser.add_argument("--quick", action="store_true", help="a tenth of the days")
    parser.add_argument("--layout", help="SIZE:DAY,DAY: what one process does")
    parser.add_argument("--memory", type=int, help="SIZE: what another does")
    options = parser.parse_args()
    if options.memory:
        one_memory(options.work, options.memory)
        return
    if options.layout:
        size, _, days = options.layout.partition(":")
        one_layout(options.work, int(size), [int(day) for day in days.split(",")])
        return
    last = DAYS // 10 if options.quick else DAYS
    layouts = {256 * MIB: [last // 25, last // 5, last], GIB: [last // 25, last // 5]}
    layouts[4 * GIB] = [last // 25]
    results: dict[str, Any] = {
        "started": time.strftime("%Y-%m-%d %H:%M %Z"),
        "machine": measure.machine(),
        "load": os.getloadavg(),
        "readings": [],
        "memory": [],
    }
    for size, days in layouts.items():
        at_days = f"{size}:{','.join(map(str, days))}"
        results["readings"] += _process(options.work, "--layout", at_days)
    for size in () if options.quick else (16 * GIB, 48 * GIB):
        results["memory"] += _process(options.work, "--memory", str(size))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    options.out.with_suffix(".md").write_text(render(results))
    print(f"\n{options.out}.md")


def _process(work: Path, *words: str) -> list[Figures]:
    command = [sys.executable, __file__, "--work", str(work), *words]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    print(done.stdout, end="", flush=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


if __name__ == "__main__":
    main()
