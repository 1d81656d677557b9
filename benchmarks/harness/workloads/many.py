"""Many files in one directory: made, listed, removed. Slow on some, so fewer repetitions than of the rest."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.harness.workloads.steps import Round, Step, WrongBytesError, command

_REPETITIONS = 3


def _folder(path: Path) -> Path:
    return path / "many"


def _names(rnd: Round) -> list[str]:
    return [f"result-{rnd.number}-{number:05d}.xml" for number in range(rnd.amounts.files_in_a_directory)]


def _make_folder(path: Path, rnd: Round) -> None:
    del rnd
    _folder(path).mkdir()


def _make_files(path: Path, rnd: Round) -> None:
    folder = f"{_folder(path)}/"
    for name in _names(rnd):
        os.close(os.open(folder + name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))


def _check_files(path: Path, rnd: Round) -> None:
    if sorted(os.listdir(_folder(path))) != _names(rnd):
        raise WrongBytesError("the directory has other names than were made")


def _list(path: Path, rnd: Round) -> None:
    command("ls", "-l", "--time-style=+%s", str(_folder(path)), stdout=rnd.scratch / "listing")


def _check_list(path: Path, rnd: Round) -> None:
    del path
    lines = (rnd.scratch / "listing").read_text(encoding="utf-8").splitlines()[1:]
    if [(line.split()[4], line.split()[-1]) for line in lines] != [("0", name) for name in _names(rnd)]:
        raise WrongBytesError("ls -l tells other names or sizes")


def _remove(path: Path, rnd: Round) -> None:
    del rnd
    command("rm", "-rf", str(_folder(path)))


def _check_removed(path: Path, rnd: Round) -> None:
    del rnd
    if os.listdir(path):
        raise WrongBytesError("rm -rf left something")


# fmt: off
STEPS = (
    Step("many", "many_create", "files made in one directory", "per s", _make_files,
         lambda amounts: amounts.files_in_a_directory, prepare=_make_folder, read_back=_check_files,
         at_most=_REPETITIONS),
    Step("many", "many_list", "ls -l of that directory, cold", "s", _list, check=_check_list, cold=True,
         at_most=_REPETITIONS),
    Step("many", "many_remove", "rm -rf of that directory", "s", _remove, check=_check_removed, at_most=_REPETITIONS),
)
# fmt: on
