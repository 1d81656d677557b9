"""What a restore came to, for people and for scripts (docs/json.md).

Owns: the words, the fields, the one command that is next. Must not know: how anything is restored.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from encfs.backup.manifest import Manifest
from encfs.backup.restorable import Gaps
from encfs.backup.restoring import Restored
from encfs.backup.trial import About
from encfs.cli import output
from encfs.cli.restore_place import Into
from encfs.errors import CloakfsError
from encfs.format.slots import Slot, SlotKind
from encfs.registers.volumes import known_volume
from encfs.volume import read_config

_NAMES_SHOWN: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What there is to tell.

    Attributes:
        manifest: of the run.
        paths: that were asked for; none: everything.
        done: what was restored.
        gaps: what the run itself lacks.
        to, into: where it is.
        next: the command that comes now, or empty.
    """

    manifest: Manifest
    paths: tuple[bytes, ...] = field(repr=False)
    done: Restored
    gaps: Gaps
    to: str
    into: Into
    next: str = ""

    @property
    def failed(self) -> int:
        """How many entries that were asked for are not there."""
        unnamed = 0 if self.paths else self.gaps.unnamed
        return len(self.done.report.failures) + len(self.gaps.missing) + unnamed

    @property
    def whole(self) -> bool:
        """Whether all that was asked for is there."""
        return not self.failed


def mount_it(volume: str) -> str:
    """The command that shows what was restored into a new volume."""
    return f"cloakfs mount {shlex.quote(volume)} MOUNTPOINT"


def after_putting_back(told: Told) -> str:
    """The command that comes after a volume was put back as it was.

    A computer that has used the volume has seen newer state of it, and opens older state only if somebody says so.
    """
    volume = shlex.quote(told.to)
    if not told.whole:
        return f"cloakfs verify {volume}"
    try:
        known = known_volume(told.manifest.head.volume) is not None
    except (CloakfsError, OSError, RuntimeError):
        known = True  # To accept what is not older does no harm: it says so.
    return f"cloakfs accept {volume}" if known else mount_it(told.to)


def tell(told: Told, about: About, *, as_json: bool) -> None:
    """Print it."""
    if as_json:
        output.print_json(_as_json(told, about))
        return
    report = told.done.report
    kinds = (
        (report.files, "file", "files"),
        (report.directories, "folder", "folders"),
        (report.symlinks, "link", "links"),
        (report.others, "special file", "special files"),
    )
    counts = ", ".join(output.plural(count, one, many) for count, one, many in kinds if count) or "nothing"
    what = "the volume, " if told.into is Into.SAME_VOLUME else ""
    output.say(f"Restored {what}{counts} ({output.human_size(report.size)}) to {output.printable(told.to)}.")
    output.print_table([*_where_from(told, about), *_how(told)])
    _list("written to all the time, so this is how an earlier backup has it", told.gaps.older, told)
    _list("written to while the backup was made: look at it before you rely on it", told.gaps.live, told)
    _list("not in the backup", told.gaps.missing, told)
    if told.gaps.unnamed:
        output.remark(f"not in the backup: {output.plural(told.gaps.unnamed, 'file')} whose name is not known")
    if told.into is Into.PLAIN:
        output.remark(f"It lies in {output.printable(told.to)} in plain text. Delete it when you no longer need it.")
    if told.failed:
        entries = output.plural(told.failed, "entry was", "entries were")
        output.remark(f"cloakfs: {entries} not restored; see above. Try an older backup (--as-of), or another target.")
    _say_next(told)


def _say_next(told: Told) -> None:
    slots = read_config(os.fsencode(told.to)).slots if told.into is Into.SAME_VOLUME else ()
    if slots:
        output.say(f"It opens with: {', '.join(_words(slot) for slot in slots)}.")
    if told.next.startswith("cloakfs accept"):
        output.say("This computer has seen newer state of it, so it is opened only if you say that this is meant.")
    if told.next:
        output.say(f"Next: {told.next}")
    if slots and all(slot.kind == SlotKind.RECOVERY for slot in slots):
        # A copy with a key of its own has no slot but those made for the backup (FORMAT.md section 18).
        output.say(f"Then give it a passphrase: cloakfs key add {shlex.quote(told.to)} --recovery")


def _words(slot: Slot) -> str:
    """What opens it, as ``cloakfs status`` calls it."""
    label = "" if slot.label in (slot.kind, "recovery key") else f" {output.printable(slot.label)!r}"
    return ("recovery key" if slot.kind == SlotKind.RECOVERY else slot.kind) + label


def _where_from(told: Told, about: About) -> list[tuple[str, str]]:
    head, manifest = told.manifest.head, told.manifest
    medium = f", medium {head.label}" if head.label else ""
    rows = [("backup of", f"{output.human_time(head.made_at)}, on {output.printable(about.target)}{medium}")]
    if not _is_known(manifest, about) and manifest.signer is not None:
        signer = f"signed by {manifest.signer.fingerprint()} of {output.printable(manifest.host)}"
        rows.append(("", f"{signer}, which this computer does not know"))
    return rows


def _is_known(manifest: Manifest, about: About) -> bool:
    return manifest.digest in about.noted or (manifest.signer is not None and manifest.signer == about.own)


def _how(told: Told) -> list[tuple[str, str]]:
    done = told.done
    rows = [("read back", f"{output.human_size(done.read_back)}, the same as in the backup")]
    if done.already:
        rows.append(("there already", f"{output.plural(done.already, 'file')}, the same as in the backup"))
    lost = [f"{name.replace('_', ' ')} of {count:,}" for name, count in done.lost.as_dict().items() if count]
    if lost:
        rows.append(("not kept there", ", ".join(lost)))
    return rows


def _list(why: str, names: Sequence[bytes], told: Told) -> None:
    if not names:
        return
    if told.into is Into.SAME_VOLUME:  # Sealed names say nothing to anybody.
        output.remark(f"{output.plural(len(names), 'file')}: {why}")
        return
    for name in names[:_NAMES_SHOWN]:
        output.remark(f"{output.printable(name)}: {why}")
    if len(names) > _NAMES_SHOWN:
        output.remark(f"... and {len(names) - _NAMES_SHOWN:,} more: {why}")


def _as_json(told: Told, about: About) -> dict[str, Any]:
    report, head, manifest = told.done.report, told.manifest.head, told.manifest
    return {
        "whole": told.whole,
        "plan": head.plan,
        "run": head.run,
        "made_at": head.made_at,
        "volume_id": head.volume,
        "target": about.target,
        "label": head.label,
        "signer": None if manifest.signer is None else manifest.signer.fingerprint(),
        "host": manifest.host,
        "known": _is_known(manifest, about),
        "to": os.path.abspath(told.to),
        "into": str(told.into),
        "files": report.files,
        "directories": report.directories,
        "symlinks": report.symlinks,
        "others": report.others,
        "bytes": report.size,
        "read_back": told.done.read_back,
        "already": told.done.already,
        "not_restored": [{"path": os.fsdecode(name), "reason": reason} for name, reason in report.failures],
        "missing": [os.fsdecode(name) for name in told.gaps.missing],
        "unnamed": told.gaps.unnamed,
        "older": [os.fsdecode(name) for name in told.gaps.older],
        "live": [os.fsdecode(name) for name in told.gaps.live],
        "lost": told.done.lost.as_dict(),
        "next": told.next,
    }
