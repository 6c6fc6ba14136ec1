"""How the clusters of one area of a disk are grouped into blocks.

The rule: **an area is sealed as one block only when all of its clusters that are not zero are
new; otherwise each new cluster is a block of its own.**

Then at any time at most one whole block lives in an area, and beside it singles, each of which
dies as a whole when its cluster is overwritten. With n clusters an area, what its live
clusters are stored in is at most (n + n - 1) clusters while n live: under twice, whatever
the pattern of writes. Grouping a few neighbours would save little and lose the bound, since
every group could be kept alive by its last cluster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Seal = tuple[int, int]
"""First cluster and number of clusters, in the area, of a block to seal."""


def plan_area(new: Sequence[int], used: Sequence[bool]) -> list[Seal]:
    """Return which runs of an area's clusters become blocks.

    Args:
        new: Clusters, ascending, whose content is to be stored.
        used: Of each cluster of the area, whether it holds anything but zeros.
    """
    if len(new) < 2 or len(new) < sum(used):
        return [(index, 1) for index in new]
    # Zeros inside are sealed along: they compress to nothing and keep the block one run.
    return [(new[0], new[-1] - new[0] + 1)]
