"""Packs the portable reader; see tools/build-reader.

The archive holds ``encfs.reader``, every module of ours that it imports, directly or not, and the digests of the wheels
that it may load, taken from requirements.lock. Nothing in it depends on the machine or the time: entries are sorted,
dated 1980, and not compressed, because zlib does not promise the same bytes in each version.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP))

from encfs import __version__  # noqa: E402 - after the path is set
from encfs.reader import wheels  # noqa: E402
from encfs.reader.start import FOLDER  # noqa: E402

NAME = "cloakfs-reader.pyz"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
MAIN = f"""\
# cloakfs-reader {__version__}
import sys

if sys.version_info < (3, 11):
    sys.exit(
        "cloakfs-reader: this is Python %d.%d, and 3.11 or newer is needed.\\n"
        "  Get it from python.org; it can be installed without being an administrator." % tuple(sys.version_info[:2])
    )
from encfs.reader.start import main

sys.exit(main())
"""


def source_of(module: str) -> Path | None:
    """The file of a module of ours; None if the name is not a module."""
    path = TOP.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def imported(path: Path) -> Iterator[str]:
    """Names of ours that a module imports, those that it imports late as well, but not those for types alone."""
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        pending.extend(ast.iter_child_nodes(node))


def modules() -> dict[str, Path]:
    """All modules that the reader is made of, by name."""
    found: dict[str, Path] = {}
    pending = ["encfs.reader.start"]
    while pending:
        name = pending.pop()
        path = source_of(name)
        if path is None or name in found or not name.startswith("encfs"):
            continue
        found[name] = path
        pending += [name.rpartition(".")[0], *imported(path)]
    return dict(sorted(found.items()))


def pins() -> str:
    """The digests of requirements.lock for the packages that the reader loads; see encfs/reader/wheels.py."""
    lock = (TOP / "requirements.lock").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = []
    for name in (*wheels.REQUIRED, *wheels.OPTIONAL):
        entry = re.search(rf"^{name}==(\S+)(.*)$", lock, re.MULTILINE)
        if entry is None:
            raise SystemExit(f"build-reader: requirements.lock does not have {name}")
        lines.append(" ".join([name, entry[1], *sorted(re.findall(r"--hash=sha256:([0-9a-f]{64})", entry[2]))]))
    return "\n".join(lines) + "\n"


def build(to: Path, digests: str) -> None:
    """Write the archive: to a temporary name first, so that a reader is there whole or not at all.

    ``digests``: what :func:`pins` gives, of the wheels that it may load.
    """
    entries = {"__main__.py": MAIN, "encfs/reader/wheels.txt": digests}
    for path in modules().values():
        entries[path.relative_to(TOP).as_posix()] = path.read_text(encoding="utf-8")
    temporary = to.with_name(f".{to.name}.new")
    with temporary.open("wb") as raw:
        raw.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(raw, "a") as archive:
            for name, text in sorted(entries.items()):
                entry = zipfile.ZipInfo(name)
                entry.create_system, entry.external_attr = 3, 0o100644 << 16
                archive.writestr(entry, text.encode())
    temporary.chmod(0o755)
    os.replace(temporary, to)


def fetch(folder: Path) -> None:
    """Fill the folder with the wheels of all systems; pip compares each with its digest."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        wanted = Path(scratch, "wanted.txt")
        rows = [line.split() for line in pins().splitlines()]
        lines = [
            " ".join([f"{name}=={version}", *(f"--hash=sha256:{one}" for one in digests)])
            for name, version, *digests in rows
        ]
        wanted.write_text("\n".join(lines) + "\n", encoding="utf-8")
        for system, tags in wheels.DOWNLOAD_TAGS.items():
            for python in PYTHONS:
                download(folder, wanted, "_".join(system), tags, python)
    size = sum(path.stat().st_size for path in folder.glob("*.whl"))
    say(f"{folder}: {len(list(folder.glob('*.whl')))} wheels, {size / 1e6:.1f} MB")


def download(folder: Path, wanted: Path, system: str, tags: Sequence[str], python: str) -> None:
    """One pip run. A system for which a package has no wheel is told of and left out."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    command += ["--require-hashes", "--only-binary=:all:", "--dest", str(folder), "--python-version", python]
    for tag in tags:
        command += ["--platform", tag]
    done = subprocess.run([*command, "-r", str(wanted)], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = next((line for line in done.stderr.splitlines() if line.startswith("ERROR:")), "pip failed")
        say(f"no wheels for Python {python} on {system}: {reason.removeprefix('ERROR: ').partition(' (from')[0]}")


def say(text: str) -> None:
    """A line for whoever builds."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Build, and tell what was built."""
    parser = argparse.ArgumentParser(prog="build-reader", description="Makes the portable reader.")
    parser.add_argument("--to", type=Path, default=TOP / "dist", help="the folder, instead of dist")
    parser.add_argument("--wheels", action="store_true", help="also fetch the packages that it needs, for all systems")
    options = parser.parse_args()
    options.to.mkdir(parents=True, exist_ok=True)
    reader = options.to / NAME
    build(reader, pins())
    content = reader.read_bytes()
    say(f"{reader}: cloakfs-reader {__version__}, {len(content):,} bytes, {len(modules())} modules")
    say(f"SHA-256 {hashlib.sha256(content).hexdigest()}")
    if options.wheels:
        fetch(options.to / FOLDER)


if __name__ == "__main__":
    main()
