"""Command lines that are watched: what they write, say and start, and every secret they hold.

    with Observation.begun(folder) as seen:
        machine = WatchedMachine(folder / "here", seen)
        machine.run("job", "run", "office")
    assert seen.leaks() == {}

A command runs in a fork of this process, so that nothing has to be imported again, with
`--debug` and a temporary folder of its own; with `fresh=True` it is started as a person starts
it. Below `folder` all is looked through but `secrets`, where what is secret lies by design.
"""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from unittest import mock

from strongroom.cli import reference
from strongroom.crypto import kdf
from strongroom.crypto.envelope import SessionSecrets
from strongroom.crypto.keys import SecretBytes
from tests.support import forked_line
from tests.support.secret_search import SHORTEST, SecretSearch

LEAVES: Final = frozenset(
    words
    for words, command, _ in reference.commands()
    if words and not hasattr(command, "list_commands")
)
"""Every command there is, `job run` for example."""
_LOOK_SECONDS: Final = 0.005


class Watch(threading.Thread):
    """Looks again and again at what this test started, and into its temporary folder."""

    def __init__(self, temporary: Path, syslog: socket.socket) -> None:
        super().__init__(daemon=True)
        self._temporary = temporary
        self._syslog = syslog
        self._over = threading.Event()
        self.arguments: set[bytes] = set()
        self.variables: set[bytes] = set()
        self.temporary: set[bytes] = set()
        self.messages: list[bytes] = []

    def run(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            self._look()

    def stop(self) -> None:
        self._over.set()
        self.join()
        self._look()

    def _look(self) -> None:
        self._look_below(Path("/proc/self"))
        for path in self._temporary.rglob("*"):
            self.temporary.add(os.fsencode(path.name))
            with suppress(OSError):
                self.temporary.add(path.read_bytes() if path.is_file() else b"")
        with suppress(BlockingIOError):
            while True:
                self.messages.append(self._syslog.recv(1 << 16))

    def _look_below(self, process: Path) -> None:
        # What ended meanwhile, or forbids a look, is not looked at; what it started may be.
        for task in _listed(process / "task"):
            with suppress(OSError):
                for child in (task / "children").read_text().split():
                    started = Path("/proc", child)
                    with suppress(OSError):
                        self.arguments.add((started / "cmdline").read_bytes())
                        self.variables.update((started / "environ").read_bytes().split(b"\0"))
                    self._look_below(started)


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


@dataclass
class Observation:
    """All that could be seen of some machines, and the secrets that they held."""

    folder: Path
    watch: Watch
    port: int
    secrets: dict[bytes, str] = field(default_factory=dict)
    said: defaultdict[str, bytes] = field(default_factory=lambda: defaultdict(bytes))
    """By command line, standard output and standard error."""
    ended: defaultdict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    """By command, the statuses that it ended with."""

    @classmethod
    @contextmanager
    def begun(cls, folder: Path) -> Iterator[Observation]:
        """Watch what happens in a folder."""
        forked_line.import_everything()
        for name in ("secrets", "temporary"):
            (folder / name).mkdir()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
            listener.bind(("127.0.0.1", 0))
            listener.setblocking(False)
            watch = Watch(folder / "temporary", listener)
            watch.start()
            try:
                yield cls(folder, watch, listener.getsockname()[1])
            finally:
                watch.stop()

    def secret(self, kind: str, text: str) -> Path:
        """Know a secret of the operator's and return a file that holds it."""
        self.secrets[text.encode()] = kind
        path = self.folder / "secrets" / kind.replace(" ", "-")
        path.write_text(text if text.endswith("\n") else text + "\n")
        path.chmod(0o600)
        return path

    def everything(self) -> dict[str, bytes]:
        """Return by place all that was written, said, sent and shown to others."""
        found: dict[str, bytes] = {}
        for path in self.folder.rglob("*"):
            name = path.relative_to(self.folder)
            if name.parts[0] != "secrets":
                found[str(name)] = path.read_bytes() if path.is_file() else b""
        found["names of files"] = "\n".join(found).encode()
        found |= self.said
        found["arguments of processes"] = b"\n".join(self.watch.arguments)
        found["variables of processes"] = b"\n".join(self.watch.variables)
        found["temporary files"] = b"\n".join(self.watch.temporary)
        found["syslog"] = b"\n".join(self.watch.messages)
        return found

    def leaks(self) -> dict[str, set[str]]:
        """Return the places where secrets stand, and which kinds of secret."""
        search = SecretSearch(self.secrets)
        looked_at: dict[bytes, set[str]] = {}
        leaks: dict[str, set[str]] = {}
        for place, data in self.everything().items():
            if data not in looked_at:
                looked_at[data] = search.found_in(data)
            if looked_at[data]:
                leaks[place] = looked_at[data]
        return leaks


@dataclass
class Said:
    """What one command line answered."""

    status: int
    out: str
    err: str


@dataclass
class WatchedMachine:
    """One machine whose every command line is watched."""

    folder: Path
    seen: Observation
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "PYTHONPATH": os.pathsep.join(sys.path),
            "TMPDIR": str(self.seen.folder / "temporary"),
            "STRONGROOM_HOME": str(self.home),
            "STRONGROOM_KEY_FILE": str(self.seen.folder / "secrets" / f"key-of-{self.folder.name}"),
            "STRONGROOM_SYSLOG": f"udp://127.0.0.1:{self.seen.port}",
            **self.environment,
        }

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def run(
        self,
        *words: object,
        status: int | None = 0,
        typed: Sequence[str] = (),
        broken: str = "",
        words_of_bug: str = "a bug",
        fresh: bool = False,
        **variables: str,
    ) -> Said:
        """Run one command line and check its exit status.

        Args:
            words: Of the command line.
            status: What it has to end with, if that matters.
            typed: Answers of a person who sits at a terminal.
            broken: A function of ours, as `module.name`, that has a bug.
            words_of_bug: What it says.
            fresh: Start a process of its own, as a person does.
            variables: More of the environment.
        """
        line = ["--debug", *map(str, words)]
        environment = self.environment | variables
        outputs = [self.seen.folder / "secrets" / name for name in ("out", "err", "held")]
        for path in outputs:
            path.write_bytes(b"")
        if fresh:
            ended, shown = _started(line, environment, outputs), b""
        else:
            bug = mock.patch(broken, side_effect=RuntimeError(words_of_bug)) if broken else None
            ended, shown = _forked(line, environment, outputs, typed, bug)
        out, err = (path.read_bytes() for path in outputs[:2])
        self.seen.said[f"said by {' '.join(line)}"] += out + err + shown
        if held := outputs[2].read_bytes():
            # What the operator gave keeps its name.
            self.seen.secrets = pickle.loads(held) | self.seen.secrets  # noqa: S301 - ours
        self.seen.ended[_command(line)].add(ended)
        said = Said(ended, out.decode(), err.decode() + shown.decode())
        assert status in (None, ended), f"{line}: {ended}\n{said.out}\n{said.err}"
        return said


