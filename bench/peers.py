"""The programs that are measured: a class each, with the commands of its command line.

Every method returns the commands that are timed together, each a list of arguments; none means
that the program has no such operation. Programs are looked up on PATH. To add one:

    class Mine(Peer):
        name = "mine"
        variants = {"default": [], "zstd 3": ["--level", "3"]}

        def backup(self, source):
            return [["mine", "backup", self.location, source, *self.options]]
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import corpus

Command = Sequence[str | Path]

SECRET = "only a bench knows 4711 turnips"


class Peer:
    """One program with one set of options, and a repository of its own under `work`."""

    name: ClassVar[str]
    variants: ClassVar[Mapping[str, Sequence[str]]] = {"default": []}
    """Sets of options to measure by name; the first is what stands for the program."""

    def __init__(self, variant: str, work: Path) -> None:
        self.variant = variant
        self.options = self.variants[variant]
        self.work = work
        self.repository = work / "repository"
        self.state = work / "state"
        """Caches, keys and whatever else the program keeps on the machine."""

    @property
    def location(self) -> str:
        """Where the repository is, as the program is told."""
        return str(self.repository)

    def stored_bytes(self) -> int:
        return corpus.size_of(self.repository).bytes

    @property
    def title(self) -> str:
        first = next(iter(self.variants))
        return self.name if self.variant == first else f"{self.name}, {self.variant}"

    def installed(self) -> bool:
        return shutil.which(self.name) is not None

    def environment(self) -> dict[str, str]:
        return {}

    def version(self) -> Command:
        return [self.name, "--version"]

    def help(self) -> Command:
        return [self.name, "--help"]

    def create(self, source: Path) -> list[Command]:
        """Make the repository, and whatever says that `source` goes there."""
        raise NotImplementedError

    def backup(self, source: Path) -> list[Command]:
        raise NotImplementedError

    def restore(self, source: Path, target: Path) -> list[Command]:
        """Restore the newest backup of `source`, from within `target`."""
        raise NotImplementedError

    def restored(self, source: Path, target: Path) -> Path:
        """Return the folder under `target` in which the content of `source` is afterwards."""
        return target / source.relative_to("/")

    def check(self) -> list[Command]:
        """Read and check all that is stored."""
        return []

    def prune(self) -> list[Command]:
        """Keep as few backups as the program allows, and free the space."""
        return []


class Restic(Peer):
    name = "restic"
    variants: ClassVar = {"default": [], "fastest": ["--compression", "fastest"]}

    def environment(self) -> dict[str, str]:
        return {
            "RESTIC_PASSWORD": SECRET,
            "RESTIC_REPOSITORY": self.location,
            "RESTIC_CACHE_DIR": str(self.state),
        }

    def version(self) -> Command:
        return ["restic", "version"]

    def create(self, source: Path) -> list[Command]:
        return [["restic", "init", "-q"]]

    def backup(self, source: Path) -> list[Command]:
        return [["restic", "backup", "-q", *self.options, source]]

    def restore(self, source: Path, target: Path) -> list[Command]:
        return [["restic", "restore", "-q", "latest", "--target", target]]

    def check(self) -> list[Command]:
        return [["restic", "check", "-q", "--read-data"]]

    def prune(self) -> list[Command]:
        return [["restic", "forget", "-q", "--keep-last", "1", "--prune"]]


class Borg(Peer):
    name = "borg"
    variants: ClassVar = {"zstd 3": ["--compression", "zstd,3"], "lz4": ["--compression", "lz4"]}

    def environment(self) -> dict[str, str]:
        return {
            "BORG_PASSPHRASE": SECRET,
            "BORG_REPO": self.location,
            "BORG_BASE_DIR": str(self.state),
        }

    def create(self, source: Path) -> list[Command]:
        return [["borg", "init", "-e", "repokey-blake2"]]

    def backup(self, source: Path) -> list[Command]:
        return [["borg", "create", *self.options, "::{now:%s.%f}", source]]

    def restore(self, source: Path, target: Path) -> list[Command]:
        newest = self._answer("borg", "list", "--short", "--last", "1")
        return [["borg", "extract", f"::{newest}"]]

    def check(self) -> list[Command]:
        return [["borg", "check", "--verify-data"]]

    def prune(self) -> list[Command]:
        return [["borg", "prune", "--keep-last", "1"], ["borg", "compact"]]

    def _answer(self, *command: str) -> str:
        return subprocess.run(
            command,
            env={**os.environ, **self.environment()},
            cwd=self.work,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()


class Borg2(Borg):
    name = "borg2"

    def create(self, source: Path) -> list[Command]:
        return [["borg2", "repo-create", "-e", "aes256-ocb", "-i", "blake3"]]

    def backup(self, source: Path) -> list[Command]:
        return [["borg2", "create", *self.options, "run", source]]

    def restore(self, source: Path, target: Path) -> list[Command]:
        newest = self._answer("borg2", "repo-list", "--short", "--last", "1")
        return [["borg2", "extract", f"aid:{newest}"]]

    def check(self) -> list[Command]:
        return [["borg2", "check", "--verify-data"]]

    def prune(self) -> list[Command]:
        return [["borg2", "prune", "--keep", "1"], ["borg2", "compact"]]


PEERS: tuple[type[Peer], ...] = (Restic, Borg, Borg2)
