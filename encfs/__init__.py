"""cloakfs: an encrypted folder on any disk, seen in plain text only while it is unlocked.

Owns: the version number. Nothing is imported here, so that ``cloakfs --version`` answers at once and
``import encfs`` costs nothing.

As a library start at ``encfs.volume``; FORMAT.md says what every byte on the disk means. This package
is not related to EncFS and cannot read its volumes.
"""

__version__ = "0.1.0"
