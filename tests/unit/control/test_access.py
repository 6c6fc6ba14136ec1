from __future__ import annotations

from datetime import timedelta

import pytest

from strongroom.control import jobs, passwords, points, recovery, repositories, signers
from strongroom.control.access import Access, open_reading
from strongroom.control.context import Context
from strongroom.control.secrets import SecretSource
from strongroom.crypto import random
from strongroom.crypto.signing import SigningKey
from strongroom.errors import (
    ConfirmationNeededError,
    ConflictError,
    DowngradedError,
    ForkedError,
    InUseError,
    InvalidInputError,
    NoRecipientMatchedError,
    NotARepositoryError,
    NotFoundError,
    PointWithheldError,
    RefusedError,
    RolledBackError,
    UnlockError,
    UnvouchedError,
)
from strongroom.repository import layout
from strongroom.settings import Settings

STRANGER = "aaaa-bbbb"


@pytest.fixture
def bare(shop, tmp_path) -> Context:
    """A clean machine that can reach the shop's storages."""
    return Context(
        Settings(tmp_path / "clean", tmp_path / "nokey"),
        shop.clock,
        open_storage=lambda location, create: shop.storages[location],
    )


def sealed_shop(shop) -> list[bytes]:
    shop.repository()
    shop.password(hint="blue note")
    shop.job(encrypt="password:office")
    return [*shop.session(), *shop.session()]


def names(reading) -> list[str]:
    return [view.id for view in reading.points]


def remembered(shop) -> dict[str, bytes]:
    storage = shop.storages["/main"]
    return {info.key: storage.get(info.key) for info in storage.list()}


def put_back(shop, before: dict[str, bytes]) -> None:
    storage = shop.storages["/main"]
    for info in list(storage.list()):
        if info.key not in before:
            storage.delete(info.key)


# --- with the catalog -----------------------------------------------------------------------


def test_the_stored_secret_opens_the_points_of_the_catalogs_repositories(shop) -> None:
    ids = sealed_shop(shop)
    reading = open_reading(shop.ctx, Access())
    assert names(reading) == [point.hex() for point in ids]
    assert all(view.details is not None for view in reading.points)
    assert reading.warnings == []
    assert reading.select("nightly@latest").id == ids[-1].hex()
    assert reading.select(ids[0].hex()[:6]).id == ids[0].hex()


def test_a_write_only_machine_lists_names_and_holds_nothing_to_open_data(shop) -> None:
    shop.repository()
    shop.password(write_only=True)
    shop.job(encrypt="password:office")
    (point,) = shop.session()
    view = open_reading(shop.ctx, Access()).select(point.hex())
    assert view.details is not None
    assert view.keyring is not None
    assert not view.keyring.opens_data


def test_what_opens_a_point_is_named_where_only_its_names_can_be_read(shop, tmp_path) -> None:
    shop.repository()
    recovery.create(shop.ctx, tmp_path / "kit")
    shop.password(write_only=True, hint="blue note")
    shop.job(encrypt="password:office")
    (point,) = shop.session()
    view = open_reading(shop.ctx, Access()).select(point.hex())
    with pytest.raises(UnlockError, match=r"the password \(hint: blue note\)") as caught:
        view.hasher()
    assert "the recovery key" in str(caught.value)
    assert "--password-file" in str(caught.value.hint)
    assert "--recovery-key" in str(caught.value.hint)


def test_what_opens_a_newer_point_is_named_to_who_gives_an_older_password(
    shop, bare, first, second
) -> None:
    shop.repository()
    shop.password(hint="blue note")
    shop.job(encrypt="password:office")
    shop.session()
    passwords.edit(shop.ctx, "office", secret=shop.secret(second), hint="red note")
    (newer,) = shop.session()
    reading = open_reading(bare, Access(where="/main", secrets=(shop.secret(first),)))
    for which in ("nightly@latest", newer.hex()):
        with pytest.raises(UnlockError, match=r"password [ 0-9a-f]*\(hint: red note\)"):
            reading.select(which)


def test_an_older_state_than_was_seen_before_is_noticed(shop) -> None:
    sealed_shop(shop)
    before = remembered(shop)
    shop.session()
    put_back(shop, before)
    reading = open_reading(shop.ctx, Access())
    assert reading.points == []
    for attempt in (lambda: reading.select("nightly@latest"), reading.check):
        with pytest.raises(RolledBackError):
            attempt()
    with pytest.raises(RolledBackError):
        points.list_points(shop.ctx, Access())


