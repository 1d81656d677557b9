"""Records of the audit log for other programs: CEF held against its own rules, CSV, JSON lines (docs/audit.md)."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encfs import __version__
from encfs.cli import output
from encfs.cli.audit_forms import COLUMNS, LINES, table

ROW: dict[str, Any] = {
    "seq": 17,
    "time": 1_800_000_000.123,
    "clock": "synchronised",
    "action": "key.rename",
    "outcome": "done",
    "uid": 1000,
    "slot": "0011223344556677",
    "volume_id": "ab" * 16,
    "object": "8899aabbccddeeff",
    "detail": {"label": "Anna"},
}
NASTY = "a|b\\c=d\ne\rf\r\ng \\n"
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def parse_cef(line: str) -> tuple[list[str], dict[str, str]]:
    """A reader by the rules of the format: seven fields between pipes, then names and values."""
    assert line.startswith("CEF:0|")
    fields, at, current = [], len("CEF:0|"), ""
    while len(fields) < 6:
        character = line[at]
        if character == "\\":
            assert line[at + 1] in "\\|"
            current += line[at + 1]
            at += 1
        elif character == "|":
            fields.append(current)
            current = ""
        else:
            current += character
        at += 1
    return fields, parse_extension(line[at:])


def parse_extension(rest: str) -> dict[str, str]:
    """A value goes to the space before the next name; a name is before an equals sign that is not escaped."""
    starts = list(re.finditer(r"(?:^| )(\w+)(?<!\\)=", rest))
    found = {}
    for one, following in zip(starts, [*starts[1:], None], strict=True):
        raw = rest[one.end() : len(rest) if following is None else following.start()]
        found[one[1]] = re.sub(r"\\([\\=nr])", lambda m: {"n": "\n", "r": "\r"}.get(m[1], m[1]), raw)
    return found


def cef(**changed: Any) -> str:
    """The one line of a record."""
    (line,) = LINES["cef"]([{**ROW, **changed}])
    return line


def test_a_cef_event() -> None:
    """Version, vendor, product and version of it, what it is, its name, how grave; then everything of the record."""
    line = cef()
    assert line == (
        f"CEF:0|cloakfs|cloakfs|{__version__}|key.rename|key.rename done|3|rt=1800000000123 externalId=17"
        f" act=key.rename outcome=done suid=1000 cs1={'ab' * 16} cs1Label=volume cs2=0011223344556677 cs2Label=slot"
        ' cs3=8899aabbccddeeff cs3Label=object cs4=synchronised cs4Label=clock msg={"label": "Anna"}'
    )
    header, extension = parse_cef(line)
    assert header[3:] == ["key.rename", "key.rename done", "3"]
    assert json.loads(extension["msg"]) == ROW["detail"]


@pytest.mark.parametrize(
    ("action", "outcome", "severity"),
    [
        ("volume.unlock", "done", 3),
        ("key.add", "begun", 3),
        ("volume.unlock", "refused", 6),
        ("volume.verify", "failed", 7),
        ("volume.integrity", "failed", 9),
    ],
)
def test_how_grave_a_cef_event_is(action: str, outcome: str, severity: int) -> None:
    """From 0 to 10: what was refused, what failed, damaged data."""
    assert parse_cef(cef(action=action, outcome=outcome))[0][5] == str(severity)


def test_what_is_missing_has_no_field() -> None:
    """No volume, slot, object or detail: no field, and no label of one."""
    _, extension = parse_cef(cef(volume_id=None, slot=None, object=None, detail={}))
    assert set(extension) == {"rt", "externalId", "act", "outcome", "suid", "cs4", "cs4Label"}


def test_cef_escapes_in_the_header() -> None:
    """A pipe and a backslash have a backslash before them; a line never ends there; an equals sign stays."""
    header = cef(action=NASTY, outcome="done").partition("|rt=")[0]
    assert r"|a\|b\\c=d e f g \\n|" in header
    assert len(re.findall(r"(?<!\\)\|", header)) == 6


def test_cef_escapes_in_the_extension() -> None:
    """A backslash, an equals sign and ends of lines; a pipe stays."""
    line = cef(object=NASTY)
    assert r"cs3=a|b\\c\=d\ne\rf\r\ng \\n cs3Label" in line
    assert parse_cef(line)[1]["cs3"] == NASTY


@given(action=text.filter(bool), value=text, detail=st.dictionaries(text, text | st.integers(), max_size=3))
def test_any_text_comes_back_from_cef(action: str, value: str, detail: dict[str, Any]) -> None:
    """In one line, whatever the texts are, and no field is made up by one."""
    line = cef(action=action, object=value, detail=detail)
    assert "\n" not in line
    assert "\r" not in line
    header, extension = parse_cef(line)
    assert header[3].split() == action.split()
    assert extension["cs3"] == value
    assert set(extension) <= {"rt", "externalId", "act", "outcome", "suid", "msg"} | {
        f"cs{number}{end}" for number in range(1, 5) for end in ("", "Label")
    }
    assert json.loads(extension.get("msg", "{}")) == detail


def test_csv_and_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """A table with its names, in which nothing is a formula; an object a line."""
    row = {**ROW, "object": "=1+1", "detail": {"label": 'a "b", c'}}
    output.print_csv(COLUMNS, table([row]))
    (read,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (read["object"], read["seq"], json.loads(read["detail"])) == ("'=1+1", "17", row["detail"])
    assert [json.loads(line) for line in LINES["jsonl"]([row])] == [row]
