"""``cloakfs stick create``: a stick with a volume, a note for the finder, and the portable reader.

Owns: what is shown and asked, in which order. Must not know: how a device is formatted (``encfs.stick``), how a
volume is made (``volume_making.py``).

Rule: everything that can be refused or given up comes before the first byte is written. A device is erased only after
its name was typed, or given with ``--confirm``; ``--yes`` does not stand for that.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from encfs.cli import media, options, output, progress, stick_registering, terminal, volume_making
from encfs.cli.recording import telling
from encfs.cli.secret_files import check_apart
from encfs.cli.volume_making import Chosen, Wishes
from encfs.errors import ExitCode, LowerIOError, NotEmptyError, UsageError
from encfs.format.config import Config
from encfs.stick import devices, finder, layout, preparing, reader_file
from encfs.stick.devices import Device
from encfs.units import VolumeId

_SHOWN: Final = 3
_READABLE: Final = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What will be made, once all was asked."""

    wishes: Wishes
    note: bytes
    reader_place: Path
    reader_files: list[Path]
    as_json: bool


@options.command(
    "create",
    example="""
cloakfs stick create /media/anna/STICK
cloakfs stick create /dev/sdb1 --if-found 'Practice Weber, phone 030 123456'""",
)
@click.argument("place", metavar="DEVICE|DIRECTORY")
@click.option("--if-found", metavar="TEXT", help="Your words in the note for the finder; everybody can read them.")
@click.option("--yes", is_flag=True, help="Do not ask whether the note is right.")
@click.option("--confirm", metavar="NAME", help="Of a DEVICE: its name, such as sdb1; erases it without asking.")
@click.option("--name", default="STICK", show_default=True, help="Of a DEVICE: what desktops will call it.")
@click.option("--medium", "medium_label", metavar="LABEL", help='What you write on it, for "cloakfs media".')
@volume_making.making_options
@options.json_option
def command(
    *,
    place: str,
    if_found: str | None,
    yes: bool,
    confirm: str | None,
    name: str,
    medium_label: str | None,
    wishes: Wishes,
    as_json: bool,
) -> ExitCode:
    """Make an encrypted stick: of DIRECTORY, where it is mounted, or of DEVICE, which is erased.

    In DIRECTORY nothing that is there is changed: a folder "encrypted" with the volume is added, a note for whoever
    finds the stick, and the reader for Windows and macOS. What lies there already stays readable by everybody.

    A DEVICE gets a new exFAT filesystem, and all that was on it is lost: what that is is shown before, and its name has
    to be typed. Refused are disks that are built into this machine, and everything that is mounted or in use.
    """
    with telling("stick.create", device=int(not os.path.isdir(place))) as told:
        made = _make(wishes, place, if_found, medium_label, yes=yes, confirm=confirm, name=name, as_json=as_json)
        told.volumes.append(VolumeId(bytes.fromhex(made["volume_id"])))
    if as_json:
        output.print_json(made)
    return ExitCode.OK


def _make(
    wishes: Wishes,
    place: str,
    if_found: str | None,
    medium_label: str | None,
    *,
    yes: bool,
    confirm: str | None,
    name: str,
    as_json: bool,
) -> dict[str, Any]:
    """Look, ask, make; what docs/json.md has of it."""
    if os.path.isdir(place):
        if confirm is not None:
            raise UsageError("--confirm goes with a DEVICE", hint="A directory is not erased.")
        device = None
        _check_directory(place)
    else:
        preparing.check_label(name)
        device = _check_device(place)
    registered = stick_registering.choose(medium_label, place, device, name)
    plan = _plan(wishes, place, device, if_found, yes=yes, as_json=as_json)
    made = _make_in_directory(plan, place) if device is None else _make_on_device(plan, device, name, confirm)
    medium = None if registered is None else stick_registering.register(registered, made["volume_id"], place)
    if medium is not None and not as_json:
        output.say(f"In the register of media it is {output.printable(medium)}: write that on it (cloakfs media list).")
    return {**made, "medium": medium}


# -- before anything is written -----------------------------------------------------------------------------------


