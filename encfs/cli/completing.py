"""What is offered for an argument or an option when somebody presses Tab.

Owns: what is completed with what, by the names that the help shows. Must not know: shells (click does), daemons:
nothing is asked that could be slow or hang, and no passphrase is needed.
"""

from __future__ import annotations

import os
import re
from typing import Final

import click
from click.shell_completion import CompletionItem
from click.types import StringParamType

from encfs.format.limits import CONFIG_NAME

_VOLUMES: Final = frozenset({"VOLUME", "TARGET", "MOUNTPOINT"})
_FILES: Final = frozenset({"FILE", "PATH"})
_DIRECTORIES: Final = frozenset({"DIR", "DIRECTORY", "FOLDER"})
_EMPTY_PLACES: Final = frozenset({("create", "volume"), ("mount", "mountpoint")})
"""Arguments that name an empty directory."""
_SLOT: Final = "SLOT"
# Shells would need quotes around anything else; then their own completion of directories helps.
_PLAIN: Final = re.compile(r"[\w@%+=:,./-]+")


class _Word(StringParamType):
    """Text, with what can be offered for it."""

    def __init__(self, words: frozenset[str]) -> None:
        self._words = words

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        if _SLOT in self._words:
            return _slots(ctx.params.get("volume"), incomplete)
        if self._words & _VOLUMES and (ctx.info_name, param.name) not in _EMPTY_PLACES:
            # Shells mix their own directories with ours badly: those come where nothing of ours begins so.
            return _volumes(incomplete) or [CompletionItem(incomplete, type="dir")]
        if self._words & _VOLUMES:
            return [CompletionItem(incomplete, type="dir")]
        if self._words & _DIRECTORIES:
            return [CompletionItem(incomplete, type="dir")]
        return [CompletionItem(incomplete, type="file")]


def attach(command: click.Command) -> None:
    """Give each argument and option of a command that takes any text what can be offered for it."""
    for param in command.params:
        if type(param.type) is not StringParamType:
            continue
        words = frozenset(re.findall(r"[A-Z]+", param.metavar or (param.name or "").upper()))
        if words & (_VOLUMES | _FILES | _DIRECTORIES | {_SLOT}):
            param.type = _Word(words)


def _volumes(incomplete: str) -> list[CompletionItem]:
    """Mount points, the volumes behind them, and volumes in the directory that is being typed."""
    from encfs.cli import mounts  # noqa: PLC0415 - not for those who only load a command

    table = mounts.all_mounts()
    found = {mount.source: "volume, mounted" for mount in table if mount.fstype == mounts.FSTYPE}
    found |= {mount.mountpoint: "mounted" for mount in table if mount.fstype == mounts.FSTYPE}
    typed = os.path.expanduser(incomplete)
    busy = {mount.mountpoint for mount in table}
    found = dict.fromkeys(_volumes_in(os.path.dirname(typed), busy), "volume") | found
    head = len(typed)
    return [
        CompletionItem(incomplete + path[head:], help=text)
        for path, text in sorted(found.items())
        if path.startswith(typed) and _PLAIN.fullmatch(path)
    ]


def _volumes_in(directory: str, mounted: set[str]) -> list[str]:
    """Where something is mounted is not looked into: a mount that hangs would keep us."""
    try:
        names = os.listdir(directory or ".")
    except OSError:
        return []
    paths = [os.path.join(directory, name) for name in names]
    config = os.fsdecode(CONFIG_NAME)
    return [path for path in paths if os.path.abspath(path) not in mounted and os.path.exists(f"{path}/{config}")]


def _slots(volume: object, incomplete: str) -> list[CompletionItem]:
    """Labels of the slots of the volume that was named before; its config needs no key."""
    from encfs.cli import mounts  # noqa: PLC0415
    from encfs.errors import CloakfsError  # noqa: PLC0415
    from encfs.volume import read_config  # noqa: PLC0415

    if not isinstance(volume, str):
        return []
    path = os.path.abspath(os.path.expanduser(volume))
    mount = mounts.mount_at(path)
    try:
        config = read_config(os.fsencode(mount.source if mount is not None else path))
    except (CloakfsError, OSError):
        return []
    labels = [slot.label for slot in config.slots if slot.label and _PLAIN.fullmatch(slot.label)]
    return [CompletionItem(label) for label in labels if label.startswith(incomplete)]
