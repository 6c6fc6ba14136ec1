"""Chains of another server: listed with what opens them, unlocked, taken into the catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from strongroom.catalog import chains as chain_rows
from strongroom.catalog import signers
from strongroom.control import chains, keys, passwords
from strongroom.control.access import Access
from strongroom.engine.progress import NullProgress
from strongroom.errors import (
    InvalidInputError,
    NoRecipientMatchedError,
    NotFoundError,
    PointWithheldError,
    SecretNeededError,
    UnlockError,
)
from strongroom.format.journal import SessionBody
from strongroom.repository import layout
from tests.support.installation import PASSWORD, Installation, secret

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.control.views.chains import ChainUnlocked

NEWER = "Quiet-harbours-sell-9-violins"


@pytest.fixture
def first(tmp_path: Path) -> Installation:
    """A server that made three points, of which the last two are sealed for a newer password."""
    first = Installation.at_work(tmp_path, file=b"one")
    passwords.edit(first.ctx, "office", secret=secret(NEWER), hint="strings")
    for content in ("two", "three"):
        (first.tree / "file").write_text(content)
        first.run()
    return first


@pytest.fixture
def second(first: Installation) -> Installation:
    return first.another("Green-tables-lift-4-oranges")


def unlock(there: Installation, *texts: str, **options: object) -> ChainUnlocked:
    (chain_id,) = there.chain_ids()
    return chains.unlock(
        there.ctx,
        chain_id[:12],
        Access(secrets=tuple(map(secret, texts))),
        progress=NullProgress(),
        **options,  # type: ignore[arg-type]
    )


def test_an_unknown_chain_is_locked_and_says_what_opens_it(second: Installation) -> None:
    (view,) = chains.list_all(second.ctx, Access()).chains

    assert (view.state, view.locked, view.opens, view.points) == ("locked", True, "nothing", 3)
    assert {one.kind for one in view.recipients} == {"password", "recovery"}
    assert "strings" in view.hints
    assert view.unlinked == ()
    assert not view.trusted


def test_the_newest_secret_opens_all_of_it_and_takes_it_in(second: Installation) -> None:
    done = unlock(second, NEWER)

    assert done.missing == ()
    assert done.details.sources == (f"files:{second.tree}",)
    (view,) = chains.list_all(second.ctx, Access()).chains
    assert (view.state, view.job, view.opens) == ("taken-in", "nightly", "names")
    assert [one.locked for one in chains.show(second.ctx, view.chain_id, Access()).points] == [
        False,
        False,
        False,
    ]


def test_an_older_secret_takes_nothing_in(second: Installation) -> None:
    with pytest.raises(UnlockError, match="strings"):
        unlock(second, PASSWORD)

    (chain_id,) = map(bytes.fromhex, second.chain_ids())
    assert chain_rows.find(second.ctx.database, chain_id) is None
    assert keys.chain_record(second.ctx, chain_id) is None
    assert second.ctx.keystore.metakeys(chain_id) == {}
    assert signers.accepted(second.ctx.database) == ()


def test_what_opens_contents_is_kept_only_if_that_is_said(second: Installation) -> None:
    unlock(second, NEWER)
    (chain_id,) = map(bytes.fromhex, second.chain_ids())
    record = keys.chain_record(second.ctx, chain_id)
    assert record is not None
    assert record.chain_key_seed is None
    with pytest.raises(UnlockError):
        second.here().restore("nightly@latest", second.folder / "out")

    unlock(second, NEWER, keep_secret=True)

    second.here().restore("nightly@latest", second.folder / "out")
    assert (second.folder / "out" / "file").read_text() == "three"
    oldest = second.here().reading().points[0].id
    second.here().restore(oldest, second.folder / "oldest")
    assert (second.folder / "oldest" / "file").read_text() == "one"


def lose_links(there: Installation) -> None:
    (chain_id,) = map(bytes.fromhex, there.chain_ids())
    for info in list(there.storage.list(layout.links(chain_id))):
        there.storage.delete(info.key)


def test_a_lost_link_is_told_with_key_and_hint(second: Installation) -> None:
    lose_links(second)
    passwords_of_then = unlock(second, NEWER)

    assert "password" in {one.kind for one in passwords_of_then.missing}
    shown = "\n".join(passwords_of_then.notices)
    assert all(one.key_id[:12] in shown for one in passwords_of_then.missing)
    assert "1 point stays locked" in shown
    assert len(passwords_of_then.details.chain.unlinked) == 1


def test_an_older_secret_opens_what_no_link_leads_to(second: Installation) -> None:
    lose_links(second)

    done = unlock(second, NEWER, PASSWORD)

    assert done.missing == ()
    assert done.linked == ()
    assert not any(point.locked for point in done.details.points)


def test_a_wrong_secret_opens_nothing(second: Installation) -> None:
    with pytest.raises(NoRecipientMatchedError):
        unlock(second, "Neither-of-the-2-passwords")


def test_without_a_secret_it_says_which_would_open_it(second: Installation) -> None:
    (chain_id,) = second.chain_ids()
    with pytest.raises(SecretNeededError, match="strings"):
        chains.unlock(second.ctx, chain_id, Access(), progress=NullProgress())


def test_a_kit_opens_it_as_well(second: Installation) -> None:
    (chain_id,) = second.chain_ids()
    access = Access(recovery_keys=(second.kit,))

    done = chains.unlock(second.ctx, chain_id, access, progress=NullProgress())

    assert done.missing == ()


def test_a_chain_is_named_by_enough_of_its_id(second: Installation) -> None:
    (chain_id,) = second.chain_ids()
    assert chains.show(second.ctx, chain_id[:6], Access()).chain.chain_id == chain_id
    with pytest.raises(InvalidInputError):
        chains.show(second.ctx, chain_id[:3], Access())
    with pytest.raises(InvalidInputError):
        chains.show(second.ctx, "not hex", Access())
    other = "0" if chain_id[0] != "0" else "1"
    with pytest.raises(NotFoundError):
        chains.show(second.ctx, other + chain_id[1:], Access())


def test_a_chain_that_withholds_points_is_not_taken_in(second: Installation) -> None:
    (chain_id,) = map(bytes.fromhex, second.chain_ids())
    chain = second.repository().chain(chain_id)
    assert isinstance(chain.entry(1).body, SessionBody)
    second.storage.delete(layout.entry(chain_id, 1))

    with pytest.raises(PointWithheldError):
        unlock(second, NEWER)
    assert chain_rows.find(second.ctx.database, chain_id) is None
    (view,) = chains.list_all(second.ctx, Access()).chains
    assert view.state == "damaged"
