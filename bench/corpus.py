"""Build the corpora that backups are measured on.

The same seed on the same machine gives the same content (an image's inodes differ in their times).

corpus.py --data FOLDER [--only image,tree,...] [--seed 1] [--scale 1.0]

- image: a raw ext4 image of 4 GiB, two thirds allocated (real files, logs, media, repeats, zeros)
- tree: 100,000 files, 2.6 GiB (system files, node_modules, mail, media, logs, databases, binaries)
- incompressible: 2 GiB of random bytes in 20 files
- manyfiles: 300,000 files of some hundred bytes, up to eight folders deep
- small: 50 files, always the same size, to see what a run costs before it does anything

Each lies in FOLDER/NAME. Real content is taken from this machine (BENCH_REAL, folders separated by
colons; by default Python's own and the system's shared files), walked in sorted order. Needs
nothing but the standard library and mkfs.ext4.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import stat
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
WORDS = """
get set read write open close server client request response session token user group index node
list map array string value key cache buffer stream event handler error warning info debug
timeout retry queue worker thread module export import function return const let class self
async await promise result data config path file block chunk hash record table column row select
insert update delete
""".split()

Generator = Callable[[random.Random, int], bytes]


# --- content ---------------------------------------------------------------------------------


def log_lines(rng: random.Random, size: int, start: int = 1_700_000_000) -> bytes:
    """Return lines of a web server's log; they compress five to eight times."""
    hosts = [
        f"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(256)}" for _ in range(4000)
    ]
    paths = ["/" + "/".join(rng.choices(WORDS, k=rng.randrange(1, 5))) for _ in range(3000)]
    lines, made, moment = [], 0, start
    bits, real = rng.getrandbits, rng.random
    while made < size:
        moment += int(real() * 3)
        line = (
            f"{hosts[int(real() * real() * 4000)]} - - [{moment}] "
            f'"GET {paths[int(real() * real() * 3000)]}?id={bits(24)} '
            f'HTTP/1.1" {200 if real() < 0.9 else 404} {bits(14)} '
            f'"req-{bits(48):012x}" {real():.4f}\n'
        )
        lines.append(line)
        made += len(line)
    return "".join(lines).encode()[:size]


def script_text(rng: random.Random, size: int) -> bytes:
    """Return something like JavaScript."""
    lines, made = [], 0
    while made < size:
        a, b, c, d = rng.choices(WORDS, k=4)
        line = rng.choice(
            (
                f"  const {a}{b.title()} = require('{c}-{d}/{rng.getrandbits(12)}');\n",
                f"export function {a}{b.title()}({c}, {d}) {{\n"
                f"  return {c}.{d}({rng.getrandbits(16)});\n}}\n",
                f'  "{a}-{b}": "^{rng.randrange(20)}.{rng.randrange(30)}.{rng.randrange(9)}",\n',
                f"  // {a} {b} {c} {d}: see {rng.choice(WORDS)} {rng.choice(WORDS)}\n",
                f"  if ({a}.{b} !== {c}) {{ this.{d} = {rng.getrandbits(20)}; }}\n",
            )
        )
        lines.append(line)
        made += len(line)
    return "".join(lines).encode()[:size]


def noise(rng: random.Random, size: int) -> bytes:
    return rng.randbytes(size)


def real_files(rng: random.Random, at_least: int, below: int) -> list[tuple[Path, int]]:
    """Return this machine's regular files of these sizes, shuffled."""
    found = []
    for root in _real_folders():
        for folder, folders, names in os.walk(root):
            folders.sort()
            for name in sorted(names):
                path = Path(folder, name)
                try:
                    status = path.lstat()
                except OSError:
                    continue
                if stat.S_ISREG(status.st_mode) and at_least <= status.st_size < below:
                    found.append((path, status.st_size))
    rng.shuffle(found)
    return found


