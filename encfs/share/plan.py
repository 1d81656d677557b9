"""Which files a share needs, and which go with it.

Owns: the files of a share and the one line in smb.conf. Must not know: how they are written (``changes.py``), what else
a share needs (the folder in the volume, the mount point).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from encfs.errors import CloakfsError, NotFoundError
from encfs.share import units
from encfs.share.changes import Change, change, text_of
from encfs.share.definition import ShareSpec, definition, global_settings, parse
from encfs.share.places import Places

_INCLUDE: Final = re.compile(r"\s*include\s*=\s*(.+?)\s*", re.IGNORECASE)
_WHY: Final = "# Encrypted shares: cloakfs share init. It is the last line, because it has settings for [global]."


def to_make(spec: ShareSpec, places: Places, program: str) -> list[Change]:
    """The files that a share needs, smb.conf last: what comes before it is not in force without it.

    Raises:
        CloakfsError: there is no smb.conf, or a share of this name that is not ours. OSError: a file cannot be read.
    """
    conf = _smb_conf(places)
    _check_free(spec, places)
    files = sorted({*_share_files(places), places.share(spec.name)})
    found = [
        change(places.unit(spec.unit), units.unit(spec, program)),
        change(places.share(spec.name), definition(spec)),
        change(places.included, global_settings([str(path) for path in files])),
        Change(places.smb_conf, conf, conf if _includes(conf, places) else _with_include(conf, places)),
    ]
    return [one for one in found if one.is_needed]


def to_remove(spec: ShareSpec, places: Places) -> list[Change]:
    """The files that go with a share, smb.conf first. Other shares of ours stay.

    Raises:
        CloakfsError: there is no smb.conf. OSError: a file cannot be read.
    """
    conf = _smb_conf(places)
    left = [path for path in _share_files(places) if path != places.share(spec.name)]
    found = [
        Change(places.smb_conf, conf, conf if left else _without_include(conf, places)),
        change(places.included, global_settings([str(path) for path in left]) if left else None),
        change(places.share(spec.name), None),
        change(places.unit(spec.unit), None),
    ]
    return [one for one in found if one.is_needed]


def of_name(name: str, places: Places) -> ShareSpec | None:
    """The share that was made under a name; None if there is none, or its file is not ours. Raises: OSError."""
    text = text_of(places.share(name)) if "/" not in name else None
    spec = None if text is None else parse(text)
    return spec if spec is not None and spec.name == name else None


def known(name: str, places: Places) -> ShareSpec:
    """The share that was made under a name.

    Raises:
        NotFoundError: there is none, or its file is not ours. OSError: it cannot be read.
    """
    spec = of_name(name, places)
    if spec is None:
        names = ", ".join(path.stem for path in _share_files(places))
        raise NotFoundError(
            f"there is no share {name!r} that cloakfs made",
            hint=f"There are: {names}." if names else "Make one with: cloakfs share init VOLUME NAME",
        )
    return spec


def names(places: Places) -> list[str]:
    """The names of all shares that cloakfs made here."""
    return [path.stem for path in _share_files(places)]


def is_included(places: Places) -> bool:
    """Whether smb.conf has the line that brings our shares in. Raises: OSError."""
    conf = text_of(places.smb_conf)
    return conf is not None and _includes(conf, places)


def _share_files(places: Places) -> list[Path]:
    return sorted(path for path in places.shares.glob("*.conf") if path.is_file())


def _smb_conf(places: Places) -> str:
    conf = text_of(places.smb_conf)
    if conf is None:
        raise NotFoundError(f"{places.smb_conf} does not exist", hint="Install Samba: apt install samba smbclient")
    return conf


def _check_free(spec: ShareSpec, places: Places) -> None:
    """Raises: CloakfsError: the name is taken by a share of somebody else, who may not lose it."""
    section = re.compile(rf"\s*\[\s*{re.escape(spec.name)}\s*\]\s*", re.IGNORECASE)
    conf = _smb_conf(places)
    if any(section.fullmatch(line) for line in conf.splitlines()):
        raise CloakfsError(
            f"{places.smb_conf} has a share {spec.name} already, which cloakfs did not make",
            hint="Choose another name, or take that section out first.",
        )
    for other in filter(None, (of_name(name, places) for name in names(places) if name != spec.name)):
        _check_apart(spec, other)
    old = text_of(places.share(spec.name))
    if old is not None and parse(old) is None:
        raise CloakfsError(
            f"{places.share(spec.name)} is not a file that cloakfs wrote", hint="Choose another name, or move it away."
        )


def _check_apart(spec: ShareSpec, other: ShareSpec) -> None:
    """Raises: CloakfsError: another share of ours has that name in other case, that volume or that mount point."""
    if spec.name.lower() == other.name.lower():
        what = "that name, which Samba takes for the same"
    elif spec.volume == other.volume:
        what = "that volume; a folder in it can have permissions of its own"
    elif spec.mountpoint == other.mountpoint:
        what = "that mount point"
    else:
        return
    raise CloakfsError(
        f"the share {other.name} has {what}", hint=f"Take it away first: cloakfs share remove {other.name}"
    )


def _includes(conf: str, places: Places) -> bool:
    found = [_INCLUDE.fullmatch(line) for line in conf.splitlines()]
    return any(match is not None and match[1] == str(places.included) for match in found)


def _addition(places: Places) -> str:
    return f"\n{_WHY}\ninclude = {places.included}\n"


def _with_include(conf: str, places: Places) -> str:
    return conf + ("" if conf.endswith("\n") or not conf else "\n") + _addition(places)


def _without_include(conf: str, places: Places) -> str:
    """Byte for byte what was there before, if nobody has changed it since."""
    if _addition(places) in conf:
        return conf.replace(_addition(places), "", 1)
    lines = conf.splitlines(keepends=True)
    matches = [_INCLUDE.fullmatch(line.rstrip("\n")) for line in lines]
    return "".join(
        line for line, match in zip(lines, matches, strict=True) if match is None or match[1] != str(places.included)
    )
