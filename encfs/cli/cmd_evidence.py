"""``cloakfs evidence``: a signed pack of what can be shown of volumes, and the check of one on any computer.

Owns: what goes into a pack, where it is written, how a check is told. Must not know: what stands in a pack
(``encfs.evidence.pack``), its pages.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import click

from encfs.audit import journal
from encfs.audit.home import AUDITOR_KEY, host_signer
from encfs.cli import (
    doctor_facts,
    evidence_check,
    looked_at,
    options,
    output,
    pack_program,
    policy_view,
    progress,
    secret_files,
    targets,
)
from encfs.cli.secrets import SecretOptions, read_file, secret_options
from encfs.cli.unlocking import config_of, unlock
from encfs.core.documents import open_document, sign_document
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import AuditError, CloakfsError, ExitCode, UsageError
from encfs.evidence import facts, pack, pack_pages
from encfs.evidence.facts import VolumeFacts
from encfs.evidence.log_facts import log_facts
from encfs.evidence.pack import Found, Looked
from encfs.format.audit import NO_VOLUME
from encfs.format.audit_body import AuditBody, Outcome
from encfs.registers import exceptions, heartbeat, media, volumes
from encfs.registers.ledger import Ledger
from encfs.sheets import parts
from encfs.sheets.report import render
from encfs.units import VolumeId

_STDOUT: Final = "-"


@options.command(
    "evidence",
    example="""
