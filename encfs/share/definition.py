"""The text of a share for Samba: every setting with its reason beside it.

Owns: what a share over a mount must say, the command that guards it. Must not know: where it is written, whether it is
in force (``checks.py``), systemd (``units.py``).

What is shared is a folder inside of the mount. On the bare mount point it does not exist, so that nothing is served and
nothing is taken where the volume is locked or its daemon has died.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from encfs.errors import UsageError

FOLDER: Final = "Share"
"""What is shared, in the top directory of the volume."""
MOUNTED: Final = "fuse.cloakfs"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_GROUP: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
_RESERVED: Final = frozenset({"global", "homes", "printers", "ipc", "admin", "print", "netlogon", "sysvol"})
# What smb.conf, the shell and systemd each read as something else than itself.
_UNSAFE: Final = frozenset("'\"\\%$`;#*?[]")
# Samba's own list has CCM as well; Windows 10, macOS 10.15, smbclient and Linux speak GCM.
ENCRYPTIONS: Final = ("AES-256-GCM", "AES-128-GCM")
PROTOCOL: Final = "SMB3_11"

_WRITTEN_BY: Final = "# Written by: "

_Setting = tuple[str, str]  # name and value, in the order of smb.conf


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareSpec:
    """One share.

    Attributes:
        name: what clients see: ``//server/name``.
        volume: the volume directory; absolute.
        mountpoint: where it is mounted; absolute.
        group: the unix group whose members may use it.
        passphrase_file: what unlocks the volume when the server starts; None: a person types it.

    Raises:
        UsageError: a name or a path would mean something else to Samba, the shell or systemd.
    """

    name: str
    volume: str
    mountpoint: str
    group: str
    passphrase_file: str | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name.lower() in _RESERVED:
            raise UsageError(
                f"{self.name!r} cannot be the name of a share",
                hint="A name has up to 32 letters, digits, - and _, and is none that Samba keeps for itself.",
            )
        if not _GROUP.fullmatch(self.group):
            raise UsageError(f"{self.group!r} cannot be the name of a group", hint="Letters, digits, dot, - and _.")
        for path in filter(None, (self.volume, self.mountpoint, self.passphrase_file)):
            if not path.startswith("/") or path != path.strip() or _UNSAFE & set(path) or not path.isprintable():
                raise UsageError(
                    f"{path!r} cannot be in the files of Samba and systemd",
                    hint="Use a path without quotes, %, $, backslash, semicolon, #, *, ? and brackets.",
                )

    @property
    def folder(self) -> str:
        """What is shared. It exists only inside of the mount."""
        return f"{self.mountpoint}/{FOLDER}"

    @property
    def unit(self) -> str:
        """The systemd service that mounts the volume."""
        return f"cloakfs-share-{self.name}.service"

    @property
    def closing(self) -> str:
        """Exists while the service locks the volume, so that no client comes back meanwhile."""
        return f"/run/cloakfs-share-{self.name}/closing"

    @property
    def again(self) -> str:
        """The command that shows and writes what its files lack."""
        return shlex.join(["cloakfs", "share", "init", self.volume, self.name])

    @property
    def clear(self) -> str:
        """The command that takes a mount off."""
        return shlex.join(["cloakfs", "lock", self.mountpoint])

    @property
    def guard(self) -> str:
        """The command that smbd runs before it lets a client in."""
        return guard(self.mountpoint, self.folder, self.closing)


def guard(mountpoint: str, folder: str, closing: str) -> str:
    """A command that succeeds only where ``mountpoint`` is a mount of cloakfs whose daemon answers.

    It needs no Python, takes some milliseconds, and fails whenever a part of it does. statfs is what the kernel never
    answers from memory; a daemon that hangs is waited for ten seconds. smbd escapes what a shell would obey, but for
    what stands in quotes; the paths have no quotes (:class:`ShareSpec`).
    """
    steps = [
        f'! test -e "{closing}"',
        f'findmnt --noheadings --types {MOUNTED} --mountpoint "{mountpoint}"',
        f'timeout 10 stat --file-system "{folder}"',
    ]
    return f"/bin/sh -c 'exec >/dev/null 2>&1; PATH=/usr/bin:/bin; {' && '.join(steps)}'"


def definition(spec: ShareSpec) -> str:
    """The share, for a file of its own that smb.conf includes."""
    lines = [
        f"# The share {spec.name}: a folder of an encrypted volume.",
        _WRITTEN_BY + shlex.join(init_command(spec)),
        "# Do not change it here: run that again to renew it, and see whether it holds with:",
        f"#   cloakfs share check {spec.name}",
        "",
        f"[{spec.name}]",
    ]
    for reason, settings in _share(spec):
        lines += [f"    # {line}" for line in reason.splitlines()]
        lines += [f"    {name} = {value}" for name, value in settings]
    return "\n".join(lines) + "\n"


def global_settings(includes: Sequence[str] = ()) -> str:
    """What can stand only in [global], and holds for every share of the server; then the files of the shares."""
    lines = [
        "# Written by: cloakfs share init",
        "# These hold for every share of this server, because Samba has them only for all.",
        "",
        "[global]",
    ]
    for reason, settings in _GLOBAL:
        lines += [f"    # {line}" for line in reason.splitlines()]
        lines += [f"    {name} = {value}" for name, value in settings]
    lines += [f"include = {path}" for path in includes]
    return "\n".join(lines) + "\n"


def init_command(spec: ShareSpec) -> list[str]:
    """The command that writes the definition."""
    command = ["cloakfs", "share", "init", spec.volume, spec.name]
    command += ["--mountpoint", spec.mountpoint, "--group", spec.group]
    return command if spec.passphrase_file is None else [*command, "--passphrase-file", spec.passphrase_file]


def parse(text: str) -> ShareSpec | None:
    """The share that a definition is about, from the command in its head; None if it is not one of ours."""
    line = next((line for line in text.splitlines() if line.startswith(_WRITTEN_BY)), "")
    try:
        words = shlex.split(line.removeprefix(_WRITTEN_BY))
    except ValueError:
        return None
    if words[:3] != ["cloakfs", "share", "init"] or len(words) not in (9, 11):
        return None
    options = dict(zip(words[5::2], words[6::2], strict=True))
    if set(options) - {"--passphrase-file"} != {"--mountpoint", "--group"}:
        return None
    return ShareSpec(
        name=words[4],
        volume=words[3],
        mountpoint=options["--mountpoint"],
        group=options["--group"],
        passphrase_file=options.get("--passphrase-file"),
    )


def settings(spec: ShareSpec) -> dict[str, str]:
    """What has to be in force for the share, by name."""
    return dict(setting for _, some in _share(spec) for setting in some)


_GLOBAL: Final[tuple[tuple[str, tuple[_Setting, ...]], ...]] = (
    (
        "Windows 10, macOS 10.15 and newer speak it. Older dialects encrypt badly or not at all.",
        (("server min protocol", PROTOCOL),),
    ),
    (
        "AES-GCM only: fast, and what current rules ask for.",
        (("server smb3 encryption algorithms", ", ".join(ENCRYPTIONS)),),
    ),
    (
        "At higher levels smbd writes names of files into its log, which is not encrypted.",
        (("log level", "0"),),
    ),
)


def _share(spec: ShareSpec) -> tuple[tuple[str, tuple[_Setting, ...]], ...]:
    return (*_guarding(spec), *_SECRECY, *_TRUTH, *_TOGETHER)


def _guarding(spec: ShareSpec) -> tuple[tuple[str, tuple[_Setting, ...]], ...]:
    return (
        (
            "This folder exists only while the volume is mounted. On the bare mount point there is nothing to share.",
            (("path", spec.folder),),
        ),
        (
            "Nobody gets in unless the mount is there and its daemon answers.",
            (("root preexec", spec.guard), ("root preexec close", "yes")),
        ),
        (
            "Only members of this group, and never without a password.",
            (("valid users", f"+{spec.group}"), ("guest ok", "no"), ("read only", "no")),
        ),
    )


_SECRECY: Final = (
    (
        "Nothing crosses the network unencrypted.",
        (("server smb encrypt", "required"),),
    ),
    (
        "Windows must not keep copies for offline use: they would lie on its disk unencrypted.",
        (("csc policy", "disable"),),
    ),
    (
        "A symbolic link must not lead out of the encrypted folder.",
        (("wide links", "no"),),
    ),
)
_TRUTH: Final = (
    (
        "Hidden, read-only, system and archive are kept as Windows sets them, not in the execute bits.",
        (
            ("store dos attributes", "yes"),
            ("map archive", "no"),
            ("map hidden", "no"),
            ("map system", "no"),
            ("map readonly", "no"),
        ),
    ),
    (
        """\
