"""The inventory of secrets, and what the report finds wrong."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from strongroom.catalog import recovery_keys, repositories, scrubs
from strongroom.cli.page import report_page
from strongroom.control import inventory, jobs, passwords, recovery, report
from strongroom.control.jobs import JobChanges
from strongroom.errors import InvalidInputError, NotFoundError


def codes(shop, **options) -> set[tuple[str, str, bool]]:
    made = report.make(shop.ctx, **options)
    assert made.ok == (not any(finding.problem for finding in made.findings))
    return {(finding.code, finding.subject, finding.problem) for finding in made.findings}


def view(shop, kind: str, version: int = 1):
    (found,) = [
        one
        for one in inventory.list_all(shop.ctx)
        if (one.kind, one.version) == (kind, version) and one.state != "accepted"
    ]
    return found


@pytest.fixture
def sealed(shop):
    shop.repository()
    shop.password()
    shop.job(encrypt="password:office")
    shop.session()
    shop.session()
    return shop


def test_a_password_that_alone_opens_points_is_said_to(sealed) -> None:
    found = view(sealed, "password")
    assert (found.points, found.alone, found.jobs, found.present) == (2, 2, ("nightly",), True)
    assert ("opened-by-one", sealed.chain().chain_id.hex(), False) in codes(sealed)


def test_a_recovery_kit_makes_the_password_one_of_two(shop) -> None:
    shop.repository()
    shop.password()
    recovery.create(shop.ctx, shop.folder / "kit")
    shop.job(encrypt="password:office")
    shop.session()
    assert (view(shop, "password").points, view(shop, "password").alone) == (1, 0)
    assert (view(shop, "recovery").points, view(shop, "recovery").alone) == (1, 0)
    assert {code for code, _, _ in codes(shop)} == {"no-copy", "scrub-never"}
    assert report.make(shop.ctx).jobs[0].opened_by == 2


def test_an_old_secret_opens_what_is_older_and_is_alone_with_nothing(sealed, second: str) -> None:
    passwords.edit(sealed.ctx, "office", secret=sealed.secret(second))
    old, new = view(sealed, "password", 1), view(sealed, "password", 2)
    assert (old.present, old.points, [use.whole for use in old.chains]) == (False, 0, [False])
    assert (new.present, new.points, [use.whole for use in new.chains]) == (True, 2, [True])


def test_a_plain_job_is_a_problem(shop) -> None:
    shop.repository()
    shop.job()
    shop.session()
    assert ("unencrypted", "nightly", True) in codes(shop)


def test_a_job_without_loss_protection_is_a_problem_until_it_has_it(sealed) -> None:
    assert ("unprotected", "nightly", True) in codes(sealed)
    recovery.create(sealed.ctx, sealed.folder / "kit")
    assert ("unprotected", "nightly", True) not in codes(sealed)
    jobs.edit(sealed.ctx, "nightly", JobChanges(recovery=False), yes_weaken=True)
    assert ("unprotected", "nightly", True) in codes(sealed)


def test_a_password_is_old_after_a_year_and_not_a_day_before(sealed) -> None:
    sealed.clock.advance(timedelta(days=365))
    assert ("password-old", "office", True) not in codes(sealed)
    sealed.clock.advance(timedelta(days=1))
    assert ("password-old", "office", True) in codes(sealed)
    assert ("password-old", "office", True) not in codes(sealed, password_age=timedelta(days=400))


def test_a_hint_makes_no_password_younger(sealed) -> None:
    sealed.clock.advance(timedelta(days=366))
    passwords.edit(sealed.ctx, "office", hint="the usual one")
    assert ("password-old", "office", True) in codes(sealed)


def test_points_in_one_repository_only_are_told_of_and_are_no_problem(sealed) -> None:
    assert ("no-copy", "nightly", False) in codes(sealed)


def test_a_chain_whose_secrets_are_all_unknown_is_a_problem(sealed) -> None:
    # As after a rescan on another machine: the chain is there, and its recipients are strangers.
    sealed.ctx.database.execute("UPDATE chain_recipients SET key_id = ?", (bytes(32),))
    assert ("opened-by-nothing", sealed.chain().chain_id.hex(), True) in codes(sealed)


def test_when_a_secret_was_last_proven_is_shown(sealed) -> None:
    sealed.clock.advance(timedelta(days=3))
    passwords.verify(sealed.ctx, "office", sealed.secret("first-Pass-of-2026"))
    assert view(sealed, "password").proven_at == sealed.clock.now()
    recovery.create(sealed.ctx, sealed.folder / "kit")
    assert view(sealed, "recovery").proven_at is None
    active = recovery_keys.active(sealed.ctx.database)
    assert active is not None
    recovery_keys.tested(sealed.ctx.database, active.key_id, sealed.clock.now(), ok=True)
    assert view(sealed, "recovery").proven_at == sealed.clock.now()


def test_this_server_is_among_the_signers(sealed) -> None:
    signer = view(sealed, "signer")
    assert signer.key_id == sealed.ctx.identity.public.fingerprint
    assert signer.jobs == ("nightly",)


def test_a_key_is_shown_by_the_beginning_of_its_id(sealed) -> None:
    whole = view(sealed, "password")
    assert inventory.show(sealed.ctx, whole.key_id[:8].upper()) == whole
    with pytest.raises(InvalidInputError, match="too short"):
        inventory.show(sealed.ctx, whole.key_id[:3])
    with pytest.raises(NotFoundError):
        inventory.show(sealed.ctx, "zzzz")


def test_the_page_has_every_finding_and_no_markup_of_others(sealed) -> None:
    made = report.make(sealed.ctx)
    named = msgspec.structs.replace(made.findings[0], text="<script>alert(1)</script>")
    page = report_page(msgspec.structs.replace(made, findings=(*made.findings, named)))
    assert page.startswith("<!doctype html>")
    assert "job nightly has no loss protection" in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page


def test_a_repository_that_no_scrub_reads_is_told_of_and_a_problem_in_time(shop) -> None:
    shop.repository()
    assert not any(code.startswith("scrub") for code, *_ in codes(shop)), "nothing is in it"
    shop.job()
    shop.session()
    assert ("scrub-never", "main", False) in codes(shop)

    shop.clock.advance(timedelta(days=91))
    assert ("scrub-old", "main", True) in codes(shop)
    assert ("scrub-never", "main", False) in codes(shop, scrub_age=timedelta(days=100))

    repository_id = repositories.get(shop.ctx.database, "main").repository_id
    read = scrubs.PackRead(shop.ctx.clock.now(), whole=True)
    scrubs.remember(shop.ctx.database, repository_id, [(bytes(32), read)])
    assert not any(code.startswith("scrub") for code, *_ in codes(shop))

    shop.clock.advance(timedelta(days=91))
    assert ("scrub-old", "main", True) in codes(shop)


def test_damage_that_a_scrub_found_stays_a_problem(shop) -> None:
    shop.repository()
    repository_id = repositories.get(shop.ctx.database, "main").repository_id
    read = scrubs.PackRead(shop.ctx.clock.now(), whole=False)
    scrubs.remember(shop.ctx.database, repository_id, [(bytes(32), read)])

    assert ("scrub-damage", "main", True) in codes(shop)
