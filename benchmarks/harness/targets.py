"""The speed that cloakfs is to reach, and whether a result reaches it.

Owns: the table of targets. Must not know: how anything was measured; it reads the results of ``benchmarks.peers``.

A row is met when every workload of it is: what is told is the worst one. A workload that a peer refuses is none against
that peer; one that cloakfs refuses is not met.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.harness.filesystems import OURS, PASSTHROUGH

MEMORY, DISK = "memory", "disk"
BEST = "best"
_CALLS = ("1m", "128k", "4k")
_WAYS = ("", "_direct", "_mmap")


@dataclass(frozen=True, slots=True)
class Row:
    """Ratios to reach: above 1, cloakfs is faster.

    Attributes:
        steps: the workloads.
        gocryptfs, best, passthrough: against it, the best encrypted peer, the limit of the stack.
        store: where it counts.
    """

    title: str
    steps: tuple[str, ...]
    gocryptfs: float
    best: float
    passthrough: float = 0.5
    store: str = MEMORY


ROWS = (
    Row(
        "sequential write, rewrite",
        tuple(f"seq_{kind}_{call}" for kind in ("write", "rewrite") for call in _CALLS),
        gocryptfs=1.5,
        best=1.2,
    ),
    Row(
        "sequential read, also 4 readers",
        tuple(f"{kind}_{call}" for kind in ("seq_read", "read_4") for call in _CALLS),
        gocryptfs=1.1,
        best=1.0,
    ),
    Row("random 4 KiB read", tuple(f"random_read{way}" for way in _WAYS), gocryptfs=1.1, best=1.0),
    Row("random 4 KiB write", tuple(f"random_write{way}" for way in _WAYS), gocryptfs=1.3, best=0.8),
    Row("untar, cp -r, 500 documents", ("untar", "cp", "documents_copy"), gocryptfs=1.4, best=1.05),
    Row("ls -lR, find + cat", ("ls_cold", "ls_warm", "cat"), gocryptfs=1.6, best=1.1),
    Row("rm -rf, rename storm", ("rm", "renames"), gocryptfs=1.0, best=0.8),
    Row("SQLite FULL on disk", ("sqlite_full",), gocryptfs=1.0, best=1.0, store=DISK),
)

MOUNT_SECONDS = 0.4
PEAK_MEGABYTES = 150.0
IDLE_SECONDS = 60.0
IDLE_CPU_SECONDS = 0.01
"""In a minute: a tick of the clock that ps and top read, below which they show nothing."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target.

    Attributes:
        against: a peer, "best", or empty where the target is a figure of cloakfs alone.
        wanted, found: ratios to be at least reached; or seconds and megabytes to stay below.
        worst: which workload decides, and against whom where that is the best peer.
        met: None where it was not measured.
    """

    row: str
    against: str
    wanted: float
    found: float | None
    worst: str
    met: bool | None

    def as_json(self) -> dict[str, Any]:
        """For the document."""
        return asdict(self)


def judge(results: Sequence[dict[str, Any]]) -> list[Verdict]:
    """Each target in the results of all backing stores."""
    stores = {result["store"]: result for result in results}
    verdicts = [verdict for row in ROWS for verdict in _judge_row(row, stores.get(row.store, {}))]
    memory = stores.get(MEMORY, {})
    return [*verdicts, _judge_mount(memory), _judge_idle(memory), _judge_peak(results)]


def _judge_row(row: Row, store: dict[str, Any]) -> Iterator[Verdict]:
    entries = [entry for entry in store.get("steps", []) if entry["what"] in row.steps]
    for against, wanted in (("gocryptfs", row.gocryptfs), (BEST, row.best), (PASSTHROUGH, row.passthrough)):
        found: float | None = None
        worst = ""
        refused = [entry["what"] for entry in entries if OURS in entry.get("refused", {})]
        for entry in entries:
            peer = entry["best"] if against == BEST else against
            ratio = entry["ratio"].get(peer)
            if ratio is not None and (found is None or ratio < found):
                found, worst = ratio, entry["what"] + (f" ({peer})" if against == BEST else "")
        if refused:
            yield Verdict(row.title, against, wanted, None, f"{refused[0]} is refused", met=False)
        else:
            yield Verdict(row.title, against, wanted, found, worst, met=None if found is None else found >= wanted)


def _judge_mount(store: dict[str, Any]) -> Verdict:
    spreads = [entry["seconds"].get(OURS) for entry in store.get("steps", []) if entry["what"] == "mount"]
    spread = spreads[0] if spreads else None
    found = None if spread is None else spread["median"]
    return _below("mount without the KDF, seconds", MOUNT_SECONDS, found)


def _judge_idle(store: dict[str, Any]) -> Verdict:
    idle = store.get("idle")
    used = None if idle is None else idle["cpu_seconds"].get(OURS)
    found = None if idle is None or used is None else used * IDLE_SECONDS / idle["seconds"]
    return _below("idle, CPU seconds in a minute", IDLE_CPU_SECONDS, found)


def _judge_peak(results: Sequence[dict[str, Any]]) -> Verdict:
    peaks = [
        (peers[OURS], group)
        for result in results
        for group, peers in result.get("peak_megabytes", {}).items()
        if OURS in peers
    ]
    found, worst = max(peaks, default=(None, ""))
    return _below("peak memory of the daemon, MB", PEAK_MEGABYTES, found, worst)


def _below(row: str, wanted: float, found: float | None, worst: str = "") -> Verdict:
    return Verdict(row, "", wanted, found, worst, met=None if found is None else found < wanted)
