"""A program `strongroom` for shells whose lines run in forks of one process.

A page of the documents has dozens of lines, and half of what a line takes is the start of Python
and the calibration of keys. What the shell starts is a small client: it hands its words, its
variables, its folder and its three files to the server, and ends as the fork does.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support import forked_line

_CLIENT: Final = """\
#!{python} -ISB
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
asked = json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]).encode()
socket.send_fds(server, [len(asked).to_bytes(4, "big")], [0, 1, 2])
server.sendall(asked)
sys.exit(int(server.recv(8) or b"99"))
"""


@contextmanager
def fork_server(folder: Path, program: Path) -> Iterator[None]:
    """Write the program, and serve those who start it.

    Args:
        folder: Where the server's socket is; its path has to be short.
        program: The file that shells start.
    """
    address = str(folder / "forks")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        server, _ = forked_line.fork(lambda: _serve(listening))
    program.write_text(_CLIENT.format(python=sys.executable, address=address))
    program.chmod(0o755)
    try:
        yield
    finally:
        os.kill(server, signal.SIGTERM)
        forked_line.ended(server)


def _serve(listening: socket.socket) -> int:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that answer
    while True:
        asking, _ = listening.accept()
        with asking:
            forked_line.fork(lambda asking=asking: _answer(asking))


def _answer(asking: socket.socket) -> int:
    """Run one line in a fork of this fork, which may have children of its own, and tell its end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, files, _, _ = socket.recv_fds(asking, 4, 3)
    with asking.makefile("rb") as stream:
        line, environment, folder = json.loads(stream.read(int.from_bytes(length, "big")))

    def run() -> int:
        os.chdir(folder)
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        return forked_line.run_line(line, environment)

    child, _ = forked_line.fork(run)
    for file in files:
        os.close(file)
    asking.sendall(b"%d" % forked_line.ended(child))
    return 0
