"""What each layer adds to the one below it: the same operations on all of them, taking turns in one run.

Owns: the operations, the data of a repetition, the order of things, the clock's place, what an overhead is. Must not
know: what a layer is made of (``crypto_layers.py``, ``file_layers.py``).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Protocol

from benchmarks.harness.clock import Spread, in_turn, significant
from benchmarks.harness.quiet import Others, quietest
from benchmarks.harness.workloads.steps import FailedError, WrongBytesError
from encfs.crypto import rng
from encfs.errors import CloakfsError

PIECE = 1 << 20
READ = 128 << 10
PAGE = 4096
NOTE = 3000


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much is done in a repetition. ``files`` is more than the names whose sealed form is remembered."""

    pieces: int = 32
    pages: int = 2000
    files: int = 1000


QUICK = Amounts(pieces=2, pages=20, files=12)


@dataclass(frozen=True, slots=True)
class Operation:
    """One row. ``count``: how many there are in a repetition."""

    name: str
    title: str
    count: Callable[[Amounts], int]


WRITE, READ_ON, READ_PAGE, WRITE_PAGE = "write_1m", "read_128k", "read_4k_random", "write_4k_random"
CREATE, LOOK_UP, LIST, RENAME, UNLINK = "create_3k", "look_up", "list", "rename", "unlink"


def _files(amounts: Amounts) -> int:
    return amounts.files


def _pages(amounts: Amounts) -> int:
    return amounts.pages


OPERATIONS = (
    Operation(WRITE, "write 1 MiB", lambda amounts: amounts.pieces),
    Operation(READ_ON, "read 128 KiB", lambda amounts: amounts.pieces * PIECE // READ),
    Operation(READ_PAGE, "read 4 KiB at random", _pages),
    Operation(WRITE_PAGE, "write 4 KiB at random", _pages),
    Operation(CREATE, "create, write 3 KB, close", _files),
    Operation(LOOK_UP, "look up, stat", _files),
    Operation(LIST, "list with stat, per entry", _files),
    Operation(RENAME, "rename, and its header", _files),
    Operation(UNLINK, "unlink", _files),
)
"""In the order in which they are done: each finds what those before it left."""


@dataclass(slots=True)
class Work:
    """The data of one repetition, the same for all layers and other than in the repetition before."""

    amounts: Amounts
    number: int
    data: bytes = field(init=False)
    patches: bytes = field(init=False)
    pages: list[int] = field(init=False)
    names: list[bytes] = field(init=False)
    new_names: list[bytes] = field(init=False)

    def __post_init__(self) -> None:
        amounts = self.amounts
        self.data = rng.random_bytes(amounts.pieces * PIECE)
        self.patches = rng.random_bytes(amounts.pages * PAGE)
        dice = rng.random_bytes(8 * amounts.pages)
        count = len(self.data) // PAGE
        self.pages = [int.from_bytes(dice[n : n + 8], "big") % count for n in range(0, len(dice), 8)]
        self.names = [b"letter %d of round %d.odt" % (n, self.number) for n in range(amounts.files)]
        self.new_names = [b"answer %d of round %d.odt" % (n, self.number) for n in range(amounts.files)]

    def patch(self, number: int) -> bytes:
        """What write ``number`` at random writes."""
        return self.patches[number * PAGE : (number + 1) * PAGE]

    def patched(self) -> bytes:
        """The large file after all of them."""
        content = bytearray(self.data)
        for number, page in enumerate(self.pages):
            content[page * PAGE : (page + 1) * PAGE] = self.patch(number)
        return bytes(content)

    def note(self, number: int) -> bytes:
        """The content of a small file."""
        start = number * 61 % (len(self.data) - NOTE)
        return self.data[start : start + NOTE]


class Layer(Protocol):
    """One layer of the stack.

    Attributes:
        name: in the document.
        operations: the names of those that it can be asked for.
    """

    name: str
    operations: frozenset[str]

    def take(self, operation: str, work: Work) -> float:
        """Do all of an operation and check the bytes afterwards; the seconds without the check.

        Raises:
            WrongBytesError: something else came back than was written.
            CloakfsError, OSError: it failed.
        """
        ...

    def settle(self) -> None:
        """Wait until nothing of an earlier operation is still being done."""
        ...

    def cpu_seconds(self) -> float:
        """CPU time so far of another process that belongs to the layer."""
        ...


@dataclass(slots=True)
class _Samples:
    """Of one operation: seconds per operation by layer, and the share of the machine that others used meanwhile."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    others: list[float] = field(default_factory=list)


def measure(layers: Sequence[Layer], amounts: Amounts, repetitions: int) -> list[dict[str, Any]]:
    """An entry for each operation; ``layers`` from the bottom up.

    Raises:
        WrongBytesError: a layer did not give back what was written.
        FailedError: a layer failed.
    """
    samples = {operation.name: _Samples() for operation in OPERATIONS}
    for number in range(repetitions):
        work = Work(amounts, number)
        for operation in OPERATIONS:
            found = samples[operation.name]
            taking = [layer for layer in layers if operation.name in layer.operations]
            others = Others(sum(layer.cpu_seconds() for layer in taking))
            for layer in in_turn(taking, number):
                seconds = _take(layer, operation, work) / operation.count(amounts)
                found.seconds.setdefault(layer.name, []).append(seconds)
            found.others.append(others.share(sum(layer.cpu_seconds() for layer in taking)))
    order = [layer.name for layer in layers]
    return [_entry(operation, samples[operation.name], order) for operation in OPERATIONS]


def _take(layer: Layer, operation: Operation, work: Work) -> float:
    """What goes wrong says at which operation and in which layer."""
    where = f"{operation.title}, layer {layer.name}"
    layer.settle()
    try:
        return layer.take(operation.name, work)
    except WrongBytesError as exc:
        raise WrongBytesError(f"{where}: {exc}") from exc
    except (CloakfsError, OSError) as exc:
        raise FailedError(f"{where}: {exc}") from exc


def _entry(operation: Operation, samples: _Samples, order: Sequence[str]) -> dict[str, Any]:
    counted = quietest(samples.others)
    micros = {name: [samples.seconds[name][n] * 1e6 for n in counted] for name in order if name in samples.seconds}
    names = list(micros)
    return {
        "what": f"layers/{operation.name}",
        "title": operation.title,
        "unit": "us per operation",
        "repetitions_counted": len(counted),
        "others_share": significant(statistics.median(samples.others[n] for n in counted), 2),
        "time": {name: Spread.of(values).as_json() for name, values in micros.items()},
        "over_below": {name: _over(below, micros[name], micros[below]) for below, name in pairwise(names)},
    }


def _over(below: str, upper: Sequence[float], lower: Sequence[float]) -> dict[str, Any]:
    """What a layer adds, from samples of the same repetitions."""
    return {
        "below": below,
        "difference": Spread.of([a - b for a, b in zip(upper, lower, strict=True)]).as_json(),
        "ratio": Spread.of([a / b for a, b in zip(upper, lower, strict=True)]).as_json(3),
    }
