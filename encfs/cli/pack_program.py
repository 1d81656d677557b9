"""Which programs and libraries stand behind what a pack says.

Owns: their names and versions. Must not know: packs.
"""

from __future__ import annotations

import platform

from encfs import __version__
from encfs.cli.libraries import version_of
from encfs.crypto.versions import openssl

_SEALING = ("cryptography", "argon2-cffi", "pyfuse3")


def sealing() -> dict[str, str]:
    """What seals, signs and mounts."""
    libraries = {name: version for name in _SEALING if (version := version_of(name)) is not None}
    return {
        "cloakfs": __version__,
        **libraries,
        "OpenSSL": openssl(),
        "Python": platform.python_version(),
        "kernel": f"{platform.system()} {platform.release()}",
    }
