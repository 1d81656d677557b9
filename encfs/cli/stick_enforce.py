"""``cloakfs stick enforce``: removable media that are not encrypted can be read on this machine, but not written to.

Owns: showing what would be written, asking, and saying why a medium is read-only. Must not know: what counts as
encrypted, what udev and systemd are told (``encfs.stick.enforce``).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import click

from encfs.cli import options, output, share_view, terminal
from encfs.cli.recording import telling
from encfs.errors import CloakfsError, ExitCode, UsageError
from encfs.stick import enforce, programs

PLACES: Final = enforce.Places()
_ANSWER: Final = "enforce"


@options.command(
    "enforce",
    example="""
cloakfs stick enforce
cloakfs stick enforce --remove""",
)
@click.option("--remove", is_flag=True, help="Take away what enforce has written.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--judge", "device", metavar="DEVICE", help="Look at one medium, as the unit does when it is put in.")
@options.json_option
def command(*, remove: bool, yes: bool, device: str | None, as_json: bool) -> ExitCode:
    """Make removable media that are not encrypted read-only on this machine, and say why when one is put in.

    Needs root. Writes a udev rule and a systemd unit, shows both before, and asks. Media that hold a volume, and those
    with LUKS, can be written to as before; so can what is put in already, until it is put in again. It is against
    mistakes: it does not stop root, and beside a volume plain files can still be written to a stick.
    """
    if device is not None and (remove or yes):
        raise UsageError("--judge looks at a medium, and writes no files", hint="Give it alone.")
    if device is not None:
        return _judge(device, as_json=as_json)
    with telling("stick.enforce", remove=int(remove)) as told:
        changes, problems = _enforce(remove=remove, yes=yes)
        told.detail |= {"changed": len(changes), "problems": len(problems)}
    if as_json:
        output.print_json({"enforced": not remove, "changed": [str(path) for path in changes], "problems": problems})
        return ExitCode.OK
    _tell(changes, remove=remove)
    for problem in problems:
        output.warn(f"{problem}; it holds after the next start of this machine")
    return ExitCode.OK


def _enforce(*, remove: bool, yes: bool) -> tuple[dict[Path, str | None], list[str]]:
    """What was changed, and what of it holds only after the next start."""
    wanted = enforce.files(PLACES, share_view.program())
    changes = _changes(wanted, remove=remove)
    if changes and not all(os.access(_nearest(path), os.W_OK) for path in changes):
        raise UsageError("only root can write to /etc", hint="Run it with sudo.")
    if changes and not yes:
        _show(changes)
        _ask(remove=remove)
    for path, text in changes.items():
        _write(path, text)
    return changes, enforce.reload() if changes else []


def _changes(wanted: dict[Path, str], *, remove: bool) -> dict[Path, str | None]:
    """What to write where; None to take it away."""
    there = {path: path.read_text() if path.exists() else None for path in wanted}
    if remove:
        return dict.fromkeys(path for path, text in there.items() if text is not None)
    return {path: text for path, text in wanted.items() if there[path] != text}


def _nearest(path: Path) -> Path:
    """The directory in which something would be made."""
    return next(parent for parent in path.parents if parent.exists())


def _show(changes: dict[Path, str | None]) -> None:
    for path, text in changes.items():
        if text is None:
            output.say(f"Take away {path}")
            continue
        output.say(f"{'Replace' if path.exists() else 'Write'} {path}:")
        for line in text.splitlines():
            output.say(f"    {line}".rstrip())
        output.say()


def _ask(*, remove: bool) -> None:
    """Raises: UsageError: the answer is another one, or there is nobody to ask."""
    word = "remove" if remove else _ANSWER
    terminal.require("an answer", hint="Give --yes.")
    if terminal.ask(f'Type "{word}" to do this: ').strip() != word:
        raise UsageError("nothing was changed", hint=f'The answer was not "{word}".')


def _write(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.chmod(0o644)
    new.replace(path)


def _tell(changes: dict[Path, str | None], *, remove: bool) -> None:
    if not changes:
        output.say("Nothing is to be done: " + ("nothing of it is there." if remove else "it is in force already."))
    elif remove:
        output.say("Removable media can be written to again. Take out and put in those that are read-only now.")
    else:
        output.say("From now on removable media that are not encrypted are read-only here.")
        output.say("Undo it with: cloakfs stick enforce --remove")


def _judge(device: str, *, as_json: bool) -> ExitCode:
    """What it says is in the journal of the unit, and on the terminals of who is logged in."""
    if enforce.judge(device):
        text = f"{device} holds a cloakfs volume: it can be written to."
    else:
        text = (
            f"{device} is not encrypted, so it can only be read on this machine (cloakfs stick enforce). "
            f"To make an encrypted stick of it: blockdev --setrw {device}, then cloakfs stick create {device}, as root."
        )
        _tell_everybody(text)
    if as_json:
        output.print_json({"device": device, "writable": text.endswith("written to.")})
    else:
        output.say(text)
    return ExitCode.OK


def _tell_everybody(text: str) -> None:
    """On the terminals of who is logged in; desktops show that the medium is read-only, and the journal says why."""
    try:
        programs.run("wall", text)
    except CloakfsError:
        return  # Without wall it is in the journal alone.
