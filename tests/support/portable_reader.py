"""The portable reader as somebody has it on a stick: built by the tool, run by a Python that has little else."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from encfs.volume import Volume
from tests.support import typeshed
from tests.support.command import Result
from tests.support.reader import REPOSITORY, load_tool

builder = load_tool("build_reader")

# What the two wheels of the issue bring, and the one for shares.
PACKAGES = ("cryptography", "argon2", "_argon2_cffi_bindings", "_cffi_backend*.so", "shamir_mnemonic")
DISTRIBUTIONS = ("cryptography", "cffi", "argon2-cffi", "argon2-cffi-bindings", "shamir-mnemonic")
STAND_IN = REPOSITORY / "tests" / "support" / "windows"


def site_packages() -> Path:
    """Where the packages of this Python are."""
    return Path(sysconfig.get_path("purelib"))


def clean_environment(path: Path, packages: tuple[str, ...]) -> Path:
    """A virtual environment that has only these packages, not even pip; its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(path)], check=True)
    [inner] = path.glob("lib/python3*/site-packages")
    for pattern in packages:
        [found] = site_packages().glob(pattern)
        (inner / found.name).symlink_to(found)
    return path / "bin" / "python"


def names_of_windows(path: Path) -> Path:
    """The file that the stand-in reads: for each module the names that it has on Windows."""
    modules = ("os", "errno", "signal", "socket")
    lines = [f"{module} {' '.join(sorted(typeshed.names(module, 'win32')))}\n" for module in modules]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def make_wheels(folder: Path) -> str:
    """Wheels made of the packages that this Python has; their digests as the reader takes them."""
    folder.mkdir()
    lines = []
    for name in DISTRIBUTIONS:
        found = metadata.distribution(name)
        tag = next(line.partition(": ")[2] for line in (found.read_text("WHEEL") or "").splitlines() if "Tag:" in line)
        path = folder / f"{name.replace('-', '_')}-{found.version}-{tag}.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for file in found.files or ():
                if ".." not in file.parts and "__pycache__" not in file.parts:
                    archive.write(file.locate(), str(file))
        lines.append(f"{name} {found.version} {hashlib.sha256(path.read_bytes()).hexdigest()}\n")
    return "".join(lines)


def lower_names(volume: Volume, path: bytes) -> list[bytes]:
    """The lower names that lead to a plain path."""
    node = volume.resolve(path, follow=False)
    names: list[bytes] = []
    while node.parent is not None:
        names.insert(0, node.lower_name)
        node = node.parent
    return names


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """A directory on a mount that is read-only, for as long as the block runs."""
    subprocess.run(["mount", "--bind", str(path), str(path)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(path)], check=True)
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


@dataclass(frozen=True)
class Reader:
    """A reader, and the Python that runs it. ``names``: it runs in the stand-in for Windows."""

    python: Path
    archive: Path
    names: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def command(self) -> list[str]:
        """The beginning of its command line."""
        return [str(self.python), *([] if self.names else ["-I"]), str(self.archive)]

    @property
    def settings(self) -> dict[str, str]:
        """Its environment: nothing of this test run, but for what the stand-in needs."""
        stand_in = {"PYTHONPATH": str(STAND_IN), "CLOAKFS_STAND_IN": str(self.names)} if self.names else {}
        return {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **stand_in, **self.environment}

    def path(self, path: str | os.PathLike[str]) -> str:
        """A path of this machine as the reader's system spells it."""
        text = os.fspath(path)
        return "Z:" + text.replace("/", "\\") if self.names and text.startswith("/") else text

    def run(self, *arguments: str | os.PathLike[str], cwd: Path | None = None) -> Result:
        """Run it without a terminal; a traceback fails the test whatever it is about."""
        done = subprocess.run(
            [*self.command, *map(self.path, arguments)],
            env=self.settings,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=120,
            cwd=cwd,
        )
        result = Result(done.returncode, done.stdout.decode(), done.stderr.decode())
        assert "Traceback" not in result.err, result.err
        return result
