"""Saves a document again and again, with the system calls of an office program; prints the number of each save.

    office.py DOCUMENT libreoffice|word [COUNT]

"libreoffice": a lock file beside the document, the new version in a temporary file, fsync, rename over it.
"word": what Samba does for Word: an owner file with a byte-range lock, the new version in ~WRD, with gaps that are
filled later, DOS attributes in an xattr, the old version renamed to ~WRL, ~WRD renamed into place, ~WRL deleted.
A document is MARKER, the number of the save, a random body, and a checksum over it all.
"""

import fcntl
import os
import struct
import sys
from pathlib import Path

from common import MARKER, document


def libreoffice(path: Path, content: bytes, *, first: bool) -> None:
    """One save."""
    lock = path.with_name(f".~lock.{path.name}#")
    if first:
        fd = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
        os.write(fd, f",{MARKER},host,01.01.2026 10:00,file:///home/{MARKER};".encode())
        os.close(fd)
    temporary = path.with_name(f"lu{os.getpid()}abc.tmp")
    fd = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    for start in range(0, len(content), 32000):
        os.pwrite(fd, content[start : start + 32000], start)
    if path.exists():
        old = path.stat()
        os.fchmod(fd, old.st_mode & 0o7777)
    os.fsync(fd)
    os.close(fd)
    temporary.rename(path)


def word(path: Path, content: bytes, *, first: bool) -> None:
    """One save. The owner file stays open, and locked, until the program ends."""
    if first:
        owner = os.open(path.with_name("~$" + path.name[2:]), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
        os.write(owner, MARKER.encode().ljust(162, b" "))
        fcntl.lockf(owner, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0x7FFFFFFFFFFFF000)
    new, old = path.with_name("~WRD0001.tmp"), path.with_name("~WRL0002.tmp")
    fd = os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
    os.setxattr(fd, "user.DOSATTRIB", struct.pack("<HHII", 0, 4, 4, 0x22) + bytes(40))
    os.ftruncate(fd, len(content) + 10000)
    pieces = [(start, content[start : start + 4096]) for start in range(0, len(content), 4096)]
    for start, piece in pieces[1::2] + pieces[::2]:
        fcntl.lockf(fd, fcntl.LOCK_EX, len(piece), start)
        os.pwrite(fd, piece, start)
        fcntl.lockf(fd, fcntl.LOCK_UN, len(piece), start)
    assert os.pread(fd, len(content), 0) == content
    os.ftruncate(fd, len(content))
    os.setxattr(fd, "user.DOSATTRIB", struct.pack("<HHII", 0, 4, 4, 0x20) + bytes(40))
    os.utime(fd, ns=(1_700_000_000_000_000_100, 1_700_000_000_000_000_200))
    os.fsync(fd)
    os.close(fd)
    if path.exists():
        path.rename(old)
    new.rename(path)
    assert path.name in os.listdir(path.parent)
    old.unlink(missing_ok=True)
    assert path.stat().st_mtime_ns == 1_700_000_000_000_000_200
    assert os.getxattr(path, "user.DOSATTRIB")[8:12] == b"\x20\0\0\0"


SAVE = {"libreoffice": libreoffice, "word": word}


def main(path: Path, program: str, count: int = 0) -> None:
    """Save, for ever with a count of 0, and tidy up as the program does when it is closed."""
    number = 0
    while number != count or not count:
        number += 1
        SAVE[program](path, document(number), first=number == 1)
        print(number, flush=True)
    path.with_name(f".~lock.{path.name}#").unlink(missing_ok=True)
    path.with_name("~$" + path.name[2:]).unlink(missing_ok=True)


main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
