"""``cloakfs destroy``: the keys of a volume are destroyed, and a certificate says so.

Owns: what is shown and asked, in which order, and what is told afterwards. Must not know: how keys are overwritten
(``encfs/volume/erasing.py``), what a certificate says (``encfs/evidence/certificate.py``).

Rule: everything that can be refused or given up comes before the first byte is overwritten. The volume's name has to be
typed, or given with ``--confirm``. What was begun is gone on with by the same command.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import click

from encfs.audit.journal import HostJournal
from encfs.cli import (
    destroy_telling,
    doctor_facts,
    medium_facts,
    options,
    output,
    progress,
    secret_files,
    targets,
    terminal,
    unlocking,
)
from encfs.cli.secrets import SecretOptions, secret_options
from encfs.errors import AuditError, ConfigError, ExitCode, UsageError, VolumeInUseError
from encfs.evidence import certificate, certificate_report, destructions, key_holders
from encfs.evidence.certificate import People, Verification
from encfs.evidence.destructions import Earlier
from encfs.format.audit import NO_VOLUME
from encfs.sheets import parts
from encfs.stick import layout
from encfs.stick.storage import storage_of
from encfs.units import VolumeId
from encfs.volume import read_config
from encfs.volume.erasing import Eraser
from encfs.volume.key_copies import KeyCopy, Survey
from encfs.volume.told import about

_SHOW_EVERY: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wishes:
    """The options."""

    people: People
    also: tuple[str, ...]
    certificate: str | None
    pdf: str | None
    confirm: str | None
    remove_data: bool
    as_json: bool
    secret: SecretOptions = field(repr=False)


@options.command(
    "destroy",
    example="""
