"""A practice's real work: documents of 200 KiB copied in, saved by an office program, renamed."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.harness.workloads.steps import Round, Step, WrongBytesError, command


def _name(number: int) -> str:
    return f"letter-{number:04d}.odt"


def _write_originals(path: Path, rnd: Round) -> None:
    del path
    originals = rnd.scratch / "letters"
    if not originals.exists():
        originals.mkdir()
        for number in range(rnd.amounts.documents):
            (originals / _name(number)).write_bytes(rnd.document(number))


def _copy(path: Path, rnd: Round) -> None:
    command("cp", "-r", str(rnd.scratch / "letters"), str(path / "letters"))


def _check_documents(folder: Path, rnd: Round) -> None:
    expected = [_name(number) for number in range(rnd.amounts.documents)]
    if sorted(os.listdir(folder)) != expected:
        raise WrongBytesError("there are other documents than were saved")
    for number, name in enumerate(expected):
        if (folder / name).read_bytes() != rnd.document(number):
            raise WrongBytesError("a document has other bytes")


def _check_copied(path: Path, rnd: Round) -> None:
    _check_documents(path / "letters", rnd)


def _make_folder(path: Path, rnd: Round) -> None:
    del rnd
    (path / "saved").mkdir()


def _save(path: Path, rnd: Round) -> None:
    folder = path / "saved"
    for number in range(rnd.amounts.documents):
        temporary = folder / f".~{_name(number)}"
        with temporary.open("xb", buffering=0) as file:
            file.write(rnd.document(number))
        temporary.rename(folder / _name(number))


def _check_saved(path: Path, rnd: Round) -> None:
    _check_documents(path / "saved", rnd)


def _make_notes(path: Path, rnd: Round) -> None:
    folder = path / "notes"
    folder.mkdir()
    for number in range(rnd.amounts.renames):
        (folder / f"before-{number:04d}").write_bytes(b"note %d of many" % number)


def _rename_notes(path: Path, rnd: Round) -> None:
    folder = str(path / "notes")
    for number in range(rnd.amounts.renames):
        os.rename(f"{folder}/before-{number:04d}", f"{folder}/after-{number:04d}")


def _check_notes(path: Path, rnd: Round) -> None:
    folder = path / "notes"
    expected = {f"after-{number:04d}": b"note %d of many" % number for number in range(rnd.amounts.renames)}
    if {name: (folder / name).read_bytes() for name in os.listdir(folder)} != expected:
        raise WrongBytesError("renamed files have other names or bytes")


# fmt: off
STEPS = (
    Step("documents", "documents_copy", "copy documents of 200 KiB in", "per s", _copy,
         lambda amounts: amounts.documents, prepare=_write_originals, read_back=_check_copied),
    Step("documents", "documents_save", "save 200 KiB: create, write, rename", "per s", _save,
         lambda amounts: amounts.documents, prepare=_make_folder, read_back=_check_saved),
    Step("renames", "renames", "rename", "per s", _rename_notes, lambda amounts: amounts.renames,
         prepare=_make_notes, read_back=_check_notes),
)
# fmt: on