cloakfs evidence --all --pdf evidence.pdf --json evidence.json
cloakfs evidence /srv/practice.vault --auditor-key /media/stick/auditor.key --pdf practice.pdf
cloakfs evidence --check evidence.pdf""",
)
@click.argument("named", metavar="[VOLUME]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All volumes that are known to this computer.")
@click.option("--pdf", metavar="FILE", help="Write a new PDF, with the signed document inside.")
@click.option("--json", "json_file", metavar="FILE", help='Write the signed document to a new file; "-" prints it.')
@click.option(
    "--auditor-key", "auditor_file", metavar="FILE", help="The auditor's key, where it is not on this computer."
)
@click.option("--check", "check_file", metavar="FILE", help="Check a pack, or any other signed document of cloakfs.")
@click.option("--signer", metavar="FINGERPRINT|FILE", help="With --check: it has to be signed with this key.")
@click.option("--fingerprint", is_flag=True, help="Print the fingerprint of the key with which this computer signs.")
@secret_options
def command(
    *,
    named: tuple[str, ...],
    everything: bool,
    pdf: str | None,
    json_file: str | None,
    auditor_file: str | None,
    check_file: str | None,
    signer: str | None,
    fingerprint: bool,
    secret: SecretOptions,
) -> ExitCode:
    """Make a signed pack of what this computer can show: what is encrypted with what since when, and who opens it.

    It is ordered by the rules of HIPAA that ask for it, and has one page for whoever runs the office. It claims what
    was looked at, and says of each volume who vouches for that: its keys, this computer as it remembers it, or nobody.
    Make one each quarter, and keep it for six years on another medium.

    --check proves on any computer, with nothing but the file, that a pack is as it was signed (exit status 3: it is
    not, or its pages are not those of the document inside; 1: other versions have made those pages, so that nothing can
    be told of them). Whose key that was is compared by its fingerprint.
    """
    if check_file is not None:
        if named or everything or json_file not in {None, _STDOUT}:
            raise UsageError("--check goes with a file alone", hint="Its result for scripts: --json -")
        if pdf is not None:
            parts.check()
        return evidence_check.command(check_file, signer, pdf, as_json=json_file == _STDOUT)
    if signer is not None:
        raise UsageError("--signer goes with --check")
    if fingerprint:
        output.say(host_signer().public.fingerprint())
        return ExitCode.OK
    if everything == bool(named):
        raise UsageError("say which volumes", hint="Give VOLUME, or --all.")
    if pdf is None and json_file is None:
        raise UsageError("say where the pack goes", hint="Give --pdf FILE, --json FILE or both.")
    _check_files(pdf, json_file)
    return _make(list(named), pdf, json_file, auditor_file, secret)


def _check_files(pdf: str | None, json_file: str | None) -> None:
    """What can be refused is refused before anything is read."""
    if pdf is not None:
        parts.check()
        secret_files.check_free(pdf)
    if json_file is not None and json_file != _STDOUT:
        secret_files.check_free(json_file)


def _make(
    named: list[str], pdf: str | None, json_file: str | None, auditor_file: str | None, secret: SecretOptions
) -> ExitCode:
    key = None if auditor_file is None else AUDITOR_KEY.decode(read_file(auditor_file))
    found = _collect(named, key, secret)
    signer, made_at, host = host_signer(), int(time.time()), socket.gethostname()
    signed = sign_document(signer, kind=pack.KIND, made_at=made_at, host=host, body=pack.body(found))
    document = open_document(signed, pack.KIND)
    digest = CLOAKFS_1.digest(signed).hex()
    try:
        done = AuditBody(action="evidence.made", outcome=Outcome.DONE, uid=os.getuid(), detail={"digest": digest})
        journal.record(done, NO_VOLUME)
    except AuditError as exc:
        output.warn(str(exc))
    if json_file == _STDOUT:
        sys.stdout.write(signed.decode("ascii"))
    elif json_file is not None:
        secret_files.write_new(json_file, signed)
    if pdf is not None:
        with progress.activity("Making the pages"):
            pages = render(pack_pages.report(document, signed))
        secret_files.write_new(pdf, pages)
    _tell(document.body, [name for name in (pdf, json_file) if name not in {None, _STDOUT}], quiet=json_file == _STDOUT)
    return ExitCode.OK


def _tell(body: Any, written: Sequence[str | None], *, quiet: bool) -> None:  # noqa: ANN401 - JSON
    say = output.remark if quiet else output.say
    say(output.bold(body["verdict"]))
    for check in body["checks"]:
        if check["light"] != "green":
            say(f"  {check['about']}, {check['title']}: {check['found']}")
            if check["remedy"]:
                say(f"    -> {check['remedy']}")
    for name in written:
        say(f"Written: {output.printable(str(name))}")
    say(f"Signed with the key {host_signer().public.fingerprint()}. {body['advice']}")


# -- what goes into it ---------------------------------------------------------------------------------------------


def _collect(named: list[str], key: bytes | None, secret: SecretOptions) -> Found:
    """All that is known of the volumes that are named; of all, if none is."""
    # A volume that is named twice, such as by its directory and its mount point, is one.
    of_names = {one.volume: one for one in map(targets.find, named)}
    asked = list(of_names.values()) if named else doctor_facts.known_volumes().targets
    looked, unreadable = [], 0
    for target in asked if named else ():
        if _remembered(target) is None:
            looked_at.require_volume(target)
    with progress.activity("Looking at this machine"):
        looked.append(Looked(pack.THIS_COMPUTER, looked_at.machine()))
    shown: list[VolumeFacts] = []
    for target in asked:
        with progress.activity(f"Looking at {output.printable(target.volume)}"):
            if looked_at.is_there(target):
                looked.append(Looked(f"volume {target.volume}", looked_at.volume(target).checks))
            one = _facts(target, secret if named else None)
        if one is None:
            unreadable += 1
        else:
            shown.append(one)
    if not named:
        looked += [Looked(f"share {group.name}", group.checks) for group in looked_at.shares()]
        shown += _elsewhere({one.volume_id for one in shown})
    with progress.activity("Reading the audit log"):
        log = log_facts(key, {one.volume_id for one in shown} if named else None)
    return Found(
        everything=not named,
        program=pack_program.sealing(),
        looked=looked,
        volumes=shown,
        unreadable=unreadable,
        media=media.media(),
        exceptions=exceptions.exceptions(),
        log=log,
        entries={name: Ledger(name).entries() for name in pack.REGISTERS},
    )


def _facts(target: targets.Target, secret: SecretOptions | None) -> VolumeFacts | None:
    """Of a volume that is here; its keys vouch for it if they are given, or its daemon has opened just that config."""
    is_mounted = target.mountpoint is not None
    if secret is not None and secret.given and not is_mounted and looked_at.is_there(target):
        # How it was seen before: this command is seen by the heartbeat too.
        before = heartbeat.beat_of(config_of(target.volume).volume_id.hex())
        with unlock(target.volume, secret, read_only=True) as volume:
            config = volume.config
        one = facts.collect(config.volume_id, target.volume, config, opened=True, mounted=False)
        return replace(one, beat=before)
    try:
        standing = policy_view.standing(target, int(time.time()))
    except (CloakfsError, OSError):
        # The checks say what is wrong with it; it may have been opened here before.
        return _remembered(target)
    config = standing.config
    return facts.collect(config.volume_id, target.volume, config, opened=standing.vouched, mounted=is_mounted)


def _remembered(target: targets.Target) -> VolumeFacts | None:
    """Of the only volume that was last seen at this place; None if there was none, or several."""
    known = [one for one in volumes.known_volumes() if one.path == target.volume and one.destroyed is None]
    if len(known) != 1:
        return None
    volume_id, is_mounted = VolumeId(bytes.fromhex(known[0].volume_id)), target.mountpoint is not None
    return facts.collect(volume_id, target.volume, None, opened=False, mounted=is_mounted)


def _elsewhere(here: set[str]) -> list[VolumeFacts]:
    """Volumes that were made or opened here and cannot be reached now."""
    return [
        facts.collect(VolumeId(bytes.fromhex(one.volume_id)), one.path, None, opened=False, mounted=False)
        for one in volumes.known_volumes()
        if one.volume_id not in here
    ]
