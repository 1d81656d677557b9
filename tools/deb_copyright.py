#!/usr/bin/env python3
"""Writes Debian's copyright file for tools/build-deb: what the package holds, whose it is, where the licences are.

Its argument is the directory with the Python packages.
"""

from __future__ import annotations

import sys
from importlib.metadata import Distribution, distributions

_HEAD = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: cloakfs
Comment: The Python packages that cloakfs needs are in this package as their
 authors published them; requirements-deb.lock of the source has the versions
 and the hashes. The licence texts that came with them are below
 /usr/lib/cloakfs, in the directories *.dist-info.

Files: *
Copyright: 2026 the cloakfs developers
License: none-stated
 The source that this package was made from states no licence.
"""


def _license(found: Distribution) -> str:
    """What a package says of its licence: an SPDX expression, else a short field, else what it is listed under."""
    data = found.metadata
    field = data.get("License") or ""
    listed = [line for line in data.get_all("Classifier") or [] if line.startswith("License ::")]
    return (
        data.get("License-Expression")
        or (field if "\n" not in field else "")
        or ", ".join(line.rsplit(" :: ", 1)[1] for line in listed)
        or "see its metadata"
    )


def _paragraph(found: Distribution) -> str:
    """One package: its files, its authors, its licence."""
    name = found.metadata["Name"]
    tops = {(path.parts[0], len(path.parts) > 1) for path in found.files or [] if path.parts[0] != ".."}
    files = [f" usr/lib/cloakfs/lib/*/{top}{'/*' if is_folder else ''}" for top, is_folder in sorted(tops)]
    author = found.metadata.get("Author") or found.metadata.get("Author-Email") or f"the authors of {name}"
    head = ["", "Files:", *files, f"Copyright: {' '.join(author.split())}", f"License: {name}-{found.version}"]
    return "\n".join([*head, f" {_license(found)}"])


def main(site: str) -> None:
    """Print the file for what is in a directory of packages."""
    others = [found for found in distributions(path=[site]) if found.metadata["Name"] != "cloakfs"]
    print(_HEAD, *map(_paragraph, sorted(others, key=lambda found: found.metadata["Name"].lower())), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1])
