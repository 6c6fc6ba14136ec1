"""What a state uses, block by block, and what counting it costs."""

from __future__ import annotations

import random
import tracemalloc
from collections import Counter

from strongroom.format.block import MAX_PLACES, PLACE_BITS, BlockAddress
from strongroom.repository.usage import BlockUsage


def _number(ordinal: int, place: int) -> int:
    return ordinal << PLACE_BITS | place


def test_blocks_counted_in_any_order_have_the_sum_of_their_live_bytes() -> None:
    rng = random.Random(1)  # noqa: S311 - a test's
    usage, other, expected = BlockUsage(), BlockUsage(), Counter[tuple[int, int]]()
    for counted in (usage, other):
        for _ in range(3000):
            place = rng.choice((rng.randrange(300), MAX_PLACES - 1))
            slot, number = rng.randrange(3), _number(rng.randrange(2), place)
            live = rng.randrange(1 << 33)
            counted.add(slot, number, live)
            expected[slot, number] += live
    usage.add_all(other)
    assert {(one.slot, one.number): usage.live_bytes(one.slot, one.number) for one in usage} == (
        dict(expected)
    )
    assert usage.slots() == {0, 1, 2}
    for (slot, ordinal), bits in usage.bitmaps().items():
        places = {
            n & (MAX_PLACES - 1) for s, n in expected if (s, n >> PLACE_BITS) == (slot, ordinal)
        }
        assert bits == sum(1 << place for place in places)
        assert usage.live_bytes_of_pack(slot, ordinal) == sum(
            expected[slot, _number(ordinal, place)] for place in places
        )


def test_a_block_beside_counted_ones_is_not_used() -> None:
    usage = BlockUsage()
    usage.add(1, _number(2, 10), 5)
    usage.add(1, _number(2, 12), 0)
    assert BlockAddress(1, _number(2, 10)) in usage
    assert BlockAddress(1, _number(2, 12)) in usage
    for place in (0, 9, 11, 13):
        assert BlockAddress(1, _number(2, place)) not in usage
        assert usage.live_bytes(1, _number(2, place)) == 0
    assert BlockAddress(1, _number(3, 10)) not in usage
    assert usage.live_bytes_of_pack(1, 3) == 0


def test_a_hundred_thousand_small_blocks_take_under_2_mb() -> None:
    """A disk of 1 TiB whose clusters are blocks of their own has 16 million."""
    tracemalloc.start()
    try:
        usage = BlockUsage()
        for number in range(100_000):
            usage.add(1, _number(number // 384, number % 384), 65536)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < 2_000_000
