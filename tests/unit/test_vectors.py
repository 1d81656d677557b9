"""tests/vectors is what tools/make_vectors.py makes: neither is changed without the other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]


def test_vectors_are_made_again():
    """Sections 3 to 10: with the same keys and nonces the program writes the stored bytes."""
    done = subprocess.run(
        [sys.executable, TOP / "tools" / "make_vectors.py", "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_limits_are_those_of_the_format():
    """Section 14: the table of limits, read from FORMAT.md."""
    from encfs.format import limits

    text = (TOP / "FORMAT.md").read_text(encoding="utf-8")
    for row, value in (
        ("| plain file size | 2^60 bytes", limits.PLAIN_SIZE_MAX == 1 << 60),
        ("| name | 255 bytes (pipes, sockets, devices 160),", (limits.NAME_MAX, limits.DIRECT_NAME_MAX) == (255, 160)),
        ("| symlink target | 4,095 bytes |", limits.SYMLINK_TARGET_MAX == 4095),
        ("| attributes of one object | 65,000 bytes sealed", limits.XATTR_SEALED_MAX == 65_000),
        ("| slots | 64 |", limits.SLOTS_MAX == 64),
        ("2^31 cells", limits.MAX_CELLS_PER_KEY == 1 << 31),
        ("| 2^32 |", limits.FRAME_WRITES_MAX == 1 << 32),
    ):
        assert row in text
        assert value
