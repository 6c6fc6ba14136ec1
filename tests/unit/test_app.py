from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import sys
from pathlib import Path
from strongroom import app, logs
from strongroom.control.process import is_hardened
with app.build(home=Path(sys.argv[1]), environment={"STRONGROOM_LOG": "debug"}) as ctx:
    assert is_hardened()
    logs.debug("a.detail", number=1)
    assert not ctx.has_catalog
assert "sqlite3" not in sys.modules and "sqlalchemy" not in sys.modules
assert "cryptography" not in sys.modules, "a command that needs no key loads no cryptography"
"""


def run(home: Path) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM, str(home)], check=True)


def test_a_command_hardens_its_process_and_makes_no_home(tmp_path: Path) -> None:
    run(tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_where_there_is_a_home_records_go_to_its_log(tmp_path: Path) -> None:
    run(tmp_path)
    (line,) = (tmp_path / "strongroom.log").read_text().splitlines()
    assert json.loads(line)["event"] == "a.detail"
    assert (tmp_path / "strongroom.log").stat().st_mode & 0o077 == 0


def test_how_things_stand_is_told_without_loading_cryptography(tmp_path: Path) -> None:
    program = (
        "import sys, strongroom.control.status; "
        "assert 'cryptography' not in sys.modules and 'zstandard' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)
