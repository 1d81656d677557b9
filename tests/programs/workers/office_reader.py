"""Reads a document while others save it, until a file named "stop" is there; prints the numbers of the versions it saw.

    office_reader.py DOCUMENT

Every version must be whole, and none older than the one before. In between, the name may be missing (Word).
"""

import sys
from pathlib import Path

from common import number_of


def main(path: Path) -> None:
    """Read until told to stop."""
    last = 0
    while not (path.parent / "stop").exists():
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue
        number = number_of(content)
        if number < last:
            raise ValueError(f"version {number} after version {last}")
        if number != last:
            print(number, flush=True)
        last = number


main(Path(sys.argv[1]))
