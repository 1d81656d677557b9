"""``mount -t fuse.cloakfs VOLUME MOUNTPOINT -o ...`` and /etc/fstab: what mount(8) calls.

Owns: the calling convention of mount(8), as in ``/sbin/mount.fuse.cloakfs SPEC DIR [-sfnv] [-N NS] [-o OPTIONS]
[-t TYPE]``. Must not know: how mounting is done (``mounting.py``). docs/fstab.md tells users.
"""

from __future__ import annotations

import getopt
import sys
from typing import Final, NoReturn

from encfs.cli import main as command_line
from encfs.errors import ExitCode, UsageError

_PROGRAM: Final = "mount.fuse.cloakfs"
_USAGE: Final = (
    f"Usage: {_PROGRAM} VOLUME MOUNTPOINT [-sfnv] [-o OPTIONS] [-t TYPE]; mount(8) calls it (docs/fstab.md)."
)


def main() -> NoReturn:
    """Mount as mount(8) asks, and end the process."""
    arguments = sys.argv[1:]
    sys.exit(command_line.run(lambda: _mount(arguments), command_line.Manners(program=_PROGRAM)))


def _mount(arguments: list[str]) -> ExitCode:
    # Loaded here, so that an error in loading is told like any other.
    from encfs.cli import auditing, mount_options, mounting, output  # noqa: PLC0415

    try:
        given, words = getopt.gnu_getopt(arguments, "sfnvwrN:o:t:h", ["help"])
    except getopt.GetoptError as exc:
        raise UsageError(str(exc), hint=_USAGE) from exc
    switches = {name for name, _ in given}
    if switches & {"-h", "--help"}:
        output.say(_USAGE)
        return ExitCode.OK
    if len(words) != 2:
        raise UsageError("a volume and a mount point are needed", hint=_USAGE)
    options = mount_options.parse([value for name, value in given if name == "-o"], sloppy="-s" in switches)
    if "-f" in switches:
        return ExitCode.OK  # "Fake": everything but the mount itself.

    @auditing.recorded("volume.mount")
    def mount(*, volume: str) -> ExitCode:
        status = mounting.mount(
            mounting.MountRequest(
                volume=volume,
                mountpoint=words[1],
                secret=options.secret,
                read_only=bool(options.read_only) or "-r" in switches,
                allow_other=bool(options.allow_other),
                log=options.log or "syslog",
                idle=mount_options.idle_rule(options.idle, options.idle_open),
                kernel_options=options.kernel,
            )
        )
        if "-v" in switches:
            mounting.tell(status)
        return ExitCode.OK

    return mount(volume=words[0])
