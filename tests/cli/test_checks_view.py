"""Traffic lights as people and scripts see them (docs/json.md)."""

from __future__ import annotations

import pytest

from encfs.checks import Checked, Light, worst
from encfs.cli import checks_view

CHECKS = [
    Checked(code="fuse", title="FUSE", light=Light.GREEN, found="/dev/fuse is there", remedy="not shown"),
    Checked(code="swap", title="swap space", light=Light.RED, found="/dev/sda2 is plain", remedy="encrypt it"),
    Checked(code="clock", title="clock", light=Light.AMBER, found="nobody sets it\x1b[2J"),
]


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """One line each, a remedy where something is to be done, the sum; no colour and no control sequence in a pipe."""
    checks_view.show(CHECKS)
    assert capsys.readouterr().out.splitlines() == [
        "  ok    FUSE        /dev/fuse is there",
        "  BAD   swap space  /dev/sda2 is plain",
        "                    -> encrypt it",
        "  look  clock       nobody sets it\\x1b[2J",
        "RED: 1 in order, 1 worth a look, 1 bad",
    ]


def test_json() -> None:
    """The worst light, and every check with all its fields."""
    value = checks_view.as_json(CHECKS)
    assert value["light"] == "red"
    assert value["checks"][1] == {
        "code": "swap",
        "light": "red",
        "title": "swap space",
        "found": "/dev/sda2 is plain",
        "remedy": "encrypt it",
    }


def test_nothing_looked_at_is_green() -> None:
    """No check, no alarm."""
    assert worst([]) is Light.GREEN
