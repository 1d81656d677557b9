"""``cloakfs key recovery`` and ``key shares``: secrets in reserve, on sheets of paper.

Owns: the order: what can be refused is refused before anything is asked, and the sheets are made and proved before the
config is written. Must not know: what a page looks like, what is in a slot.

What is given up or refused leaves the volume as it was, and no file.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Self, TypeVar

import click

from encfs.cli import break_glass, key_making, options, output, progress, recovery_key, secret_files, terminal
from encfs.cli.key_slots import as_json as slot_json
from encfs.cli.key_slots import find_slot, kind_text, printable_label, target_of
from encfs.cli.secrets import SecretOptions, secret_options, secret_options_but_shares
from encfs.cli.shares import sets_of
from encfs.cli.unlocking import config_of
from encfs.core.slots import SlotSecret
from encfs.core.sources import KnownSecret, NewSlot, SharedSecret, UnlockSource
from encfs.crypto import rng
from encfs.errors import ExitCode, UsageError, WrongSecretError
from encfs.format.config import Config
from encfs.format.limits import RECOVERY_KEY_SIZE
from encfs.format.slots import Kdf, KdfAlg, ShareSet, Slot, SlotKind, encode_share_set
from encfs.sheets import parts
from encfs.sheets.shares import Collector, Share, split
from encfs.sheets.sheets import recovery_sheet, share_sheet
from encfs.sheets.typed import type_shares
from encfs.volume.keys import Keys

_F = TypeVar("_F", bound=Callable[..., Any])
_PIPE: Final = "-"
_CONSENT_HINT: Final = "In scripts give --yes; then nobody has proved that the paper is right."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """The volume, and the slot that is made or replaced.

    Attributes:
        name: what the sheets call the volume.
        replace: as the user named it; None if a slot is added.
    """

    path: str
    name: str
    config: Config
    label: str
    replace: str | None

    def write(self, keys: Keys, new: NewSlot, proof: UnlockSource, sheets: _Sheets) -> Slot:
        """The new slot, when it is on the disk. The sheets stay if it may be there."""
        try:
            with progress.activity("Proving and writing it"):
                if self.replace is None:
                    return keys.add(new, proof)
                return keys.change(find_slot(keys.config, self.replace), new, proof)
        except BaseException as exc:
            if key_making.may_be_written(exc):
                sheets.keep()
            raise


def _common_options(function: _F) -> _F:
    made = function
    for option in (
        click.option("--yes", is_flag=True, help="Do not type it back from the paper (needed without a terminal)."),
        click.option("--replace", metavar="SLOT", help="The slot that it replaces; its sheets then open nothing."),
        click.option("--label", metavar="TEXT", help="What the slot is called; not secret."),
    ):
        made = option(made)
    return made


def _place(volume: str, kind: SlotKind, label: str | None, replace: str | None, default: str) -> _Place:
    """What the options mean. A slot that is replaced by one of its kind keeps its label.

    Raises:
        UsageError: there is no such slot, or none that has sheets; or the label is taken.
        ConfigError, OSError.
    """
    path = target_of(volume)
    config = config_of(path)
    kept = ""
    if replace is not None:
        old = find_slot(config, replace)
        if old.kind not in break_glass.KINDS:
            raise UsageError(
                f"the slot {printable_label(old)} opens with a {kind_text(old)}, which is on no sheet",
                hint="cloakfs key change gives it a new secret.",
            )
        kept = old.label
        default = kept if kept and old.kind == kind else default
    label = label or default
    key_making.check_label(label)
    if label != kept:
        key_making.require_new(config, label)
    name = os.path.basename(os.path.realpath(path))
    return _Place(path=path, name=name, config=config, label=label, replace=replace)


def _name_of(given: str | None, question: str, option: str) -> str:
    if given is None:
        terminal.require(option.removeprefix("--"), hint=f"Give {option}.")
        given = terminal.ask(question)
    if not given.strip():
        raise UsageError(f"{option}: a sheet names who keeps it")
    return given.strip()


@options.command(
    "recovery",
    example="""
