"""Measure backup to a bucket and restore from it, beside restic: close by, and over a link.

buckets.py --data FOLDER --work FOLDER --out NAME [--corpora image,tree] [--repetitions 3]
           [--programs strongroom,restic] [--latency-ms 50] [--megabytes 100]

Both programs use one S3 server on loopback. First they speak to it directly, and are timed. Then
they do the same over a link (`link.py`), which adds a round trip and limits the bandwidth; it
counts requests, connections and bytes. The server and the link work on the same processors.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

import changes
import corpus
import measure
from bucket_server import BUCKET, ENVIRONMENT, PROGRAM, REGION, BucketServer, bucket_server, url
from link import Link, LinkSpeed
from measure import Reading, Results, Run
from peers import Peer, Restic
from strongroom_peer import Strongroom

WORKS = ("create", "full", "unchanged", "increment", "restore", "check")


class InBucket(Peer):
    """A program whose repository is in the bucket, reached by a port of loopback."""

    server: BucketServer
    port = 0

    def environment(self) -> dict[str, str]:
        return {**super().environment(), **ENVIRONMENT}

    def stored_bytes(self) -> int:
        return self.server.stored_bytes(f"{self.name}/")


class StrongroomInBucket(InBucket, Strongroom):
    @property
    def location(self) -> str:
        return f"s3://{BUCKET}/{self.name}?endpoint={url(self.port)}&region={REGION}"


class ResticInBucket(InBucket, Restic):
    @property
    def location(self) -> str:
        return f"s3:{url(self.port)}/{BUCKET}/{self.name}"


PROGRAMS: dict[str, type[InBucket]] = {
    kind.name: kind for kind in (StrongroomInBucket, ResticInBucket)
}


class LinkedRun(Run):
    """One program on its way through the works, and what it sends over the link."""

    def __init__(self, peer: Peer, source: Path, results: Results, link: Link) -> None:
        super().__init__(peer, source, results.log)
        self._link = link

    def do(self, work: str, expected: dict[str, str]) -> Reading | None:
        self._link.reset()
        reading = super().do(work, expected)
        if reading is not None:
            traffic = self._link.traffic()
            reading["traffic"] = asdict(traffic)
            reading["link"] = round(self._link.speed.own_seconds(traffic), 3)
        return reading


def measure_close(name: str, options: argparse.Namespace, results: Results) -> None:
    found = results.corpus(f"{name}, to a server close by", corpus.size_of(options.data / name))
    for repetition in range(options.repetitions):
        with bucket_server(options.work / "server") as server:
            runs = [
                Run(peer, options.data / name, results.log)
                for peer in _peers(options, f"close-{repetition}", server, server.port)
            ]
            measure.take_turns(runs, WORKS, options.data, name, found["programs"], results)


def measure_far(name: str, options: argparse.Namespace, results: Results) -> None:
    speed = LinkSpeed(options.latency_ms / 2000, options.megabytes * 1e6)
    title = f"{name}, over a link of {options.latency_ms} ms and {options.megabytes} MB/s"
    found = results.corpus(title, corpus.size_of(options.data / name))
    with bucket_server(options.work / "server") as server, Link(server.port, speed) as link:
        runs: list[Run] = [
            LinkedRun(peer, options.data / name, results, link)
            for peer in _peers(options, "far", server, link.port)
        ]
        measure.take_turns(runs, WORKS, options.data, name, found["programs"], results)


def _peers(
    options: argparse.Namespace, place: str, server: BucketServer, port: int
) -> list[InBucket]:
    peers = []
    for name in options.programs.split(","):
        kind = PROGRAMS[name]
        peer = kind(next(iter(kind.variants)), options.work / place / name)
        peer.server, peer.port = server, port
        if peer.installed():
            peers.append(peer)
    return peers


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="where the corpora are")
    parser.add_argument("--work", type=Path, required=True, help="where the server and clients go")
    parser.add_argument("--out", type=Path, required=True, help="results, without a suffix")
    parser.add_argument("--corpora", default="image,tree")
    parser.add_argument("--programs", default=",".join(PROGRAMS))
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--latency-ms", type=int, default=50, help="of a round trip")
    parser.add_argument("--megabytes", type=int, default=100, help="a second, each way")
    options = parser.parse_args()
    if shutil.which(PROGRAM) is None:
        sys.exit(f"{PROGRAM} is not installed: 'make develop' does it")
    options.data, options.work = options.data.resolve(), options.work.resolve()
    shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True)
    with (options.work / "output.log").open("wb") as log:
        results = Results(options.out, log)
        for name in options.programs.split(","):
            results.version(PROGRAMS[name](next(iter(PROGRAMS[name].variants)), options.work))
        for name in options.corpora.split(","):
            changes.revert(options.data, name)
            measure_close(name, options, results)
            measure_far(name, options, results)
            folders = [path for path in options.work.iterdir() if path.is_dir()]
            if name != options.corpora.split(",")[-1]:
                measure.remove(*folders)
    print(f"\n{options.out}.md")


if __name__ == "__main__":
    main()
