"""What an encrypted backup shows the storage: nothing of its contents, and no object that is open.

Each search is also done where it has to find something, so that it does not pass for being blind.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import zstandard

from strongroom.control import jobs
from strongroom.crypto import random
from strongroom.format.journal import PromiseBody, SessionBody
from strongroom.repository import layout
from strongroom.repository.reach import Reach
from tests.support.installation import Installation
from tests.support.jobs import write_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from strongroom.repository.chain import Chain

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
CONTENT = b"the-content-of-a-small-file " * 40
LARGE = b"the-content-of-a-large-file " * 60_000
NAMES = {"a-telling-name": CONTENT, "a-telling-folder/another-telling-name": LARGE}
TELLING = {
    "contents": (b"the-content-of-a-small-file", b"the-content-of-a-large-file"),
    "names": (b"a-telling-name", b"a-telling-folder", b"another-telling-name"),
    "attributes": (b"user.telling-attribute", b"a-telling-value", b"a-telling-target"),
    "job": (b"a-telling-job",),
    "machine": (b"a-telling-machine",),
}


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    monkeypatch.setattr(socket, "gethostname", lambda: "a-telling-machine")
    with (made := Installation.create(tmp_path)).ctx:
        write_tree(made.tree, {**NAMES, "noise": random.token(5000)})
        (made.tree / "link").symlink_to("a-telling-target")
        os.setxattr(made.tree / "a-telling-name", "user.telling-attribute", b"a-telling-value")
        yield made


def stored(installation: Installation) -> Iterator[tuple[str, bytes]]:
    """Yield every object as it is stored, and all that decompresses in it from any place on.

    Lock records are not part of a backup; what they show of a machine the threat model says.
    """
    for info in installation.storage.list(""):
        if info.key.startswith(layout.LOCKS):
            continue
        data = installation.storage.get(info.key)
        yield info.key, data
        at = data.find(ZSTD_MAGIC)
        while at >= 0:
            with suppress(zstandard.ZstdError):  # the four bytes may stand there by chance
                opened = zstandard.ZstdDecompressor().decompressobj().decompress(data[at:])
                yield info.key, opened
            at = data.find(ZSTD_MAGIC, at + 1)


def shown(installation: Installation) -> set[bytes]:
    """Return what somebody finds who searches every object for what would tell him something."""
    tellings = [one for some in telling_of(installation).values() for one in some]
    return {one for _, data in stored(installation) for one in tellings if one in data}


def telling_of(installation: Installation) -> dict[str, tuple[bytes, ...]]:
    return {**TELLING, "source": (os.fsencode(installation.tree),)}


def two_sessions(installation: Installation, *, encrypt: bool) -> None:
    installation.job("a-telling-job", encrypt=encrypt)
    installation.run("a-telling-job")
    write_tree(installation.tree, {**NAMES, "noise": random.token(5000)})
    installation.run("a-telling-job")


def test_no_object_of_an_encrypted_backup_shows_anything_of_it(
    installation: Installation,
) -> None:
    two_sessions(installation, encrypt=True)
    assert shown(installation) == set()


def test_all_of_it_would_have_been_found_in_a_plain_one(installation: Installation) -> None:
    two_sessions(installation, encrypt=False)
    assert shown(installation) == {
        one for some in telling_of(installation).values() for one in some
    }


# --- encrypted and not -------------------------------------------------------------------------


def led_to(chain: Chain) -> set[str]:
    """Return the name of every object that the chain's entries lead to, however indirectly."""
    reach = Reach(chain)
    names = {layout.entry(chain.chain_id, number) for number in chain.listing}
    for number in chain.listing:
        body = chain.entry(number).body
        if isinstance(body, SessionBody | PromiseBody):
            list(reach.history(body.history))
        if isinstance(body, SessionBody):
            for _, record in reach.sessions(body):
                if chain.sealed:
                    names.add(layout.session_keys(chain.chain_id, record.session_id))
                names.update(
                    layout.pack(chain.chain_id, directory.pack_id)
                    for _, _, directory in reach.ledger(record)
                )
            list(reach.blocks(body))
    return names | {layout.tables(chain.chain_id, one) for one in reach.objects}


def test_an_encrypted_point_and_an_unencrypted_one_share_no_object(
    installation: Installation,
) -> None:
    """The same tree, by one job whose encryption is turned off and by one that never had any."""
    installation.job("other", encrypt=False)
    two_sessions(installation, encrypt=True)
    changes = jobs.JobChanges(encrypt="none")
    jobs.edit(installation.ctx, "a-telling-job", changes, yes_weaken=True)
    installation.run("a-telling-job")
    installation.run("other")
    installation.run("a-telling-job")

    sealed: set[str] = set()
    plain: set[str] = set()
    for chain in map(installation.repository().chain, installation.repository().chain_ids()):
        names = led_to(chain)
        assert all(map(installation.storage.exists, names))
        assert {name.split("/")[2] for name in names} >= {"journal", "packs", "tables"}
        (sealed if chain.sealed else plain).update(names)
    assert sealed
    assert plain
    assert not sealed & plain
    contents = {installation.storage.get(name) for name in sealed}
    assert not contents & {installation.storage.get(name) for name in plain}