def _command(line: Sequence[str]) -> str:
    words = [word for word in line if not word.startswith("-")]
    return next((" ".join(words[:n]) for n in (3, 2, 1) if " ".join(words[:n]) in LEAVES), "")


def _started(line: list[str], environment: Mapping[str, str], outputs: Sequence[Path]) -> int:
    with outputs[0].open("wb") as out, outputs[1].open("wb") as err:
        return subprocess.run(
            [sys.executable, "-m", "strongroom", *line],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            check=False,
            timeout=120,
        ).returncode


def _forked(
    line: list[str],
    environment: Mapping[str, str],
    outputs: Sequence[Path],
    typed: Sequence[str],
    bug: AbstractContextManager[object] | None,
) -> tuple[int, bytes]:
    files = [] if typed else [Path(os.devnull), *outputs[:2]]

    def work() -> int:
        held = _recorded()
        with bug or nullcontext():
            status = forked_line.run_line(line, environment, *files)
        outputs[2].write_bytes(pickle.dumps(held))
        return status

    child, terminal = forked_line.fork(work, terminal=bool(typed))
    shown = _answer(terminal, typed) if typed else b""
    return forked_line.ended(child), shown


def _answer(terminal: int, typed: Sequence[str]) -> bytes:
    """Type an answer for each question, and return all that the terminal showed."""
    shown = b""
    asked = iter(typed)
    with suppress(OSError):  # on Linux that is how a terminal ends
        while got := os.read(terminal, 4096):
            shown += got
            if shown.endswith((b": ", b"] ")) and not shown.endswith(b"strongroom: "):
                os.write(terminal, next(asked).encode() + b"\n")
    os.close(terminal)
    return shown


def _recorded() -> dict[bytes, str]:
    """Return where every secret is written from now on that this process holds or derives."""
    held: dict[bytes, str] = {}
    conceal, derive, check = SecretBytes.__init__, kdf.HKDF, SessionSecrets.__post_init__

    def concealing(self: SecretBytes, value: bytes) -> None:
        conceal(self, value)
        # One of few bytes is part of a request: too short a password, for one.
        if len(value) >= SHORTEST:
            held[bytes(value)] = type(self).__name__

    class Deriving:
        def __init__(self, *arguments: object) -> None:
            self._hkdf = derive(*arguments)
            self._purpose = bytes(arguments[-1]).decode(errors="replace")  # type: ignore[call-overload]

        def derive(self, secret: bytes) -> bytes:
            derived = self._hkdf.derive(secret)
            held[derived] = f"derived: {self._purpose}"
            if len(derived) > 32:
                held[derived[-32:]] = held[derived[:32]] = held[derived]
            return derived

    def checking(self: SessionSecrets) -> None:
        check(self)
        for form in (self.chunker_seed.to_bytes(8, "big"), str(self.chunker_seed).encode()):
            held[form] = "chunker seed"

    SecretBytes.__init__ = concealing  # type: ignore[method-assign]
    SessionSecrets.__post_init__ = checking  # type: ignore[method-assign]
    kdf.HKDF = Deriving  # type: ignore[assignment,misc]
    return held
