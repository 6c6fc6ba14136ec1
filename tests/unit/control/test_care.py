"""In which order chains are cared for."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from strongroom.control import care, jobs

if TYPE_CHECKING:
    from tests.unit.control.conftest import Workshop


def test_a_chain_goes_before_the_newer_one_that_tells_that_it_is_over(shop: Workshop) -> None:
    shop.repository()
    shop.job()
    begun = []
    for _ in range(5):
        shop.session()
        begun.append(shop.chain().chain_id.hex())
        jobs.detach(shop.ctx, "nightly")
        shop.clock.advance(timedelta(hours=1))

    plans = care.prune(shop.ctx, "main", dry_run=True).plans

    assert [plan.chain for plan in plans] == begun
