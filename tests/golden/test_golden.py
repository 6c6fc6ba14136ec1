"""Can we restore what we once wrote?"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
FROZEN = {"format-1": "8d31e700011e92592d49eb9079997697020ad80b5c1fa0d60da3e0432ec08902"}
"""What `digest_of` says of each; a new format is a new line, and no line ever changes."""
FORMATS = sorted(path.name for path in HERE.glob("format-*"))


def restore(
    repository: Path, point: str, target: Path, secret: Path | None
) -> subprocess.CompletedProcess[str]:
    flags = [] if secret is None else ["--password-file", str(secret)]
    if secret is not None and secret.name == "recovery.kit":
        flags = ["--recovery-key", str(secret)]
    outside = {"STRONGROOM_HOME": str(target / "none"), "STRONGROOM_KEY_FILE": str(target / "key")}
    return subprocess.run(
        [sys.executable, "-m", "strongroom", "restore", point, "--strip", "--to", str(target),
         "--repository", str(repository), *flags],
        env={**os.environ, **outside},
        check=False,
        capture_output=True,
        text=True,
    )  # fmt: skip


def files_of(tree: Path) -> dict[str, str]:
    return {
        str(path.relative_to(tree)): path.read_text() for path in tree.rglob("*") if path.is_file()
    }


def moments(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "moments.json").read_text())
    return found


def held(folder: Path, secret: str, scratch: Path) -> Path:
    """Return a secret file readable by its owner only, which a checkout does not make it."""
    path = scratch / secret
    path.write_bytes((folder / secret).read_bytes())
    path.chmod(0o600)
    return path


@pytest.fixture(params=FORMATS)
def folder(request: pytest.FixtureRequest) -> Path:
    return HERE / str(request.param)


def digest_of(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = (
        f"{path.relative_to(folder)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n"
        for path in files
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def test_what_was_once_written_is_what_is_read_here() -> None:
    assert {name: digest_of(HERE / name) for name in FORMATS} == FROZEN


@pytest.mark.parametrize("secret", ["second.password", "recovery.kit"])
def test_every_point_of_a_released_format_restores(
    folder: Path, secret: str, tmp_path: Path
) -> None:
    """Sealed and plain ones, across a change of password, moved into a thinned pack and by a
    synthetic full."""
    key = held(folder, secret, tmp_path)
    for number, moment in enumerate(moments(folder)):
        opens = None if moment["opens"] == "plain" else key
        tree, image = tmp_path / f"tree-{number}", tmp_path / f"image-{number}"
        for point, target in ((moment["tree"], tree), (moment["image"], image)):
            done = restore(folder / "repository", point, target, opens)
            assert done.returncode == 0, done.stderr
        assert files_of(tree) == moment["files"]
        assert hashlib.sha256(image.read_bytes()).hexdigest() == moment["image_sha256"]


def test_what_was_moved_is_among_what_is_frozen(folder: Path) -> None:
    packs = [path.name for path in folder.glob("repository/chains/*/packs/*/*")]
    assert any("-" in name for name in packs), "a thinned pack"
    assert len([*folder.glob("repository/headers/*")]) == 3, (
        "an origin, a derived chain, a plain one"
    )


def test_a_copy_under_a_key_of_its_own_opens_with_that_alone(folder: Path, tmp_path: Path) -> None:
    for number, moment in enumerate(moments(folder)):
        if moment["opens"] == "plain":
            continue
        tree = tmp_path / f"tree-{number}"
        refused = restore(
            folder / "copies", moment["tree"], tree, held(folder, "second.password", tmp_path)
        )
        assert refused.returncode == 12, refused.stderr
        assert not tree.exists()
        done = restore(
            folder / "copies", moment["tree"], tree, held(folder, "copy.password", tmp_path)
        )
        assert done.returncode == 0, done.stderr
        assert files_of(tree) == moment["files"]


def test_a_point_exported_into_one_file_restores(folder: Path, tmp_path: Path) -> None:
    (moment,) = (one for one in moments(folder) if one["opens"] == "second")
    key = held(folder, "second.password", tmp_path)
    done = restore(folder / "exported.zip", moment["tree"], tmp_path / "tree", key)
    assert done.returncode == 0, done.stderr
    assert files_of(tmp_path / "tree") == moment["files"]
