import os
from collections import Counter

import pytest

from strongroom.engine.diff import diff
from strongroom.engine.listing import list_files
from strongroom.errors import InvalidInputError
from strongroom.testing.memory_storage import MemoryStorage
from tests.support.engine_job import EngineJob, settle, source
from tests.support.reading import views_of

MIB = 1 << 20


def changes(before, after) -> dict[str, str]:
    found = list(diff(before, after))
    assert len({change.path for change in found}) == len(found)
    return {change.path: change.change for change in found}


def spoil(path, at: int) -> None:
    """Make one byte of a file another."""
    with path.open("r+b") as file:
        file.seek(at)
        before = file.read(1)
        file.seek(at)
        file.write(bytes([before[0] ^ 1]))


@pytest.fixture
def origin(tmp_path):
    root = tmp_path / "origin"
    for number in range(600):
        path = root / f"d{number % 6}" / f"f{number:03}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(number))
    (root / "large").write_bytes(os.urandom(20 * MIB))
    (root / "link").symlink_to("large")
    return root


@pytest.fixture
def job(origin):
    made = EngineJob(MemoryStorage(), [source("files", origin)], cache=origin.parent / "cache")
    made.run()
    return made


def test_equal_points_differ_in_nothing(job) -> None:
    job.run()
    one, other = views_of(job)
    assert changes(one, other) == {}
    assert changes(one, one) == {}


def test_every_kind_of_change_is_told(job, origin) -> None:
    settle()
    (origin / "d1" / "f001").write_bytes(b"other content")
    (origin / "d2" / "f002").unlink()
    (origin / "d2" / "new").write_bytes(b"new")
    (origin / "d3" / "f003").chmod(0o600)
    os.utime(origin / "d4" / "f004", ns=(1, 1))
    (origin / "link").unlink()
    (origin / "link").symlink_to("elsewhere")
    (origin / "d5").rename(origin / "e5")
    job.run()
    one, other = views_of(job)

    found = changes(one, other)

    # Directories whose lists of names changed have new times.
    expected = {
        "": "metadata",
        "/d1/f001": "changed",
        "/d2": "metadata",
        "/d2/f002": "removed",
        "/d2/new": "added",
        "/d3/f003": "metadata",
        "/d4/f004": "metadata",
        "/link": "changed",
    }
    moved = {path.removeprefix(str(origin)): what for path, what in found.items()}
    for name in ("/d5", "/e5"):
        below = {path: moved.pop(path) for path in list(moved) if path.startswith(name)}
        assert Counter(below.values()) == {"removed" if name == "/d5" else "added": 101}
    assert moved == expected
    back = {path.removeprefix(str(origin)): what for path, what in changes(other, one).items()}
    assert back["/d2/new"] == "removed"
    assert back["/d2/f002"] == "added"


def test_a_change_inside_a_large_file_is_a_change(job, origin) -> None:
    settle()
    st = (origin / "large").stat()
    spoil(origin / "large", 10 * MIB)
    os.utime(origin / "large", ns=(st.st_atime_ns, st.st_mtime_ns))
    job.run()
    one, other = views_of(job)
    assert changes(one, other) == {f"{origin}/large": "changed"}


def test_a_kind_that_changed_is_a_change(job, origin) -> None:
    settle()
    (origin / "link").unlink()
    (origin / "link").mkdir()
    (origin / "link" / "inner").write_text("x")
    job.run()
    found = changes(*views_of(job))
    assert found[f"{origin}/link"] == "changed"
    assert found[f"{origin}/link/inner"] == "added"


def test_comparing_points_reads_little_more_than_what_differs(job, origin) -> None:
    settle()
    (origin / "d0" / "f000").write_bytes(b"x")
    job.run()
    one, other = views_of(job)
    reads = []

    def counted(view):
        inner = view.reader().read

        def read(address, block_class):
            reads.append(address)
            return inner(address, block_class)

        view.reader().read = read

    whole = len([*list_files(one)])
    counted(one)
    counted(other)
    assert set(changes(one, other).values()) <= {"changed", "metadata"}
    assert whole > 600
    assert len(set(reads)) < 10


@pytest.mark.parametrize("sealed", [True, False])
def test_points_of_two_chains_are_compared_by_content(origin, sealed) -> None:
    one = EngineJob(MemoryStorage(), [source("files", origin)], sealed=sealed)
    one.run()
    settle()
    # Touched and not changed, changed, changed with its time put back, changed in its middle.
    os.utime(origin / "d1" / "f001", ns=(5, 5))
    quiet = origin / "d3" / "f003"
    stamped = quiet.stat()
    quiet.write_bytes(bytes(byte ^ 1 for byte in quiet.read_bytes()))
    os.utime(quiet, ns=(stamped.st_atime_ns, stamped.st_mtime_ns))
    (origin / "d2" / "f002").write_bytes(b"zzz")
    spoil(origin / "large", 12 * MIB)
    other = EngineJob(
        MemoryStorage(), [source("files", origin)], sealed=sealed, block_size=256 << 10
    )
    other.run()

    assert changes(views_of(one)[0], views_of(other)[0]) == {
        f"{origin}/d1/f001": "metadata",
        f"{origin}/d2/f002": "changed",
        f"{origin}/d3/f003": "changed",
        f"{origin}/large": "changed",
    }


