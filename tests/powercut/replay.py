"""One crash point of a kept recording once more.

    python -m tests.powercut.replay RECORDING POINT...

A failing test names both. The check's own error, with its traceback, is what this prints.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.powercut.checking import Checker
from tests.powercut.logbook import CrashPoint
from tests.powercut.recording import Recording


def main(recording: str, *points: str) -> None:
    """Check each point; the first that fails ends the program."""
    with tempfile.TemporaryDirectory(prefix="cloakfs-powercut-") as work:
        checker = Checker(Recording.load(Path(recording)), Path(work))
        for point in sorted(map(CrashPoint.parse, points)):
            checker.check(point)
            print(f"{point} holds")


if __name__ == "__main__":
    main(*sys.argv[1:])
