"""Encrypted backups from beginning to end, on data made for it: what `./demo` runs.

    five moments    first full │ increment │ new password │ encryption off │ and on again

Each moment is saved beside the backup: of the tree, what every entry was; of the image, a copy.
At the end every restore point is restored on a "machine" that has never seen the job, with the
repository and one secret, and compared with the moment that it stands for. Any difference, and
any answer of Strongroom's that is not the expected one, ends the demo with exit status 1.

Only the command line is used, in a folder of its own under the temporary one. No network, no root.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
IMAGE_SIZE = 192 * MIB
MARKER = b"a marker that no encrypted repository may show"
DAMAGED, LOCKED = 20, 12
PASSWORDS = {"first password": "walnut-Harbor-71-tin", "new password": "copper-Meadow-38-oak"}


class Surprise(Exception):
    """Something was not as it has to be."""


# --- Strongroom, by its command line ----------------------------------------------------------


class Machine:
    """A machine with Strongroom on it: its home, and its command line."""

    def __init__(self, folder: Path) -> None:
        beside = Path(sys.executable).with_name("strongroom")
        self._command = [str(beside)] if beside.exists() else [sys.executable, "-m", "strongroom"]
        self._environment = os.environ | {
            "HOME": str(folder),
            "STRONGROOM_HOME": str(folder / "home"),
            "STRONGROOM_KEY_FILE": str(folder / "etc" / "key"),
        }

    def __call__(self, *words: object, expect: int = 0) -> dict[str, Any]:
        """Run one command and return its JSON answer."""
        command = [*self._command, *map(str, words), "--json", "--progress", "none"]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True)
        if done.returncode != expect:
            raise Surprise(
                f"strongroom {' '.join(map(str, words))}\n"
                f"exit status {done.returncode} instead of {expect}\n{done.stderr}"
            )
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


# --- what is backed up ------------------------------------------------------------------------


@dataclass(frozen=True)
class Sources:
    """A tree of files, and an image with an ext4 file system."""

    tree: Path
    image: Path

    def make(self) -> None:
        """Make both; the image holds what the tree holds."""
        letters = Random(7)  # noqa: S311 - the same every time
        words = [bytes(letters.choices(b"abcdefghiklmnoprstuvw", k=6)) for _ in range(2000)]
        for number in range(1200):
            folder = self.tree / "letters" / f"{number % 40:02d}"
            folder.mkdir(parents=True, exist_ok=True)
            text = b" ".join(letters.choices(words, k=letters.randrange(50, 3000)))
            (folder / f"letter {number}.txt").write_bytes(text)
        photos = self.tree / "photos"
        photos.mkdir()
        for number in range(6):
            noise = letters.randbytes(4 * MIB)
            (photos / f"{number}.raw").write_bytes(noise[: 2 * MIB] + MARKER + noise[2 * MIB :])
        (self.tree / "naïve \udcff name").write_text("a name that is not UTF-8\n")
        (self.tree / "program").write_text("#!/bin/sh\n")
        (self.tree / "program").chmod(0o750)
        (self.tree / "link").symlink_to("letters/00/letter 0.txt")
        os.link(self.tree / "photos/0.raw", self.tree / "the same photo")
        with (self.tree / "sparse").open("wb") as file:
            file.truncate(64 * MIB)
            file.seek(40 * MIB)
            file.write(b"an island")
        if shutil.which("mkfs.ext4"):
            quiet("mkfs.ext4", "-q", "-d", self.tree, self.image, f"{IMAGE_SIZE >> 10}k")
        else:
            say("  (mkfs.ext4 is missing, package e2fsprogs: the image holds raw data instead)")
            self.image.write_bytes(letters.randbytes(IMAGE_SIZE // 3))
            os.truncate(self.image, IMAGE_SIZE)

    def change(self, number: int) -> None:
        """Change both a little, differently for every number."""
        letters = Random(number)  # noqa: S311 - likewise
        for path in sorted(self.tree.glob("letters/*/*.txt"))[number::90]:
            path.write_bytes(path.read_bytes() + b"\nP.S. " + letters.randbytes(40).hex().encode())
        (self.tree / f"new {number}").write_bytes(letters.randbytes(300_000))
        (self.tree / "letters" / f"{number:02d}").rename(self.tree / f"moved {number}")
        (self.tree / "photos" / f"{number}.raw").unlink()
        if shutil.which("debugfs"):
            fresh = self.tree / f"new {number}"
            quiet("debugfs", "-w", "-R", f'write "{fresh}" new{number}', self.image)
        else:
            with self.image.open("r+b") as file:
                file.seek(letters.randrange(IMAGE_SIZE // 2))
                file.write(letters.randbytes(300_000))


def quiet(*command: object) -> None:
    subprocess.run([*map(str, command)], check=True, capture_output=True)


def look(tree: Path) -> dict[str, tuple[object, ...]]:
    """Return what every entry of a tree is: kind and mode, time, size, content or target."""
    entries: dict[str, tuple[object, ...]] = {}
    for path in [tree, *tree.rglob("*")]:
        status = path.lstat()
        kind = stat.S_IFMT(status.st_mode)
        content: object = None
        if kind == stat.S_IFLNK:
            content = path.readlink()
        elif kind == stat.S_IFREG:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").digest()
        size = status.st_size if kind == stat.S_IFREG else 0
        name = str(path.relative_to(tree))
        entries[name] = (status.st_mode, status.st_mtime_ns, size, content)
    return entries


def same_bytes(one: Path, other: Path) -> bool:
    with one.open("rb") as left, other.open("rb") as right:
        while True:
            piece = left.read(4 * MIB)
            if piece != right.read(4 * MIB):
                return False
            if not piece:
                return True


@dataclass
class Moment:
    """One session, and what its sources were when it ran."""

    title: str
    tree: dict[str, tuple[object, ...]]
    image: Path
    session: dict[str, Any]
    encrypted: bool
    points: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By kind of source: the point as `point list` shows it."""