# --- disks -------------------------------------------------------------------------------------


def ranges(before, after) -> list[tuple[int, int]]:
    return [(change.offset, change.length) for change in diff(before, after)]


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(os.urandom(6 * MIB) + bytes(6 * MIB) + os.urandom(100_000))
    return path


def write(image, at: int, data: bytes) -> None:
    with image.open("r+b") as file:
        file.seek(at)
        file.write(data)


@pytest.mark.parametrize("same_chain", [True, False])
def test_ranges_of_a_disk_that_changed_are_told(image, same_chain) -> None:
    job = EngineJob(MemoryStorage(), [source("image", image)])
    job.run()
    settle()
    for at in (5, 65536, 3 * 65536 - 1, 3 * 65536, 12 * MIB + 99_999):
        spoil(image, at)
    write(image, 8 * MIB, b"in the zeros")
    write(image, 5 * MIB, bytes(65536))
    after = job if same_chain else EngineJob(MemoryStorage(), [source("image", image)])
    after.run()

    one, other = views_of(job)[0], views_of(after)[-1]
    expected = [
        (0, 4 * 65536),
        (5 * MIB, 65536),
        (8 * MIB, 65536),
        (12 * MIB + 65536, 100_000 - 65536),
    ]
    assert ranges(one, other) == expected
    assert ranges(other, one) == expected
    assert ranges(one, one) == []


@pytest.mark.parametrize("size", [6 * MIB + 1000, 13 * MIB, 12 * MIB + 100_001, 400 * MIB])
def test_a_disk_of_another_size_differs_from_there_on(image, size) -> None:
    job = EngineJob(MemoryStorage(), [source("image", image)])
    job.run()
    settle()
    old = image.stat().st_size
    os.truncate(image, size)
    job.run()
    one, other = views_of(job)
    (found,) = ranges(one, other)
    assert found[0] + found[1] == max(old, size)
    assert found[0] in (min(old, size), min(old, size) // 65536 * 65536)


# --- streams, and what cannot be compared --------------------------------------------------------


def test_an_object_changed_or_did_not(tmp_path) -> None:
    (tmp_path / "in").write_bytes(os.urandom(3 * MIB))
    job = EngineJob(MemoryStorage(), [source("command", f"cat {tmp_path}/in")])
    job.run()
    job.run()
    spoil(tmp_path / "in", 2 * MIB)
    job.run()
    first, second, third = views_of(job)
    assert changes(first, second) == {}
    assert changes(second, third) == {f"cat {tmp_path}/in": "changed"}


def test_a_tree_and_a_disk_cannot_be_compared(job, image) -> None:
    other = EngineJob(MemoryStorage(), [source("image", image)])
    other.run()
    with pytest.raises(InvalidInputError):
        diff(views_of(job)[0], views_of(other)[0])


# --- listing -----------------------------------------------------------------------------------


def test_a_listing_shows_kinds_sizes_and_links(tmp_path) -> None:
    root = tmp_path / "origin"
    (root / "d").mkdir(parents=True)
    (root / "a").write_bytes(b"12345")
    os.link(root / "a", root / "d" / "b")
    (root / "s").symlink_to("a")
    job = EngineJob(MemoryStorage(), [source("files", root)])
    job.run()
    view = views_of(job)[0]

    listed = {
        file.path.removeprefix(str(root)): (file.kind, file.size, file.link)
        for file in list_files(view)
    }
    assert listed == {
        "": ("directory", 0, None),
        "/a": ("file", 5, None),
        "/d": ("directory", 0, None),
        "/d/b": ("hard-link", 5, f"{root}/a"),
        "/s": ("symlink", 1, "a"),
    }
    assert [file.path for file in list_files(view, "d")] == [f"{root}/d", f"{root}/d/b"]
    assert [file.path for file in list_files(view, "?")] == [
        f"{root}/{name}" for name in ("a", "d", "d/b", "s")
    ]


def test_an_image_is_listed_as_what_it_is(image) -> None:
    job = EngineJob(MemoryStorage(), [source("image", image)])
    job.run()
    (listed,) = list_files(views_of(job)[0])
    assert (listed.path, listed.kind, listed.size) == (str(image), "image", image.stat().st_size)
