"""``cloakfs restore``: the command, with the way in which backups are opened.

Owns: putting the two together. Must not know: either of them.
"""

from __future__ import annotations

from encfs.cli import backup_opening, backup_restore

command = backup_restore.command(backup_opening.open_backup)
