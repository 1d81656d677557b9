"""A tree of files like that of a large source code or of a practice's documents, the same in every run.

Owns: what is in it, as an archive and as digests. Must not know: where it is unpacked.
"""

from __future__ import annotations

import hashlib
import io
import os
import random
import tarfile
from dataclasses import dataclass
from pathlib import Path

_FILES_IN_A_DIRECTORY = 12
_MEDIAN_SIZE = 3_000
_SIGMA = 1.5  # of the logarithm of sizes: a mean of 9 KB, one file in a hundred over 100 KB
_LARGEST = 2 << 20
_TIME = 1_700_000_000


@dataclass(frozen=True, slots=True)
class SampleTree:
    """``digests``: SHA-256 by path; ``joined``: SHA-256 of all contents in the order of ``digests``."""

    archive: Path
    digests: dict[str, bytes]
    directories: int
    size: int
    joined: bytes

    def difference(self, root: Path, *, besides: str = "") -> str:
        """What of the tree is not as it should be at ``root``, apart from the folder ``besides``; empty if all is."""
        seen = 0
        for folder, folders, names in os.walk(root):
            folders[:] = [name for name in folders if name != besides]
            for name in names:
                path = Path(folder, name)
                relative = str(path.relative_to(root))
                if self.digests.get(relative) != hashlib.sha256(path.read_bytes()).digest():
                    return f"{relative} has other bytes"
                seen += 1
        return "" if seen == len(self.digests) else f"{seen} files instead of {len(self.digests)}"


def make(archive: Path, files: int) -> SampleTree:
    """Write the archive; ``files`` regular files in a twelfth as many directories, three levels deep."""
    source = random.Random(7)  # noqa: S311 - sample data, the same in every run
    digests: dict[str, bytes] = {}
    directories: set[str] = set()
    joined = hashlib.sha256()
    size = 0
    with tarfile.open(archive, "w") as tar:
        for number in range(files):
            folder = _folder(number // _FILES_IN_A_DIRECTORY)
            _add_folders(tar, folder, directories)
            content = source.randbytes(min(_LARGEST, int(source.lognormvariate(0, _SIGMA) * _MEDIAN_SIZE)))
            path = f"{folder}/document-{number:05d}.{source.choice(['c', 'py', 'txt', 'odt', 'json'])}"
            _add(tar, path, content)
            digests[path] = hashlib.sha256(content).digest()
            joined.update(content)
            size += len(content)
    return SampleTree(archive, digests, len(directories), size, joined.digest())


def _folder(number: int) -> str:
    return f"area-{number // 64:02d}/part-{number // 8 % 8:02d}/case-{number % 8:02d}"


def _add_folders(tar: tarfile.TarFile, folder: str, known: set[str]) -> None:
    parts = folder.split("/")
    for depth in range(1, len(parts) + 1):
        path = "/".join(parts[:depth])
        if path not in known:
            known.add(path)
            info = _info(path, 0o755)
            info.type = tarfile.DIRTYPE
            tar.addfile(info)


def _add(tar: tarfile.TarFile, path: str, content: bytes) -> None:
    info = _info(path, 0o644)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def _info(path: str, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path)
    info.mode, info.mtime, info.uid, info.gid = mode, _TIME, os.getuid(), os.getgid()
    return info
