"""Strongroom as one of the programs that are measured."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from peers import SECRET, Command, Peer


class Strongroom(Peer):
    """A folder with nothing but `disk.img` in it is backed up as what it is, a disk image.

    The other programs know files only, so they take the folder.
    """

    name = "strongroom"
    variants: ClassVar = {
        "balanced": [],
        "fast": ["--compression", "fast"],
        "high": ["--compression", "high"],
    }

    def environment(self) -> dict[str, str]:
        return {
            "STRONGROOM_HOME": str(self.state / "home"),
            "STRONGROOM_KEY_FILE": str(self.state / "key"),
        }

    def create(self, source: Path) -> list[Command]:
        password = self.state / "password"
        password.write_text(SECRET + "\n")
        password.chmod(0o600)
        image = _image(source)
        return [
            ["strongroom", "repository", "add", "bench", self.location],
            ["strongroom", "password", "add", "bench", "--password-file", password],
            ["strongroom", "job", "create", "bench", "--repository", "bench",
             "--source", f"image:{image}" if image else f"files:{source}",
             "--encrypt", "password:bench", "--keep-last", "1", *self.options],
        ]  # fmt: skip

    def backup(self, source: Path) -> list[Command]:
        return [["strongroom", "job", "run", "bench"]]

    def restore(self, source: Path, target: Path) -> list[Command]:
        image = _image(source)
        place = target / image.name if image else target
        return [["strongroom", "restore", "bench@latest", "--to", place]]

    def restored(self, source: Path, target: Path) -> Path:
        return target if _image(source) else super().restored(source, target)

    def check(self) -> list[Command]:
        return [["strongroom", "repository", "verify", "bench"]]

    def prune(self) -> list[Command]:
        return [["strongroom", "repository", "prune", "bench", "--yes"]]


def _image(source: Path) -> Path | None:
    image = source / "disk.img"
    return image if image.exists() else None
