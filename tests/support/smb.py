"""Desks of an office: clients of an SMB server that hold files open, lock them and are told of changes."""

from __future__ import annotations

import uuid
from typing import Any, Self

from smbprotocol.change_notify import CompletionFilter, FileSystemWatcher
from smbprotocol.connection import Connection, Dialects
from smbprotocol.exceptions import NoMoreFiles
from smbprotocol.file_info import FileInformationClass, FileRenameInformation
from smbprotocol.open import (
    CreateDisposition,
    CreateOptions,
    DirectoryAccessMask,
    ImpersonationLevel,
    LockFlags,
    Open,
    ShareAccess,
    SMB2LockElement,
    SMB2LockRequest,
    SMB2QueryInfoRequest,
    SMB2QueryInfoResponse,
    SMB2SetInfoRequest,
)
from smbprotocol.security_descriptor import (
    AccessAllowedAce,
    AccessMask,
    AclPacket,
    SDControl,
    SIDPacket,
    SMB2CreateSDBuffer,
)
from smbprotocol.session import Session
from smbprotocol.tree import TreeConnect

from tests.support.samba import ANNA, PASSWORD, Server

EVERYBODY = ShareAccess.FILE_SHARE_READ | ShareAccess.FILE_SHARE_WRITE | ShareAccess.FILE_SHARE_DELETE
NOBODY = 0
# What Windows' "Read" and "Read and write" are in an ACL ([MS-DTYP] 2.4.3).
READ, WRITE = 0x120089, 0x120116
_LISTING = FileInformationClass.FILE_ID_BOTH_DIRECTORY_INFORMATION
_LARGE = 1 << 20
_DACL, _SECURITY = 4, 3  # [MS-SMB2] 2.2.39: what is set, and of what kind it is
# Of SMB2 LOCK ([MS-SMB2] 2.2.26): fail at once instead of waiting.
_AT_ONCE = LockFlags.SMB2_LOCKFLAG_FAIL_IMMEDIATELY