Windows ACLs and alternate streams are kept in extended attributes, which cloakfs encrypts.
No module that logs names of files (full_audit, audit): that log is not encrypted.""",
        (("vfs objects", "acl_xattr streams_xattr"),),
    ),
    (
        """\
Lists of a folder: smbd asks cloakfs for the attributes of its files side by side, and does not ask for OS/2's extended
attributes, which Windows programs do not use. A large folder is listed three times as fast.""",
        (("smbd async dosmode", "yes"), ("ea support", "no")),
    ),
    (
        "A file is on the disk when a program on a client has asked for that (Office does when it saves).",
        (("strict sync", "yes"),),
    ),
    (
        "cloakfs cannot reserve space; a full disk is told at the write.",
        (("strict allocate", "no"),),
    ),
)
_TOGETHER: Final = (
    (
        """\
Clients may cache a file while they are its only user; smbd takes that back when another comes.
It keeps this to itself: change files of this folder through the share, not beside it on the server.""",
        (("oplocks", "yes"), ("level2 oplocks", "yes"), ("kernel oplocks", "no")),
    ),
    (
        """\
A laptop that loses its network for a moment can get its open files back.
Needs the two below, and no kernel oplocks.""",
        (("durable handles", "yes"), ("kernel share modes", "no"), ("posix locking", "no")),
    ),
)
