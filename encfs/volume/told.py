"""What people and scripts are told of a volume, in the same words wherever they ask.

Owns: how findings, the end of a verification and a config are spelled, and which path a failure is about. Must not
know: who asks, on which kind of screen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import path as host_path
from typing import Any, Final

from encfs.errors import CloakfsError, DataError, NotAVolumeError, NotFoundError
from encfs.format.config import Config
from encfs.format.slots import Kdf, KdfAlg
from encfs.volume.findings import Code, Finding
from encfs.volume.verify import Summary
from encfs.wording import as_text, human_size, plural, printable

_WORDS: Final = {"info": "note", "warning": "warning", "error": "ERROR"}


@contextmanager
def about(path: str) -> Iterator[None]:
    """Puts the path of the volume before what the library says about it."""
    try:
        yield
    except FileNotFoundError as exc:
        if host_path.isdir(path):
            name = printable(exc.filename) if isinstance(exc.filename, str | bytes) else "a file"
            raise DataError(f"{printable(path)}: a part of the volume is missing: {name}") from exc
        raise NotAVolumeError(f"{printable(path)}: there is no such directory") from exc
    except NotADirectoryError as exc:
        raise NotAVolumeError(f"{printable(path)}: this is no directory, so no volume") from exc
    except CloakfsError as exc:
        exc.args = (f"{printable(path)}: {exc}",)
        raise


@contextmanager
def named(path: bytes) -> Iterator[None]:
    """Puts the path inside the volume before what goes wrong with it."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise NotFoundError(f"{printable(path) or '/'}: there is no such file in the volume") from exc
    except DataError as exc:
        exc.args = (f"{printable(path) or '/'}: {exc}",)
        raise
    except OSError as exc:
        raise OSError(exc.errno, exc.strerror, printable(path)) from exc


def finding_line(finding: Finding) -> str:
    """A finding as one line for people."""
    where = printable(finding.path) or "/"
    word = _WORDS.get(str(finding.severity), str(finding.severity))
    return f"{word}: {where}: {finding.detail} [{finding.code}, below: {printable(finding.lower_path)}]"


def finding_json(finding: Finding) -> dict[str, object]:
    """The object of docs/json.md."""
    return {
        "severity": str(finding.severity),
        "code": str(finding.code),
        "path": as_text(finding.path),
        "lower_path": as_text(finding.lower_path),
        "detail": finding.detail,
    }


def counted(findings: Mapping[str, int]) -> str:
    """How many errors and warnings were found, as a sentence."""
    both = ((findings.get("error", 0), "error"), (findings.get("warning", 0), "warning"))
    return " and ".join(plural(n, noun) for n, noun in both if n) + " found."


def what_was_read(summary: Summary, seconds: float) -> str:
    """What a verification went through, as a sentence."""
    counts = [plural(summary.files, "file"), plural(summary.directories, "directory", "directories")]
    if summary.symlinks:
        counts.append(plural(summary.symlinks, "symlink"))
    return f"Read {', '.join(counts)}, {human_size(summary.bytes)} in {seconds:.1f} s."


def verdict(summary: Summary, findings: Sequence[Finding]) -> str:
    """What a verification came to, as a sentence."""
    if not summary.clean:
        return counted(summary.findings)
    kept = any(finding.code == Code.KEPT_DAMAGED for finding in findings)
    return "All of it is authentic, but for what a repair put aside." if kept else "All of it is authentic."


def config_json(config: Config) -> dict[str, Any]:
    """What a config says without any key, as docs/json.md has it."""
    return {
        "volume_id": config.volume_id.hex(),
        "created": config.created,
        "suite": config.suite,
        "cell_size": config.cell_size,
        "epochs": len(config.epochs),
        "rotating": config.rotating,
        "features": {
            "compat": list(config.features.compat),
            "incompat": list(config.features.incompat),
            "ro_compat": list(config.features.ro_compat),
        },
        "read_only": config.read_only,
        "slots": [
            {
                "id": slot.id.hex(),
                "kind": str(slot.kind),
                "label": slot.label,
                "created": slot.created,
                "kdf": _kdf(slot.kdf),
            }
            for slot in config.slots
        ],
    }


def _kdf(kdf: Kdf) -> dict[str, Any]:
    if kdf.alg is not KdfAlg.ARGON2ID:
        return {"alg": str(kdf.alg)}
    return {"alg": str(kdf.alg), "memory_kib": kdf.memory_kib, "passes": kdf.passes, "lanes": kdf.lanes}
