"""Lost passwords: kits, shares, older keys, drills, and a kit that stays with its holder."""

from __future__ import annotations

import os
from itertools import combinations
from typing import TYPE_CHECKING

from tests.e2e.conftest import Transcript

if TYPE_CHECKING:
    from pathlib import Path


def protect(machine: Transcript, *recovery: str | Path) -> Path:
    """Make a tree, a recovery key written as `recovery` says, and a job that has run once."""
    tree = machine.folder / "tree"
    tree.mkdir()
    (tree / "letter").write_text("dear reader")
    (tree / "noise").write_bytes(os.urandom(1 << 20))
    machine.set_up()
    machine.run("recovery", "create", *recovery)
    machine.run(
        *("job", "create", "letters", "--repository", "main", "--encrypt", "password:mine"),
        *("--source", f"files:{tree}", "--keep-last", "9"),
    )
    machine.run("job", "run", "letters")
    return tree


def lose_password(machine: Transcript) -> None:
    """Take the whole keystore away; what is left of the server has no secret."""
    (machine.home / "keystore").rename(machine.folder / "keystore-lost")


def restored(machine: Transcript, name: str, which: str, *options: str | Path) -> str:
    """Restore a point and return what its letter says."""
    target = machine.folder / name
    machine.run("restore", which, "--to", target, "--strip", *options)
    return (target / "letter").read_text()


def kit_options(*files: Path) -> list[str | Path]:
    return [word for file in files for word in ("--recovery-key", file)]


def test_the_private_key_file_recovers_on_a_clean_machine(here, elsewhere) -> None:
    kit = here.folder / "kit"
    protect(here, kit)
    lose_password(here)
    where = ("--repository", here.folder / "repository")
    assert restored(elsewhere, "back", "letters@latest", *where, *kit_options(kit)) == "dear reader"
    assert not elsewhere.home.exists()


def test_a_printed_page_recovers_as_the_file_does(here, elsewhere) -> None:
    page = here.folder / "kit.html"
    protect(here, "--page", page)
    where = ("--repository", here.folder / "repository")
    assert restored(elsewhere, "back", "letters@latest", *where, *kit_options(page))


def test_any_three_of_five_shares_recover_and_two_do_not(here, elsewhere) -> None:
    protect(here, "--shares", "3-of-5", here.folder / "shares")
    shares = sorted((here.folder / "shares").iterdir())
    assert len(shares) == 5
    where = ("--repository", here.folder / "repository")
    for number, chosen in enumerate(list(combinations(shares, 3))[::3]):
        options = (*where, *kit_options(*chosen))
        assert restored(elsewhere, f"back{number}", "letters@latest", *options) == "dear reader"
    two = kit_options(shares[0], shares[4])
    refused = elsewhere.run("point", "list", *where, *two, status=2)
    assert "1 more of the 5" in refused.stderr
    twice = kit_options(shares[0], shares[0], shares[4])
    elsewhere.run("point", "list", *where, *twice, status=2)


def test_points_of_three_keys_open_with_the_kits_of_their_time(here, elsewhere) -> None:
    kits = [here.folder / f"kit{number}" for number in range(3)]
    tree = protect(here, kits[0])
    points = here.json("point", "list", "letters")["points"]
    for number, kit in enumerate(kits[1:], start=1):
        here.run("recovery", "create", kit)
        (tree / "letter").write_text(f"letter {number}")
        here.run("job", "run", "letters")
        points = here.json("point", "list", "letters")["points"]
    ids = [point["id"] for point in points]
    where = ("--repository", here.folder / "repository")
    for number, kit in enumerate(kits):
        expected = "dear reader" if number == 0 else f"letter {number}"
        options = (*where, *kit_options(kit))
        assert restored(elsewhere, f"own{number}", ids[number], *options) == expected
        # A link leads from the newer key to the older, and never the other way.
        for later in ids[number + 1 :]:
            elsewhere.run(
                *("restore", later, "--to", elsewhere.folder / "closed", *options), status=12
            )
        for earlier in range(number):
            assert restored(elsewhere, f"{number}-{earlier}", ids[earlier], *options)
    listed = here.json("recovery", "list")["keys"]
    assert [key["active"] for key in listed] == [False, False, True]
    here.run("recovery", "activate", listed[0]["key_id"][:12])
    assert here.json("recovery", "show")["key"]["key_id"] == listed[0]["key_id"]
    (tree / "letter").write_text("back again")
    here.run("job", "run", "letters")
    options = (*where, *kit_options(kits[0]))
    assert restored(elsewhere, "again", "letters@latest", *options) == "back again"


