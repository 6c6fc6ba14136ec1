"""Documents name tests as their proof: each of those tests is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_CITED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
_SENTENCE = re.compile(r"^\* \*\*(T\d+)\*\* ", re.MULTILINE)
_ROW = re.compile(r"^\| (T\d+) \| (.+) \|$", re.MULTILINE)


def cited_in(page: str) -> list[tuple[str, str]]:
    return _CITED.findall((ROOT / page).read_text())


def test_every_test_that_a_document_cites_is_there():
    cited = [*cited_in("docs/threat-model.md"), *cited_in("docs/architecture.md")]
    assert len(cited) > 30
    missing = [
        f"{file}::{name}"
        for file, name in cited
        if not (ROOT / file).exists() or f"def {name}(" not in (ROOT / file).read_text()
    ]
    assert not missing


def test_every_sentence_of_the_threat_model_has_its_row():
    text = (ROOT / "docs/threat-model.md").read_text()
    sentences = _SENTENCE.findall(text)
    assert sentences == [f"T{number}" for number in range(1, len(sentences) + 1)]
    assert [name for name, _ in _ROW.findall(text)] == sentences


def test_every_trace_of_the_architecture_is_run():
    named = {name for file, name in cited_in("docs/architecture.md") if "test_traces" in file}
    text = (ROOT / "tests/e2e/test_traces.py").read_text()
    assert named == set(re.findall(r"^def (test_\w+)\(", text, re.MULTILINE))
