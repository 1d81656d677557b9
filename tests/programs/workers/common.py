"""What the workers share. They run as programs of their own and import nothing from the tests."""

import hashlib
import os

MARKER = "Zyklamenbefund"
# The records of ledger.py: so long that most of them lie in two or three cells.
SLOTS = 64
SLOT = 4999


def record(number: int) -> bytes:
    """What a record holds."""
    return (f"{MARKER} {number:08} ".encode() * 250)[:SLOT]


def document(number: int) -> bytes:
    """A version of a document: its number, a body of some hundred kilobytes that differs each time, a checksum."""
    body = os.urandom(1000 + number * 7919 % 60000) * (number % 5 + 1)
    content = f"{MARKER} {number:08}\n".encode() + body
    return content + hashlib.sha256(content).digest()


def number_of(content: bytes) -> int:
    """The number of a version that is whole; ValueError for one that is not."""
    if len(content) < 32 or hashlib.sha256(content[:-32]).digest() != content[-32:]:
        raise ValueError(f"not a whole document: {len(content)} bytes")
    return int(content.split(b"\n", 1)[0].split()[1])