cloakfs destroy /media/anna/STICK --certificate stick-7.json --pdf stick-7.pdf
cloakfs destroy ~/old.vault --by "Dr. Weber" --reason "contract ended" --also ~/cloakfs.volume.copy""",
)
@click.argument("volume")
@click.option("--certificate", metavar="FILE", help="Write the signed certificate to a new file.")
@click.option("--pdf", metavar="FILE", help="Write it to a new PDF file too, with lines to sign on.")
@click.option("--by", default="", metavar="NAME", help="Who does it. (Default: to be filled in by hand.)")
@click.option("--reason", default="", metavar="TEXT", help="Why. No patient's name.")
@click.option("--witness", default="", metavar="NAME", help="Who looks on, and signs too.")
@click.option("--destination", default="", metavar="TEXT", help="What becomes of the medium, such as: recycled.")
@click.option("--label", default="", metavar="TEXT", help="What you call the medium; else as cloakfs media has it.")
@click.option("--also", multiple=True, metavar="FILE", help="Another file that holds the keys: destroy it too.")
@click.option("--confirm", metavar="NAME", help="The name of the volume; destroys it without asking.")
@click.option("--remove-data", is_flag=True, help="Delete afterwards what is left of the volume: noise, without keys.")
@options.json_option
@secret_options
def command(
    *,
    volume: str,
    certificate: str | None,
    pdf: str | None,
    by: str,
    reason: str,
    witness: str,
    destination: str,
    label: str,
    also: tuple[str, ...],
    confirm: str | None,
    remove_data: bool,
    as_json: bool,
    secret: SecretOptions,
) -> ExitCode:
    """Destroy the keys of VOLUME, for good: nobody ever reads anything in it again, whatever they know.

    Every copy of the keys in its directory is overwritten, read back from the medium and removed. What is encrypted
    stays where it is, as noise. The name of the volume has to be typed. No passphrase is needed; where one is given, it
    is proved before that it opens the volume.

    The certificate has the fields of NIST SP 800-88, says what was proved and what only people can know, and is kept on
    this computer: the same command writes it again, and "cloakfs evidence --check" proves on any computer that it is
    as it was signed. Backups, and media that lie elsewhere, are not destroyed: the list that is shown says what to look
    for.
    """
    login = targets.user_name(os.getuid())
    target = targets.find(volume)
    label = label or medium_facts.label_of(target.volume)
    wishes = _Wishes(
        people=People(login=login, name=by, reason=reason, witness=witness, destination=destination, label=label),
        also=also,
        certificate=certificate,
        pdf=pdf,
        confirm=confirm,
        remove_data=remove_data,
        as_json=as_json,
        secret=secret,
    )
    if target.mountpoint is not None:
        where = output.printable(target.mountpoint)
        raise VolumeInUseError("the volume is mounted", hint=f"Lock it first: cloakfs lock {where}")
    path = _place_of(target.volume)
    _check_files(wishes, path)
    earlier = destructions.earlier(path, _id_of(path))
    if earlier is None or earlier.done is None:
        body = _destroy(wishes, path, earlier)
        done_at = int(time.time())
    else:
        body, done_at = earlier.done, earlier.done_at
        output.remark(f"This volume was destroyed on {output.human_time(done_at)}. Here is its certificate again.")
    _hand_out(wishes, path, body, done_at)
    return ExitCode.OK


# -- before anything is changed ------------------------------------------------------------------------------------


def _check_files(wishes: _Wishes, volume: str) -> None:
    """Raises: UsageError, NotEmptyError: a certificate cannot go where it shall."""
    outer = os.path.realpath(volume)
    for place in filter(None, (wishes.certificate, wishes.pdf)):
        secret_files.check_free(place)
        if os.path.realpath(place).startswith(outer + "/"):
            raise UsageError(
                "the certificate would lie in the directory of the volume", hint="Choose a place that is kept."
            )
        parent = os.path.dirname(os.path.abspath(place))
        if not os.access(parent, os.W_OK):
            raise UsageError(
                f"{output.printable(parent)}: nothing can be written there",
                hint="Choose another place for the certificate.",
            )
    if wishes.pdf is not None:
        parts.check()


def _place_of(path: str) -> str:
    """The volume directory, also on a stick whose volume has lost its keys already."""
    inner = os.path.join(path, layout.VOLUME_NAME)
    return inner if not layout.holds_volume(path) and os.path.isdir(inner) else path


def _id_of(path: str) -> VolumeId | None:
    try:
        return read_config(os.fsencode(path)).volume_id
    except (ConfigError, OSError):
        return None


def _name_of(path: str) -> str:
    """What has to be typed: the name of the directory, or of the stick that it is on."""
    name = os.path.basename(path)
    return os.path.basename(os.path.dirname(path)) if name == layout.VOLUME_NAME else name


def _destroy(wishes: _Wishes, path: str, earlier: Earlier | None) -> Mapping[str, Any]:
    """All of it; the body of the certificate."""
    known = None if earlier is None else earlier.volume_id
    opened_with = "" if not wishes.secret.given else _prove_opens(path, wishes.secret)
    with about(path):
        eraser = Eraser(os.fsencode(path), known=known, resumed=earlier is not None)
    with eraser:
        if earlier is not None and _goes_on_otherwise(eraser, earlier):
            earlier = None
        found = _survey(eraser, "Looking for copies of the keys")
        loose = _check_copies(wishes, path, eraser, found, resumed=earlier is not None)
        before = earlier.begun if earlier is not None else _before(wishes, path, eraser, found, loose)
        destroy_telling.show(path, found, list(loose), before, quiet=wishes.as_json)
        _confirm(wishes, path)
        verified = Verification(opened_with=opened_with, resumed=earlier is not None)
        return _erase(_Work(path, eraser, found.copies, list(loose), before, verified, earlier))


def _goes_on_otherwise(eraser: Eraser, earlier: Earlier) -> bool:
    """Whether the volume was used and its keys were changed since: what was noted then is not so any more."""
    config = eraser.config
    return config is not None and config.seq != earlier.begun["volume"]["config_written"]


def _prove_opens(path: str, secret: SecretOptions) -> str:
    with unlocking.unlock(path, secret, read_only=True) as volume:
        assert volume.slot is not None
        return f"{volume.slot.label} ({volume.slot.id.hex()})"


def _survey(eraser: Eraser, text: str) -> Survey:
    with progress.activity(text) as shown:

        def looked_at(count: int) -> None:
            if count % _SHOW_EVERY == 0:
                shown.update(f"{text}: {output.plural(count, 'entry', 'entries')}")

        return eraser.survey(looked_at)


def _check_copies(wishes: _Wishes, path: str, eraser: Eraser, found: Survey, *, resumed: bool) -> dict[str, int]:
    """The files elsewhere that go too, with their sizes.

    Raises:
        UsageError: a file that is more than a copy of the keys was not named; or one that was holds no key.
        OSError: a copy cannot be written to.
    """
    inside = {os.path.realpath(os.path.join(path, os.fsdecode(copy.path))): copy for copy in found.copies}
    named = {os.path.realpath(place) for place in wishes.also}
    for place, copy in inside.items():
        if not copy.config and place not in named:
            shown = output.printable(place)
            raise UsageError(
                f"{shown} lies in the directory of the volume, and the keys are in it, with other things",
                hint=f"If it may be destroyed whole, add: --also {shown}   Else move it away.",
            )
    eraser.require_writable(found.copies)
    loose = sorted(named - inside.keys())
    if resumed:
        loose = [place for place in loose if os.path.lexists(place)]
    sizes = {}
    for place in loose:
        if not os.path.isfile(place):
            raise UsageError(f"{output.printable(place)}: there is no such file", hint="Nothing was changed.")
        with about(place):
            sizes[place] = eraser.require_copy(os.fsencode(place))
    return sizes


def _before(wishes: _Wishes, path: str, eraser: Eraser, found: Survey, loose: Mapping[str, int]) -> Mapping[str, Any]:
    slots = () if eraser.config is None else eraser.config.slots
    holders = [
        *key_holders.elsewhere(eraser.volume_id or NO_VOLUME, path, wishes.people.label),
        *key_holders.of_slots(slots),
        *key_holders.near(doctor_facts.look_near(os.fsencode(path))),
    ]
    return certificate.begun(
        volume_id=eraser.volume_id,
        config=eraser.config,
        path=path,
        identity=eraser.identity(),
        copies=len(found.copies) + len(loose),
        size=sum(copy.size for copy in found.copies) + sum(loose.values()),
        storage=storage_of(path),
        holders=holders,
        people=wishes.people,
    )


def _confirm(wishes: _Wishes, path: str) -> None:
    """Raises: UsageError: the name is not that of the volume, or nobody can be asked."""
    name = _name_of(path)
    typed = wishes.confirm
    if typed is None:
        terminal.require("the name of the volume", hint=f"Give --confirm {name}, if that is what shall be destroyed.")
        typed = terminal.ask(f"Nothing brings it back. Type the name of the volume, {output.printable(name)}: ")
    if typed != name:
        raise UsageError(
            f"that is not the name of the volume, which is {output.printable(name)}", hint="Nothing was changed."
        )


# -- doing it ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Work:
    """What is to be done, once all was asked."""

    path: str
    eraser: Eraser
    copies: Sequence[KeyCopy]
    loose: Sequence[str]
    before: Mapping[str, Any]
    verified: Verification
    earlier: Earlier | None


def _erase(work: _Work) -> Mapping[str, Any]:
    """What cannot be recorded is not done: in the audit log and in the register first, then on the medium."""
    volume_id = work.eraser.volume_id or NO_VOLUME
    detail = {"copies": len(work.copies) + len(work.loose), "resumed": int(work.earlier is not None)}
    with HostJournal().recorded("volume.destroy", volume_id, slot=b"", changed="", detail=detail):
        if work.earlier is None:
            destructions.register().append(destructions.BEGUN, work.before, volume_id=volume_id)
        started = int(time.time()) if work.earlier is None else work.earlier.at
        with progress.activity("Destroying the keys"):
            for place in work.loose:
                work.eraser.erase_elsewhere(os.fsencode(place))
            left = work.eraser.erase(work.copies).left
        body = certificate.body(work.before, started, left, work.verified)
        try:
            destructions.note(body, volume_id, work.path)
        except OSError as exc:
            raise AuditError(
                f"the keys are destroyed, but that could not be written down: {exc.strerror}",
                hint="Make room on the disk of the system, and run the same command again: it gives the certificate.",
            ) from exc
    return body


def _hand_out(wishes: _Wishes, path: str, body: Mapping[str, Any], done_at: int) -> None:
    """The certificate, to where it shall go; then the data, if that shall go."""
    signed = certificate.sign(body, done_at)
    if wishes.certificate is not None:
        secret_files.write_new(wishes.certificate, signed)
    if wishes.pdf is not None:
        secret_files.write_new(wishes.pdf, certificate_report.pdf(signed))
    removed = destroy_telling.remove(path) if wishes.remove_data else None
    if wishes.as_json:
        output.print_json(
            {
                "volume": path,
                "certificate": wishes.certificate,
                "pdf": wishes.pdf,
                "removed": removed is not None,
                "other_files": removed,
                "body": body,
            }
        )
    else:
        destroy_telling.tell(path, body, [wishes.certificate, wishes.pdf], removed)
