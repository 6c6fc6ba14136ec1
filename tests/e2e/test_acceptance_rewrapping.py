"""Re-wrapping: old points open with today's secret, and with the old one no longer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from strongroom import errors
from strongroom.catalog import chains
from strongroom.control import jobs, passwords, rewrapping
from strongroom.control.access import Access
from strongroom.crypto.content import fingerprint
from strongroom.keystore import ChainRecord
from strongroom.repository import layout
from tests.support.installation import PASSWORD, Installation, secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from strongroom.control.views.rewrapping import RewrapResult
    from strongroom.storage.base import ObjectKey

NEWER = "Teal-badgers-collect-9-compasses"
NEWEST = "Ochre-herons-polish-4-trombones"


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    installation = Installation.with_password_alone(tmp_path)
    yield installation
    installation.ctx.close()


def change(installation: Installation, text: str, **options: object) -> None:
    passwords.edit(installation.ctx, "office", secret=secret(text), **options)  # type: ignore[arg-type]


def given(*texts: str) -> Access:
    return Access(secrets=tuple(map(secret, texts)))


def rewrap(installation: Installation, **options: object) -> RewrapResult:
    return rewrapping.rewrap(installation.ctx, "nightly", **{"yes": True, **options})  # type: ignore[arg-type]


def hashes(installation: Installation) -> dict[str, bytes]:
    storage = installation.storage
    """Return the hash of every object of the format; locks are none."""
    infos = [info for info in storage.list() if not info.key.startswith(layout.LOCKS)]
    return {info.key: fingerprint(storage.get(info.key)) for info in infos}


def envelopes(installation: Installation) -> set[str]:
    return {key for key in hashes(installation) if "/envelopes/" in key}


def restored(installation: Installation, point: str, password: str, target: Path) -> str:
    machine = installation.bare(recovery_keys=(), secrets=(secret(password),))
    machine.restore(point, target)
    return (target / "file").read_text()


@pytest.mark.parametrize("links", [True, False], ids=["with links", "without links"])
def test_the_last_password_alone_opens_every_point_and_older_ones_none(
    installation: Installation, tmp_path: Path, links: bool
) -> None:
    points = {"one": installation.point_of("one")}
    points["other chain"] = installation.point_of("other chain", full=True)
    jobs.detach(installation.ctx, "nightly")
    points["third chain"] = installation.point_of("third chain")
    change(installation, NEWER)
    points["two"] = installation.point_of("two")
    change(installation, NEWEST)
    points["three"] = installation.point_of("three")
    before = hashes(installation)

    result = rewrap(installation)

    assert {key.state for key in result.keys} == {"current", "rewrapped"}
    after = hashes(installation)
    changed = {key for key in {*before, *after} if before.get(key) != after.get(key)}
    assert changed
    assert [key for key in changed if "/envelopes/" not in key] == []
    if not links:
        for key in [key for key in after if "/links/" in key]:
            installation.storage.delete(key)
    machine = installation.bare(recovery_keys=(), secrets=(secret(NEWEST),))
    reading = machine.reading()
    for name, point in points.items():
        machine.restore(point, tmp_path / name, reading)
        assert (tmp_path / name / "file").read_text() == name
    for old in (PASSWORD, NEWER):
        with pytest.raises(errors.NoRecipientMatchedError):
            installation.bare(recovery_keys=(), secrets=(secret(old),)).reading()


def test_before_a_re_wrap_the_old_password_opens_old_points(
    installation: Installation, tmp_path: Path
) -> None:
    point = installation.point_of("one")
    change(installation, NEWER)
    assert restored(installation, point, PASSWORD, tmp_path / "target") == "one"


def test_the_next_session_is_an_increment_under_the_same_chain_key(
    installation: Installation,
) -> None:
    installation.point_of("one")
    change(installation, NEWER)
    installation.point_of("two")
    rewrap(installation)
    names = envelopes(installation)
    (installation.tree / "file").write_text("three")
    assert installation.run().kind == "incremental"
    assert envelopes(installation) == names


def test_a_dry_run_and_no_agreement_change_nothing(installation: Installation) -> None:
    installation.point_of("one")
    change(installation, NEWER)
    before = hashes(installation)
    assert [key.state for key in rewrap(installation, dry_run=True).keys].count("old") == 1
    with pytest.raises(errors.ConfirmationNeededError, match="the password"):
        rewrap(installation, yes=False)
    assert hashes(installation) == before


def test_a_second_re_wrap_finds_nothing_to_do(installation: Installation) -> None:
    installation.point_of("one")
    change(installation, NEWER)
    rewrap(installation)
    before = hashes(installation)
    assert {key.state for key in rewrap(installation, yes=False).keys} == {"current"}
    assert hashes(installation) == before


def test_the_catalogs_copies_follow(installation: Installation) -> None:
    installation.point_of("one")
    change(installation, NEWER)
    rewrap(installation)
    storage, database = installation.storage, installation.ctx.database
    for key in envelopes(installation):
        chain_key_id = layout.envelope_key(key)
        assert chain_key_id is not None
        (chain_id,) = map(bytes.fromhex, installation.chain_ids())
        assert chains.envelope(database, chain_id, chain_key_id) == storage.get(key)


def test_what_no_stored_secret_opens_is_named_with_its_points(
    installation: Installation, tmp_path: Path
) -> None:
    change(installation, NEWER, hint="river", write_only=True)
    point = installation.point_of("one")
    jobs.detach(installation.ctx, "nightly")
    installation.point_of("two")
    change(installation, NEWEST, old=secret(NEWER))
    (closed,) = [key for key in rewrap(installation).keys if point in key.points]
    assert closed.state == "closed"
    assert "river" in closed.shut_out
    assert restored(installation, point, NEWER, tmp_path / "still") == "one"

    result = rewrap(installation, old=given(NEWER, NEWEST))

    assert {key.state for key in result.keys} <= {"current", "rewrapped"}
    assert restored(installation, point, NEWEST, tmp_path / "now") == "one"


def test_a_change_that_waits_for_the_next_session_is_made_first(
    installation: Installation, tmp_path: Path
) -> None:
    point = installation.point_of("one")
    (chain_id,) = map(bytes.fromhex, installation.chain_ids())
    before = chains.find(installation.ctx.database, chain_id)
    passwords.add(installation.ctx, "other", secret(NEWER))
    storage, opened = installation.storage, installation.ctx.storage

    def away(*_: object, **__: object) -> None:
        raise errors.StorageUnavailableError("away")

    installation.ctx.storage = away  # type: ignore[method-assign, assignment]
    jobs.edit(installation.ctx, "nightly", jobs.JobChanges(encrypt="password:other"))
    installation.ctx.storage = opened  # type: ignore[method-assign]

    rewrap(installation)

    row = chains.find(installation.ctx.database, chain_id)
    assert before is not None
    assert row is not None
    assert row.chain_key_id != before.chain_key_id
    assert any("/links/" in info.key for info in storage.list())
    assert restored(installation, point, NEWER, tmp_path / "target") == "one"


def test_an_envelope_that_the_storage_keeps_is_named_and_removed_later(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = installation.point_of("one")
    change(installation, NEWER)
    installation.point_of("two")

    def refuse(key: ObjectKey) -> None:
        if "/envelopes/" in key:
            raise errors.RefusedError(f"{key} is locked")

    with monkeypatch.context() as patch:
        patch.setattr(installation.storage, "delete", refuse)
        (kept,) = [key for key in rewrap(installation).keys if key.state == "kept"]
    assert point in kept.points
    assert "is locked" in kept.reason
    assert len(envelopes(installation)) == 6
    assert {key.state for key in rewrap(installation).keys} == {"current"}
    assert len(envelopes(installation)) == 4


# --- envelopes that the storage lost ----------------------------------------------------------


def lose(installation: Installation, way: str, chain_id: str) -> None:
    """Leave no intact envelope of a chain's present key."""
    present = installation.repository().chain(bytes.fromhex(chain_id)).present_key_id.hex()
    for key in envelopes(installation):
        if present in key:
            if way == "damaged":
                installation.storage.flip(key, 100)
            else:
                installation.storage.delete(key)


