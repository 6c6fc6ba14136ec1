from __future__ import annotations

import subprocess
import sys

PROGRAM = """
from pathlib import Path
from strongroom.control.process import harden, is_hardened
assert harden() and is_hardened()
limits = Path("/proc/self/limits").read_text()
core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
assert core.split()[4] == "0", core
"""


def test_a_hardened_process_writes_no_core_and_cannot_be_looked_into() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)
