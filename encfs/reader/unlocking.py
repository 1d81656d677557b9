"""Unlocking a volume for the reader: always for reading, with what is typed or lies in a file.

Owns: the options of secrets, how often somebody may try, what is said of a volume that was not closed. Must not know:
how a secret becomes a key.

Kinds of slots whose secret lies elsewhere (age and SSH keys, tokens) need programs of the host, and are not here.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from typing import Final

from encfs.core.slots import passphrase_bytes, passphrase_from_raw
from encfs.core.sources import KnownSecret, SharedSecret, UnlockSource, for_passphrase
from encfs.errors import UsageError, WrongSecretError
from encfs.format.config import Config
from encfs.format.key_file import decode_key_file
from encfs.format.recovery_key import GROUPS
from encfs.format.slots import ShareSet, Slot, SlotKind, decode_share_set
from encfs.reader import screen
from encfs.sheets.shares import Collector
from encfs.sheets.typed import recovery_key_in, type_recovery_key, type_shares, without_remarks
from encfs.volume import Volume, read_config
from encfs.volume.told import about
from encfs.wording import human_time, printable

_SECRET_MAX: Final = 1 << 16
_TRIES: Final = 3
OPENS_HERE: Final = frozenset(str(kind) for kind in SlotKind)
"""The kinds of slots that the reader can open."""


def add_options(parser: ArgumentParser) -> None:
    """The sources of a secret."""
    group = parser.add_argument_group("what opens the volume (asked for, if nothing is given)")
    one = group.add_mutually_exclusive_group()
    one.add_argument("--passphrase-file", metavar="FILE", help="read the passphrase from a file (one line)")
    one.add_argument("--recovery", action="store_true", help="ask for the recovery key, not the passphrase")
    one.add_argument("--recovery-file", metavar="FILE", help="use the recovery key in a file")
    one.add_argument("--shares", action="store_true", help="ask for shares of the key, in any order")
    one.add_argument(
        "--share-file", metavar="FILE", action="append", help="use the share in a file; give as many as are needed"
    )
    group.add_argument("--key-file", metavar="FILE", help="use a key file, alone or with the passphrase")


def config_of(path: str) -> Config:
    """What the config of a volume says without any key.

    Raises:
        ConfigError, OSError.
    """
    with about(path):
        return read_config(os.fsencode(path))


def unlock(path: str, options: Namespace) -> Volume:
    """Unlock a volume with the secret from the options, or from the prompt (then with three tries).

    Raises:
        UnlockError, ConfigError, UsageError, VolumeInUseError, MemoryShortError, OSError.
    """
    slots = config_of(path).slots
    _check(options, slots)
    volume = _opened(path, options, slots)
    _tell_of_writers(volume)
    return volume


def _opened(path: str, options: Namespace, slots: Sequence[Slot]) -> Volume:
    sources, asks = _sources(options, slots)
    for position, source in enumerate(sources, start=1):
        try:
            return _open(path, source)
        except WrongSecretError:
            if position == len(sources) and not asks:
                raise
    return _open_asking(path, options, slots)


def _check(options: Namespace, slots: Sequence[Slot]) -> None:
    others = options.recovery or options.recovery_file or options.shares or options.share_file
    if options.key_file and others:
        raise UsageError("a key file goes with a passphrase only", hint="Give only one.")
    if (options.shares or options.share_file) and not _share_sets(slots):
        raise WrongSecretError("this volume has no set of shares", hint="The command `info` shows what opens it.")
    if not any(slot.kind in OPENS_HERE for slot in slots):
        raise WrongSecretError(
            "this reader can open none of the volume's slots; they are for age or SSH keys, or for tokens",
            hint="Open it with cloakfs, on the machine that has the key.",
        )


def _share_sets(slots: Sequence[Slot]) -> dict[int, ShareSet]:
    found = [decode_share_set(slot.data) for slot in slots if slot.kind == SlotKind.SHARES]
    return {one.set_id: one for one in found}


def _sources(options: Namespace, slots: Sequence[Slot]) -> tuple[list[UnlockSource], bool]:
    """What the options give, to be tried in this order, and whether somebody has to be asked after that."""
    if options.share_file:
        collector = Collector(_share_sets(slots))
        for name in options.share_file:
            words = without_remarks(_read(name))
            with about(name):
                collector.add(words)
        return [_shared(collector)], False
    if options.recovery_file is not None:
        content = _read(options.recovery_file)
        with about(options.recovery_file):
            return [KnownSecret.of(SlotKind.RECOVERY, recovery_key_in(content))], False
    key = _key(options)
    if options.passphrase_file is not None:
        return for_passphrase(passphrase_from_raw(_read(options.passphrase_file)), key, slots), False
    if key is None:
        return [], True
    alone = [KnownSecret.of(SlotKind.KEY_FILE, key)] if any(slot.kind == SlotKind.KEY_FILE for slot in slots) else []
    return list(alone), not alone or any(slot.kind == SlotKind.PASSPHRASE_AND_KEY_FILE for slot in slots)


def _key(options: Namespace) -> bytes | None:
    return None if options.key_file is None else decode_key_file(_read(options.key_file))


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        content = file.read(_SECRET_MAX + 1)
    if len(content) > _SECRET_MAX:
        raise UsageError(f"{printable(path)}: longer than 64 KiB, so this is no passphrase or key")
    return content


def _open(path: str, source: UnlockSource) -> Volume:
    with about(path):
        return Volume.unlock(os.fsencode(path), source, read_only=True)


def _open_asking(path: str, options: Namespace, slots: Sequence[Slot]) -> Volume:
    screen.require("the recovery key" if options.recovery else "a share" if options.shares else "the passphrase")
    for _ in range(_TRIES - 1):
        try:
            return _open(path, _ask(path, options, slots))
        except (WrongSecretError, UsageError) as exc:
            screen.remark(f"{exc}.")
    return _open(path, _ask(path, options, slots))


def _ask(path: str, options: Namespace, slots: Sequence[Slot]) -> UnlockSource:
    if options.shares:
        screen.remark(f"Shares of {printable(path)}, in any order.")
        collector = Collector(_share_sets(slots))
        type_shares(screen.Terminal, collector)
        return _shared(collector)
    if options.recovery:
        screen.remark(f"Recovery key of {printable(path)}, all {GROUPS} groups. Case and dashes do not matter.")
        return KnownSecret.of(SlotKind.RECOVERY, type_recovery_key(screen.Terminal, "  groups: "))
    passphrase = passphrase_bytes(screen.Terminal.ask_hidden(f"Passphrase of {printable(path)}: "))
    key = _key(options)
    if key is not None:
        return KnownSecret(SlotKind.PASSPHRASE_AND_KEY_FILE, passphrase, key)
    return KnownSecret.of(SlotKind.PASSPHRASE, passphrase)


def _shared(collector: Collector) -> SharedSecret:
    secret = collector.secret()
    assert collector.set_id is not None
    return SharedSecret(collector.set_id, secret)


def _tell_of_writers(volume: Volume) -> None:
    """A session that never ended: a crash, a stick that was pulled out, or somebody who writes just now."""
    for record in _unended(volume):
        screen.remark(
            f"cloakfs-reader: warning: {record} has the volume open for writing, or did not close it; what is read "
            "may lack what was written last"
        )


def _unended(volume: Volume) -> Iterator[str]:
    for record in volume.sessions.crashed():
        yield f"the host {printable(record.host)} (since {human_time(record.started_ms / 1000)})"