def test_an_imported_kit_protects_a_new_installation(here, elsewhere) -> None:
    kit = here.folder / "kit"
    protect(here, kit)
    elsewhere.set_up()
    (elsewhere.folder / "data").mkdir()
    (elsewhere.folder / "data" / "letter").write_text("from elsewhere")
    elsewhere.run("recovery", "import", kit)
    job = elsewhere.run(
        *("job", "create", "other", "--repository", "main", "--encrypt", "password:mine"),
        *("--source", f"files:{elsewhere.folder / 'data'}"),
    )
    assert "no recovery key" not in job.stderr
    elsewhere.run("job", "run", "other")
    lose_password(elsewhere)
    third = Transcript(here.folder / "third")
    where = ("--repository", elsewhere.folder / "repository")
    assert restored(third, "back", "other@latest", *where, *kit_options(kit)) == "from elsewhere"


def test_ending_the_protection_is_a_weakening(here) -> None:
    protect(here, here.folder / "kit")
    key = here.json("recovery", "show")["key"]["key_id"]
    here.run("recovery", "deactivate", key[:8], status=2)
    here.run("recovery", "deactivate", key[:8], "--yes-weaken")
    here.run("recovery", "show", status=10)
    warned = here.run("job", "show", "letters")
    assert "not covered" in warned.stdout


def test_a_drill_reads_a_sample_and_is_remembered_whether_it_passed(here) -> None:
    kit = here.folder / "kit"
    protect(here, kit)
    drill = here.json("recovery", "test", kit)
    assert drill["ok"]
    assert drill["chains"][0]["blocks"] > 0
    assert "passed" in here.run("recovery", "list").stdout
    for pack in (here.folder / "repository").rglob("packs/*/*"):
        pack.chmod(0o600)
        with pack.open("r+b") as stream:
            size = pack.stat().st_size
            stream.write(bytes(size - (1 << 16) if size > (1 << 17) else size // 2))
    failed = here.json("recovery", "test", kit, status=12)
    assert not failed["ok"]
    assert "failed" in here.run("recovery", "list").stdout
    assert here.json("recovery", "show")["key"]["tested_ok"] is False


def test_a_request_carried_by_hand_opens_the_point_and_only_there(here, elsewhere) -> None:
    """The server has lost the password; the kit is with its holder, elsewhere, and stays there."""
    kit = elsewhere.folder / "kit"
    tree = protect(here, kit)
    first = here.json("point", "list", "letters")["points"][0]["id"]
    (tree / "letter").write_text("a later letter")
    here.run("job", "run", "letters")
    signer = here.json("recovery", "show")["key"]["signer"]
    lose_password(here)
    here.run("restore", first, "--to", here.folder / "none", status=12)
    # A new keystore means a new identity: what the kit calls the signer has to be believed.
    here.run("repository", "trust", "main", signer, "--yes")

    asked = here.folder / "request.txt"
    here.run("recovery", "request", first, "--repository", "main", "--out", asked)
    carried = elsewhere.folder / "request.txt"
    carried.write_text("Please answer:\n" + asked.read_text())
    # Somebody else than the kit's signer asks: the holder has to name them.
    elsewhere.run("recovery", "answer", carried, kit, "--yes", status=20)
    asker = here.json("recovery", "request", first)["signer"]
    elsewhere.run("recovery", "answer", carried, kit, "--signer", asker, status=2)
    response = here.folder / "response.txt"
    done = elsewhere.run("recovery", "answer", carried, kit, "--signer", asker, "--yes")
    response.write_text(done.stdout)
    assert first in done.stderr
    assert not elsewhere.home.exists()

    here.run("recovery", "accept", response, "--keep", "2h")
    assert restored(here, "back", first) == "dear reader"
    assert "letter" in here.run("point", "files", first).stdout
    here.run("point", "verify", first)
    here.run("restore", "letters@latest", "--to", here.folder / "none", status=12)
    here.run("recovery", "accept", response, status=10)
    third = Transcript(here.folder / "third")
    third.run("repository", "add", "main", here.folder / "repository")
    third.run("recovery", "accept", response, status=10)
    third.run("restore", first, "--to", third.folder / "none", status=12)

    waiting = here.json("recovery", "requests")
    assert [one["point"] for one in waiting["points"]] == [first]
    here.run("recovery", "forget", first[:8])
    here.run("restore", first, "--to", here.folder / "none", status=12)
    assert here.json("recovery", "requests") == {"requests": [], "points": []}


def test_the_kit_s_own_signer_is_answered_without_further_words(here, elsewhere) -> None:
    kit = elsewhere.folder / "kit"
    protect(here, kit)
    asked = here.run("recovery", "request", "letters@latest").stdout
    answered = elsewhere.run(*("recovery", "answer", "-", kit, "--yes"), typed=asked).stdout
    opened = here.run("recovery", "accept", "-", typed=answered)
    assert "is open until" in opened.stdout
