"""The control socket of a running mount (docs/control.md): status, lock, verify, checkpoint, rotate, quiesce.

Owns: the protocol on the daemon's side, who may speak it. Must not know: how lines are shown to a user.
One request per connection; every line is one JSON object; the last has ``"done": true``.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Generator, Iterator
from dataclasses import asdict
from errno import EACCES

import trio

from encfs import runtime
from encfs.errors import CloakfsError, ExitCode, MountBusyError, UsageError, VolumeInUseError
from encfs.format.limits import KEY_SIZE
from encfs.fuse.errnos import logger
from encfs.fuse.quiescing import quiesce
from encfs.fuse.rotating import Rotating
from encfs.fuse.state import MountState
from encfs.locking import LockReason
from encfs.volume.checkpoint_make import CheckpointMaker, Step
from encfs.volume.checkpoint_verify import CheckpointVerifier
from encfs.volume.medium import gone_error
from encfs.volume.steps import Waiting
from encfs.volume.verify import Finding, Progress, Reading, Verifier

_MAX_REQUEST = 1 << 20
_UCRED = struct.Struct("3i")
Reply = dict[str, object]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


class ControlServer:
    """Serves the control socket of one mount.

    Args:
        state: the mount.
        describe: what ``status`` answers.
        lock: takes the mount off (``force`` or not), for a reason; the daemon then ends and closes the volume.
        rotating: the rotation of its keys.
    """

    def __init__(
        self,
        state: MountState,
        describe: Callable[[], Reply],
        lock: Callable[[bool, LockReason], Awaitable[None]],
        rotating: Rotating,
    ) -> None:
        self._state = state
        self._rotating = rotating
        self._describe = describe
        self._lock = lock
        self._path = runtime.socket_path(state.volume.config.volume_id)
        self._making_checkpoint = False
        self.locked_connections: list[trio.SocketStream] = []

    @staticmethod
    def claim(volume_id: bytes) -> None:
        """Make sure that no live mount of this volume answers on the socket already.

        Raises:
            VolumeInUseError: one does.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(runtime.socket_path(volume_id)))
            except OSError:
                return
        text = "the volume, or a copy of it, is already mounted on this host"
        raise VolumeInUseError(text, hint="See: cloakfs status")

    def listen(self) -> trio.SocketListener:
        """Bind the socket, mode 0600. A leftover of a dead daemon is replaced: the volume lock says it is dead."""
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        old = os.umask(0o177)
        try:
            listener.bind(str(self._path))
        finally:
            os.umask(old)
        listener.listen(8)
        return trio.SocketListener(trio.socket.from_stdlib_socket(listener))

    def remove(self) -> None:
        """Remove the socket from the filesystem."""
        self._path.unlink(missing_ok=True)

    async def serve(self, stream: trio.SocketStream) -> None:
        """Answer one connection; whatever goes wrong with it harms only it."""
        keep = False
        try:
            keep = await self._answer(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # The other side has gone: nobody is left to tell.
        except CloakfsError as exc:
            await _try_send(stream, error_reply(exc))
        except OSError as exc:
            await _try_send(stream, error_reply(CloakfsError(exc.strerror or "system error")))
        except Exception as exc:  # noqa: BLE001 - one bad request may not end the mount
            if self._state.medium.gone:  # The keys went in the middle of it.
                await _try_send(stream, error_reply(gone_error()))
                return
            logger.error("unexpected error in a control request", exc_info=exc)
            await _try_send(stream, error_reply(CloakfsError("internal error; see the log")))
        finally:
            if not keep:
                await stream.aclose()

    async def _answer(self, stream: trio.SocketStream) -> bool:
        self._check_peer(stream)
        request = await _receive(stream)
        verb = request.get("verb")
        if verb == "status":
            await _send(stream, {"done": True, "ok": True, "status": self._describe()})
        elif verb != "lock" and self._state.medium.gone:
            raise gone_error()
        elif verb == "verify":
            await self._verify(stream, request)
        elif verb == "checkpoint":
            await self._checkpoint(stream)
        elif verb == "rotate":
            await self._rotate(stream, request)
        elif verb == "quiesce":
            await self._quiesce(stream, request)
        elif verb == "lock":
            force = bool(request.get("force"))
            reason = LockReason.PANIC if request.get("all") else LockReason.FORCED if force else LockReason.ASKED
            self.locked_connections.append(stream)
            try:
                await self._lock(force, reason)
            except BaseException:
                self.locked_connections.remove(stream)
                raise
            return True
        else:
            raise UsageError("unknown verb")
        return False

    @staticmethod
    def _check_peer(stream: trio.SocketStream) -> None:
        """Only the user who mounted, and root."""
        raw = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        assert isinstance(raw, bytes)
        uid = _UCRED.unpack(raw)[1]
        if uid not in (0, os.geteuid()):
            raise OSError(EACCES, os.strerror(EACCES))

    async def _verify(self, stream: trio.SocketStream, request: Reply) -> None:
        paths, against = _paths(request.get("paths")), request.get("checkpoint")
        if against and paths:
            raise UsageError("a checkpoint is compared with the whole volume, not with paths in it")
        comparison = None
        if against:
            copy = os.fsencode(against) if isinstance(against, str) else None
            comparison = CheckpointVerifier(self._state.volume, copy)
            await self._state.thread(comparison.load)
        verifier = Verifier(self._state.volume, paths)
        await self._drive(stream, verifier.run())
        if comparison is not None:
            await self._drive(stream, comparison.run())
            assert comparison.summary is not None
            await _send(stream, {"comparison": asdict(comparison.summary)})
        summary = verifier.summary
        await _send(stream, {"done": True, "ok": True, "summary": {**asdict(summary), "clean": summary.clean}})

    async def _checkpoint(self, stream: trio.SocketStream) -> None:
        if self._making_checkpoint:
            raise MountBusyError("a checkpoint is being made already", hint="Wait until it is there.")
        maker = CheckpointMaker(self._state.volume, alone=False)
        self._making_checkpoint = True
        try:
            await self._drive(stream, maker.run())
        finally:
            self._making_checkpoint = False
        assert maker.result is not None
        await _send(stream, {"done": True, "ok": True, "checkpoint": asdict(maker.result)})

    async def _quiesce(self, stream: trio.SocketStream, request: Reply) -> None:
        durable = request.get("durable", True)
        if not isinstance(durable, bool):
            raise UsageError("durable is true or false")
        done = await quiesce(self._state, durable=durable)
        writing = [{"inode": one.inode, "path": _text(one.path)} for one in done.writing]
        answer = {**asdict(done), "session": done.session.hex() if any(done.session) else "", "writing": writing}
        await _send(stream, {"done": True, "ok": True, "quiesced": answer})

    async def _rotate(self, stream: trio.SocketStream, request: Reply) -> None:
        """Begin an epoch if its keys are given, and tell how the rotation goes on. It does without listeners too."""
        async with self._rotating.news() as news:
            if "epoch" in request:
                await self._rotating.begin(*_new_epoch(request))
            elif not self._state.volume.config.rotating:
                raise UsageError("no rotation is under way")
            async for one in news:
                if isinstance(one, Progress):
                    await _send(stream, {"progress": asdict(one)})
                elif isinstance(one, CloakfsError):
                    raise one
                else:
                    await _send(stream, {"done": True, "ok": True, "rotation": asdict(one)})
                    return

    async def _drive(self, stream: trio.SocketStream, steps: Iterator[Step]) -> None:
        """Do the steps of a long piece of work, and tell of them; requests are answered in between."""
        told = 0.0
        try:
            for step in steps:
                self._state.uses += 1
                if isinstance(step, Reading):
                    await self._warm(step)
                elif isinstance(step, Waiting):
                    await self._state.thread(step.call)
                elif isinstance(step, Finding):
                    await _send(stream, {"finding": finding_reply(step)})
                elif trio.current_time() - told > 0.1:
                    told = trio.current_time()
                    await _send(stream, {"progress": asdict(step)})
                else:
                    await trio.lowlevel.checkpoint()
        finally:
            if isinstance(steps, Generator):
                steps.close()  # Where the other side has gone in the middle: nothing half-made is left.

    async def _warm(self, step: Reading) -> None:
        """Bring what the next step reads into the page cache without holding up requests."""
        file = step.file
        await self._state.turn(file)
        await self._state.thread(lambda: file.prefetch(step.offset, step.size))
        await self._state.turn(file)

    async def tell_locked(self, failure: CloakfsError | None) -> None:
        """The last words to whoever asked for the lock: the volume is closed, or why not."""
        reply: Reply = {"done": True, "ok": True, "state": "clean"} if failure is None else error_reply(failure)
        for stream in self.locked_connections:
            await _try_send(stream, reply)
            await stream.aclose()


def finding_reply(finding: Finding) -> Reply:
    """A finding as JSON; names that are not UTF-8 keep their bytes as surrogates."""
    return {
        "severity": str(finding.severity),
        "code": finding.code,
        "path": _text(finding.path),
        "lower_path": _text(finding.lower_path),
        "detail": finding.detail,
    }


def error_reply(exc: CloakfsError) -> Reply:
    """An error as JSON, with the exit code the command ends with."""
    code = ExitCode(exc.exit_code)
    error = {"name": code.name, "exit_code": int(code), "message": str(exc), "hint": exc.hint}
    return {"done": True, "ok": False, "error": error}


def _new_epoch(request: Reply) -> tuple[int, bytes, bytes]:
    """Number, key and K_config of an epoch that begins.

    Raises:
        UsageError: they cannot be that. What was given is not repeated.
    """
    epoch, key, config_key = (request.get(name) for name in ("epoch", "key", "config_key"))
    if not isinstance(epoch, int) or not isinstance(key, str) or not isinstance(config_key, str):
        raise UsageError("an epoch has a number, a key and the key of the config")
    try:
        keys = bytes.fromhex(key), bytes.fromhex(config_key)
    except ValueError:
        raise UsageError("a key is given in hexadecimal digits") from None
    if any(len(one) != KEY_SIZE for one in keys):
        raise UsageError("a key has 32 bytes")
    return epoch, *keys


def _paths(value: object) -> list[bytes]:
    """Plain paths from a request.

    Raises:
        UsageError: it is not a list of texts.
    """
    paths: list[bytes] = []
    for path in value if isinstance(value, list) else [] if value is None else [value]:
        if not isinstance(path, str):
            raise UsageError("paths must be a list of texts")
        try:
            paths.append(path.encode("utf-8", "surrogateescape"))
        except UnicodeEncodeError:
            raise UsageError("paths must be a list of texts") from None
    return paths


async def _receive(stream: trio.SocketStream) -> Reply:
    data = bytearray()
    while b"\n" not in data and len(data) < _MAX_REQUEST:
        piece = await stream.receive_some(65536)
        if not piece:
            break
        data += piece
    try:
        request = json.loads(bytes(data))
    except (ValueError, RecursionError):
        raise UsageError("a request is one line of JSON") from None
    if not isinstance(request, dict):
        raise UsageError("a request is a JSON object")
    return request


async def _send(stream: trio.SocketStream, reply: Reply) -> None:
    await stream.send_all(json.dumps(reply).encode() + b"\n")


async def _try_send(stream: trio.SocketStream, reply: Reply) -> None:
    try:
        await _send(stream, reply)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # The other side has gone: nobody is left to tell.
