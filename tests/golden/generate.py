"""Make the golden repository of a format: `python -m tests.golden.generate FOLDER`.

It is a tiny repository with a copy under a key of its own and a point exported into one file,
and everything needed to say what they hold. What is in this folder was made once, when its
format was frozen, and is never made anew: `test_golden` compares it byte for byte.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PASSWORDS = {
    "first": "a first Password of 2026",
    "second": "a second Password of 2026",
    "copy": "a Password of the copy, 2026",
}


def generate(target: Path) -> None:
    """Write `format-1` below `target`."""
    folder = target / "format-1"
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        _Golden(folder, Path(scratch)).fill()


class _Golden:
    """A server, what it protects, and the repositories that are kept of it."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.folder = folder
        self.tree, self.image = scratch / "tree", scratch / "disk.img"
        self.bulk = self.tree / "bulk"
        home = scratch / "home"
        home.mkdir()
        (home / "config.toml").write_text("quarantine_hours = 0\n")
        self.environment = {
            **os.environ,
            "STRONGROOM_HOME": str(home),
            "STRONGROOM_KEY_FILE": str(scratch / "key"),
        }
        self.moments: list[dict[str, object]] = []

    def fill(self) -> None:
        (self.tree / "folder").mkdir(parents=True)
        self.image.write_bytes(bytes(1 << 20))
        self._set_up()
        self._change()
        self.bulk.write_bytes(random.Random(2026).randbytes(3 << 20))
        bulky = self._session()
        self._change()
        self.bulk.unlink()
        points = self._session()
        # The first session's pack loses the bulk, and moves on as it is then.
        for point in bulky:
            self._run("point", "remove", point, "--yes")
        for _ in range(2):
            self._run("repository", "prune", "repository", "--yes")
        self._keep(points, "first")
        self._change()
        self._session()
        self._keep(self._session("--synthetic-full"), "first")
        self._change()
        self._run("password", "edit", "golden", "--password-file", self._password("second"))
        points = self._session()
        self._keep(points, "second")
        self._run("point", "export", points[0], "--to", self.folder / "exported.zip")
        self._run(
            "job", "copy", "create", "copy", "--from", "golden", "--to", "copies",
            "--encrypt", "password:copy", "--by-hand",
        )  # fmt: skip
        self._run("job", "copy", "run", "copy")
        self._change()
        self._run("job", "edit", "golden", "--encrypt", "none", "--yes-weaken")
        self._keep(self._session(), "plain")
        for name in ("repository", "copies"):
            for leftover in ("locks", ".tmp"):
                shutil.rmtree(self.folder / name / leftover, ignore_errors=True)
        (self.folder / "moments.json").write_text(json.dumps(self.moments, indent=1) + "\n")

    def _set_up(self) -> None:
        for name, text in PASSWORDS.items():
            self._password(name).write_text(text + "\n")
            self._password(name).chmod(0o600)
        for name in ("repository", "copies"):
            self._run("repository", "add", name, self.folder / name)
        for name, first in (("golden", "first"), ("copy", "copy")):
            self._run("password", "add", name, "--password-file", self._password(first))
        self._run("recovery", "create", self.folder / "recovery.kit")
        self._run(
            "job", "create", "golden", "--repository", "repository",
            "--source", f"files:{self.tree}", "--source", f"image:{self.image}",
            "--encrypt", "password:golden",
        )  # fmt: skip

    def _run(self, *words: object) -> dict[str, object]:
        command = [sys.executable, "-m", "strongroom", *map(str, words), "--json"]
        answer = subprocess.run(
            command, env=self.environment, check=True, capture_output=True, text=True
        )
        result: dict[str, object] = json.loads(answer.stdout)
        return result

    def _password(self, name: str) -> Path:
        return self.folder / f"{name}.password"

    def _change(self) -> None:
        step = len([*(self.tree / "folder").iterdir()])
        (self.tree / "changing").write_text(f"moment {step}\n" * 50)
        (self.tree / "folder" / f"new-{step}").write_text("kept\n" * (step + 1))
        content = bytearray(self.image.read_bytes())
        content[step << 17 : (step << 17) + 5] = b"step%d" % step
        self.image.write_bytes(content)

    def _session(self, *options: str) -> list[str]:
        points = self._run("job", "run", "golden", *options)["points"]
        assert isinstance(points, list)
        return points

    def _keep(self, points: list[str], opens: str) -> None:
        """Note what the newest points hold, and with which password they open."""
        tree, image = points
        files = {
            str(path.relative_to(self.tree)): path.read_text()
            for path in sorted(self.tree.rglob("*"))
            if path.is_file()
        }
        held = hashlib.sha256(self.image.read_bytes()).hexdigest()
        self.moments.append(
            {"tree": tree, "image": image, "opens": opens, "files": files, "image_sha256": held}
        )


if __name__ == "__main__":
    generate(Path(sys.argv[1]))
