"""Bringing everything that programs wrote through a mount onto its lower files (docs/control.md, ``quiesce``).

Owns: the three steps of it: the kernel's cache, what the kernel is just sending, what the daemon still owes the lower
files. Must not know: what is backed up, how often. FORMAT.md section 18.
"""

from __future__ import annotations

import ctypes
import errno
import os
import pwd
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from encfs import control, runtime
from encfs.errors import BackupError
from encfs.units import VolumeId

# A file that is renamed between two looks is looked for again; so often, and then somebody does nothing else. So often
# the kernel may tell of a program that was killed, too.
_ROUNDS: Final = 50
# The daemon answers at once, or when the disk has taken what it owes.
_PATIENCE: Final = 600.0
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# What the kernel may say, once, of a mount or of a file after a program was killed while it renamed: sending a time was
# broken off, or is found to have been. 34 of 250 such kills did that on Linux 6.18. No byte is lost by it.
OF_A_KILL: Final = frozenset({errno.EINTR, errno.EIO})
# By that path there is another file now, or none.
_MOVED: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE, errno.ENXIO, errno.EISDIR})
# Whoever may not read a file here may not read its lower file either: it is not in a backup of this user.
_NOT_OURS: Final = frozenset({errno.EACCES, errno.EPERM})


def flusher(volume_id: VolumeId, mountpoint: bytes) -> Callable[[], None]:
    """What brings a mounted volume's lower files up to date; to be called as often as it is needed.

    When it returns, each lower file holds all that was written before the call, in its final state, and is on the
    medium. Programs go on writing. It counts as no use of the mount.

    Args:
        volume_id: of the volume.
        mountpoint: where it is mounted, absolute.

    Returns:
        The call. It raises:
            BackupError: the volume was locked, its daemon is gone or silent, or it may not be asked.
            CloakfsError: the daemon refuses, as where the medium is full or gone.
            OSError: what the kernel says, where the mount has refused a write; then something written may be lost, as
                with an fsync that fails.
    """
    return lambda: _flush(volume_id, mountpoint)


def _flush(volume_id: VolumeId, mountpoint: bytes) -> None:
    for left in reversed(range(_ROUNDS)):
        try:
            _flush_once(volume_id, mountpoint)
        except OSError as exc:
            if exc.errno not in OF_A_KILL or not left:
                raise
            if _ask(_socket(volume_id, mountpoint), durable=False)["refused_writes"]:
                raise
        else:
            break


def _flush_once(volume_id: VolumeId, mountpoint: bytes) -> None:
    sync_mount(mountpoint)
    socket = _socket(volume_id, mountpoint)
    # All paths by which a file was found: one that goes to and fro is at one of two.
    paths = {inode: {path} for inode, path in _writing(_ask(socket, durable=False)).items()}
    for _ in range(_ROUNDS):
        paths = {inode: known for inode, known in paths.items() if not _wait_for_writes(mountpoint, inode, known)}
        if not paths:
            break
        now = _writing(_ask(socket, durable=False))
        paths = {inode: known | {now[inode]} for inode, known in paths.items() if inode in now}
    else:
        raise BackupError(
            "a file in the volume is renamed all the time: it cannot be flushed",
            hint="Find the program that does it, end it, and run the backup again.",
        )
    _ask(socket, durable=True)


def sync_mount(mountpoint: bytes) -> None:
    """Make the kernel send what it keeps of a mounted volume. Raises: BackupError: it is not mounted there."""
    try:
        os.lstat(mountpoint)  # Says why; the next line would only say no.
        if not os.path.ismount(mountpoint):
            raise _locked()
        fd = os.open(mountpoint, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as exc:
        if exc.errno in (errno.ENOTCONN, errno.ECONNABORTED):
            raise _locked() from exc
        if exc.errno in _NOT_OURS:
            raise BackupError(
                "the mount of the volume does not let this user in",
                hint="Run the backup as the user who mounted the volume, or mount it with --allow-other.",
            ) from exc
        raise
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(fd):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
    finally:
        os.close(fd)


def _wait_for_writes(mountpoint: bytes, inode: int, paths: Iterable[bytes]) -> bool:
    """Let the kernel end all writes to a file: closing it does that, in FUSE, whoever wrote. False: it is not there."""
    return any(_open_and_close(os.path.join(mountpoint, path), inode) for path in paths)


def _open_and_close(path: bytes, inode: int) -> bool:
    """Whether the file with this number is there."""
    try:
        fd = os.open(path, _READ)
    except OSError as exc:
        if exc.errno in _NOT_OURS:
            return True
        if exc.errno in (errno.ENOTCONN, errno.ECONNABORTED):
            raise _locked() from exc
        if exc.errno in _MOVED:
            return False
        # Not from it: that one has a plain name.
        raise OSError(exc.errno, exc.strerror) from None
    try:
        info = os.fstat(fd)
        return info.st_ino == inode and stat.S_ISREG(info.st_mode)
    finally:
        os.close(fd)


def _socket(volume_id: VolumeId, mountpoint: bytes) -> Path:
    """The control socket; root finds that of the user whose volume it is, too."""
    socket = runtime.socket_path(volume_id)
    if not socket.exists() and os.geteuid() == 0:
        with suppress(KeyError):
            owner = pwd.getpwuid(os.stat(mountpoint).st_uid)
            return next(iter(runtime.sockets_of_user(volume_id, owner.pw_uid, owner.pw_dir)), socket)
    return socket


def _ask(socket: Path, *, durable: bool) -> dict[str, Any]:
    try:
        reply = control.ask(socket, {"verb": "quiesce", "durable": durable}, timeout=_PATIENCE)
    except (control.NotAnsweringError, control.BrokeOffError) as exc:
        raise _locked() from exc
    except control.SilentError as exc:
        raise BackupError(str(exc), hint=exc.hint) from exc
    found: dict[str, Any] = reply["quiesced"]
    return found


def _writing(quiesced: dict[str, Any]) -> dict[int, bytes]:
    """The plain paths of files that are open for writing, by their numbers."""
    return {int(one["inode"]): str(one["path"]).encode("utf-8", "surrogateescape") for one in quiesced["writing"]}


def _locked() -> BackupError:
    return BackupError(
        "the volume was locked, or its mount ended, while it was backed up",
        hint="Nothing is lost: this run does not count, and the next one goes on from here. Run the backup again.",
    )