def test_another_history_than_was_seen_before_is_noticed(shop) -> None:
    sealed_shop(shop)
    before = remembered(shop)
    shop.session()
    fork = dict(before)
    put_back(shop, before)
    shop.session()
    assert fork != remembered(shop)
    with pytest.raises(ForkedError):
        points.list_points(shop.ctx, Access())


def test_a_whole_chain_that_is_kept_back_is_noticed(shop) -> None:
    ids = sealed_shop(shop)
    put_back(shop, {layout.MARKER: b""})
    with pytest.raises(PointWithheldError) as caught:
        points.list_points(shop.ctx, Access())
    assert caught.value.fields["points"] == [point.hex() for point in ids]


def test_a_point_beside_a_chain_that_is_not_to_be_believed_is_read_by_its_id(shop) -> None:
    sealed_shop(shop)
    shop.job("plain")
    (good,) = shop.session("plain")
    storage = shop.storages["/main"]
    storage.delete(layout.entry(shop.chain().chain_id, 2))
    reading = open_reading(shop.ctx, Access())
    assert reading.select(good.hex()).id == good.hex()
    assert any("entry" in warning for warning in reading.warnings)
    with pytest.raises(RolledBackError) as caught:
        reading.select("plain@latest")
    assert caught.value.fields["readable"] == [good.hex()]


def test_a_secret_on_the_command_refuses_a_plain_point_even_by_id(shop, first) -> None:
    sealed_shop(shop)
    shop.job("plain")
    (plain,) = shop.session("plain")
    access = Access(secrets=(shop.secret(first),))
    for which in (plain.hex(), "plain@latest"):
        with pytest.raises(DowngradedError):
            open_reading(shop.ctx, access).select(which)
    allowed = Access(secrets=(shop.secret(first),), allow_unencrypted=True)
    assert open_reading(shop.ctx, allowed).select(plain.hex()).id == plain.hex()


# --- a repository that is not there ---------------------------------------------------------


def two_places(shop) -> tuple[str, str]:
    """Return a point of job nightly in repository main, and one of job weekly in other."""
    found = []
    for repository, job in (("main", "nightly"), ("other", "weekly")):
        shop.repository(repository)
        shop.job(job, repository=repository)
        found += shop.session(job)
    here, there = found
    return here.hex(), there.hex()


def test_a_repository_that_is_not_there_keeps_nobody_from_the_others(shop) -> None:
    here, there = two_places(shop)
    assert names(open_reading(shop.ctx, Access())) == [here, there]
    shop.storages["/other"].delete(layout.MARKER)
    reading = open_reading(shop.ctx, Access())
    assert reading.select("nightly@latest").id == reading.select(here).id == here
    assert any("repository other is left out" in warning for warning in reading.warnings)
    found = points.list_points(shop.ctx, Access())
    assert ([row.id for row in found.points], found.complete) == ([here], False)
    assert points.list_points(shop.ctx, Access(), "nightly").complete


def test_what_may_be_in_a_repository_that_is_not_there_is_not_said_to_be_missing(shop) -> None:
    _, there = two_places(shop)
    shop.storages["/other"].delete(layout.MARKER)
    reading = open_reading(shop.ctx, Access())
    for which in (there, "weekly@latest", "abcdef"):
        with pytest.raises(NotARepositoryError):
            reading.select(which)
        with pytest.raises(NotARepositoryError):
            reading.find(which)
    with pytest.raises(NotARepositoryError, match="it may hold point abcdef, which is nowhere"):
        reading.find("abcdef")
    with pytest.raises(NotARepositoryError):
        points.list_points(shop.ctx, Access(), "weekly")


def test_a_repository_that_is_named_has_to_be_there_and_so_has_one_of_all(shop) -> None:
    two_places(shop)
    shop.storages["/other"].delete(layout.MARKER)
    with pytest.raises(NotARepositoryError):
        open_reading(shop.ctx, Access(where="other"))
    shop.storages["/main"].delete(layout.MARKER)
    with pytest.raises(NotARepositoryError):
        open_reading(shop.ctx, Access())


