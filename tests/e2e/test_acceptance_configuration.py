"""The server is lost, or moved: its configuration comes back, and its keystore opens."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tests.e2e.conftest import OTHER_PASSWORD, Transcript

if TYPE_CHECKING:
    from pathlib import Path

SECRET = ("--password-env", "PASSWORD")


def protect(here: Transcript, job: str = "office", *options: str) -> Path:
    tree = here.folder / job
    tree.mkdir()
    (tree / "minutes").write_text("minutes of " + job)
    here.run(
        *("job", "create", job, "--repository", "main", "--source", f"files:{tree}"),
        *(options or ("--encrypt", "password:mine")),
    )
    here.run("job", "run", job)
    return tree


def backed_up(here: Transcript) -> Path:
    """Set a machine up whose configuration is backed up."""
    here.set_up()
    here.run("config", "set", "--repository", "main", "--encrypt", "password:mine")
    return here.folder / "repository"


def test_a_wiped_server_comes_back_and_opens_every_chain_without_further_passwords(
    here: Transcript,
) -> None:
    repository = backed_up(here)
    here.run("password", "add", "other", "--password-env", "OTHER")
    office = protect(here)
    protect(here, "lab", "--encrypt", "password:other")
    here.run("job", "run", "office", "--full")
    shutil.rmtree(here.home)
    (here.folder / "key").unlink()

    restored = here.json("config", "restore", repository, *SECRET)
    assert restored["jobs"] == ["lab", "office"]
    assert restored["repositories"] == ["main"]
    points = here.json("point", "list")["points"]
    assert len(points) == 3
    assert not any(point["locked"] for point in points)
    for number, point in enumerate(points):
        target = here.folder / f"restored-{number}"
        here.run("restore", point["id"], "--to", target, "--strip")
        assert (target / "minutes").read_text().startswith("minutes of ")
    (office / "minutes").write_text("more")
    assert here.json("job", "run", "office")["kind"] == "incremental"


def test_an_old_configuration_goes_on_incrementally_where_the_chain_is_now(
    here: Transcript, elsewhere: Transcript
) -> None:
    repository = backed_up(here)
    protect(here)
    old = here.json("config", "show")["number"]
    for word in ("one", "two"):
        (here.folder / "office" / "minutes").write_text(word)
        here.run("job", "run", "office")
    here.run("job", "edit", "office", "--keep-last", "40")
    elsewhere.run("config", "restore", repository, "--number", str(old), *SECRET)
    (here.folder / "office" / "minutes").write_text("three")
    session = elsewhere.json("job", "run", "office", status=3)
    assert session["kind"] == "incremental"
    points = elsewhere.json("point", "list", "office")["points"]
    assert len(points) == 4
    elsewhere.run("restore", "office@latest", "--to", elsewhere.folder / "got", "--strip")
    assert (elsewhere.folder / "got" / "minutes").read_text() == "three"
    elsewhere.run("repository", "scrub", "main")


def test_an_old_configuration_never_seals_for_an_older_password(
    here: Transcript, elsewhere: Transcript
) -> None:
    repository = backed_up(here)
    protect(here)
    old = here.json("config", "show")["number"]
    here.run("password", "edit", "mine", "--password-env", "OTHER")
    here.run("job", "run", "office")
    elsewhere.run("config", "restore", repository, "--number", str(old), *SECRET)
    for link in repository.glob("chains/*/links/*"):
        link.unlink()  # the storage hides what would show the change
    elsewhere.run("job", "run", "office", status=14)


def test_a_write_only_job_goes_on_incrementally_after_a_restore(here: Transcript) -> None:
    repository = here.folder / "repository"
    here.set_up("--write-only")
    here.run("config", "set", "--repository", "main", "--encrypt", "password:mine")
    protect(here)
    here.run("job", "run", "office")
    shutil.rmtree(here.home)
    here.run("config", "restore", repository, *SECRET)
    assert here.json("job", "run", "office")["kind"] == "incremental"
    here.run("restore", "office@latest", "--to", here.folder / "got", status=12)


def test_every_change_of_settings_is_backed_up_and_nothing_else(here: Transcript) -> None:
    backed_up(here)

    def number() -> int:
        found: int = here.json("config", "show")["number"]
        return found

    before = number()
    protect(here)
    assert number() == before + 2  # the job, and its chain
    here.run("job", "run", "office")
    here.run("status")
    assert number() == before + 2
    for words in (
        ("job", "edit", "office", "--keep-last", "40"),
        ("password", "add", "other", "--password-env", "OTHER"),
        ("repository", "add", "second", here.folder / "second"),
        ("recovery", "create", here.folder / "kit"),
    ):
        before = number()
        here.run(*words)
        assert number() == before + 1, words


def test_a_repository_that_is_away_is_told_of_and_tried_again(here: Transcript) -> None:
    repository = backed_up(here)
    repository.rename(here.folder / "away")
    done = here.run("password", "add", "other", "--password-env", "OTHER")
    assert "the configuration was not backed up" in done.stderr
    (here.folder / "away").rename(repository)
    assert "not backed up" not in here.run("password", "list").stderr
    assert not here.json("config", "show")["due"]


def test_only_the_newest_are_kept(here: Transcript) -> None:
    repository = backed_up(here)
    here.run("config", "set", "--repository", "main", "--keep", "2")
    for _ in range(3):
        here.run("config", "backup")
    assert len(here.json("config", "list", repository)["backups"]) == 2


def test_a_plain_configuration_backup_cannot_be_asked_for(here: Transcript) -> None:
    here.set_up()
    here.run("config", "set", "--repository", "main", status=2)
    here.run("config", "set", "--repository", "main", "--encrypt", "none", status=2)
    here.run("config", "backup", status=10)
    assert not (here.folder / "repository" / "config").exists()


def test_turning_it_off_is_confirmed(here: Transcript) -> None:
    backed_up(here)
    here.run("config", "set", "--off", status=2)
    here.run("config", "set", "--off", "--yes-weaken")
    assert not here.json("config", "show")["enabled"]


def test_a_home_that_is_set_up_is_moved_aside_only_when_that_was_confirmed(
    here: Transcript, elsewhere: Transcript
) -> None:
    repository = backed_up(here)
    elsewhere.set_up()
    elsewhere.run("config", "restore", repository, *SECRET, status=15)
    elsewhere.run("config", "restore", repository, *SECRET, "--replace", status=2)
    assert elsewhere.json("password", "list")["passwords"][0]["jobs"] == []
    done = elsewhere.json("config", "restore", repository, *SECRET, "--replace", "--yes")
    assert elsewhere.json("repository", "list")["repositories"][0]["location"] == str(repository)
    shutil.rmtree(elsewhere.home)
    shutil.move(done["moved_aside"], elsewhere.home)
    elsewhere.run("password", "verify", "mine", *SECRET)


def test_the_recovery_kit_opens_it_and_a_wrong_password_does_not(
    here: Transcript, elsewhere: Transcript
) -> None:
    repository = backed_up(here)
    kit = here.folder / "kit"
    here.run("recovery", "create", kit)
    elsewhere.run("config", "restore", repository, "--password-env", "OTHER", status=12)
    assert not elsewhere.home.exists()
    elsewhere.run("config", "restore", repository, "--recovery-key", kit)
    assert elsewhere.json("password", "list")["passwords"][0]["name"] == "mine"
    assert OTHER_PASSWORD not in str(elsewhere.json("config", "list", repository))


def test_a_repository_that_moved_is_followed(here: Transcript, elsewhere: Transcript) -> None:
    repository = backed_up(here)
    protect(here)
    there = repository.rename(elsewhere.folder / "moved")
    elsewhere.run("config", "restore", there, *SECRET)
    elsewhere.run("restore", "office@latest", "--to", elsewhere.folder / "got")


def test_a_home_on_another_machine_opens_once_it_is_re_protected(
    here: Transcript, elsewhere: Transcript
) -> None:
    here.set_up()
    protect(here)
    shutil.copytree(here.home, elsewhere.home)
    shutil.copy(here.folder / "key", elsewhere.folder / "old-key")
    elsewhere.run("restore", "office@latest", "--to", elsewhere.folder / "got", status=12)
    elsewhere.run("config", "reprotect", "--old-key-file", here.folder / "none", status=12)
    elsewhere.run("config", "reprotect", "--old-key-file", elsewhere.folder / "old-key")
    (elsewhere.folder / "old-key").unlink()
    elsewhere.run("audit", "verify")
    elsewhere.run("restore", "office@latest", "--to", elsewhere.folder / "got")
    assert elsewhere.json("job", "run", "office")["kind"] == "incremental"


def test_a_database_on_another_host_is_protected_again_by_the_passphrase(
    here: Transcript, elsewhere: Transcript
) -> None:
    repository = backed_up(here)
    protect(here)
    # Without the key file of before, and without its machine.
    shutil.copytree(here.home, elsewhere.home)
    elsewhere.run("config", "restore", repository, *SECRET, "--replace", "--yes")
    elsewhere.run("restore", "office@latest", "--to", elsewhere.folder / "got")
    assert elsewhere.json("job", "run", "office")["kind"] == "incremental"
