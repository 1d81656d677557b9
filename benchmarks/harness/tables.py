"""A result of ``benchmarks.peers`` for people: tables on the terminal and in Markdown.

Owns: what is shown of a result and how. Must not know: how it was measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.harness import report
from benchmarks.harness.filesystems import BARE, OURS
from benchmarks.harness.targets import Verdict

_NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Table:
    """``head`` and ``rows`` have the same number of columns; the first is text."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """As GitHub shows it."""
        ruler = [":--", *("--:" for _ in self.head[1:])]
        lines = (f"| {' | '.join(row)} |" for row in (self.head, ruler, *self.rows))
        return f"## {self.title}\n\n" + "\n".join(lines) + "\n"

    def print(self) -> None:
        """On the terminal."""
        print(f"\n{self.title}\n")
        report.table(self.head, self.rows)


def tables_of(result: dict[str, Any], names: Sequence[str]) -> Iterator[Table]:
    """The tables of one backing store; ``names`` of the peers in the order of the columns."""
    where = f"{result['store']} ({result['filesystem']})"
    others = [name for name in names if name != OURS]
    if result["steps"]:
        head = ("", "unit", *names, "others")
        yield Table(f"{where}: figures", head, [_figures(entry, names) for entry in result["steps"]])
        head = ("", *(f"against {name}" for name in others), "best")
        title = f"{where}: times as fast as the peer, with the range of single repetitions"
        yield Table(title, head, [_ratios(entry, others) for entry in result["steps"]])
    served = [name for name in names if name != BARE]
    if any(result["peak_megabytes"].values()):
        rows = [
            (group, *(_or_nothing(peaks.get(name)) for name in served))
            for group, peaks in result["peak_megabytes"].items()
        ]
        yield Table(f"{where}: most memory of the daemon, MB", ("group", *served), rows)
    if "idle" in result:
        idle = result["idle"]
        row = (f"{idle['seconds']:g} s", *(_milliseconds(idle["cpu_seconds"].get(name)) for name in served))
        yield Table(f"{where}: CPU time of the idle daemon, ms", ("in", *served), [row])


def _figures(entry: dict[str, Any], names: Sequence[str]) -> tuple[str, ...]:
    figures = entry.get("rate") or {peer: spread["median"] for peer, spread in entry["seconds"].items()}
    refused = {peer: f"refused: {why}" for peer, why in entry.get("refused", {}).items()}
    columns = (refused.get(name) or _or_nothing(figures.get(name)) for name in names)
    return (entry["title"], entry.get("rate_unit", "s"), *columns, f"{entry['others_share']:.0%}")


def _ratios(entry: dict[str, Any], others: Sequence[str]) -> tuple[str, ...]:
    return (entry["title"], *(_ratio(entry, name) for name in others), entry["best"] or _NOTHING)


def _ratio(entry: dict[str, Any], name: str) -> str:
    if name not in entry["ratio"]:
        return _NOTHING
    low, high = entry["ratio_range"][name]
    return f"{entry['ratio'][name]:.2f} ({low:.2f}-{high:.2f})"


def _or_nothing(value: float | None) -> str:
    return _NOTHING if value is None else report.show(value)


def _milliseconds(seconds: float | None) -> str:
    return _NOTHING if seconds is None else f"{seconds * 1e3:.1f}"


def table_of_targets(verdicts: Sequence[Verdict]) -> Table:
    """Row by row, whether each target is met."""
    rows = [
        (
            verdict.row,
            verdict.against or _NOTHING,
            f"{'below' if not verdict.against else 'at least'} {verdict.wanted:g}",
            _NOTHING if verdict.found is None else f"{verdict.found:.2f}",
            verdict.worst or _NOTHING,
            {True: "met", False: "NOT MET", None: "not measured"}[verdict.met],
        )
        for verdict in verdicts
    ]
    return Table("Targets", ("", "against", "wanted", "found", "worst workload", ""), rows)


def page(document: dict[str, Any], tables: Sequence[Table]) -> str:
    """The whole result in Markdown, with the machine and the versions."""
    machine, versions = document["machine"], document["versions"]
    about = (
        f"{document['date']}, {machine['cores']} cores of {machine['processor']}, {machine['memory_gib']} GiB, "
        f"Linux {machine['kernel']}, {machine['system']}. "
        f"cloakfs {versions['cloakfs']} ({versions.get('commit', 'no commit')}), Python {versions['python']}, "
        f"cryptography {versions['cryptography']}, pyfuse3 {versions['pyfuse3']}."
    )
    peers = "\n".join(
        f"- {name}: {', '.join(part for part in (peer['version'], peer['settings']) if part)}"
        for name, peer in document["peers"].items()
    )
    head = f"# {document['benchmark']}\n\n{about}\n\n{peers}\n"
    return "\n".join([head, *(table.markdown() for table in tables)])
