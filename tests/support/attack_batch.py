"""Many attacks on one closed volume, one in each of its yards, and then one ``verify`` and one mount for all of them.

Owns: the order of making, growing older, attacking, verifying, mounting; what a case expects to see. Must not know:
what the attacks do; they say what they hit.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from encfs.format.geometry import Geometry
from encfs.volume import Volume
from encfs.volume.verify import Severity
from tests.support.corruption import ATTACKS, Attack, Effect, Hit, Target
from tests.support.host import Host
from tests.support.mounting import MountedVolume, cloakfs, is_mounted
from tests.support.volumes import SECRET, LowerVolume, verify
from tests.support.yards import MARK, Yard

OTHER_SECRET = b"the passphrase of another volume"
# The finding for these stands at the directory, because the plain name is lost.
_AT_DIRECTORY = ("foreign", "entry-damaged")

Findings = set[tuple[str, bytes]]


@dataclass(frozen=True)
class Case:
    """One attack on one yard. ``file``, ``other``: keys of things in the yard; "!key": in another volume."""

    attack: str
    file: str = "multi"
    other: str | None = None
    cell: int = 0
    offset: int = 0
    seed: int = 0
    grow: Callable[[Yard, Volume], None] | None = None

    @property
    def id(self) -> str:
        """For pytest."""
        parts = [self.attack, self.file.replace("/", "."), f"c{self.cell}" if self.cell else ""]
        return "-".join([*filter(None, parts), str(self.offset)] + ([f"s{self.seed}"] if self.seed else []))

    @property
    def kind(self) -> Attack:
        """The attack."""
        return ATTACKS[self.attack]


class Mount(MountedVolume):
    """A mount of a volume that is there already."""

    def __init__(self, base: Path, lower: Path) -> None:
        self.base, self.lower, self.path = base, lower, base / "mnt"
        self.log, self.secret_file = base / "daemon.log", base / "passphrase"
        self.options: tuple[str, ...] = ()
        self.user: dict[str, Any] = {"env": {**os.environ, "CLOAKFS_STATE_DIRECTORY": str(base / "state")}}
        self.secret_file.write_bytes(SECRET)
        self.secret_file.chmod(0o600)
        self.path.mkdir()
        self.pid = 0


class Batch:
    """A volume with one yard for each case, all attacked, mounted.

    ``memory``: the host that mounts it has seen everything that was there before the attacks.
    """

    def __init__(self, base: Path, cases: Sequence[Case], cell_size: int = 4096, *, memory: bool = False) -> None:
        self.base, self.cases, self.memory = base, list(cases), memory
        self.lower = LowerVolume(base / "volume", cell_size)
        self.geometry = Geometry(cell_size)
        self.yards: dict[Case, Yard] = {}
        self.hits: dict[Case, list[Hit]] = {}
        self.deleted: set[bytes] = set()
        self.mount = Mount(base, self.lower.path)
        self._make()
        self._attack()
        self.findings = self._verify()

    # -- the closed volume ------------------------------------------------------------------------------------

    def _unlock(self, *, read_only: bool = False) -> AbstractContextManager[Volume]:
        if self.memory:
            return Host(self.base / "state").unlocked(self.lower, read_only=read_only)
        return self.lower.unlock(read_only=read_only)

    def _make(self) -> None:
        with self._unlock() as volume:
            for number, case in enumerate(self.cases):
                yard = self.yards[case] = Yard(MARK + b"-%03d" % number)
                yard.build(volume)
                yard.find_lower(volume, self.lower.path)
        shutil.copytree(self.lower.path, self.base / "old", symlinks=True)
        with self._unlock() as volume:
            for case, yard in self.yards.items():
                if case.grow is not None:
                    case.grow(yard, volume)
                    yard.find_lower(volume, self.lower.path)

    def _foreign(self) -> Yard:
        """A yard of another volume, its lower paths known."""
        path = self.base / "foreign"
        Volume.create(os.fsencode(path), secret=OTHER_SECRET, cell_size=self.geometry.C)
        stranger = Yard(MARK)
        with Volume.unlock(os.fsencode(path), OTHER_SECRET) as volume:
            stranger.build(volume)
            stranger.find_lower(volume, path)
        return stranger

    def _attack(self) -> None:
        stranger = self._foreign() if any("old" in c.kind.needs and not c.grow for c in self.cases) else None
        for case, yard in self.yards.items():
            hits = case.kind.run(self._target(case, yard, stranger))
            self.hits[case] = [self._as_seen(hit) for hit in hits]

    def _as_seen(self, hit: Hit) -> Hit:
        """What a hit comes to on this host."""
        return replace(hit, effect=Effect.WHOLE, code=hit.remembered) if self.memory and hit.remembered else hit

    def _target(self, case: Case, yard: Yard, stranger: Yard | None) -> Target:
        file = yard.path(case.file)
        lower = yard.lower[file]
        other: Path | None = None
        if case.other is not None and case.other.startswith("!"):
            assert stranger is not None
            other = stranger.lower[stranger.path(case.other[1:])]
        elif case.other is not None:
            other = yard.lower[yard.path(case.other)]
        old = self.base / ("old" if case.grow else "foreign")
        return Target(self.lower.path, lower, other, old, case.cell, case.offset, case.seed)

    def _verify(self) -> Findings:
        with self._unlock(read_only=True) as volume:
            found, _ = verify(volume)
        return {(one.code, one.path) for one in found if one.severity is not Severity.INFO}

    # -- what is expected ---------------------------------------------------------------------------------------

    def plain(self, yard: Yard, lower: Path) -> bytes:
        """The plain path of a lower object of a yard, also of one that was put there."""
        for plain, path in yard.lower.items():
            if path == lower:
                return plain
        return self.plain(yard, lower.parent) + b"/?"

    def expected(self, case: Case) -> Findings:
        """The findings that ``verify`` is to make, without a checkpoint."""
        yard, found = self.yards[case], set()
        for hit in self.hits[case]:
            if hit.effect in (Effect.OLD, Effect.GONE):
                continue
            plain = self.plain(yard, hit.path)
            if hit.code:
                assert hit.code in (*case.kind.codes, *([hit.remembered] if self.memory else [])), "not in the table"
                found.add((hit.code, os.path.dirname(plain) if hit.code in _AT_DIRECTORY else plain))
        return found

    def found(self, case: Case, findings: Findings) -> Findings:
        """The findings in the yard of a case."""
        root = self.yards[case].root
        return {(code, path) for code, path in findings if path == root or path.startswith(root + b"/")}

    def at(self, plain: bytes) -> Path:
        """A plain path on the mount."""
        return self.mount.path / os.fsdecode(plain)

    def effect(self, case: Case, plain: bytes) -> Hit | None:
        """What hit a plain path, or a directory above it."""
        yard = self.yards[case]
        by_plain = {self.plain(yard, hit.path): hit for hit in self.hits[case]}
        if plain in by_plain:
            return by_plain[plain]
        while plain := os.path.dirname(plain):
            hit = by_plain.get(plain)
            if hit is not None and hit.effect in (Effect.WHOLE, Effect.GONE):
                return hit
        return None

    # -- the mount --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Mount; and ``verify`` over the mount finds what it found in the locked volume."""
        self.mount.mount()
        result = cloakfs("verify", str(self.mount.path), "--json", check=False, **self.mount.user)
        assert result.returncode == (3 if self.findings else 0), result.stderr
        shown = json.loads(result.stdout)["findings"]
        assert {(f["code"], os.fsencode(f["path"])) for f in shown if f["severity"] != "info"} == self.findings

    def finish(self) -> None:
        """Lock; what was damaged and deleted is gone from the findings, nothing new is there, the log is clean."""
        self.mount.lock()
        remaining = self._verify()
        assert remaining <= self.findings, remaining - self.findings
        assert not {path for _, path in remaining} & self.deleted
        log = self.mount.log.read_bytes()
        assert b"Traceback" not in log, log.decode()
        assert MARK not in log, log.decode()

    def clear(self) -> None:
        """Whatever has happened, no mount stays."""
        if is_mounted(self.mount.path):
            self.mount.kill()

    def has_event(self, lower: Path) -> bool:
        """Whether the log has an integrity event for a lower inode."""
        pattern = rf"integrity: \S+ inode={lower.lstat().st_ino}\b".encode()
        return re.search(pattern, self.mount.log.read_bytes()) is not None


@contextmanager
def attacked(cases: Sequence[Case], cell_size: int = 4096, *, memory: bool = False) -> Iterator[Batch]:
    """Attack a new volume in all its yards, and mount it. At the end it locks cleanly."""
    base = Path(tempfile.mkdtemp(prefix="cloakfs-attacks-")).resolve()
    try:
        batch = Batch(base, cases, cell_size, memory=memory)
        try:
            batch.start()
            yield batch
            batch.finish()
        finally:
            batch.clear()
    finally:
        shutil.rmtree(base)


def errno_of(call: Callable[[], object]) -> str:
    """The errno a call fails with, by name; empty for none."""
    try:
        call()
    except OSError as exc:
        return errno.errorcode[exc.errno or 0]
    return ""


__all__ = ["OTHER_SECRET", "Batch", "Case", "Mount", "attacked", "errno_of"]
