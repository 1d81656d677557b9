"""``cloakfs`` on a computer on which it is another day: ``python -m tests.support.another_day ARGUMENTS``.

The file that ``ANOTHER_DAY`` names says by how many seconds; what runs for long looks there each time, so time passes
for a mount too. Wall clock and time since boot agree: nobody has set a clock. The kernel's times of files stay as they
are.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Final

PROGRAM: Final = ("-m", "tests.support.another_day")
VARIABLE: Final = "ANOTHER_DAY"
_NS: Final = 1_000_000_000
_UP: Final = 90 * 86_400
"""So much longer the computer is on: a day before its start would be none."""


def shift(file: Path) -> None:
    """From now on all that asks for the time gets it moved by what the file says at that moment."""

    def seconds() -> int:
        return int(file.read_text())

    now, now_ns, clock, clock_ns = time.time, time.time_ns, time.clock_gettime, time.clock_gettime_ns
    more = {time.CLOCK_REALTIME: 0, time.CLOCK_BOOTTIME: _UP}
    time.time = lambda: now() + seconds()
    time.time_ns = lambda: now_ns() + seconds() * _NS
    time.clock_gettime = lambda of: clock(of) + (seconds() + more[of] if of in more else 0)
    time.clock_gettime_ns = lambda of: clock_ns(of) + ((seconds() + more[of]) * _NS if of in more else 0)


if __name__ == "__main__":
    shift(Path(os.environ[VARIABLE]))
    from encfs.cli.main import main  # Whatever keeps a clock takes it when it is imported.

    sys.exit(main())
