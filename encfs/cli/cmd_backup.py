"""``cloakfs backup``: the group of its commands.

Owns: which there are. Must not know: what they do.
"""

from __future__ import annotations

import click

from encfs.cli import backup_certify, backup_key


@click.group("backup", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Back volumes up, with keys of their own, and try whether they can be restored.

    docs/backup.md goes through all of it.
    """


for _one in (backup_certify.command, backup_key.command()):
    command.add_command(_one)