# --- what is shown ----------------------------------------------------------------------------


def say(text: str = "") -> None:
    print(text, flush=True)


def step(title: str) -> None:
    say()
    say(title)
    say("-" * len(title))


def size(count: float) -> str:
    return f"{count / MIB:.1f} MiB" if count >= MIB / 10 else f"{count / 1024:.1f} KiB"


def check(what: str, holds: bool) -> None:
    say(f"  {'ok ' if holds else 'NO '} {what}")
    if not holds:
        raise Surprise(what)


@contextmanager
def working_folder(keep: bool) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="strongroom-demo-"))
    try:
        yield folder
    finally:
        if keep:
            say(f"\nKept: {folder}")
        else:
            shutil.rmtree(folder)


# --- the story --------------------------------------------------------------------------------


class Demo:
    """The story, in the order in which it happens."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = folder / "repository"
        self.sources = Sources(folder / "tree", folder / "disk.img")
        self.moments: list[Moment] = []
        self.server = Machine(self._folder("server"))
        self.kit = folder / "recovery.kit"
        self.secrets: dict[str, Path] = {}
        for name, text in PASSWORDS.items():
            self.secrets[name] = folder / f"{name}.txt"
            self.secrets[name].write_text(text + "\n")
            self.secrets[name].chmod(0o600)

    def _folder(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir()
        return path

    def run(self) -> None:
        self.set_up()
        self.back_up()
        self.show_sizes()
        self.show_what_the_storage_sees()
        self.show_who_opens_what()
        self.restore_everything()
        self.damage()

    def set_up(self) -> None:
        step("1  A repository, a password, a recovery kit, a job")
        self.sources.make()
        files = sum(path.is_file() for path in self.sources.tree.rglob("*"))
        stored = self.sources.image.stat().st_blocks * 512
        say(f"  tree     {files} files")
        say(f"  image    {size(IMAGE_SIZE)}, {size(stored)} of it allocated")
        server = self.server
        server("repository", "add", "main", self.repository)
        server("password", "add", "demo", "--password-file", self.secrets["first password"])
        kit = server("recovery", "create", self.kit)
        self.signer = kit["key"]["signer"]
        server(
            *("job", "create", "demo", "--repository", "main", "--encrypt", "password:demo"),
            *("--source", f"files:{self.sources.tree}", "--source", f"image:{self.sources.image}"),
        )
        say(f"  signer   {self.signer}")

    def back_up(self) -> None:
        step("2  Five sessions, with changes between them")
        server = self.server
        self.session("first full", kind="full", reason="first")
        self.sources.change(1)
        self.session("increment", kind="incremental")
        self.sources.change(2)
        server("password", "edit", "demo", "--password-file", self.secrets["new password"])
        self.session("new password", kind="incremental")
        self.sources.change(3)
        server("job", "edit", "demo", "--encrypt", "none", "--yes-weaken")
        self.session("encryption off", kind="full", reason="encryption-off", encrypted=False)
        self.sources.change(4)
        server("job", "edit", "demo", "--encrypt", "password:demo")
        self.session("encryption on", kind="full", reason="encryption-on")
        rows = {row["id"]: row for row in server("point", "list", "demo")["points"]}
        for moment in self.moments:
            for point in moment.session["points"]:
                moment.points[rows[point]["source"].partition(":")[0]] = rows[point]
                if rows[point]["encrypted"] != moment.encrypted:
                    raise Surprise(f"point {point}: encrypted is {rows[point]['encrypted']}")

    def session(self, title: str, *, kind: str, reason: str = "", encrypted: bool = True) -> None:
        """Save this moment, back it up, and check that the session is what it has to be."""
        saved = self.folder / f"saved {len(self.moments)}.img"
        quiet("cp", "--sparse=always", "--reflink=auto", self.sources.image, saved)
        tree = look(self.sources.tree)
        done = self.server("job", "run", "demo")
        if (done["state"], done["kind"], done["reason"]) != ("success", kind, reason):
            raise Surprise(f"{title}: {json.dumps(done, indent=2)}")
        self.moments.append(Moment(title, tree, saved, done, encrypted))
        why = f", by itself ({reason})" if reason not in ("", "first") else ""
        check(f"{title}: {kind}{why}", True)

    def show_sizes(self) -> None:
        step("3  Sizes and speeds")
        say(f"  {'session':<16}{'read':>12}{'changed':>12}{'stored':>12}{'time':>9}{'speed':>14}")
        for moment in self.moments:
            done = moment.session
            say(
                f"  {moment.title:<16}{size(done['read_bytes']):>12}"
                f"{size(done['changed_bytes']):>12}{size(done['stored_bytes']):>12}"
                f"{done['seconds']:>7.2f} s{done['read_bytes'] / MIB / done['seconds']:>8.0f} MiB/s"
            )
        say("  (speed: bytes read by the time of the whole session, start and end included)")

    def show_what_the_storage_sees(self) -> None:
        step("4  What the storage sees")
        found = {True: 0, False: 0}
        plain = {moment.points["files"]["chain"] for moment in self.moments if not moment.encrypted}
        for path in self.repository.rglob("*"):
            if path.is_file():
                sealed = not any(chain in str(path) for chain in plain)
                found[sealed] += path.read_bytes().count(MARKER)
        check(f"the marker in encrypted chains: found {found[True]} times", found[True] == 0)
        check(f"the marker in the plain chain:  found {found[False]} times", found[False] > 0)
        nobody = Machine(self._folder("nobody"))
        nobody("repository", "scrub", self.repository, "--signer", self.signer)
        check("scrub, with no key at all: every stored byte is what was written", True)

    def show_who_opens_what(self) -> None:
        step("5  Which key opens what")
        machine = Machine(self._folder("asker"))
        ways: dict[str, tuple[object, ...]] = {
            "no secret": ("--signer", self.signer),
            **{name: ("--password-file", file) for name, file in self.secrets.items()},
            "recovery kit": ("--recovery-key", self.kit),
        }
        opens: dict[str, set[str]] = {}
        for name, secret in ways.items():
            listed = machine(
                *("point", "list", "--repository", self.repository, *secret),
                *(() if name == "no secret" else ("--allow-unencrypted",)),
            )
            opens[name] = {row["id"] for row in listed["points"] if not row["locked"]}
        say(f"  {'session':<18}" + "".join(f"{name:>15}" for name in ways))
        table = []
        for moment in self.moments:
            ids = set(moment.session["points"])
            row = [ids <= opened for opened in opens.values()]
            table.append(row)
            cells = ["opens" if one else "-" for one in row]
            if not moment.encrypted:
                cells = ["plain"] * len(cells)
            say(f"  {moment.title:<18}" + "".join(f"{cell:>15}" for cell in cells))
        expected = [
            [False, True, True, True],  # the new password opens what the first one sealed
            [False, True, True, True],
            [False, False, True, True],  # sealed for the new password: the first is too old
            [True, True, True, True],
            [False, False, True, True],
        ]
        check("as it has to be", table == expected)
        plain = next(moment for moment in self.moments if not moment.encrypted)
        refused = machine(
            *("restore", plain.points["files"]["id"], "--to", self.folder / "refused"),
            *("--repository", self.repository, "--password-file", self.secrets["new password"]),
            expect=DAMAGED,
        )
        check("a plain point where a secret was given: refused", refused["error"] is not None)
        machine(
            *("restore", self.moments[-1].points["files"]["id"], "--to", self.folder / "refused"),
            *("--repository", self.repository, "--password-file", self.secrets["first password"]),
            expect=LOCKED,
        )
        check("a password that is too old: refused, nothing written", not self._refused_exists())

    def _refused_exists(self) -> bool:
        return (self.folder / "refused").exists()

    def restore_everything(self) -> None:
        step("6  Every point restored, with the repository and the new password alone")
        machine = Machine(self._folder("new machine"))
        for number, moment in enumerate(self.moments):
            target = self.folder / f"restored {number}"
            access: list[object] = ["--repository", self.repository]
            if moment.encrypted:
                access += ["--password-file", self.secrets["new password"]]
            else:
                access += ["--signer", self.signer]
            tree, image = moment.points["files"]["id"], moment.points["image"]["id"]
            begun = time.monotonic()
            machine("restore", tree, "--to", target, "--strip", *access)
            machine("restore", image, "--to", target.with_suffix(".img"), *access)
            seconds = time.monotonic() - begun
            same = look(target) == moment.tree
            check(f"{moment.title}: {len(moment.tree)} entries of the tree are the same", same)
            same = same_bytes(target.with_suffix(".img"), moment.image)
            check(f"{moment.title}: the image is the same, byte for byte ({seconds:.1f} s)", same)
            shutil.rmtree(target)
            if number == len(self.moments) - 1 and shutil.which("e2fsck"):
                quiet("e2fsck", "-fn", target.with_suffix(".img"))
                check("the last image is a clean ext4 file system", True)
            target.with_suffix(".img").unlink()

    def damage(self) -> None:
        step("7  One bit flipped in the storage")
        chain = self.moments[0].points["image"]["chain"]
        pack = max(
            (self.repository / "chains" / chain / "packs").rglob("*"),
            key=lambda path: path.stat().st_size if path.is_file() else 0,
        )
        data = bytearray(pack.read_bytes())
        data[len(data) // 2] ^= 1
        pack.chmod(0o600)
        pack.write_bytes(data)
        nobody = Machine(self._folder("watcher"))
        words = ("repository", "scrub", self.repository, "--signer", self.signer)
        answer = nobody(*words, expect=DAMAGED)
        check("scrub, with no key, finds it", answer.get("error") is not None)
        data[len(data) // 2] ^= 1
        pack.write_bytes(data)
        nobody(*words)
        check("put right, scrub is content", True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__.splitlines()[0])
    parser.add_argument("--keep", action="store_true", help="leave everything for a closer look")
    begun = time.monotonic()
    say("Strongroom: encrypted backups from beginning to end, on data made for it.")
    try:
        with working_folder(parser.parse_args().keep) as folder:
            Demo(folder).run()
    except (Surprise, subprocess.CalledProcessError) as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    say(f"\nEvery point restored to its own moment. {time.monotonic() - begun:.0f} s in all.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
