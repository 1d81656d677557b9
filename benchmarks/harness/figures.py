"""From samples to the figures of the JSON document: medians, spread, ratios, memory.

Owns: which repetitions count, what a ratio is. Must not know: how samples are taken or shown.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.harness.clock import Spread, significant
from benchmarks.harness.course import Course, Samples
from benchmarks.harness.filesystems import ENCRYPTED, OURS
from benchmarks.harness.quiet import quietest
from benchmarks.harness.workloads.steps import Amounts, Step

Entry = dict[str, Any]


def of_steps(course: Course, steps: Sequence[Step], amounts: Amounts) -> list[Entry]:
    """The figures of all steps of one backing store."""
    found = []
    for step in steps:
        entry = of_samples(course.samples[step.name], group=step.group, what=step.name, title=step.title)
        if step.unit != "s":
            entry["rate_unit"] = step.unit
            entry["rate"] = {
                peer: significant(step.amount(amounts) / spread["median"]) for peer, spread in entry["seconds"].items()
            }
        found.append(entry)
    return found


def of_samples(samples: Samples, *, group: str, what: str, title: str) -> Entry:
    """The figures of one step, from the repetitions that count."""
    counted = quietest(samples.others)
    seconds = {peer: [values[n] for n in counted] for peer, values in samples.seconds.items()}
    entry: Entry = {
        "group": group,
        "what": what,
        "title": title,
        "repetitions_counted": len(counted),
        "others_share": significant(statistics.median(samples.others[n] for n in counted), 2),
        "seconds": {peer: Spread.of(values).as_json() for peer, values in seconds.items()},
        **_ratios(seconds),
    }
    cpu = {peer: [values[n] for n in counted] for peer, values in samples.cpu.items() if any(values)}
    if cpu:
        entry["daemon_cpu_seconds"] = {peer: significant(statistics.median(values), 3) for peer, values in cpu.items()}
    if samples.refused:
        entry["refused"] = samples.refused
    return entry


def _ratios(seconds: dict[str, list[float]]) -> Entry:
    """Against each other peer: the ratio, and the lowest and highest of a single repetition; which peer is the best."""
    if OURS not in seconds:
        return {"ratio": {}, "ratio_range": {}, "best": None}
    ours = seconds[OURS]
    each = {peer: [a / b for a, b in zip(values, ours)] for peer, values in seconds.items() if peer != OURS}
    ratios = {peer: significant(statistics.median(values), 3) for peer, values in each.items()}
    return {
        "ratio": ratios,
        "ratio_range": {peer: [significant(f(values), 3) for f in (min, max)] for peer, values in each.items()},
        "best": min((peer for peer in ratios if peer in ENCRYPTED), key=ratios.__getitem__, default=None),
    }


def of_peaks(course: Course) -> dict[str, dict[str, float]]:
    """By group and peer, the most memory of the daemon in megabytes (10^6 bytes)."""
    return {
        group: {peer: significant(size / 1e6, 3) for peer, size in peaks.items()}
        for group, peaks in course.peaks.items()
    }