def _check_directory(directory: str) -> None:
    """Raises: NotEmptyError: it is a stick already; LowerIOError: nothing can be written there."""
    shown = output.printable(directory)
    if layout.holds_volume(directory):
        raise NotEmptyError(
            f"{shown}: this is a volume itself",
            hint="Nothing was changed. Give the directory where a stick is mounted.",
        )
    for name in layout.NAMES:
        if os.path.lexists(os.path.join(directory, name)):
            raise NotEmptyError(
                f"{shown}: there is {name} already, so this is a stick of cloakfs, or was to become one",
                hint=f"Nothing was changed. Open it: cloakfs mount {shown} MOUNTPOINT   Or move {name} away first.",
            )
    if not os.access(directory, os.W_OK):
        read_only = bool(os.statvfs(directory).f_flag & os.ST_RDONLY)
        raise LowerIOError(
            f"{shown}: " + ("the medium is read-only" if read_only else "this user may not write there"),
            hint="Look for a small switch on it, or mount it writable."
            if read_only
            else "Mount it for this user, as the desktop does, or run this as root.",
        )


def _check_device(place: str) -> Device:
    if not os.path.exists(place):
        raise UsageError(
            f"{output.printable(place)}: there is no such directory or device", hint="See what is there: lsblk"
        )
    device = devices.look(place)
    devices.check_formattable(device, devices.disk_of(device))
    devices.check_unused(device.path)
    preparing.check_mountable()
    return device


def _plan(
    wishes: Wishes, place: str, device: Device | None, if_found: str | None, *, yes: bool, as_json: bool
) -> _Plan:
    """Show what is there and what the finder will read, and ask whether it is right.

    Raises:
        UsageError: nobody can be asked; or the answer was no.
    """
    volume = None if device else os.path.join(place, layout.VOLUME_NAME)
    volume_making.check(wishes, volume)
    if wishes.recovery_out is not None:
        check_apart(wishes.recovery_out, place)
    asks = terminal.is_interactive() and not as_json
    if not yes and not asks:
        raise UsageError("nobody can be asked whether the note for the finder is right", hint="Give --yes.")
    show = output.remark if as_json else output.say
    _show_place(show, place, device)
    if if_found is None:
        if_found = _ask_words() if asks and not yes else ""
    note = finder.note(if_found)
    show(f"\n{layout.FINDER_NAME}, which everybody who has the stick can read, will say:\n")
    show("".join(f"    {line}\n" for line in note.decode("ascii").splitlines()))
    if not yes and terminal.ask("Is that right? No patient's name in it? [y/N] ").strip().lower() not in ("y", "yes"):
        raise UsageError("nothing was made, because the answer was no")
    reader = reader_file.find()
    return _Plan(
        wishes=wishes,
        note=note,
        reader_place=Path() if reader is None else reader.parent,
        reader_files=[] if reader is None else reader_file.files(reader),
        as_json=as_json,
    )


def _ask_words() -> str:
    terminal.tell(
        "Words for whoever finds the stick, such as a name and a telephone number (one line; Enter for none).\n"
        "Everybody can read them: nothing about a patient."
    )
    return terminal.ask("Your words: ")


def _show_place(show: Callable[[str], None], place: str, device: Device | None) -> None:
    if device is not None:
        show(f"{device.path} will be ERASED. It is:")
        for one in device.all():
            show("  " + _device_text(one))
        if not device.in_sight_of_windows:
            show("  Windows does not look for files in this kind of partition. To be read there, give the whole stick.")
        return
    where = output.printable(os.path.abspath(place))
    if media.same_medium(place, "/"):
        show(f"{where} is on the disk of this machine, and no stick.")
    disk = os.statvfs(place)
    free, total = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    show(f"{where}: {output.human_size(free)} of {output.human_size(total)} are free.")
    if others := layout.others(place):
        some = ", ".join(output.printable(name) for name in others[:_SHOWN]) + (", ..." if others[_SHOWN:] else "")
        show(f"What is there now ({some}) stays, and is NOT encrypted.")


def _device_text(device: Device) -> str:
    parts = [f"{device.name}: {output.human_size(device.size)}"]
    parts.append(f"filesystem {device.filesystem}" if device.filesystem else "no filesystem that is known")
    if device.label:
        parts.append(f"named {output.printable(device.label)!r}")
    if device.model:
        parts.append(output.printable(device.model))
    return ", ".join(parts)


# -- making it -----------------------------------------------------------------------------------------------------


def _make_in_directory(plan: _Plan, directory: str) -> dict[str, Any]:
    volume = os.path.join(os.path.abspath(directory), layout.VOLUME_NAME)
    chosen = volume_making.choose(plan.wishes, volume)
    config = _fill(plan, chosen, directory, name=None)
    if not plan.as_json:
        _tell(plan, chosen, config, directory)
        where = output.printable(directory)
        output.say(f"Open it:     cloakfs mount {where} MOUNTPOINT")
        output.say(f"Take it out: cloakfs stick eject {where}")
    return _as_json(plan, chosen, config, os.path.abspath(directory), None)


