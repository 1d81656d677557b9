"""``cloakfs audit``: what was done with volumes on this computer, and the proof of it.

Owns: how the log is told, exported and anchored. Must not know: its bytes (``encfs.audit``).
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import click

from encfs.audit import journal
from encfs.audit.home import AUDITOR_KEY, Home, begin_anew, directory, home
from encfs.audit.log import STATE
from encfs.audit.reading import read_log
from encfs.cli import media, options, output, secret_files
from encfs.cli.anchor_proof import AnchorProof, anchor_proof
from encfs.cli.audit_anchor import anchor
from encfs.cli.secrets import read_file
from encfs.core.audit_verify import LogVerifier, Taken, Trouble
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import AuditError, ExitCode, UsageError
from encfs.format.audit_body import AuditBody, Outcome

_COLUMNS: Final = ("seq", "time", "action", "outcome", "uid", "slot", "volume_id", "object", "detail")
_TROUBLES: Final = {
    Trouble.DAMAGED: "what lies there is no record; the rest of that part of the log was not read",
    Trouble.CUT_SHORT: "a part of the log ends in the middle of a record",
    Trouble.GAP: "records are missing",
    Trouble.ORDER: "a record stands behind a later one",
    Trouble.EDITED: "a record is not the one that was written",
    Trouble.EPOCH: "a period is missing, comes twice, or has not all its records: written anew with a later key",
    Trouble.SIGNATURE: "a checkpoint is not signed by this computer",
    Trouble.FOREIGN: "this part is of another log, or for another auditor key",
    Trouble.FORKED: "what an anchor says is not in this log: an older one was put back, or it was cut off",
}
_NO_KEY: Final = "the records are sealed: give the auditor's key with --auditor-key FILE"


@click.group("audit", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Show and prove what was done with the keys of volumes on this computer.

    The log begins by itself. Its records are sealed: only the auditor's key reads them. Take that key away from this
    computer with "cloakfs audit key", or whoever breaks in can read the log, though not change it unseen.
    """


_auditor_option = click.option(
    "--auditor-key", "key_file", metavar="FILE", help="The auditor's key, where it does not lie on this computer."
)


@contextmanager
def _opened(key_file: str | None, proof: AnchorProof | None = None) -> Iterator[tuple[Home, LogVerifier]]:
    with home() as here:
        if STATE not in here.store.list(here.dirfd):
            raise AuditError("there is no audit log yet", hint="It begins when keys of a volume are changed.")
        key = AUDITOR_KEY.decode(read_file(key_file)) if key_file is not None else here.auditor_key()
        yield here, LogVerifier(CLOAKFS_1, key, None if proof is None else proof.heads(here))


def _row(taken: Taken) -> dict[str, Any] | None:
    body = taken.body
    if body is None or taken.volume_id is None:
        return None
    return {
        "seq": taken.frame.seq,
        "time": taken.frame.at.wall_ms / 1000,
        "clock": taken.frame.at.clock.name.lower(),
        "action": body.action,
        "outcome": str(body.outcome),
        "uid": body.uid,
        "slot": body.slot.hex() or None,
        "volume_id": taken.volume_id.hex() if any(taken.volume_id) else None,
        "object": body.object or None,
        "detail": dict(body.detail),
    }


def _rows(key_file: str | None) -> list[dict[str, Any]]:
    with _opened(key_file) as (here, verifier):
        rows = [row for taken in read_log(here, verifier) if (row := _row(taken)) is not None]
    if not rows and verifier.frames and not verifier.sealed.pieces:
        raise UsageError(_NO_KEY)
    if verifier.problems:
        output.warn("something in the log is wrong: cloakfs audit verify")
    return rows


@options.command(
    "show",
    example="""
cloakfs audit show
cloakfs audit show --auditor-key /media/stick/auditor.key""",
)
@_auditor_option
@options.json_option
def show(*, key_file: str | None, as_json: bool) -> ExitCode:
    """Show what was done, the oldest first. That it was shown is recorded too."""
    rows = _rows(key_file)
    _note("log.read", records=len(rows))
    if as_json:
        output.print_json({"records": rows})
        return ExitCode.OK
    for row in rows:
        what = " ".join(filter(None, (row["action"], row["outcome"])))
        more = [f"uid {row['uid']}"]
        more += [f"{name} {row[name]}" for name in ("volume_id", "slot", "object") if row[name]]
        more += [f"{name} {value}" for name, value in row["detail"].items()]
        output.say(f"{output.human_time(row['time'])}  {what:<24} {output.printable(', '.join(more))}")
    return ExitCode.OK


