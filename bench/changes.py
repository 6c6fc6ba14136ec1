"""One day of change in a corpus, and its exact undoing.

Every program measured has to see the same two versions, so a change is kept in FOLDER/.undo until
`revert` takes it back, also after a run that was broken off.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import corpus
from corpus import KIB, MIB, WORDS

CLUSTER = 64 * KIB


class Undo:
    """What it takes to get the corpus back: steps, undone from the last to the first."""

    def __init__(self, data: Path, name: str) -> None:
        self.root = data / name
        self.folder = data / ".undo" / name
        self._file = self.folder / "steps.json"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._steps: list[list[Any]] = json.loads(self._file.read_text()) if self.kept else []

    @property
    def kept(self) -> bool:
        return self._file.exists()

    def keep(self, path: str) -> None:
        """Keep a file as it is, before it is changed or removed."""
        copy = f"file{len(self._steps)}"
        shutil.copy2(self.root / path, self.folder / copy)
        self.note("put back", path, copy)

    def note(self, step: str, *arguments: object) -> None:
        self._steps.append([step, *arguments])

    def close(self) -> None:
        self._file.write_text(json.dumps(self._steps))

    def undo(self) -> None:
        for step, path, *arguments in reversed(self._steps):
            getattr(self, "_" + step.replace(" ", "_"))(self.root / path, *arguments)
        shutil.rmtree(self.folder)

    def _put_back(self, path: Path, copy: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        shutil.copy2(self.folder / copy, path)

    def _remove(self, path: Path) -> None:
        path.unlink()
        for parent in path.parents:  # and the folders that came with it
            if parent == self.root or any(parent.iterdir()):
                break
            parent.rmdir()

    def _rename(self, path: Path, renamed: str) -> None:
        (self.root / renamed).rename(path)

    def _cut(self, path: Path, size: int) -> None:
        os.truncate(path, size)

    def _write_back(self, path: Path, offsets: list[int], copy: str) -> None:
        with path.open("r+b") as image, (self.folder / copy).open("rb") as kept:
            for offset in offsets:
                image.seek(offset)
                image.write(kept.read(CLUSTER))


def mutate(data: Path, name: str, seed: int = 2) -> None:
    rng = random.Random(seed * 7919 + corpus.NAMES.index(name))
    undo = Undo(data, name)
    if name == "image":
        _mutate_image(rng, undo)
    elif name == "incompressible":
        path = rng.choice(_regular_files(undo.root))
        undo.keep(path)
        corpus.put(undo.root / path, rng.randbytes((undo.root / path).stat().st_size))
    else:
        _mutate_files(rng, undo, "tree" if name == "tree" else "small files")
    undo.close()


def revert(data: Path, name: str) -> None:
    undo = Undo(data, name)
    if undo.kept:
        undo.undo()


def _regular_files(root: Path) -> list[str]:
    paths = [path for path in corpus.files_under(root) if not os.path.islink(path)]
    return sorted(os.path.relpath(path, root) for path in paths)


def _mutate_image(rng: random.Random, undo: Undo) -> None:
    """Change 2 % of a disk in scattered runs of 64 KiB: text, moved and edited content, noise."""
    path = undo.root / "disk.img"
    size = path.stat().st_size
    used = _allocated_clusters(path, undo.folder.parent / "image.used.json")
    offsets = sorted(
        {
            rng.choice(used) * CLUSTER + rng.randrange(15) * 4096
            for _ in range(int(size * 0.02) // CLUSTER)
        }
    )
    offsets = [
        offset
        for i, offset in enumerate(offsets)
        if offset + CLUSTER <= size and (i == 0 or offset - offsets[i - 1] >= CLUSTER)
    ]
    with path.open("r+b") as image, (undo.folder / "clusters").open("wb") as kept:
        text = corpus.log_lines(rng, 4 * MIB)
        for offset in offsets:
            image.seek(offset)
            kept.write(image.read(CLUSTER))
            kind = rng.random()
            if kind < 0.4:
                start = rng.randrange(len(text) - CLUSTER)
                data = text[start : start + CLUSTER]
            elif kind < 0.7:
                image.seek(rng.choice(used) * CLUSTER)
                edited = bytearray(image.read(CLUSTER))
                for _ in range(40):
                    start = rng.randrange(len(edited) - 16)
                    edited[start : start + 16] = rng.randbytes(16)
                data = bytes(edited)
            else:
                data = rng.randbytes(CLUSTER)
            image.seek(offset)
            image.write(data.ljust(CLUSTER, b"\0"))
    undo.note("write back", "disk.img", offsets, "clusters")


def _allocated_clusters(path: Path, memo: Path) -> list[int]:
    """Return the clusters with data, as the image was first built: undoing may fill holes."""
    if memo.exists():
        known: list[int] = json.loads(memo.read_text())
        return known
    used: list[int] = []
    with path.open("rb") as image:
        position, size = 0, path.stat().st_size
        while position < size:
            try:
                start = os.lseek(image.fileno(), position, os.SEEK_DATA)
            except OSError:  # only a hole is left
                break
            position = os.lseek(image.fileno(), start, os.SEEK_HOLE)
            used += range((start + CLUSTER - 1) // CLUSTER, position // CLUSTER)
    memo.write_text(json.dumps(used))
    return used


def _mutate_files(rng: random.Random, undo: Undo, kind: str) -> None:
    """Edit 1 % of the files, remove and add 0.5 %; in a tree also rename a folder, grow the log."""
    root = undo.root
    files = _regular_files(root)
    if kind == "tree":
        files = [path for path in files if (root / path).stat().st_size < 8 * MIB]
    chosen = rng.sample(files, len(files) * 3 // 200)
    edited = len(files) // 100
    for path in chosen[:edited]:
        undo.keep(path)
        data = bytearray((root / path).read_bytes())
        start = rng.randrange(len(data) + 1)
        data[start:start] = corpus.script_text(rng, 200)
        corpus.put(root / path, bytes(data))
    for path in chosen[edited:]:
        undo.keep(path)
        (root / path).unlink()
    for i in range(len(files) // 200):
        path = f"new/{i % 17}/{rng.choice(WORDS)}{i}.txt"
        size = rng.randrange(200, 20_000 if kind == "tree" else 700)
        corpus.put(root / path, corpus.script_text(rng, size))
        undo.note("remove", path)
    if kind == "tree":
        if (root / "media/a3").exists():
            (root / "media/a3").rename(root / "media/a3-renamed")
            undo.note("rename", "media/a3", "media/a3-renamed")
        log = root / "logs/app.log"
        undo.note("cut", "logs/app.log", log.stat().st_size)
        with log.open("ab") as file:
            file.write(corpus.log_lines(rng, 8 * MIB, 1_800_000_000))
