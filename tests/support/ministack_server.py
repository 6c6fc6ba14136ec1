"""AWS KMS, as ministack plays it, with policies and signatures checked."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

import boto3

from strongroom.crypto import random
from strongroom.crypto.keys import SecretBytes
from strongroom.kms.aws import AwsKms, alias
from strongroom.kms.base import Credentials, Surroundings
from strongroom.kms.location import parse
from tests.support.server_process import answers, free_ports, running

REGION = "eu-central-1"


class Ministack:
    def __init__(self, url: str, process: Popen[bytes], kept: Path) -> None:
        self.url = url
        self.address = f"aws://{REGION}?endpoint={url}"
        self.process = process
        self.kept = kept
        """What it holds, keys and all, once it has stopped."""

    def client(self, service: str) -> Any:
        """Return a client of the account's owner, who may do everything."""
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def user(self, policy: dict[str, Any] | None) -> Credentials:
        """Return the credentials of a fresh user."""
        iam = self.client("iam")
        name = f"user-{random.token(4).hex()}"
        iam.create_user(UserName=name)
        if policy is not None:
            iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(policy))
        made = iam.create_access_key(UserName=name)["AccessKey"]
        secret = SecretBytes(made["SecretAccessKey"].encode())
        return Credentials(account=made["AccessKeyId"], secret=secret)

    def kms(self, credentials: Credentials) -> AwsKms:
        return AwsKms(parse(self.address), Surroundings(credentials))


class AwsAdministrator:
    def __init__(self, client: Any) -> None:
        self.client = client

    def rotate(self, name: str) -> None:
        made = self.client.create_key(KeySpec="RSA_3072", KeyUsage="ENCRYPT_DECRYPT")
        self.client.update_alias(AliasName=alias(name), TargetKeyId=made["KeyMetadata"]["KeyId"])

    def disable(self, key: str) -> None:
        self.client.disable_key(KeyId=key)

    def enable(self, key: str) -> None:
        self.client.enable_key(KeyId=key)

    def destroy(self, key: str) -> None:
        self.client.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)


@contextmanager
def ministack(folder: Path) -> Iterator[Ministack]:
    port = free_ports()
    url = f"http://127.0.0.1:{port}"
    environment = {
        "AUTH": "true",
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "MINISTACK_HOST": "127.0.0.1",
        "PERSIST_STATE": "1",
        "SERVICES": "kms,iam,sts",
        "STATE_DIR": str(folder / "kept"),
    }
    command = [str(Path(sys.executable).with_name("ministack"))]
    ready = f"{url}/_ministack/health"
    with running(command, folder, lambda: answers(ready), environment) as process:
        yield Ministack(url, process, folder / "kept")
