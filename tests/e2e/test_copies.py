"""Copies of repositories, from the command line: no key, two commands, drives that come and go."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from strongroom.clock import SystemClock
from strongroom.crypto import kdf
from strongroom.engine import extension, reencryption
from strongroom.errors import StorageUnavailableError
from strongroom.repository import layout, locks
from strongroom.storage.local import LocalStorage
from strongroom.storage.throttling import Line
from tests.e2e.conftest import SameProcess

if TYPE_CHECKING:
    from typing import Any


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kdf, "calibrate", lambda: kdf.MINIMUM)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a machine with a job, one point of it, and a second repository."""
    folder = tmp_path_factory.mktemp("copies") / "here"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kdf, "calibrate", lambda: kdf.MINIMUM)
        machine = SameProcess(folder).set_up()
        change(machine, "first")
        machine.run(
            "job", "create", "docs", "--repository", "main", "--source", f"files:{data(machine)}",
            "--encrypt", "password:mine",
        )  # fmt: skip
        machine.run("job", "run", "docs")
        machine.run("repository", "add", "offsite", place(machine, "offsite"))
    shutil.copytree(folder, folder.with_name("template"))
    return folder.with_name("template")


@pytest.fixture
def machine(template: Path) -> SameProcess:
    """That machine, at the place that its catalog knows."""
    folder = template.with_name("here")
    shutil.rmtree(folder)
    shutil.copytree(template, folder)
    return SameProcess(folder)


@pytest.fixture
def keyless(tmp_path: Path) -> SameProcess:
    """A machine that never had a key."""
    return SameProcess(tmp_path / "keyless")


def data(machine: SameProcess) -> Path:
    return machine.folder / "data"


def place(machine: SameProcess, name: str) -> Path:
    return machine.folder / name


def change(machine: SameProcess, word: str) -> None:
    data(machine).mkdir(exist_ok=True)
    (data(machine) / "file").write_text(word)
    (data(machine) / word).write_text(word)


def signer(machine: SameProcess) -> str:
    found: str = machine.json("repository", "show", "main")["chains"][0]["signer"]
    return found


def points(machine: SameProcess, *words: str | Path) -> list[Any]:
    found: list[Any] = machine.json("point", "list", *words)["points"]
    return found


def restored(machine: SameProcess, *words: str | Path) -> str:
    folder = machine.folder / "restored"
    shutil.rmtree(folder, ignore_errors=True)
    machine.run("restore", *words, "--to", folder, "--strip")
    return (folder / "file").read_text()


def test_two_commands_give_a_job_a_second_place(machine: SameProcess) -> None:
    machine.run("job", "copy", "create", "away", "--from", "docs", "--to", "offsite")
    change(machine, "second")
    ran = machine.json("job", "run", "docs")

    assert ran["state"] == "success"
    assert [row["copies"] for row in points(machine)] == [["offsite"], ["offsite"]]
    assert len(points(machine, "--repository", "offsite")) == 2
    shutil.rmtree(place(machine, "repository"))
    assert restored(machine, "docs@latest", "--repository", "offsite") == "second"


def test_a_copy_made_right_after_a_synthetic_full_reads_whole(machine: SameProcess) -> None:
    """The full names the chain that it was made from, whose only point it took the place of."""
    machine.run("job", "run", "docs", "--synthetic-full")
    machine.run("repository", "copy", "main", "offsite")
    there = machine.json("point", "list", "--repository", place(machine, "offsite"))["points"]
    here = machine.json("point", "list", "--repository", "main")["points"]
    assert [one["id"] for one in there] == [one["id"] for one in here]


def test_a_chain_with_a_copy_is_named_by_its_id(machine: SameProcess) -> None:
    machine.run("repository", "copy", "main", "offsite")
    (chain,) = machine.json("chain", "list")["chains"]

    assert machine.json("chain", "show", chain["chain_id"])["chain"]["repository"] == "main"


def test_a_copy_stands_in_where_the_original_is_away(machine: SameProcess) -> None:
    machine.run("repository", "copy", "main", "offsite")
    newest = points(machine)[-1]["id"]
    place(machine, "repository").rename(place(machine, "away"))

    assert restored(machine, newest) == "first"
    # Nobody can say that it is the latest.
    machine.run("restore", "docs@latest", "--to", machine.folder / "never", status=13)
    listed = machine.run("point", "list", status=3)
    assert "is read from its copy" in listed.stderr