def test_a_list_of_a_job_that_is_none_says_so(shop, bare) -> None:
    sealed_shop(shop)
    with pytest.raises(NotFoundError, match="no job nihgtly") as caught:
        points.list_points(shop.ctx, Access(), "nihgtly")
    assert str(caught.value.hint).startswith("did you mean 'nightly'?")
    with pytest.raises(NotFoundError, match="no point of job other"):
        points.list_points(bare, Access(where="/main"), "other")
    shop.job("unborn")
    assert points.list_points(shop.ctx, Access(), "unborn").points == ()


# --- with a location and a secret alone -----------------------------------------------------


def test_a_clean_machine_reads_with_a_location_and_a_password_and_makes_no_home(
    shop, bare, first
) -> None:
    ids = sealed_shop(shop)
    reading = open_reading(bare, Access(where="/main", secrets=(shop.secret(first),)))
    assert names(reading) == [point.hex() for point in ids]
    assert reading.select("nightly@latest").opened().source == "command:true"
    assert any("number 2 of its job" in warning for warning in reading.warnings)
    assert not bare.settings.home.exists()
    assert not bare.settings.key_file.exists()


def test_a_clean_machine_reads_with_the_recovery_kit(shop, bare) -> None:
    recovery.create(shop.ctx, shop.folder / "kit")
    ids = sealed_shop(shop)
    reading = open_reading(bare, Access(where="/main", recovery_keys=(shop.folder / "kit",)))
    assert reading.select(ids[0].hex()).id == ids[0].hex()


def test_a_wrong_password_shows_the_hint(shop, bare) -> None:
    sealed_shop(shop)
    with pytest.raises(NoRecipientMatchedError, match="blue note"):
        open_reading(bare, Access(where="/main", secrets=(shop.secret("not-The-Pass-9"),)))


def test_after_a_change_the_newest_password_opens_all_and_the_old_one_the_old(
    shop, bare, first, second
) -> None:
    old = sealed_shop(shop)
    passwords.edit(shop.ctx, "office", secret=shop.secret(second))
    new = shop.session()
    newest = open_reading(bare, Access(where="/main", secrets=(shop.secret(second),)))
    assert [view.details is not None for view in newest.points] == [True] * 3
    before = open_reading(bare, Access(where="/main", secrets=(shop.secret(first),)))
    assert [view.id for view in before.points if view.details] == [one.hex() for one in old]
    with pytest.raises(UnlockError, match="nothing at hand"):
        before.select(new[0].hex())


def test_without_a_secret_locked_points_are_listed_with_their_hint(shop, bare) -> None:
    ids = sealed_shop(shop)
    found = points.list_points(bare, Access(where="/main"))
    assert [(row.id, row.locked, row.job) for row in found.points] == [
        (point.hex(), True, None) for point in ids
    ]
    assert any("blue note" in warning for warning in found.warnings)
    with pytest.raises(UnlockError, match="nothing at hand"):
        open_reading(bare, Access(where="/main")).select(ids[0].hex())


def test_at_a_terminal_the_password_of_a_location_is_asked_for(shop, bare, first) -> None:
    sealed_shop(shop)
    bare.secrets = shop.typing(first)
    reading = open_reading(bare, Access(where="/main"))
    assert shop.asked == ["password (hint: blue note)"]
    assert all(view.details is not None for view in reading.points)


def test_a_plain_chain_of_an_unknown_signer_is_warned_of_unless_pinned(shop, bare) -> None:
    shop.repository()
    shop.job()
    (point,) = shop.session()
    fingerprint = shop.ctx.identity.public.fingerprint
    reading = open_reading(bare, Access(where="/main"))
    assert reading.select(point.hex()).id == point.hex()
    assert any(fingerprint in warning for warning in reading.warnings)
    pinned = open_reading(bare, Access(where="/main", signers=(fingerprint.upper(),)))
    assert pinned.select(point.hex()).id == point.hex()
    assert not any("vouches" in warning for warning in pinned.warnings)
    with pytest.raises(UnvouchedError, match=fingerprint):
        points.list_points(bare, Access(where="/main", signers=("aaaa-bbbb",)))


