"""Backups of volumes with keys of their own, and restores that are tried (FORMAT.md section 18).

Two engines: ``copy`` takes the sealed tree and needs no key; ``restic`` takes what programs see, through the mount.
"""