def test_a_chain_whose_points_were_removed_is_no_gap_in_a_copy(machine: SameProcess) -> None:
    """The newest session says that it is there, and the next one no longer does."""
    (first,) = points(machine)
    change(machine, "second")
    machine.run("job", "run", "docs", "--full")
    machine.run("point", "remove", first["id"], "--yes")

    machine.run("repository", "copy", "main", "offsite")

    machine.run("repository", "scrub", "offsite")
    assert restored(machine, "docs@latest", "--repository", "offsite") == "second"
    machine.run("job", "run", "docs")
    machine.run("repository", "copy", "main", "offsite")
    assert restored(machine, "docs@latest", "--repository", "offsite") == "second"


def test_a_keyless_machine_copies_scrubs_and_prunes(
    machine: SameProcess, keyless: SameProcess
) -> None:
    kept, fingerprint = place(keyless, "kept"), signer(machine)
    main = place(machine, "repository")
    copy = ("repository", "copy", main, kept)
    keyless.run(*copy, "--create", status=20)
    first = keyless.json(*copy, "--signer", fingerprint)
    change(machine, "second")
    machine.run("job", "run", "docs")
    second = keyless.json(*copy, "--signer", fingerprint)
    again = keyless.json(*copy, "--signer", fingerprint)

    assert first["chains"][0]["objects"] == 7
    assert second["chains"][0]["stored_bytes"] > 0
    assert again["chains"][0]["objects"] == 0
    assert not keyless.home.exists()
    keyless.run("repository", "scrub", kept, "--signer", fingerprint)
    keyless.run("repository", "prune", kept, "--signer", fingerprint, "--yes")
    word = restored(keyless, "docs@latest", "--repository", kept, "--password-env", "PASSWORD")
    assert word == "second"


def test_a_copy_begun_when_a_chain_has_just_lost_its_points_is_whole(
    machine: SameProcess, keyless: SameProcess
) -> None:
    """The newest session still names that chain, and readers miss what is named and not there."""
    change(machine, "second")
    machine.run("job", "run", "docs", "--full")
    machine.run("point", "remove", points(machine)[0]["id"], "--yes")
    machine.run("repository", "copy", "main", "offsite")

    copy = place(machine, "offsite")
    machine.run("repository", "scrub", copy)
    there = ("--repository", copy, "--password-env", "PASSWORD")
    assert restored(keyless, "docs@latest", *there) == "second"


def test_a_copy_leaves_its_target_room_to_prune(
    machine: SameProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data(machine) / "large").write_bytes(random.Random(1).randbytes(2 << 20))
    machine.run("job", "run", "docs")
    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "free_bytes", lambda _: 65 << 20)
        full = machine.run("repository", "copy", "main", "offsite", status=14)
    assert "more would leave less than the 64.0 MiB" in full.stderr

    machine.run("repository", "copy", "main", "offsite")
    assert len(points(machine, "--repository", "offsite")) == 2


def test_a_failing_copy_is_a_warning_of_the_session(machine: SameProcess) -> None:
    machine.run("job", "copy", "create", "away", "--from", "docs", "--to", "offsite")
    shutil.rmtree(place(machine, "offsite"))
    change(machine, "second")

    ran = machine.json("job", "run", "docs", status=3)

    assert ran["state"] == "warning"
    assert "copy away failed" in ran["warnings"][0]
    assert "no folder" in machine.json("job", "copy", "show", "away")["copy_job"]["problem"]
    assert len(points(machine)) == 2
    assert "copy job away did not copy all" in machine.run("status", status=3).stderr


def test_rotated_drives_are_brought_up_to_date_when_they_are_there(machine: SameProcess) -> None:
    for drive in ("red", "blue"):
        machine.run("repository", "add", drive, place(machine, drive))
    machine.run("repository", "copy", "main", "red")
    place(machine, "red").rename(place(machine, "shelf"))
    change(machine, "second")
    machine.run("job", "run", "docs")
    machine.run("repository", "copy", "main", "blue")

    assert [row["copies"] for row in points(machine)] == [["blue", "red"], ["blue"]]
    place(machine, "shelf").rename(place(machine, "red"))
    # A drive that was on the shelf is behind, and no sign of an attack.
    assert len(points(machine, "--repository", "red")) == 1
    behind = machine.run("repository", "show", "red")
    assert "is a copy that ends at entry" in behind.stderr
    machine.run("repository", "rescan", "red")
    assert len(points(machine)) == 2
    machine.run("repository", "copy", "main", "red")
    assert [row["copies"] for row in points(machine)] == [["blue", "red"]] * 2


def test_a_drive_that_shows_less_than_it_had_is_refused(machine: SameProcess) -> None:
    machine.run("repository", "copy", "main", "offsite")
    old = place(machine, "old")
    shutil.copytree(place(machine, "offsite"), old)
    change(machine, "second")
    machine.run("job", "run", "docs")
    machine.run("repository", "copy", "main", "offsite")
    shutil.rmtree(place(machine, "offsite"))
    old.rename(place(machine, "offsite"))

    machine.run("repository", "show", "offsite", status=20)


