"""A checkpoint in memory, and what may have happened to the volume since.

Owns: which sessions count as later than a checkpoint (FORMAT.md section 12), plain and lower paths of what is only in
it. Must not know: what is compared, findings.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from encfs.errors import FormatError
from encfs.format import checkpoint as form
from encfs.format.checkpoint import (
    DamagedEntry,
    DirectoryEntry,
    End,
    FileEntry,
    KnownSession,
    OtherEntry,
    RecordKind,
    Start,
    SymlinkEntry,
)
from encfs.format.session import SessionRecord, SessionState
from encfs.units import DirId, FileId, SessionId
from encfs.volume.checkpoint import Checkpoint
from encfs.volume.context import Context

Place = tuple[DirId, bytes]
"""The dir id of a directory, and a plain name in it."""


@dataclass(frozen=True, slots=True)
class KnownDirectory:
    """What a checkpoint says of a directory."""

    parent: DirId
    name: bytes
    generation: int


class Index:
    """All of one checkpoint, read and authenticated to its end.

    Files are kept as their packed records: a volume may have a million of them.

    Raises:
        AuthenticationError, FormatError: it does not open, or is not whole.
        OSError: it cannot be read.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.head = checkpoint.head
        self.sessions: dict[SessionId, SessionState] = {}
        self.directories: dict[DirId, KnownDirectory] = {}
        self.files: dict[FileId, bytes] = {}
        self.links: dict[FileId, list[bytes]] = {}
        self.symlinks: dict[Place, bytes] = {}
        self.others: dict[Place, tuple[int, int]] = {}
        self.damaged: set[Place] = set()
        end: End | None = None
        for raw in checkpoint.records():
            if raw[0] == RecordKind.FILE:
                self._add_file(raw)
            else:
                end = self._add(form.parse(raw))
        if end is None:
            raise FormatError("a checkpoint does not end with its totals")
        self.end = end

    def _add_file(self, raw: bytes) -> None:
        """Under its id, once. A file that was renamed while the checkpoint was made is in it twice."""
        fid = FileId(form.file_id_of(raw))
        other = self.files.get(fid)
        if other is None:
            self.files[fid] = raw
            return
        if form.generation_of(raw) > form.generation_of(other):
            self.files[fid] = raw
        self.links.setdefault(fid, [other]).append(raw)

    def _add(self, record: form.Record) -> End | None:
        match record:
            case KnownSession(session, state):
                self.sessions[session] = state
            case DirectoryEntry(one):
                self.directories[one.dir_id] = KnownDirectory(one.parent, one.name, one.generation)
            case SymlinkEntry(parent, name, digest):
                self.symlinks[parent, name] = digest
            case OtherEntry(parent, name, kind, device):
                self.others[parent, name] = (kind, device)
            case DamagedEntry(parent, name):
                self.damaged.add((parent, name))
            case End():
                return record
            case Start() | FileEntry():
                pass
        return None

    def entry(self, fid: FileId) -> FileEntry | None:
        """What it knows of a file."""
        raw = self.files.get(fid)
        return None if raw is None else parse_file(raw)

    def path(self, parent: DirId, name: bytes) -> bytes:
        """The plain path of a place."""
        return b"/".join([*(one for _, one in self._chain(parent)), name])

    def lower_path(self, ctx: Context, parent: DirId, name: bytes) -> bytes:
        """Where a place is below, but for the suffix of a symlink in a file."""
        names = ctx.ring.metadata.names
        parts = [names.seal(dir_id, one) for dir_id, one in self._chain(parent)]
        return b"/".join([*parts, names.seal(parent, name)])

    def ancestors(self, parent: DirId) -> Iterable[DirId]:
        """A directory and all above it, as the checkpoint has them."""
        seen: set[DirId] = set()
        while parent not in seen:
            seen.add(parent)
            yield parent
            known = self.directories.get(parent)
            if known is None:
                return
            parent = known.parent

    def _chain(self, dir_id: DirId) -> list[Place]:
        """(parent, name) of each directory from the root down to ``dir_id``, the root left out."""
        known = (self.directories.get(one) for one in self.ancestors(dir_id))
        return [(one.parent, one.name) for one in known if one is not None and one.name][::-1]


def parse_file(raw: bytes) -> FileEntry:
    """Raises: FormatError."""
    entry = form.parse(raw)
    if not isinstance(entry, FileEntry):
        raise FormatError("a record of a checkpoint is not that of a file")
    return entry


class Since:
    """What may have happened since a checkpoint, by its sessions and those of the volume now.

    A session is over with the checkpoint if its id is not greater and the checkpoint does not have it as OPEN.

    Attributes:
        written: whether somebody has opened the volume for writing since.
        crashed: whether one of these sessions ended in a crash.
    """

    def __init__(self, index: Index, records: Iterable[SessionRecord], current: SessionId) -> None:
        self._id = index.head.checkpoint_id
        self._open = {session for session, state in index.sessions.items() if state is SessionState.OPEN}
        later = [record for record in records if self.includes(record.session)]
        self.written = bool(later)
        self.crashed = any(
            record.state is SessionState.RECOVERED or (record.state is SessionState.OPEN and record.session != current)
            for record in later
        )

    def includes(self, session: SessionId) -> bool:
        """Whether a session may have written after the checkpoint."""
        return session > self._id or session in self._open


def load(checkpoint: Checkpoint) -> Index:
    """All of a checkpoint, which is closed.

    Raises:
        DataError: it does not open, or is not whole.
        OSError: it cannot be read.
    """
    with checkpoint:
        return Index(checkpoint)
