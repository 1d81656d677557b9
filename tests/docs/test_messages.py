"""The pages say what is so: every exit code, messages that cloakfs gives, figures that were measured."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from encfs.errors import ExitCode

TOP = Path(__file__).resolve().parents[2]
PAGE = (TOP / "docs/troubleshooting.md").read_text(encoding="utf-8")
OURS, _, OTHERS = PAGE.partition("## Messages of other programs")


def shape(node: ast.AST) -> str | None:
    """A text in the source as a page writes it: three dots for what is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(shape(part) or "..." for part in node.values)
    return None


def texts_of_the_source() -> list[str]:
    """Every text in encfs/, with dots for what is filled in."""
    found = set()
    for path in (TOP / "encfs").rglob("*.py"):
        found |= {text for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if (text := shape(node))}
    return sorted(found)


def quoted(text: str) -> list[str]:
    """What stands in quotes at the beginning of a point or of a paragraph's list of messages."""
    lines = [line for line in text.splitlines() if re.match(r'(?:- )?"', line)]
    return [message for line in lines for message in re.findall(r'"([^"]+)"(?=[,:])', line)]


def test_every_exit_code_has_its_place():
    """Number and name of each, in their order, and no other."""
    headings = re.findall(r"^## (\d+) ([A-Z_]+)$", OURS, re.MULTILINE)
    assert [(int(number), name) for number, name in headings] == [(code.value, code.name) for code in ExitCode]


def test_every_message_is_one_of_cloakfs():
    """Each quoted message is found in the source, word by word between its dots."""
    source = [re.sub(r"(\.\.\.)+", "...", text) for text in texts_of_the_source()]
    missing = []
    for message in quoted(OURS):
        words = [re.escape(part.strip(" ()")) for part in message.split("...") if part.strip(" ()")]
        if not any(re.search(".*".join(words), text, re.DOTALL) for text in source):
            missing.append(message)
    assert len(quoted(OURS)) > 50
    assert missing == []


def test_a_message_that_nobody_gives_would_be_missed():
    """The comparison above is one: a made-up message is not in the source."""
    source = texts_of_the_source()
    assert "the passphrase is empty" in source
    assert not any("the moon is in the way" in text for text in source)


def test_the_comparison_has_the_figures_that_were_measured():
    """Each row of its table of speed is a row of benchmarks/results/peers.md, with the fastest in bold."""
    page = (TOP / "docs/comparison.md").read_text(encoding="utf-8").partition("## Speed")[2]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| ")
    ][1:]
    results = (
        (TOP / "benchmarks/results/peers.md")
        .read_text(encoding="utf-8")
        .partition("## memory (tmpfs): figures")[2]
        .partition("\n## ")[0]
    )
    measured = {}
    for line in results.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 10:
            measured[f"{cells[0]}, {cells[1]}"] = [cells[2], *cells[5:9]]
    assert len(rows) == 10
    for name, *figures in rows:
        plain = [figure.strip("*") for figure in figures]
        assert plain == measured[name], name
        numbers = [float(figure.replace(",", "")) for figure in plain]
        assert [figure.startswith("**") for figure in figures] == [number == max(numbers) for number in numbers], name