def _make_on_device(plan: _Plan, device: Device, label: str, confirm: str | None) -> dict[str, Any]:
    name = os.path.basename(device.path)
    if confirm is None:
        terminal.require("the name of the device", hint=f"Give --confirm {name}, if that is what shall be erased.")
    elif confirm != name:
        raise _not_confirmed(device)
    chosen = volume_making.choose(plan.wishes, f"stick {label}")
    if confirm is None and terminal.ask(f"Everything on {device.path} will be lost. Type its name, {name}: ") != name:
        raise _not_confirmed(device)
    with progress.activity("Formatting"):
        preparing.make_filesystem(device, label)
    try:
        with preparing.mounted(device) as directory:
            config = _fill(plan, chosen, directory, name=f"stick {label}", place=device.path)
    except OSError as exc:
        raise LowerIOError(
            f"{device.path} is formatted, but the stick is not complete: {os.strerror(exc.errno or 0)}",
            hint="Run the same command again.",
        ) from exc
    if not plan.as_json:
        _tell(plan, chosen, config, device.path)
        output.say("It is written and not mounted. Take it out and put it in again: the desktop then shows it.")
        output.say("Open it there: cloakfs mount DIRECTORY MOUNTPOINT")
    return _as_json(plan, chosen, config, None, device)


def _not_confirmed(device: Device) -> UsageError:
    return UsageError(
        f"that is not the name of the device, which is {os.path.basename(device.path)}", hint="Nothing was changed."
    )


def _fill(plan: _Plan, chosen: Chosen, directory: str, *, name: str | None, place: str | None = None) -> Config:
    """Note, reader, volume. If one of them fails nothing of them stays."""
    with ExitStack() as undo:
        _write_new(os.path.join(directory, layout.FINDER_NAME), plan.note, undo)
        for file in plan.reader_files:
            _write_new(os.path.join(directory, file), (plan.reader_place / file).read_bytes(), undo)
        volume = os.path.join(directory, layout.VOLUME_NAME)
        config = volume_making.make(plan.wishes, chosen, volume, name=name, place=place)
        undo.callback(shutil.rmtree, volume, ignore_errors=True)
        _sync_directory(directory)
        undo.pop_all()
    return config


def _write_new(path: str, content: bytes, undo: ExitStack) -> None:
    """A file that everybody may read, in a directory that may be new too; ``undo`` takes them away again."""
    parent = os.path.dirname(path)
    if not os.path.isdir(parent):
        os.mkdir(parent)
        undo.callback(os.rmdir, parent)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _READABLE)
    undo.callback(os.unlink, path)
    with open(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(fd)


def _sync_directory(directory: str) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _tell(plan: _Plan, chosen: Chosen, config: Config, place: str) -> None:
    output.say(f"Made the stick {output.bold(output.printable(place))}.")
    output.print_table(
        [
            *volume_making.rows(plan.wishes, config, chosen.cost),
            ("for the finder", layout.FINDER_NAME),
            ("reader", _reader_text(plan)),
        ]
    )
    if not plan.reader_files:
        output.say(_NO_READER)


def _reader_text(plan: _Plan) -> str:
    if not plan.reader_files:
        return "not there, see below"
    if plan.reader_files[1:]:
        return f"{layout.READER_NAME}, with what it needs in {layout.WHEELS_NAME}"
    return f"{layout.READER_NAME} (docs/reader.md says what it needs on the other machine)"


_NO_READER: Final = (
    f"{layout.READER_NAME} was not found on this machine, so the stick cannot be read on Windows or macOS yet.\n"
    f"  Make it with tools/build-reader, and copy dist/{layout.READER_NAME} onto it, beside {layout.FINDER_NAME}."
)


def _as_json(
    plan: _Plan, chosen: Chosen, config: Config, directory: str | None, device: Device | None
) -> dict[str, Any]:
    volume = layout.VOLUME_NAME if directory is None else os.path.join(directory, layout.VOLUME_NAME)
    made = volume_making.as_json(plan.wishes, config, chosen.cost, volume)
    return {
        **made,
        "volume": volume if directory is not None else None,
        "directory": directory,
        "device": None if device is None else device.path,
        "files": [layout.FINDER_NAME, *map(str, plan.reader_files)],
    }
