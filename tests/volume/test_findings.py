"""The codes of findings, and the document that explains them (docs/findings.md)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from encfs.volume.findings import Code, Finding, Severity

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "findings.md"


def row(code: Code) -> str:
    """The line that the document has for a code."""
    return f"| `{code.value}` | {code.severity} | {code.meaning} | {code.loss} | {code.advice} |"


def test_the_document_has_every_code() -> None:
    """docs/findings.md has each code with severity, meaning, loss and advice as the code has them, and no other."""
    text = DOCUMENT.read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if re.match(r"\| `[a-z-]+` \| (info|warning|error) \|", line)]
    wanted = [row(code) for code in Code]
    missing = "\n".join(line for line in wanted if line not in rows)
    assert not missing, f"these rows are to be in docs/findings.md:\n{missing}"
    assert sorted(rows) == sorted(wanted)


def test_codes_are_words_for_scripts() -> None:
    """A code is lower-case words with dashes, is found by its text, and is its text in JSON (docs/findings.md)."""
    for code in Code:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code.value)
        assert Code.named(code.value) is code
        assert str(code) == code.value
        for text in (code.meaning, code.loss, code.advice):
            assert text
            assert "|" not in text
            assert not text.endswith(".")
    with pytest.raises(KeyError):
        Code.named("no-such-code")


def test_a_finding_has_the_severity_of_its_code() -> None:
    """The severity belongs to the code (docs/findings.md)."""
    assert Finding.of(Code.TEMPORARY, b"p", b"l", "d") == Finding(Severity.INFO, Code.TEMPORARY, b"p", b"l", "d")
    assert {str(severity) for severity in Severity} == {"info", "warning", "error"}
