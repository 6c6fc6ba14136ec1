"""A job whose secrets lie in a folder beside its repository, so that other processes can run it.

    kept = KeptJob.create(folder)
    process = kept.start("run")      # python -m tests.support.kept_job FOLDER run
    process.kill()
    kept.job().contents()

The folder stands for a server's keystore: what a session needs later is in it, durable, before
the session stores its first pack.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strongroom.crypto import random
from strongroom.crypto.envelope import ChainKey
from strongroom.crypto.keys import DedupKey, MetaKey, Seed
from strongroom.crypto.recipients import make_recovery_recipient
from strongroom.crypto.signing import SigningKey
from strongroom.engine import pipeline
from strongroom.engine.backup import SourcePlan
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.progress import NullProgress
from strongroom.repository.mirror import CopiedChain, carry_out, plan_mirror
from strongroom.repository.rekey import start_chain
from strongroom.repository.repository import Repository
from strongroom.storage.local import LocalStorage
from tests.support.cloning import Clone
from tests.support.dying_storage import Death, DyingStorage
from tests.support.engine_job import AheadClock
from tests.support.jobs import Job
from tests.support.reading import bring_back, views_of

if TYPE_CHECKING:
    from strongroom.engine.backup import SessionPlan
    from strongroom.storage.base import Storage


class KeptJob:
    """The folder: a repository, a tree, an image, a cache, and secrets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tree = folder / "tree"
        self.image = folder / "image"
        self.restored = folder / "restored"
        """Where `restore_newest` puts `tree` and `image`."""

    @classmethod
    def create(cls, folder: Path) -> KeptJob:
        kept = cls(folder)
        for name in ("repository", "tree", "metakeys"):
            (folder / name).mkdir()
        storage, clock = LocalStorage(folder / "repository"), AheadClock()
        Repository.create(storage, clock)
        signer_seed = random.seed()
        signer = SigningKey.from_seed(signer_seed)
        recipient = make_recovery_recipient(random.seed(), "kit", signer.public)
        chain, key = start_chain(storage, random.token(16), [recipient], signer, clock, None)
        assert key is not None
        secrets = {
            "chain": chain.chain_id.hex(),
            "sources": [random.token(16).hex(), random.token(16).hex()],
            "signer": signer_seed.expose().hex(),
            "key": key.seed.expose().hex(),
            "dedup": random.token(32).hex(),
            "chunker": random.number(1, 2**63 - 1),
        }
        (folder / "secrets").write_text(json.dumps(secrets))
        return kept

    def job(self) -> KeptSessions:
        """Return the job as a process finds it that knows nothing but the folder."""
        return KeptSessions(self.folder, json.loads((self.folder / "secrets").read_text()))

    def start(self, verb: str) -> subprocess.Popen[str]:
        """Let another process do it; return once it is about to begin."""
        root = Path(__file__).parents[2]
        path = os.pathsep.join([str(root), str(root / "src"), os.environ.get("PYTHONPATH", "")])
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.kept_job", str(self.folder), verb],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process


class KeptSessions(Job):
    """A job with the secrets of a folder."""

    def __init__(self, folder: Path, secrets: dict[str, Any]) -> None:
        self._metakeys = folder / "metakeys"
        self.storage = LocalStorage(folder / "repository")
        self.repository = Repository.open(self.storage)
        tree_id, image_id = map(bytes.fromhex, secrets["sources"])
        self.sources = (
            SourcePlan(source_id=tree_id, kind="files", value=str(folder / "tree")),
            SourcePlan(source_id=image_id, kind="image", value=str(folder / "image")),
        )
        self._restored = folder / "restored"
        self.cache = folder / "cache"
        self.block_size = 1 << 20
        self.compression = None
        self.clock = AheadClock()
        self.signer = SigningKey.from_seed(Seed(bytes.fromhex(secrets["signer"])))
        self.chain_key = ChainKey(Seed(bytes.fromhex(secrets["key"])))
        self.chain_id = bytes.fromhex(secrets["chain"])
        self.dedup_key = DedupKey(bytes.fromhex(secrets["dedup"]))
        self.chunker_seed = secrets["chunker"]
        self.metakeys = {
            bytes.fromhex(path.name): MetaKey(path.read_bytes())
            for path in self._metakeys.iterdir()
        }
        self.counter = len(self.metakeys)

    def plan(self, *arguments: Any, **options: Any) -> SessionPlan:
        plan = super().plan(*arguments, **options)
        kept = self._metakeys / plan.session_id.hex()
        kept.write_bytes(self.metakeys[plan.session_id].expose())
        return plan

    def clone(self) -> Clone:
        """Return the re-encryption that was begun; begin it if none was."""
        file = self._metakeys.parent / "clone"
        if not file.exists():
            clone = Clone.begin(self)
            seed = clone.chain_key.seed.expose()
            parts = clone.chain_id, clone.header, seed
            file.write_text(json.dumps([part.hex() for part in parts]))
        chain_id, header, seed = map(bytes.fromhex, json.loads(file.read_text()))
        return Clone(self, chain_id, header, ChainKey(Seed(seed)))

    def mirror(self, target: Storage | None = None) -> CopiedChain:
        """Copy the chain to the folder `copy`, as a machine without its keys does."""
        target = target or LocalStorage(self._metakeys.parent / "copy")
        plan = plan_mirror(
            self.chain(),
            Repository.open(target),
            self.trust,
            progress=NullProgress(),
            cancel=Cancellation(),
        )
        assert plan is not None
        return carry_out(
            plan, self.trust, self.clock, progress=NullProgress(), cancel=Cancellation()
        )

    def mirror_until_killed(self) -> None:
        """Do the same, and be killed when the first few packs are there."""
        copy = LocalStorage(self._metakeys.parent / "copy")
        self.mirror(DyingStorage(copy, Death(3, part="/packs/")))

    def reencrypt(self) -> None:
        self.clone().fill()

    def restore_newest(self) -> None:
        """Restore the newest point of each source over what an earlier try left."""
        for view, name in zip(views_of(self)[-2:], ("tree", "image"), strict=True):
            bring_back(view, self._restored / name, strip=name == "tree", overwrite="if-different")


def main() -> None:
    folder, verb = sys.argv[1:]
    # So that a session which is killed leaves whole packs behind.
    pipeline.PACK_RAW_BYTES = 200_000
    job = KeptJob(Path(folder)).job()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    getattr(job, verb)()


if __name__ == "__main__":
    main()
