"""Unit files of systemd as far as the scratch machine runs them; an unknown setting that could matter is an error.

Owns: where units and their drop-ins lie, and their syntax (systemd.syntax(7), systemd.unit(5)). What is done with them:
``systemctl.py``.
"""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

DIRECTORIES: Final = ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
# What this stand-in does, and what makes no difference to what a page can see.
_DONE_WORDS: Final = """
    Requires BindsTo Wants PartOf After Before WantedBy RequiredBy RequiresMountsFor ConditionPathExists
    Type ExecCondition ExecStartPre ExecStart ExecStartPost ExecReload ExecStop ExecStopPost RemainAfterExit
    Environment EnvironmentFile LoadCredential RuntimeDirectory RuntimeDirectoryMode User Group Restart RestartSec
    OnCalendar Persistent
"""
_IGNORED_WORDS: Final = """
    Description Documentation DefaultDependencies Conflicts Alias PIDFile NotifyAccess SyslogIdentifier
    LimitNOFILE LimitCORE LimitMEMLOCK TimeoutStartSec TimeoutStopSec TimeoutSec StartLimitIntervalSec StartLimitBurst
    StandardInput StandardOutput StandardError KillMode KillSignal SendSIGKILL SuccessExitStatus
    OOMScoreAdjust UMask Nice IOSchedulingClass RandomizedDelaySec
"""
_KNOWN: Final = frozenset((_DONE_WORDS + _IGNORED_WORDS).split())
_MOUNT_NAMESPACE: Final = (
    "Protect",
    "Private",
    "ReadWrite",
    "ReadOnly",
    "NoNew",
    "Restrict",
    "SystemCall",
    "Memory",
    "Lock",
    "Capability",
)


class UnitError(Exception):
    """A unit cannot be found, or says something that is not known here."""


@dataclass
class Unit:
    """One unit with its drop-ins.

    Attributes:
        settings: each setting with its values, in their order; an empty value has emptied the list.
    """

    name: str
    path: Path
    settings: dict[str, list[str]] = field(default_factory=dict)

    def all(self, key: str) -> list[str]:
        """Every value, with ``%`` replaced."""
        return [self._specifiers(value) for value in self.settings.get(key, [])]

    def words(self, *keys: str) -> list[str]:
        """The words of all values: names of units, mostly."""
        return [word for key in keys for value in self.all(key) for word in value.split()]

    def one(self, key: str, default: str = "") -> str:
        """The last value."""
        return (self.all(key) or [default])[-1]

    @property
    def credentials(self) -> Path:
        return Path("/run/credentials", self.name)

    def _specifiers(self, text: str) -> str:
        prefix, _, instance = self.name.rpartition(".")[0].partition("@")
        known = {
            "n": self.name,
            "N": self.name.rpartition(".")[0],
            "p": prefix,
            "i": instance,
            "d": str(self.credentials),
            "t": "/run",
            "%": "%",
        }
        out, rest = "", text
        while "%" in rest:
            before, _, rest = rest.partition("%")
            if rest[:1] not in known:
                raise UnitError(f"{self.name}: the scratch machine does not know %{rest[:1]}")
            out, rest = out + before + known[rest[0]], rest[1:]
        return out + rest


def full_name(name: str) -> str:
    """``smbd`` is ``smbd.service``."""
    return name if "." in name.rpartition("/")[2] else f"{name}.service"


def load(name: str) -> Unit:
    """A unit as systemd would see it now.

    Raises:
        UnitError: there is none of this name, or it says what is not known here.
    """
    name = full_name(name)
    base, _, _ = name.partition("@")
    template = f"{base}@.{name.rpartition('.')[2]}" if "@" in name else name
    found = [path for directory in DIRECTORIES for at in (name, template) if (path := Path(directory, at)).exists()]
    if not found:
        raise UnitError(f"Unit {name} not found.")
    unit = Unit(name, found[0])
    drop_ins = {
        os.path.basename(path): path for d in reversed(DIRECTORIES) for path in glob.glob(f"{d}/{name}.d/*.conf")
    }
    for path in (found[0], *(Path(drop_ins[key]) for key in sorted(drop_ins))):
        _parse(unit, path)
    return unit


def exists(name: str) -> bool:
    """Whether there is such a unit."""
    return any(Path(directory, full_name(name)).exists() for directory in DIRECTORIES)


def names() -> list[str]:
    """All services that are there."""
    return sorted({os.path.basename(path) for directory in DIRECTORIES for path in glob.glob(f"{directory}/*.service")})


def _parse(unit: Unit, path: Path) -> None:
    text = path.read_text().replace("\\\n", " ")
    for line in map(str.strip, text.splitlines()):
        if not line or line[0] in "#;[":
            continue
        key, _, value = (part.strip() for part in line.partition("="))
        if key not in _KNOWN and not key.startswith(_MOUNT_NAMESPACE):
            raise UnitError(f"{path}: the scratch machine does not know {key}= (tests/support/units.py)")
        if value:
            unit.settings.setdefault(key, []).append(value)
        else:
            unit.settings[key] = []