@pytest.mark.parametrize("how", ["mirror", "folder"])
def test_a_job_goes_on_in_a_copy_of_its_chain(machine: SameProcess, how: str) -> None:
    if how == "mirror":
        machine.run("repository", "copy", "main", "offsite")
    else:
        # The chain's objects, carried by hand into a repository of its own.
        for part in ("chains", "headers"):
            shutil.copytree(
                place(machine, "repository") / part, place(machine, "offsite") / part,
                dirs_exist_ok=True,
            )  # fmt: skip
    edited = machine.json("job", "edit", "docs", "--repository", "offsite")
    change(machine, "second")
    ran = machine.json("job", "run", "docs")

    assert ran["kind"] == "incremental"
    if how == "mirror":
        assert "goes on in the copy" in edited["notices"][0]
    assert [row["kind"] for row in points(machine)] == ["full", "incremental"]
    assert restored(machine, "docs@latest") == "second"
    machine.run("repository", "scrub", "offsite")
    # From now on the first place is the copy.
    machine.run("repository", "copy", "offsite", "main")
    assert [row["copies"] for row in points(machine)] == [["main"], ["main"]]


def test_a_job_does_not_go_on_in_a_copy_that_is_behind(machine: SameProcess) -> None:
    machine.run("repository", "copy", "main", "offsite")
    change(machine, "second")
    machine.run("job", "run", "docs")
    machine.run("job", "edit", "docs", "--repository", "offsite")

    refused = machine.run("job", "run", "docs", status=15)

    assert "repository copy main offsite" in refused.stderr
    machine.run("repository", "copy", "main", "offsite")
    assert machine.json("job", "run", "docs")["kind"] == "incremental"


def test_nobody_adds_to_a_copy_by_hand(machine: SameProcess) -> None:
    machine.run("repository", "copy", "main", "offsite")
    point = points(machine)[0]["id"]

    refused = machine.run("point", "hold", point, "--repository", "offsite", status=15)
    assert "is a copy" in refused.stderr


def test_a_keeper_keeps_what_the_server_gave_up(machine: SameProcess, keyless: SameProcess) -> None:
    kept, fingerprint = place(keyless, "kept"), signer(machine)
    keyless.home.mkdir()
    (keyless.home / "config.toml").write_text("quarantine_hours = 0\n")
    main = place(machine, "repository")
    change(machine, "second")
    machine.run("job", "run", "docs")
    copy = ("repository", "copy", main, kept, "--signer", fingerprint)
    keyless.run(*copy, "--create")
    good = points(machine)[0]["id"]
    machine.run("point", "remove", good, "--yes")
    change(machine, "third")
    machine.run("job", "run", "docs")
    keyless.run(*copy)

    prune = ("repository", "prune", kept, "--signer", fingerprint, "--yes")
    said = keyless.run(*prune, "--keep-at-least-days", "30")
    assert "holds for this command only" in said.stderr
    keyless.run("repository", "add", "kept", kept)
    keyless.run(*prune, "--keep-at-least-days", "30")
    told = keyless.run(*prune)  # this machine has a home now, and remembers it

    assert "gave up 1 point that the floor keeps" in told.stderr
    with_secret = ("--repository", kept, "--password-env", "PASSWORD")
    lost = [row for row in points(keyless, *with_secret, "--given-up") if row["given_up"]]
    assert [row["id"] for row in lost] == [good]
    assert restored(keyless, good, *with_secret, "--given-up") == "first"
    assert restored(keyless, "docs@latest", *with_secret, "--given-up") == "third"
    keyless.run("restore", good, *with_secret, "--to", keyless.folder / "never", status=10)
    keyless.run(*prune, "--keep-at-least-points", "3", "--keep-at-least-days", "0")
    keyless.run(*prune, "--keep-at-least-points", "2")
    assert [row for row in points(keyless, *with_secret, "--given-up") if row["given_up"]] == []


def test_a_dry_run_copies_nothing(machine: SameProcess) -> None:
    would = machine.json("repository", "copy", "main", "offsite", "--dry-run")

    assert would["chains"][0]["objects"] == 7
    assert machine.json("repository", "show", "offsite")["chains"] == []


def test_configuration_backups_travel_where_that_is_asked_for(machine: SameProcess) -> None:
    machine.run("config", "set", "--repository", "main", "--encrypt", "password:mine")
    machine.run("config", "backup")

    plain = machine.json("repository", "copy", "main", "offsite")
    asked = machine.json("repository", "copy", "main", "offsite", "--with-config")

    assert (plain["configurations"], asked["configurations"]) == (0, 2)


