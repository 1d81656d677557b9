"""What a share costs over cloakfs: the same Samba share over a mounted volume and over a plain folder, taking turns.

    python -m benchmarks.share [--quick] [--directory DIR] [--repetitions N] [--output FILE]

Root and Samba are needed (``tools/setup --tests``). README.md has the method.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import report
from benchmarks.harness.clock import Spread, in_turn, ratio
from benchmarks.harness.tables import Table
from encfs.bench.caches import forget
from tests.support.office import BARE, SHARE, Office, opened
from tests.support.smb import Desk

TARGET = 1.5
"""Listing a folder over SMB may cost so many times what it costs over a plain folder."""
_DOCUMENTS, _UPLOADED, _SIZE = 2_000, 250, 3_000
_REPETITIONS = 9
_SHARES = (SHARE, BARE)


@dataclass(frozen=True, slots=True)
class Step:
    """``act`` does it once on a share and returns the seconds. ``documents``: how many it takes."""

    name: str
    title: str
    documents: int
    act: Callable[[str, int], float]


class Work:
    """The steps on one office, with a desk at each share that stays logged in."""

    def __init__(self, office: Office, documents: int, uploaded: int, scratch: Path) -> None:
        self._office, self._documents = office, documents
        self._source = scratch / "source"
        self._back = scratch / "back"
        self._source.mkdir()
        for number in range(uploaded):
            (self._source / f"letter {number:04}.docx").write_bytes(os.urandom(_SIZE))
        for share in _SHARES:
            office.server.client(share, "mkdir filed", "cd filed", "prompt off", "mput *", cwd=self._source)
        self._fill_up(uploaded)
        self._desks = {share: Desk(office.server, share) for share in _SHARES}
        self.steps = (
            Step("list-warm", "list a folder, seen before", documents, self.list_warm),
            Step("list-cold", "list a folder, nothing in memory", documents, self.list_cold),
            Step("upload", "upload into a new folder", uploaded, self.upload),
            Step("download", "download, nothing in memory", uploaded, self.download),
        )

    def _fill_up(self, uploaded: int) -> None:
        """The rest of the folder: copies, with the attributes that Samba gave the first, as after a migration."""
        for folder in (self._office.folder / "filed", self._office.bare / "filed"):
            first = folder / "letter 0000.docx"
            for number in range(uploaded, self._documents):
                copy = folder / f"letter {number:04}.docx"
                shutil.copy2(first, copy)
                shutil.chown(copy, first.stat().st_uid, first.stat().st_gid)

    def list_warm(self, share: str, _: int) -> float:
        self._list(share)  # Other steps drop the caches.
        return self._list(share)

    def list_cold(self, share: str, _: int) -> float:
        forget()
        return self._list(share)

    def _list(self, share: str) -> float:
        before = time.perf_counter()
        found = self._desks[share].count("filed", ".docx")
        seconds = time.perf_counter() - before
        if found != self._documents:
            raise AssertionError(f"{found} documents were listed, not {self._documents}")
        return seconds

    def upload(self, share: str, number: int) -> float:
        before = time.perf_counter()
        self._office.server.client(
            share, f"mkdir up{number}", f"cd up{number}", "prompt off", "mput *", cwd=self._source
        )
        return time.perf_counter() - before

    def download(self, share: str, number: int) -> float:
        forget()
        self._back.mkdir()
        before = time.perf_counter()
        self._office.server.client(share, f"cd up{number}", "prompt off", "mget *", cwd=self._back)
        seconds = time.perf_counter() - before
        for path in self._source.iterdir():
            if path.read_bytes() != (self._back / path.name).read_bytes():
                raise AssertionError("other bytes came back")
        shutil.rmtree(self._back)
        return seconds

    def leave(self) -> None:
        """The desks go home."""
        for desk in self._desks.values():
            desk.vanish()


def measure(work: Work, repetitions: int) -> list[dict[str, Any]]:
    """An entry for each step."""
    seconds: dict[str, dict[str, list[float]]] = {step.name: {share: [] for share in _SHARES} for step in work.steps}
    for number in range(repetitions):
        for step in work.steps:
            for share in in_turn(_SHARES, number):
                seconds[step.name][share].append(step.act(share, number))
    return [
        {
            "what": step.name,
            "title": step.title,
            "documents": step.documents,
            "seconds": {name: Spread.of(seconds[step.name][name]).as_json() for name in _SHARES},
            "ratio": round(ratio(seconds[step.name][SHARE], seconds[step.name][BARE]), 2),
        }
        for step in work.steps
    ]


def table_of(results: list[dict[str, Any]]) -> Table:
    """For people."""
    rows = [
        (
            f"{entry['title']} ({entry['documents']})",
            *(report.show(entry["seconds"][name]["median"]) for name in _SHARES),
            f"{entry['ratio']:.2f}",
        )
        for entry in results
    ]
    return Table("Seconds over SMB, and times the plain folder", ("", "cloakfs", "plain folder", "times"), rows)


def main() -> int:
    """The program."""
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--directory", type=Path, default=report.MEMORY, metavar="DIR", help="default: /dev/shm")
    options = parser.parse_args()
    if os.geteuid() != 0 or shutil.which("smbd") is None:
        print("root and Samba are needed: tools/setup --tests", file=sys.stderr)
        return 1
    documents, uploaded = (40, 20) if options.quick else (_DOCUMENTS, _UPLOADED)
    repetitions = options.repetitions or (1 if options.quick else _REPETITIONS)
    with tempfile.TemporaryDirectory(prefix="cloakfs-bench-", dir=options.directory) as name:
        base, scratch = Path(name, "office"), Path(name)
        scratch.chmod(0o755)
        base.mkdir()
        with opened(base) as office:
            work = Work(office, documents, uploaded, scratch)
            try:
                results = measure(work, repetitions)
            finally:
                work.leave()
    table_of(results).print()
    settings = {"quick": options.quick, "repetitions": repetitions, "documents": documents, "target": TARGET}
    document = report.document("share", settings=settings, results=results)
    target = report.write(document, options)
    if target is not None:
        text = "# A share over cloakfs\n\n" + table_of(results).markdown()
        target.with_suffix(".md").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
