"""``cloakfs create``: a new volume.

Owns: the command. Must not know: what is asked and in which order (``volume_making.py``).
"""

from __future__ import annotations

import click

from encfs.cli import options, output, volume_making
from encfs.errors import ExitCode


@options.command(
    "create",
    example="""
cloakfs create ~/practice.vault
cloakfs create /srv/p.vault --passphrase-file /run/keys/p --recovery-out /media/stick/p.key""",
)
@click.argument("volume")
@volume_making.making_options
@options.json_option
def command(*, volume: str, wishes: volume_making.Wishes, as_json: bool) -> ExitCode:
    """Make a new volume in VOLUME, an empty or new directory.

    Asks for a passphrase twice and measures how hard it is to guess. Shows a recovery key, which opens the volume when
    the passphrase is lost, and asks for it back: only then is the volume made. Unless --kdf-memory and --kdf-passes fix
    it, the cost of trying a passphrase is set to about a second of this machine.
    """
    volume_making.check(wishes, volume)
    chosen = volume_making.choose(wishes, volume)
    config = volume_making.make(wishes, chosen, volume)
    if as_json:
        output.print_json(volume_making.as_json(wishes, config, chosen.cost, volume))
        return ExitCode.OK
    output.say(f"Made the volume {output.bold(output.printable(volume))}.")
    output.print_table(volume_making.rows(wishes, config, chosen.cost))
    output.say(f"Next: cloakfs mount {output.printable(volume)} MOUNTPOINT")
    return ExitCode.OK
