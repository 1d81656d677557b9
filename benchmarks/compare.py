"""What became slower from one result to another, beyond the noise.

    python -m benchmarks.compare OLD.json NEW.json [--json]

Takes two documents of the same program: peers, core or scale. Of peers the ratios against the bare directory, or
another filesystem measured in the same run, are compared, so that another machine's minute does not count; of the
others the figures as they are. A figure has changed when the ranges of its samples do not overlap, the medians are
further apart than half of either range is wide, and by at least 5 %.

Exit status: 0, nothing became slower; 1, something did; 2, they cannot be compared.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import report
from benchmarks.harness.comparing import CannotCompareError, Change, Comparison, compare

_SAME, _SLOWER, _NOT_COMPARED = 0, 1, 2


def load(path: Path) -> dict[str, Any]:
    """A document of a benchmark program.

    Raises:
        CannotCompareError: it cannot be read, or is none.
    """
    try:
        found = json.loads(path.read_bytes())
    except OSError as exc:
        raise CannotCompareError(f"{path.name} cannot be read: {exc.strerror}") from exc
    except ValueError as exc:
        raise CannotCompareError(f"{path.name} is damaged: {exc}") from exc
    if not isinstance(found, dict) or not {"benchmark", "schema", "settings", "results"} <= found.keys():
        raise CannotCompareError(f"{path.name} is not a result of a benchmark")
    return found


def as_json(comparison: Comparison) -> dict[str, Any]:
    """For scripts."""
    return {
        "compared": comparison.compared,
        "warnings": comparison.warnings,
        "slower": [change.as_json() for change in comparison.slower],
        "faster": [change.as_json() for change in comparison.faster],
        "within_noise": sum(not change.beyond_noise for change in comparison.changes),
        "only_old": comparison.only_old,
        "only_new": comparison.only_new,
    }


def show(comparison: Comparison) -> None:
    """For people."""
    for warning in comparison.warnings:
        print(f"warning: {warning}")
    print(f"compared: {comparison.compared}")
    _show_changes("slower", comparison.slower)
    _show_changes("faster", comparison.faster)
    for which, names in (("first", comparison.only_old), ("second", comparison.only_new)):
        if names:
            print(f"\nonly in the {which} result:\n" + "\n".join(f"  {name}" for name in names))
    same = sum(not change.beyond_noise for change in comparison.changes)
    print(f"\n{len(comparison.slower)} slower, {len(comparison.faster)} faster, {same} within the noise")


def _show_changes(word: str, changes: Sequence[Change]) -> None:
    if not changes:
        return
    print()
    rows = [
        (
            change.name,
            report.show(change.old.median),
            report.show(change.new.median),
            f"{change.times:.2f}",
            f"{report.show(change.old.low)}-{report.show(change.old.high)}",
            f"{report.show(change.new.low)}-{report.show(change.new.high)}",
            change.where,
        )
        for change in changes
    ]
    report.table((word, "old", "new", "times the cost", "range old", "range new", ""), rows)


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, metavar="OLD.json")
    parser.add_argument("new", type=Path, metavar="NEW.json")
    parser.add_argument("--json", action="store_true", help="for scripts")
    options = parser.parse_args()
    try:
        comparison = compare(load(options.old), load(options.new))
    except CannotCompareError as exc:
        print(f"cannot be compared: {exc}", file=sys.stderr)
        return _NOT_COMPARED
    if options.json:
        print(json.dumps(as_json(comparison), indent=1))
    else:
        show(comparison)
    return _SLOWER if comparison.slower else _SAME


if __name__ == "__main__":
    sys.exit(main())
