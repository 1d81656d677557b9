"""The ``cloakfs`` command, with a host memory that puts each row down as soon as it may (FORMAT.md section 13).

    python -m tests.powercut.eager ARGUMENTS...

Else rows are gathered, and a memory that claims too much too early would seldom be caught.
"""

from __future__ import annotations

from encfs.cli.main import main
from encfs.host import freshness

if __name__ == "__main__":
    freshness._QUEUE_MAX = 0
    main()
