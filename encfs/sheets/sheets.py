"""The three kinds of sheet: a recovery key, one share of one, and the key of a backup.

Owns: what they say. Must not know: how a page is laid out, where it is written to.
"""

from __future__ import annotations

from datetime import date
from typing import Final

from encfs.format.recovery_key import GROUPS, encode_recovery_key
from encfs.sheets.page import Page
from encfs.sheets.shares import WORDS, Share
from encfs.units import VolumeId

_INSTALL: Final = "On a Linux computer that you trust, unpack cloakfs, and in its folder run:"
_OPEN: Final = "Open the volume, with its folder in place of VOLUME and an empty one in place of MOUNTPOINT, and type"
_NO_PHONE: Final = "never with a telephone"
_GET_BACK: Final = (
    "Plug in the medium of the backup. Restore all of it into a new volume, with the place where the backup is now for "
    f"TARGET and a new folder for DIR, and type the {GROUPS} groups in their order (or scan the code, {_NO_PHONE}):"
)
_RENEW: Final = "Then add a passphrase, and renew this sheet (tools/cloakfs status VOLUME tells how):"


def recovery_sheet(key: bytes, *, volume: str, volume_id: VolumeId, custodian: str, day: date) -> bytes:
    """A PDF of one page with a recovery key. The same arguments make the same bytes.

    Args:
        key: the 32 bytes.
        volume: what people call the volume.
        volume_id: its 16 bytes.
        custodian: who keeps the sheet.
        day: when it was made.

    Raises:
        UsageError: a name has letters that cannot be printed, or is too long.
        CloakfsError: a package is not installed.
    """
    text = encode_recovery_key(key)
    with Page("Recovery key", day) as page:
        page.paragraph(
            "This key opens the volume below without any passphrase. Keep the sheet in a safe or a sealed envelope, "
            "apart from the volume. Whoever has both can read everything."
        )
        page.facts([*_volume_facts(volume, volume_id, day), ("Custodian", custodian)])
        page.cells(text.split("-"), columns=5, rows=3, size=14, down=False, qr=text)
        page.steps(
            "When nobody can open the volume any more",
            [
                (_INSTALL, "tools/setup"),
                (
                    f"{_OPEN} the {GROUPS} groups in their order (or scan the code, {_NO_PHONE}):",
                    "tools/cloakfs mount VOLUME MOUNTPOINT --recovery",
                ),
                (_RENEW, "tools/cloakfs key add VOLUME --recovery"),
            ],
        )
        page.signature("custodian")
        return page.output()


def share_sheet(share: Share, *, volume: str, volume_id: VolumeId, holder: str, day: date) -> bytes:
    """A PDF of one page with a share of a recovery key. The same arguments make the same bytes.

    Args:
        share: what is on it.
        volume: what people call the volume.
        volume_id: its 16 bytes.
        holder: who keeps the sheet.
        day: when it was made.

    Raises:
        UsageError: a name has letters that cannot be printed, or is too long.
        CloakfsError: a package is not installed.
    """
    k, n = share.threshold, share.count
    with Page(f"Share {share.number} of {n}", day) as page:
        page.paragraph(
            f"Any {k} of these {n} shares together open the volume below; fewer tell nothing about it. Keep the sheet "
            "in a safe or a sealed envelope, apart from the volume and from the other shares."
        )
        page.facts(
            [
                *_volume_facts(volume, volume_id, day),
                ("Holder", holder),
                ("Share", f"{share.number} of {n}, {k} needed, set {share.set_id:05}"),
            ]
        )
        page.cells(share.words, columns=3, rows=11, size=11, down=True, qr=share.text)
        page.steps(
            f"When {k} holders agree that the volume must be opened",
            [
                (_INSTALL, "tools/setup"),
                (
                    f"{_OPEN} the {WORDS} words of each of {k} shares, in any order (or scan the codes, {_NO_PHONE}):",
                    "tools/cloakfs mount VOLUME MOUNTPOINT --shares",
                ),
                (_RENEW, "tools/cloakfs key add VOLUME --shares"),
            ],
        )
        page.signature("holder")
        return page.output()


def backup_sheet(key: bytes, *, volume: str, volume_id: VolumeId, target: str, plan: str, day: date) -> bytes:
    """A PDF of one page with the key of a backup. The same arguments make the same bytes.

    Args:
        key: the 32 bytes.
        volume: what people call the volume.
        volume_id: its 16 bytes.
        target: where the backup goes, as it was given.
        plan: id of the backup, 32 hexadecimal digits.
        day: when the sheet was made.

    Raises:
        UsageError: a name has letters that cannot be printed, or is too long.
        CloakfsError: a package is not installed.
    """
    text = encode_recovery_key(key)
    with Page("BACKUP key", day) as page:
        page.paragraph(
            "This key opens the BACKUP below. It does not open the volume itself. Keep the sheet in a safe or a sealed "
            "envelope, apart from the backup and from the computer. Whoever has the sheet and the backup can read "
            "everything in it. When the computer is lost and this sheet too, the backup is lost with them."
        )
        page.facts([("Backup of", volume), ("Backup to", target), ("Backup id", plan), *_id_and_day(volume_id, day)])
        page.cells(text.split("-"), columns=5, rows=3, size=14, down=False, qr=text)
        page.steps(
            "When the computer is lost",
            [
                (_INSTALL, "tools/setup"),
                (_GET_BACK, "tools/cloakfs restore --from TARGET --sheet --new-volume DIR"),
                (
                    "Before that day comes, once a year, on another computer: try whether this sheet opens the backup:",
                    "tools/cloakfs backup drill --from TARGET --sheet",
                ),
            ],
        )
        page.signature("custodian")
        return page.output()


def _volume_facts(volume: str, volume_id: VolumeId, day: date) -> list[tuple[str, str]]:
    return [("Volume", volume), *_id_and_day(volume_id, day)]


def _id_and_day(volume_id: VolumeId, day: date) -> list[tuple[str, str]]:
    return [("Volume id", volume_id.hex()), ("Date", day.isoformat())]
