"""``cloakfs destroy`` for people: what will go, what was done, what may still hold keys.

Owns: the words. Must not know: what is done in which order (``cmd_destroy.py``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

from encfs.cli import output, progress
from encfs.evidence.certificate import NOT_CLAIMED
from encfs.volume.clearing import clear
from encfs.volume.key_copies import Survey
from encfs.volume.told import about

_SHOWN: Final = 20


def show(path: str, found: Survey, loose: Sequence[str], before: Mapping[str, Any], *, quiet: bool) -> None:
    """Before the name is asked for: what goes, what stays, and what may hold keys besides."""
    say = output.remark if quiet else output.say
    say(f"The keys of {output.printable(path)} will be DESTROYED. Nobody can read anything in it after that.")
    say("These files are overwritten and removed:")
    names = [os.path.join(path, os.fsdecode(copy.path)) for copy in found.copies] + list(loose)
    for name in names[:_SHOWN]:
        say(f"  {output.printable(name)}")
    if len(names) > _SHOWN:
        say(f"  ... and {output.plural(len(names) - _SHOWN, 'more')}")
    if any(copy.links > 1 for copy in found.copies):
        say("  (of one of them there is another name on this medium; what has that name is destroyed with it)")
    if not names:
        say("  none any more: an earlier run has removed them")
    say(
        f"{output.plural(found.sealed, 'encrypted file')} ({output.human_size(found.sealed_bytes)}) stay as noise."
        if found.sealed != 1
        else f"1 encrypted file ({output.human_size(found.sealed_bytes)}) stays as noise."
    )
    if found.foreign:
        say(f"NOT encrypted, and not touched: {output.plural(found.foreign, 'other file')} in the directory.")
    if found.unsearched:
        say(f"Could not be searched for copies: {output.plural(found.unsearched, 'entry', 'entries')}.")
    if before["medium"]["survives"]:
        say(before["medium"]["survives"])
    _show_holders(before, say)


def _show_holders(body: Mapping[str, Any], say: Any) -> None:  # noqa: ANN401 - one of output's two
    say("With these, together with a copy of the keys, it could still be opened:")
    for one in body["holders"]:
        say(f"  {output.printable(one['what'])}")
        say(f"      {one['advice']}")


def tell(path: str, body: Mapping[str, Any], files: Sequence[str | None], removed: int | None) -> None:
    """Afterwards."""
    proof, method = body["verification"], body["sanitization"]["method"]
    output.say(f"The keys of {output.bold(output.printable(path))} are destroyed.")
    output.print_table(
        [
            ("overwritten", f"{output.plural(proof['copies'], 'file')}, read back from the medium, and removed"),
            ("copies left", "none was found in the directory"),
            ("opens now", "with nothing"),
            (
                "NIST SP 800-88",
                "purge, by cryptographic erase, once the certificate is signed"
                if method != NOT_CLAIMED
                else "a purge is not claimed:",
            ),
            *[("", one["text"]) for one in body["conditions"] if one["holds"] is False and method == NOT_CLAIMED],
        ]
    )
    if body["medium"]["survives"]:
        output.say("To be sure, destroy the medium itself, or use its own command for that (sanitize, secure erase).")
    _show_holders(body, output.say)
    for file in filter(None, files):
        output.say(f"Written: {output.printable(file)}")
    if not any(files):
        output.say(
            "The certificate is kept on this computer. The same command with --certificate or --pdf FILE writes it."
        )
    _tell_rest(path, removed)


def _tell_rest(path: str, removed: int | None) -> None:
    if removed is None:
        output.say(
            f"What is left in {output.printable(path)} is noise. Delete it like any folder, or with --remove-data."
        )
    elif removed:
        output.say(
            f"What was left of the volume is deleted. {output.plural(removed, 'other entry', 'other entries')} stayed."
        )
    else:
        output.say("What was left of the volume is deleted.")


def remove(path: str) -> int:
    """Delete what is left of the volume; how many entries are not its own, and stay. Raises: OSError, UsageError."""
    if not os.path.lexists(path):
        return 0
    with about(path), progress.activity("Deleting what is left"):
        return clear(os.fsencode(path))
