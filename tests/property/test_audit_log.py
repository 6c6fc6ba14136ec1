"""No byte of an audit log can be changed unseen."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.control.audit_log import AuditLog
from strongroom.errors import AuditAlteredError
from strongroom.keystore import Keystore, KeystoreKey


@cache
def written() -> tuple[tempfile.TemporaryDirectory[str], AuditLog, Path, bytes]:
    folder = tempfile.TemporaryDirectory()
    home = Path(folder.name)
    log = AuditLog(home, Keystore(home / "keystore", KeystoreKey(bytes(32))))
    for number in range(4):
        log.append({"event": "something.happened", "fields": {"text": "é\n", "number": number}})
    file = home / "audit.log"
    return folder, log, file, file.read_bytes()


@given(st.data())
def test_any_byte_that_is_changed_is_noticed(data) -> None:
    _, log, file, right = written()
    place = data.draw(st.integers(0, len(right) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda value: value != right[place]))
    file.write_bytes(right[:place] + bytes([value]) + right[place + 1 :])
    with pytest.raises(AuditAlteredError):
        log.verify()


@given(st.data())
def test_any_run_of_bytes_that_is_taken_out_is_noticed(data) -> None:
    _, log, file, right = written()
    begin = data.draw(st.integers(0, len(right) - 1))
    end = data.draw(st.integers(begin + 1, len(right)))
    file.write_bytes(right[:begin] + right[end:])
    with pytest.raises(AuditAlteredError):
        log.verify()
