"""A result of ``benchmarks.peers`` as plots: how many times as fast cloakfs is, by subject.

Owns: which workloads are in which plot. Must not know: how anything was measured, how a bar is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness.filesystems import BARE
from encfs.bench import charts

_PLOTS = (
    ("bulk", "Large files", ("large", "append")),
    ("random", "Random access and databases", ("random", "database")),
    ("files", "Files and directories", ("tree", "many", "documents", "renames", "programs", "mount")),
)
"""Of each plot: what its file ends in, its title, its groups."""


def plot(result: dict[str, Any], names: Sequence[str], stem: Path) -> Iterator[Path]:
    """Write plots of the ratios of one backing store; their names start with ``stem``.

    The bare directory is in none of them: beside it, everything else would look the same.

    Raises:
        CloakfsError: nothing is installed to plot with.
    """
    for suffix, title, groups in _PLOTS:
        entries = [entry for entry in result["steps"] if entry["group"] in groups and entry["ratio"]]
        others = [name for name in names if any(name in entry["ratio"] for entry in entries) and name != BARE]
        if not others:
            continue
        target = stem.with_name(f"{stem.name}-{result['store']}-{suffix}.svg")
        charts.bars(
            target,
            title=f"{title}: how many times as fast cloakfs is",
            rows=[entry["title"] for entry in entries],
            series={name: [entry["ratio"].get(name) for entry in entries] for name in others},
            unit="times as fast",
            log=True,
            reference=1.0,
            subtitle=f"{result['filesystem']} below; right of 1, cloakfs is faster",
        )
        yield target
