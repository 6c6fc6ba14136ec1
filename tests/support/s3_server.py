"""An S3 server that keeps its word: SeaweedFS."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from strongroom.crypto import random
from strongroom.storage import aws
from strongroom.storage.bucket import BucketStorage
from strongroom.storage.bucket_place import BucketPlace, parse
from strongroom.storage.credential import Credential
from tests.support.server_process import free_ports, is_listening, running

BUCKET = "backups"
ACCESS_KEY = "AKTEST"
SECRET_KEY = "s3-secret-of-the-tests"
CREDENTIAL = Credential(ACCESS_KEY, SECRET_KEY)
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
_PORTS = 9


@dataclass
class S3Server:
    """A server with one bucket, in which every test takes a prefix of its own."""

    port: int
    folder: Path
    process: Popen[bytes] = field(repr=False, init=False)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def location(self, prefix: str | None = None, *, endpoint: str | None = None) -> str:
        """Return where nothing is yet."""
        prefix = prefix or f"test-{random.token(6).hex()}"
        return f"s3://{BUCKET}/{prefix}?endpoint={endpoint or self.endpoint}&region=us-east-1"

    def place(self, prefix: str | None = None) -> BucketPlace:
        return parse(self.location(prefix))

    def storage(self, prefix: str | None = None) -> BucketStorage:
        return BucketStorage.at(self.place(prefix), CREDENTIAL)

    def client(self) -> Any:
        return aws.s3_client(self.place(), CREDENTIAL)


def command(port: int, folder: Path) -> list[str]:
    """Return what starts a server whose first port this is, in a folder that keeps its data."""
    ports = iter(range(port + 1, port + _PORTS))
    names = ["master", "volume", "filer"]
    given = [f"-{name}.port{kind}={next(ports)}" for name in names for kind in ("", ".grpc")]
    return [
        str(Path(sys.executable).with_name("weed")),
        "server",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-filer",
        "-s3",
        f"-s3.port={port}",
        f"-s3.port.grpc={next(ports)}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        *given,
        f"-s3.config={folder / 's3.json'}",
        "-master.telemetry=false",
        # Begun again it would wait ten seconds for other masters.
        "-master.resumeState=false",
        "-master.volumeSizeLimitMB=64",
        "-volume.max=60",
    ]


@contextmanager
def s3_server(folder: Path, port: int | None = None) -> Iterator[S3Server]:
    """Run a server; one that ran in the folder before goes on with what it held."""
    port = port or free_ports(_PORTS)
    actions = ["Admin", "Read", "List", "Tagging", "Write"]
    keys = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
    identity = {"name": "tests", "credentials": keys, "actions": actions}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))

    server = S3Server(port, folder)

    def ready() -> bool:
        if not is_listening(port):
            return False
        client = server.client()
        try:
            if BUCKET not in [one["Name"] for one in client.list_buckets()["Buckets"]]:
                client.create_bucket(Bucket=BUCKET)
            # Nothing in it would be kept where names are; what has bytes needs all of the server.
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"ready")
        except (BotoCoreError, ClientError):
            return False
        return True

    with running(command(port, folder), folder, ready) as server.process:
        try:
            yield server
        finally:
            server.process.kill()  # it would take its time over ending well
