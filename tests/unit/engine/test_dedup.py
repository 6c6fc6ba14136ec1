from pathlib import Path

from strongroom.crypto import random
from strongroom.engine import dedup
from strongroom.engine.dedup import DedupIndex, Location


def test_what_was_added_is_found_and_nothing_else() -> None:
    index = DedupIndex(None)
    content_hash = random.token(32)
    index.add(content_hash, 3, 70_000, 12, 34)
    assert index.find(content_hash) == Location(3, 70_000, 12, 34)
    assert index.find(random.token(32)) is None


def test_a_saved_cache_serves_the_next_session(tmp_path: Path) -> None:
    hashes = [random.token(32) for _ in range(5000)]
    first = DedupIndex(tmp_path)
    for number, content_hash in enumerate(hashes):
        first.add(content_hash, 1, number, 0, 10)
    first.save(7, b"h" * 32)

    second = DedupIndex(tmp_path)
    assert second.bind({7: b"h" * 32}.get)
    for number, content_hash in enumerate(hashes):
        assert second.find(content_hash) == Location(1, number, 0, 10)
    assert second.find(random.token(32)) is None


def test_a_cache_of_another_history_is_not_used(tmp_path: Path) -> None:
    # A slot names another session there: a hit would restore another's bytes.
    content_hash = random.token(32)
    first = DedupIndex(tmp_path)
    first.add(content_hash, 1, 1, 0, 10)
    first.save(7, b"h" * 32)

    second = DedupIndex(tmp_path)
    assert not second.bind({7: b"x" * 32}.get)
    assert second.find(content_hash) is None


def test_what_a_session_spilled_before_it_died_is_not_used(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(dedup, "_SPILL", 10)
    hashes = [random.token(32) for _ in range(25)]
    dead = DedupIndex(tmp_path)
    for number, content_hash in enumerate(hashes):
        dead.add(content_hash, 4, number, 0, 10)
    assert list(tmp_path.glob("*.part"))

    index = DedupIndex(tmp_path)
    assert not any(index.find(content_hash) for content_hash in hashes)
    assert not list(tmp_path.glob("*.part"))


def test_a_session_finds_what_it_spilled_itself(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(dedup, "_SPILL", 10)
    hashes = [random.token(32) for _ in range(95)]
    index = DedupIndex(tmp_path)
    for number, content_hash in enumerate(hashes):
        index.add(content_hash, 4, number, 0, 10)
    assert [index.find(h) for h in hashes] == [Location(4, n, 0, 10) for n in range(95)]


def test_merged_runs_keep_the_newest_place_and_leave_out_dead_packs(tmp_path: Path) -> None:
    moved, dead = random.token(32), random.token(32)
    for session in range(1, 12):
        index = DedupIndex(tmp_path)
        index.add(moved, session, session << 16, 0, 10)
        if session == 1:
            index.add(dead, 99, 5 << 16, 0, 10)
        index.save(session, b"h" * 32, {(11, 11)})
    index = DedupIndex(tmp_path)
    assert len(list(tmp_path.glob("*.run"))) < 9
    assert index.find(moved) == Location(11, 11 << 16, 0, 10)
    assert index.find(dead) is None


def test_hashes_that_begin_alike_are_told_apart(tmp_path: Path) -> None:
    # Interpolation has nothing to go by here; bisection has to finish.
    hashes = [b"\0" * 8 + number.to_bytes(24, "big") for number in range(3000)]
    index = DedupIndex(tmp_path)
    for number, content_hash in enumerate(hashes):
        index.add(content_hash, 1, number, 0, 1)
    index.save(1, b"h" * 32)
    again = DedupIndex(tmp_path)
    assert [again.find(h) for h in hashes[::7]] == [Location(1, n, 0, 1) for n in range(0, 3000, 7)]