def test_what_cannot_be_right_is_said(machine: SameProcess) -> None:
    machine.run("repository", "copy", "main", "main", status=15)
    machine.run("repository", "copy", "main", machine.folder / "nowhere", status=13)
    machine.run("repository", "copy", "nothing", "offsite", status=10)
    machine.run("repository", "copy", "main", "offsite", "--job", "nobody", status=2)
    machine.run("job", "copy", "create", "x", "--from", "docs", "--to", "main", status=2)
    machine.run("job", "copy", "run", "nothing", status=10)
    machine.run("job", "copy", "create", "away", "--from", "docs", "--to", "offsite")
    machine.run("repository", "remove", "offsite", status=15)
    machine.run("job", "copy", "remove", "away")
    machine.run("repository", "remove", "offsite")


def test_another_server_goes_on_in_the_copy_of_a_lost_original(
    machine: SameProcess, tmp_path: Path
) -> None:
    machine.run("repository", "copy", "main", "offsite")
    away = SameProcess(tmp_path / "away")
    away.run("repository", "add", "left", place(machine, "offsite"))
    away.run("repository", "rescan", "left")
    (chain,) = away.json("chain", "list")["chains"]
    old = ("--password-env", "PASSWORD")
    away.run("chain", "unlock", chain["chain_id"], *old, "--keep-secret")
    away.run("repository", "trust", "left", chain["signer"], "--yes")
    away.run("password", "add", "ours", "--password-env", "OTHER")
    away.run(
        "job", "create", "docs", "--repository", "left", "--chain", chain["chain_id"],
        "--encrypt", "password:ours", "--old-password-env", "PASSWORD",
    )  # fmt: skip
    change(machine, "second")

    assert away.json("job", "run", "docs")["kind"] == "incremental"
    assert restored(away, "docs@latest") == "second"


def test_an_expired_copy_takes_no_keys_of_the_original_with_it(
    machine: SameProcess, keyless: SameProcess
) -> None:
    kept, fingerprint = place(keyless, "kept"), signer(machine)
    copy = ("repository", "copy", place(machine, "repository"), kept, "--signer", fingerprint)
    keyless.run(*copy, "--create")
    machine.run("job", "detach", "docs")
    machine.run("job", "run", "docs")
    old = points(machine)[0]["id"]
    keyless.run(*copy)
    machine.run("point", "remove", old, "--yes")
    machine.run("job", "run", "docs")
    keyless.run(*copy)
    (machine.home / "config.toml").write_text("quarantine_hours = 0\n")

    pruned = machine.json("repository", "prune", kept, "--yes")

    assert [one["whole_chain"] for one in pruned["plans"]].count(True) == 1
    chains = machine.json("chain", "list")["chains"]
    assert [one["state"] for one in chains] == ["known", "known"]
    machine.run("repository", "verify", "main")


# --- copies with a key of their own ----------------------------------------------------------


OWN_KEY = ("job", "copy", "create", "own", "--from", "docs", "--to", "offsite")


@pytest.fixture
def own(machine: SameProcess) -> SameProcess:
    """That machine, with a copy job whose key is sealed for another password."""
    machine.run("password", "add", "theirs", "--password-env", "OTHER")
    machine.run(*OWN_KEY, "--encrypt", "password:theirs")
    return machine


def test_the_source_password_does_not_open_a_copy_with_its_own_key_and_its_own_does(
    own: SameProcess, keyless: SameProcess
) -> None:
    first = own.json("job", "copy", "run", "own")["chains"]
    change(own, "second")
    ran = own.json("job", "run", "docs")
    again = own.json("job", "copy", "run", "own")["chains"]

    assert ran["state"] == "success"
    assert [len(one[0]["points"]) for one in (first, again)] == [1, 2]
    assert first[0]["objects"] > 0
    assert again[0]["objects"] == 0
    offsite = place(own, "offsite")
    opened = ("docs@latest", "--repository", offsite)
    keyless.run("restore", *opened, "--password-env", "PASSWORD", "--to", "out", status=12)
    assert restored(keyless, *opened, "--password-env", "OTHER") == "second"
    kept = points(keyless, "--repository", offsite, "--password-env", "OTHER")
    original = points(own)
    assert [row["id"] for row in kept] == [row["id"] for row in original]
    assert [row["taken_at"] for row in kept] == [row["taken_at"] for row in original]
    main = place(own, "repository")
    keyless.run(
        "restore", "docs@latest", "--repository", main, "--password-env", "OTHER", "--to", "out",
        status=12,
    )  # fmt: skip


