"""What a target says of itself, and whether it is the right medium (FORMAT.md section 18).

Owns: the marker ``cloakfs.backup``, on directories and as bytes. Must not know: engines, the terminal.

Rule: a directory is written to only if its marker says that it belongs to this backup. Below an empty mount point lies
the disk of the computer, and another medium may stand where one was a week ago.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from encfs.audit.home import host_signer
from encfs.backup import rotation
from encfs.backup.plans import EngineKind, Plan
from encfs.backup.targets import check_not_own_medium
from encfs.core.documents import open_document, sign_document
from encfs.errors import BackupError, DataError, FormatError, NotEmptyError, UsageError, WrongMediumError
from encfs.format.canonical import Fields
from encfs.registers.words import check_text
from encfs.stick import layout
from encfs.store.atomic import replace_file
from encfs.store.local import LocalStore
from encfs.wording import printable

MARKER: Final = "cloakfs.backup"
KIND: Final = "backup-target"
_VERSION: Final = 1
_NEW: Final = b".new"
_MARKER_MAX: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """What a target says of itself.

    Attributes:
        plan, volume: ids, hexadecimal.
        label: of the medium; empty for a target without one.
    """

    plan: str
    volume: str
    label: str
    engine: EngineKind


def marker_of(plan: Plan, label: str) -> Marker:
    """That of a medium of a plan."""
    return Marker(plan=plan.id, volume=plan.volume_id, label=label, engine=plan.engine)


def pack_marker(marker: Marker) -> bytes:
    """Its bytes, signed by this computer.

    Raises:
        AuditError, OSError: this computer cannot sign (:func:`encfs.audit.home.host_signer`).
    """
    body = {
        "plan": marker.plan,
        "volume": marker.volume,
        "label": marker.label,
        "engine": str(marker.engine),
        "version": _VERSION,
    }
    return sign_document(host_signer(), kind=KIND, made_at=int(time.time()), host=socket.gethostname(), body=body)


def open_marker(data: bytes) -> Marker:
    """The inverse of :func:`pack_marker`; it may be signed by any computer.

    Raises:
        BackupError: it is damaged, or a later version wrote it.
    """
    try:
        fields = Fields(dict(open_document(data, KIND).body))
        if fields.integer("version") != _VERSION:
            raise FormatError("a target of a backup is of a version that this cloakfs does not know")
        plan, volume, label = fields.text("plan"), fields.text("volume"), fields.text("label")
        marker = Marker(plan=plan, volume=volume, label=label, engine=EngineKind(fields.text("engine")))
        fields.finish()
    except (DataError, ValueError) as exc:
        raise BackupError(
            f"the file {MARKER} at the target of the backup is damaged, so it is not known whose backup that is",
            hint="Nothing was written. Take another medium; what is on this one is read by: cloakfs restore --from",
        ) from exc
    return marker


def read_marker(directory: bytes) -> Marker | None:
    """That of a directory; None if it has none.

    Raises:
        BackupError: as :func:`open_marker`.
        OSError: the directory is not there, or cannot be read.
    """
    with closing(_Folder(directory)) as folder:
        try:
            fd = folder.store.open(folder.fd, MARKER.encode(), os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            return open_marker(folder.store.pread(fd, _MARKER_MAX, 0))
        finally:
            folder.store.close(fd)


def write_marker(directory: bytes, marker: Marker) -> None:
    """Write that of a directory, anew if there is one.

    Raises:
        OSError: it could not be written; what was there is there. AuditError: as :func:`pack_marker`.
    """
    data = pack_marker(marker)
    with closing(_Folder(directory)) as folder:
        name = MARKER.encode()
        try:
            folder.store.unlink(folder.fd, name + _NEW)  # A crash left it.
        except FileNotFoundError:
            pass
        replace_file(folder.store, folder.fd, name, data, temporary=name + _NEW)


class _Folder:
    """A directory, open."""

    def __init__(self, path: bytes) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.store = LocalStore(self.fd)

    def close(self) -> None:
        os.close(self.fd)


# -- what lies at a target -------------------------------------------------------------------------------------------


def find_medium(plan: Plan, directory: bytes) -> Marker:
    """The medium that is at the target of a plan, which is a directory: nothing is written there before this.

    Raises:
        WrongMediumError: it is another one, or none; the text says which one is there and which one is expected.
        BackupError: the target is not there, or cannot be read.
        RegisterError, OSError: the register of media cannot be read.
    """
    try:
        marker = read_marker(directory)
        names = [] if marker else layout.others(os.fsdecode(directory))
    except OSError as exc:
        raise _not_there(plan, directory, exc) from exc
    if marker is not None:
        check_marker(plan, marker)
        return marker
    there = printable(directory)
    if names:
        raise WrongMediumError(
            f"what is at {there} is no medium of this backup: it has other files, and no {MARKER}",
            hint=_put_in(plan),
        )
    if os.path.ismount(directory):
        raise WrongMediumError(
            f"the medium at {there} is empty: it is none of this backup yet",
            hint=f"{_put_in(plan)} To add this one: cloakfs backup init VOLUME {there} --label LABEL",
        )
    raise WrongMediumError(
        f"the medium is not there: {there} is an empty directory, at which nothing is mounted", hint=_put_in(plan)
    )


def check_marker(plan: Plan, marker: Marker | None) -> None:
    """Make sure that a target is one of a plan; None: it has no marker.

    Raises:
        WrongMediumError: it is not; the text says which one it is and which one is expected.
        RegisterError, OSError: the register of media cannot be read.
    """
    if marker is None:
        raise WrongMediumError("what is at the target is no medium of this backup", hint=_put_in(plan))
    what = f'"{printable(marker.label)}"' if marker.label else "without a label"
    if marker.volume != plan.volume_id:
        raise WrongMediumError(f"the medium {what} belongs to the backup of another volume", hint=_put_in(plan))
    if marker.plan != plan.id:
        raise WrongMediumError(f"the medium {what} belongs to another backup of this volume", hint=_put_in(plan))
    if marker.engine is not plan.engine:
        raise WrongMediumError(f"the medium {what} has a backup that is made by {marker.engine}", hint=_put_in(plan))
    if not rotation.takes_turns(plan, marker.label):
        raise WrongMediumError(f"the medium {what} does not take turns in this backup", hint=_put_in(plan))


def _put_in(plan: Plan) -> str:
    """What to do, as a sentence."""
    if not plan.labels:
        return "Nothing was written. Plug in the medium of this backup, or mount its share, and run it again."
    others = ", ".join(f'"{printable(one.label)}"' for one in rotation.turns(plan) if one.usable)
    due = rotation.expected(plan)
    if not due:
        return "Nothing was written. All media of this backup are lost or destroyed: add one with backup init --label."
    return f'Nothing was written. Expected is "{printable(due)}"; these are taken: {others}.'


def _not_there(plan: Plan, directory: bytes, exc: OSError) -> BackupError:
    there = printable(directory)
    if exc.errno in (errno.ENOENT, errno.ENOTDIR):
        kind = WrongMediumError if plan.labels else BackupError
        return kind(f"the target is not there: {there}", hint=_put_in(plan))
    return BackupError(
        f"the target cannot be read: {there}: {os.strerror(exc.errno or errno.EIO)}",
        hint="Nothing was written. Take the medium out and put it in again, or mount its share anew.",
    )


# -- a new target ----------------------------------------------------------------------------------------------------


def check_directory(directory: bytes, marker: Marker, *, volume: bytes, mountpoints: Iterable[bytes] = ()) -> None:
    """Make sure that a directory can become a target, or is this one already; nothing is written.

    Args:
        directory: the target.
        marker: what it is to get.
        volume: the directory of the volume.
        mountpoints: where that is mounted.

    Raises:
        UsageError: it is on the medium of the volume, or what is above it is missing.
        NotEmptyError: something else is in it. WrongMediumError: it is of another backup.
        BackupError, OSError.
    """
    check_text("label", marker.label)
    check_not_own_medium(directory, volume, mountpoints)
    if not os.path.isdir(os.path.dirname(directory)):
        raise UsageError(
            f"{printable(os.path.dirname(directory))} is not there",
            hint="Plug in the medium, or mount the share. Only the last directory of a target is made.",
        )
    if not os.path.lexists(directory):
        return
    there = read_marker(directory)
    if there is None and layout.others(os.fsdecode(directory)):
        raise NotEmptyError(
            f"{printable(directory)} is not empty",
            hint="A backup wants a directory of its own. One below it will do, such as "
            + printable(os.path.join(directory, b"backup")),
        )
    if there is not None and there != marker:
        what = f'"{printable(there.label)}"' if there.label else "without a label"
        raise WrongMediumError(
            f"{printable(directory)} is the target of a backup already: the medium {what}",
            hint="Nothing was written. Take another directory or medium.",
        )


def prepare_directory(directory: bytes, marker: Marker, *, volume: bytes, mountpoints: Iterable[bytes] = ()) -> None:
    """Make a directory a target: it is made if only it is missing, and gets its marker. Twice does no harm.

    Args and Raises: as :func:`check_directory`; AuditError.
    """
    check_directory(directory, marker, volume=volume, mountpoints=mountpoints)
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        pass
    write_marker(directory, marker)
