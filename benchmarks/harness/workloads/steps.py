"""What a workload is made of: amounts, the data of a repetition, steps, and how a step says that it cannot be taken.

Must not know: peers, the clock, caches (a step says that it wants them cold, and who runs it sees to that).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.harness.tree import SampleTree
from benchmarks.harness.workloads.access import Access
from benchmarks.harness.workloads.memory import PAGE, clear, fill, shared_memory

_DOCUMENT_SIZE = 200 << 10


class WrongBytesError(Exception):
    """A peer gave back something other than what was written: no figure of this run counts."""


class FailedError(Exception):
    """A program failed on a peer; the text says how."""


class RefusedError(Exception):
    """A peer has not what the step is about; the text names it."""


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much is done."""

    large_mib: int = 64
    random_mib: int = 64
    random_pages: int = 2_000
    appends: int = 2_000
    synced_appends: int = 200
    transactions: int = 200
    tree_files: int = 2_000
    files_in_a_directory: int = 20_000
    documents: int = 500
    renames: int = 1_000


QUICK = Amounts(
    large_mib=4,
    random_mib=2,
    random_pages=60,
    appends=50,
    synced_appends=10,
    transactions=10,
    tree_files=60,
    files_in_a_directory=100,
    documents=5,
    renames=20,
)


@dataclass(frozen=True, slots=True)
class Samples:
    """What is the same in every repetition: the tree as an archive, and as a git repository (None without git)."""

    tree: SampleTree
    repository: Path | None


@dataclass(slots=True)
class Round:
    """Data of one repetition, the same for all peers and other than in the repetition before.

    Attributes:
        scratch: an empty directory off the store that is measured.
        data: one page more than a large file. Like ``buffer``, page-aligned and shared with forked processes.
        buffer: where reads go; all zeros between steps.
        accesses: made so far, by name.
        written: which of them have changed the file of a peer, in order.
    """

    amounts: Amounts
    samples: Samples
    scratch: Path
    number: int
    data: memoryview
    buffer: memoryview
    accesses: dict[str, Access] = field(default_factory=dict)
    written: dict[Path, list[Access]] = field(default_factory=dict)

    @classmethod
    def new(cls, amounts: Amounts, samples: Samples, scratch: Path, number: int) -> Round:
        """The data of repetition ``number``."""
        size = max(amounts.large_mib, amounts.random_mib) << 20
        data, buffer = shared_memory(size + PAGE), shared_memory(size)
        fill(data, f"{number}")
        clear(buffer, size)  # Touched now, so that no page of it is faulted in while the clock runs.
        return cls(amounts, samples, scratch, number, data, buffer)

    def access(self, name: str, share_written: float) -> Access:
        """The random access of this name, made when it is first asked for."""
        if name not in self.accesses:
            pages = (self.amounts.random_mib << 20) // PAGE
            seed = f"{name} {self.number}"
            self.accesses[name] = Access.new(seed, pages, self.amounts.random_pages, share_written)
        return self.accesses[name]

    def document(self, number: int) -> bytes:
        """Content of a document: a piece of the large data, another one for each number."""
        start = number * 4099 % max(1, len(self.data) - _DOCUMENT_SIZE)
        return bytes(self.data[start : start + _DOCUMENT_SIZE])


Act = Callable[[Path, Round], None]


def nothing(path: Path, rnd: Round) -> None:
    """No preparation, or no check."""
    del path, rnd


@dataclass(frozen=True, slots=True)
class Step:
    """One measured piece of work. ``path`` of its functions is the plain side of a peer.

    Attributes:
        group: the steps of a group build on each other; each group starts and ends with an empty directory.
        name, title: for JSON and for people.
        unit: of ``amount`` done in the time of ``run``; "s" means that the time itself is told.
        run: the work. It is timed from outside, unless it gives back the seconds that count.
        check: directly after it.
        read_back: a check when all peers have done it and caches were dropped: what was written comes from below.
        cold: whether the kernel's caches are dropped before it.
        warm: whether it is done once before the clock starts.
        needs: programs besides those of every system.
        at_most: repetitions in which it is done; 0 means all.
    """

    group: str
    name: str
    title: str
    unit: str
    run: Callable[[Path, Round], float | None]
    amount: Callable[[Amounts], float] = lambda _: 1.0
    prepare: Act = nothing
    check: Act = nothing
    read_back: Act = nothing
    cold: bool = False
    warm: bool = False
    needs: tuple[str, ...] = ()
    at_most: int = 0


def command(*arguments: str, stdout: Path | None = None, cwd: Path | None = None) -> None:
    """Run a program to its end.

    Raises:
        FailedError: its exit status is not 0.
    """
    with (stdout or Path(os.devnull)).open("wb") as target:
        result = subprocess.run(
            arguments, stdin=subprocess.DEVNULL, stdout=target, stderr=subprocess.PIPE, check=False, cwd=cwd
        )
    if result.returncode != 0:
        said = result.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise FailedError(f"{arguments[0]} ended with {result.returncode}: {said[-1]}")
