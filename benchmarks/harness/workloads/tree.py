"""A tree of small files: unpacked, copied, listed, read, removed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from benchmarks.harness.workloads.steps import Round, Step, WrongBytesError, command

_FIND_AND_CAT = 'set -o pipefail; find "$1" -type f -print0 | LC_ALL=C sort -z | xargs -0 cat'


def _make_folder(path: Path, rnd: Round) -> None:
    del rnd
    (path / "tree").mkdir()


def _untar(path: Path, rnd: Round) -> None:
    command("tar", "-x", "-f", str(rnd.samples.tree.archive), "-C", str(path / "tree"))


def _check_tree(path: Path, rnd: Round, name: str = "tree") -> None:
    difference = rnd.samples.tree.difference(path / name)
    if difference:
        raise WrongBytesError(difference)


def _list(path: Path, rnd: Round) -> None:
    command("ls", "-lR", "--time-style=+%s", str(path / "tree"), stdout=rnd.scratch / "listing")


def _check_list(path: Path, rnd: Round) -> None:
    del path
    tree = rnd.samples.tree
    lines = [line.split() for line in (rnd.scratch / "listing").read_text(encoding="utf-8").splitlines()]
    sizes = [int(fields[4]) for fields in lines if fields and fields[0].startswith("-")]
    folders = sum(1 for fields in lines if fields and fields[0].startswith("d"))
    if (len(sizes), sum(sizes), folders) != (len(tree.digests), tree.size, tree.directories):
        raise WrongBytesError("ls -lR tells other files or sizes")


def _find_and_cat(path: Path, rnd: Round) -> None:
    command("bash", "-c", _FIND_AND_CAT, "bash", str(path / "tree"), stdout=rnd.scratch / "joined")


def _check_cat(path: Path, rnd: Round) -> None:
    del path
    if hashlib.sha256((rnd.scratch / "joined").read_bytes()).digest() != rnd.samples.tree.joined:
        raise WrongBytesError("find and cat of all files give other bytes")
    (rnd.scratch / "joined").unlink()


def _copy(path: Path, rnd: Round) -> None:
    del rnd
    command("cp", "-r", str(path / "tree"), str(path / "copy"))


def _check_copy(path: Path, rnd: Round) -> None:
    _check_tree(path, rnd, "copy")


def _remove(path: Path, rnd: Round) -> None:
    del rnd
    command("rm", "-rf", str(path / "tree"))


def _check_removed(path: Path, rnd: Round) -> None:
    del rnd
    if os.listdir(path) != ["copy"]:
        raise WrongBytesError("rm -rf removed other things than it was told")


# fmt: off
STEPS = (
    Step("tree", "untar", "untar", "s", _untar, prepare=_make_folder, read_back=_check_tree),
    Step("tree", "ls_cold", "ls -lR, cold", "s", _list, check=_check_list, cold=True),
    Step("tree", "ls_warm", "ls -lR, warm", "s", _list, check=_check_list, warm=True),
    Step("tree", "cat", "find + cat of all, cold", "s", _find_and_cat, check=_check_cat, cold=True),
    Step("tree", "cp", "cp -r, cold", "s", _copy, read_back=_check_copy, cold=True),
    Step("tree", "rm", "rm -rf", "s", _remove, prepare=_list, check=_check_removed),
)
# fmt: on
