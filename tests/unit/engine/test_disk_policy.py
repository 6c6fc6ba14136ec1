from hypothesis import given
from hypothesis import strategies as st

from strongroom.engine.disk_policy import plan_area


def test_an_area_that_is_new_altogether_is_one_block() -> None:
    assert plan_area(list(range(16)), [True] * 16) == [(0, 16)]


def test_zeros_do_not_keep_an_area_from_being_one_block() -> None:
    used = [False, True, True, False, True, False]
    assert plan_area([1, 2, 4], used) == [(1, 4)]


def test_a_change_of_some_clusters_is_sealed_one_by_one() -> None:
    assert plan_area([3, 4, 9], [True] * 16) == [(3, 1), (4, 1), (9, 1)]


@given(st.lists(st.booleans(), min_size=1, max_size=128), st.data())
def test_every_new_cluster_is_sealed_once_and_an_area_holds_one_group_at_most(
    used: list[bool], data: st.DataObject
) -> None:
    places = [index for index, value in enumerate(used) if value]
    new = sorted(data.draw(st.sets(st.sampled_from(places)))) if places else []
    seals = plan_area(new, used)
    covered = [index for first, count in seals for index in range(first, first + count)]
    assert len(covered) == len(set(covered))
    assert set(new) <= set(covered)
    groups = [seal for seal in seals if seal[1] > 1]
    # With a group, nothing used is left outside it: what the area held before is dead.
    assert not groups or (len(seals) == 1 and new == places)
