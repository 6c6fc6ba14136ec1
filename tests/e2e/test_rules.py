"""The mission's rules 6, 7 and 8, as an operator sees them.

One story is told once, `story` below, on one machine; each test is about a sentence of it. What
ends differently has a machine of its own.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Transcript
from tests.support.engine_job import look_at

HINT = "what the sea animals do"


@dataclass
class Office:
    """A machine with one job over a small tree, and what that held at each point."""

    machine: Transcript
    place: Path
    moments: dict[str, Path] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)
    points: list[dict[str, Any]] = field(default_factory=list)
    """By run, as `point list` shows its point."""
    bytes: list[dict[str, bytes]] = field(default_factory=list)
    """By run, every object of the repository behind it."""

    @property
    def tree(self) -> Path:
        return self.place / "srv"

    @property
    def repository(self) -> Path:
        return self.place / "repository"

    @classmethod
    def open(cls, place: Path, encrypt: str, *options: str) -> Office:
        office = cls(Transcript(place / "here"), place)
        office.tree.mkdir()
        (office.tree / "same").write_text("this never changes\n" * 3000)
        machine = office.machine
        machine.run("repository", "add", "main", office.repository)
        machine.run("password", "add", "mine", "--password-env", "PASSWORD", "--hint", HINT)
        machine.run(
            *("job", "create", "office", "--repository", "main", "--source"),
            *(f"files:{office.tree}", "--encrypt", encrypt, *options),
        )
        return office

    def run(self, *words: str, status: int = 0) -> dict[str, Any]:
        """Change the tree, run the job, and remember what there was."""
        number = len(self.runs)
        (self.tree / "diary").write_text(f"day {number}\n" * (number + 1))
        (self.tree / f"letter {number}").write_text(f"written on day {number}")
        told: dict[str, Any] = self.machine.json("job", "run", "office", *words, status=status)
        (point,) = told["points"]
        moment = self.place / "moments" / point
        shutil.copytree(self.tree, moment, symlinks=True)
        shutil.copystat(self.tree, moment)
        self.moments[point] = moment
        self.runs.append(told)
        self.bytes.append(self.objects())
        return told

    def edit(self, *words: str, status: int = 0) -> str:
        return self.machine.run("job", "edit", "office", *words, status=status).stderr

    def objects(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.repository)): path.read_bytes()
            for path in self.repository.rglob("*")
            if path.is_file() and "locks" not in path.relative_to(self.repository).parts
        }

    def listed(self) -> list[dict[str, Any]]:
        points: list[dict[str, Any]] = self.machine.json("point", "list")["points"]
        return points

    def check(self, machine: Transcript, target: Path, points: list[str], *words: object) -> None:
        """Each of these points restores to its own moment on that machine."""
        for point in points:
            to = target / point
            machine.run("restore", point, "--to", to, "--strip", *map(str, words))
            assert look_at(to) == look_at(self.moments[point]), point


def ids(runs: list[dict[str, Any]]) -> list[str]:
    return [point for told in runs for point in told["points"]]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Office:
    """0–2 plain, 3–4 encrypted, 5–6 under another password, 7–8 plain again."""
    office = Office.open(tmp_path_factory.mktemp("rules"), "none")
    for _ in range(3):
        office.run()
    office.edit("--encrypt", "password:mine")
    office.run()
    office.run()
    office.machine.run("password", "edit", "mine", "--password-env", "OTHER")
    office.run()
    office.run()
    refused = office.edit("--encrypt", "none", status=2)
    assert "--yes-weaken" in refused
    office.edit("--encrypt", "none", "--yes-weaken")
    office.run()
    office.run()
    return office


@pytest.fixture
def clean(tmp_path: Path) -> Transcript:
    """A machine that never saw the catalog."""
    return Transcript(tmp_path / "clean")


def chain_of(office: Office, run: int) -> str:
    """Return the chain whose journal the run wrote its entry to."""
    before = office.bytes[run - 1] if run else {}
    new = [key for key in office.bytes[run] if key not in before and "/journal/" in key]
    return new[-1].split("/")[1]


# --- rule 6 ------------------------------------------------------------------------------------


def test_turning_encryption_on_makes_the_next_session_a_full_by_itself(story: Office) -> None:
    assert [told["kind"] for told in story.runs[:5]] == [
        "full",
        "incremental",
        "incremental",
        "full",
        "incremental",
    ]
    assert story.runs[3]["reason"] == "encryption-on"
    assert [point["encrypted"] for point in story.listed()] == [False] * 3 + [True] * 4 + [
        False
    ] * 2


def test_what_was_there_before_stays_as_it_was_byte_for_byte(story: Office) -> None:
    for before in story.bytes[:3]:
        assert before.items() <= story.bytes[4].items()
    for earlier in story.bytes[:-1]:
        # Envelopes of the same key may be replaced; here nothing was.
        assert earlier.items() <= story.bytes[-1].items()


def test_an_unencrypted_point_shares_no_object_with_an_encrypted_one(story: Office) -> None:
    chains = [chain_of(story, run) for run in range(9)]
    assert len(set(chains)) == 3
    assert chains == [chains[0]] * 3 + [chains[3]] * 4 + [chains[7]] * 2
    for key in story.bytes[-1]:
        assert sum(chain in key for chain in set(chains)) <= 1


def test_nothing_of_the_content_stands_readable_in_an_encrypted_chain(story: Office) -> None:
    sealed, plain = chain_of(story, 3), chain_of(story, 0)
    marks = [b"this never changes", b"letter 3", b"diary", b"office", str(story.tree).encode()]
    for key, data in story.bytes[-1].items():
        if sealed in key:
            for mark in marks:
                assert mark not in data, key
    assert any(b"office" in data for key, data in story.bytes[-1].items() if plain in key)


# --- rule 7 ------------------------------------------------------------------------------------


def test_a_changed_password_makes_the_next_session_an_ordinary_increment(story: Office) -> None:
    changed = story.runs[5]
    assert changed["kind"] == "incremental"
    assert changed["reason"] == ""
    assert changed["warnings"] == []
    assert changed["stored_bytes"] < story.runs[3]["stored_bytes"]
    assert chain_of(story, 5) == chain_of(story, 3)


def test_the_newest_password_opens_the_whole_chain_on_a_machine_that_never_saw_the_catalog(
    story: Office, clean: Transcript, tmp_path: Path
) -> None:
    there = ["--repository", story.repository, "--password-env", "OTHER"]
    story.check(clean, tmp_path / "out", ids(story.runs[3:7]), *there)
    assert not clean.home.exists()


def test_the_old_password_opens_what_was_sealed_for_it_and_nothing_newer(
    story: Office, clean: Transcript, tmp_path: Path
) -> None:
    there = ["--repository", story.repository, "--password-env", "PASSWORD"]
    story.check(clean, tmp_path / "out", ids(story.runs[3:5]), *there)
    for point in ids(story.runs[5:7]):
        to = tmp_path / "newer"
        clean.run("restore", point, "--to", to, *map(str, there), status=12)
        assert not to.exists()


def test_a_wrong_password_says_the_hint_and_writes_nothing(
    story: Office, clean: Transcript, tmp_path: Path
) -> None:
    clean.environment["WRONG"] = "Nobody-ever-chose-7-this"
    before = story.objects()
    there = ["--repository", str(story.repository), "--password-env", "WRONG"]
    for words in (
        ["restore", ids(story.runs)[4], "--to", str(tmp_path / "out")],
        ["point", "verify", ids(story.runs)[4]],
        ["point", "files", ids(story.runs)[4]],
    ):
        done = clean.run(*words, *there, status=12)
        assert HINT in done.stderr
        assert done.stdout == ""
    assert not (tmp_path / "out").exists()
    assert not clean.home.exists()
    assert story.objects() == before


def test_the_machine_that_made_them_restores_all_without_asking(
    story: Office, tmp_path: Path
) -> None:
    story.check(story.machine, tmp_path / "out", [ids(story.runs)[at] for at in (0, 3, 5, 8)])


# --- rule 8 ------------------------------------------------------------------------------------


def test_turning_encryption_off_makes_the_next_session_a_full_by_itself(story: Office) -> None:
    assert [told["kind"] for told in story.runs[7:]] == ["full", "incremental"]
    assert story.runs[7]["reason"] == "encryption-off"


def test_a_plain_point_is_refused_where_a_secret_is_given(
    story: Office, clean: Transcript, tmp_path: Path
) -> None:
    there = ["--repository", str(story.repository), "--password-env", "OTHER"]
    plain = ids(story.runs)[-1]
    for words in (
        ["restore", plain, "--to", str(tmp_path / "out")],
        ["restore", "office@latest", "--to", str(tmp_path / "out")],
        ["point", "verify", plain],
    ):
        answer = clean.json(*words, *there, status=20)
        assert answer["error"]["code"] == "downgraded"
    assert not (tmp_path / "out").exists()
    story.check(clean, tmp_path / "yes", [plain], *there, "--allow-unencrypted")


def test_a_plain_chain_read_without_a_secret_shows_its_signer(
    story: Office, clean: Transcript, tmp_path: Path
) -> None:
    point = ids(story.runs)[0]
    done = clean.run(
        *("restore", point, "--to", tmp_path / "out", "--strip"),
        *("--repository", story.repository),
    )
    assert "is not encrypted, and nothing vouches for its signer" in done.stderr
    assert look_at(tmp_path / "out") == look_at(story.moments[point])


# --- chains by hand ----------------------------------------------------------------------------


def test_fulls_that_are_due_detached_or_asked_for_begin_chains_and_touch_no_older_one(
    tmp_path: Path,
) -> None:
    office = Office.open(tmp_path, "password:mine", "--full-every-points", "2")
    for _ in range(3):
        office.run()
    office.machine.run("job", "detach", "office")
    office.run()
    office.run("--full")
    assert [(told["kind"], told["reason"]) for told in office.runs] == [
        ("full", "first"),
        ("incremental", ""),
        ("full", "due-by-points"),
        ("full", "detached"),
        ("full", "active-full"),
    ]
    assert len({chain_of(office, run) for run in range(5)}) == 4
    for earlier in office.bytes[:-1]:
        assert earlier.items() <= office.bytes[-1].items()
    office.check(office.machine, tmp_path / "out", [ids(office.runs)[at] for at in (1, 4)])


# --- write-only --------------------------------------------------------------------------------


@pytest.fixture
def write_only(tmp_path: Path) -> Office:
    office = Office.open(tmp_path, "password:mine")
    office.machine.run("password", "edit", "mine", "--write-only")
    office.run()
    assert office.run()["kind"] == "incremental"
    return office


def test_a_write_only_machine_writes_and_does_not_read(write_only: Office, tmp_path: Path) -> None:
    point = ids(write_only.runs)[0]
    write_only.machine.run("restore", point, "--to", tmp_path / "out", status=12)
    assert not (tmp_path / "out").exists()
    given = ["--password-env", "PASSWORD"]
    write_only.check(write_only.machine, tmp_path / "asked", ids(write_only.runs), *given)


def test_a_write_only_password_changes_into_an_increment_with_the_old_one_at_hand(
    write_only: Office, clean: Transcript, tmp_path: Path
) -> None:
    change = ["password", "edit", "mine", "--password-env", "OTHER"]
    before = write_only.objects()
    write_only.machine.run(*change, "--old-password-env", "OTHER", status=12)
    assert write_only.objects() == before
    write_only.machine.run(*change, "--old-password-env", "PASSWORD")
    told = write_only.run()
    assert (told["kind"], told["reason"]) == ("incremental", "")
    there = ["--repository", write_only.repository, "--password-env", "OTHER"]
    write_only.check(clean, tmp_path / "out", ids(write_only.runs), *there)
    newest = ids(write_only.runs)[-1]
    write_only.machine.run("restore", newest, "--to", tmp_path / "no", status=12)


def test_a_write_only_password_changed_without_the_old_one_begins_a_new_chain(
    write_only: Office, clean: Transcript, tmp_path: Path
) -> None:
    """Another password for the job, and nobody to ask for the one before."""
    machine = write_only.machine
    machine.run("password", "add", "second", "--password-env", "OTHER", "--write-only")
    done = machine.run("job", "edit", "office", "--encrypt", "password:second")
    assert "starts a new chain with a full" in done.stderr
    told = write_only.run()
    assert (told["kind"], told["reason"]) == ("full", "key-link-missing")
    for secret, runs in (("PASSWORD", write_only.runs[:2]), ("OTHER", write_only.runs[2:])):
        there = ["--repository", write_only.repository, "--password-env", secret]
        write_only.check(clean, tmp_path / secret, ids(runs), *there)


# --- bad days ----------------------------------------------------------------------------------


def test_a_lost_keystore_is_said_and_the_next_session_begins_a_new_chain(
    tmp_path: Path, clean: Transcript
) -> None:
    """With it went the identity that signs, so nobody but its heir could go on in the chain."""
    office = Office.open(tmp_path, "password:mine")
    office.run()
    shutil.rmtree(office.machine.home / "keystore")
    before = office.objects()
    done = office.machine.run("job", "run", "office", status=12)
    assert "password edit mine" in done.stderr
    assert office.objects() == before
    office.machine.run("password", "edit", "mine", "--password-env", "PASSWORD")
    told = office.run()
    assert (told["kind"], told["reason"]) == ("full", "keys-lost")
    assert before.items() <= office.objects().items()
    there = ["--repository", office.repository, "--password-env", "PASSWORD"]
    office.check(clean, tmp_path / "out", ids(office.runs), *there)


def test_a_machine_set_back_to_an_older_catalog_goes_on_where_the_history_is(
    tmp_path: Path, clean: Transcript
) -> None:
    office = Office.open(tmp_path, "password:mine")
    office.run()
    shutil.copytree(office.machine.home, tmp_path / "older home")
    office.run()
    office.run()
    shutil.rmtree(office.machine.home)
    shutil.copytree(tmp_path / "older home", office.machine.home)
    told = office.run(status=3)
    assert told["warnings"]
    assert [point["id"] for point in office.listed()][-1] == told["points"][0]
    there = ["--repository", office.repository, "--password-env", "PASSWORD"]
    office.check(clean, tmp_path / "out", ids(office.runs), *there)
    listed = clean.json("point", "list", *map(str, there))["points"]
    assert [point["id"] for point in listed] == ids(office.runs)


def test_a_machine_set_back_to_before_encryption_never_goes_on_in_plain(tmp_path: Path) -> None:
    office = Office.open(tmp_path, "none")
    office.run()
    shutil.copytree(office.machine.home, tmp_path / "older home")
    office.edit("--encrypt", "password:mine")
    office.run()
    shutil.rmtree(office.machine.home)
    shutil.copytree(tmp_path / "older home", office.machine.home)
    before = office.objects()
    answer = office.machine.json("job", "run", "office", status=14)
    assert "sealed" in answer["error"]["message"]
    assert {key for key in office.objects() if "/packs/" in key} == {
        key for key in before if "/packs/" in key
    }


def test_a_machine_set_back_to_before_a_changed_password_seals_for_nobody_older(
    tmp_path: Path, clean: Transcript
) -> None:
    """Whoever knows the old password alone reads nothing that was written since."""
    office = Office.open(tmp_path, "password:mine")
    office.run()
    shutil.copytree(office.machine.home, tmp_path / "older home")
    office.machine.run("password", "edit", "mine", "--password-env", "OTHER")
    office.run()
    shutil.rmtree(office.machine.home)
    shutil.copytree(tmp_path / "older home", office.machine.home)
    before = office.objects()
    answer = office.machine.json("job", "run", "office", status=14)
    assert "other recipients" in answer["error"]["message"]
    assert office.objects() == before
    # As its hint says:
    office.machine.run("password", "edit", "mine", "--password-env", "OTHER")
    office.machine.run("job", "detach", "office")
    told = office.run(status=3)
    assert told["kind"] == "full"
    assert "behind its own history" in told["warnings"][0]
    there = ["--repository", office.repository]
    old, new = [*there, "--password-env", "PASSWORD"], [*there, "--password-env", "OTHER"]
    office.check(clean, tmp_path / "out", ids(office.runs), *new)
    for point in ids(office.runs)[1:]:
        clean.run("restore", point, "--to", tmp_path / "no", *old, status=12)


def test_a_source_command_finds_what_its_operator_would(tmp_path: Path) -> None:
    """A dump reads its own settings: it needs PATH, HOME and what else there is."""
    machine = Transcript(tmp_path / "here")
    machine.environment["PGHOST"] = "db.example"
    machine.run("repository", "add", "main", tmp_path / "repository")
    machine.run(
        *("job", "create", "dump", "--repository", "main", "--encrypt", "none"),
        *("--source", "command:echo $HOME; echo $PATH; echo $PGHOST $STRONGROOM_JOB"),
    )
    machine.run("job", "run", "dump")
    shown = machine.run("restore", "dump@latest", "--to", "-").stdout.splitlines()
    environment = machine.environment
    assert shown == [environment["HOME"], environment["PATH"], "db.example dump"]