def forget_seeds(installation: Installation) -> None:
    """Leave nothing in the keystore that opens a chain by itself."""
    keystore = installation.ctx.keystore
    for name in keystore.names(ChainRecord):
        record = keystore.get(ChainRecord, name)
        keystore.put(name, msgspec.structs.replace(record, chain_key_seed=None))


def forget_copies(installation: Installation) -> None:
    installation.ctx.database.execute("DELETE FROM envelopes")


@pytest.mark.parametrize("way", ["damaged", "removed"])
@pytest.mark.parametrize("forget", [forget_seeds, forget_copies], ids=["catalog", "keystore"])
def test_an_envelope_that_is_lost_is_made_anew_from_what_this_server_has(
    installation: Installation, tmp_path: Path, way: str, forget: Callable[[Installation], None]
) -> None:
    point = installation.point_of("one")
    forget(installation)
    (chain_id,) = installation.chain_ids()
    lose(installation, way, chain_id)
    with pytest.raises(errors.EnvelopeDamagedError):
        restored(installation, point, PASSWORD, tmp_path / "before")

    result = rewrap(installation)

    assert [key.state for key in result.keys] == ["rewrapped"]
    assert not result.warnings
    assert restored(installation, point, PASSWORD, tmp_path / "after") == "one"
    assert len(envelopes(installation)) == 2
    assert [key.state for key in rewrap(installation).keys] == ["current"]
    (installation.tree / "file").write_text("two")
    assert installation.run().kind == "incremental"


