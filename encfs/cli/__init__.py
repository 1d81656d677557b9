"""The command ``cloakfs``: prompts, progress, tables, ``--json``, exit codes.

Owns everything between a person or a script and the library. Must not know: the backing store, what is in
a lower file, FUSE (``encfs.fuse`` is imported inside functions only, so that every command but ``mount`` works
where it is not installed).

One module for each command (``cmd_*.py``), loaded when that command runs. Errors become text, JSON and
exit codes in ``main.py`` and nowhere else.
"""
