"""What backs up: cloakfs with each of its engines, and what people use without it.

Owns: command lines. Must not know: what is measured. restic and rsync take a plain tree; cloakfs takes a mounted volume
with the same files in it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import encfs
from benchmarks.harness.filesystems import packaged, run_cloakfs
from benchmarks.harness.peers import PeerError, run
from encfs.crypto import rng

COPY = "cloakfs copy"
RESTIC_OURS = "cloakfs restic"
RESTIC = "restic"
RSYNC = "rsync"
ALL = (COPY, RESTIC_OURS, RESTIC, RSYNC)


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to back up. Each call gets the target, a directory of its own, which is empty when it begins.

    Attributes:
        tree: the plain files that it takes.
        begin: a new backup.
        take: what there is now.
        restore: everything, into a directory that does not exist yet, beside ``tree``. Returns: where the files are.
        end: no more to this target.

    Raises:
        PeerError: any of the calls.
    """

    name: str
    version: str
    settings: str
    tree: Path
    begin: Callable[[Path], object]
    take: Callable[[Path], object]
    restore: Callable[[Path, Path], Path]
    end: Callable[[Path], object] = lambda _: None


def contenders(home: Path, plain: Path, scratch: Path) -> dict[str, Contender]:
    """All of them, by name.

    Args:
        home: of a mounted peer (:func:`benchmarks.harness.filesystems.cloakfs`), with the files in ``mnt/files``.
        plain: the same files, as they are.
        scratch: for what they keep.

    Raises:
        PeerError: a program is missing.
    """
    for program in ("restic", "rsync"):
        if shutil.which(program) is None:
            raise PeerError(f"{program} is not installed")
    found = (_ours(home, COPY, "copy"), _ours(home, RESTIC_OURS, "restic"), _restic(plain, scratch), _rsync(plain))
    return {one.name: one for one in found}


def _ours(home: Path, name: str, engine: str) -> Contender:
    """A volume that is mounted. What it has written is read back and compared, in the same run."""
    volume, tree = str(home / "lower"), home / "mnt" / "files"

    def begin(target: Path) -> None:
        sheet = home / "sheet.pdf"
        sheet.unlink(missing_ok=True)
        key = ("--sheet", str(sheet)) if engine == "restic" else ()
        run_cloakfs(home, "backup", "init", volume, str(target), "--engine", engine, *key)

    def take(target: Path) -> None:
        run_cloakfs(home, "backup", "run", volume, "--target", str(target), "--json")

    def restore(target: Path, to: Path) -> Path:
        secret = ("--recovery-file", str(home / "key")) if engine == "copy" else ()
        run_cloakfs(home, "restore", volume, "--target", str(target), "--to", str(to), *secret)
        return to / "files"

    def end(target: Path) -> None:
        run_cloakfs(home, "backup", "end", volume, "--target", str(target), "--why", "it is measured", "--yes")

    version = encfs.__version__ + (f", restic {packaged('restic')}" if engine == "restic" else "")
    settings = f"--engine {engine}, of a mounted volume; what was written is read back; restored into the volume"
    return Contender(name, version, settings, tree, begin, take, restore, end)


def _restic(plain: Path, scratch: Path) -> Contender:
    """Of the plain files, which it encrypts. Nothing is read back."""
    key, cache = scratch / "restic-password", scratch / "restic-cache"
    key.write_text(rng.random_bytes(16).hex() + "\n", encoding="ascii")
    how = ("--password-file", str(key), "--cache-dir", str(cache), "--quiet")

    def restic(target: Path, *arguments: str) -> None:
        run(RESTIC, ("env", "-C", str(plain), "restic", "--repo", str(target), *how, *arguments))

    def restore(target: Path, to: Path) -> Path:
        restic(target, "restore", "latest", "--target", str(to))
        return to

    return Contender(
        RESTIC, packaged("restic"), "its defaults", plain,
        begin=lambda target: restic(target, "init"), take=lambda target: restic(target, "backup", "."), restore=restore,
    )  # fmt: skip


def _rsync(plain: Path) -> Contender:
    """Of the plain files, as they are. Nothing is encrypted or read back, and there is one state only."""

    def copy(source: Path, to: Path) -> Path:
        run(RSYNC, ("rsync", "-a", "--delete", f"{source}/", f"{to}/"))
        return to

    return Contender(
        RSYNC, packaged("rsync"), "-a --delete", plain,
        begin=lambda _: None, take=lambda target: copy(plain, target), restore=copy,
    )  # fmt: skip
