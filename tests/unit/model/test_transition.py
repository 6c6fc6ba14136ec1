"""The mission's rules 6 to 8, as a table of every combination."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from strongroom.model.transition import (
    Circumstances,
    Continue,
    FullReason,
    PresentChain,
    StartChain,
    WantedEncryption,
    next_step,
)

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
PLAIN, A, B, AR = frozenset[bytes](), frozenset({b"a"}), frozenset({b"b"}), frozenset({b"a", b"r"})


def present(recipients: frozenset[bytes], points: int = 1, days: float = 1) -> PresentChain:
    return PresentChain(bool(recipients), recipients, points, NOON - timedelta(days=days))


def wanted(recipients: frozenset[bytes]) -> WantedEncryption:
    return WantedEncryption(bool(recipients), recipients)


def reason(step: Continue | StartChain) -> FullReason | None:
    return step.reason if isinstance(step, StartChain) else None


def test_a_jobs_first_session_is_a_full() -> None:
    for recipients in (PLAIN, A, AR):
        step = next_step(None, wanted(recipients), Circumstances(now=NOON))
        assert reason(step) is FullReason.FIRST


def test_rule_6_turning_encryption_on_makes_a_full_by_itself() -> None:
    step = next_step(present(PLAIN), wanted(A), Circumstances(now=NOON))
    assert step == StartChain(FullReason.ENCRYPTION_ON, "encryption was turned on")


@pytest.mark.parametrize("others", [B, AR, A | B], ids=["another", "recovery added", "both"])
def test_rule_7_other_recipients_make_an_increment_under_a_new_key(
    others: frozenset[bytes],
) -> None:
    assert next_step(present(A), wanted(others), Circumstances(now=NOON)) == Continue(rekey=True)


def test_rule_7_without_the_old_secret_the_next_session_starts_a_new_chain() -> None:
    step = next_step(present(A), wanted(B), Circumstances(now=NOON, link_possible=False))
    assert reason(step) is FullReason.LINK_MISSING
    assert isinstance(step, StartChain)
    assert "no link" in step.text


def test_rule_8_turning_encryption_off_makes_a_full_by_itself() -> None:
    step = next_step(present(A), wanted(PLAIN), Circumstances(now=NOON))
    assert step == StartChain(FullReason.ENCRYPTION_OFF, "encryption was turned off")


def test_the_same_recipients_make_an_ordinary_increment() -> None:
    for recipients in (PLAIN, A, AR):
        step = next_step(present(recipients), wanted(recipients), Circumstances(now=NOON))
        assert step == Continue(rekey=False)


@pytest.mark.parametrize(("points", "full"), [(6, False), (7, True), (8, True)])
def test_a_full_is_due_when_the_chain_has_its_points(points: int, full: bool) -> None:
    step = next_step(present(A, points), wanted(A), Circumstances(now=NOON, full_every_points=7))
    assert (reason(step) is FullReason.DUE_BY_POINTS) is full
    if isinstance(step, StartChain):
        assert step.text == "a full is due every 7 points"


@pytest.mark.parametrize(("days", "full"), [(29.99, False), (30, True), (31, True)])
def test_a_full_is_due_when_the_chain_has_its_age(days: float, full: bool) -> None:
    step = next_step(present(A, days=days), wanted(A), Circumstances(now=NOON, full_every_days=30))
    assert (reason(step) is FullReason.DUE_BY_DAYS) is full


def expected(
    chain: frozenset[bytes], wish: frozenset[bytes], flags: dict[str, bool]
) -> FullReason | bool:
    """What the rules say, written a second time as a list of rows from the strongest down."""
    rows: list[tuple[bool, FullReason]] = [
        (not chain and bool(wish), FullReason.ENCRYPTION_ON),
        (bool(chain) and not wish, FullReason.ENCRYPTION_OFF),
        (flags["moved"], FullReason.MOVED),
        (flags["detached"], FullReason.DETACHED),
        (flags["full_requested"], FullReason.ACTIVE_FULL),
        (bool(chain) and not flags["keys_at_hand"], FullReason.KEYS_LOST),
        (chain != wish and not flags["link_possible"], FullReason.LINK_MISSING),
        (flags["due_points"], FullReason.DUE_BY_POINTS),
        (flags["due_days"], FullReason.DUE_BY_DAYS),
    ]
    return next((why for holds, why in rows if holds), chain != wish)


FLAGS = (
    *("moved", "detached", "full_requested", "keys_at_hand", "link_possible"),
    *("due_points", "due_days"),
)


@pytest.mark.parametrize("wish", [PLAIN, A, B, AR], ids=["plain", "a", "b", "a+r"])
@pytest.mark.parametrize("chain", [PLAIN, A, AR], ids=["plain", "a", "a+r"])
def test_every_combination_has_the_outcome_of_the_table(
    chain: frozenset[bytes], wish: frozenset[bytes]
) -> None:
    for values in product((False, True), repeat=len(FLAGS)):
        flags = dict(zip(FLAGS, values, strict=True))
        step = next_step(
            present(chain, points=5, days=5),
            wanted(wish),
            Circumstances(
                now=NOON,
                moved=flags["moved"],
                detached=flags["detached"],
                full_requested=flags["full_requested"],
                keys_at_hand=flags["keys_at_hand"],
                link_possible=flags["link_possible"],
                full_every_points=5 if flags["due_points"] else 6,
                full_every_days=5 if flags["due_days"] else 6,
            ),
        )
        outcome = step.rekey if isinstance(step, Continue) else step.reason
        assert outcome == expected(chain, wish, flags), flags


def test_a_sealed_chain_without_recipients_cannot_be_said() -> None:
    with pytest.raises(ValueError, match="recipients"):
        PresentChain(True, PLAIN, 1, NOON)
    with pytest.raises(ValueError, match="for nobody"):
        WantedEncryption(False, A)