def test_a_sealed_chain_whose_signer_the_secret_does_not_vouch_for_is_refused(
    shop, bare, first
) -> None:
    """Whoever knows the public half can seal a chain to it; only the secret can vouch."""
    shop.repository()
    shop.password()
    shop.job(encrypt="password:office")
    shop.ctx.__dict__["identity"] = SigningKey.from_seed(random.seed())
    shop.session()
    with pytest.raises(UnvouchedError):
        points.list_points(bare, Access(where="/main", secrets=(shop.secret(first),)))


def test_a_pin_excludes_whom_the_secret_vouches_for(shop, bare, first) -> None:
    """A leaked password yields the vouching key; the pin is what still tells the signer."""
    ids = sealed_shop(shop)
    own = shop.ctx.identity.public.fingerprint
    access = Access(where="/main", secrets=(shop.secret(first),), signers=(STRANGER,))
    with pytest.raises(UnvouchedError, match="not the signer that was pinned"):
        points.list_points(bare, access)
    with pytest.raises(UnvouchedError):
        open_reading(bare, access).select("nightly@latest")
    pinned = open_reading(
        bare, Access(where="/main", secrets=(shop.secret(first),), signers=(own,))
    )
    assert names(pinned) == [point.hex() for point in ids]


@pytest.mark.parametrize("write_only", [True, False], ids=["write-only", "stored"])
def test_a_pin_excludes_this_machine_s_own_signer(shop, write_only: bool) -> None:
    shop.repository()
    shop.password(write_only=write_only)
    shop.job(encrypt="password:office")
    shop.session()
    shop.job("plain")
    shop.session("plain")
    assert open_reading(shop.ctx, Access()).problems == []
    reading = open_reading(shop.ctx, Access(signers=(STRANGER,)))
    assert names(reading) == []
    assert {type(error) for _, error in reading.problems} == {UnvouchedError}
    assert len(reading.problems) == 2


def test_a_pin_excludes_whom_this_machine_accepted(shop, bare) -> None:
    shop.repository()
    shop.job()
    shop.session()
    own = shop.ctx.identity.public.fingerprint
    with bare:
        signers.trust(bare, "/main", own, yes=True)
        assert len(open_reading(bare, Access(where="/main")).points) == 1
        assert open_reading(bare, Access(where="/main", signers=(STRANGER,))).points == []


# --- accepting a signer ---------------------------------------------------------------------


def test_a_signer_is_accepted_once_and_revoked(shop, bare) -> None:
    shop.repository()
    shop.job()
    (point,) = shop.session()
    own = shop.ctx.identity.public.fingerprint
    with bare:
        result = signers.trust(bare, "/main", f" {own.upper()} ", yes=True)
        assert (result.fingerprint, result.accepted) == (own, True)
        assert result.chains == (shop.chain().chain_id.hex(),)
        reading = open_reading(bare, Access(where="/main"))
        assert reading.select(point.hex()).id == point.hex()
        assert not any("vouches" in warning for warning in reading.warnings)
        details = repositories.show(bare, "/main")
        assert [one.fingerprint for one in details.accepted_signers] == [own]
        assert details.chains[0].trusted
        assert not signers.revoke(bare, own).accepted
        warnings = open_reading(bare, Access(where="/main")).warnings
        assert any("vouches" in warning for warning in warnings)
        with pytest.raises(NotFoundError, match="not accepted"):
            signers.revoke(bare, own)


def test_a_machine_that_accepted_a_signer_has_still_seen_nothing_of_the_repository(
    shop, bare, first
) -> None:
    sealed_shop(shop)
    with bare:
        signers.trust(bare, "/main", shop.ctx.identity.public.fingerprint, yes=True)
        access = Access(where="/main", secrets=(shop.secret(first),))
        warnings = open_reading(bare, access).warnings
    assert any("number 2 of its job" in warning for warning in warnings)


def test_accepting_is_confirmed_and_makes_no_home_before(shop, bare) -> None:
    shop.repository()
    shop.job()
    shop.session()
    with pytest.raises(ConfirmationNeededError, match=r"in /main 1 chain$"):
        signers.trust(bare, "/main", shop.ctx.identity.public.fingerprint)
    assert not bare.settings.home.exists()


