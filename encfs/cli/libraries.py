"""The packages that this program runs with, and what it wants of them.

Owns: asking the installation. It is a module of its own because importlib.metadata takes 10 ms to load, which only
``doctor`` and what is signed have a use for.
"""

from __future__ import annotations

import re
from importlib import metadata
from typing import Final

from encfs.doctor.host_facts import Library

_DISTRIBUTION: Final = "cloakfs"
_REQUIREMENT: Final = re.compile(r"([A-Za-z0-9._-]+)\s*([^;]*?)\s*(?:;\s*(.*))?")
# What shows in the list: the others are for looks, or for building.
_SHOWN: Final = frozenset(
    {"cryptography", "argon2-cffi", "pyfuse3", "trio", "jeepney", "pyrage", "python-pkcs11", "shamir-mnemonic"}
)


def installed() -> list[Library]:
    """The packages that matter for what is sealed and mounted, as pyproject.toml wants them."""
    try:
        wanted = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []  # Run from a directory that nobody installed.
    found = {}
    for text in wanted:
        parsed = _REQUIREMENT.fullmatch(text)
        if parsed is not None and parsed[1].lower() in _SHOWN:
            name = parsed[1].lower()
            found[name] = Library(
                name=name, version=version_of(name), wanted=parsed[2].strip(" ()"), is_optional=bool(parsed[3])
            )
    return list(found.values())


def version_of(name: str) -> str | None:
    """Of an installed package; None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