cloakfs key recovery ~/practice.vault --out /media/stick/sheet.pdf
cloakfs key recovery ~/practice.vault --custodian "Dr. Weber" --out - | lp""",
)
@click.argument("volume")
@click.option("--out", required=True, metavar="FILE", help='A new PDF, on another medium; "-": a pipe to a printer.')
@click.option("--custodian", metavar="NAME", help="Who keeps the sheet. Asked for if it is not given.")
@_common_options
@options.json_option
@secret_options
def recovery(
    *,
    volume: str,
    out: str,
    custodian: str | None,
    label: str | None,
    replace: str | None,
    yes: bool,
    as_json: bool,
    secret: SecretOptions,
) -> ExitCode:
    """Make a recovery key for VOLUME, on a sheet of paper for a safe.

    Asks for a passphrase that opens the volume now, writes the sheet, and has the key typed from the paper. Only then
    a slot is added.
    """
    parts.check()
    if out == _PIPE:
        _check_pipe(as_json=as_json)
    if not yes:
        terminal.require("somebody who types the key from the paper", hint=_CONSENT_HINT)
    custodian = _name_of(custodian, "Who keeps the sheet? ", "--custodian")
    place = _place(volume, SlotKind.RECOVERY, label, replace, f"sheet of {custodian}")
    key = rng.random_bytes(RECOVERY_KEY_SIZE)
    day = _today()
    pdf = recovery_sheet(key, volume=place.name, volume_id=place.config.volume_id, custodian=custodian, day=day)
    new = NewSlot(kind=SlotKind.RECOVERY, label=place.label, kdf=Kdf(KdfAlg.NONE), secret=SlotSecret(key=key))
    if out != _PIPE:
        secret_files.check_free(out)
        secret_files.check_apart(out, place.path)
    with key_making.opened(place.path, secret) as keys, _Sheets({} if out == _PIPE else {out: pdf}) as sheets:
        if out == _PIPE:
            sys.stdout.buffer.write(pdf)
            sys.stdout.buffer.flush()
        if not yes:
            recovery_key.prove_sheet(key, "the printer" if out == _PIPE else output.printable(out))
        made = place.write(keys, new, KnownSecret.of(SlotKind.RECOVERY, key), sheets)
    _tell(place, made, [] if out == _PIPE else [out], "--recovery", typed=not yes, as_json=as_json)
    return ExitCode.OK


@options.command(
    "shares",
    example="""
