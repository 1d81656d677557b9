"""``cloakfs key``: who and what opens a volume.

Owns: the commands that show and take away; those that make a secret are in ``key_making.py``. Must not know: what is
in a slot, how it is written.
"""

from __future__ import annotations

import shlex
import time
from typing import Any, Final

import click

from encfs.cli import break_glass, key_making, key_rotation, key_sheets, options, output, targets, terminal
from encfs.cli.key_slots import as_json as slot_json
from encfs.cli.key_slots import cost_text, find_slot, kind_text, open_keys, printable_label, target_of, uses_of
from encfs.cli.secrets import SecretOptions, secret_options
from encfs.cli.unlocking import config_of, try_sources
from encfs.core.policy import require_recovery
from encfs.core.sources import UnlockSource
from encfs.errors import ExitCode
from encfs.format.epochs import RotationReason
from encfs.format.slots import KdfAlg, Slot, SlotKind
from encfs.kinds import KINDS
from encfs.volume.keys import Keys

_DESTROY: Final = "destroy"
_REMOVE: Final = "remove"
_OF_A_PERSON: Final = (SlotKind.PASSPHRASE, SlotKind.KEY_FILE, SlotKind.PASSPHRASE_AND_KEY_FILE, *KINDS)
_OUTGROWN: Final = 0.5
"""Seconds: a passphrase that takes less to try here was made for a slower machine."""


