"""Everything that can be done to a volume, each from a tidy start: for tests that cut the power or let a call fail.

Owns: the list of operations. Must not know: what goes wrong meanwhile.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from encfs.core import config as core_config
from encfs.core.sources import KnownSecret
from encfs.format.slots import SlotKind
from encfs.volume import Volume
from encfs.volume.attributes import Setattr
from encfs.volume.skeleton import read_copies, write_config
from tests.support.steps import (
    LONGER,
    Step,
    attribute,
    create,
    do,
    exchange,
    fifo,
    link,
    mkdir,
    remove,
    rename,
    symlink,
    sync_directory,
    truncate,
    write,
)
from tests.support.volumes import LONG, RECOVERY_KEY, pattern

BIG = b"t" * 4000  # a target that only a symlink in a file holds


def put(path: bytes, size: int) -> Step:
    """A new file with content."""
    return do(create(path), write(path, 0, pattern(size, path)))


def put_synced(path: bytes, size: int) -> tuple[Step, ...]:
    """A new file with content, fsynced."""
    return create(path), write(path, 0, pattern(size, path), sync=True)


def confirmed(path: bytes, size: int) -> Step:
    """A new file whose header says on the disk that all of it was synced."""

    def step(volume: Volume) -> None:
        with volume.open(path, create=True, writable=True) as file:
            file.write(0, pattern(size, path))
            file.sync()
            file.sync()

    return step


def new_config(volume: Volume) -> None:
    """Write the config with the next number."""
    store, root = volume.ctx.store, volume.root_fd
    unlocked = core_config.unlock(read_copies(store, root), KnownSecret.of(SlotKind.RECOVERY, RECOVERY_KEY))
    config = replace(unlocked.config, seq=unlocked.config.seq + 1)
    write_config(store, root, core_config.seal_config(unlocked.ring.suite, config, unlocked.root_key))


class Operation(NamedTuple):
    """Steps between two syncs. ``kept``: when the last one returns, all of it is to survive a cut."""

    before: tuple[Step, ...]
    steps: tuple[Step, ...]
    kept: bool = False


MODE = Setattr(mode=0o600)
FILE, LONG_FILE, LINKED = put(b"f", 20_000), put(LONG, 5000), do(put(b"f", 5000), link(b"f", b"g"))
TWO, TWO_LONG = do(put(b"f", 5000), put(b"g", 9000)), do(put(b"f", 5000), put(LONG, 9000))
TREE = do(mkdir(b"d"), put(b"d/f", 5000))

OPERATIONS = {
    "create": Operation((), (create(b"f"),)),
    "create, long name": Operation((), (create(LONG),)),
    "create and write": Operation((), (create(b"f"), write(b"f", 0, pattern(20_000)))),
    "create and write, long name": Operation((), (create(LONG), write(LONG, 0, pattern(9000)))),
    "create, write, fsync both": Operation((), (*put_synced(b"f", 9000), sync_directory(b"")), kept=True),
    "append within a cell": Operation((put(b"f", 100),), (write(b"f", 100, pattern(50)),)),
    "append over cells": Operation((put(b"f", 100),), (write(b"f", 100, pattern(15_000)),)),
    "append and fsync": Operation((put(b"f", 100),), (write(b"f", 100, pattern(9000), sync=True),), kept=True),
    "append twice, fsync once": Operation(
        (put(b"f", 7000),), (write(b"f", 7000, pattern(3000), sync=True), write(b"f", 10_000, pattern(9000)))
    ),
    "overwrite in a cell": Operation((FILE,), (write(b"f", 5000, pattern(300)),)),
    "overwrite cells": Operation((FILE,), (write(b"f", 3000, pattern(9000)),)),
    "overwrite and fsync": Operation(
        (confirmed(b"f", 20_000),), (write(b"f", 3000, pattern(9000), sync=True),), kept=True
    ),
    "overwrite the end and grow": Operation((FILE,), (write(b"f", 18_000, pattern(9000)),)),
    "hole": Operation((put(b"f", 2000),), (write(b"f", 40_000, pattern(300)),)),
    "hole and fsync": Operation((put(b"f", 2000),), (write(b"f", 40_000, pattern(300), sync=True),), kept=True),
    "truncate up": Operation((put(b"f", 2000),), (truncate(b"f", 30_000),)),
    "truncate down": Operation((FILE,), (truncate(b"f", 9000),)),
    "truncate down, all synced": Operation((confirmed(b"f", 20_000),), (truncate(b"f", 9000),)),
    "truncate down to the end of a cell": Operation((FILE,), (truncate(b"f", 3552 + 4064),)),
    "truncate down to the end of a cell, all synced": Operation(
        (confirmed(b"f", 20_000),), (truncate(b"f", 3552 + 4064),)
    ),
    "truncate down and up": Operation((FILE,), (truncate(b"f", 5000), truncate(b"f", 20_000))),
    "truncate to 0": Operation((FILE,), (truncate(b"f", 0),)),
    "truncate to 0, all synced": Operation((confirmed(b"f", 20_000),), (truncate(b"f", 0),)),
    "rewrite": Operation((FILE,), (truncate(b"f", 0), write(b"f", 0, pattern(9000)))),
    "rewrite, same size": Operation((FILE,), (truncate(b"f", 0), write(b"f", 0, pattern(20_000)))),
    "rewrite, all synced": Operation((confirmed(b"f", 20_000),), (truncate(b"f", 0), write(b"f", 0, pattern(20_000)))),
    "rewrite and fsync": Operation((FILE,), (truncate(b"f", 0), write(b"f", 0, pattern(9000), sync=True)), kept=True),
    "save": Operation((FILE,), (*put_synced(b"n", 7000), rename(b"n", b"f"), sync_directory(b"")), kept=True),
    "save, long name": Operation(
        (LONG_FILE,), (*put_synced(b"n", 7000), rename(b"n", LONG), sync_directory(b"")), kept=True
    ),
    "rename": Operation((FILE,), (rename(b"f", b"g"),)),
    "rename over": Operation((TWO,), (rename(b"f", b"g"),)),
    "rename, short to long": Operation((FILE,), (rename(b"f", LONG),)),
    "rename, long to short": Operation((LONG_FILE,), (rename(LONG, b"f"),)),
    "rename, long to long": Operation((LONG_FILE,), (rename(LONG, LONGER),)),
    "rename over, short to long": Operation((TWO_LONG,), (rename(b"f", LONG),)),
    "rename between directories": Operation(
        (mkdir(b"d"), FILE), (rename(b"f", b"d/f"), sync_directory(b"d")), kept=True
    ),
    "rename a directory": Operation((TREE,), (rename(b"d", b"e"),)),
    "rename a directory into another": Operation((TREE, mkdir(b"e")), (rename(b"d", b"e/d"),)),
    "rename a directory, short to long": Operation((TREE,), (rename(b"d", LONG),)),
    "rename a directory, long to long": Operation((mkdir(LONG), put(LONG + b"/f", 5000)), (rename(LONG, LONGER),)),
    "rename twice": Operation((FILE,), (rename(b"f", LONG), rename(LONG, b"g"))),
    "exchange": Operation((TWO,), (exchange(b"f", b"g"),)),
    "exchange a file and a directory": Operation((FILE, mkdir(b"d")), (exchange(b"f", b"d"),)),
    "mkdir": Operation((), (mkdir(b"d"),)),
    "mkdir, long name": Operation((), (mkdir(LONG), sync_directory(b"")), kept=True),
    "mkdir in a new directory": Operation((), (mkdir(b"d"), mkdir(b"d/e"), sync_directory(b"d")), kept=True),
    "mkdir, file": Operation((), (mkdir(b"d"), create(b"d/f"), write(b"d/f", 0, pattern(5000)))),
    "mkdir twice, file, fsync all": Operation(
        (),
        (mkdir(b"d"), mkdir(b"d/e"), *put_synced(b"d/e/f", 5000), sync_directory(b"d/e")),
        kept=True,
    ),
    "mkdir, symlink, fsync": Operation((), (mkdir(b"d"), symlink(b"d/l", b"t"), sync_directory(b"d")), kept=True),
    "mkdir, pipe, fsync": Operation((), (mkdir(b"p"), sync_directory(b""), fifo(b"q"), sync_directory(b"")), kept=True),
    "rmdir": Operation((mkdir(b"d"),), (remove(b"d"),)),
    "unlink": Operation((FILE,), (remove(b"f"),)),
    "unlink, long name": Operation((LONG_FILE,), (remove(LONG),)),
    "link": Operation((put(b"f", 5000),), (link(b"f", b"g"),)),
    "link, long name": Operation((put(b"f", 5000),), (link(b"f", LONG),)),
    "unlink one of two links": Operation((LINKED,), (remove(b"f"),)),
    "unlink the other link": Operation((LINKED,), (remove(b"g"),)),
    "unlink a long link": Operation((put(b"f", 5000), link(b"f", LONG)), (remove(LONG),)),
    "rename what was linked": Operation((LINKED, remove(b"f")), (rename(b"g", b"h"),)),
    "rename a long link": Operation((put(b"f", 5000), link(b"f", LONG)), (rename(LONG, LONGER),)),
    "rename a long link to a short name": Operation((put(b"f", 5000), link(b"f", LONG)), (rename(LONG, b"g"),)),
    "symlink": Operation((), (symlink(b"l", b"t"),)),
    "symlink in a file": Operation((), (symlink(b"l", BIG),)),
    "symlink, long name": Operation((), (symlink(LONG, b"t"),)),
    "rename a symlink": Operation((symlink(b"l", b"t"),), (rename(b"l", b"m"),)),
    "rename a symlink over a file": Operation((symlink(b"l", b"t"), put(b"m", 100)), (rename(b"l", b"m"),)),
    "rename a symlink in a file": Operation((symlink(b"l", BIG),), (rename(b"l", b"m"),)),
    "rename a symlink in a file, long name": Operation((symlink(b"l", BIG),), (rename(b"l", LONG),)),
    "exchange a symlink and a file": Operation((symlink(b"l", b"t"), put(b"m", 100)), (exchange(b"l", b"m"),)),
    "link of a symlink": Operation((symlink(b"l", b"t"),), (link(b"l", b"m"),)),
    "unlink a symlink": Operation((symlink(b"l", b"t"),), (remove(b"l"),)),
    "setxattr": Operation((FILE,), (attribute(b"f", b"value"), attribute(b"f", b"other"))),
    "setxattr of a directory": Operation((mkdir(b"d"),), (attribute(b"d", b"value"),)),
    "removexattr": Operation(
        (FILE, attribute(b"f", b"value")), (lambda volume: volume.attributes.remove(volume.resolve(b"f"), b"user.x"),)
    ),
    "chmod": Operation((FILE,), (lambda volume: volume.set_metadata(b"f", MODE),)),
    "mknod": Operation((), (fifo(b"p"),)),
    "config": Operation((), (new_config,), kept=True),
}  # fmt: skip

# What no order of calls makes whole, because two names change, or the text of a name is only where it is overwritten. A
# cut in the middle leaves each object under its old name, its new one, both, or one that says `recovered-`; an empty
# directory that was to be replaced may be gone already (FORMAT.md section 11).
INEXACT = {
    "rename over, long to short": Operation((TWO_LONG,), (rename(LONG, b"f"),)),
    "rename over, long to long": Operation((LONG_FILE, put(LONGER, 9000)), (rename(LONG, LONGER),)),
    "exchange, one long name": Operation((TWO_LONG,), (exchange(b"f", LONG),)),
    "exchange, two long names": Operation((LONG_FILE, put(LONGER, 9000)), (exchange(LONG, LONGER),)),
    "rename a directory over an empty one": Operation((TREE, mkdir(b"e")), (rename(b"d", b"e"),)),
    "rename a directory over an empty one, long name": Operation((TREE, mkdir(LONG)), (rename(b"d", LONG),)),
    "rename a symlink to a long name": Operation((symlink(b"l", b"t"),), (rename(b"l", LONG),)),
    "rename a symlink over a long name": Operation((symlink(b"l", b"t"), LONG_FILE), (rename(b"l", LONG),)),
    "rename a file over a symlink in a file": Operation((symlink(b"l", BIG), put(b"m", 100)), (rename(b"m", b"l"),)),
    "rename a symlink in a file over a file": Operation((symlink(b"l", BIG), put(b"m", 100)), (rename(b"l", b"m"),)),
}

# What nobody touches, in every volume: it is the same after each cut.
BYSTANDERS = (
    put(b"untouched", 9000), link(b"untouched", b"untouched too"), mkdir(b"room"), put(b"room/" + LONG, 100),
    symlink(b"room/link", b"target"), attribute(b"room", b"value"),
)  # fmt: skip
