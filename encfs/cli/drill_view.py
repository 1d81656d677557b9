"""How a drill is told: on the terminal, as JSON (docs/json.md), as a file to keep.

Owns: the words and the fields. Must not know: how a drill is made, what may follow what.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final

from encfs.backup.drill_record import DrillOutcome, Record, as_json
from encfs.backup.drills import Drill
from encfs.cli import output, secret_files, targets
from encfs.errors import UsageError
from encfs.evidence import drill_document
from encfs.sheets import parts

_COLOURS: Final = {DrillOutcome.PASSED: "green", DrillOutcome.FAILED: "red", DrillOutcome.BROKEN_OFF: "yellow"}
_NAMES_SHOWN: Final = 10
_DOCUMENT: Final = ".json"


def row(one: Drill) -> dict[str, Any]:
    """What docs/json.md has of a drill."""
    certified, action = one.certified, one.action
    return {
        **as_json(one.record),
        "brought": None if one.brought is None else {"host": one.brought.host, "signer": one.brought.signer},
        "certified": None
        if certified is None
        else {"by": certified.by, "at": certified.at, "note": certified.note, "shared": certified.shared},
        "action": None
        if action is None
        else {"text": action.text, "owner": action.owner, "due": action.due, "done": action.done},
    }


def show(one: Drill, wrong: Sequence[bytes] = ()) -> None:
    """For people; ``wrong``: names of what is not right, for whoever has opened the backup just now."""
    record = one.record
    output.say(output.bold(output.coloured(output.printable(drill_document.verdict(record)), _COLOURS[record.outcome])))
    output.print_table([(name, output.printable(value)) for name, value in [*_rows(record), *_after(one)]])
    for name in wrong[:_NAMES_SHOWN]:
        output.say(f"  not right: {output.printable(name) or '(the top)'}")
    if len(wrong) > _NAMES_SHOWN:
        output.say(f"  and {len(wrong) - _NAMES_SHOWN:,} more")


def _rows(record: Record) -> list[tuple[str, str]]:
    took, manifest = record.took, record.manifest
    medium = f"{record.target}, medium {record.label}" if record.label else record.target
    rows = [("trial", record.id), ("target", medium)]
    if manifest.made_at:
        age = "its clock or this one is wrong" if took.age is None else f"{output.human_duration(took.age)} old"
        rows.append(("backup of", f"{output.human_time(manifest.made_at)}, {age}"))
        if not manifest.known:
            rows.append(("", f"signed by {manifest.signer} of {manifest.host}, which this computer does not know"))
    rows.append(("opened with", record.key))
    if took.ms:
        rows.append(
            ("all of it", f"{drill_document.estimate(record)}, of {took.target // 3600} hours that it may take")
        )
    if manifest.not_whole:
        count = output.plural(manifest.not_whole, "file")
        rows.append(("not whole", f"{count} in the backup: written to meanwhile, or left out (cloakfs backup list)"))
    return rows


def _after(one: Drill) -> list[tuple[str, str]]:
    rows = []
    if one.certified is not None:
        when = output.human_time(one.certified.at)
        rows.append(
            ("certified", f"by {one.certified.by}, {when}" + (" (shared account)" if one.certified.shared else ""))
        )
    if one.action is not None:
        until = (
            f"done: {one.action.done}" if one.action.done is not None else f"due {output.human_date(one.action.due)}"
        )
        rows.append(("to be done", f"{one.action.text} ({one.action.owner}, {until})"))
    return rows


# -- files -------------------------------------------------------------------------------------------------------------


def check_file(path: str | None) -> None:
    """Before anything is done: whether the document can be written there.

    Raises:
        UsageError, NotEmptyError. CloakfsError: a package for the pages is not installed.
    """
    if path is None:
        return
    secret_files.check_free(path)
    if not os.access(os.path.dirname(os.path.abspath(path)), os.W_OK):
        raise UsageError(f"{output.printable(path)}: nothing can be written there", hint="Choose another place.")
    if not path.endswith(_DOCUMENT):
        parts.check()


def write(one: Drill, path: str) -> None:
    """The signed document as it is now, as a PDF, or by itself where the name ends in ``.json``. Raises: OSError."""
    login = "" if one.certified is None else targets.user_name(one.certified.uid)
    signed = drill_document.sign(one, login=login)
    secret_files.write_new(path, signed if path.endswith(_DOCUMENT) else drill_document.pdf(signed))
