"""Mounting, for ``cloakfs mount`` and for mount(8).

Owns: the order: what can be checked without a passphrase is checked before one is asked for. Must not know: how
the call was spelled, what the daemon does.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from encfs.cli import control, output, progress
from encfs.cli.cmd_status import recovery_text
from encfs.cli.main import default_signals
from encfs.cli.secrets import SecretOptions, config_of, require_source, unlock
from encfs.errors import CloakfsError, MountpointError, NoFuseError, UsageError, VolumeInUseError
from encfs.volume.volume import Volume

if TYPE_CHECKING:
    from encfs.fuse.daemon import MountOptions

_STATUS_TIMEOUT: Final = 10.0
_FUSE_HINT: Final = (
    "On Debian: apt-get install fuse3 libfuse3-dev pkg-config gcc python3-dev, then: pip install 'cloakfs[mount]'\n"
    "  Without FUSE a volume can still be read: cloakfs cat, cloakfs export."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MountRequest:
    """What shall be mounted where and how.

    Attributes:
        log: a file's path, or "syslog".
        kernel_options: of mount(8), such as ``noatime``.
    """

    volume: str
    mountpoint: str
    secret: SecretOptions
    read_only: bool = False
    allow_other: bool = False
    foreground: bool = False
    log: str = "syslog"
    kernel_options: tuple[str, ...] = ()
    debug: bool = False


def mount(request: MountRequest) -> dict[str, Any]:
    """Mount; comes back when the mount answers, or in the foreground when it is gone again.

    Returns:
        What the daemon says about itself; nothing in the foreground.

    Raises:
        CloakfsError, OSError: with the reason; then nothing is mounted.
    """
    volume, mountpoint = os.path.realpath(request.volume), _real(request.mountpoint)
    config = config_of(request.volume)
    _check_apart(volume, mountpoint)
    daemon = _daemon()
    options = _mount_options(request, volume, mountpoint)
    daemon.check_mountpoint(options)
    _check_free(volume)
    require_source(request.secret)
    opened = unlock(request.volume, request.secret, read_only=request.read_only, mountpoint=mountpoint)
    if request.read_only is False and opened.ctx.read_only:
        output.warn("a newer cloakfs wrote this volume; this version can only read it")
    if request.foreground:
        output.remark(f"Mounted at {output.printable(mountpoint)} until Ctrl-C, or: cloakfs lock")
    default_signals()
    _start(daemon, opened, options, foreground=request.foreground)
    if request.foreground:
        return {}
    with progress.activity("Asking the mount"):
        reply = control.ask(control.runtime.socket_path(config.volume_id), {"verb": "status"}, timeout=_STATUS_TIMEOUT)
    status: dict[str, Any] = reply["status"]
    return status


def _real(path: str) -> str:
    """The mount point without symlinks. Its last part is not looked at: it may be a mount that hangs."""
    absolute = os.path.abspath(path)
    return os.path.join(os.path.realpath(os.path.dirname(absolute)), os.path.basename(absolute))
