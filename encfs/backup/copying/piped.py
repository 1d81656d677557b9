"""Files of a remote that are read here and there: one rclone that answers for as long as it is needed.

Owns: the few words of SFTP that this takes (draft-ietf-secsh-filexfer-02), spoken through the pipes of ``rclone serve
sftp --stdio``: no network, no password. Must not know: what is read.

A download for each file would cost a new connection for each, and all of a file of which only the header is asked.
"""

from __future__ import annotations

import errno
import os
import select
import struct
import subprocess
import threading
from typing import Final

from encfs.backup import rclone

_INIT, _VERSION, _OPEN, _CLOSE, _READ = 1, 2, 3, 4, 5
_STATUS, _HANDLE, _DATA = 101, 102, 103
_END, _NO_SUCH_FILE = 1, 2
_PIECE: Final = 32 << 10
_AT_ONCE: Final = 16
_ANSWER_MAX: Final = 1 << 20
PATIENCE = 180.0
"""Seconds without any answer after which the remote is taken to be gone: rclone itself waits for 60 and tries again."""


class Piped:
    """A remote that is read."""

    def __init__(self, remote: str) -> None:
        """Raises: BackupError: rclone is not installed. OSError: it does not answer."""
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [*rclone.command(), "serve", "sftp", "--stdio", "--read-only", remote],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=rclone.environment(),
        )
        try:
            self._send(_INIT, struct.pack(">I", 3))
            if self._receive()[0] != _VERSION:
                raise _broken()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """It ends, and what is open with it."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.wait()

    def open(self, path: str) -> PipedReader:
        """A file of it. Raises: FileNotFoundError: it is not there. OSError: nothing comes any more."""
        with self._lock:
            self._send(_OPEN, struct.pack(">I", 0) + _text(path.encode()) + struct.pack(">II", 1, 0))
            kind, answer = self._receive()
            if kind == _HANDLE:
                return PipedReader(self, answer[8:])
            raise self._failure(kind, answer)

    def read(self, handle: bytes, size: int, offset: int) -> bytes:
        """Up to ``size`` bytes; fewer only where the file ends. Raises: OSError."""
        pieces: list[bytes] = []
        with self._lock:
            while size:
                wanted = [min(_PIECE, size - at) for at in range(0, min(size, _PIECE * _AT_ONCE), _PIECE)]
                found = self._read_some(handle, wanted, offset)
                pieces += found
                got = sum(map(len, found))
                offset, size = offset + got, size - got
                if got < sum(wanted) and not (found and found[-1]):
                    break
        return b"".join(pieces)

    def _read_some(self, handle: bytes, wanted: list[int], offset: int) -> list[bytes]:
        """Several at once; what comes up to the first one that is short."""
        at = offset
        for number, size in enumerate(wanted):
            self._send(_READ, struct.pack(">I", number) + _text(handle) + struct.pack(">QI", at, size))
            at += size
        answers: dict[int, bytes] = {}
        failure: OSError | None = None
        for _ in wanted:
            kind, answer = self._receive()
            number, word = struct.unpack_from(">II", answer)
            if kind == _DATA:
                answers[number] = answer[8:]
            elif kind == _STATUS and word == _END:
                answers[number] = b""
            else:
                failure = self._failure(kind, answer)
        if failure is not None:
            raise failure
        found = []
        for number, size in enumerate(wanted):
            found.append(answers[number])
            if len(answers[number]) < size:
                break
        return found

    def forget(self, handle: bytes) -> None:
        """A file is not needed any more."""
        with self._lock:
            self._send(_CLOSE, struct.pack(">I", 0) + _text(handle))
            self._receive()

    def _send(self, kind: int, content: bytes) -> None:
        assert self._process.stdin is not None
        pending = memoryview(struct.pack(">IB", len(content) + 1, kind) + content)
        while pending:
            pending = pending[os.write(self._process.stdin.fileno(), pending) :]

    def _receive(self) -> tuple[int, bytes]:
        size, kind = struct.unpack(">IB", self._exactly(5))
        if not 1 <= size <= _ANSWER_MAX:
            raise _broken()
        return kind, self._exactly(size - 1)

    def _exactly(self, size: int) -> bytes:
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        found = bytearray()
        while len(found) < size:
            ready, _, _ = select.select([fd], [], [], PATIENCE)
            piece = os.read(fd, size - len(found)) if ready else b""
            if not piece:
                self._process.kill()  # What would come now is the answer to something else.
                raise _broken()
            found += piece
        return bytes(found)

    @staticmethod
    def _failure(kind: int, answer: bytes) -> OSError:
        code = struct.unpack_from(">I", answer, 4)[0] if kind == _STATUS else 0
        missing = code == _NO_SUCH_FILE
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) if missing else _broken()


class PipedReader:
    """Satisfies :class:`encfs.backup.copying.target.Reader`."""

    def __init__(self, piped: Piped, handle: bytes) -> None:
        self._piped = piped
        self._handle = handle

    def pread(self, size: int, offset: int) -> bytes:
        return self._piped.read(self._handle, size, offset)

    def close(self) -> None:
        try:
            self._piped.forget(self._handle)
        except (OSError, ValueError):
            pass  # It has ended, and this with it.


def _text(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def _broken() -> OSError:
    return OSError(errno.EIO, os.strerror(errno.EIO))
