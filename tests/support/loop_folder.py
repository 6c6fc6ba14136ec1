"""A small file system of its own, in a file: for attributes that the tests' own may not have."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def loop_folder(folder: Path, kind: str = "ext4", mebibytes: int = 64) -> Iterator[Path]:
    """Mount a new file system, and take it away with all that is immutable in it."""
    image, place = folder / f"{kind}.img", folder / kind
    with image.open("wb") as file:
        file.truncate(mebibytes << 20)
    subprocess.run([f"/usr/sbin/mkfs.{kind}", "-q", str(image)], check=True)
    place.mkdir()
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    try:
        yield place
    finally:
        # Lazily: a process that still looks into it keeps nobody from going on.
        subprocess.run(["umount", "-l", str(place)], check=True)
        image.unlink()
