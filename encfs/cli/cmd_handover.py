"""``cloakfs handover``: a verified copy of a volume for somebody else, with a receipt; and the check of one.

Owns: what is asked in which order, and what is told. Must not know: how a copy is made
(``encfs/volume/handing_over.py``), what a receipt says (``encfs/evidence/receipt.py``).

Rule: everything that can be refused or given up comes before the first byte is written.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Self

import click

from encfs.audit.journal import HostJournal
from encfs.cli import auditing, calibration, elsewhere, options, output, progress, secret_files, targets, unlocking
from encfs.cli.handover_key import Receiver
from encfs.cli.secrets import SecretOptions, read_file, require_source, secret_options
from encfs.crypto import rng
from encfs.errors import ExitCode, UsageError, VolumeInUseError
from encfs.evidence import receipt
from encfs.evidence.receipt import Parties
from encfs.format.audit_body import Outcome
from encfs.sheets import parts
from encfs.volume import Volume
from encfs.volume.contents import take_stock, walk
from encfs.volume.handing_over import HandedOver, check_place, hand_over
from encfs.volume.told import about


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wishes:
    """The options, but for what opens which volume."""

    dest: str
    parties: Parties
    receipt: str | None
    pdf: str | None
    as_json: bool
    receiver: Receiver = field(repr=False)


@options.command(
    "handover",
    example="""
