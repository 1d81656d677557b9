"""The systemd unit that mounts the volume of a share and takes the share away with the mount.

Owns: its text. Must not know: where it is written, Samba's settings.

smbd goes on when a volume is locked, since it may have other shares. What is bound to the mount is the share: before
the volume is locked the guard is told to let nobody in, and smbd to let go of the share. smbd is told so as well when
the daemon dies.
"""

from __future__ import annotations

from encfs.share.definition import FOLDER, ShareSpec

_ASK = "/usr/bin/systemd-ask-password --timeout=300"


def unit(spec: ShareSpec, program: str) -> str:
    """The text of the service.

    Args:
        spec: the share.
        program: the ``cloakfs`` command; absolute.
    """
    return (_HEAD + (_WITH_FILE if spec.passphrase_file else _WITH_PERSON) + _TAIL).format(
        name=spec.name,
        folder=FOLDER,
        volume=spec.volume,
        mountpoint=spec.mountpoint,
        runtime=spec.closing.split("/")[-2],
        closing=spec.closing,
        program=program,
        file=spec.passphrase_file,
        ask=_ASK,
    ) + (_AT_BOOT if spec.passphrase_file else "")


_HEAD = """\
# The encrypted volume behind the share {name}. Written by: cloakfs share init
# See whether all of it holds with: cloakfs share check {name}

[Unit]
Description=Encrypted volume of the share {name}
RequiresMountsFor="{volume}" "{mountpoint}"
# When the machine starts, smbd finds the files; when it stops, smbd lets go of them before the volume is locked.
Before=smbd.service

[Service]
# "cloakfs mount" comes back when the mount answers.
Type=forking
RuntimeDirectory={runtime}
# After a crash the volume is checked first, which takes as long as it takes.
TimeoutStartSec=infinity
"""
_WITH_FILE = """\
# cloakfs reads the passphrase from a directory in memory that only this unit has. The file must not be on the disk
# with the volume, or who takes that disk has both.
LoadCredential="passphrase:{file}"
ExecStart="{program}" mount "{volume}" "{mountpoint}" --allow-other --passphrase-file "%d/passphrase"
# A daemon that died is started again, and the volume repairs itself. A wrong passphrase is not tried again.
Restart=on-abnormal
RestartSec=5
"""
_WITH_PERSON = """\
# The passphrase is on no disk: "systemctl start" asks whoever types it.
ExecStart="{program}" mount "{volume}" "{mountpoint}" --allow-other \\
    --passphrase-command "{ask} 'Passphrase of {volume}:'"
"""
_TAIL = """\
# Nobody new gets in, those who are in are let go, and then it is locked. If programs on this machine still use the
# files, that fails and names them in the journal; the signal that systemd sends then locks it all the same: everything
# is written, and those programs lose their files.
ExecStop=-/usr/bin/touch "{closing}"
ExecStop=-/usr/bin/smbcontrol smbd close-share "{name}"
ExecStop=-"{program}" lock "{mountpoint}"
# If the daemon has died: clients are let go, and what is left at the mount point is taken away. The guard in the
# share, and that the folder {folder} exists only inside of the mount, keep everybody out until it is mounted again.
ExecStopPost=-/usr/bin/smbcontrol smbd close-share "{name}"
ExecStopPost=-/bin/sh -c '[ "$$SERVICE_RESULT" = success ] || "{program}" lock --force "{mountpoint}"'
# A slow disk may have much to write.
TimeoutStopSec=15min
"""
_AT_BOOT = """
[Install]
WantedBy=multi-user.target
"""
