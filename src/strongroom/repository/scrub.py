"""Stored bytes against what was signed of them, without any key.

Reads every byte outside `locks/`, or of packs a sample. What the journal's signed entries lead to
has to be there and be what was signed; everything else has at least to be whole. Damage does not
stop it: it is noted, with the points that it hurts, and the rest is looked at all the same. Whether
the history is the newest one is for heads to say; they come from the reader's side, as everywhere.

Here stands what concerns the repository as a whole. `scrub_chain` follows a chain's journal to
everything it leads to, `scrub_ways` judges envelopes and links, `scrub_loose` what stands alone,
`scrub_packs` chooses packs and reads them; `scrub_report` says what was found. Opening what is
sealed is for `engine.verify`, which needs keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import (
    IntegrityError,
    NotFoundError,
    StrongroomError,
    UnsupportedVersionError,
)
from strongroom.format import header as headers
from strongroom.format.codec import MAX_SMALL
from strongroom.repository import configuration, layout
from strongroom.repository.chain import Chain
from strongroom.repository.framed import get_framed
from strongroom.repository.scrub_chain import ChainScrub
from strongroom.repository.scrub_loose import ID, Loose, claimed_points
from strongroom.repository.scrub_packs import Choice, Everything, Sample
from strongroom.repository.scrub_report import Findings, ScrubbedChain, ScrubReport
from strongroom.storage.keys import PROBES
from strongroom.storage.reading import ListedAhead

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import TypeAlias

    from strongroom.format.journal import EntryRef
    from strongroom.repository.chain import Head, Trust
    from strongroom.repository.progress import Cancellation, Progress
    from strongroom.repository.repository import Repository
    from strongroom.storage.base import ObjectInfo

    KnownPoints: TypeAlias = Mapping[bytes, Mapping[int, Sequence[str]]]


def scrub(
    repository: Repository,
    trust: Trust,
    heads: Mapping[bytes, Head],
    *,
    chain_ids: Collection[bytes] | None = None,
    unfinished: Collection[bytes] = (),
    known_points: KnownPoints | None = None,
    sample: Sample | None = None,
    progress: Progress,
    cancel: Cancellation,
) -> ScrubReport:
    """Read every stored byte and compare it with what was recorded of it.

    Args:
        repository: What to read.
        trust: Whose signatures are expected. A chain of somebody else's is reported with its
            signer, and is damage where fingerprints were pinned.
        heads: The newest entries known from elsewhere, by chain.
        chain_ids: Read only these chains; all by default.
        unfinished: Chains whose header is still to come: they are being re-encrypted.
        known_points: Ids of points by chain and entry, known from elsewhere: they name what an
            entry held that cannot be read any more.
        sample: Says which packs to read; all by default.
        progress: Is told how it goes.
        cancel: Stops it between two reads.

    Raises:
        StorageUnavailableError: the storage did not answer.
        CancelledError: on request.
    """
    choice = Choice(sample if sample is not None else Everything())
    return Scrub(
        repository,
        trust,
        heads,
        chain_ids,
        unfinished,
        known_points or {},
        choice,
        progress,
        cancel,
    ).run()


class Scrub:
    """What is known of the repository while it is being read."""

    def __init__(
        self,
        repository: Repository,
        trust: Trust,
        heads: Mapping[bytes, Head],
        chain_ids: Collection[bytes] | None,
        unfinished: Collection[bytes],
        known_points: KnownPoints,
        choice: Choice,
        progress: Progress,
        cancel: Cancellation,
    ) -> None:
        self.repository = repository
        self.storage = ListedAhead(repository.storage)
        self.trust = trust
        self.heads = heads
        self.only = chain_ids
        self.unfinished = unfinished
        self.progress = progress
        self.cancel = cancel
        self.known_points = known_points
        self.choice = choice
        self.findings = Findings()
        self.loose = Loose(self.storage, choice, self.findings, progress, cancel)
        self.older: list[tuple[str, list[str], EntryRef]] = []
        """What newest entries say of other chains of their jobs: who says it, with which points."""

    def run(self) -> ScrubReport:
        count = total = 0
        begun: set[bytes] = set()
        others: set[bytes] = set()
        configurations: list[str] = []
        for info in self.storage.list(""):
            if info.key.startswith((layout.LOCKS, PROBES)):
                continue
            folder, _, rest = info.key.partition("/")
            name = rest.partition("/")[0]
            if folder in ("headers", "chains") and ID.fullmatch(name):
                chain_id = bytes.fromhex(name)
                if self.only is not None and chain_id not in self.only:
                    continue
                (begun if folder == "headers" else others).add(chain_id)
            elif layout.configuration_of(info.key) is not None:
                if self.only is not None:
                    continue
                configurations.append(info.key)
            elif info.key != layout.MARKER:
                self.findings.note(info.key, "is no part of a repository")
            count += 1
            if self._is_read(info):
                total += info.size
        self.progress.begin("scrub", total)
        self._check_marker()
        for key in configurations:
            self._check_configuration(key)
        for chain_id in self.heads:
            if chain_id not in begun and (self.only is None or chain_id in self.only):
                self.findings.note(layout.header(chain_id), "was known here and is gone")
        chains = [found for one in sorted(begun) if (found := self._check_chain(one)) is not None]
        for chain_id in sorted(others - begun):
            self._check_headless(chain_id)
        self._check_older()
        self.progress.finish()
        return ScrubReport(
            repository=self.repository.repository_id.hex(),
            objects=count,
            bytes_read=total,
            chains=tuple(chains),
            damaged=tuple(self.findings.damaged),
            notes=tuple(self.findings.notes),
            packs=tuple(self.findings.packs),
        )

    def _is_read(self, info: ObjectInfo) -> bool:
        form = layout.pack_form(info.key)
        return form is None or self.choice.add(form[0], info.size)

    def _check_marker(self) -> None:
        try:
            headers.read_marker(get_framed(self.storage, layout.MARKER, MAX_SMALL), layout.MARKER)
        except (IntegrityError, UnsupportedVersionError) as error:
            self.findings.damage(layout.MARKER, str(error))

    def _check_configuration(self, key: str) -> None:
        """Check what shows without a key: that it is whole, where it belongs, and signed."""
        try:
            problem = configuration.check(self.storage, key)
        except UnsupportedVersionError as error:
            self.findings.note(key, str(error))
        else:
            if problem is not None:
                self.findings.damage(key, problem)

    def _check_chain(self, chain_id: bytes) -> ScrubbedChain | None:
        key = layout.header(chain_id)
        self.progress.reading(f"chain {chain_id.hex()[:12]}")
        try:
            chain = Chain(self.storage, chain_id)
        except NotFoundError:
            return None  # removed since it was listed
        except (IntegrityError, UnsupportedVersionError) as error:
            self.findings.damage(key, str(error), claimed_points(self.storage, chain_id))
            self.loose.check_all(chain_id)
            return None
        return ChainScrub(self, chain).run()

    def _check_headless(self, chain_id: bytes) -> None:
        """Judge objects of a chain that has no header.

        Envelopes are written before the header, and a removed chain's last entries go after it.
        Anything else is a chain that somebody took out of sight.
        """
        prefix = layout.chain(chain_id)
        if chain_id in self.unfinished:
            self.findings.note(prefix, "a re-encryption that is not finished")
            self.loose.check_all(chain_id)
            return
        points = claimed_points(self.storage, chain_id)
        if points or next(self.storage.list(layout.packs(chain_id)), None) is not None:
            self.findings.damage(
                layout.header(chain_id),
                "is missing, and objects of its chain are there (a copy or a re-encryption that is "
                "not finished, of which 'repository prune' tells; or a chain taken out of sight)",
                points,
            )
        else:
            self.findings.note(
                prefix, "what was left of a chain that was never begun, or was removed"
            )
        self.loose.check_all(chain_id)

    def _check_older(self) -> None:
        """Compare other chains of a job with what its newest entries say of them."""
        for said_by, points, ref in self.older:
            key = layout.header(ref.chain_id)
            try:
                found = self.repository.chain(ref.chain_id).hash_of(ref.number)
            except NotFoundError:
                self.findings.damage(
                    key, f"is missing, and {said_by} says that the chain is kept", points
                )
                continue
            except StrongroomError as error:
                if not any(ref.chain_id.hex() in damage.object for damage in self.findings.damaged):
                    self.findings.damage(key, str(error), points)
                continue
            if found != ref.entry_hash:
                self.findings.damage(
                    layout.entry(ref.chain_id, ref.number),
                    f"is missing or another than {said_by} says: an older state of the chain",
                    points,
                )
