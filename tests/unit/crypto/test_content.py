from __future__ import annotations

from blake3 import blake3

from strongroom.crypto.content import ContentHasher, fingerprint
from strongroom.crypto.keys import DedupKey
from strongroom.crypto.labels import bind

KEY = bytes(range(32))


def test_a_content_hash_is_blake3_under_the_dedup_key() -> None:
    hasher = ContentHasher(DedupKey(KEY))
    assert hasher.digest(b"text") == blake3(b"text", key=KEY).digest()
    assert hasher.digest(memoryview(b"text")) == hasher.digest(bytearray(b"text"))


def test_two_chains_name_the_same_content_differently() -> None:
    assert ContentHasher(DedupKey(KEY)).digest(b"x") != ContentHasher(DedupKey(KEY[::-1])).digest(
        b"x"
    )


def test_what_the_store_can_compute_says_nothing_about_content_of_a_sealed_chain() -> None:
    assert ContentHasher(DedupKey(KEY)).digest(b"x") != fingerprint(b"x")


def test_a_plain_chain_has_unkeyed_hashes() -> None:
    assert ContentHasher(None).digest(b"text") == blake3(b"text").digest() == fingerprint(b"text")


def test_content_made_of_digests_is_not_taken_for_what_the_digests_name() -> None:
    for hasher in (ContentHasher(None), ContentHasher(DedupKey(KEY))):
        digests = hasher.digest(b"a") + hasher.digest(b"b")
        assert hasher.of_digests(digests) != hasher.digest(digests)
        assert hasher.of_digests(digests) == hasher.of_digests(memoryview(digests))
        assert hasher.of_digests(digests) != fingerprint(digests)


def test_parts_cannot_slide_into_each_other() -> None:
    assert bind("a", b"bc", b"d") != bind("a", b"b", b"cd")
    assert bind("a", b"b") != bind("a", b"b", b"")
    assert bind("ab", b"") != bind("a", b"b")