def test_an_envelope_that_comes_back_after_it_was_made_anew_counts_for_nothing(
    installation: Installation,
) -> None:
    installation.point_of("one")
    change(installation, NEWER)
    installation.point_of("two")
    rewrap(installation)
    (chain_id,) = installation.chain_ids()
    lost = {key: installation.storage.get(key) for key in envelopes(installation)}
    lose(installation, "removed", chain_id)
    rewrap(installation)
    made = envelopes(installation)
    for key in set(lost) - made:
        installation.storage.plant(key, lost[key])
    chain = installation.repository().chain(bytes.fromhex(chain_id))
    present = chain.wrapped.envelopes()[chain.present_key_id]
    names = [key for key in made if layout.envelope_parts(key) == (present.chain_key_id, 2)]
    assert present.generation == 2
    assert len(names) == 2


def test_a_copy_in_the_catalog_opens_with_an_old_password_that_is_given(
    installation: Installation, tmp_path: Path
) -> None:
    change(installation, NEWER, hint="river", write_only=True)
    point = installation.point_of("one")
    (chain_id,) = installation.chain_ids()
    lose(installation, "damaged", chain_id)
    (closed,) = rewrap(installation).keys
    assert (closed.state, closed.points) == ("closed", (point,))
    assert "river" in closed.shut_out or "nothing at hand" in closed.reason

    assert [
        key.state for key in rewrap(installation, old=Access(secrets=(secret(NEWER),))).keys
    ] == ["rewrapped"]
    assert restored(installation, point, NEWER, tmp_path / "target") == "one"


def test_a_chain_that_nothing_heals_is_named_and_the_others_are_re_wrapped(
    installation: Installation, tmp_path: Path
) -> None:
    lost = installation.point_of("lost")
    kept = installation.point_of("kept", full=True)
    forget_seeds(installation)
    forget_copies(installation)
    lose(installation, "damaged", installation.chain_ids()[0])
    change(installation, NEWER)

    keys = {key.state: key for key in rewrap(installation).keys}

    assert keys["closed"].points == (lost,)
    assert "no intact envelope" in keys["closed"].reason
    assert keys["rewrapped"].chain == installation.chain_ids()[1]
    machine = installation.bare(recovery_keys=(), secrets=(secret(NEWER),))
    machine.restore(kept, tmp_path / "target")
    with pytest.raises(errors.EnvelopeDamagedError):
        machine.restore(lost, tmp_path / "none")


def test_a_plain_job_has_nobody_to_re_wrap_for(installation: Installation) -> None:
    installation.job("plain", encrypt=False)
    with pytest.raises(errors.InvalidInputError, match="not encrypted"):
        rewrapping.rewrap(installation.ctx, "plain")
