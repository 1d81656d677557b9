"""Copying out of a volume: what a destination is kept from, whoever wrote the volume."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from encfs.volume.copying import Copier, ExactPlacement, Item
from encfs.volume.paths import Entry
from encfs.volume.source import Listing

ENTRY = Entry(name=b"", mode=stat.S_IFREG | 0o644, size=4, mtime_ns=0, uid=0, gid=0, links=1, inode=7)
TOP = replace(ENTRY, mode=stat.S_IFDIR | 0o755)


class Forged:
    """The tree of somebody who holds the key and writes what no cloakfs writes: two entries in one directory."""

    def __init__(self, name: bytes) -> None:
        self._name = name

    def stat(self, path: bytes, *, follow: bool = False) -> Entry:
        """Not asked for."""
        raise NotImplementedError

    def list(self, path: bytes) -> Listing:
        """The forged entry, and a good one."""
        return Listing([] if path else [replace(ENTRY, name=self._name), replace(ENTRY, name=b"good", inode=8)], 0)

    def read_link(self, path: bytes) -> bytes:
        """Not asked for."""
        raise NotImplementedError

    def read(self, path: bytes) -> Iterator[bytes]:
        """Four bytes."""
        yield b"evil"


class Silent:
    """Nobody is told."""

    def update(self, done: int, total: int, note: str) -> None:
        """How far it is."""

    def failed(self, path: bytes, reason: str) -> None:
        """What is not copied."""


@pytest.mark.parametrize("name", [b"", b".", b"..", b"../evil", b"/evil", b"inner/../../evil", b"a\0b"])
def test_a_forged_name_leads_nowhere(name: bytes, tmp_path: Path) -> None:
    """It is damage: reported, with nothing written for it, in or outside of the destination; the rest is copied."""
    copier = Copier(Forged(name), Silent(), ExactPlacement())
    copier.run([Item(b"", TOP, bytes(tmp_path / "out"))])
    assert copier.report.failures == [(name, "its name leads out of its directory")]
    assert copier.report.damaged
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good"]
