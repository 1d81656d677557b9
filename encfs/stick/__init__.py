"""Sticks and external disks that leave the house: what they are, what lies on them, how they are made and let go.

Owns: the names on a stick, the note for the finder, block devices and their filesystems. Must not know: keys, what is
in a volume, the terminal.
"""
