"""A place to measure in: a folder of our own on the chosen medium, gone afterwards whatever happens.

Owns: room, making and removing that folder. Must not know: what is done in it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOSPC
from pathlib import Path
from typing import Final

from encfs.errors import LowerIOError, MountpointError

PREFIX: Final = ".cloakfs-bench-"


@contextmanager
def scratch(directory: Path, needed: int) -> Iterator[Path]:
    """A new folder in ``directory`` with room for ``needed`` bytes.

    Raises:
        MountpointError: it is no directory that can be written to.
        LowerIOError: there is no room, before or during the block.
    """
    try:
        free = shutil.disk_usage(directory).free
        home = Path(tempfile.mkdtemp(prefix=PREFIX, dir=directory))
    except OSError as exc:
        raise MountpointError(f"{directory} cannot be measured: {exc.strerror}") from exc
    try:
        if free < needed:
            raise LowerIOError(
                f"{directory} has {free >> 20} MiB free, and this needs {needed >> 20} MiB",
                hint="Make room, or give --size a smaller number.",
            )
        yield home
    except OSError as exc:
        if exc.errno != ENOSPC:
            raise
        raise LowerIOError(f"{directory} is full", hint="Make room, or give --size a smaller number.") from exc
    finally:
        shutil.rmtree(home, ignore_errors=True)