def _real_folders() -> list[str]:
    chosen = os.environ.get("BENCH_REAL")
    if chosen:
        return [folder for folder in chosen.split(":") if folder]
    return [
        sysconfig.get_paths()["stdlib"],
        "/usr/share",
        "/usr/lib",
        "/usr/include",
        "/usr/bin",
    ]


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _put_much(path: Path, rng: random.Random, size: int, content: Generator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for offset in range(0, size, 4 * MIB):
            file.write(content(rng, min(size - offset, 4 * MIB)))


def _copy(source: Path, target: Path) -> bool:
    """Copy a file of the machine; false if it cannot be read."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(source, target)
    except OSError:
        return False
    return True


# --- corpora ---------------------------------------------------------------------------------


def build_image(target: Path, seed: int, scale: float) -> None:
    rng = random.Random(seed * 1000 + 1)
    stage = target.parent / ".stage-image"
    shutil.rmtree(stage, ignore_errors=True)
    budget, used = int(1.45 * GIB * scale), 0
    copied: list[tuple[Path, int]] = []
    for source, size in real_files(rng, 64, 80 * MIB):
        if used + size > budget:
            if used > budget - MIB:
                break
            continue
        copy = stage / "usr" / source.relative_to("/")
        if not _copy(source, copy):
            continue
        copied.append((copy, size))
        used += size
    for i in range(8):
        _put_much(stage / f"var/log/syslog.{i}", rng, int(40 * MIB * scale), log_lines)
    for i in range(40):
        _put_much(stage / f"srv/media/clip{i:03}.mp4", rng, int(9 * MIB * scale), noise)
    repeats = int(0.2 * GIB * scale)
    for copy, size in copied:
        if repeats <= 0:
            break
        _copy(copy, stage / "opt/old-release" / copy.relative_to(stage / "usr"))
        repeats -= size
    put(stage / "var/lib/prealloc.bin", bytes(int(64 * MIB * scale)))

    target.mkdir(parents=True)
    image = target / "disk.img"
    with image.open("wb") as file:
        file.truncate(int(4 * GIB * scale))
    uuid = "11111111-2222-3333-4444-555555555555"
    subprocess.run(
        ["mkfs.ext4", "-q", "-F", "-m", "0", "-N", str(int(262144 * scale) + 1024), "-U", uuid,
         "-E", f"hash_seed={uuid},nodiscard", "-d", stage, image],
        check=True,
        env={
            **os.environ,
            "E2FSPROGS_FAKE_TIME": "1700000000",
            "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin",
        },
    )  # fmt: skip
    shutil.rmtree(stage)


def build_tree(target: Path, seed: int, scale: float) -> None:
    rng = random.Random(seed * 1000 + 2)
    target.mkdir(parents=True)
    count = used = 0
    for source, size in real_files(rng, 32, 256 * KIB):
        if count >= 40_000 * scale or used > 800 * MIB * scale:
            break
        copy = target / "real" / f"g{count % 20:02}" / source.relative_to("/")
        if not _copy(source, copy):
            continue
        shutil.copymode(source, copy)
        count, used = count + 1, used + size
    _node_modules(target / "app/node_modules", rng, int(2500 * scale))
    for i in range(int(5000 * scale)):
        put(
            target / f"mail/box{i % 25}/cur" / f"{1_700_000_000 + i}.M{rng.getrandbits(20)}.host",
            script_text(rng, 300) + log_lines(rng, rng.randrange(2000, 30000)),
        )
    for i in range(int(220 * scale)):
        picture = rng.randbytes(rng.randrange(1 * MIB, 8 * MIB))
        put(target / f"media/a{i % 11}/img_{i:04}.jpg", picture)
    _put_much(target / "logs/app.log", rng, int(400 * MIB * scale), log_lines)
    _put_much(target / "db/store.sqlite", rng, int(120 * MIB * scale), script_text)
    _put_much(target / "db/store.sqlite-blob", rng, int(60 * MIB * scale), noise)
    used = 0
    for i, (source, size) in enumerate(real_files(rng, 4 * MIB, 60 * MIB)):
        if used > 350 * MIB * scale:
            break
        if _copy(source, target / "bin" / f"{i:03}-{source.name}"):
            used += size
    links = target / "links"
    links.mkdir()
    for i in range(int(1500 * scale)):
        (links / f"l{i:05}").symlink_to(f"../media/a{i % 11}")


def _node_modules(target: Path, rng: random.Random, packages: int) -> None:
    pool = script_text(rng, 24 * MIB)
    for package in range(packages):
        base = target / f"{rng.choice(WORDS)}-{rng.choice(WORDS)}-{package}"
        for i in range(22):
            size = int(min(60_000, max(150, rng.lognormvariate(7.8, 1.1))))
            offset = rng.randrange(len(pool) - size)
            folder = base / ("" if i < 4 else rng.choice(("lib", "dist", "src/util")))
            name = f"{rng.choice(WORDS)}{i}.{'json' if i == 0 else 'js'}"
            text = b"/* %d */\n" % rng.getrandbits(40) + pool[offset : offset + size]
            put(folder / name, text)


def build_incompressible(target: Path, seed: int, scale: float) -> None:
    rng = random.Random(seed * 1000 + 3)
    for i in range(20):
        _put_much(target / f"r{i:02}.bin", rng, int(2 * GIB * scale) // 20, noise)


def build_manyfiles(target: Path, seed: int, scale: float) -> None:
    rng = random.Random(seed * 1000 + 4)
    _tiny_files(target, rng, int(300_000 * scale))


def build_small(target: Path, seed: int, scale: float) -> None:
    rng = random.Random(seed * 1000 + 5)
    _tiny_files(target, rng, 50)


def _tiny_files(target: Path, rng: random.Random, total: int) -> None:
    pool = script_text(rng, 4 * MIB)
    made = 0
    while made < total:
        levels = [f"{rng.choice(WORDS)}{rng.randrange(4)}" for _ in range(rng.randrange(3, 9))]
        folder = target.joinpath(*levels, f"d{made}")
        folder.mkdir(parents=True)
        for _ in range(min(rng.randrange(5, 60), total - made)):
            size = rng.randrange(0, 700)
            offset = rng.randrange(len(pool) - size)
            text = b"%d\n" % made + pool[offset : offset + size]
            (folder / f"{WORDS[made % len(WORDS)]}-{made}.txt").write_bytes(text)
            made += 1


BUILDERS: dict[str, Callable[[Path, int, float], None]] = {
    "image": build_image,
    "tree": build_tree,
    "incompressible": build_incompressible,
    "manyfiles": build_manyfiles,
    "small": build_small,
}
NAMES = tuple(BUILDERS)


# --- what is in a folder ---------------------------------------------------------------------


class Size(NamedTuple):
    """How much lies in a folder."""

    files: int
    bytes: int
    allocated: int


def files_under(folder: Path) -> Iterator[str]:
    for parent, _, names in os.walk(folder):
        for name in names:
            yield os.path.join(parent, name)


def size_of(folder: Path) -> Size:
    statuses = [os.lstat(path) for path in files_under(folder)]
    return Size(
        len(statuses),
        sum(status.st_size for status in statuses),
        sum(status.st_blocks * 512 for status in statuses),
    )


def contents(folder: Path) -> dict[str, str]:
    """Return what each path holds: a hash, a link's target, or that it is a folder."""
    found: dict[str, str] = {}
    files: list[str] = []
    folders = [os.fspath(folder)]
    skip = len(os.fspath(folder)) + 1
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    found[entry.path[skip:]] = "link to " + os.readlink(entry.path)
                elif entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                    found[entry.path[skip:]] = "folder"
                else:
                    files.append(entry.path)
    with ThreadPoolExecutor(2) as pool:
        for path, digest in zip(files, pool.map(_hash, files, chunksize=64), strict=True):
            found[path[skip:]] = digest
    return found


def _hash(path: str) -> str:
    with open(path, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", default=",".join(NAMES))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1.0)
    options = parser.parse_args()
    for name in options.only.split(","):
        target = options.data / name
        if target.exists():
            continue
        building = options.data / f".{name}"  # appears whole or not at all
        shutil.rmtree(building, ignore_errors=True)
        BUILDERS[name](building, options.seed, options.scale)
        building.rename(target)
        print(name, size_of(target), flush=True)


if __name__ == "__main__":
    main()
