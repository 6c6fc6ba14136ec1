import pytest

from strongroom.engine.selection import Selection, source_path
from strongroom.errors import InvalidInputError

BASE = (b"srv", b"data")


def selected(pattern: str, *paths: str) -> list[str]:
    selection = Selection((pattern,), BASE)
    return [
        path for path in paths if selection.covers(tuple(path.encode().split(b"/")) if path else ())
    ]


PATHS = ("a.txt", "docs", "docs/a.txt", "docs/b.pdf", "docs/old/a.txt", "other/docs/x", "[x]")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("/srv/data/docs", ["docs", "docs/a.txt", "docs/b.pdf", "docs/old/a.txt"]),
        ("/srv/data/docs/", ["docs", "docs/a.txt", "docs/b.pdf", "docs/old/a.txt"]),
        ("docs", ["docs", "docs/a.txt", "docs/b.pdf", "docs/old/a.txt"]),
        ("/srv", list(PATHS)),
        ("/", list(PATHS)),
        ("/srv/data", list(PATHS)),
        ("/srv/other", []),
        ("/docs", []),
        ("*.txt", ["a.txt", "docs/a.txt", "docs/old/a.txt"]),
        ("/srv/data/*.txt", ["a.txt"]),
        ("docs/*.txt", ["docs/a.txt"]),
        ("docs/**/*.txt", ["docs/a.txt", "docs/old/a.txt"]),
        ("/srv/data/docs/**", ["docs/a.txt", "docs/b.pdf", "docs/old/a.txt"]),
        ("/**/a.txt", ["a.txt", "docs/a.txt", "docs/old/a.txt"]),
        ("**/docs", ["docs", "docs/a.txt", "docs/b.pdf", "docs/old/a.txt", "other/docs/x"]),
        ("/s*/data/doc?", ["docs", "docs/a.txt", "docs/b.pdf", "docs/old/a.txt"]),
        ("/s*/d*/b.pdf", []),
        ("/srv/*", list(PATHS)),
        ("docs/[ab].*", ["docs/a.txt", "docs/b.pdf"]),
        ("docs/[!a].*", ["docs/b.pdf"]),
        ("[[]x]", ["[x]"]),
    ],
)
def test_patterns_mean_paths(pattern: str, expected: list[str]) -> None:
    assert selected(pattern, *PATHS) == expected


def test_no_pattern_selects_everything() -> None:
    assert Selection((), BASE).covers((b"anything",))
    assert Selection((), BASE).scopes is None


def test_a_pattern_that_nothing_met_is_told() -> None:
    selection = Selection(("a", "*.x", "/nowhere"), BASE)
    assert selection.covers((b"a", b"b"))
    assert selection.unmet() == ["*.x", "/nowhere"]


@pytest.mark.parametrize("pattern", ["", ".", "./"])
def test_an_empty_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidInputError):
        Selection((pattern,), BASE)


def test_paths_and_fixed_beginnings_limit_what_is_read() -> None:
    assert Selection(("/srv/data/a/b", "c/d/*.txt"), BASE).scopes == [(b"a", b"b"), (b"c", b"d")]
    assert Selection(("a", "*.txt"), BASE).scopes is None
    assert Selection(("/srv/data",), BASE).scopes is None


def test_names_that_are_no_utf_8_can_be_meant() -> None:
    name = b"\xff\xfe"
    assert Selection((f"/srv/data/{name.decode(errors='surrogateescape')}",), BASE).covers((name,))


def test_a_source_tells_its_path() -> None:
    assert source_path("files:/srv//data/") == BASE
    assert source_path("files:/") == ()
    assert source_path("files:/srv/./x/../data") == BASE
