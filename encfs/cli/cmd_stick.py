"""``cloakfs stick``: sticks and external disks that leave the house.

Owns: the group. Must not know: what its commands do.
"""

from __future__ import annotations

import click

from encfs.cli import stick_create, stick_eject, stick_enforce


@click.group("stick", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Make an encrypted stick, and take one out so that nothing is lost.

    A stick holds the volume in a folder "encrypted", a note for whoever finds it, and the reader for Windows and macOS.
    Open it with: cloakfs mount /media/STICK MOUNTPOINT   docs/stick.md goes through all of it.
    """


command.add_command(stick_create.command)
command.add_command(stick_eject.command)
command.add_command(stick_enforce.command)
