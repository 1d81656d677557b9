"""Files of anchors: what is appended, what is read back (FORMAT.md section 16, "Anchor")."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from encfs.audit.anchoring import append, read_back
from encfs.core.anchors import sign_anchor
from encfs.crypto.signing import Signer
from encfs.errors import UsageError

SIGNER = Signer.generate()
ONE, TWO = (sign_anchor(SIGNER, log_id=bytes(16), seq=seq, head=bytes(32), wall_ms=seq) for seq in (1, 2))


def test_lines_are_appended(tmp_path: Path) -> None:
    """One each, behind what was there; a line that was cut short is ended first."""
    file = tmp_path / "anchors"
    append(str(file), ONE)
    append(str(file), TWO)
    assert file.read_text() == f"{ONE.line()}\n{TWO.line()}\n"
    file.write_text("half a li")
    append(str(file), ONE)
    assert file.read_text() == f"half a li\n{ONE.line()}\n"


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_what_cannot_be_written_whole_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """A disk that is full in the middle of a line, or says so when it is synced: the file is as it was."""
    file = tmp_path / "anchors"
    append(str(file), ONE)
    before = file.read_bytes()
    write = os.write

    def full(fd: int, *data: Any) -> int:
        if call == "write" and len(data[0]) > 20:
            return write(fd, data[0][:20])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left"):
        append(str(file), TWO)
    monkeypatch.undo()
    assert file.read_bytes() == before


def test_an_anchor_that_stands_there_twice_counts_once(tmp_path: Path) -> None:
    """A syslog server may write a line to several places, and each message has it twice."""
    log = tmp_path / "log"
    log.write_text(f"a {ONE.element()} {ONE.element()}\nb\n\na {ONE.element()}\nc {TWO.element()}\n")
    kept = read_back(str(log))
    assert [(one.line, one.anchor) for one in kept.anchors] == [(1, ONE), (5, TWO)]


def test_endless_lines(tmp_path: Path) -> None:
    """They are read in pieces, and lines are counted as an editor does."""
    log = tmp_path / "log"
    log.write_bytes(b"x" * (3 << 20) + b"\n" + TWO.element().encode() + b"\n" + b"[cloakfs@32473 " * (1 << 17))
    kept = read_back(str(log))
    assert [(one.line, one.anchor) for one in kept.anchors] == [(2, TWO)]
    assert set(kept.damaged) == {3}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary() | st.text(alphabet='{}[]",: 0123\n', min_size=1).map(lambda text: f"{{{text}".encode()))
def test_any_file(tmp_path: Path, content: bytes) -> None:
    """Whatever is in it: no anchors, and no other error."""
    file = tmp_path / "any"
    file.write_bytes(content)
    with pytest.raises(UsageError, match="no anchor"):
        read_back(str(file))
