"""Chains whose links lack: read with several secrets, told by key id and hint, mended later."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from strongroom.catalog import missing_links
from strongroom.control import (
    care,
    chains,
    inventory,
    jobs,
    passwords,
    points,
    report,
    restores,
    rewrapping,
    sessions,
)
from strongroom.control.access import Access, open_reading
from strongroom.control.secrets import SecretSource
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.progress import NullProgress
from strongroom.engine.restore import RestoreRequest
from strongroom.errors import InUseError, NoRecipientMatchedError, UnlockError
from strongroom.repository import layout
from tests.support.installation import LOCATION, PASSWORD, Installation, secret
from tests.support.quick_argon2 import QuickArgon2id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from strongroom.control.views.points import PointList
    from tests.support.installation import Machine

NEWER = "Quiet-harbours-sell-9-violins"
NEWEST = "Teal-badgers-collect-9-compasses"
WRONG = "Neither-of-the-2-passwords"


def lose_links(there: Installation) -> None:
    for chain_id in map(bytes.fromhex, there.chain_ids()):
        for info in list(there.storage.list(layout.links(chain_id))):
            there.storage.delete(info.key)


def write(there: Installation, name: str) -> str:
    (there.tree / name).write_text(name)
    return there.run().points[0]


def given(*texts: str) -> Access:
    return Access(where=LOCATION, secrets=tuple(map(secret, texts)))


# --- reading -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, list[str]]]:
    """A chain of three points under three passwords, the kit of none, and without its links."""
    there = Installation.create(tmp_path_factory.mktemp("lost"))
    there.tree.mkdir()
    there.job()
    jobs.edit(there.ctx, "nightly", jobs.JobChanges(recovery=False), yes_weaken=True)
    made = [write(there, "one")]
    for text, hint in ((NEWER, "strings"), (NEWEST, "needle")):
        passwords.edit(there.ctx, "office", secret=secret(text), hint=hint)
        made.append(write(there, hint))
    lose_links(there)
    yield there, made
    there.ctx.close()


def reader(lost: tuple[Installation, list[str]], *texts: str) -> Machine:
    return lost[0].bare(recovery_keys=(), secrets=tuple(map(secret, texts)))


def listed(machine: Machine) -> PointList:
    return points.list_points(machine.ctx, machine.access)


def needs(found: PointList) -> list[tuple[bool, list[str]]]:
    """Return of each point whether it is locked, and the hints of the keys that it still needs."""
    hints = {one.key_id: one.recipients[0].hint for one in found.needed}
    return [(row.locked, sorted(hints[key] for key in row.needs)) for row in found.points]


def test_without_a_secret_every_key_is_named_with_its_hint_and_its_points(
    lost: tuple[Installation, list[str]],
) -> None:
    machine = reader(lost)
    found = listed(machine)

    assert needs(found) == [
        (True, [""]),
        (True, ["", "strings"]),
        (True, ["", "needle", "strings"]),
    ]
    assert {len(one.recipients[0].key_id) for one in found.needed} == {64}
    assert [len(one.points) for one in found.needed if one.recipients[0].hint == "strings"] == [2]
    (warning,) = [one for one in found.warnings if "locked" in one]
    assert all(f"password {one.recipients[0].key_id[:12]}" in warning for one in found.needed)


@pytest.mark.parametrize(
    ("texts", "left"),
    [
        ((PASSWORD,), [(False, []), (True, ["strings"]), (True, ["needle", "strings"])]),
        ((PASSWORD, NEWER), [(False, []), (False, []), (True, ["needle"])]),
        ((NEWEST,), [(True, [""]), (True, ["", "strings"]), (False, ["", "strings"])]),
        ((NEWEST, PASSWORD), [(False, []), (True, ["strings"]), (False, ["strings"])]),
        ((NEWEST, NEWER, PASSWORD), [(False, [])] * 3),
    ],
    ids=["oldest", "older two", "newest", "newest and oldest", "all"],
)
def test_exactly_the_points_whose_secrets_are_given_open(
    lost: tuple[Installation, list[str]],
    tmp_path: Path,
    texts: tuple[str, ...],
    left: list[tuple[bool, list[str]]],
) -> None:
    _, made = lost
    machine = reader(lost, *texts)

    assert needs(listed(machine)) == left
    reading = machine.reading()
    for point, (_, missing) in zip(made, left, strict=True):
        if missing:
            with pytest.raises(UnlockError, match="it needs password") as caught:
                reading.check_whole(reading.select(point))
            hints = [one["recipients"][0]["hint"] for one in caught.value.fields["needed"]]  # type: ignore[attr-defined, index]
            assert sorted(hints) == missing
        else:
            reading.check_whole(reading.select(point))
            machine.restore(point, tmp_path / point, reading)
            assert (tmp_path / point / "one").read_text() == "one"


def test_a_restore_that_lacks_a_secret_writes_nothing(
    lost: tuple[Installation, list[str]], tmp_path: Path
) -> None:
    _, made = lost
    machine = reader(lost, NEWEST)
    with pytest.raises(UnlockError, match=r"\(hint: strings\)"):
        restores.restore(
            machine.ctx,
            machine.access,
            made[-1],
            RestoreRequest(target=tmp_path / "target", strip=True),
            progress=NullProgress(),
            cancel=Cancellation(),
        )
    assert not (tmp_path / "target").exists()


def test_verify_opens_what_opens_whole_and_nothing_else(
    lost: tuple[Installation, list[str]],
) -> None:
    machine = reader(lost, PASSWORD)
    done = care.verify(machine.ctx, machine.access, progress=NullProgress(), cancel=Cancellation())
    assert done.ok
    newest = reader(lost, NEWEST)
    with pytest.raises(UnlockError, match="none of 3 points opens whole"):
        care.verify(newest.ctx, newest.access, progress=NullProgress(), cancel=Cancellation())


def test_a_chain_that_is_open_in_part_says_so(lost: tuple[Installation, list[str]]) -> None:
    machine = reader(lost, NEWEST)
    (view,) = chains.list_all(machine.ctx, machine.access).chains
    assert view.opens == "part"
    assert sorted(one.recipients[0].hint for one in view.needed) == ["", "strings"]
    (whole,) = chains.list_all(machine.ctx, given(NEWEST, NEWER, PASSWORD)).chains
    assert (whole.opens, whole.needed) == ("all", ())


def test_a_secret_that_opens_nothing_is_named_by_where_it_came_from(
    lost: tuple[Installation, list[str]], tmp_path: Path
) -> None:
    file = tmp_path / "wrong"
    file.write_text(WRONG)
    file.chmod(0o600)
    wrong = SecretSource(file=file)
    machine = reader(lost)
    for secrets in ((wrong, secret(NEWEST)), (wrong,)):
        with pytest.raises(NoRecipientMatchedError, match=f"from file {file}"):
            open_reading(machine.ctx, Access(where=LOCATION, secrets=secrets))


def test_a_password_is_derived_once_for_each_salt(
    lost: tuple[Installation, list[str]],
) -> None:
    QuickArgon2id.made.clear()
    open_reading(reader(lost).ctx, given(PASSWORD, NEWER, NEWEST))
    made = QuickArgon2id.made
    assert made
    assert len(made) == len(set(made))


def test_at_a_terminal_what_is_missing_is_asked_for_by_key_and_hint(
    lost: tuple[Installation, list[str]],
) -> None:
    machine = reader(lost)
    answers = {"strings": NEWER, "needle": NEWEST}
    asked: list[str] = []

    def prompt(what: str) -> str:
        asked.append(what)
        first = NEWEST if len(asked) == 1 else ""
        return first or next((text for hint, text in answers.items() if hint in what), "")

    machine.ctx.secrets = SecretSource(prompt=prompt)
    found = points.list_points(machine.ctx, Access(where=LOCATION))

    assert len(asked) == 3
    assert all("password with key" in one and "empty to go on" in one for one in asked[1:])
    assert needs(found) == [(True, [""]), (False, [""]), (False, [""])]


# --- links that follow later -------------------------------------------------------------------


@pytest.fixture
def unlinked(tmp_path: Path) -> Iterator[Installation]:
    """A job under a write-only password, which was changed without the one before."""
    there = Installation.create(tmp_path)
    there.tree.mkdir()
    passwords.add(there.ctx, "mine", secret(PASSWORD), hint="drawer", write_only=True)
    there.job()
    changes = jobs.JobChanges(encrypt="password:mine", recovery=False)
    jobs.edit(there.ctx, "nightly", changes, yes_weaken=True)
    write(there, "one")
    done = passwords.edit(
        there.ctx, "mine", secret=secret(NEWER), hint="safe", link_later=True, write_only=True
    )
    assert done.rekeyed == ("nightly",)
    assert any("without a link" in notice for notice in done.notices)
    yield there
    there.ctx.close()


def missing(there: Installation) -> list[missing_links.MissingLink]:
    (chain_id,) = map(bytes.fromhex, there.chain_ids())
    return missing_links.of_chain(there.ctx.database, chain_id)


def opens_whole(there: Installation, *texts: str) -> bool:
    found = points.list_points(there.bare().ctx, given(*texts))
    return not found.needed


def test_without_the_old_secret_the_chain_goes_on_and_the_missing_link_is_told(
    unlinked: Installation,
) -> None:
    (unlinked.tree / "two").write_text("two")
    assert unlinked.run().kind == "incremental"

    assert len(jobs.show(unlinked.ctx, "nightly").unlinked) == 1
    found = report.make(unlinked.ctx)
    (finding,) = [one for one in found.findings if one.code == "link-missing"]
    assert finding.problem
    assert "2 points" in finding.text
    assert [one.code for one in found.findings if "opened-by" in one.code] == []
    beside = [one for one in inventory.list_all(unlinked.ctx) if any(u.beside for u in one.chains)]
    assert {one.version for one in beside} == {1, 2}
    assert [one.points for one in beside] == [0, 0]
    with pytest.raises(InUseError):
        passwords.remove(unlinked.ctx, "mine")
    assert not opens_whole(unlinked, NEWER)
    assert not opens_whole(unlinked, PASSWORD)
    assert opens_whole(unlinked, NEWER, PASSWORD)


@pytest.mark.parametrize("how", ["session", "unlock", "rewrap"])
def test_the_link_is_made_once_the_old_secret_is_at_hand(unlinked: Installation, how: str) -> None:
    write(unlinked, "two")
    assert len(missing(unlinked)) == 1

    if how == "session":
        done = sessions.run(
            unlinked.ctx,
            "nightly",
            full=False,
            progress=NullProgress(),
            cancel=Cancellation(),
            old=secret(PASSWORD),
        )
        assert (done.kind, done.warnings) == ("incremental", ())
    elif how == "unlock":
        (chain_id,) = unlinked.chain_ids()
        access = Access(secrets=(secret(NEWER), secret(PASSWORD)))
        unlocked = chains.unlock(unlinked.ctx, chain_id, access, progress=NullProgress())
        assert len(unlocked.linked) == 1
    else:
        access = Access(secrets=(secret(NEWER), secret(PASSWORD)))
        rewrapping.rewrap(unlinked.ctx, "nightly", old=access, yes=True)

    assert missing(unlinked) == []
    assert jobs.show(unlinked.ctx, "nightly").unlinked == ()
    assert opens_whole(unlinked, NEWER)


def test_an_unlock_before_the_next_session_leaves_the_changed_recipients_in_force(
    unlinked: Installation,
) -> None:
    (chain_id,) = unlinked.chain_ids()
    access = Access(secrets=(secret(NEWER), secret(PASSWORD)))
    assert chains.unlock(unlinked.ctx, chain_id, access, progress=NullProgress()).linked
    newest = write(unlinked, "two")
    assert opens_whole(unlinked, NEWER)
    found = points.list_points(unlinked.bare().ctx, given(PASSWORD))
    assert [(row.id == newest, row.locked) for row in found.points] == [
        (False, False),
        (True, True),
    ]


def test_a_key_of_which_no_envelope_is_left_is_told(unlinked: Installation) -> None:
    write(unlinked, "two")
    (lacking,) = missing(unlinked)
    for info in list(unlinked.storage.list()):
        if f"/envelopes/{lacking.older_id.hex()}" in info.key:
            unlinked.storage.delete(info.key)
    found = points.list_points(unlinked.bare().ctx, given(NEWER))
    assert [one.recipients for one in found.needed] == [()]
    assert any("no envelope is left" in warning for warning in found.warnings)


def test_a_wrong_old_secret_makes_no_link_and_is_told(unlinked: Installation) -> None:
    done = sessions.run(
        unlinked.ctx,
        "nightly",
        full=False,
        progress=NullProgress(),
        cancel=Cancellation(),
        old=secret(WRONG),
    )
    assert any("variable SECRET" in warning for warning in done.warnings)
    assert len(missing(unlinked)) == 1
    with pytest.raises(NoRecipientMatchedError, match="variable SECRET"):
        rewrapping.rewrap(unlinked.ctx, "nightly", old=given(WRONG), yes=True)


def test_a_second_change_before_any_session_needs_the_key_that_points_have(
    unlinked: Installation,
) -> None:
    passwords.edit(unlinked.ctx, "mine", secret=secret(NEWEST), link_later=True)
    write(unlinked, "two")
    assert len(missing(unlinked)) == 1
    assert opens_whole(unlinked, NEWEST, PASSWORD)


def test_a_second_change_after_a_session_needs_all_three(unlinked: Installation) -> None:
    write(unlinked, "two")
    passwords.edit(unlinked.ctx, "mine", secret=secret(NEWEST), link_later=True)
    write(unlinked, "three")
    assert len(missing(unlinked)) == 2
    assert not opens_whole(unlinked, NEWEST, PASSWORD)
    assert opens_whole(unlinked, NEWEST, NEWER, PASSWORD)


def test_the_old_secret_that_is_given_links_at_once(unlinked: Installation) -> None:
    write(unlinked, "two")
    done = passwords.edit(
        unlinked.ctx, "mine", secret=secret(NEWEST), old=secret(NEWER), link_later=True
    )
    assert not any("without a link" in notice for notice in done.notices)
    assert len(missing(unlinked)) == 1  # the older one, as before
    assert opens_whole(unlinked, NEWEST, PASSWORD)
