"""An S3 server on loopback, with one empty bucket: SeaweedFS, of the development requirements."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = "weed"
BUCKET = "bench"
REGION = "us-east-1"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKBENCH",
    "AWS_SECRET_ACCESS_KEY": "only-the-bench",
    "AWS_REGION": REGION,
}
_PARTS = ("s3", "master", "volume", "filer")
_PATIENCE_SECONDS = 60


class BucketServer:
    def __init__(self, port: int) -> None:
        self.port = port

    @property
    def client(self) -> Any:  # noqa: ANN401 - boto3's
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=url(self.port),
            region_name=REGION,
            aws_access_key_id=ENVIRONMENT["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=ENVIRONMENT["AWS_SECRET_ACCESS_KEY"],
        )

    def stored_bytes(self, prefix: str) -> int:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return sum(one["Size"] for page in pages for one in page.get("Contents", ()))


def url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


@contextmanager
def bucket_server(folder: Path) -> Iterator[BucketServer]:
    """Run a server that keeps its data in a folder, which is made anew and removed afterwards."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    ports = _free_ports(2 * len(_PARTS))
    keys = {
        "accessKey": ENVIRONMENT["AWS_ACCESS_KEY_ID"],
        "secretKey": ENVIRONMENT["AWS_SECRET_ACCESS_KEY"],
    }
    identity = {
        "name": "bench",
        "credentials": [keys],
        "actions": ["Admin", "Read", "List", "Write"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    command = [
        PROGRAM, "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        "-filer", "-s3", f"-s3.config={folder / 's3.json'}", "-s3.port.iceberg=0",
        "-s3.port.lance=0", "-master.telemetry=false", "-master.volumeSizeLimitMB=1024",
        "-volume.max=100",
        *(f"-{part}.port={port}" for part, port in zip(_PARTS, ports[::2], strict=True)),
        *(f"-{part}.port.grpc={port}" for part, port in zip(_PARTS, ports[1::2], strict=True)),
    ]  # fmt: skip
    server = BucketServer(ports[0])
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        _wait_for_bucket(server, process, folder / "server.log")
        yield server
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for_bucket(server: BucketServer, process: subprocess.Popen[bytes], log: Path) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    client, deadline = server.client, time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            if BUCKET not in [one["Name"] for one in client.list_buckets()["Buckets"]]:
                client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"")
        except (BotoCoreError, ClientError):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the S3 server did not start: {log.read_text()}") from None
            time.sleep(0.1)
        else:
            return


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
