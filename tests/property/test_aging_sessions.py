"""Age does not hurt, by whole sessions: run, pruned, and restored from real packs.

`test_aging` ages the engine's rules in a model of more data; here nothing is left out, and so
the data is little. What was found over 1,000 sessions by hand (`python -m tests.support.aging`)
is there after these.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.aging import AgingJob, Disk, Draw, Tree, hot, uniform

SESSIONS = 120


@pytest.mark.parametrize("draw", [uniform, hot])
@pytest.mark.parametrize("what", [Disk, Tree])
def test_after_120_sessions_half_of_what_is_read_and_held_is_alive_and_none_costs_more(
    what: type[Disk | Tree], draw: Draw, tmp_path: Path
) -> None:
    aging = AgingJob(tmp_path, what, draw)
    for number in range(1, SESSIONS + 1):
        cost = aging.session()
        # Keys, data, index, tables, entry, and the lock taken and let go.
        assert cost.puts.calls <= 7
        if number % 4 == 0:
            aging.prune()
        if number % 40 == 0:
            age = aging.age()
            assert age.read_share <= 2
            assert age.dead_share <= 1 / 2
            # Pages of a state's sessions, and of all history, are what a session reads of the
            # past; not entries, and not packs.
            assert age.sessions <= 60
            assert cost.gets.calls <= 30 + 3 * age.sessions + age.history_pages
            assert cost.listed <= 250
    aging.check_every_point()
    assert aging.stored_bytes <= 2.5 * aging.changed_bytes
