"""``cloakfs restore`` on a backup that is a folder, in this process or in one of its own.

Run as a program: ``python -m tests.support.restores BASE plain|sealed ARGUMENTS...``; when it has written so many bytes
it kills itself (``$DIE_AT``), gets a Ctrl-C (``$STOP_AT``), its target goes to ``$GONE_TO`` (``$GONE_AT``); before
the file with the number ``$LOCK_AT`` the volume at ``$LOCK`` is locked.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from encfs.audit.home import host_signer
from encfs.backup.plans import EngineKind
from encfs.backup.trial import About
from encfs.cli import backup_restore
from encfs.cli.backup_drill import SHEET, Asked
from encfs.cli.drill_doing import Opened
from encfs.cli.main import Manners
from encfs.cli.main import run as run_main
from encfs.errors import ExitCode, WrongSecretError
from encfs.volume.destination import Part
from tests.support.command import Result, run
from tests.support.tree_backups import KEY, PLAN, TreeBackup
from tests.support.volumes import RECOVERY_KEY

PROGRAM = ("-m", "tests.support.restores")
HERE = Path(__file__).parents[2]


class Keeper:
    """Knows one backup, whose key is kept; with a key from a sheet it uses only that."""

    def __init__(self, base: Path, *, sealed: bool = False) -> None:
        self.backup = TreeBackup(base, sealed=sealed, secret=RECOVERY_KEY)
        self.asked: list[Asked] = []

    @contextmanager
    def open(self, asked: Asked) -> Iterator[Opened]:
        self.asked.append(asked)
        key = KEY if asked.sheet_key is None else asked.sheet_key
        if key != KEY:
            raise WrongSecretError("the key does not open this backup")
        sealed = self.backup.sealed
        about = About(
            plan=PLAN,
            volume=self.backup.volume,
            engine=EngineKind.COPY if sealed else EngineKind.RESTIC,
            target=asked.bare or "/media/stick",
            own=host_signer().public,
            people=asked.people,
            key=SHEET if asked.sheet_key else "kept key",
        )
        yield Opened(engine=self.backup, about=about, backup_key=None if sealed else key)

    def run(self, *arguments: str | Path) -> ExitCode:
        """The command, without a terminal; what it raises is raised."""
        code = backup_restore.command(self.open).main([str(one) for one in arguments], standalone_mode=False)
        assert isinstance(code, ExitCode)
        return code

    @property
    def words(self) -> tuple[str, str]:
        """Arguments of the program that say which backup."""
        return str(self.backup.base), "sealed" if self.backup.sealed else "plain"

    def process(self, *arguments: str | Path, **env: str) -> Result:
        """The same in a process of its own, as a user sees it."""
        return run(*self.words, *arguments, program=PROGRAM, env=env, cwd=HERE)


def _at(count: int, action: Callable[[], object]) -> None:
    """Do something in the middle of a file, when so many bytes are written."""
    write, left = Part.write, count

    def writing(part: Part, piece: bytes) -> None:
        nonlocal left
        before, left = left, left - len(piece)
        if left < 0 <= before:
            write(part, piece[: len(piece) // 2])
            action()
            piece = piece[len(piece) // 2 :]
        write(part, piece)

    Part.write = writing  # type: ignore[method-assign]


def _before(number: int, action: Callable[[], object]) -> None:
    """Do something before a file is begun."""
    enter, left = Part.__enter__, number

    def entering(part: Part) -> Part:
        nonlocal left
        left -= 1
        if left == 0:
            action()
        return enter(part)

    Part.__enter__ = entering  # type: ignore[method-assign]


def main() -> ExitCode:
    """The program."""
    base, kind, *arguments = sys.argv[1:]
    keeper = Keeper(Path(base), sealed=kind == "sealed")
    if "DIE_AT" in os.environ:
        _at(int(os.environ["DIE_AT"]), lambda: os.kill(os.getpid(), signal.SIGKILL))
    if "STOP_AT" in os.environ:
        _at(int(os.environ["STOP_AT"]), lambda: os.kill(os.getpid(), signal.SIGINT))
    if "GONE_AT" in os.environ:
        _at(int(os.environ["GONE_AT"]), lambda: keeper.backup.base.rename(os.environ["GONE_TO"]))
    if "LOCK_AT" in os.environ:
        lock = [sys.executable, "-m", "encfs", "lock", "--force", os.environ["LOCK"]]
        _before(int(os.environ["LOCK_AT"]), lambda: subprocess.run(lock, check=True, capture_output=True))
    return run_main(lambda: keeper.run(*arguments), Manners(as_json="--json" in arguments))


if __name__ == "__main__":
    sys.exit(main())
