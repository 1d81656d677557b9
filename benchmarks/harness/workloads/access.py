"""Which pages a random access reads and writes, and what it writes."""

from __future__ import annotations

import random
from dataclasses import dataclass

from benchmarks.harness.workloads.memory import PAGE, fill, shared_memory


@dataclass(frozen=True, slots=True)
class Access:
    """Pages in random order, each of them once.

    Attributes:
        pages: their numbers.
        writes: which of them are written; the others are read.
        patches: a page for each, of which those that are written go to the file.
    """

    pages: list[int]
    writes: list[bool]
    patches: memoryview

    @classmethod
    def new(cls, seed: str, pages: int, count: int, share_written: float) -> Access:
        """``count`` of the ``pages`` of a file, the same for the same seed."""
        source = random.Random(seed)  # noqa: S311 - sample data
        written = round(count * share_written)
        writes = [number < written for number in range(count)]
        source.shuffle(writes)
        patches = shared_memory(count * PAGE)
        if written:
            fill(patches, seed)
        return cls(source.sample(range(pages), count), writes, patches)

    def apply(self, content: bytearray) -> None:
        """Do the writes to ``content``."""
        for number, (page, writes) in enumerate(zip(self.pages, self.writes)):
            if writes:
                content[page * PAGE : (page + 1) * PAGE] = self.patches[number * PAGE : (number + 1) * PAGE]