cloakfs key shares ~/practice.vault --threshold 2 --shares 3 --out-dir /media/stick/shares
cloakfs key shares /srv/p.vault --threshold 2 --shares 2 --holder Anna --holder Ben --out-dir /run/s --text --yes""",
)
@click.argument("volume")
@click.option("--threshold", type=int, required=True, metavar="K", help="How many shares open the volume.")
@click.option("--shares", "count", type=int, required=True, metavar="N", help="How many shares are made.")
@click.option(
    "--out-dir", required=True, metavar="DIR", help="Where the sheets go, on another medium. Made if missing."
)
@click.option("--holder", "holders", metavar="NAME", multiple=True, help="Who keeps a share: N times. Else asked for.")
@click.option("--text", is_flag=True, help="Text files for --share-file, not PDFs.")
@_common_options
@options.json_option
@secret_options_but_shares
def shares(
    *,
    volume: str,
    threshold: int,
    count: int,
    out_dir: str,
    holders: tuple[str, ...],
    text: bool,
    label: str | None,
    replace: str | None,
    yes: bool,
    as_json: bool,
    secret: SecretOptions,
) -> ExitCode:
    """Make a key for VOLUME and split it into N shares on sheets of paper; any K of them open the volume.

    Fewer than K tell nothing. Asks for a passphrase that opens the volume now, writes the sheets, and has K of them
    typed from the paper. Only then a slot is added. Use the shares with --shares.
    """
    parts.check()
    if not yes:
        terminal.require("somebody who types shares from the paper", hint=_CONSENT_HINT)
    place = _place(volume, SlotKind.SHARES, label, replace, f"{threshold} of {count} shares")
    key = rng.random_bytes(RECOVERY_KEY_SIZE)
    made = split(key, threshold, count, taken=sets_of(place.config.slots))
    files = _share_files(made, _holders(holders, count), place, out_dir, text=text)
    for name in files:
        secret_files.check_free(name)
    secret_files.check_apart(out_dir, place.path)
    source = SharedSecret(made[0].set_id, key)
    with key_making.opened(place.path, secret) as keys, _Sheets(files, out_dir) as sheets:
        if not yes:
            _prove_shares(source, made[0], out_dir)
        slot = place.write(keys, _slot_of(made[0], place.label, key), source, sheets)
    _tell(place, slot, list(files), "--shares", typed=not yes, as_json=as_json)
    return ExitCode.OK


def _today() -> date:
    """As the clock on the wall has it."""
    return date(*time.localtime()[:3])


def _slot_of(share: Share, label: str, key: bytes) -> NewSlot:
    data = encode_share_set(ShareSet(share.set_id, share.threshold, share.count))
    return NewSlot(kind=SlotKind.SHARES, label=label, kdf=Kdf(KdfAlg.NONE), secret=SlotSecret(key=key), data=data)


def _holders(given: Sequence[str], count: int) -> list[str]:
    """Who keeps which share.

    Raises:
        UsageError: there are more or fewer names than shares, or nobody can be asked.
    """
    if given and len(given) != count:
        raise UsageError(
            f"{output.plural(count, 'share')} for {output.plural(len(given), 'holder')}",
            hint="Give --holder once for each share.",
        )
    return [
        _name_of(given[number] if given else None, f"Who keeps share {number + 1} of {count}? ", "--holder")
        for number in range(count)
    ]


def _share_files(
    made: Sequence[Share], holders: Sequence[str], place: _Place, out_dir: str, *, text: bool
) -> dict[str, bytes]:
    """What is written where."""
    day = _today()
    files = {}
    for share, holder in zip(made, holders, strict=True):
        name = os.path.join(out_dir, f"share-{share.number}-of-{share.count}")
        if text:
            about = f"# cloakfs share {share.number} of {share.count} ({share.threshold} needed), set {share.set_id:05}"
            whose = f"of {output.printable(place.name)}, for {output.printable(holder)}, made {day.isoformat()}"
            files[name + ".txt"] = f"{about}\n# {whose}\n{share.text}\n".encode("utf-8", "surrogateescape")
        else:
            files[name + ".pdf"] = share_sheet(
                share, volume=place.name, volume_id=place.config.volume_id, holder=holder, day=day
            )
    return files


def _prove_shares(source: SharedSecret, share: Share, out_dir: str) -> None:
    """Have enough shares typed from their sheets.

    Raises:
        WrongSecretError: they give something else.
        EOFError, KeyboardInterrupt: the user gives up.
    """
    collector = Collector([source.set_id])
    with terminal.private_screen():
        terminal.tell(
            f"The {share.count} sheets are in {output.printable(out_dir)}. When they are on paper, let "
            f"{share.threshold} holders type theirs.\n"
            "Until then no slot is made, and sheets that were printed open nothing."
        )
        type_shares(terminal, collector)
    if collector.secret() != source.key:
        raise WrongSecretError("the shares that were typed are not these", hint="Destroy the sheets, and try again.")


# -- files ---------------------------------------------------------------------------------------------------------


def _check_pipe(*, as_json: bool) -> None:
    """Raises: UsageError: standard output is not a pipe, or is needed for JSON."""
    if as_json:
        raise UsageError("--out - and --json both want standard output", hint="Give --out FILE.")
    mode = os.fstat(sys.stdout.fileno()).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        raise UsageError("--out - is for a pipe to a printer: cloakfs key recovery ... --out - | lp")


class _Sheets:
    """Files for their owner only, written when the block begins; gone again if it fails, unless they were kept.

    Args:
        files: content by name.
        directory: where they are, if it is to be made where it is missing.
    """

    def __init__(self, files: dict[str, bytes], directory: str | None = None) -> None:
        self._files = files
        self._directory = directory
        self._made: list[str] = []
        self._made_directory = False

    def __enter__(self) -> Self:
        try:
            if self._directory is not None and not os.path.isdir(self._directory):
                os.mkdir(self._directory, 0o700)
                self._made_directory = True
            for name, content in self._files.items():
                secret_files.write_new(name, content)
                self._made.append(name)
        except BaseException:
            self._discard()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        if kind is not None:
            self._discard()

    def keep(self) -> None:
        """Whatever happens: their slot may be on the disk."""
        if self._made:
            output.warn("the new slot may be there or not: keep its sheets until cloakfs key test has told")
        self._made, self._made_directory = [], False

    def _discard(self) -> None:
        for name in self._made:
            os.unlink(name)
        if self._made_directory and self._directory is not None:
            os.rmdir(self._directory)


def _tell(place: _Place, slot: Slot, files: Sequence[str], option: str, *, typed: bool, as_json: bool) -> None:
    if as_json:
        document = {"volume": place.path, "slot": slot_json(slot, None), "files": list(files), "typed_back": typed}
        output.print_json(document)
        return
    # Standard output may be the printer.
    say = output.say if files else output.remark
    volume = output.printable(place.path)
    done = "is added" if place.replace is None else "is made anew"
    say(f"The slot {printable_label(slot)} {done}, and was tried: it opens {volume}.")
    if not typed:
        say(f"Nobody has typed it from the paper yet. Do that: cloakfs key test {volume} {option}")
    if files:
        say("Print these, then delete them; each is as good as its paper:")
        for name in files:
            say(f"  {output.printable(name)}")
