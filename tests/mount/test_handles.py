"""File handles (name_to_handle_at(2)), by which NFS servers name files: they work for a while, then are stale.

NFS is not supported (docs/media.md). What is promised is that a handle never leads to another file.
"""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

from tests.mount.conftest import Maker
from tests.support.linux import needs_root
from tests.support.mounting import MountedVolume

pytestmark = needs_root

_AT_FDCWD = -100
_BYTES = 128
_libc = ctypes.CDLL(None, use_errno=True)


class Handle(ctypes.Structure):
    """``struct file_handle``."""

    _fields_ = (("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("value", ctypes.c_ubyte * _BYTES))


def handle_of(path: Path) -> Handle:
    """The handle of a file, as an NFS server keeps it for its clients."""
    handle, mount = Handle(bytes=_BYTES), ctypes.c_int()
    if _libc.name_to_handle_at(_AT_FDCWD, os.fsencode(path), ctypes.byref(handle), ctypes.byref(mount), 0):
        raise OSError(ctypes.get_errno(), "name_to_handle_at")
    return handle


def content_by(handle: Handle, mount: Path) -> bytes | str:
    """What the file of a handle has in it, or the name of the errno."""
    mount_fd = os.open(mount, os.O_RDONLY)
    try:
        fd = _libc.open_by_handle_at(mount_fd, ctypes.byref(handle), os.O_RDONLY)
        if fd < 0:
            return errno.errorcode[ctypes.get_errno()]
        try:
            return os.read(fd, 100)
        finally:
            os.close(fd)
    finally:
        os.close(mount_fd)


def write(volume: MountedVolume, name: str) -> Handle:
    """A file with its own name in it; its handle."""
    path = volume.path / name
    path.write_bytes(name.encode())
    return handle_of(path)


def test_handles_never_lead_to_another_file(make_volume: Maker) -> None:
    """A handle leads to its file or is stale: while the mount lives, when the file is gone and its number is used
    again, when the kernel has forgotten the file, and after a restart of the daemon.
    """
    volume = make_volume()
    names = [f"letter {number}" for number in range(20)]
    handles = {name: write(volume, name) for name in names}
    with (volume.path / names[0]).open("rb"):
        assert content_by(handles[names[0]], volume.path) == names[0].encode()

    for name in names[::2]:
        (volume.path / name).unlink()  # ext4 gives its number to the next file.
    for name in names[1::2]:
        assert content_by(handles[name], volume.path) in {name.encode(), "ESTALE"}
    successors = [f"other {number}" for number in range(20)]
    later = {name: write(volume, name) for name in successors}
    for name in names[::2]:
        assert content_by(handles[name], volume.path) == "ESTALE"

    Path("/proc/sys/vm/drop_caches").write_text("2")
    for name, handle in (handles | later).items():
        assert content_by(handle, volume.path) in {name.encode(), "ESTALE"}
    volume.remount()
    for name in names[1::2] + successors:
        assert (volume.path / name).read_bytes() == name.encode()
    for name, handle in (handles | later).items():
        assert content_by(handle, volume.path) in {name.encode(), "ESTALE"}
