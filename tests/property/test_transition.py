"""Rules 6 to 8, followed through random lives of a job."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from strongroom.model.transition import (
    Circumstances,
    Continue,
    PresentChain,
    StartChain,
    WantedEncryption,
    next_step,
)

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
recipients = st.frozensets(st.sampled_from([b"a", b"b", b"c", b"r"]), max_size=3)
wishes = st.tuples(recipients, st.booleans(), st.booleans(), st.booleans())


@given(st.lists(wishes, min_size=1, max_size=30))
def test_no_chain_is_ever_mixed_and_every_chain_opens_with_its_newest_secret(
    life: list[tuple[frozenset[bytes], bool, bool, bool]],
) -> None:
    """A chain is a list of recipient sets; each after the first has a link to the one before."""
    chains: list[list[frozenset[bytes]]] = []
    for ids, full, link_possible, keys_at_hand in life:
        present = None
        if chains:
            newest = chains[-1][-1]
            present = PresentChain(bool(newest), newest, len(chains[-1]), NOON)
        step = next_step(
            present,
            WantedEncryption(bool(ids), ids),
            Circumstances(
                now=NOON,
                full_requested=full,
                link_possible=link_possible,
                keys_at_hand=keys_at_hand,
            ),
        )
        if isinstance(step, StartChain):
            assert step.text
            chains.append([ids])
        else:
            assert isinstance(step, Continue)
            assert step.rekey == (chains[-1][-1] != ids)
            assert not step.rekey or link_possible
            chains[-1].append(ids)
        # Whatever happened, the session is sealed for exactly whom the job names.
        assert chains[-1][-1] == ids
    for chain in chains:
        assert len({bool(ids) for ids in chain}) == 1, "plain and sealed sessions in one chain"
