"""The command, run as a person or a timer runs it: in a process of its own, or in this one."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from strongroom import app
from strongroom.cli.main import main
from tests.support import forked_line

if TYPE_CHECKING:
    from typing import Self

PASSWORD = "Mauve-otters-juggle-7-lanterns"
OTHER_PASSWORD = "Quiet-harbours-sell-9-violins"


@dataclass
class Transcript:
    """One machine: a home, its key file, and whatever was said to the command."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    starts: bool = False
    """Start Python for every line, as a shell does; otherwise lines run in forks."""
    passed: timedelta = timedelta()
    """How much later it is than the machine's clock says, for lines in forks."""
    jumped: timedelta = timedelta()
    """How far the clock was set beside that."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "PYTHONPATH": os.pathsep.join(sys.path),
            "STRONGROOM_HOME": str(self.home),
            "STRONGROOM_KEY_FILE": str(self.folder / "key"),
            "PASSWORD": PASSWORD,
            "OTHER": OTHER_PASSWORD,
        }

    def set_up(self, *password: str) -> Self:
        """Make what most tests begin with: a repository `main` and a password `mine`.

        Args:
            password: More options of `password add`.
        """
        self.run("repository", "add", "main", self.folder / "repository")
        self.run("password", "add", "mine", "--password-env", "PASSWORD", *password)
        return self

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def wait(self, **span: float) -> None:
        """Let time pass, for lines in forks: `days=3`."""
        self.passed += timedelta(**span)

    def run(
        self, *words: str | Path, status: int = 0, typed: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run one command line and check its exit status.

        Args:
            words: Of the command line.
            status: What it has to end with.
            typed: What stands on its standard input.
        """
        line = [*map(str, words)]
        done = self._started(line, typed) if self.starts else self._forked(line, typed)
        assert done.returncode == status, f"{words}\n{done.stdout}\n{done.stderr}"
        return done

    def _started(self, line: list[str], typed: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "strongroom", *line],
            env=self.environment,
            check=False,
            timeout=300,
            input=typed,
            capture_output=True,
            text=True,
        )

    def _forked(self, line: list[str], typed: str) -> subprocess.CompletedProcess[str]:
        with tempfile.TemporaryDirectory() as place:
            files = [Path(place, name) for name in ("in", "out", "err")]
            for file in files:
                file.write_text(typed if file.name == "in" else "")
            child, _ = forked_line.fork(
                lambda: forked_line.run_line(
                    line, self.environment, *files, passed=self.passed, jumped=self.jumped
                )
            )
            status = forked_line.ended(child)
            out, err = (file.read_text() for file in files[1:])
        return subprocess.CompletedProcess(line, status, out, err)

    def json(self, *words: str | Path, status: int = 0) -> Any:
        """Run one command line with `--json` and return its one document."""
        return json.loads(self.run(*words, "--json", status=status).stdout)


@dataclass
class SameProcess(Transcript):
    """The same for tests that say a lot: a process of its own takes half a second to begin."""

    said: list[bytes] = field(default_factory=list)
    """Everything that a command wrote to the screen, to be looked through."""

    @property
    def temporary(self) -> Path:
        """Where its temporary files are."""
        return self.folder / "temporary"

    def run(
        self, *words: str | Path, status: int = 0, stdout: io.BytesIO | None = None, **_: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run one command line and check its exit status.

        Args:
            words: The command line.
            status: What it is to end with.
            stdout: Where its output goes; it may do something when it is written to.
        """
        self.temporary.mkdir(exist_ok=True)
        raw = stdout or io.BytesIO()
        output, errors = io.TextIOWrapper(raw, "utf-8", write_through=True), io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            redirect_stdout(output),
            redirect_stderr(errors),
        ):
            for name in set(os.environ) - set(self.environment) - {"SOFTHSM2_CONF"}:
                patch.delenv(name)
            for name, value in self.environment.items():
                patch.setenv(name, value)
            patch.setattr(tempfile, "tempdir", str(self.temporary))
            # It holds for as long as the process does, and this one is the tests'.
            patch.setattr(app, "harden", lambda: True)
            ended = main([*map(str, words)])
        output.detach()
        written = raw.getvalue()
        self.said += [written, errors.getvalue().encode()]
        text = written.decode(errors="replace")
        assert ended == status, f"{words} ended with {ended}\n{text}\n{errors.getvalue()}"
        return subprocess.CompletedProcess([*map(str, words)], ended, text, errors.getvalue())


@pytest.fixture(autouse=True, scope="module")
def _quick_derivation(quick_derivation: None) -> None:
    """Lines that are started derive for the rest."""


@pytest.fixture
def here(tmp_path: Path) -> Transcript:
    """The machine that makes the backups."""
    return Transcript(tmp_path / "here")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Transcript:
    """A clean machine that has seen nothing of them."""
    return Transcript(tmp_path / "elsewhere")
