"""Can we restore what we once wrote?"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FORMATS = sorted(path.name for path in HERE.glob("format-*"))


def restore(folder: Path, point: str, target: Path, secret: Path | None) -> None:
    flags = [] if secret is None else ["--password-file", str(secret)]
    if secret is not None and secret.name == "recovery.kit":
        flags = ["--recovery-key", str(secret)]
    outside = {"STRONGROOM_HOME": str(target / "none"), "STRONGROOM_KEY_FILE": str(target / "key")}
    subprocess.run(
        [sys.executable, "-m", "strongroom", "restore", point, "--strip", "--to", str(target),
         "--repository", str(folder / "repository"), *flags],
        env={**os.environ, **outside},
        check=True,
        capture_output=True,
    )  # fmt: skip


def test_there_is_a_repository_of_every_format() -> None:
    assert FORMATS == ["format-1"]


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("secret", ["second.password", "recovery.kit"])
def test_every_point_of_a_released_format_restores(
    format_name: str, secret: str, tmp_path: Path
) -> None:
    folder = HERE / format_name
    # A checkout does not keep a secret file's mode, and an open one is warned about.
    held = tmp_path / secret
    held.write_bytes((folder / secret).read_bytes())
    held.chmod(0o600)
    for number, moment in enumerate(json.loads((folder / "moments.json").read_text())):
        key = None if moment["opens"] == "plain" else held
        tree = tmp_path / f"tree-{number}"
        restore(folder, moment["tree"], tree, key)
        files = {
            str(path.relative_to(tree)): path.read_text()
            for path in tree.rglob("*")
            if path.is_file()
        }
        assert files == moment["files"]
        image = tmp_path / f"image-{number}"
        restore(folder, moment["image"], image, key)
        assert hashlib.sha256(image.read_bytes()).hexdigest() == moment["image_sha256"]