def test_a_copy_with_its_own_key_follows_what_the_source_lets_go(own: SameProcess) -> None:
    own.run("job", "copy", "run", "own")
    oldest = points(own)[0]["id"]
    change(own, "second")
    own.run("job", "run", "docs")
    own.run("job", "run", "docs", "--full")
    assert len(points(own, "--repository", "offsite")) == 3
    own.run("point", "remove", oldest, "--yes")
    own.run("job", "copy", "run", "own")

    rows = points(own, "--repository", "offsite")
    assert [row["id"] for row in rows] == [row["id"] for row in points(own)]
    assert oldest not in {row["id"] for row in rows}
    own.run("repository", "prune", "offsite", "--yes")
    own.run("repository", "scrub", "offsite")
    assert len(points(own, "--repository", "offsite")) == 2
    # Both chains are new then, and have the points of those before.
    own.run("job", "reencrypt", "docs", "--yes")
    again = own.json("job", "copy", "run", "own")["chains"]
    assert sorted(len(one["points"]) for one in again) == [0, 0, 1, 1]
    assert len(points(own, "--repository", "offsite")) == 2


@pytest.mark.parametrize("published", [False, True])
def test_a_copy_with_its_own_key_goes_on_where_it_was_cut_short(
    own: SameProcess, monkeypatch: pytest.MonkeyPatch, published: bool
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise StorageUnavailableError("the line is down")

    if published:
        own.run("job", "copy", "run", "own")
        change(own, "second")
        machine_points = 2
    else:
        machine_points = 1
    before = points(own, "--repository", "offsite")
    with monkeypatch.context() as patch:
        patch.setattr(reencryption._Reencryption, "write_journal", fail)
        patch.setattr(extension._Extension, "append", fail)
        if published:
            ran = own.json("job", "run", "docs", status=3)
            assert "the line is down" in ran["warnings"][0]
        else:
            own.run("job", "copy", "run", "own", status=13)
    assert points(own, "--repository", "offsite") == before
    stored = {path.name for path in place(own, "offsite").glob("chains/*/packs/**/*")}
    assert stored

    own.run("job", "copy", "run", "own")

    now = {path.name for path in place(own, "offsite").glob("chains/*/packs/**/*")}
    assert now == stored
    assert len(points(own, "--repository", "offsite")) == machine_points
    assert restored(own, "docs@latest", "--repository", "offsite") == (
        "second" if published else "first"
    )


def test_points_whose_secret_is_not_kept_need_it_to_be_sealed_again(own: SameProcess) -> None:
    own.run("job", "copy", "run", "own")
    own.run("password", "edit", "mine", "--write-only")
    change(own, "second")
    ran = own.json("job", "run", "docs", status=3)
    assert "copy own failed" in ran["warnings"][0]
    refused = own.run("job", "copy", "run", "own", status=12)
    assert "--password-file" in refused.stderr

    own.run("job", "copy", "run", "own", "--password-env", "PASSWORD")

    assert restored(own, "docs@latest", "--repository", "offsite") == "second"


def test_points_of_a_guarded_job_are_guarded_in_its_copy(own: SameProcess) -> None:
    own.run("job", "edit", "docs", "--secret-to-read")
    own.run("job", "copy", "run", "own", status=12)
    own.run("job", "copy", "run", "own", "--password-env", "PASSWORD")
    opened = ("docs@latest", "--repository", "offsite")
    own.run("restore", *opened, "--to", own.folder / "never", status=12)
    assert restored(own, *opened, "--password-env", "OTHER") == "first"


def test_points_are_seen_once_where_a_job_writes_beside_their_copy(own: SameProcess) -> None:
    own.run(
        "job", "create", "other", "--repository", "offsite", "--source", f"files:{data(own)}",
        "--encrypt", "none",
    )  # fmt: skip
    own.run("job", "copy", "run", "own")
    assert [row["job"] for row in points(own)] == ["docs"]
    assert restored(own, points(own)[0]["id"]) == "first"


def test_what_a_copy_with_its_own_key_needs_is_said(own: SameProcess) -> None:
    assert own.json("job", "copy", "show", "own")["copy_job"]["encrypt"] == "password:theirs"
    used = own.run("password", "remove", "theirs", status=15)
    assert "copy job own" in used.stderr
    own.run(*OWN_KEY[:3], "b", *OWN_KEY[4:], "--encrypt", "password:none-such", status=10)
    own.run(*OWN_KEY[:3], "b", *OWN_KEY[4:], "--encrypt", "nonsense", status=2)
    own.run("job", "copy", "run", "own", "--check", status=2)
    own.run("job", "copy", "create", "asis", "--from", "docs", "--to", "offsite")
    own.run("job", "copy", "run", "asis", "--password-env", "PASSWORD", status=2)


# --- plain copies ----------------------------------------------------------------------------


PLAIN = ("job", "copy", "create", "open", "--from", "docs", "--to", "offsite", "--encrypt", "none")


def test_a_plain_copy_of_sealed_points_is_refused_unless_forced(machine: SameProcess) -> None:
    refused = machine.run(*PLAIN, status=14)
    machine.run(*PLAIN[:-2], "--no-encryption", status=14)

    assert "--encrypt password:NAME" in refused.stderr
    assert "--force stores every point of docs in offsite for anybody to read" in refused.stderr
    assert machine.json("job", "copy", "list")["copy_jobs"] == []


@pytest.fixture
def plain(machine: SameProcess) -> SameProcess:
    """That machine, with a plain copy that somebody insisted on."""
    created = machine.run(*PLAIN, "--force")
    assert "is not encrypted" in created.stderr
    return machine


def test_a_forced_plain_copy_is_read_without_any_secret_and_follows_its_job(
    plain: SameProcess, keyless: SameProcess
) -> None:
    plain.run("job", "copy", "run", "open")
    change(plain, "second")
    plain.run("job", "run", "docs", status=3)
    offsite = place(plain, "offsite")
    opened = ("docs@latest", "--repository", offsite)

    assert restored(keyless, *opened) == "second"
    kept, original = points(keyless, "--repository", offsite), points(plain)
    assert [row["id"] for row in kept] == [row["id"] for row in original]
    assert [row["encrypted"] for row in kept] == [False, False]
    # A reader that expects sealed points takes no plain one for them.
    keyless.run("restore", *opened, "--password-env", "PASSWORD", "--to", "out", status=20)
    plain.run("repository", "scrub", "offsite")
    plain.run("repository", "verify", "offsite")
    # What the job lets go, the copy does.
    plain.run("point", "remove", original[0]["id"], "--yes")
    plain.run("job", "copy", "run", "open", status=0)
    assert [row["id"] for row in points(keyless, "--repository", offsite)] == [original[1]["id"]]
    again = plain.json("job", "copy", "run", "open")["chains"]
    assert [one["objects"] for one in again] == [0]
    assert restored(keyless, *opened) == "second"


def test_a_plain_copy_is_told_of_wherever_it_is_seen(plain: SameProcess) -> None:
    ran = plain.run("job", "copy", "run", "open")
    change(plain, "second")
    session = plain.json("job", "run", "docs", status=3)

    assert "copy open is not encrypted" in ran.stderr
    assert "copy open is not encrypted" in session["warnings"][0]
    assert "anybody can read it" in plain.run("job", "copy", "list").stdout
    assert plain.json("job", "copy", "show", "open")["copy_job"]["encrypt"] == "none"
    report = plain.json("report", status=3)
    assert "plain-copy" in {one["code"] for one in report["findings"]}
    events = [one["event"] for one in plain.json("audit", "list")["records"]]
    assert events.count("points.copied-plain") == 2
    assert "weakened" in events


@pytest.mark.parametrize("published", [False, True])
def test_a_plain_copy_goes_on_where_it_was_cut_short_and_takes_nothing_that_was_changed(
    plain: SameProcess, monkeypatch: pytest.MonkeyPatch, published: bool
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise StorageUnavailableError("the line is down")

    if published:
        plain.run("job", "copy", "run", "open")
        change(plain, "second")
    offsite = place(plain, "offsite")
    settled = set(offsite.glob("chains/*/packs/**/*"))
    with monkeypatch.context() as patch:
        patch.setattr(reencryption._Reencryption, "write_journal", fail)
        patch.setattr(extension._Extension, "append", fail)
        if published:
            plain.run("job", "run", "docs", status=3)
        else:
            plain.run("job", "copy", "run", "open", status=13)
    begun = {path for path in offsite.glob("chains/*/packs/*/*") if path not in settled}
    changed, *rest = sorted(begun)
    assert rest
    data = bytearray(changed.read_bytes())
    data[len(data) // 2] ^= 1
    changed.write_bytes(data)

    plain.run("job", "copy", "run", "open")

    now = {path for path in offsite.glob("chains/*/packs/*/*") if path not in settled}
    assert now & begun == set(rest)
    assert len(now) == len(begun)
    assert restored(plain, "docs@latest", "--repository", "offsite") == (
        "second" if published else "first"
    )


def test_no_plain_copy_of_a_guarded_job_is_made_without_its_secret(machine: SameProcess) -> None:
    machine.run("job", "edit", "docs", "--secret-to-read")
    machine.run(*PLAIN, "--force", status=12)
    machine.run(*PLAIN, "--force", "--password-env", "OTHER", status=12)
    machine.run(*PLAIN, "--force", "--password-env", "PASSWORD")

    machine.run("job", "copy", "run", "open", status=12)
    assert points(machine, "--repository", "offsite") == []
    assert not list(place(machine, "offsite").glob("chains/*/packs/*/*"))
    machine.run("job", "copy", "run", "open", "--password-env", "PASSWORD")
    assert restored(machine, "docs@latest", "--repository", "offsite") == "first"


def test_no_vault_takes_a_plain_copy(machine: SameProcess) -> None:
    machine.run("repository", "edit", "offsite", "--vault")
    machine.run(*PLAIN, "--force", status=14)
    machine.run("repository", "edit", "offsite", "--no-vault", "--yes-weaken")
    machine.run(*PLAIN, "--force")
    refused = machine.run("repository", "edit", "offsite", "--vault", status=14)
    assert "copy job open" in refused.stderr


def test_a_plain_copy_has_points_that_are_plain_and_one_with_its_own_key_leaves_them_out(
    plain: SameProcess,
) -> None:
    plain.run("job", "edit", "docs", "--encrypt", "none", "--yes", "--yes-weaken")
    change(plain, "second")
    plain.run("job", "run", "docs", status=3)

    assert len(points(plain, "--repository", "offsite")) == 2
    assert restored(plain, "docs@latest", "--repository", "offsite") == "second"


def test_copies_as_they_are_and_with_their_own_key_are_never_plain(own: SameProcess) -> None:
    own.run("repository", "add", "third", place(own, "third"))
    own.run("job", "copy", "create", "asis", "--from", "docs", "--to", "third")
    own.run("job", "copy", "run", "own")
    own.run("job", "copy", "run", "asis")
    own.run("repository", "copy", "offsite", "third")

    for name in ("offsite", "third"):
        chains = own.json("repository", "show", name)["chains"]
        assert {one["encrypted"] for one in chains} == {True}
    for option in (("--encrypt", "none"), ("--force",), ("--no-encryption",)):
        own.run("repository", "copy", "main", "third", *option, status=2)


def test_another_server_reads_a_plain_copy_and_does_not_go_on_in_it(
    plain: SameProcess, tmp_path: Path
) -> None:
    plain.run("job", "copy", "run", "open")
    away = SameProcess(tmp_path / "away")
    away.run("repository", "add", "left", place(plain, "offsite"))
    (chain,) = away.json("repository", "show", "left")["chains"]
    away.run("repository", "trust", "left", chain["signer"], "--yes")
    refused = away.run(
        "job", "create", "docs", "--repository", "left", "--chain", chain["chain_id"],
        "--encrypt", "none", status=2,
    )  # fmt: skip
    assert "plain copy" in refused.stderr


def test_a_point_of_a_plain_copy_goes_into_an_archive(
    plain: SameProcess, keyless: SameProcess
) -> None:
    plain.run("job", "copy", "run", "open")
    archive = plain.folder / "point.zip"
    plain.run("point", "export", "docs@latest", "--repository", "offsite", "--to", archive)
    assert restored(keyless, "docs@latest", "--repository", archive) == "first"


# --- limits, and others at work --------------------------------------------------------------


def test_a_copy_keeps_to_its_limit_at_both_places(
    own: SameProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    booked: list[tuple[Line, int]] = []
    book = Line._booked

    def note(self: Line, state: Any, size: int, since: float) -> float:
        booked.append((self, size))
        return book(self, state, size, since)

    monkeypatch.setattr(Line, "_booked", note)
    own.run("repository", "add", "third", place(own, "third"))
    stored = sum(path.stat().st_size for path in place(own, "repository").rglob("packs/*/*"))
    for command in (("repository", "copy", "main", "third"), ("job", "copy", "run", "own")):
        own.run(*command, "--limit", "fast", status=2)
        assert booked == []
        own.run(*command, "--limit", "1GB/s")
        lines = {id(line) for line, _ in booked}
        assert len(lines) == 2
        for one in lines:
            assert sum(size for line, size in booked if id(line) == one) >= stored // 2
        booked.clear()
        own.run(*command, "--limit", "none")
        assert booked == []


def test_a_job_that_somebody_works_on_at_the_target_keeps_no_other_from_being_copied(
    machine: SameProcess,
) -> None:
    create = ("job", "create", "more", "--repository", "main", "--encrypt", "password:mine")
    machine.run(*create, "--source", f"files:{data(machine)}")
    machine.run("job", "run", "more")
    jobs = {one["job"]: one["chain_id"] for one in machine.json("chain", "list")["chains"]}
    (job_id,) = {
        one["job_id"]
        for one in machine.json("repository", "show", "main")["chains"]
        if one["chain_id"] == jobs["docs"]
    }
    storage = LocalStorage(place(machine, "offsite"))
    lock = layout.job_lock(bytes.fromhex(job_id))
    copy = ("repository", "copy", "main", "offsite")
    with locks.acquire(storage, lock, "somebody", SystemClock(), command="repository prune"):
        told = machine.json(*copy, status=11)

    assert told["error"]["code"] == "locked"
    assert [one["chain"] for one in told["chains"]] == [jobs["more"]]
    assert [(one["chain"], one["code"]) for one in told["problems"]] == [(jobs["docs"], "locked")]
    assert [row["job"] for row in points(machine, "--repository", "offsite")] == ["more"]
    machine.run(*copy)
    assert len(points(machine, "--repository", "offsite")) == 2


# --- a copy's own key, changed -----------------------------------------------------------------


def give_third(*machines: SameProcess) -> None:
    """Let machines know a third password."""
    for machine in machines:
        machine.environment["THIRD"] = "Copper-lynxes-fold-8-kites"


def test_a_copy_follows_a_changed_password_and_a_re_wrap_shuts_the_old_one_out(
    own: SameProcess, keyless: SameProcess
) -> None:
    give_third(own, keyless)
    own.run("job", "copy", "run", "own")
    oldest = points(own)[0]["id"]
    own.run("password", "edit", "theirs", "--password-env", "THIRD")
    change(own, "second")
    ran = own.json("job", "run", "docs")
    offsite = place(own, "offsite")
    newest = points(own)[-1]["id"]

    assert ran["state"] == "success"
    for point, word in ((oldest, "first"), (newest, "second")):
        opened = (point, "--repository", offsite)
        assert restored(keyless, *opened, "--password-env", "THIRD") == word
    was = (oldest, "--repository", offsite, "--password-env", "OTHER")
    assert restored(keyless, *was) == "first"
    new = ("restore", newest, "--repository", offsite, "--password-env", "OTHER", "--to", "out")
    keyless.run(*new, status=12)

    own.run("job", "copy", "rewrap", "own", status=2)
    again = own.json("job", "copy", "rewrap", "own", "--yes")["keys"]
    assert sorted(one["state"] for one in again) == ["current", "rewrapped"]
    keyless.run("restore", *was, "--to", "out", status=12)
    assert restored(keyless, oldest, "--repository", offsite, "--password-env", "THIRD") == "first"
    change(own, "third")
    assert own.json("job", "run", "docs")["state"] == "success"
    opened = ("docs@latest", "--repository", offsite, "--password-env", "THIRD")
    assert restored(keyless, *opened) == "third"
    own.run("job", "copy", "create", "asis", "--from", "docs", "--to", "offsite")
    own.run("job", "copy", "rewrap", "asis", "--yes", status=2)


def test_a_copy_whose_secret_is_not_kept_follows_when_it_is_given(
    own: SameProcess, keyless: SameProcess
) -> None:
    give_third(own, keyless)
    own.run("password", "edit", "theirs", "--write-only")
    own.run("job", "copy", "run", "own")
    own.run("password", "edit", "theirs", "--password-env", "THIRD")
    behind = own.run("job", "copy", "run", "own")
    assert "job copy rewrap own --old-password-file" in behind.stderr
    own.run("job", "copy", "rewrap", "own", "--yes", status=3)
    own.run("job", "copy", "rewrap", "own", "--yes", "--old-password-env", "OTHER")

    offsite = place(own, "offsite")
    opened = ("docs@latest", "--repository", offsite)
    keyless.run("restore", *opened, "--password-env", "OTHER", "--to", "out", status=12)
    change(own, "second")
    assert own.json("job", "run", "docs")["state"] == "success"
    assert restored(keyless, *opened, "--password-env", "THIRD") == "second"


def test_no_stored_secret_lets_another_into_the_copy_of_a_guarded_job(
    own: SameProcess, keyless: SameProcess
) -> None:
    give_third(own, keyless)
    own.run("job", "edit", "docs", "--secret-to-read")
    own.run("job", "copy", "run", "own", "--password-env", "PASSWORD")
    own.run("password", "edit", "theirs", "--password-env", "THIRD")
    own.run("job", "copy", "run", "own", "--password-env", "PASSWORD")
    own.run("job", "copy", "rewrap", "own", "--yes", status=3)

    opened = ("docs@latest", "--repository", place(own, "offsite"))
    keyless.run("restore", *opened, "--password-env", "THIRD", "--to", "out", status=12)
    assert restored(keyless, *opened, "--password-env", "OTHER") == "first"


def test_a_copy_that_was_cut_short_before_its_password_changed_is_made_for_the_new_one(
    own: SameProcess, keyless: SameProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise StorageUnavailableError("the line is down")

    give_third(own, keyless)
    own.run("job", "copy", "run", "own")
    change(own, "second")
    with monkeypatch.context() as patch:
        patch.setattr(extension._Extension, "append", fail)
        own.run("job", "run", "docs", status=3)
    own.run("password", "edit", "theirs", "--password-env", "THIRD")
    own.run("job", "copy", "run", "own")

    opened = ("docs@latest", "--repository", place(own, "offsite"))
    assert restored(keyless, *opened, "--password-env", "THIRD") == "second"
