"""Make the golden repositories anew: `python -m tests.golden.generate`.

Each is a tiny repository of a released format, with everything needed to say what it holds. They
are made anew freely until the format is frozen, and never after.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
FIRST, SECOND = "a first Password of 2026", "a second Password of 2026"


def generate(target: Path) -> None:
    """Write `format-1` below `target`."""
    folder = target / "format-1"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        _fill(folder, Path(scratch))


def _fill(folder: Path, scratch: Path) -> None:
    environment = {
        **os.environ,
        "STRONGROOM_HOME": str(scratch / "home"),
        "STRONGROOM_KEY_FILE": str(scratch / "key"),
    }

    def run(*words: str) -> dict[str, object]:
        command = [sys.executable, "-m", "strongroom", *words, "--json"]
        answer = subprocess.run(
            command, env=environment, check=True, capture_output=True, text=True
        )
        result: dict[str, object] = json.loads(answer.stdout)
        return result

    for name, text in (("first", FIRST), ("second", SECOND)):
        (folder / f"{name}.password").write_text(text + "\n")
        (folder / f"{name}.password").chmod(0o600)
    tree = scratch / "tree"
    (tree / "folder").mkdir(parents=True)
    image = scratch / "disk.img"
    repository = folder / "repository"
    run("repository", "add", "golden", str(repository))
    run("password", "add", "golden", "--password-file", str(folder / "first.password"))
    kit = folder / "recovery.kit"
    run("recovery", "create", str(kit))
    sources = ["--source", f"files:{tree}", "--source", f"image:{image}"]
    run(
        "job", "create", "golden", "--repository", "golden", *sources,
        "--encrypt", "password:golden",
    )  # fmt: skip
    moments = []
    for step, secret in enumerate(("first", "first", "second", "plain")):
        (tree / "changing").write_text(f"moment {step}\n" * 50)
        (tree / "folder" / f"new-{step}").write_text("kept\n" * (step + 1))
        content = bytearray((image.read_bytes()) if image.exists() else bytes(1 << 20))
        content[step << 17 : (step << 17) + 5] = b"step%d" % step
        image.write_bytes(content)
        if secret == "second":
            run("password", "edit", "golden", "--password-file", str(folder / "second.password"))
        if secret == "plain":
            run("job", "edit", "golden", "--encrypt", "none", "--yes-weaken")
        session = run("job", "run", "golden")
        points = session["points"]
        assert isinstance(points, list)
        moments.append(
            {
                "tree": points[0],
                "image": points[1],
                "opens": secret,
                "files": {
                    str(path.relative_to(tree)): path.read_text()
                    for path in sorted(tree.rglob("*"))
                    if path.is_file()
                },
                "image_sha256": hashlib.sha256(image.read_bytes()).hexdigest(),
            }
        )
    shutil.rmtree(repository / "locks", ignore_errors=True)
    shutil.rmtree(repository / ".tmp", ignore_errors=True)
    (folder / "moments.json").write_text(json.dumps(moments, indent=1) + "\n")


if __name__ == "__main__":
    generate(HERE)
