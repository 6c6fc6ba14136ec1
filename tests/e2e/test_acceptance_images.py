"""Disk images as an operator meets them: dense, sparse, huge, of odd length, cut and grown."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.conftest import Transcript

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
CLUSTER = 64 * KIB


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Transcript:
    """One machine for all that follows, with a repository and a password."""
    return Transcript(tmp_path_factory.mktemp("images") / "here").set_up()


@pytest.fixture
def image(here: Transcript, tmp_path: Path) -> Path:
    """An empty image that a job of its name protects."""
    path = tmp_path / "disk.img"
    path.touch()
    words = ("--repository", "main", "--source", f"image:{path}", "--encrypt", "password:mine")
    here.run("job", "create", tmp_path.name, *words)
    return path


def write_at(path: Path, offsets: Iterable[int], length: int) -> None:
    """Write bytes of which no two runs are alike."""
    with path.open("r+b") as file:
        for offset in offsets:
            file.seek(offset)
            file.write(random.Random(offset).randbytes(length))


def run(here: Transcript, image: Path) -> dict[str, Any]:
    result: dict[str, Any] = here.json("job", "run", image.parent.name)
    return result


def test_an_increment_of_one_percent_stores_less_than_a_twentieth_of_the_full(
    here: Transcript, image: Path, tmp_path: Path
) -> None:
    write_at(image, [0], 32 * MIB)
    first_day = image.read_bytes()
    full = run(here, image)
    write_at(image, range(3 * CLUSTER, 32 * MIB, 6 * MIB + CLUSTER), CLUSTER)
    increment = run(here, image)

    assert (full["kind"], increment["kind"]) == ("full", "incremental")
    assert increment["stored_bytes"] < full["stored_bytes"] / 20
    for result, expected in ((full, first_day), (increment, image.read_bytes())):
        there = tmp_path / result["points"][0]
        here.run("restore", result["points"][0], "--to", there, "--verify")
        assert there.read_bytes() == expected


def test_areas_that_are_alike_are_stored_once(here: Transcript, image: Path) -> None:
    area = random.Random(1).randbytes(8 * MIB)
    image.write_bytes(area * 10)

    assert len(area) <= run(here, image)["stored_bytes"] < len(area) * 1.1


def test_a_hundred_gibibytes_of_hole_are_neither_read_stored_nor_restored(
    here: Transcript, image: Path, tmp_path: Path
) -> None:
    os.truncate(image, 100 * GIB)
    offsets = range(0, 100 * GIB, 7 * GIB)
    write_at(image, offsets, MIB)
    session = run(here, image)
    there = tmp_path / "restored.img"
    here.run("restore", f"{image.parent.name}@latest", "--to", there)

    assert session["read_bytes"] <= 1.2 * len(offsets) * MIB
    assert session["stored_bytes"] <= 1.2 * len(offsets) * MIB
    assert there.stat().st_size == 100 * GIB
    assert there.stat().st_blocks * 512 <= 1.2 * len(offsets) * MIB
    with there.open("rb") as restored, image.open("rb") as source:
        for offset in offsets:
            restored.seek(offset)
            source.seek(offset)
            assert restored.read(MIB) == source.read(MIB)


_MEASURED = """
import resource, subprocess, sys
subprocess.run([sys.executable, *sys.argv[1:]], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def test_a_tebibyte_is_backed_up_and_restored_in_half_a_gibibyte(
    here: Transcript, image: Path, tmp_path: Path
) -> None:
    os.truncate(image, TIB)
    write_at(image, range(0, TIB, 128 * GIB), CLUSTER)

    for words in (
        ("job", "run", image.parent.name),
        ("restore", f"{image.parent.name}@latest", "--to", tmp_path / "there"),
    ):
        # From a small process: a child's peak counts what its parent held when it forked.
        measured = subprocess.run(
            [sys.executable, "-c", _MEASURED, "-m", "strongroom", *map(str, words)],
            env=here.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            text=True,
        )
        assert int(measured.stdout.splitlines()[-1]) * KIB < 512 * MIB


def test_images_may_have_any_length(here: Transcript, image: Path, tmp_path: Path) -> None:
    lengths = (0, 1, CLUSTER - 1, MIB + 1)
    for length in lengths:
        (tmp_path / f"{length}.img").write_bytes(random.Random(length).randbytes(length))
    sources = [word for n in lengths for word in ("--source", f"image:{tmp_path / f'{n}.img'}")]
    here.run("job", "edit", image.parent.name, *sources)

    for length, point in zip(lengths, run(here, image)["points"], strict=True):
        here.run("restore", point, "--to", tmp_path / "there", "--overwrite", "always")
        assert (tmp_path / "there").read_bytes() == (tmp_path / f"{length}.img").read_bytes()


def test_an_image_that_is_cut_grown_and_punched_is_restored_over_what_was_there(
    here: Transcript, image: Path, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    write_at(image, [0], 5 * MIB + 1)
    run(here, image)
    for length in (2 * MIB, 7 * MIB + 3):
        os.truncate(image, length)
        write_at(image, [length - CLUSTER], CLUSTER)
        assert run(here, image)["kind"] == "incremental"
        there.write_bytes(b"\xaa" * 9 * MIB)
        here.run("restore", f"{image.parent.name}@latest", "--to", there, "--overwrite", "always")
        assert there.read_bytes() == image.read_bytes()