cloakfs handover ~/practice.vault /media/anna/STICK/handover --to "Clinic Nord" --receipt r.json --pdf r.pdf
cloakfs handover ~/practice.vault /media/anna/STICK/handover --recipient clinic.pub --receipt r.json
cloakfs handover --check r.json /media/anna/STICK/handover""",
)
@click.argument("volume")
@click.argument("dest", required=False)
@click.option("--to", default="", metavar="NAME", help="Who gets it.")
@click.option("--by", default="", metavar="NAME", help="Who hands it over.")
@click.option("--reason", default="", metavar="TEXT", help="Why. No patient's name.")
@click.option("--receipt", metavar="FILE", help="Write the signed receipt to a new file.")
@click.option("--pdf", metavar="FILE", help="Write it to a new PDF file too, with lines to sign on.")
@click.option("--check", metavar="RECEIPT", help="Make nothing: hold VOLUME, a copy, against its receipt.")
@click.option("--new-passphrase-file", metavar="FILE", help="Read the receiver's passphrase from a file.")
@click.option("--allow-weak", is_flag=True, help="Take that passphrase even if it is easy to guess.")
@calibration.kdf_options
@elsewhere.making_options
@options.json_option
@secret_options
def command(
    *,
    volume: str,
    dest: str | None,
    to: str,
    by: str,
    reason: str,
    receipt: str | None,
    pdf: str | None,
    check: str | None,
    new_passphrase_file: str | None,
    allow_weak: bool,
    memory_kib: int | None,
    passes: int | None,
    new_elsewhere: dict[str, str],
    as_json: bool,
    secret: SecretOptions,
) -> ExitCode:
    """Make a complete, verified copy of VOLUME at DEST for somebody else, as at the end of a contract.

    The copy is a volume with keys of its own. It opens with a passphrase that you give the receiver, or with the
    receiver's own age or SSH key (--recipient), and nothing that opens VOLUME opens it, nor the other way round. All of
    it is read back from the medium and compared before it gets its name. VOLUME stays as it is, and must be locked.

    With --check the copy is held against the receipt, by whoever can open it: exit status 3 if it is not the same.
    """
    target = targets.find(volume)
    if target.mountpoint is not None:
        where = output.printable(target.mountpoint)
        raise VolumeInUseError("the volume is mounted", hint=f"Lock it first: cloakfs lock {where}")
    if check is not None:
        if dest is not None:
            raise UsageError("--check goes with one volume, the copy", hint="Leave DEST out.")
        return _check(check, target.volume, secret, as_json=as_json)
    if dest is None:
        raise UsageError("say where the copy shall be", hint="Give DEST, a new directory, best on a stick or disk.")
    wishes = _Wishes(
        dest=dest,
        parties=Parties(login=targets.user_name(os.getuid()), by=by, to=to, reason=reason),
        receipt=receipt,
        pdf=pdf,
        as_json=as_json,
        receiver=Receiver(
            label=to or "receiver",
            dest=dest,
            passphrase=SecretOptions(passphrase_file=new_passphrase_file),
            allow_weak=allow_weak,
            memory_kib=memory_kib,
            passes=passes,
            elsewhere=new_elsewhere,
        ),
    )
    _check_places(wishes, target.volume)
    return _hand_over(wishes, target.volume, secret)


def _check_places(wishes: _Wishes, volume: str) -> None:
    """Raises: UsageError, NotEmptyError: the copy or the receipt cannot go where it shall."""
    inner, outer = os.path.realpath(wishes.dest), os.path.realpath(volume)
    if inner == outer or inner.startswith(outer + "/"):
        raise UsageError("the copy would lie in the directory of the volume", hint="Choose another place.")
    with about(wishes.dest):
        check_place(os.fsencode(wishes.dest))
    for place in filter(None, (wishes.receipt, wishes.pdf)):
        secret_files.check_free(place)
        if not os.access(os.path.dirname(os.path.abspath(place)), os.W_OK):
            raise UsageError(f"{output.printable(place)}: nothing can be written there", hint="Choose another place.")
    if wishes.pdf is not None:
        parts.check()
    wishes.receiver.check()


def _hand_over(wishes: _Wishes, path: str, secret: SecretOptions) -> ExitCode:
    require_source(secret)
    handover_id, started = rng.random_bytes(receipt.ID_SIZE), int(time.time())
    with unlocking.unlock(path, secret, read_only=True) as source:
        assert source.slot is not None
        new, proof = wishes.receiver.make()
        detail = {"handover": handover_id.hex(), "to": wishes.parties.to}
        slot, volume_id = source.slot.id, source.config.volume_id
        with HostJournal().recorded("volume.handover", volume_id, slot=slot, changed="", detail=detail):
            with about(wishes.dest), _Bar(source) as bar:
                done = hand_over(source, os.fsencode(wishes.dest), new, proof, handover_id=handover_id, steps=bar)
            auditing.tell("volume.create", Outcome.DONE, done.config.volume_id, cell_size=done.config.cell_size)
            body = receipt.body(
                handover_id=handover_id,
                source=source.config,
                source_path=path,
                path=os.path.abspath(wishes.dest),
                started=started,
                done=done,
                parties=wishes.parties,
            )
            made_at = receipt.register(body, volume_id, os.path.abspath(wishes.dest))
    _hand_out(wishes, body, made_at, done)
    return ExitCode.OK


class _Bar:
    """Shows both passes as one: copying, then reading back."""

    def __init__(self, source: Volume) -> None:
        self._total = 2 * sum(entry.size for _, entry in walk(source) if stat.S_ISREG(entry.mode))
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._shown = self._stack.enter_context(progress.bar("Copying"))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def copied(self, done: int) -> None:
        self._shown.update(done, self._total, "copying")

    def verified(self, done: int) -> None:
        self._shown.update(self._total // 2 + done, self._total, "reading it back")


def _hand_out(wishes: _Wishes, body: Mapping[str, Any], made_at: int, done: HandedOver) -> None:
    signed = receipt.sign(body, made_at)
    if wishes.receipt is not None:
        secret_files.write_new(wishes.receipt, signed)
    if wishes.pdf is not None:
        secret_files.write_new(wishes.pdf, receipt.pdf(signed))
    if wishes.as_json:
        output.print_json({"receipt": wishes.receipt, "pdf": wishes.pdf, "body": dict(body)})
        return
    counts, where = done.counts, output.printable(wishes.dest)
    output.say(f"The copy {output.bold(where)} is complete, and was read back: it is the same.")
    rows = [
        ("files", f"{counts.files:,}, {output.human_size(counts.bytes)}"),
        ("folders", f"{counts.directories:,}"),
        ("opened by", wishes.receiver.words),
        ("keys", "new ones: nothing that opens the one opens the other"),
    ]
    rows += [
        ("not kept there", f"{name.replace('_', ' ')} of {count:,}") for name, count in body["lost"].items() if count
    ]
    output.print_table(rows)
    for file in filter(None, (wishes.receipt, wishes.pdf)):
        output.say(f"Written: {output.printable(file)}")
    output.say(f"The receiver checks it with: cloakfs handover --check RECEIPT {where}")
    if wishes.receipt is None:
        output.remark("No receipt was written to a file; with --receipt FILE it is.")


def _check(file: str, path: str, secret: SecretOptions, *, as_json: bool) -> ExitCode:
    data = read_file(file, public=True)
    with about(file):
        stated = receipt.read(data)
    if unlocking.config_of(path).volume_id != stated.volume_id:
        raise UsageError("the receipt is of another volume", hint="Give the copy that was handed over.")
    with unlocking.unlock(path, secret, read_only=True) as volume:
        with progress.activity("Reading everything"):
            found = take_stock(volume)
        digest = found.digest(volume.ctx.ring.metadata.handover_key(stated.handover_id))
    same = digest == stated.digest
    signer = stated.document.signer.fingerprint()
    auditing.tell("volume.handover-check", Outcome.DONE, stated.volume_id, same=int(same))
    if as_json:
        output.print_json(
            {
                "same": same,
                "made_at": stated.document.made_at,
                "signer": signer,
                "counts": found.counts.as_dict(),
                "stated": stated.document.body["counts"],
            }
        )
    else:
        output.say(
            "It is the same as when it was handed over." if same else "It is NOT the same as when it was handed over."
        )
        output.print_table(
            [
                ("handed over", output.human_time(stated.document.made_at)),
                ("receipt signed by", f"{signer}, on the computer {output.printable(stated.document.host)}"),
                ("files", f"{found.counts.files:,}, {output.human_size(found.counts.bytes)}"),
            ]
        )
    return ExitCode.OK if same else ExitCode.FINDINGS
