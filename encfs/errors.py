"""The one error tree of cloakfs, with the exit code that each kind of failure has.

Owns: what can go wrong, in the words a user reads, and the stable exit codes (README, "Exit codes").
Must not know: errno (``encfs/fuse/errnos.py``), terminals, or anything secret: a text here never
holds a plaintext name, file content or key.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit status of every ``cloakfs`` command. Numbers are never reused."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    FINDINGS = 3
    WRONG_SECRET = 10
    CONFIG_DAMAGED = 11
    SLOT_DAMAGED = 12
    CONFIG_FORGED = 13
    NEWER_FORMAT = 14
    NOT_A_VOLUME = 15
    VOLUME_IN_USE = 16
    NOT_EMPTY = 17
    NO_FUSE = 18
    MOUNTPOINT = 19
    BUSY = 20
    NOT_MOUNTED = 21
    WEAK_PASSPHRASE = 22
    NO_MEMORY = 23
    LOWER_IO = 24
    DAMAGED_DATA = 25
    NOT_FOUND = 26
    READ_ONLY = 27
    ROLLBACK = 28
    POLICY = 29
    AUDIT = 30
    BACKUP = 31
    BACKUP_GUARD = 32
    WRONG_MEDIUM = 33
    TOKEN = 40
    WRONG_PIN = 41
    INTERRUPTED = 130


class CloakfsError(Exception):
    """Base of all errors that cloakfs raises on purpose. Its text is fit for a user.

    ``hint`` says what to do next, or is empty.
    """

    exit_code: ExitCode = ExitCode.FAILURE

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(CloakfsError):
    """The call itself makes no sense."""

    exit_code = ExitCode.USAGE


class UnlockError(CloakfsError):
    """The volume could not be unlocked."""


class WrongSecretError(UnlockError):
    """No slot of the volume belongs to the given passphrase or recovery key."""

    exit_code = ExitCode.WRONG_SECRET


class SlotDamagedError(UnlockError):
    """The secret is right (its commitment matches) but the slot's sealed keys do not open."""

    exit_code = ExitCode.SLOT_DAMAGED


class VolumeRollbackError(UnlockError):
    """The volume, or its config, is older than what this host has seen (FORMAT.md section 13)."""

    exit_code = ExitCode.ROLLBACK


class TokenError(UnlockError):
    """A token, a key on it or the library that speaks to it is missing, or does not do what it is asked."""

    exit_code = ExitCode.TOKEN


class WrongPinError(UnlockError):
    """A token did not take the PIN; it counts such tries."""

    exit_code = ExitCode.WRONG_PIN


class WeakPassphraseError(CloakfsError):
    """A new passphrase is too easy to guess."""

    exit_code = ExitCode.WEAK_PASSPHRASE


class PolicyError(CloakfsError):
    """The policy of the volume forbids it (FORMAT.md section 3)."""

    exit_code = ExitCode.POLICY


class AuditError(CloakfsError):
    """The audit log cannot take or give what was asked (FORMAT.md section 16)."""

    exit_code = ExitCode.AUDIT


class AnchorError(AuditError):
    """An anchor of the audit log could not be brought to another place, or it is not known whether it got there."""


class AuditorKeyError(AuditError):
    """An auditor key that belongs to another audit log."""

    exit_code = ExitCode.WRONG_SECRET


class RegisterError(AuditError):
    """A register of this computer is damaged, or was changed by something else (FORMAT.md section 17)."""


class ConfigError(CloakfsError):
    """The config cannot be used."""


class ConfigDamagedError(ConfigError):
    """Neither copy of the config has a right checksum (FORMAT.md section 3)."""

    exit_code = ExitCode.CONFIG_DAMAGED


class ConfigForgedError(ConfigError):
    """A config unlocks but its MAC is wrong: somebody changed it."""

    exit_code = ExitCode.CONFIG_FORGED


class NewerFormatError(ConfigError):
    """The volume was written by a newer cloakfs, or needs a feature this one lacks."""

    exit_code = ExitCode.NEWER_FORMAT


class NotAVolumeError(ConfigError):
    """The directory holds no cloakfs volume."""

    exit_code = ExitCode.NOT_A_VOLUME


class NotEmptyError(CloakfsError):
    """A directory that must be empty is not."""

    exit_code = ExitCode.NOT_EMPTY


class MemoryShortError(CloakfsError):
    """The key derivation asks for more memory than is free."""

    exit_code = ExitCode.NO_MEMORY


class VolumeInUseError(CloakfsError):
    """Another process has the volume open for writing."""

    exit_code = ExitCode.VOLUME_IN_USE


class ReadOnlyError(CloakfsError):
    """A change was asked of a volume that is open read-only."""

    exit_code = ExitCode.READ_ONLY


class NoFuseError(CloakfsError):
    """FUSE, or the Python part that speaks to it, is missing here."""

    exit_code = ExitCode.NO_FUSE


class MountpointError(CloakfsError):
    """The mount point cannot be used."""

    exit_code = ExitCode.MOUNTPOINT


class MountBusyError(CloakfsError):
    """Programs still use the mount."""

    exit_code = ExitCode.BUSY


class NotMountedError(CloakfsError):
    """There is no cloakfs mount to talk to."""

    exit_code = ExitCode.NOT_MOUNTED


class LowerIOError(CloakfsError):
    """The backing store failed (medium gone, full, or broken)."""

    exit_code = ExitCode.LOWER_IO


class MediumGoneError(LowerIOError):
    """The medium under the volume went away; the keys are dropped."""


class NotFoundError(CloakfsError):
    """No such path in the volume."""

    exit_code = ExitCode.NOT_FOUND


class DataError(CloakfsError):
    """Something read from the backing store is not what cloakfs wrote there."""

    exit_code = ExitCode.DAMAGED_DATA


class AuthenticationError(DataError):
    """An AEAD tag, SIV or MAC does not match. Never carries the data."""


class FormatError(DataError):
    """Bytes that authenticate or need no key, but do not have the shape FORMAT.md gives."""


class PlaceError(DataError):
    """A file, directory or symlink is not where its own record says it is."""


class SizeError(DataError):
    """A lower file is longer or shorter than its header says."""


class RollbackError(DataError):
    """An object is authentic but older than what this host has seen of it, or was deleted (FORMAT.md section 13)."""


class BackupError(CloakfsError):
    """A backup or its target cannot be used: gone, locked, not whole, or the program that makes it failed."""

    exit_code = ExitCode.BACKUP


class GuardError(BackupError):
    """Too much changed since the run before; nothing was written and nothing is taken away."""

    exit_code = ExitCode.BACKUP_GUARD


class WrongMediumError(BackupError):
    """What is at the target is not a medium of this backup."""

    exit_code = ExitCode.WRONG_MEDIUM
