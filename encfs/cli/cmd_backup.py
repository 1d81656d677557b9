"""``cloakfs backup``: the group of its commands.

Owns: which there are. Must not know: what they do.
"""

from __future__ import annotations

import click

from encfs.cli import (
    backup_certify,
    backup_drill,
    backup_end,
    backup_init,
    backup_key,
    backup_list,
    backup_opening,
    backup_run,
    backup_schedule,
    backup_status,
)


@click.group("backup", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Back volumes up, with keys of their own, and try whether they can be restored.

    docs/backup.md goes through all of it.
    """


for _one in (
    backup_init.command,
    backup_run.command,
    backup_status.command,
    backup_list.list_,
    backup_list.verify,
    backup_drill.command(backup_opening.open_backup),
    backup_certify.command,
    backup_key.command(backup_opening.fits),
    backup_schedule.command,
    backup_end.command,
):
    command.add_command(_one)
