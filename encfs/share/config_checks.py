"""Checks of what Samba's configuration says for a share.

Owns: which settings must hold, and what each is good for. Must not know: the mount, the running smbd.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from encfs.checks import Checked, Light
from encfs.share.definition import ENCRYPTIONS, PROTOCOL, ShareSpec, settings
from encfs.share.settings import Configuration, plain

# What logs names of files, or keeps them or their attributes outside of the encrypted folder.
_LEAKING: Final = frozenset({"audit", "extd_audit", "full_audit", "xattr_tdb"})
_GROUPS: Final = (
    ("encryption", "encryption required", ("server smb encrypt",)),
    ("guest", "no guest", ("guest ok", "valid users")),
    ("offline", "no offline copies", ("csc policy",)),
    ("oplocks", "oplocks, leases", ("oplocks", "level2 oplocks", "kernel oplocks")),
    ("durable", "durable handles", ("durable handles", "kernel share modes", "posix locking")),
    ("dos-attributes-kept", "DOS attributes kept", ("store dos attributes", "map archive", "map hidden", "map system")),
    ("acls-kept", "ACLs, streams kept", ("vfs objects",)),
    ("sync", "saving", ("strict sync", "strict allocate")),
    ("links", "no way out by links", ("wide links",)),
    ("guard", "guard", ("path", "root preexec", "root preexec close")),
)


def run(spec: ShareSpec, config: Configuration) -> Iterator[Checked]:
    """Each promise of the share, by what holds when all files that Samba reads are read."""
    if spec.name.lower() not in config.sections:
        yield Checked(
            code="share",
            title="share",
            light=Light.RED,
            found="Samba's configuration has no such share",
            remedy=spec.again,
        )
        return
    yield _protocol(spec, config)
    yield _ciphers(spec, config)
    wanted = settings(spec)
    for code, title, names in _GROUPS:
        wrong = {name: value for name in names if (value := config.value(spec.name, name)) != plain(wanted[name])}
        yield Checked(
            code=code,
            title=title,
            light=Light.RED if wrong else Light.GREEN,
            found=_differences(wrong) if wrong else _holds(code, names, wanted),
            remedy=spec.again,
        )
    yield _names_in_logs(spec, config)


def _differences(wrong: dict[str, str]) -> str:
    return "; ".join(f"{name} is {value or 'not set'}" for name, value in wrong.items())


def _holds(code: str, names: tuple[str, ...], wanted: dict[str, str]) -> str:
    if code == "guard":
        return "smbd asks whether the mount is alive before it lets anybody in"
    return "; ".join(f"{name} = {wanted[name]}" for name in names)


def _protocol(spec: ShareSpec, config: Configuration) -> Checked:
    found = config.value("global", "server min protocol")
    return Checked(
        code="protocol",
        title="SMB 3.1.1 at least",
        light=Light.GREEN if found == PROTOCOL else Light.RED,
        found=f"server min protocol = {found}",
        remedy=spec.again,
    )


def _ciphers(spec: ShareSpec, config: Configuration) -> Checked:
    found = [word.strip() for word in config.value("global", "server smb3 encryption algorithms").split(",")]
    good = bool(found) and set(found) <= set(ENCRYPTIONS)
    return Checked(
        code="ciphers",
        title="AES-GCM only",
        light=Light.GREEN if good else Light.RED,
        found=f"server smb3 encryption algorithms = {', '.join(found)}",
        remedy=spec.again,
    )


def _names_in_logs(spec: ShareSpec, config: Configuration) -> Checked:
    """No module writes names of files to where they are plain text, because it is not in the volume."""
    modules = sorted(_LEAKING & set(config.value(spec.name, "vfs objects").split()))
    return Checked(
        code="log",
        title="no names in logs",
        light=Light.RED if modules else Light.GREEN,
        found=f"names of files get out of the encrypted folder by vfs objects: {', '.join(modules)}"
        if modules
        else "no module writes names of files outside of the encrypted folder",
        remedy=spec.again,
    )
