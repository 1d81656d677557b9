"""What a result is worth without: the machine and the versions. And how results are written down.

Owns: the JSON document of every benchmark program and its tables. Must not know: what is measured. Nothing here
tells the name of the host, a path on it or who ran the program.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from cryptography.hazmat.backends.openssl.backend import backend as openssl

import encfs

TOP = Path(__file__).resolve().parents[2]
RESULTS = TOP / "benchmarks" / "results"
MEMORY = Path("/dev/shm")  # noqa: S108 - a tmpfs; what is made there has a fresh name
_PACKAGES = ("cryptography", "argon2-cffi", "pyfuse3", "trio")
_FLAGS_THAT_MATTER = ("aes", "vaes", "pclmulqdq", "vpclmulqdq", "avx2", "avx512f", "sha_ni", "pmull", "sha2")


def _load() -> float:
    """Of the last minute: how much else the machine had to do, or how much of it was ours."""
    return round(os.getloadavg()[0], 2)


_LOAD_BEFORE = _load()


def arguments(about: str) -> argparse.ArgumentParser:
    """The options that every benchmark program has."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke run in seconds; its figures mean nothing")
    parser.add_argument("--repetitions", type=int, metavar="N", help="samples of each measurement")
    parser.add_argument(
        "--output", type=_new_file, metavar="FILE", help="the JSON file (default: in benchmarks/results/)"
    )
    return parser


def document(
    benchmark: str, *, settings: dict[str, Any], results: list[dict[str, Any]], **more: object
) -> dict[str, Any]:
    """The JSON document of one run."""
    return {
        "benchmark": benchmark,
        "schema": 1,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "settings": settings,
        **more,
        "results": results,
    }


def _new_file(text: str) -> Path:
    """A path that can be written to: said before anything is measured, not after.

    Raises:
        argparse.ArgumentTypeError: its directory is missing.
    """
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no directory {path.parent}")
    return path


def machine() -> dict[str, Any]:
    """Processor, memory, kernel, system."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = _field(info, "model name") or platform.processor() or platform.machine()
    flags = set((_field(info, "flags") or _field(info, "Features")).split())
    return {
        "processor": model,
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "instructions": [flag for flag in _FLAGS_THAT_MATTER if flag in flags],
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", ""),
        "load_average": {"before": _LOAD_BEFORE, "after": _load()},
    }


def _field(info: str, name: str) -> str:
    for line in info.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def versions() -> dict[str, str]:
    """Of everything that the figures depend on."""
    found = {"cloakfs": encfs.__version__, "python": platform.python_version()}
    commit = _commit()
    if commit:
        found["commit"] = commit
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    found["openssl"] = openssl.openssl_version_text()
    return found


def _commit() -> str:
    """The commit of this checkout, with a mark where encfs/ is not as committed; empty outside of git."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        return f"{head} and changes" if _git("status", "--porcelain", "--", "encfs") else head
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*command: str) -> str:
    result = subprocess.run(["git", "-C", str(TOP), *command], capture_output=True, text=True, check=True)
    return result.stdout.strip()


def write(report: dict[str, Any], options: argparse.Namespace) -> Path | None:
    """Write the document where it was asked for, or among the results unless it is a smoke run; its file, or None."""
    target: Path | None = options.output
    if target is None:
        if options.quick:
            return None
        target = RESULTS / f"{report['benchmark']}.json"
        RESULTS.mkdir(exist_ok=True)
    target.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten: {target.name}")
    return target


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns; the first is text, the others are figures."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        print("  ".join(cells).rstrip())


def show(value: float) -> str:
    """A figure for a table: three digits, no exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
