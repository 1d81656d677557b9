"""What an attack on a closed volume is, and what it is told (THREAT_MODEL.md, "Attack by attack").

Owns: the list of all attacks, what each hits and how that is noticed, where things lie in lower files by the arithmetic
of FORMAT.md. Must not know: keys, plain names, ``encfs``: whoever attacks has none of them.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

HEADER = 512
RECORD = "cloakfs.d"
CONFIGS = ("cloakfs.volume", "cloakfs.volume.bak")
SESSIONS = "cloakfs.s"


class Outcome(StrEnum):
    """What becomes of an attack. The words of the table in THREAT_MODEL.md."""

    EIO = "EIO"
    """What was hit gives EIO, the rest is as it was."""
    NOT_SHOWN = "not shown"
    """The entry is not shown; ``verify`` calls it foreign."""
    REFUSED = "refused"
    """The volume does not unlock, with an exit code."""
    HARMLESS = "harmless"
    """Everything is as it was."""
    FRESHNESS = "host memory"
    """A host that saw the newer state notices; another cannot."""
    CHECKPOINT = "checkpoint"
    """Only ``verify --checkpoint`` notices."""
    LIMIT = "limit"
    """Not noticed: a documented limit."""


class Effect(StrEnum):
    """What one lower object is like after an attack, seen through the mount."""

    CELLS = "cells"
    """The cells named give EIO, all others are right."""
    WHOLE = "whole"
    """It does not open: EIO."""
    ATTRIBUTES = "attributes"
    """Its attributes give EIO, its content is right."""
    GONE = "gone"
    """There is no such name any more."""
    OLD = "old"
    """It is what it once was, or what something else is: a limit."""
    NONE = "none"
    """Nobody sees a difference; ``verify`` may."""


@dataclass(frozen=True, slots=True)
class Hit:
    """What an attack did to one lower object.

    Attributes:
        path: the lower object.
        effect: see there.
        code: of the finding that ``verify`` makes of it; empty for none.
        cells: which cells, for ``Effect.CELLS``.
        remembered: code of the finding on a host that saw the newer state; there the object does not open.
    """

    path: Path
    effect: Effect
    code: str = ""
    cells: frozenset[int] = frozenset()
    remembered: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """What an attack works on.

    Attributes:
        volume: a volume directory, closed, that may be destroyed.
        file: the lower object that is hit; the volume itself where an attack is on config or sessions.
        other: a second lower object, for what takes two.
        old: an older copy of the volume, or another volume, for what puts something back or in.
        cell, offset: where in the file, for attacks on one place. An offset counts from the start of its region.
        seed: makes another choice where there is one.
        copies: which copies of the config are changed.
    """

    volume: Path
    file: Path
    other: Path | None = None
    old: Path | None = None
    cell: int = 0
    offset: int = 0
    seed: int = 0
    copies: tuple[str, ...] = CONFIGS

    @property
    def second(self) -> Path:
        """``other``, for attacks that need one."""
        if self.other is None:
            raise ValueError("this attack needs a second lower object")
        return self.other

    def older(self, path: Path) -> Path:
        """Where the older self of a lower object is."""
        if self.old is None:
            raise ValueError("this attack needs an older copy of the volume, or another volume")
        return self.old / path.relative_to(self.volume)

    @property
    def cell_size(self) -> int:
        """C, from the readable part of the config."""
        for name in CONFIGS:
            try:
                return int(json.loads((self.volume / name).read_bytes().split(b"\n")[1])["cell_size"])
            except (OSError, ValueError, IndexError, KeyError):
                continue
        raise ValueError("no config of the volume can be read")

    def random_bytes(self, count: int) -> bytes:
        """The same for the same seed."""
        return random.Random(self.seed).randbytes(count)

    def cells(self, path: Path | None = None) -> int:
        """n: how many cells a lower file has (FORMAT.md section 9.3)."""
        return (path or self.file).stat().st_size // self.cell_size

    def span(self, cell: int) -> tuple[int, int]:
        """Begin and end of a cell in a lower file (FORMAT.md section 9.2)."""
        size = self.cell_size
        return cell * size or HEADER, (cell + 1) * size


@dataclass(frozen=True, slots=True)
class Attack:
    """One kind of attack.

    Attributes:
        name: stable.
        does: one sentence without its full stop.
        region: what of a volume is hit.
        run: does it and says what was hit.
        outcome: see there.
        codes: of the findings that ``verify`` makes of it.
        exit_code: of every command that unlocks, where it is refused.
        limit: where it is not noticed: the words in THREAT_MODEL.md, section 5 or 6, that say so.
        checkpoint: code of the finding that ``verify --checkpoint`` makes of it, where nobody has written since.
        needs: of "other" and "old", what it cannot do without.
    """

    name: str
    does: str
    region: str
    run: Callable[[Target], list[Hit]]
    outcome: Outcome
    codes: tuple[str, ...] = ()
    exit_code: int = 0
    limit: str = ""
    checkpoint: str = ""
    needs: tuple[str, ...] = ()

    @property
    def on_file(self) -> bool:
        """Whether it needs to be told which lower object to hit."""
        return self.region != "config" and self.name != "volume-older"


ATTACKS: dict[str, Attack] = {}


def attack(
    name: str,
    outcome: Outcome,
    *codes: str,
    exit_code: int = 0,
    limit: str = "",
    checkpoint: str = "",
    needs: tuple[str, ...] = (),
) -> Callable[[Callable[[Target], list[Hit]]], Callable[[Target], list[Hit]]]:
    """Put a function into the list of attacks. Its docstring says what it does."""

    def register(run: Callable[[Target], list[Hit]]) -> Callable[[Target], list[Hit]]:
        if name in ATTACKS:
            raise ValueError(f"two attacks are called {name}")
        does = " ".join((run.__doc__ or "").split()).rstrip(".")
        region = run.__module__.rpartition(".")[2]
        ATTACKS[name] = Attack(name, does, region, run, outcome, codes, exit_code, limit, checkpoint, needs)
        return run

    return register


# -- tools of the attackers -----------------------------------------------------------------------------------


@contextmanager
def same_times(*paths: Path) -> Iterator[None]:
    """Whoever changes something below can put the times back."""
    before = [path.lstat() for path in paths]
    yield
    for path, stat in zip(paths, before, strict=True):
        if path.exists():
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns), follow_symlinks=False)


def overwrite(path: Path, offset: int, data: bytes) -> None:
    """Put bytes into a lower file."""
    with same_times(path), path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def flip(path: Path, offset: int, seed: int = 0) -> None:
    """Change one bit of a lower file."""
    byte = path.read_bytes()[offset]
    overwrite(path, offset, bytes([byte ^ (1 << seed % 8)]))


def truncate(path: Path, size: int) -> None:
    """Set the size of a lower file."""
    with same_times(path):
        os.truncate(path, size)


def swap(one: Path, two: Path) -> None:
    """Let two lower names swap what they name."""
    spare = one.with_name("spare")
    one.rename(spare)
    two.rename(one)
    spare.rename(two)


def retarget(link: Path, target: str) -> None:
    """Give a lower symlink another target."""
    link.unlink()
    link.symlink_to(target)


def spoilt(path: Path, what: str = "damaged") -> Hit:
    """What does not open any more. The text of a long name is lost with it, so then the directory is named."""
    if path.name.startswith("~"):
        return Hit(path, Effect.WHOLE, "entry-damaged")
    kind = "directory" if path.is_dir() else "symlink" if path.is_symlink() else "file"
    return Hit(path, Effect.WHOLE, f"{kind}-{what}")


def damaged_cells(path: Path, *cells: int) -> list[Hit]:
    """Some cells of a file, if any."""
    return [Hit(path, Effect.CELLS, "cell-damaged", frozenset(cells))] if cells else []
