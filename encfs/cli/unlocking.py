"""Unlocking a volume with what the options give, or with what is typed.

Owns: the prompts, how often somebody may try, the words before an error, and what is left in memory afterwards. Must
not know: which options there are (``secrets.py``), how a secret becomes a key.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

from encfs.audit import journal
from encfs.cli import (
    auditing,
    crashes,
    elsewhere,
    opened_elsewhere,
    output,
    presences,
    progress,
    seeing,
    shares,
    terminal,
)
from encfs.cli.secrets import (
    SCRIPT_HINT,
    SecretOptions,
    given_sources,
    read_file,
    require_source,
)
from encfs.core.slots import passphrase_bytes
from encfs.core.sources import KnownSecret, UnlockSource
from encfs.errors import LowerIOError, UnlockError, UsageError, WrongSecretError
from encfs.format.audit_body import Outcome
from encfs.format.config import Config
from encfs.format.recovery_key import GROUPS
from encfs.format.slots import SlotKind
from encfs.host.freshness import HostFreshness
from encfs.memory import leftovers
from encfs.sheets.typed import type_recovery_key
from encfs.volume import Volume, read_config
from encfs.volume.sessions import as_dict
from encfs.volume.told import about

_R = TypeVar("_R")
_TRIES: Final = 3


def _ask(options: SecretOptions, path: str, key: bytes | None, shown: str) -> UnlockSource:
    """What somebody types; ``key``: of the key file that goes with the passphrase."""
    if options.shares:
        return shares.ask(path, config_of(path).slots)
    if not options.recovery:
        passphrase = passphrase_bytes(terminal.ask_hidden(f"Passphrase of {output.printable(shown)}: "))
        if key is not None:
            return KnownSecret(SlotKind.PASSPHRASE_AND_KEY_FILE, passphrase, key)
        return KnownSecret.of(SlotKind.PASSPHRASE, passphrase)
    with terminal.private_screen():
        terminal.tell(f"Recovery key of {output.printable(shown)}, all {GROUPS} groups. Case and dashes do not matter.")
        return KnownSecret.of(SlotKind.RECOVERY, type_recovery_key(terminal, "  groups: "))


def config_of(path: str) -> Config:
    """What the config of a volume says without any key.

    Raises:
        ConfigError, OSError.
    """
    with about(path):
        return read_config(os.fsencode(path))


def unlock(path: str, options: SecretOptions, *, read_only: bool, mountpoint: str = "") -> Volume:
    """Unlock a volume with the secret from the options, or from the prompt (then with three tries).

    Raises:
        UnlockError, ConfigError, UsageError, VolumeInUseError, MemoryShortError, OSError.
    """
    return unlock_with_memory(path, options, read_only=read_only, mountpoint=mountpoint)[0]


def unlock_with_memory(
    path: str, options: SecretOptions, *, read_only: bool, mountpoint: str = ""
) -> tuple[Volume, HostFreshness]:
    """:func:`unlock`, and what this host remembers of the volume."""
    opened = try_sources(
        path, options, lambda source: _unlock(path, source, read_only=read_only, mountpoint=mountpoint)
    )
    # A mount, an export or a check may now go on for long, with no more need of what opened the volume.
    leftovers.overwrite()
    return opened


def try_sources(
    path: str, options: SecretOptions, attempt: Callable[[UnlockSource], _R], *, shown: str | None = None
) -> _R:
    """Call ``attempt`` with what the options give, or with what is typed (then with three tries).

    Args:
        path: the directory of a volume, for its config.
        options: what is given.
        attempt: opens it.
        shown: how it is called where somebody is asked; None: by its path.

    Raises:
        What the last attempt raises.
        UsageError: the secret must be asked for, and there is nobody to ask.
    """
    require_source(options)
    if options.shares:
        with about(path):
            shares.check(config_of(path).slots)
    key: bytes | None = None
    if options.elsewhere:
        return attempt(elsewhere.source(options.elsewhere, config_of(path).slots, read_file))
    if not options.asks:
        slots = config_of(path).slots
        *sources, last = given_sources(options, slots)
        for source in sources:
            with suppress(WrongSecretError):
                return attempt(source)
        wants_more = any(slot.kind == SlotKind.PASSPHRASE_AND_KEY_FILE for slot in slots)
        wants_more = wants_more and not options.has_passphrase
        if not (wants_more and isinstance(last, KnownSecret) and last.kind is SlotKind.KEY_FILE):
            return attempt(last)
        with suppress(WrongSecretError):
            return attempt(last)
        terminal.require("the passphrase that goes with the key file", hint=SCRIPT_HINT)
        key = last.key
    for _ in range(_TRIES - 1):
        try:
            return attempt(_ask(options, path, key, path if shown is None else shown))
        except (WrongSecretError, UsageError) as exc:
            terminal.tell(f"{exc}.")
    return attempt(_ask(options, path, key, path if shown is None else shown))


def _unlock(path: str, source: UnlockSource, *, read_only: bool, mountpoint: str) -> tuple[Volume, HostFreshness]:
    with about(path), progress.activity("Unlocking") as shown:

        def recovering(_phase: str, count: int) -> None:
            shown.update(f"The last session ended in a crash. Checking: {output.plural(count, 'entry', 'entries')}")

        memory = HostFreshness()
        known = auditing.volume_id_of(path)
        try:
            volume = Volume.unlock(
                os.fsencode(path),
                source,
                read_only=read_only,
                mountpoint=os.fsencode(mountpoint),
                progress=recovering,
                freshness=memory,
            )
        except UnlockError as exc:
            auditing.tell("volume.unlock", journal.outcome_of(exc), known, read_only=int(read_only))
            raise
        except OSError as exc:
            if exc.errno in (errno.ENOSPC, errno.EDQUOT):
                hint = "Make some room beside the volume first, or open it with --read-only."
                raise LowerIOError("the disk is too full to open the volume for writing", hint=hint) from exc
            raise
        finally:
            for problem in memory.problems:
                output.warn(problem)
    if volume.slot is not None:
        since = crashes.unlocked_since(volume.config.volume_id)
        presences.opened(path, volume.config, volume.slot, mountpoint=mountpoint, read_only=volume.ctx.read_only)
        auditing.tell(
            *("volume.unlock", Outcome.DONE, volume.config.volume_id),
            slot=volume.slot.id,
            kind=str(volume.slot.kind),
            label=volume.slot.label,
            read_only=int(read_only),
            pid=os.getpid(),
        )
        if not mountpoint:
            auditing.ends_with_command(volume.config.volume_id)
        auditing.tell_break_glass(volume.config.volume_id, volume.slot)
        crashes.tell(volume.config.volume_id, volume.slot.id, since, volume)
        seeing.opened(volume)
        memory.slot_used(volume.config.volume_id, volume.slot.id)
        # A mount forks now, and SQLite bears no open file across that. It has also taken places that were just freed,
        # and keeps them as they were until it fills them.
        memory.release()
    if memory.state == "lost":
        output.warn("this host's memory of the volume is lost, so older state would not be noticed this time")
    if text := opened_elsewhere.words([as_dict(one) for one in volume.elsewhere]):
        output.warn(f"the volume was {text}")
    if volume.rollback is not None:
        output.warn(f"the volume is older than what this host has seen: {volume.rollback}")
    return volume, memory