@click.group("key", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Show, add, change and remove what opens a volume.

    Give each person a slot of their own: then one that leaves can be removed, and nobody else learns anything new.
    """


@options.command(
    "list",
    example="""
cloakfs key list ~/practice.vault""",
)
@click.argument("volume")
@options.json_option
def list_slots(*, volume: str, as_json: bool) -> ExitCode:
    """List the slots of VOLUME: label, kind, date, cost of a guess, and when each was last used on this host.

    No passphrase is needed, so nothing vouches for the list: "cloakfs key test" does.
    """
    path = target_of(volume)
    config = config_of(path)
    used = uses_of(config)
    if as_json:
        output.print_json(_document(path, config.volume_id, config.slots, used))
        return ExitCode.OK
    for position, slot in enumerate(config.slots):
        if position:
            output.say()
        last = used.get(slot.id)
        output.say(output.bold(printable_label(slot)))
        output.print_table(
            [
                ("opens with", kind_text(slot)),
                ("made", output.human_time(slot.created)),
                ("a guess costs", cost_text(slot)),
                ("last used here", "never" if last is None else output.human_time(last)),
                ("id", slot.id.hex()),
            ]
        )
    return ExitCode.OK


def _document(path: str, volume_id: bytes, slots: tuple[Slot, ...], used: dict[bytes, int]) -> dict[str, Any]:
    return {
        "volume": path,
        "volume_id": volume_id.hex(),
        "slots": [slot_json(slot, used.get(slot.id)) for slot in slots],
    }


@options.command(
    "test",
    example="""
cloakfs key test ~/practice.vault
cloakfs key test ~/practice.vault --key-file /media/stick/anna.key""",
)
@click.argument("volume")
@options.json_option
@secret_options
def test(*, volume: str, as_json: bool, secret: SecretOptions) -> ExitCode:
    """Say which slot of VOLUME a passphrase or key opens, and how long that takes here.

    Nothing is mounted, changed or remembered. Try your recovery key with it once a year.
    """
    path = target_of(volume)
    taken = 0.0

    def timed(source: UnlockSource) -> Keys:
        nonlocal taken
        started = time.perf_counter()
        keys = open_keys(path, source)
        taken = time.perf_counter() - started
        return keys

    with try_sources(path, secret, timed) as keys:
        slot = keys.opened_with
    outgrown = slot.kdf.alg is KdfAlg.ARGON2ID and taken < _OUTGROWN
    if as_json:
        output.print_json(
            {"volume": path, "slot": slot_json(slot, None), "seconds": round(taken, 3), "outgrown": outgrown}
        )
        return ExitCode.OK
    output.say(f"It opens {output.printable(path)}, slot {printable_label(slot)}, in {taken:.1f} s.")
    if outgrown:
        output.say(
            "This machine has outgrown the cost of that slot: guessing has become cheap. "
            f"Renew it: cloakfs key change {shlex.quote(output.printable(path))} {shlex.quote(printable_label(slot))}"
        )
    return ExitCode.OK


@options.command(
    "rename",
    example="""
cloakfs key rename ~/practice.vault passphrase "Anna Schmidt" """,
)
@click.argument("volume")
@click.argument("slot")
@click.argument("label")
@options.json_option
@secret_options
def rename(*, volume: str, slot: str, label: str, as_json: bool, secret: SecretOptions) -> ExitCode:
    """Give SLOT of VOLUME another LABEL: a person or a purpose. It opens as before."""
    path = target_of(volume)
    key_making.check_label(label)
    with key_making.opened(path, secret) as keys:
        found = find_slot(keys.config, slot)
        keys.rename(found, label)
        config = keys.config
    _tell(path, config.slots, f"The slot {printable_label(found)} is called {output.printable(label)} now.", as_json)
    return ExitCode.OK


@options.command(
    "remove",
    example="""
cloakfs key remove ~/practice.vault "Anna Schmidt"
cloakfs key remove /srv/p.vault backup --passphrase-file /run/keys/p --yes""",
)
@click.argument("volume")
@click.argument("slot")
@click.option(
    "--rotate/--no-rotate",
    "rotates",
    default=None,
    help="Also replace the keys of the volume, as somebody who leaves may know them (default for what a person holds).",
)
@click.option("--yes", is_flag=True, help="Do not ask whether you are sure (needed without a terminal).")
@options.json_option
@secret_options
def remove(
    *, volume: str, slot: str, rotates: bool | None, yes: bool, as_json: bool, secret: SecretOptions
) -> ExitCode:
    """Take SLOT away from VOLUME: what it opened with opens nothing any more.

    For all but a recovery key the keys of the volume are replaced with it, as "cloakfs key rotate" does, so that
    nothing which is written from now on opens with a key that its holder could have copied. A copy of the volume's
    config from before still opens with it. The last slot and the last recovery key are removed only after a word is
    typed.
    """
    target = targets.find(volume)
    path = target.volume
    with key_making.opened(path, secret) as keys:
        found = find_slot(keys.config, slot)
        # Before the question: what is forbidden needs no consent.
        require_recovery(keys.config.policy, keys.config.slots, [one for one in keys.config.slots if one != found])
        _consent(found, keys, yes=yes)
        others = len(keys.config.slots) > 1
        if others and (rotates or (rotates is None and found.kind in _OF_A_PERSON)):
            wish = key_rotation.Wish(RotationReason.STAFF, data=False, without=found)
            rotated = key_rotation.carry_through(target, keys, wish)
        else:
            keys.remove(found)
            rotated = None
        config = config_of(path)
    _tell(path, config.slots, f"The slot {printable_label(found)} is gone.", as_json)
    if not as_json:
        if rotated is not None:
            key_rotation.tell(rotated)
        output.say("Backups of cloakfs.volume from before still open with it: destroy them, or keep them safe.")
    return ExitCode.OK if rotated is None or rotated.complete else ExitCode.FINDINGS


def _consent(slot: Slot, keys: Keys, *, yes: bool) -> None:
    """Ask as much as the loss is worth.

    Raises:
        UsageError: there is nobody to ask. EOFError: no consent; nothing is changed.
    """
    if yes:
        return
    others = [one for one in keys.config.slots if one.id != slot.id]
    in_reserve = any(one.kind in break_glass.KINDS for one in others)
    if not others:
        warning, word = "It is the last slot: after that nothing opens the volume, ever.", _DESTROY
    elif slot.kind in break_glass.KINDS and not in_reserve:
        what = "set of shares" if slot.kind == SlotKind.SHARES else "recovery key"
        warning, word = f"It is the last {what}: a forgotten passphrase is then the loss of everything.", _REMOVE
    else:
        warning, word = "", "yes"
    terminal.require("your consent", hint="In scripts give --yes.")
    if warning:
        terminal.tell(warning)
    if terminal.ask(f'Remove the slot {printable_label(slot)}? Type "{word}": ').strip().lower() != word:
        raise EOFError


def _tell(path: str, slots: tuple[Slot, ...], text: str, json_wanted: bool) -> None:  # noqa: FBT001 - of the option
    if json_wanted:
        output.print_json({"volume": path, "slots": [slot_json(slot, None) for slot in slots]})
    else:
        output.say(text)


_MAKING: Final = (key_making.add, key_making.change, key_sheets.recovery, key_sheets.shares)
for _one in (list_slots, *_MAKING, rename, remove, key_rotation.rotate, test):
    command.add_command(_one)
