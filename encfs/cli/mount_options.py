"""The options of mount(8), in ``-o`` of ``cloakfs mount`` and in fstab.

Owns: their names, and which of them are for others. Must not know: how mounting is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from encfs.cli import elsewhere
from encfs.cli.options import seconds_of
from encfs.cli.secrets import SecretOptions
from encfs.errors import UsageError
from encfs.locking import IdleRule, WhenOpen

# Passed on to the kernel.
_KERNEL: Final = frozenset(
    {"suid", "nosuid", "dev", "nodev", "exec", "noexec", "sync", "dirsync", "noatime", "nodiratime"}
)
# For mount(8), systemd and the boot, or what a cloakfs mount does anyway.
_OF_OTHERS: Final = frozenset(
    {"defaults", "auto", "noauto", "nofail", "_netdev", "user", "nouser", "users", "owner", "group", "comment"}
    | {"async", "atime", "diratime", "relatime", "norelatime", "strictatime", "nostrictatime", "lazytime", "nolazytime"}
    | {"loud", "silent", "mand", "nomand", "default_permissions", "helper", "fsname", "subtype"}
)
_WITH_VALUE: Final = elsewhere.OPENING_NAMES | {
    *("passphrase-file", "passphrase-fd", "passphrase-command", "key-file", "recovery-file", "share-file", "log"),
    *("idle", "idle-open"),
}


@dataclass(frozen=True, slots=True)
class MountOptionList:
    """What a list of mount options says.

    Attributes:
        secret: where the passphrase comes from.
        read_only, allow_other: None where the list does not say.
        log: a file or "syslog"; None where the list does not say.
        idle, idle_open: as in :func:`idle_rule`.
        kernel: options for the kernel, in order.
    """

    secret: SecretOptions
    read_only: bool | None
    allow_other: bool | None
    log: str | None
    idle: float | None
    idle_open: str | None
    kernel: tuple[str, ...]


def parse(texts: Sequence[str], *, sloppy: bool = False) -> MountOptionList:
    """Read the values of ``-o``, each a list with commas. A value with a comma stands in double quotes.

    Args:
        texts: the values.
        sloppy: pass over unknown options, as ``mount -s`` asks.

    Raises:
        UsageError: an option is unknown or its value makes no sense.
    """
    values: dict[str, str] = {}
    share_files: list[str] = []
    switches: dict[str, bool] = {}
    kernel: list[str] = []
    for option in (piece for text in texts for piece in _split(text)):
        name, equals, value = option.partition("=")
        if name == "share-file" and value:
            share_files.append(value)  # As many as are needed; of all others the last one counts.
        elif name in _WITH_VALUE and equals and value:
            values[name] = value
        elif name in _WITH_VALUE:
            raise UsageError(f"the mount option {name} needs a value: {name}=...")
        elif name in ("ro", "rw"):
            switches["read_only"] = name == "ro"
        elif name == "allow_other":
            switches["allow_other"] = True
        elif name in _KERNEL:
            kernel.append(name)
        elif not (name in _OF_OTHERS or name.lower().startswith("x-") or sloppy):
            known = ", ".join(sorted({"ro", "rw", "allow_other"} | _KERNEL | {f"{name}=..." for name in _WITH_VALUE}))
            raise UsageError(f"unknown mount option {name!r}", hint=f"Known: {known}.")
    return MountOptionList(
        secret=_secret(values, tuple(share_files)),
        read_only=switches.get("read_only"),
        allow_other=switches.get("allow_other"),
        log=values.get("log"),
        idle=_seconds(values.get("idle")),
        idle_open=values.get("idle-open"),
        kernel=tuple(kernel),
    )


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else seconds_of(text)
    except ValueError as exc:
        raise UsageError(f"the mount option idle: {exc}") from None


def idle_rule(seconds: float | None, when_open: str | None) -> IdleRule | None:
    """The rule by which an idle mount locks itself.

    Args:
        seconds: for how long nobody must have used it; None for ever.
        when_open: one of :class:`WhenOpen`; None for the default.

    Raises:
        UsageError: ``when_open`` is none of them, or there is nothing that it could be about.
    """
    known = ", ".join(WhenOpen)
    if when_open is not None and when_open not in list(WhenOpen):
        raise UsageError(f"idle-open is one of {known}, not {when_open!r}")
    if seconds is None:
        if when_open is not None:
            raise UsageError("idle-open says how an idle mount locks, but not when", hint="Add: --idle 15m")
        return None
    return IdleRule(seconds, WhenOpen(when_open or WhenOpen.WAIT))


def _secret(values: dict[str, str], share_files: tuple[str, ...]) -> SecretOptions:
    fd = values.get("passphrase-fd")
    if fd is not None and not (fd.isascii() and fd.isdigit() and len(fd) < 10):
        raise UsageError(f"the mount option passphrase-fd needs a number, not {fd!r}")
    return SecretOptions(
        passphrase_file=values.get("passphrase-file"),
        passphrase_fd=None if fd is None else int(fd),
        passphrase_command=values.get("passphrase-command"),
        key_file=values.get("key-file"),
        recovery_file=values.get("recovery-file"),
        share_files=share_files,
        elsewhere=elsewhere.check_opening(values),
    )


def _split(text: str) -> list[str]:
    """At commas outside of double quotes, which are taken away."""
    pieces = [""]
    quoted = False
    for character in text:
        if character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            pieces.append("")
        else:
            pieces[-1] += character
    if quoted:
        raise UsageError("a double quote in the mount options is not closed")
    return [piece.strip() for piece in pieces if piece.strip()]
