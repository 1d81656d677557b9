#!/usr/bin/env python3
"""Attack a scratch copy of a closed cloakfs volume, to see what becomes of it.

The attacks are those of the table "Attack by attack" in THREAT_MODEL.md; tests/attacks/ proves what the table says.
No key is needed: whoever attacks has none. Lower names for --file and --other come from
"tools/inspect_lower.py VOLUME --tree" or from "ls"; they are relative to VOLUME.

  tools/corrupt.py list
  tools/corrupt.py cell-flip ~/v.vault --copy-to /tmp/scratch --file LOWERNAME --cell 2 --offset 100
  tools/corrupt.py config-zero /tmp/scratch --yes-destroy

Exit status: 0 done, 1 this attack has nothing to work on there, 2 usage, 3 refused: not a volume, in use, or not
confirmed.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support.corruption import ATTACKS, Attack, Target
from tests.support.corruption.attack import CONFIGS, SESSIONS
from tests.support.corruption.table import rows

IMPOSSIBLE, USAGE, REFUSED = 1, 2, 3


class Stopped(Exception):  # noqa: N818 - it is how the program ends
    """Nothing was done; ``status`` says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("attack", help='the name of an attack; "list": all of them; "table": as in THREAT_MODEL.md')
    parser.add_argument("volume", nargs="?", type=Path, help="the volume directory, locked")
    confirm = parser.add_mutually_exclusive_group()
    confirm.add_argument("--copy-to", type=Path, metavar="DEST", help="copy VOLUME to DEST, which is new; attack that")
    confirm.add_argument("--yes-destroy", action="store_true", help="VOLUME is a scratch copy: attack it itself")
    parser.add_argument("--file", metavar="LOWER", help="the lower object that is hit")
    parser.add_argument("--other", metavar="LOWER", help="a second one, for attacks that take two")
    parser.add_argument("--old", type=Path, metavar="COPY", help="an older copy of VOLUME, or another volume")
    parser.add_argument("--cell", type=int, default=0, metavar="N", help="which cell (0)")
    parser.add_argument("--offset", type=int, default=0, metavar="N", help="byte in the region, size, or count (0)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="which bit, which random bytes (0)")
    parser.add_argument("--one-copy", action="store_true", help="attack only the first of the two copies of the config")
    return parser.parse_args(argv)


def listing() -> str:
    """All attacks, with what becomes of them."""
    lines = []
    for one in ATTACKS.values():
        needs = "".join(f" --{need}" for need in one.needs)
        lines.append(f"{one.name}{needs}\n    {one.does}.\n    Expected: {expected(one)}.")
    return "\n".join(lines)


def expected(one: Attack) -> str:
    """What becomes of an attack, in a few words."""
    exit_code = f", exit {one.exit_code}" if one.exit_code else ""
    codes = f", {' or '.join(one.codes)} in verify" if one.codes else ""
    return f"{one.outcome}{exit_code}{codes}"


def in_use(volume: Path) -> bool:
    """Whether a process has the volume open: its lock (FORMAT.md section 11) is taken for a moment."""
    try:
        fd = os.open(volume / SESSIONS / "lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except (BlockingIOError, PermissionError):
        return True
    finally:
        os.close(fd)
    return False


def choose(args: argparse.Namespace) -> tuple[Attack, Path]:
    """The attack, and the directory that it may destroy.

    Raises:
        Stopped: there is no such attack, or the directory may not be destroyed.
    """
    chosen = ATTACKS.get(args.attack)
    if chosen is None:
        raise Stopped(USAGE, f"there is no attack {args.attack!r}; see: tools/corrupt.py list")
    if args.volume is None:
        raise Stopped(USAGE, "a volume is needed")
    missing = [need for need in chosen.needs if getattr(args, need) is None]
    if missing:
        raise Stopped(USAGE, f"{chosen.name} needs --{' and --'.join(missing)}")
    volume = args.volume.resolve()
    if not any((volume / name).exists() for name in CONFIGS):
        raise Stopped(REFUSED, f"{args.volume} holds no cloakfs volume")
    if in_use(volume):
        raise Stopped(REFUSED, f"{args.volume} is in use; lock it first")
    if args.copy_to is None and not args.yes_destroy:
        raise Stopped(REFUSED, "this destroys; give --copy-to DEST, or --yes-destroy where VOLUME is a scratch copy")
    if args.copy_to is None:
        return chosen, volume
    if os.path.lexists(args.copy_to):
        raise Stopped(REFUSED, f"{args.copy_to} is there already")
    subprocess.run(["cp", "-a", "--reflink=auto", "--", volume, args.copy_to], check=True)
    return chosen, args.copy_to.resolve()


def target(args: argparse.Namespace, chosen: Attack, volume: Path) -> Target:
    """What the attack works on.

    Raises:
        Stopped: a lower object is not named, or is not there.
    """
    if args.file is None and chosen.on_file:
        raise Stopped(USAGE, f"{chosen.name} needs --file")
    file = volume / args.file if args.file is not None else volume
    other = None if args.other is None else volume / args.other
    old = None if args.old is None else args.old.resolve()
    for path in (file, other, old):
        gone = path is file and chosen.name == "file-deleted-put-back"
        if path is not None and not os.path.lexists(path) and not gone:
            raise Stopped(IMPOSSIBLE, f"{path}: there is no such thing")
    copies = CONFIGS[:1] if args.one_copy else CONFIGS
    return Target(volume, file, other, old, args.cell, args.offset, args.seed, copies)


def run(args: argparse.Namespace) -> None:
    """Do what the arguments ask.

    Raises:
        Stopped: nothing was done.
    """
    if args.attack == "list":
        print(listing())
        return
    if args.attack == "table":
        print("\n".join(rows()))
        return
    chosen, volume = choose(args)
    try:
        hits = chosen.run(target(args, chosen, volume))
    except (OSError, ValueError, IndexError, StopIteration) as error:
        raise Stopped(IMPOSSIBLE, f"{chosen.name} has nothing to work on here: {error}") from error
    print(f"{chosen.name}: {chosen.does}.")
    for hit in hits:
        cells = f", cells {sorted(hit.cells)}" if hit.cells else ""
        print(f"  hit: {os.path.relpath(hit.path, volume)}{cells}")
    print(textwrap.fill(f"Expected: {expected(chosen)}. {chosen.limit}".strip(), 110))


def main(argv: list[str] | None = None) -> int:
    """Entry point."""
    args = parse_arguments(argv)
    try:
        run(args)
    except Stopped as error:
        print(f"corrupt: {error}", file=sys.stderr)
        return error.status
    return 0


if __name__ == "__main__":
    sys.exit(main())