def test_only_a_signer_that_the_repository_shows_can_be_accepted(shop, bare) -> None:
    shop.repository()
    shop.job()
    shop.session()
    with pytest.raises(NotFoundError, match="is signed by"):
        signers.trust(bare, "/main", STRANGER, yes=True)
    assert not bare.settings.home.exists()


def test_a_damaged_header_keeps_no_other_signer_from_being_accepted(shop, bare) -> None:
    shop.repository()
    for name in ("one", "two"):
        shop.job(name)
        shop.session(name)
    shop.storages["/main"].delete(layout.header(shop.chain("one").chain_id))
    with bare:
        result = signers.trust(bare, "/main", shop.ctx.identity.public.fingerprint, yes=True)
    assert result.chains == (shop.chain("two").chain_id.hex(),)


def test_what_cannot_be_is_refused(shop, bare, first) -> None:
    sealed_shop(shop)
    with pytest.raises(InvalidInputError, match="no catalog"):
        open_reading(bare, Access())
    with pytest.raises(InvalidInputError, match="name of a repository"):
        open_reading(bare, Access(where="main"))
    with pytest.raises(NotFoundError):
        open_reading(shop.ctx, Access(where="other"))
    assert SecretSource().can_ask is False


# --- points ---------------------------------------------------------------------------------


def test_points_are_listed_oldest_first_with_what_is_known(shop) -> None:
    ids = sealed_shop(shop)
    shop.job("plain")
    shop.clock.advance(timedelta(hours=1))
    ids += shop.session("plain")
    rows = points.list_points(shop.ctx, Access()).points
    assert [row.id for row in rows] == [point.hex() for point in ids]
    assert [row.kind for row in rows] == ["full", "incremental", "full"]
    assert [(row.job, row.encrypted) for row in rows] == [
        ("nightly", True), ("nightly", True), ("plain", False)
    ]  # fmt: skip
    assert [row.id for row in points.list_points(shop.ctx, Access(), "plain").points] == [
        ids[2].hex()
    ]


def test_a_point_is_shown_with_what_seals_it(shop) -> None:
    ids = sealed_shop(shop)
    shown = points.show(shop.ctx, Access(), ids[1].hex())
    assert shown.block_cipher == "AES-256-GCM"
    (kdf,) = shown.password_kdf
    assert kdf.startswith("Argon2id, 64 MiB, 3 passes, 4 lanes, salt ")
    assert (shown.machine, shown.entry) == ("host", 2)


def test_a_held_point_is_not_removed_until_it_is_released(shop) -> None:
    ids = [point.hex() for point in sealed_shop(shop)]
    (row,) = points.hold(shop.ctx, [ids[0]])
    assert row.held
    assert open_reading(shop.ctx, Access()).find(ids[0]).held
    with pytest.raises(InUseError):
        points.remove(shop.ctx, ids, yes=True)
    (row,) = points.release(shop.ctx, [ids[0]])
    assert not row.held
    removed = points.remove(shop.ctx, [ids[0]], yes=True)
    assert (removed.done, [point.id for point in removed.points]) == (True, [ids[0]])
    assert [row.id for row in points.list_points(shop.ctx, Access()).points] == [ids[1]]


def test_a_removal_is_shown_and_confirmed(shop) -> None:
    ids = [point.hex() for point in sealed_shop(shop)]
    with pytest.raises(ConfirmationNeededError) as caught:
        points.remove(shop.ctx, ["nightly@latest"])
    assert caught.value.fields["would_remove"] == [ids[1]]
    assert not points.remove(shop.ctx, [ids[1]], dry_run=True).done
    assert len(points.list_points(shop.ctx, Access()).points) == 2
    with pytest.raises(InvalidInputError):
        points.remove(shop.ctx, [], yes=True)


def test_a_chain_of_another_server_is_not_changed(shop) -> None:
    ids = sealed_shop(shop)
    shop.ctx.__dict__["identity"] = SigningKey.from_seed(random.seed())
    with pytest.raises(RefusedError, match="another server"):
        points.remove(shop.ctx, [ids[0].hex()], yes=True)


# --- repositories ---------------------------------------------------------------------------


