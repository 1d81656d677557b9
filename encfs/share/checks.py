"""Whether a share is as it must be: what is in force, not what was once written.

Owns: each check, its words and its remedy. Must not know: how a volume is mounted, how a check is shown.

A check that cannot see says so (amber). What could be undone by a guard that still holds is red all the same: each
guard is there for when the other one fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from encfs.checks import Checked, Light
from encfs.errors import CloakfsError
from encfs.share import config_checks, mount_checks, plan
from encfs.share.definition import ShareSpec
from encfs.share.places import Places
from encfs.share.settings import (
    Configuration,
    SambaError,
    anonymous_answer,
    configuration,
    log_level,
    missing_modules,
    sessions,
)
from encfs.share.view import MountView

_TOO_OLD: Final = ("SMB3_02", "SMB2_10")
_NO_COMMON_DIALECT: Final = "NT_STATUS_NOT_SUPPORTED"
_REFUSED: Final = frozenset({"NT_STATUS_ACCESS_DENIED", "NT_STATUS_LOGON_FAILURE"})
_START_SMBD: Final = "systemctl restart smbd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a check is about.

    Attributes:
        program: the ``cloakfs`` command; absolute.
        on_one_medium: whether two paths are lost together.
    """

    spec: ShareSpec
    places: Places
    mount: MountView
    program: str
    on_one_medium: Callable[[str, str], bool]


def run(look: Look) -> list[Checked]:
    """All checks of a share, in the order in which a person reads them."""
    return list(_run(look))


def _run(look: Look) -> Iterator[Checked]:
    spec = look.spec
    yield _files(look)
    if spec.passphrase_file is not None:
        yield _passphrase_file(look, spec.passphrase_file)
    try:
        config = configuration(look.places.smb_conf)
    except SambaError as exc:
        yield Checked(
            code="samba",
            title="Samba",
            light=Light.RED,
            found=str(exc),
            remedy="apt install samba smbclient samba-vfs-modules",
        )
    else:
        yield _modules(look, config)
        yield from config_checks.run(spec, config)
        yield from _in_force(look, config)
    yield from mount_checks.run(spec, look.mount)


def _files(look: Look) -> Checked:
    """The files are those that this version of cloakfs would write."""
    try:
        differ = [str(one.path) for one in plan.to_make(look.spec, look.places, look.program)]
    except CloakfsError as exc:
        return Checked(code="files", title="files", light=Light.RED, found=str(exc), remedy=exc.hint)
    return Checked(
        code="files",
        title="files",
        light=Light.AMBER if differ else Light.GREEN,
        found=f"not as this version of cloakfs writes them: {', '.join(differ)}"
        if differ
        else "as this version of cloakfs writes them",
        remedy=f"see the difference with: {look.spec.again}" if differ else "",
    )


def _passphrase_file(look: Look, path: str) -> Checked:
    """The key does not lie with the lock."""
    try:
        together = look.on_one_medium(path, look.spec.volume)
    except OSError:
        light, found = Light.AMBER, f"{path} cannot be looked at now"
    else:
        light = Light.RED if together else Light.GREEN
        found = f"{path} lies on {'the same medium as' if together else 'another medium than'} the volume"
    return Checked(
        code="passphrase-place",
        title="passphrase",
        light=light,
        found=found,
        remedy="move it to a medium that is not lost with the volume, and run share init with the new path",
    )


def _modules(look: Look, config: Configuration) -> Checked:
    """Without them smbd knows the share and lets nobody in; some systems have them in a package of their own."""
    try:
        missing = missing_modules(config.value(look.spec.name, "vfs objects").split())
    except SambaError as exc:
        light, found = Light.AMBER, str(exc)
    else:
        light = Light.RED if missing else Light.GREEN
        found = f"not installed: {', '.join(missing)}" if missing else "installed"
    return Checked(
        code="modules", title="Samba's modules", light=light, found=found, remedy="apt install samba samba-vfs-modules"
    )


def _in_force(look: Look, config: Configuration) -> Iterator[Checked]:
    """What the running smbd says to clients. It may have read its configuration long ago."""
    name, conf = look.spec.name, look.places.smb_conf
    try:
        old = {anonymous_answer(config.port, name, conf, dialect=dialect) for dialect in _TOO_OLD}
        answer = anonymous_answer(config.port, name, conf, dialect="SMB3_11")
    except SambaError as exc:
        yield Checked(
            code="smbd",
            title="smbd",
            light=Light.AMBER,
            found=f"{exc}, so it cannot be seen what is in force",
            remedy=f"install smbclient, and start Samba: {_START_SMBD}",
        )
        return
    yield _old_dialects(old)
    yield _anonymous(answer)
    yield _log(look)
    yield _clients(look)


def _log(look: Look) -> Checked:
    """At a level above 1 smbd writes names of files to a log that is not encrypted."""
    try:
        level = log_level(look.places.smb_conf)
    except SambaError as exc:
        light, found, remedy = Light.AMBER, str(exc), "run the check as root"
    else:
        light = Light.AMBER if level > 1 else Light.GREEN
        found = f"log level {level}" + (": names of files get into a log that is not encrypted" if level > 1 else "")
        remedy = f"take log level out of smb.conf; then: {_START_SMBD}"
    return Checked(code="smbd-log", title="smbd, its log", light=light, found=found, remedy=remedy)


def _old_dialects(answers: set[str]) -> Checked:
    refused = answers == {_NO_COMMON_DIALECT}
    return Checked(
        code="smbd-protocol",
        title="smbd, older clients",
        light=Light.GREEN if refused else Light.RED,
        found="it refuses to speak anything older than SMB 3.1.1"
        if refused
        else "it speaks older dialects than SMB 3.1.1",
        remedy=_START_SMBD,
    )


def _anonymous(answer: str) -> Checked:
    if answer == "NT_STATUS_BAD_NETWORK_NAME":
        light, found = Light.AMBER, "it does not know the share"
    elif answer in _REFUSED:
        light, found = Light.GREEN, "it lets nobody in without a name and password"
    elif answer:
        light, found = Light.AMBER, f"it refuses a client without a password with {answer}"
    else:
        light, found = Light.RED, "it let a client in without a name and password"
    return Checked(
        code="smbd-guest",
        title="smbd, no password",
        light=light,
        found=found,
        remedy=f"{_START_SMBD}; then check again",
    )


def _clients(look: Look) -> Checked:
    """Those who are in now came in with what was in force then."""
    try:
        found = sessions(look.spec.name, look.places.smb_conf)
    except SambaError as exc:
        return Checked(
            code="clients", title="clients", light=Light.AMBER, found=str(exc), remedy="run the check as root"
        )
    plain = sorted({one.machine for one in found if not one.cipher})
    if plain:
        return Checked(
            code="clients",
            title="clients",
            light=Light.RED,
            found=f"not encrypted: {', '.join(plain)}",
            remedy=f"{_START_SMBD}, which cuts them off; they come back encrypted or not at all",
        )
    ways = ", ".join(sorted({f"{one.dialect} with {one.cipher}" for one in found}))
    words = f"{len(found)} connected, all encrypted: {ways}" if found else "nobody is connected now"
    return Checked(code="clients", title="clients", light=Light.GREEN, found=words)
