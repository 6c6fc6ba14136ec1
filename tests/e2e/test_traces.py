"""The traces of docs/architecture.md, run: each through keys, journal, ledger, point and index.

The command is run as an operator runs it; afterwards the repository is read as anybody can
read it, with no catalog and mostly without keys.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from strongroom.crypto.hpke import PublicKey
from strongroom.format.journal import (
    CondemnationBody,
    DeathBody,
    Entry,
    PromiseBody,
    SessionBody,
    SuccessionBody,
)
from strongroom.repository.repository import Repository
from strongroom.storage.local import LocalStorage
from tests.e2e.conftest import Transcript

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.format.tables import SessionRecord
    from strongroom.repository.chain import Chain

THIRD_PASSWORD = "Slow-comets-knit-4-ladders"
MIB = 1 << 20


@dataclass
class Office:
    """A machine with a job, what it protects, and its repository as anybody sees it."""

    machine: Transcript
    tree: Path
    repository: Path

    def run(self, *words: str | Path, status: int = 0) -> Any:
        """Run the job once."""
        return self.machine.json("job", "run", "office", *words, status=status)

    def write(self, name: str, text: str) -> None:
        (self.tree / name).write_text(text)

    def points(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.machine.json("point", "list")["points"]
        return found

    def chains(self) -> list[Chain]:
        """Return the chains, oldest first."""
        opened = Repository.open(LocalStorage(self.repository))
        chains = [opened.chain(chain_id) for chain_id in opened.chain_ids()]
        return sorted(chains, key=lambda chain: chain.header.created_at)

    def chain(self) -> Chain:
        (only,) = self.chains()
        return only

    def packs(self) -> set[str]:
        return {path.name for path in self.repository.glob("chains/*/packs/*/*")}

    def restored(self, point: str, target: Path, *words: str | Path) -> dict[str, str]:
        """Restore a point of a tree on this machine and return its files."""
        self.machine.run("restore", point, "--to", target, "--strip", *words)
        return files_of(target)


def files_of(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def entries_of(chain: Chain) -> list[Entry]:
    return [chain.entry(number) for number in chain.listing]


def bodies(chain: Chain, kind: type[Any]) -> list[Any]:
    return [entry.body for entry in entries_of(chain) if isinstance(entry.body, kind)]


def record_of(chain: Chain, body: SessionBody) -> SessionRecord:
    record = chain.sessions(body).get(body.slot)
    assert record is not None
    return record


def make_office(machine: Transcript, folder: Path, *options: str, encrypt: str = "") -> Office:
    tree = folder / "office"
    tree.mkdir()
    office = Office(machine, tree, folder / "repository")
    office.write("ledger", "one\n")
    office.write("minutes", "two\n")
    machine.environment["THIRD"] = THIRD_PASSWORD
    machine.run("repository", "add", "main", office.repository)
    if not encrypt:
        machine.run("password", "add", "mine", "--password-env", "PASSWORD", *options)
    machine.run(
        *("job", "create", "office", "--repository", "main", "--source", f"files:{tree}"),
        *("--encrypt", encrypt or "password:mine"),
    )
    return office


@pytest.fixture
def office(here: Transcript, tmp_path: Path) -> Office:
    return make_office(here, tmp_path)


def test_one_full(office: Office, tmp_path: Path) -> None:
    done = office.run()
    assert (done["kind"], done["reason"], done["state"]) == ("full", "first", "success")
    chain = office.chain()
    (body,) = bodies(chain, SessionBody)
    assert (body.base, body.counter, body.previous) == (0, 1, None)
    assert chain.entry(1).raw.previous_hash == chain.root_hash
    # Keys: an envelope in two copies for one recipient; the session sealed its own to it.
    assert len([*chain.storage.list(f"chains/{chain.chain_id.hex()}/envelopes/")]) == 2
    (envelope,) = chain.wrapped.envelopes().values()
    assert [stanza.kind for stanza in envelope.stanzas] == ["password"]
    record = record_of(chain, body)
    assert record.chain_key_id == envelope.chain_key_id == chain.header.recipients
    # Ledger: a page for every pack that is there.
    assert record.packs == len(office.packs())
    assert all(chain.ledger(record.ledger).get(number) for number in range(record.packs))
    (point,) = office.points()
    assert (point["id"], point["kind"]) == (done["points"][0], "full")
    assert office.restored("office@latest", tmp_path / "out") == files_of(office.tree)


def test_one_increment(office: Office, tmp_path: Path) -> None:
    first = office.run()
    before = files_of(office.tree)
    packs = office.packs()
    office.write("minutes", "two\nthree\n")
    second = office.run()
    assert (second["kind"], second["reason"]) == ("incremental", "")
    assert packs < office.packs()
    chain = office.chain()
    older, newer = bodies(chain, SessionBody)
    assert (newer.base, newer.counter) == (1, 2)
    assert record_of(chain, newer).chain_key_id == record_of(chain, older).chain_key_id
    assert record_of(chain, newer).sealed_keys != record_of(chain, older).sealed_keys
    # The history promises the point before, and the record before is referred to.
    remembered = chain.history(chain.entry(2)).get(1)
    assert remembered is not None
    assert [point.hex() for point in remembered.promised] == first["points"]
    assert chain.sessions(newer).get(older.slot) == record_of(chain, older)
    details = office.machine.json("point", "show", second["points"][0])
    assert details["parent"] == first["points"][0]
    assert office.restored(first["points"][0], tmp_path / "first") == before
    assert office.restored(second["points"][0], tmp_path / "second") == files_of(office.tree)


def test_two_sources_of_which_one_fails(office: Office, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "note").write_text("still here")
    office.machine.run("job", "edit", "office", "--add-source", f"files:{other}")
    office.run()
    other.rename(tmp_path / "unmounted")
    office.write("minutes", "changed\n")
    done = office.run(status=3)
    assert done["state"] == "warning"
    assert len(done["points"]) == 1
    assert any(str(other) in warning for warning in done["warnings"])
    newest = office.chain().entry(office.chain().listing[-1]).body
    assert isinstance(newest, SessionBody)
    assert len(newest.points) == 1
    by_source = {row["source"]: row["id"] for row in office.points()}
    assert len(office.points()) == 3
    target = tmp_path / "out"
    assert office.restored(by_source[f"files:{other}"], target) == {"note": "still here"}
    # Carried over: when it comes back, nothing of it is stored again.
    (tmp_path / "unmounted").rename(other)
    assert office.run()["changed_bytes"] == 0


def test_a_password_changed_with_the_secret_stored(
    office: Office, elsewhere: Transcript, tmp_path: Path
) -> None:
    first = office.run()
    office.machine.run("password", "edit", "mine", "--password-env", "OTHER")
    # Key and link are there at once; no entry tells of it.
    chain = office.chain()
    assert chain.listing == [1]
    assert len(chain.wrapped.envelopes()) == 2
    (link,) = chain.storage.list(f"chains/{chain.chain_id.hex()}/links/")
    assert link.key.endswith(chain.header.recipients.hex())
    office.write("minutes", "under the new one\n")
    second = office.run()
    assert (second["kind"], second["reason"]) == ("incremental", "")
    older, newer = bodies(office.chain(), SessionBody)
    assert PublicKey(newer.chain_public).id != PublicKey(older.chain_public).id
    rows = readable(elsewhere, office, "OTHER")
    assert rows == {first["points"][0]: True, second["points"][0]: True}
    rows = readable(elsewhere, office, "PASSWORD")
    assert rows == {first["points"][0]: True, second["points"][0]: False}
    assert office.restored(second["points"][0], tmp_path / "out") == files_of(office.tree)


def readable(machine: Transcript, office: Office, variable: str) -> dict[str, bool]:
    """Return which points one secret opens on a machine that knows nothing else."""
    listed = machine.json(
        *("point", "list", "--repository", office.repository, "--password-env", variable)
    )
    return {row["id"]: not row["locked"] for row in listed["points"]}


def test_a_password_changed_with_a_write_only_secret(
    here: Transcript, elsewhere: Transcript, tmp_path: Path
) -> None:
    office = make_office(here, tmp_path, "--write-only")
    first = office.run()
    here.run(
        *("password", "edit", "mine", "--password-env", "OTHER"),
        *("--old-password-env", "PASSWORD"),
    )
    second = office.run()
    assert (second["kind"], second["reason"]) == ("incremental", "")
    assert all(readable(elsewhere, office, "OTHER").values())
    # Without the old one there is no link, so one chain would need two secrets.
    here.run("password", "edit", "mine", "--password-env", "THIRD")
    third = office.run()
    assert (third["kind"], third["reason"]) == ("full", "key-link-missing")
    older, newer = office.chains()
    assert newer.header.previous is not None
    assert newer.header.previous.chain_id == older.chain_id
    elsewhere.environment["THIRD"] = THIRD_PASSWORD
    rows = readable(elsewhere, office, "THIRD")
    assert [rows[done["points"][0]] for done in (first, second, third)] == [False, False, True]
    # What this machine makes it cannot read.
    here.run("restore", third["points"][0], "--to", tmp_path / "out", status=12)
    assert not (tmp_path / "out").exists()


def test_a_crash_in_mid_session_and_the_resume(office: Office, tmp_path: Path) -> None:
    office.run()
    before = office.packs()
    noise = tmp_path / "office" / "noise"
    with noise.open("wb") as file:
        subprocess.run(["head", "-c", str(160 * MIB), "/dev/urandom"], stdout=file, check=True)
    dying = subprocess.Popen(
        [sys.executable, "-m", "strongroom", "job", "run", "office", "--progress", "none"],
        env=office.machine.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    notes = office.machine.home.glob
    # A pack is noted once it is durable: from then on it can be taken over.
    while dying.poll() is None and not any(p.stat().st_size for p in notes("cache/*/packs/*")):
        time.sleep(0.005)  # noqa: TID251 - waits for another process
    dying.send_signal(signal.SIGKILL)
    assert dying.wait() == -signal.SIGKILL, "it was done before it could be killed"
    assert office.packs() - before
    assert office.chain().listing == [1]
    done = office.run()
    (death,) = bodies(office.chain(), DeathBody)
    assert death.heir.hex() == done["session"]
    newest = office.chain().newest_session
    assert newest is not None
    assert isinstance(newest.body, SessionBody)
    sessions = dict(office.chain().sessions(newest.body).items())
    dead = sessions[death_number(office.chain())]
    assert dead.session_id == death.session_id
    # What was whole is not stored again.
    assert dead.packs >= 1
    assert done["stored_bytes"] < 160 * MIB
    target = tmp_path / "out"
    office.machine.run("restore", "office@latest", "--to", target, "--strip")
    assert (target / "noise").read_bytes() == noise.read_bytes()


def death_number(chain: Chain) -> int:
    return next(entry.number for entry in entries_of(chain) if isinstance(entry.body, DeathBody))


def no_quarantine(machine: Transcript) -> None:
    (machine.home / "config.toml").write_text("quarantine_hours = 0\n")


def test_prune_while_another_session_publishes(office: Office, tmp_path: Path) -> None:
    machine = office.machine
    no_quarantine(machine)
    started, go = tmp_path / "started", tmp_path / "go"
    slow = f"touch {started}; while [ ! -e {go} ]; do sleep 0.02; done; echo dumped"
    first = office.run()
    for name in ("ledger", "minutes"):
        office.write(name, f"all of {name} is new, so what the first session stored is dead\n")
    office.run()
    machine.run("job", "edit", "office", "--add-source", f"command:{slow}")
    machine.run("point", "remove", first["points"][0], "--yes")
    office.write("minutes", "while it was pruned\n")
    running = subprocess.Popen(
        [sys.executable, "-m", "strongroom", "job", "run", "office", "--progress", "none"],
        env=machine.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while not started.exists():
            assert running.poll() is None, running.communicate()[1]
            time.sleep(0.01)  # noqa: TID251 - waits for another process
        before = office.packs()
        for _ in range(2):
            beside = machine.run("repository", "prune", "main", "--yes")
        assert "beside a session at work" in beside.stdout
        assert office.packs() < before
    finally:
        go.touch()
        said = running.communicate(timeout=120)[1]
    assert running.returncode == 0, said
    assert bodies(office.chain(), CondemnationBody)
    machine.run("repository", "scrub", "main")
    machine.run("repository", "verify", "main")
    tree = next(row for row in reversed(office.points()) if row["source"].startswith("files:"))
    assert office.restored(tree["id"], tmp_path / "out") == files_of(office.tree)


def test_a_point_removed_whose_blocks_live_on(office: Office, tmp_path: Path) -> None:
    no_quarantine(office.machine)
    # Most of its block, so that what dies beside it does not wear the block out.
    office.write("ledger", "line\n" * 100)
    first = office.run()
    moments = [files_of(office.tree)]
    points = [first["points"][0]]
    for text in ("b\n", "c\n"):
        office.write("minutes", text)
        points.append(office.run()["points"][0])
        moments.append(files_of(office.tree))
    office.machine.run("point", "remove", points[0], "--yes")
    (promise,) = bodies(office.chain(), PromiseBody)
    assert promise.reason
    assert [row["id"] for row in office.points()] == points[1:]
    for _ in range(2):
        office.machine.run("repository", "prune", "main", "--yes")
    # `ledger` was stored by the first session only, and is still in the later points.
    newest = office.chain().newest_session
    assert newest is not None
    assert isinstance(newest.body, SessionBody)
    assert 1 in dict(office.chain().sessions(newest.body).items())
    office.machine.run("restore", points[0], "--to", tmp_path / "gone", status=10)
    for point, moment in zip(points[1:], moments[1:], strict=True):
        assert office.restored(point, tmp_path / point) == moment
    office.machine.run("repository", "scrub", "main")


def test_a_restore_on_a_clean_machine(
    office: Office, elsewhere: Transcript, tmp_path: Path
) -> None:
    moments = {}
    kit = tmp_path / "kit.txt"
    first = office.run()
    moments[first["points"][0]] = files_of(office.tree)
    office.machine.run("recovery", "create", kit)
    office.machine.run("password", "edit", "mine", "--password-env", "OTHER")
    office.write("minutes", "later\n")
    second = office.run()
    moments[second["points"][0]] = files_of(office.tree)
    at = ("--repository", office.repository)
    ways: dict[str, tuple[str | Path, ...]] = {
        "newest": ("--password-env", "OTHER"),
        "kit": ("--recovery-key", kit),
    }
    clean = Office(elsewhere, office.tree, office.repository)
    for name, way in ways.items():
        for point, moment in moments.items():
            assert clean.restored(point, tmp_path / name / point, *at, *way) == moment
    old, new = moments
    words = (*at, "--password-env", "PASSWORD")
    assert clean.restored(old, tmp_path / "old", *words) == moments[old]
    elsewhere.run("restore", new, "--to", tmp_path / "no", *words, status=12)
    assert not (tmp_path / "no").exists()
    assert not elsewhere.home.exists()


def test_a_plain_chain(here: Transcript, elsewhere: Transcript, tmp_path: Path) -> None:
    office = make_office(here, tmp_path, encrypt="none")
    point = office.run()["points"][0]
    chain = office.chain()
    assert not chain.sealed
    assert chain.header.recipients == b""
    below = {path.name for path in (office.repository / "chains" / chain.chain_id.hex()).iterdir()}
    assert below == {"journal", "packs", "tables"}
    record = record_of(chain, bodies(chain, SessionBody)[0])
    assert (record.chain_key_id, record.sealed_keys, record.commitment) == (b"", b"", b"")
    at = ("--repository", office.repository)
    clean = Office(elsewhere, office.tree, office.repository)
    target = tmp_path / "out"
    secret = ("--password-env", "PASSWORD")
    elsewhere.run("restore", point, "--to", target, *at, *secret, status=20)
    assert not target.exists()
    signer = chain.identity.fingerprint
    assert clean.restored(point, target, *at, "--signer", signer) == files_of(office.tree)
    elsewhere.run("repository", "scrub", office.repository, "--signer", signer)


def test_a_keyless_scrub(office: Office, elsewhere: Transcript) -> None:
    office.run()
    office.write("minutes", "two\nthree\n")
    point = office.run()["points"][0]
    words = ("repository", "scrub", office.repository, "--signer")
    signer = office.chain().identity.fingerprint
    elsewhere.run(*words, signer)
    assert not elsewhere.home.exists()
    newest = max(
        office.repository.glob("chains/*/packs/*/*"), key=lambda path: path.stat().st_mtime_ns
    )
    data = bytearray(newest.read_bytes())
    data[100] ^= 1  # in its first block: a header has 80 bytes where blocks are small
    newest.chmod(0o600)
    newest.write_bytes(data)
    found = elsewhere.run(*words, signer, "--json", status=20)
    assert point in found.stdout


def test_the_server_rolled_back_to_an_old_snapshot(office: Office, tmp_path: Path) -> None:
    office.run()
    shutil.copytree(office.machine.home, tmp_path / "snapshot")
    office.write("minutes", "after the snapshot\n")
    forgotten = office.run()["points"][0]
    shutil.rmtree(office.machine.home)
    shutil.copytree(tmp_path / "snapshot", office.machine.home)
    office.write("ledger", "after the roll-back\n")
    done = office.run(status=3)
    assert (done["state"], done["kind"]) == ("warning", "incremental")
    assert done["warnings"]
    chain = office.chain()
    assert [body.counter for body in bodies(chain, SessionBody)] == [1, 2, 3]
    assert chain.entry(3).body.base == 2  # type: ignore[union-attr] # a session
    assert office.machine.json("point", "show", done["points"][0])["parent"] == forgotten
    assert office.restored(done["points"][0], tmp_path / "out") == files_of(office.tree)


def test_the_keystore_lost(office: Office, elsewhere: Transcript, tmp_path: Path) -> None:
    first = office.run()["points"][0]
    before = files_of(office.tree)
    shutil.rmtree(office.machine.home / "keystore")
    at = ("--repository", office.repository, "--password-env", "PASSWORD")
    assert office.restored(first, tmp_path / "first", *at) == before
    office.machine.run("password", "edit", "mine", "--password-env", "PASSWORD")
    office.write("minutes", "with a new keystore\n")
    done = office.run()
    assert done["kind"] == "full"
    assert done["reason"]
    older, newer = office.chains()
    assert older.identity.id != newer.identity.id
    # The new identity commits to nothing that a signer unknown to it has signed.
    assert newer.header.previous is None
    clean = Office(elsewhere, office.tree, office.repository)
    target = tmp_path / "second"
    assert clean.restored(done["points"][0], target, *at) == files_of(office.tree)


def test_another_server_goes_on(
    office: Office, elsewhere: Transcript, here: Transcript, tmp_path: Path
) -> None:
    first = office.run()["points"][0]
    here.run("password", "edit", "mine", "--password-env", "OTHER", "--hint", "strings")
    office.write("minutes", "under the newer password\n")
    second = office.run()["points"][0]
    shutil.rmtree(here.home)
    new = elsewhere
    new.environment["THIRD"] = THIRD_PASSWORD
    new.run("repository", "add", "main", office.repository)
    (found,) = new.json("repository", "rescan", "main")["chains"]
    assert (found["state"], found["points"]) == ("locked", 2)
    (recipient,) = found["recipients"]
    assert (recipient["kind"], recipient["hint"]) == ("password", "strings")
    chain = found["chain_id"]
    new.run("chain", "unlock", chain, "--password-env", "PASSWORD", status=12)
    opened = new.json("chain", "unlock", chain[:12], "--password-env", "OTHER")
    assert [point["id"] for point in opened["details"]["points"]] == [first, second]
    assert office.chain().listing == [1, 2]

    new.run("password", "add", "mine", "--password-env", "THIRD")
    new.run(
        *("job", "create", "office", "--repository", "main", "--chain", chain),
        *("--encrypt", "password:mine", "--old-password-env", "OTHER"),
    )
    office.machine = new
    office.write("minutes", "of the new server\n")
    third = office.run()

    assert (third["kind"], third["state"]) == ("incremental", "success")
    (succession,) = bodies(office.chain(), SuccessionBody)
    assert succession.identity == office.chain().identity.raw
    assert len(bodies(office.chain(), SessionBody)) == 3
    assert office.restored("office@latest", tmp_path / "restored") == files_of(office.tree)
    bare = Transcript(tmp_path / "bare")
    bare.environment["THIRD"] = THIRD_PASSWORD
    points = [first, second, third["points"][0]]
    assert readable(bare, office, "THIRD") == dict.fromkeys(points, True)
    assert readable(bare, office, "OTHER") == dict.fromkeys(points[:2], True)
    assert readable(bare, office, "PASSWORD") == {first: True, second: False}
    clean = Office(bare, office.tree, office.repository)
    at = ("--repository", office.repository, "--password-env", "THIRD")
    assert clean.restored(points[2], tmp_path / "third", *at) == files_of(office.tree)
    assert clean.restored(first, tmp_path / "first", *at)["minutes"] == "two\n"
