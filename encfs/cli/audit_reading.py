"""The audit log as commands read it: with which key, which part of it.

Owns: the options that say so, a record as a row. Must not know: how rows are told, the log's bytes (``encfs.audit``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import click

from encfs.audit import journal
from encfs.audit.heads import check_auditor
from encfs.audit.home import AUDITOR_KEY, Home, home
from encfs.audit.log import STATE
from encfs.audit.reading import read_log
from encfs.cli import output, periods, targets
from encfs.cli.anchor_proof import AnchorProof
from encfs.cli.audit_names import NameKeys, shown_detail
from encfs.cli.periods import Period
from encfs.cli.secrets import read_file
from encfs.core.audit_verify import LogVerifier, Taken
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import AuditError, UsageError
from encfs.format.audit_body import AuditBody, Outcome
from encfs.format.limits import VOLUME_ID_SIZE
from encfs.units import VolumeId
from encfs.volume.skeleton import read_config

_F = TypeVar("_F", bound=Callable[..., Any])
_NO_KEY: Final = "the records are sealed: give the auditor's key with --auditor-key FILE"

auditor_option = click.option(
    "--auditor-key", "key_file", metavar="FILE", help="The auditor's key, where it does not lie on this computer."
)
anchors_option = click.option(
    "--anchors", metavar="FILE", help='What "cloakfs audit anchor" wrote; also a log of the syslog server.'
)


def part_options(function: _F) -> _F:
    """Which part of the log: --since, --until, --volume."""
    volume = click.option(
        "--volume", metavar="VOLUME", help="Only what was done with this volume: its directory, mount point or id."
    )
    return periods.since_option(periods.until_option(volume(function)))


@contextmanager
def opened(key_file: str | None, proof: AnchorProof | None = None) -> Iterator[tuple[Home, LogVerifier]]:
    """The log, and who verifies it with the key that is given, or lies here.

    Raises:
        AuditError: there is no log; or the key is of another one.
        UsageError: the file is no auditor key. OSError.
    """
    with home() as here:
        if STATE not in here.store.list(here.dirfd):
            raise AuditError("there is no audit log yet", hint="It begins when keys of a volume are changed.")
        key = AUDITOR_KEY.decode(read_file(key_file)) if key_file is not None else here.auditor_key()
        if key_file is not None and key is not None:
            check_auditor(here, key)
        yield here, LogVerifier(CLOAKFS_1, key, None if proof is None else proof.heads(here))


def row(taken: Taken) -> dict[str, Any] | None:
    """A record as scripts get it (docs/json.md); None of what is none, or could not be opened."""
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
        "detail": shown_detail(body),
    }


def rows(key_file: str | None, part: Period, volume: str | None, *, name: str | None = None) -> list[dict[str, Any]]:
    """The records of a part of the log, which is read and verified from its beginning to its end all the same.

    Raises:
        UsageError: nobody here can open them. As :func:`opened`.
    """
    wanted = None if volume is None else volume_id(volume).hex()
    names, found = NameKeys(name), []
    with opened(key_file) as (here, verifier):
        for taken in read_log(here, verifier):
            if taken.body is not None and taken.volume_id is not None:
                names.see(taken.volume_id, taken.body)
            one = row(taken)
            if one is not None and part.has(taken.frame.at.wall_ms) and wanted in {None, one["volume_id"]}:
                found.append(one)
    need_key(verifier)
    if verifier.problems:
        output.warn("something in the log is wrong: cloakfs audit verify")
    return names.only_named(found)


def need_key(verifier: LogVerifier) -> None:
    """Raises: UsageError: nothing of a log that was read could be opened."""
    if verifier.frames and not verifier.sealed.pieces:
        raise UsageError(_NO_KEY)


def volume_id(text: str) -> VolumeId:
    """Of a volume that somebody names by its directory, its mount point, or just this id.

    Raises:
        ConfigError: there is no volume. OSError: it cannot be looked at.
    """
    try:
        given = bytes.fromhex(text)
    except ValueError:
        given = b""
    if len(given) == VOLUME_ID_SIZE and not os.path.lexists(text):
        return VolumeId(given)
    return read_config(os.fsencode(targets.find(text).volume)).volume_id


def note(action: str, **detail: str | int) -> None:
    """Record what was done with the log itself. Raises: AuditError."""
    journal.record(AuditBody(action=action, outcome=Outcome.DONE, uid=os.getuid(), detail=detail))