class Desk:
    """One user who is logged in to a share, with encryption.

    Every call raises :class:`smbprotocol.exceptions.SMBResponseException` when the server refuses it.
    """

    def __init__(self, server: Server, share: str, user: str = ANNA) -> None:
        self._connection = Connection(uuid.uuid4(), "127.0.0.1", server.port)
        self._connection.connect(Dialects.SMB_3_1_1, timeout=60)
        try:
            self._session = Session(self._connection, user, PASSWORD, require_encryption=True)
            self._session.connect()
            self.tree = TreeConnect(self._session, rf"\\127.0.0.1\{share}")
            self.tree.connect()
        except BaseException:
            self._connection.disconnect()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.vanish()

    def vanish(self) -> None:
        """The connection is cut; nothing is closed before."""
        self._connection.disconnect(close=False)

    def open(
        self, name: str, how: int = CreateDisposition.FILE_OPEN_IF, *, share: int = EVERYBODY, options: int = 0
    ) -> Open:
        """Open a file to read, write, rename and delete it. ``share``: what others may do meanwhile."""
        access = AccessMask.GENERIC_READ | AccessMask.GENERIC_WRITE | AccessMask.DELETE
        return self._open(name, access, how, share, options | CreateOptions.FILE_NON_DIRECTORY_FILE)

    def open_to_read(self, name: str) -> Open:
        """Open a file to read it, whatever others do."""
        return self._open(name, AccessMask.GENERIC_READ)

    def folder(self, name: str) -> Open:
        """Open a folder to list or watch it."""
        access = DirectoryAccessMask.FILE_LIST_DIRECTORY | DirectoryAccessMask.FILE_READ_ATTRIBUTES
        return self._open(name, access, options=CreateOptions.FILE_DIRECTORY_FILE)

    def _open(
        self,
        name: str,
        access: int,
        how: int = CreateDisposition.FILE_OPEN,
        share: int = EVERYBODY,
        options: int = CreateOptions.FILE_NON_DIRECTORY_FILE,
    ) -> Open:
        opened = Open(self.tree, name)
        opened.create(ImpersonationLevel.Impersonation, access, 0, share, how, options)
        return opened

    def write(self, name: str, content: bytes, *, flush: bool = True) -> None:
        """Save a file in one go, its bytes on the disk afterwards.

        ``flush``: smbd with streams_xattr never answers a flush that fails (seen with 4.17.12), so where one has to
        fail the error must come with the close.
        """
        file = self.open(name, CreateDisposition.FILE_OVERWRITE_IF)
        file.write(content)
        if flush:
            file.flush()
        file.close()

    def read(self, name: str) -> bytes:
        """All of a file that is not large."""
        file = self.open_to_read(name)
        try:
            return bytes(file.read(0, file.end_of_file)) if file.end_of_file else b""
        finally:
            file.close()

    def rename(self, file: Open, name: str) -> None:
        """Rename an open file to a name that nothing has."""
        information = FileRenameInformation()
        information["file_name"] = name
        request = SMB2SetInfoRequest()
        request["info_type"] = information.INFO_TYPE
        request["file_info_class"] = information.INFO_CLASS
        request["file_id"] = file.file_id
        request["buffer"] = information
        self._ask(request)

    def delete(self, name: str) -> None:
        """Delete a file."""
        self.open(name, CreateDisposition.FILE_OPEN, options=CreateOptions.FILE_DELETE_ON_CLOSE).close()

    def allow(self, name: str, rights: dict[str, int]) -> None:
        """Set the ACL of a file: these SIDs may do this, and nobody else anything."""
        entries = []
        for sid, mask in rights.items():
            who = SIDPacket()
            who.from_string(sid)
            entry = AccessAllowedAce()
            entry["mask"], entry["sid"] = mask, who
            entries.append(entry)
        dacl = AclPacket()
        dacl["aces"] = entries
        descriptor = SMB2CreateSDBuffer()
        descriptor["control"].set_flag(SDControl.SELF_RELATIVE)
        descriptor.set_dacl(dacl)
        file = self._open(name, AccessMask.READ_CONTROL | AccessMask.WRITE_DACL)
        request = SMB2SetInfoRequest()
        request["info_type"], request["file_info_class"], request["additional_information"] = _SECURITY, 0, _DACL
        request["file_id"] = file.file_id
        request["buffer"] = descriptor
        self._ask(request)
        file.close()

    def allowed(self, name: str) -> set[tuple[str, int]]:
        """The ACL of a file: SIDs, and what each may do."""
        file = self._open(name, AccessMask.READ_CONTROL)
        request = SMB2QueryInfoRequest()
        request["info_type"], request["file_info_class"], request["additional_information"] = _SECURITY, 0, _DACL
        request["output_buffer_length"] = 1 << 16
        request["file_id"] = file.file_id
        response = SMB2QueryInfoResponse()
        response.unpack(self._ask(request)["data"].get_value())
        descriptor = SMB2CreateSDBuffer()
        descriptor.unpack(response["buffer"].get_value())
        file.close()
        entries = descriptor.get_dacl()["aces"].get_value()
        return {(str(entry["sid"].get_value()), entry["mask"].get_value()) for entry in entries}

    def lock(self, file: Open, offset: int, length: int, flags: int = LockFlags.SMB2_LOCKFLAG_EXCLUSIVE_LOCK) -> None:
        """Lock a range of an open file, or fail at once."""
        self._lock(file, offset, length, flags | _AT_ONCE)

    def unlock(self, file: Open, offset: int, length: int) -> None:
        """Give a range back."""
        self._lock(file, offset, length, LockFlags.SMB2_LOCKFLAG_UNLOCK)

    def _lock(self, file: Open, offset: int, length: int, flags: int) -> None:
        element = SMB2LockElement()
        element["offset"], element["length"], element["flags"] = offset, length, flags
        request = SMB2LockRequest()
        request["file_id"] = file.file_id
        request["locks"] = [element]
        self._ask(request)

    def _ask(self, request: Any) -> Any:
        sent = self._connection.send(request, self._session.session_id, self.tree.tree_connect_id)
        return self._connection.receive(sent)

    def watch(self, folder: Open) -> FileSystemWatcher:
        """Ask to be told of the next changes of names in an open folder; ``wait`` for it, then look at ``result``."""
        watcher = FileSystemWatcher(folder)
        watcher.start(CompletionFilter.FILE_NOTIFY_CHANGE_FILE_NAME | CompletionFilter.FILE_NOTIFY_CHANGE_DIR_NAME)
        return watcher

    def count(self, folder: str, suffix: str) -> int:
        """List a folder as fast as it goes; how many names end so. Only the bytes of the answers are looked at."""
        opened, found = self.folder(folder), 0
        try:
            while True:
                request, _ = opened.query_directory("*", _LISTING, max_output=_LARGE, send=False)
                answer = self._ask(request)["data"].get_value()
                found += answer.count(suffix.encode("utf-16-le"))
        except NoMoreFiles:
            return found
        finally:
            opened.close()

    def names(self, folder: Open) -> list[str]:
        """What is in an open folder, as Windows asks for it."""
        found: list[str] = []
        try:
            while True:
                listed = folder.query_directory("*", _LISTING)
                found += [entry["file_name"].get_value().decode("utf-16-le") for entry in listed]
        except NoMoreFiles:
            return sorted(name for name in found if name not in {".", ".."})
