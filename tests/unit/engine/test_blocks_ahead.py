import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from strongroom.clock import SystemClock
from strongroom.engine.blocks_ahead import BlocksAhead
from strongroom.errors import BlockDamagedError
from strongroom.format.block import BlockAddress

KIB = 1 << 10


class Blocks:
    """A reader of made-up blocks, that tells how many bytes of them were opened."""

    location = "/memory"

    def __init__(self, sizes: list[int], damaged: frozenset[int] = frozenset()) -> None:
        self.sizes = sizes
        self.damaged = damaged
        self.opened: list[int] = []
        self._lock = threading.Lock()

    def read_uncached(self, address: BlockAddress, _: object) -> bytes:
        with self._lock:
            self.opened.append(address.number)
        if address.number in self.damaged:
            raise BlockDamagedError(f"block {address.number} is damaged")
        return self.content(address.number)

    def content(self, number: int) -> bytes:
        return bytes([number % 251]) * self.sizes[number]


def addresses(numbers) -> list[BlockAddress]:
    return [BlockAddress(1, number) for number in numbers]


def settled(blocks: Blocks) -> int:
    """Wait until no more blocks are being opened; return how many were."""
    count = -1
    while count != len(blocks.opened):
        count = len(blocks.opened)
        SystemClock().sleep(0.05)
    return count


def test_blocks_come_as_they_are_in_any_order() -> None:
    blocks = Blocks([KIB * (number % 7) for number in range(300)])
    order = [(number * 37) % 300 for number in range(900)]
    with BlocksAhead(blocks, ahead_bytes=16 * KIB, kept_bytes=32 * KIB) as ahead:
        ahead.want(addresses(sorted(order)))
        for address in addresses(order):
            assert ahead.take(address) == blocks.content(address.number)


def test_what_is_wanted_is_opened_ahead_in_order_and_once() -> None:
    blocks = Blocks([KIB] * 200)
    with BlocksAhead(blocks, ahead_bytes=64 * KIB, workers=1) as ahead:
        ahead.want(addresses(range(200)))
        assert settled(blocks) >= 1
        for address in addresses(range(200)):
            ahead.take(address)
    assert blocks.opened == list(range(200))


def test_no_more_is_opened_than_there_is_room_for() -> None:
    # Sizes grow when the small ones have led to expect nothing of the kind.
    blocks = Blocks([1] * 500 + [64 * KIB] * 500)
    with BlocksAhead(blocks, ahead_bytes=1 << 20, kept_bytes=2 << 20, workers=2) as ahead:
        ahead.want(addresses(range(1000)))
        for address in addresses(range(500)):
            ahead.take(address)
        # Sixteen fill the room, and each worker may have one more in hand.
        assert settled(blocks) <= 500 + 16 + 2
        for address in addresses(range(500, 1000)):
            assert len(ahead.take(address)) == 64 * KIB


def test_what_is_waited_for_lets_nothing_pass_but_what_stands_before_it() -> None:
    held = threading.Event()

    class Slow(Blocks):
        def read_uncached(self, address: BlockAddress, block_class: object) -> bytes:
            if address.number == 9:
                assert held.wait(20)
            return super().read_uncached(address, block_class)

    # Nothing led to expect blocks of such a size, so all of them are in the queue.
    blocks = Slow([1] * 100 + [64 * KIB] * 300)
    with BlocksAhead(blocks, ahead_bytes=1 << 20, kept_bytes=2 << 20, workers=2) as ahead:
        for address in addresses(range(10, 100)):
            ahead.take(address)
        ahead.want(addresses([9, *range(100, 400)]))
        with ThreadPoolExecutor(1) as taking:
            taken = taking.submit(ahead.take, BlockAddress(1, 9))
            assert settled(blocks) <= 90 + 16 + 1
            held.set()
            assert len(taken.result()) == 1


def test_a_block_that_nobody_announced_is_opened_at_once() -> None:
    blocks = Blocks([64 * KIB] * 100)
    with BlocksAhead(blocks, ahead_bytes=128 * KIB, workers=1) as ahead:
        ahead.want(addresses(range(99)))
        settled(blocks)
        assert ahead.take(BlockAddress(1, 99)) == blocks.content(99)


def test_damage_is_raised_where_the_block_is_taken_and_every_time() -> None:
    blocks = Blocks([KIB] * 10, damaged=frozenset({3}))
    with BlocksAhead(blocks) as ahead:
        ahead.want(addresses(range(10)))
        assert ahead.take(BlockAddress(1, 2))
        for _ in range(2):
            with pytest.raises(BlockDamagedError):
                ahead.take(BlockAddress(1, 3))
        assert ahead.take(BlockAddress(1, 4))


def test_it_ends_while_there_is_no_room() -> None:
    blocks = Blocks([64 * KIB] * 100)
    with BlocksAhead(blocks, ahead_bytes=64 * KIB, workers=2) as ahead:
        ahead.want(addresses(range(100)))
        settled(blocks)
    assert len(blocks.opened) < 100


def test_what_was_taken_lately_is_kept_and_what_was_not_is_not() -> None:
    blocks = Blocks([KIB] * 100)
    with BlocksAhead(blocks, ahead_bytes=4 * KIB, kept_bytes=8 * KIB) as ahead:
        for address in addresses(range(100)):
            ahead.take(address)
        ahead.take(BlockAddress(1, 99))
        assert blocks.opened.count(99) == 1
        ahead.take(BlockAddress(1, 0))
        assert blocks.opened.count(0) == 2
