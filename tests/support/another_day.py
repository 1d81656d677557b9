"""``cloakfs`` on a computer on which it is another day: ``python -m tests.support.another_day ARGUMENTS``.

The file that ``ANOTHER_DAY`` names says by how many seconds; what runs for long looks there each time, so time passes
for a mount too. Wall clock and time since boot agree: nobody has set a clock. The kernel's times of files stay as they
are.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

PROGRAM: Final = ("-m", "tests.support.another_day")
VARIABLE: Final = "ANOTHER_DAY"
_NS: Final = 1_000_000_000


def shift(file: Path) -> None:
    """From now on all that asks for the time gets it moved by what the file says at that moment."""

    def moved(of: Callable[..., float], factor: int) -> Callable[..., float]:
        return lambda *clock: of(*clock) + int(file.read_text()) * factor

    def moved_boot(of: Callable[..., float], factor: int) -> Callable[..., float]:
        ours = moved(of, factor)
        return lambda clock: ours(clock) if clock in (time.CLOCK_BOOTTIME, time.CLOCK_REALTIME) else of(clock)

    time.time = moved(time.time, 1)
    time.time_ns = moved(time.time_ns, _NS)  # type: ignore[assignment]
    time.clock_gettime = moved_boot(time.clock_gettime, 1)
    time.clock_gettime_ns = moved_boot(time.clock_gettime_ns, _NS)  # type: ignore[assignment]


if __name__ == "__main__":
    shift(Path(os.environ[VARIABLE]))
    from encfs.cli.main import main  # Whatever keeps a clock takes it when it is imported.

    sys.exit(main())
