"""Volumes that this host mounts by itself: from fstab and from systemd units, and the files that open them.

Owns: reading those lines. Must not know: what is in the files, whether a mount works.

Only what is written there is seen: a unit that calls a script hides what the script does.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_UNITS: Final = ("etc/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system")
_SECRETS: Final = ("passphrase-file", "key-file", "recovery-file", "share-file", "identity", "pin-file")
_OCTAL: Final = re.compile(r"\\([0-7]{3})")
_CREDENTIAL: Final = re.compile(r"^LoadCredential(Encrypted)?=([^:\s]+):(\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Given:
    """A file that opens a volume. ``is_sealed``: by systemd-creds, to this host or to its TPM: it does not tell."""

    path: str
    is_sealed: bool = False


@dataclass(frozen=True, slots=True)
class Unattended:
    """A mount without a person. ``secrets``: the files that it is given; ``source``: where this is written."""

    volume: str
    secrets: tuple[Given, ...]
    source: str


def unattended(root: Path = Path("/")) -> list[Unattended]:
    """All that can be read."""
    return [*_of_fstab(root), *_of_units(root)]


def _of_fstab(root: Path) -> Iterator[Unattended]:
    for line in _text(root / "etc/fstab").splitlines():
        fields = line.split()
        if len(fields) < 4 or fields[0].startswith("#") or fields[2] not in ("fuse.cloakfs", "cloakfs"):
            continue
        options = [_unescaped(option).partition("=") for option in fields[3].split(",")]
        secrets = tuple(Given(value.strip('"')) for name, _, value in options if name in _SECRETS)
        yield Unattended(_unescaped(fields[0]), secrets, "/etc/fstab")


def _of_units(root: Path) -> Iterator[Unattended]:
    for place in _UNITS:
        for path in sorted((root / place).glob("*.service")):
            text = _text(path).replace("\\\n", " ")
            credentials = {name: Given(path, bool(sealed)) for sealed, name, path in _CREDENTIAL.findall(text)}
            for line in text.splitlines():
                if line.startswith("ExecStart="):
                    yield from _of_command(line.removeprefix("ExecStart="), credentials, f"/{place}/{path.name}")


def _of_command(line: str, credentials: dict[str, Given], source: str) -> Iterator[Unattended]:
    try:
        words = shlex.split(line.lstrip("-@:+!"))
    except ValueError:
        return  # systemd reads it in another way; it would not start either.
    if not words or not words[0].endswith("cloakfs") or "mount" not in words:
        return
    secrets: list[Given] = []
    places = []
    rest = iter(words[words.index("mount") + 1 :])
    for word in rest:
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("-"):
            places.append(word)
        elif name in _SECRETS:
            given = value if equals else next(rest, "")
            credential = re.fullmatch(r"(?:%d|\$\{?CREDENTIALS_DIRECTORY\}?)/(.+)", given)
            if credential is None:
                secrets.append(Given(given))
            elif credential[1] in credentials:
                secrets.append(credentials[credential[1]])
    if places:
        yield Unattended(places[0], tuple(secrets), source)


def _unescaped(word: str) -> str:
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), word)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
