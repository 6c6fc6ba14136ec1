from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from strongroom.crypto.content import fingerprint
from strongroom.crypto.fingerprinter import Fingerprinter


@given(st.lists(st.binary(max_size=300)))
def test_it_comes_to_the_fingerprint_of_the_whole(pieces: list[bytes]) -> None:
    hasher = Fingerprinter()
    for piece in pieces:
        hasher.update(piece)

    assert hasher.digest() == fingerprint(b"".join(pieces))
