"""Talking to the daemon of a mounted volume (docs/control.md).

Owns: the client's side of the control socket: JSON lines, one request for each connection. Must not know: who
asks, how answers are shown.
"""

from __future__ import annotations

import json
import os
import select
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

from encfs import runtime
from encfs.errors import CloakfsError, NotMountedError

Reply = dict[str, Any]
_STATUS_TIMEOUT: Final = 10.0
_REPLY_MAX: Final = 1 << 24


class NotAnsweringError(NotMountedError):
    """Nobody listens on the socket: the daemon is gone."""


class SilentError(CloakfsError):
    """The daemon is there, and does not answer in time."""


class BrokeOffError(CloakfsError):
    """The daemon ended in the middle of an answer."""


_OF_THE_CLIENT: Final = (NotAnsweringError, SilentError, BrokeOffError)


@dataclass(frozen=True, slots=True)
class Mounted:
    """A volume that is mounted on this host by a daemon that answers.

    Attributes:
        socket: its control socket.
        status: what it said about itself (docs/control.md, ``status``).
    """

    socket: Path
    status: Reply

    @property
    def volume(self) -> str:
        return str(self.status["volume"])

    @property
    def mountpoint(self) -> str:
        return str(self.status["mountpoint"])

    @property
    def pid(self) -> int:
        return int(self.status["pid"])


def talk(path: Path, request: Mapping[str, object], *, timeout: float | None = None) -> Iterator[Reply]:
    """Send one request, yield every reply. The last one has ``done``.

    Args:
        path: the control socket.
        request: the request.
        timeout: seconds to wait for each reply; None for ever (a lock writes everything to the disk first).

    Raises:
        NotAnsweringError: nobody listens there.
        CloakfsError: the daemon refuses, with the class that its exit code says; or it broke off.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(os.fspath(path))
            connection.sendall(json.dumps(request).encode("ascii") + b"\n")
        except TimeoutError as exc:
            raise _silent() from exc
        except OSError as exc:
            raise NotAnsweringError(f"no daemon answers at {path}: {exc.strerror}") from exc
        yield from _replies(connection)


def _replies(connection: socket.socket) -> Iterator[Reply]:
    with connection.makefile("rb") as lines:
        while True:
            try:
                line = lines.readline(_REPLY_MAX)
            except TimeoutError as exc:
                raise _silent() from exc
            except OSError:
                line = b""
            if not line.endswith(b"\n"):
                raise BrokeOffError("the daemon ended before it had answered", hint="Look into its log.")
            reply = json.loads(line)
            if reply.get("done") and not reply.get("ok"):
                raise error_of(reply.get("error") or {})
            yield reply
            if reply.get("done"):
                return


def ask(path: Path, request: Mapping[str, object], *, timeout: float | None = None) -> Reply:
    """Send one request and return the last reply. Raises as :func:`talk`."""
    return list(talk(path, request, timeout=timeout))[-1]


def status(path: Path) -> Reply:
    """What the daemon behind a control socket says about itself. Raises as :func:`talk`."""
    found: Reply = ask(path, {"verb": "status"}, timeout=_STATUS_TIMEOUT)["status"]
    return found


def mounted_volumes() -> list[Mounted]:
    """All volumes that daemons of this user serve, by mount point."""
    return sorted((one for one in _answers() if one is not None), key=lambda mounted: mounted.mountpoint)


def mounted_at(mountpoint: str) -> Mounted | None:
    """The volume that a daemon of this user serves at a mount point; others that are silent are not waited for."""
    return next((one for one in _answers() if one is not None and one.mountpoint == mountpoint), None)


def _answers() -> Iterator[Mounted | None]:
    """What each daemon says, in the order in which they answer; None of one that does not."""
    answers: SimpleQueue[Mounted | None] = SimpleQueue()

    def ask_one(path: Path) -> None:
        answer = None
        try:
            answer = Mounted(path, status(path))
        except CloakfsError:
            pass  # Left by a daemon that was killed; or it is just ending, or silent.
        finally:
            answers.put(answer)

    paths = runtime.sockets()
    # All at once: each silent daemon costs the whole time limit.
    for path in paths:
        threading.Thread(target=ask_one, args=(path,), daemon=True).start()
    for _ in paths:
        yield answers.get()


def wait_for_end(pidfd: int, seconds: float) -> bool:
    """Wait until the process of a descriptor from :func:`os.pidfd_open` has ended."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _silent() -> SilentError:
    return SilentError("the daemon of this mount does not answer", hint="Is the disk below it very slow, or gone?")


def error_of(error: Mapping[str, Any]) -> CloakfsError:
    """The exception that the daemon, or another cloakfs, had, as far as its exit code tells the class."""
    message, hint = str(error.get("message", "the daemon refuses")), str(error.get("hint", ""))
    pending: list[type[CloakfsError]] = [CloakfsError]
    while pending:
        kind = pending.pop(0)
        if kind not in _OF_THE_CLIENT and int(kind.exit_code) == error.get("exit_code"):
            return kind(message, hint=hint)
        pending.extend(kind.__subclasses__())
    return CloakfsError(message, hint=hint)
