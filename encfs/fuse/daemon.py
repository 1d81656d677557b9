"""The process of a mount: into the background, hardened, with a log; and back to the caller with a word on how it went.

Owns: fork, descriptors, logging. Must not know: requests.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import resource
import signal
import sys
import traceback
from pathlib import Path

from encfs import runtime
from encfs.errors import CloakfsError, ExitCode
from encfs.fuse.control import ControlServer
from encfs.fuse.mount import MountOptions, check_mountpoint
from encfs.fuse.serve import MountServer
from encfs.locking import MountJournal
from encfs.memory import process
from encfs.volume.volume import Volume

__all__ = ["MountOptions", "check_mountpoint", "start"]

_SYSLOG = Path("/dev/log")
_OPEN_FILES = 65536


class MountFailedError(CloakfsError):
    """What the child process reported before it ended."""

    def __init__(self, message: str, hint: str, exit_code: ExitCode) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


def start(volume: Volume, options: MountOptions, *, foreground: bool, locks: MountJournal | None = None) -> None:
    """Serve ``volume`` at the mount point, and tell ``locks`` how that ends.

    In the foreground this returns when the mount is gone. Else a child process serves, and this returns in the
    parent when the mount answers; ``volume`` belongs to the child then.

    Raises:
        CloakfsError: mounting failed; the volume is closed and locked.
    """
    try:
        ControlServer.claim(volume.config.volume_id)
    except CloakfsError:
        volume.close()
        raise
    if foreground:
        _leave_on_sigterm()
        _harden()
        _start_log(options, foreground=True)
        MountServer(volume, options, locks).run(lambda: None)
        return
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _child(volume, options, locks, writer)
    os.close(writer)
    volume.disown()
    try:
        _await_child(reader)
    except BaseException:
        # Ctrl-C, or the child has failed: whoever was told of no mount gets none.
        _end_child(child)
        raise


def _end_child(child: int) -> None:
    """Let the child lock the volume, and wait for its end."""
    try:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
    except (ProcessLookupError, ChildProcessError):
        return  # It has ended already.


def _await_child(reader: int) -> None:
    with os.fdopen(reader, "rb") as pipe:
        word = pipe.read()
    if not word:
        raise CloakfsError("the mount process ended before the mount answered", hint="Its log says more.")
    report = json.loads(word)
    if not report["ok"]:
        raise MountFailedError(report["message"], report["hint"], ExitCode(report["exit_code"]))


def _child(volume: Volume, options: MountOptions, locks: MountJournal | None, writer: int) -> None:
    """Never returns."""
    status = 1
    try:
        os.setsid()
        _leave_on_sigterm()
        _harden()
        _start_log(options, foreground=False)
        volume.sessions.adopt(os.getpid())
        _leave_terminal()
        MountServer(volume, options, locks).run(lambda: _report(writer, {"ok": True}))
        status = 0
    except CloakfsError as exc:
        logging.getLogger("cloakfs").error("%s", exc)
        _report(writer, {"ok": False, "message": str(exc), "hint": exc.hint, "exit_code": int(ExitCode(exc.exit_code))})
    except BaseException as exc:  # noqa: BLE001 - the process ends here, and its parent is told
        trace = "".join(traceback.format_tb(exc.__traceback__))
        logging.getLogger("cloakfs").critical("the mount process fails: %s\n%s", type(exc).__name__, trace)
        _report(
            writer, {"ok": False, "message": "the mount process failed", "hint": "Its log says more.", "exit_code": 1}
        )
    finally:
        os._exit(status)


def _leave_on_sigterm() -> None:
    """Before and after the main loop, which has its own way: leave through the clean-up."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def _report(writer: int, word: dict[str, object]) -> None:
    try:
        os.write(writer, json.dumps(word).encode())
        os.close(writer)
    except OSError:
        return  # Reported already, or the parent is gone: the log has it.


def _leave_terminal() -> None:
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)


def _harden() -> None:
    """Protected memory; room for descriptors; files get exactly the mode that is asked for."""
    process.protect()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    os.umask(0)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def _start_log(options: MountOptions, *, foreground: bool) -> None:
    handler: logging.Handler
    if foreground:
        handler = logging.StreamHandler()
    elif options.log == "syslog" and _SYSLOG.exists():
        handler = logging.handlers.SysLogHandler(str(_SYSLOG), facility=logging.handlers.SysLogHandler.LOG_DAEMON)
    else:
        handler = logging.FileHandler(_log_file(options))
    handler.setFormatter(logging.Formatter("cloakfs[%(process)d]: %(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("pyfuse3").setLevel(logging.WARNING)


def _log_file(options: MountOptions) -> str:
    if options.log != "syslog":
        return options.log
    return str(runtime.state_directory() / "cloakfs.log")
