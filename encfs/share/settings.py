"""What Samba has read: its own account of smb.conf, and of the clients that are in.

Owns: running ``testparm``, ``smbclient`` and ``smbstatus``, and reading what they say. Must not know: what it shall be.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_SECONDS: Final = 30.0
_PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"
_WORDS: Final = {"true": "yes", "1": "yes", "false": "no", "0": "no"}


@dataclass(frozen=True, slots=True)
class Configuration:
    """smb.conf with everything that it includes, and with what holds where it says nothing.

    Attributes:
        sections: each section by its lower-case name: settings by their names, booleans as "yes" and "no".
    """

    sections: dict[str, dict[str, str]]

    def value(self, share: str, name: str) -> str:
        """What holds for a share; "" for what Samba does not know."""
        section = self.sections.get(share.lower(), {})
        return section.get(name, self.sections.get("global", {}).get(name, ""))

    @property
    def port(self) -> int:
        """The port that clients use."""
        ports = [int(word) for word in self.value("global", "smb ports").replace(",", " ").split() if word.isdigit()]
        return ports[0] if ports else 445


@dataclass(frozen=True, slots=True)
class Session:
    """A client that uses a share now. ``cipher``: "" if it is not encrypted."""

    machine: str
    dialect: str
    cipher: str


class SambaError(Exception):
    """A program of Samba is missing, or says no. Its text is one line, for a user."""


def configuration(smb_conf: Path) -> Configuration:
    """What Samba makes of its configuration.

    Raises:
        SambaError: testparm is missing, or refuses the file.
    """
    done = _run(["testparm", "--suppress-prompt", "--verbose", str(smb_conf)])
    if done.returncode:
        raise SambaError(f"testparm refuses {smb_conf}: {_last_line(done.stderr)}")
    return parse(done.stdout)


def parse(text: str) -> Configuration:
    """Read what testparm prints."""
    sections: dict[str, dict[str, str]] = {}
    section: dict[str, str] = {}
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            section = sections.setdefault(line[1:-1].lower(), {})
        elif "=" in line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            section[name.strip()] = plain(value)
    return Configuration(sections)


def plain(value: str) -> str:
    """A value as it is compared: booleans in one spelling. "SMB3" is Samba's other name for SMB3_11."""
    value = value.strip()
    word = _WORDS.get(value.lower(), value.lower())
    return word if word in ("yes", "no") else "SMB3_11" if value == "SMB3" else value


def missing_modules(names: Sequence[str]) -> list[str]:
    """Which of the VFS modules are not installed, so that a share that names them is not served at all.

    Raises:
        SambaError: smbd is missing, or does not tell.
    """
    lines = (line.partition(": ") for line in _run(["smbd", "--build-options"]).stdout.splitlines())
    directory = next((where.strip() for name, _, where in lines if name.strip() == "MODULESDIR"), "")
    if not directory:
        raise SambaError("smbd does not tell where its modules are")
    return [name for name in names if not (Path(directory) / "vfs" / f"{name}.so").exists()]


def anonymous_answer(port: int, share: str, smb_conf: Path, *, dialect: str) -> str:
    """What smbd on this machine says to a client without a name and password.

    Returns:
        The ``NT_STATUS_`` word of the refusal; "" if it let the client in.

    Raises:
        SambaError: smbclient is missing, or nobody listens.
    """
    command = ["smbclient", f"//127.0.0.1/{share}", "--port", str(port), "--no-pass", "--configfile", str(smb_conf)]
    command += ["--option=client min protocol=SMB2_02", "--max-protocol", dialect, "--command", "exit"]
    done = _run(command)
    if done.returncode == 0:
        return ""
    said = f"{done.stdout} {done.stderr}"
    status = next((word.strip("().:,") for word in said.split() if word.startswith("NT_STATUS_")), "")
    if not status or status in ("NT_STATUS_CONNECTION_REFUSED", "NT_STATUS_IO_TIMEOUT", "NT_STATUS_HOST_UNREACHABLE"):
        raise SambaError(f"no smbd answers at port {port} of this machine")
    return status


def log_level(smb_conf: Path) -> int:
    """The highest level at which the running smbd logs anything. testparm cannot tell: it has a level of its own.

    Raises:
        SambaError: smbcontrol is missing, may not ask (it needs root), or nobody answers.
    """
    done = _run(["smbcontrol", "--configfile", str(smb_conf), "smbd", "debuglevel"])
    levels = [int(level) for word in done.stdout.split() if (level := word.rpartition(":")[2]).isdigit()]
    if not levels:
        raise SambaError("smbd does not tell at which level it logs")
    return max(levels)


def sessions(share: str, smb_conf: Path) -> list[Session]:
    """The clients that use a share now.

    Raises:
        SambaError: smbstatus is missing, too old, or may not look (it needs root).
    """
    done = _run(["smbstatus", "--json", "--configfile", str(smb_conf)])
    try:
        said = json.loads(done.stdout)
        connected = [tcon for tcon in said.get("tcons", {}).values() if tcon["service"].lower() == share.lower()]
        return [_session(tcon, said["sessions"].get(tcon["session_id"], {})) for tcon in connected]
    except (ValueError, KeyError, AttributeError) as exc:
        raise SambaError(f"smbstatus does not tell: {_last_line(done.stderr)}") from exc


def _session(tcon: dict[str, object], session: dict[str, object]) -> Session:
    ciphers = [cipher for part in (session, tcon) if (cipher := _cipher(part.get("encryption")))]
    return Session(str(tcon.get("machine", "")), str(session.get("session_dialect", "")), ciphers[0] if ciphers else "")


def _cipher(encryption: object) -> str:
    """The cipher of a part of a session, "" if not all of it is encrypted. Samba writes "???" where it has no name."""
    if not isinstance(encryption, dict) or encryption.get("degree") != "full":
        return ""
    return str(encryption.get("cipher", ""))


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    program = shutil.which(command[0], path=_PATH)
    if program is None:
        raise SambaError(f"{command[0]} is not installed")
    try:
        return subprocess.run(
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_SECONDS,
            env={**os.environ, "PATH": _PATH, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        raise SambaError(f"{command[0]} did not answer within {_SECONDS:.0f} seconds") from None


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "it says nothing"
