from itertools import pairwise

from strongroom.engine.index_writer import Effect, composed, disk_levels, effect_of
from strongroom.format.index import TreePage
from strongroom.model.entry import EntryKind


def a_page(*steps: tuple[EntryKind, bytes]) -> TreePage:
    count = len(steps)
    return TreePage(
        bytes(kind for kind, _ in steps),
        [name for _, name in steps],
        [0] * count,
        [0] * count,
        [],
        [],
        [],
        [],
        [],
        [],
        b"",
        [],
        [],
        {},
        {},
    )


ENTER, LEAVE, LINK = EntryKind.DIRECTORY, EntryKind.LEAVE, EntryKind.SYMLINK


def test_a_page_tells_which_directories_it_leaves_and_enters() -> None:
    page = a_page(
        (LEAVE, b""), (LEAVE, b""), (ENTER, b"a"), (ENTER, b"b"), (LEAVE, b""), (ENTER, b"c")
    )
    assert effect_of(page) == Effect(6, 2, 2, [b"a", b"c"], b"a")


def test_a_page_that_leaves_behind_its_first_entry_leads_with_nothing() -> None:
    page = a_page((LINK, b"x"), (LEAVE, b""), (LINK, b"y"))
    assert effect_of(page) == Effect(3, 1, 0, [], b"x")


def test_effects_compose_as_the_pages_they_tell_of() -> None:
    steps = [
        (ENTER, b"."),
        (ENTER, b"a"),
        (LINK, b"x"),
        (LEAVE, b""),
        (ENTER, b"b"),
        (ENTER, b"c"),
        (LEAVE, b""),
        (LEAVE, b""),
        (LINK, b"z"),
        (LEAVE, b""),
    ]
    whole = effect_of(a_page(*steps))
    for first in range(1, len(steps) - 1):
        for second in range(first + 1, len(steps)):
            cuts = [0, first, second, len(steps)]
            parts = [effect_of(a_page(*steps[a:b])) for a, b in pairwise(cuts)]
            assert composed(parts) == whole
            assert composed([composed(parts[:2]), parts[2]]) == whole


def test_composition_counts_the_marks_before_the_first_entry() -> None:
    marks = effect_of(a_page((LEAVE, b""), (LEAVE, b"")))
    then = effect_of(a_page((LEAVE, b""), (LINK, b"x"), (LEAVE, b"")))
    assert composed([marks, then]) == Effect(5, 4, 3, [], b"x")


def test_a_disk_has_as_many_levels_as_its_leaves_need() -> None:
    assert [disk_levels(n) for n in (0, 1, 2, 64, 65, 4096, 4097)] == [0, 0, 1, 1, 2, 2, 3]