@options.command(
    "export",
    example="""
cloakfs audit export --format csv > log.csv""",
)
@click.option("--format", "form", type=click.Choice(["jsonl", "csv"]), default="jsonl", show_default=True)
@_auditor_option
def export(*, form: str, key_file: str | None) -> ExitCode:
    """Write all records to standard output: one JSON object a line, or a table. That is recorded too."""
    rows = _rows(key_file)
    _note("log.export", records=len(rows))
    if form == "jsonl":
        for row in rows:
            output.say(json.dumps(row))
        return ExitCode.OK
    writer = csv.DictWriter(sys.stdout, _COLUMNS, extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        # A spreadsheet takes what begins so for a formula.
        safe = {name: f"'{value}" if str(value)[:1] in {"=", "+", "-", "@"} else value for name, value in row.items()}
        writer.writerow(safe | {"detail": json.dumps(row["detail"])})
    return ExitCode.OK


@options.command(
    "verify",
    example="""
cloakfs audit verify
cloakfs audit verify --anchors /media/stick/practice.anchors""",
)
@click.option("--anchors", metavar="FILE", help='What "cloakfs audit anchor" wrote; also a log of the syslog server.')
@click.option("--tsa-ca", metavar="FILE", help="Certificates of the authority of its timestamps.")
@_auditor_option
@options.json_option
def verify(*, anchors: str | None, tsa_ca: str | None, key_file: str | None, as_json: bool) -> ExitCode:
    """Prove that nothing in the log was changed, dropped or put back. Exit status 3: something was.

    Intact is what this computer has signed. Sealed is what was written by whoever had the key of that quarter of an
    hour, which is destroyed afterwards; that needs the auditor's key. Anchored is what is known elsewhere too.
    """
    proof = anchor_proof(anchors, tsa_ca)
    with _opened(key_file, proof) as (here, verifier):
        last = None
        for taken in read_log(here, verifier):
            last = taken.frame
    wrong = len(verifier.problems) + (len(proof.problems) if proof is not None else 0)
    _note("log.verify", problems=wrong)
    status = ExitCode.FINDINGS if wrong else ExitCode.OK
    if as_json:
        output.print_json(_report(verifier, proof))
        return status
    output.print_table(
        [
            ("records and marks", f"{verifier.frames:,}"),
            ("intact", _pieces(verifier.intact.pieces)),
            ("sealed", _pieces(verifier.sealed.pieces) if verifier.sealed.pieces else "not looked at: no auditor key"),
            ("anchored", "nothing" if verifier.anchored is None else f"up to {verifier.anchored}"),
            *(proof.rows() if proof is not None else []),
            ("the last one", "none" if last is None else output.human_time(last.at.wall_ms / 1000)),
        ]
    )
    for step in verifier.clock_steps:
        output.say(f"The clock was set at {step.seq}: by {step.step_ms / 1000:+.1f} s.")
    for problem in verifier.problems:
        output.say(f"WRONG at {problem.seq} (log-{problem.segment:08}): {_TROUBLES[problem.trouble]}.")
    for sentence in proof.sentences() if proof is not None else []:
        output.say(sentence)
    if not wrong:
        output.say("Nothing is wrong.")
    return status


def _pieces(pieces: list[tuple[int, int]]) -> str:
    return ", ".join(f"{first} to {last}" for first, last in pieces) or "nothing is signed yet"


def _report(verifier: LogVerifier, proof: AnchorProof | None) -> dict[str, Any]:
    return {
        "frames": verifier.frames,
        "intact": verifier.intact.pieces,
        "sealed": verifier.sealed.pieces,
        "anchored": verifier.anchored,
        "clock_steps": [{"seq": step.seq, "seconds": step.step_ms / 1000} for step in verifier.clock_steps],
        "problems": [
            {"trouble": str(problem.trouble), "segment": problem.segment, "seq": problem.seq}
            for problem in verifier.problems
        ]
        + ([] if proof is None else proof.problems_as_json()),
        "anchors": None if proof is None else proof.as_json(),
    }


@options.command(
    "key",
    example="""
cloakfs audit key --out /media/stick/auditor.key""",
)
@click.option("--out", required=True, metavar="FILE", help="A new file, on a medium that is kept elsewhere.")
def key(*, out: str) -> ExitCode:
    """Take the auditor's key away from this computer: write it to a new file, and destroy it here.

    From then on this computer can write the log and not read it. Without that file nobody can.
    """
    with home() as here:
        private = here.auditor_key()
        if private is None:
            here.log()  # The first use of a new log makes the key.
            private = here.auditor_key()
        if private is None:
            raise UsageError("the auditor's key is not on this computer any more", hint="Look for the file it went to.")
        secret_files.check_free(out)
        secret_files.write_new(out, AUDITOR_KEY.encode(private))
        if AUDITOR_KEY.decode(read_file(out)) != private:
            raise AssertionError("internal error: a key was not written as it is")
        here.take_auditor_key_away()
    _note("log.key-handed-over")
    output.say(f"The auditor's key is in {output.printable(out)}, and no more beside the log.")
    if media.same_medium(out, os.fspath(directory())):
        output.warn("that is on the same disk as the log: take it to where nobody else gets it")
    return ExitCode.OK


@options.command(
    "begin",
    example="""
cloakfs audit begin""",
)
def begin() -> ExitCode:
    """Begin another log, where the present one cannot go on: its state is damaged, or a key of it is lost.

    The present one is kept beside it, for the auditor, and that it ended so is the first record of the new one.
    """
    kept = begin_anew()
    _note("log.begun-anew", before=kept.name)
    output.say(f"Another log has begun. The one before is kept in {output.printable(os.fspath(kept))}.")
    return ExitCode.OK


def _note(action: str, **detail: str | int) -> None:
    journal.record(AuditBody(action=action, outcome=Outcome.DONE, uid=os.getuid(), detail=detail))


for _one in (show, verify, anchor, export, key, begin):
    command.add_command(_one)
