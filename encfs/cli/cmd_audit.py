"""``cloakfs audit``: what was done with volumes on this computer, and the proof of it.

Owns: how the log is told, exported and anchored. Must not know: its bytes (``encfs.audit``).
"""

from __future__ import annotations

import os
from typing import Any, Final

import click

from encfs.audit.home import AUDITOR_KEY, begin_anew, directory, home
from encfs.audit.reading import read_log, too_early
from encfs.cli import (
    audit_forms,
    audit_prune,
    audit_review,
    auditing,
    media,
    options,
    output,
    periods,
    secret_files,
    targets,
)
from encfs.cli.anchor_proof import AnchorProof, anchor_proof
from encfs.cli.audit_anchor import anchor
from encfs.cli.audit_reading import anchors_option, auditor_option, note, opened, part_options, rows
from encfs.cli.secrets import read_file
from encfs.core.audit_gone import Buried
from encfs.core.audit_verify import LogVerifier, Trouble
from encfs.errors import ExitCode, UsageError
from encfs.format.audit import NO_VOLUME
from encfs.format.audit_body import Outcome

_TROUBLES: Final = {
    Trouble.DAMAGED: "what lies there is no record; the rest of that part of the log was not read",
    Trouble.CUT_SHORT: "a part of the log ends in the middle of a record",
    Trouble.GAP: "records are missing",
    Trouble.ORDER: "a record stands behind a later one",
    Trouble.EDITED: "a record is not the one that was written",
    Trouble.EPOCH: "a period is missing, comes twice, or has not all its records: written anew with a later key",
    Trouble.SIGNATURE: "a checkpoint or the mark of a pruning is not signed by this computer",
    Trouble.FOREIGN: "this part is of another log, or for another auditor key",
    Trouble.FORKED: "what an anchor says is not in this log: an older one was put back, or it was cut off",
    Trouble.TOMBSTONE: "what the mark of a pruning says was removed is not what is missing",
    Trouble.RETURNED: "a pruned part is there: pruning was cut short (cloakfs audit prune), or it was put back",
    Trouble.TOO_EARLY: "a part was removed before its six years were over",
}


@click.group("audit", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Show and prove what was done with the keys of volumes on this computer.

    The log begins by itself. Its records are sealed: only the auditor's key reads them. Take that key away from this
    computer with "cloakfs audit key", or whoever breaks in can read the log, though not change it unseen.
    """


@options.command(
    "show",
    example="""
cloakfs audit show --since 30d
cloakfs audit show --since 2026-11-01 --until 2026-11-30 --volume ~/practice.vault
cloakfs audit show --name letters/mueller.odt
cloakfs audit show --auditor-key /media/stick/auditor.key""",
)
@click.option("--name", metavar="PATH", help="Only what was done with this file: its path within the volume.")
@part_options
@auditor_option
@options.json_option
def show(
    *,
    name: str | None,
    since: str | None,
    until: str | None,
    volume: str | None,
    key_file: str | None,
    as_json: bool,
) -> ExitCode:
    """Show what was done, the oldest first. That it was shown is recorded too.

    The whole log is verified whatever part of it is shown. Names of files are not in the log: what stands there can be
    held against a name by whoever has the auditor's key, with --name. Files are in it only where the policy of a volume
    wants that (cloakfs policy --file-events).
    """
    found = rows(key_file, periods.period(since, until), volume, name=name)
    auditing.tell("log.read", Outcome.DONE, NO_VOLUME, records=len(found))
    if as_json:
        output.print_json({"records": found})
        return ExitCode.OK
    for row in found:
        what = " ".join(filter(None, (row["action"], row["outcome"])))
        more = [f"uid {row['uid']}"]
        more += [f"{name} {row[name]}" for name in ("volume_id", "slot", "object") if row[name]]
        more += [f"{name} {value}" for name, value in row["detail"].items()]
        output.say(f"{output.human_time(row['time'])}  {what:<24} {output.printable(', '.join(more))}")
    return ExitCode.OK


@options.command(
    "export",
    example="""
cloakfs audit export --format csv > log.csv
cloakfs audit export --format cef --since 1d""",
)
@click.option("--format", "form", type=click.Choice(["jsonl", "csv", "cef"]), default="jsonl", show_default=True)
@part_options
@auditor_option
def export(*, form: str, since: str | None, until: str | None, volume: str | None, key_file: str | None) -> ExitCode:
    """Write records to standard output: a JSON object or an event in CEF a line, or a table. That is recorded too.

    The whole log is verified whatever part of it is written.
    """
    found = rows(key_file, periods.period(since, until), volume)
    auditing.tell("log.export", Outcome.DONE, NO_VOLUME, records=len(found), form=form)
    if form == "csv":
        output.print_csv(audit_forms.COLUMNS, audit_forms.table(found))
        return ExitCode.OK
    for line in audit_forms.LINES[form](found):
        output.say(line)
    return ExitCode.OK


@options.command(
    "verify",
    example="""
cloakfs audit verify
cloakfs audit verify --anchors /media/stick/practice.anchors""",
)
@anchors_option
@click.option("--tsa-ca", metavar="FILE", help="Certificates of the authority of its timestamps.")
@auditor_option
@options.json_option
def verify(*, anchors: str | None, tsa_ca: str | None, key_file: str | None, as_json: bool) -> ExitCode:
    """Prove that nothing in the log was changed, dropped or put back. Exit status 3: something was.

    Intact is what this computer has signed. Sealed is what was written by whoever had the key of that quarter of an
    hour, which is destroyed afterwards; that needs the auditor's key. Anchored is what is known elsewhere too.
    """
    proof = anchor_proof(anchors, tsa_ca)
    with opened(key_file, proof) as (here, verifier):
        last = None
        for taken in read_log(here, verifier):
            last = taken.frame
    verifier.problems += [] if proof is None else too_early(verifier, proof.anchors)
    wrong = len(verifier.problems) + (len(proof.problems) if proof is not None else 0)
    auditing.tell("log.verify", Outcome.DONE, NO_VOLUME, problems=wrong)
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
            *(("pruned", _pruned(one)) for one in verifier.gone.stones),
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


def _pruned(one: Buried) -> str:
    when, who = output.human_time(one.frame.at.wall_ms / 1000), targets.user_name(one.stone.uid)
    return f"{one.stone.first} to {one.stone.last}, on {when} by {who}"


def _tombstone(one: Buried) -> dict[str, Any]:
    return {
        "seq": one.frame.seq,
        "time": one.frame.at.wall_ms / 1000,
        "uid": one.stone.uid,
        "first": one.stone.first,
        "last": one.stone.last,
        "segments": [
            {"segment": gone.number, "first": gone.first, "last": gone.last, "sha256": gone.digest.hex()}
            for gone in one.stone.segments
        ],
    }


def _report(verifier: LogVerifier, proof: AnchorProof | None) -> dict[str, Any]:
    return {
        "frames": verifier.frames,
        "intact": verifier.intact.pieces,
        "sealed": verifier.sealed.pieces,
        "anchored": verifier.anchored,
        "pruned": verifier.gone.pruned.pieces,
        "tombstones": [_tombstone(one) for one in verifier.gone.stones],
        "unchecked_anchors": verifier.unchecked,
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
    note("log.key-handed-over")
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
    note("log.begun-anew", before=kept.name)
    output.say(f"Another log has begun. The one before is kept in {output.printable(os.fspath(kept))}.")
    return ExitCode.OK


for _one in (show, verify, anchor, export, audit_review.command, audit_prune.command, key, begin):
    command.add_command(_one)
