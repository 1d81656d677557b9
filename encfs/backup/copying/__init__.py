"""Backups of the sealed tree, as it lies there (FORMAT.md section 18, "Target of `copy`")."""