def test_a_repository_shows_its_chains(shop) -> None:
    sealed_shop(shop)
    shop.job("plain")
    shop.session("plain")
    details = repositories.show(shop.ctx, "main")
    assert details.name == "main"
    sealed, plain = sorted(details.chains, key=lambda chain: not chain.encrypted)
    assert (sealed.job, sealed.points, sealed.locked, sealed.hints) == (
        "nightly", 2, False, ("blue note",)
    )  # fmt: skip
    assert (plain.job, plain.points, plain.encrypted, plain.trusted) == ("plain", 1, False, True)


def test_a_rescan_on_a_clean_installation_shows_locked_chains_with_their_hints(shop, bare) -> None:
    sealed_shop(shop)
    with bare:
        repositories.add(bare, "found", "/main")
        (chain,) = repositories.rescan(bare, "found").chains
    assert (chain.encrypted, chain.locked, chain.job) == (True, True, None)
    assert (chain.points, chain.hints, chain.trusted) == (2, ("blue note",), False)


def test_a_rescan_brings_the_catalog_in_line_with_the_repository(shop) -> None:
    ids = sealed_shop(shop)
    shop.ctx.database.execute("DELETE FROM chains")
    shop.ctx.database.execute("DELETE FROM heads")
    repositories.rescan(shop.ctx, "main")
    rows = shop.ctx.database.query("SELECT point_id, size_bytes FROM points ORDER BY entry")
    assert [(bytes(row["point_id"]), row["size_bytes"]) for row in rows] == [
        (point, 1000) for point in ids
    ]
    assert len(shop.ctx.database.query("SELECT * FROM heads")) == 1


def test_a_repository_shows_a_chain_that_is_not_to_be_believed(shop) -> None:
    sealed_shop(shop)
    storage = shop.storages["/main"]
    storage.delete(layout.entry(shop.chain().chain_id, 2))
    (chain,) = repositories.show(shop.ctx, "main").chains
    assert "entry 2" in str(chain.problem)


def test_a_removed_repository_is_only_forgotten(shop) -> None:
    sealed_shop(shop)
    with pytest.raises(InUseError, match="job nightly"):
        repositories.remove(shop.ctx, "main")
    jobs.remove(shop.ctx, "nightly", yes=True)
    before = remembered(shop)
    assert repositories.remove(shop.ctx, "main").name == "main"
    assert remembered(shop) == before
    assert repositories.list_all(shop.ctx) == ()
    added = repositories.add(shop.ctx, "main", "/main")
    assert (added.created, added.chains) == (False, 1)


def test_one_place_and_one_name_are_one_repository(shop) -> None:
    shop.repository()
    from strongroom.errors import ConflictError

    for name, location in (("main", "/other"), ("other", "/main")):
        with pytest.raises(ConflictError):
            repositories.add(shop.ctx, name, location)
    assert repositories.list_all(shop.ctx)[0].location == "/main"


def test_a_repository_that_was_moved_keeps_its_name_and_what_was_seen_of_it(shop) -> None:
    shop.repository()
    shop.job()
    before = remembered(shop)
    shop.session()
    head = shop.chain().head()
    shop.storages["/new"] = shop.storages.pop("/main")

    added = repositories.add(shop.ctx, "main", "/new")

    assert (added.moved, added.created, added.chains) == (True, False, 1)
    assert added.repository == repositories.list_all(shop.ctx)[0]
    assert added.repository.location == "/new"
    assert len(open_reading(shop.ctx, Access(where="main")).points) == 1
    shop.storages["/main"] = shop.storages["/new"]
    put_back(shop, before)
    assert head is not None
    with pytest.raises(PointWithheldError):
        open_reading(shop.ctx, Access(where="main")).check()


def test_a_name_takes_no_other_repository_and_no_empty_place(shop) -> None:
    shop.repository()
    shop.repository("other")
    repositories.remove(shop.ctx, "other")
    for place in ("/other", "/nothing"):
        with pytest.raises(ConflictError, match="was not moved"):
            repositories.add(shop.ctx, "main", place)
        assert repositories.list_all(shop.ctx)[0].location == "/main"


def test_a_moved_repository_under_another_name_is_told_how_to_move(shop) -> None:
    shop.repository()
    shop.storages["/new"] = shop.storages["/main"]
    with pytest.raises(ConflictError) as caught:
        repositories.add(shop.ctx, "another", "/new")
    assert "'strongroom repository add main /new'" in (caught.value.hint or "")
