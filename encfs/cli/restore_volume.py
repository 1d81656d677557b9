"""A new volume that a restore goes into: made, mounted where only this user sees it, locked again.

Owns: the questions, the mount, going on with one that was broken off. Must not know: what is restored.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from encfs import control, runtime
from encfs.backup import unfinished
from encfs.backup.unfinished import Begun
from encfs.cli import mounting, output, targets, terminal, volume_making
from encfs.cli.cmd_lock import clear, lock_mounted
from encfs.cli.secrets import SecretOptions, passphrase_from_options
from encfs.cli.volume_making import Wishes
from encfs.core.slots import passphrase_bytes
from encfs.errors import CloakfsError, ConfigError, MountBusyError, NotAVolumeError, UsageError
from encfs.format.config import Config
from encfs.volume import read_config

_IDLE: Final = "30m"
"""A mount that a killed restore has left locks by itself."""
_HINT: Final = "Give --new-passphrase-file, and --recovery-out FILE or --no-recovery."


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVolume:
    """A volume that is wished for.

    Attributes:
        path: its directory.
        wishes: what it is made of.
        own_keys: it is to have keys of its own, also where the volume could be put back as it was.
    """

    path: str
    wishes: Wishes = field(repr=False)
    own_keys: bool

    def unfinished(self) -> Begun | None:
        """What was begun there, if it is a volume that an earlier restore has made. Raises: OSError, RuntimeError."""
        config = _config(self.path)
        return None if config is None else unfinished.begun(unfinished.of_volume(config.volume_id))

    def check(self) -> None:
        """Before anything is asked. Raises: UsageError, NotEmptyError, NoFuseError, OSError."""
        mounting.load_daemon()
        if self.wishes.secret.asks:
            terminal.require("a passphrase for the new volume", hint=_HINT)
        if self.unfinished() is None:
            volume_making.check(self.wishes, self.path)


def wishes_of(
    *,
    passphrase_file: str | None,
    allow_weak: bool,
    recovery_out: str | None,
    no_recovery: bool,
    cost: tuple[int | None, int | None],
) -> Wishes:
    """What the options say of a new volume; all else is as ``cloakfs create`` has it by itself."""
    return Wishes(
        cell_size=4096,
        label="passphrase",
        memory_kib=cost[0],
        passes=cost[1],
        secret=SecretOptions(passphrase_file=passphrase_file),
        allow_weak=allow_weak,
        no_recovery=no_recovery,
        recovery_out=recovery_out,
    )


@contextmanager
def mounted(new: NewVolume, begun: Begun) -> Iterator[tuple[str, Config]]:
    """Its mount point, which is gone behind the block; everything is on the disk then.

    Args:
        new: what is wished for; where a restore of ``begun`` was broken off that one is gone on with.
        begun: what is restored.

    Raises:
        UsageError: something else was begun there. CloakfsError, OSError.
    """
    before = new.unfinished()
    if before is not None and before != begun:
        raise UsageError(
            f"{output.printable(new.path)}: a restore of another backup was begun there, and is not done",
            hint=f"Go on with that one (--run {before.run}), or delete this directory.",
        )
    if before is None:
        passphrase, config = _make(new, begun)
    else:
        passphrase, config = _known_passphrase(new), read_config(os.fsencode(new.path))
    place = runtime.private_directory(runtime.runtime_directories()[0] / f"restore-{config.volume_id.hex()}")
    _take_off(new.path)
    _mount(new.path, str(place), passphrase)
    try:
        yield str(place), config
    except BaseException:
        with suppress(CloakfsError, OSError):
            _take_off(new.path)
            place.rmdir()
        raise
    _take_off(new.path)
    place.rmdir()


def _make(new: NewVolume, begun: Begun) -> tuple[bytes, Config]:
    chosen = volume_making.choose(new.wishes, new.path)
    config = volume_making.make(new.wishes, chosen, new.path)
    unfinished.note(unfinished.of_volume(config.volume_id), begun)
    return chosen.passphrase, config


def _known_passphrase(new: NewVolume) -> bytes:
    name = output.printable(new.path)
    output.remark(f"Going on with the restore into {name} that was broken off.")
    if not new.wishes.secret.asks:
        return passphrase_from_options(new.wishes.secret)
    return passphrase_bytes(terminal.ask_hidden(f"Passphrase of {name}: "))


def _take_off(path: str) -> None:
    """Lock it, if it is mounted; also what a killed restore has left. Raises: CloakfsError, OSError."""
    found = targets.find(path)
    if found.mounted is not None:
        try:
            lock_mounted(found.mounted, force=False)
        except MountBusyError:  # By whom? Nobody but this user sees the place.
            lock_mounted(found.mounted, force=True)
    elif found.mountpoint is not None:
        if not targets.is_dead(found.mountpoint):
            raise targets.not_reachable(found)
        clear(found.mountpoint, force=True)


def _mount(path: str, place: str, passphrase: bytes) -> None:
    """By a ``cloakfs mount`` of its own: this process has more open than a daemon should take along."""
    reading, writing = os.pipe()
    # Isolated as this process is: a folder named encfs in the working directory is not what an installed command runs.
    isolated = ["-I"] if sys.flags.isolated else []
    command = [sys.executable, *isolated, "-m", "encfs", "mount", path, place, "--json", "--idle", _IDLE]
    try:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(passphrase + b"\n")
        code, out, err = _run([*command, "--passphrase-fd", str(reading)], reading)
    finally:
        os.close(reading)
    for line in err.decode(errors="replace").splitlines():
        if line.startswith("cloakfs: warning:"):
            output.remark(line)
    if code != 0:
        try:
            raise control.error_of(json.loads(out)["error"])
        except (ValueError, KeyError) as exc:
            raise CloakfsError("the new volume cannot be mounted", hint="Try: cloakfs mount") from exc


def _run(command: list[str], fd: int) -> tuple[int, bytes, bytes]:
    """Its exit status, and what it wrote on stdout and stderr."""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=(fd,)
    ) as process:
        try:
            out, err = process.communicate()
        except BaseException:
            # Killed, it would leave a daemon behind that goes on to mount; told to stop, it takes that along.
            process.terminate()
            raise
    return process.returncode, out, err


def _config(path: str) -> Config | None:
    try:
        return read_config(os.fsencode(path))
    except (ConfigError, NotAVolumeError, OSError):
        return None
