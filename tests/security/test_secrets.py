"""No secret leaves: not in arguments, variables, logs, outputs, home or repository.

One machine runs through the commands with everything logged, while the process table is looked
at all the time; then everything that was written is searched, for the secrets as they were given
and for the keys that the keystore holds.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from strongroom.control.keys import open_keystore
from strongroom.keystore import ChainRecord, IdentityRecord, PasswordRecord
from strongroom.settings import load
from tests.e2e.conftest import OTHER_PASSWORD, Transcript

FIRST = "Mauve-otters-juggle-7-lanterns"
SECOND = "Quiet-harbours-sell-9-violins"
WRONG = "Nobody-ever-chose-7-this-one"
PASSWORDS = (FIRST, SECOND, WRONG)
CONTENT = "the-marked-content-of-a-file"
NAME = "the-marked-name-of-a-file"
OUTPUT = "the-marked-output-of-a-command"


def forms(secret: bytes) -> list[bytes]:
    """Return a secret as it may be written somewhere."""
    plain = base64.b64encode(secret).rstrip(b"=")
    return [
        secret,
        secret.hex().encode(),
        secret.hex().upper().encode(),
        plain,
        base64.urlsafe_b64encode(secret).rstrip(b"="),
        base64.b32encode(secret).rstrip(b"="),
        repr(secret)[2:-1].encode(),
        secret[::-1],
    ]


class Watch(threading.Thread):
    """Looks at arguments and variables of all that this test started, again and again."""

    def __init__(self, mark: str) -> None:
        super().__init__(daemon=True)
        self._mark = mark.encode()
        self._over = threading.Event()
        self.looks = 0
        self.found: dict[str, set[bytes]] = {"cmdline": set(), "environ": set()}

    def run(self) -> None:
        while not self._over.wait(0.002):
            self._look()

    def stop(self) -> None:
        self._over.set()
        self.join()

    def _look(self) -> None:
        own = os.getpid()
        for name in os.listdir("/proc"):
            if not name.isdigit() or int(name) == own:
                continue
            try:
                variables = Path("/proc", name, "environ").read_bytes()
                arguments = Path("/proc", name, "cmdline").read_bytes()
            except OSError:
                continue
            if self._mark in variables:
                self.looks += 1
                self.found["environ"].add(variables)
                self.found["cmdline"].add(arguments)


@dataclass
class Told:
    """One machine after its day, and all that could be seen of it."""

    machine: Transcript
    place: Path
    watch: Watch
    outputs: list[str] = field(default_factory=list)

    @property
    def repository(self) -> Path:
        return self.place / "repository"

    def run(self, *words: object, status: int = 0) -> str:
        done = self.machine.run(*map(str, words), status=status)
        self.outputs += [done.stdout, done.stderr]
        return done.stdout

    def written(self, *folders: Path) -> dict[str, bytes]:
        """Return every file in these folders, and every name as if it were content."""
        found: dict[str, bytes] = {}
        for folder in folders:
            for path in folder.rglob("*"):
                found[str(path)] = path.read_bytes() if path.is_file() else b""
        return found


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    place = tmp_path_factory.mktemp("secrets")
    machine = Transcript(place / "here")
    del machine.environment["PASSWORD"], machine.environment["OTHER"]
    machine.environment["STRONGROOM_LOG"] = "debug"
    machine.environment["WATCHED"] = mark = f"by-{os.getpid()}"
    for name, secret in (("first", FIRST), ("second", SECOND), ("wrong", WRONG)):
        (place / name).write_text(secret + "\n")
        (place / name).chmod(0o600)
    tree = place / "srv"
    tree.mkdir()
    (tree / NAME).write_text(CONTENT * 50)
    watch = Watch(mark)
    watch.start()
    told = Told(machine, place, watch)
    try:
        _a_day(told, tree)
    finally:
        watch.stop()
    return told


def _a_day(told: Told, tree: Path) -> None:
    """Run every command that has to do with secrets, the failing ones too."""
    run, place = told.run, told.place
    first, second, wrong = (
        ["--password-file", place / name] for name in ("first", "second", "wrong")
    )
    read = f"cat {place}/second"
    run("repository", "add", "main", told.repository)
    run("password", "add", "mine", *first, "--hint", "sea animals")
    run("password", "add", "weak", "--password-command", "echo short", status=2)
    run("recovery", "create", place / "kit")
    run(
        *("job", "create", "office", "--repository", "main", "--source", f"files:{tree}"),
        *("--source", f"command:echo {OUTPUT[:3]}''{OUTPUT[3:]}", "--encrypt", "password:mine"),
        *("--pre-script", "true", "--post-script", "true", "--on-failure", "true"),
    )
    run("job", "run", "office")
    run("password", "verify", "mine", *wrong, status=12)
    run("password", "verify", "mine", *first)
    run("password", "edit", "mine", "--password-command", read)
    (tree / "more").write_text(CONTENT)
    run("job", "run", "office")
    run("--debug", "job", "run", "office", "--full")
    points = json.loads(run("--json", "point", "list"))["points"]
    latest = points[0]["id"]
    run("restore", latest, "--to", place / "out", "--verify")
    run("point", "files", latest)
    run("point", "show", latest)
    run("point", "diff", latest, points[2]["id"])
    run("point", "verify", latest)
    there = ["--repository", told.repository]
    run("restore", latest, "--to", place / "no", *there, *wrong, status=12)
    run("restore", latest, "--to", place / "yes", *there, *second)
    run("restore", latest, "--to", place / "kit-out", *there, "--recovery-key", place / "kit")
    run("recovery", "test", place / "kit")
    run("recovery", "show")
    run("repository", "scrub", "main")
    run("repository", "verify", "main")
    run("repository", "rescan", "main", *second)
    run("password", "edit", "mine", "--write-only")
    run("job", "run", "office")
    run("restore", latest, "--to", place / "no", status=12)
    run("password", "edit", "mine", *first, "--old-password-file", place / "wrong", status=12)
    run("password", "edit", "mine", *first, "--old-password-file", place / "second")
    run("job", "edit", "office", "--encrypt", "none", status=2)
    run("password", "remove", "mine", status=15)
    run("password", "list")
    run("job", "show", "office")
    run("status")
    # A bug shows a traceback, and a traceback shows what is in it.
    told.machine.environment["STRONGROOM_KEY_FILE"] = str(place / "srv")
    run("job", "run", "office", status=12)
    told.machine.environment["STRONGROOM_KEY_FILE"] = str(told.machine.folder / "key")


def test_no_secret_stands_in_an_argument_or_a_variable_of_any_process(told: Told) -> None:
    assert told.watch.looks > 100
    assert any(b"strongroom" in seen for seen in told.watch.found["cmdline"])
    for what, seen in told.watch.found.items():
        for one in seen:
            for password in PASSWORDS:
                assert password.encode() not in one, what


def test_no_password_is_written_or_said_anywhere(told: Told) -> None:
    written = told.written(told.machine.folder, told.repository)
    assert any("strongroom.log" in name for name in written)
    for password in PASSWORDS:
        for form in forms(password.encode()):
            for name, data in written.items():
                assert form not in data, name
                assert form not in name.encode(), name
            for said in told.outputs:
                assert form not in said.encode()


def test_no_content_name_or_output_of_what_is_protected_stands_in_the_repository(
    told: Told,
) -> None:
    for mark in (CONTENT, NAME, OUTPUT, "office", str(told.place / "srv")):
        for name, data in told.written(told.repository).items():
            assert mark.encode() not in data, name
            assert mark not in name.removeprefix(str(told.repository))


def test_no_content_of_what_is_protected_stands_in_the_home(told: Told) -> None:
    for name, data in told.written(told.machine.folder).items():
        for mark in (CONTENT, NAME):
            assert mark.encode() not in data, name


def test_no_key_stands_outside_the_keystore_seal(told: Told) -> None:
    """What the keystore holds is looked for as it is, in hexadecimal and in base 32 and 64."""
    keystore = open_keystore(load(told.machine.environment))
    keys: list[bytes] = []
    for name in keystore.names(IdentityRecord):
        keys.append(keystore.get(IdentityRecord, name).seed.expose())
    for name in keystore.names(PasswordRecord):
        seed = keystore.get(PasswordRecord, name).seed
        keys += [seed.expose()] if seed is not None else []
    for name in keystore.names(ChainRecord):
        record = keystore.get(ChainRecord, name)
        keys.append(record.dedup_key.expose())
        keys += [record.chain_key_seed.expose()] if record.chain_key_seed is not None else []
        keys += [key.expose() for key in keystore.metakeys(record.chain_id).values()]
    key_file = told.machine.folder / "key"
    keys.append(_file_key(key_file))
    assert len(keys) >= 6
    written = told.written(told.machine.home, told.repository)
    said = "\n".join(told.outputs).encode()
    for key in keys:
        for form in forms(key):
            assert form not in said
            for name, data in written.items():
                assert form not in data, name


def _file_key(path: Path) -> bytes:
    """Return what the key file holds, whatever it is written like."""
    data = path.read_bytes().strip()
    return max(data.split(), key=len)


def test_home_keystore_log_and_key_file_are_their_owners_alone(told: Told) -> None:
    home = told.machine.home
    for path in (home, home / "strongroom.log", told.machine.folder / "key", home / "keystore"):
        assert path.stat().st_mode & 0o077 == 0, path
    for path in (home / "keystore").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


# --- memory --------------------------------------------------------------------------------------


def test_a_process_that_holds_keys_leaves_no_core_and_lets_nobody_look(tmp_path: Path) -> None:
    """While a source command holds the session open, its keys are in memory.

    Root may look everywhere, so everything here runs without root's privileges.
    """
    fence = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    machine = Transcript(tmp_path / "here")
    machine.run("repository", "add", "main", tmp_path / "repository")
    machine.run("password", "add", "mine", "--password-env", "PASSWORD")
    os.mkfifo(tmp_path / "began")
    os.mkfifo(tmp_path / "go")
    holding = f"echo $$ > {tmp_path}/began; cat {tmp_path}/go"
    machine.run(
        *("job", "create", "office", "--repository", "main"),
        *("--source", f"command:{holding}", "--encrypt", "password:mine"),
    )
    job = subprocess.Popen(
        [*fence, sys.executable, "-m", "strongroom", "job", "run", "office"],
        env=machine.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        command = int((tmp_path / "began").read_text())
        limits = Path(f"/proc/{job.pid}/limits").read_text()
        (core,) = [line.split() for line in limits.splitlines() if line.startswith("Max core")]
        assert core[4] == "0"
        look: dict[str, Any] = {"capture_output": True, "check": False}
        assert subprocess.run([*fence, "cat", f"/proc/{command}/environ"], **look).returncode == 0
        for what in ("environ", "maps", "mem"):
            done = subprocess.run([*fence, "head", "-c1", f"/proc/{job.pid}/{what}"], **look)
            assert done.returncode != 0, what
            assert b"ermission denied" in done.stderr
    finally:
        (tmp_path / "go").write_text("output")
        assert job.wait(timeout=60) == 0


def test_nothing_that_is_run_inherits_the_variable_that_holds_a_password(tmp_path: Path) -> None:
    machine = Transcript(tmp_path / "here")
    machine.run("repository", "add", "main", tmp_path / "repository")
    machine.run("password", "add", "mine", "--password-env", "PASSWORD")

    def seen(what: str) -> str:
        return f"env > {tmp_path}/{what}.seen"

    machine.run(
        *("job", "create", "office", "--repository", "main", "--encrypt", "password:mine"),
        *("--source", f"command:{seen('source')}; echo dump; test -f {tmp_path}/good"),
        *("--pre-script", seen("pre"), "--post-script", seen("post")),
        *("--on-failure", seen("failure")),
    )
    # The old password is not needed here; that it was named is enough.
    machine.run("job", "run", "office", "--old-password-env", "OTHER", status=16)
    reading = f"{seen('command')}; cat {tmp_path}/new"
    (tmp_path / "new").write_text(OTHER_PASSWORD)
    machine.run(
        *("password", "edit", "mine", "--password-command", reading),
        *("--old-password-env", "PASSWORD"),
    )
    withheld = {"command": "PASSWORD"}
    whats = ("pre", "source", "post", "failure", "command")
    for what in whats:
        variables = (tmp_path / f"{what}.seen").read_text().splitlines()
        names = {line.partition("=")[0] for line in variables}
        secret = withheld.get(what, "OTHER")
        assert secret not in names, what
        assert machine.environment[secret] not in "\n".join(variables), what
        # All the rest is theirs: what a script needs is for its writer to know.
        assert {*machine.environment} - {secret} <= names, what
