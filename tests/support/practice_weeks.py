"""A practice for three weeks: a server with a volume, a clock, sticks that take turns, and people who work.

Owns: the machine and the work. Must not know: what is proved with them. The server has a state directory of its own,
and its clock shows what :meth:`Server.is_day` says; the sticks are filesystems of their own on loop devices.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from tests.support import another_day, blockdev, rich_trees
from tests.support.command import CHEAP, Result, run
from tests.support.mounting import is_gone, is_mounted, wait_for
from tests.support.rich_trees import Known

TOP: Final = Path(__file__).resolve().parents[2]
DAY: Final = 86_400
WEEKS: Final = 3
PASSPHRASE: Final = "four unrelated words here"
LETTERS: Final = 40
DATABASE: Final = "practice.sqlite"
_STICK_MIB: Final = 192


class Server:
    """The computer of the practice, all of it below one directory."""

    def __init__(self, base: Path, *, since: float) -> None:
        """``since``: the midnight on which its story begins, seconds since 1970."""
        self.base = base
        base.mkdir()
        self.volume, self.mnt, self.state = base / "practice.vault", base / "practice", base / "state"
        self.secret, self.sheet = base / "passphrase", base / "recovery"
        self._clock, self.since, self.day = base / "clock", since, 0
        self._clock.write_text("0")
        self.mnt.mkdir()
        self.secret.write_text(PASSPHRASE)
        self.secret.chmod(0o600)
        self.pid = 0

    def is_day(self, day: int, hour: int = 19) -> None:
        """It is this hour of that day of the story."""
        self.day = day
        self._clock.write_text(str(int(self.since + day * DAY + hour * 3600 - time.time())))

    def cloakfs(self, *arguments: str | Path, ends: int | tuple[int, ...] = 0) -> Result:
        """Run a command on this computer, on its day; it ends as it should, or in one of several ways."""
        told = {
            "CLOAKFS_STATE_DIRECTORY": str(self.state),
            another_day.VARIABLE: str(self._clock),
            "PYTHONPATH": str(TOP),
        }
        done = run(*arguments, env=told, program=another_day.PROGRAM)
        assert done.code in ((ends,) if isinstance(ends, int) else ends), (arguments, done)
        return done

    @property
    def opens(self) -> tuple[str, ...]:
        """What opens the volume fast."""
        return ("--recovery-file", str(self.sheet))

    def begin(self) -> None:
        """A new volume."""
        options = ("--passphrase-file", self.secret, "--recovery-out", self.sheet, *CHEAP)
        self.cloakfs("create", self.volume, *options)
        self.mount()

    def mount(self) -> None:
        """Open it for work."""
        log = ("--log", str(self.base / "log"), "--json")
        self.pid = self.cloakfs("mount", self.volume, self.mnt, *self.opens, *log).json["mount"]["pid"]

    def tree(self) -> dict[bytes, Known]:
        """All that is in the volume now."""
        return rich_trees.walked(self.mnt)

    def burn(self) -> None:
        """The computer is no more: no process, no file, no key."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            wait_for(lambda: is_gone(self.pid), "the daemon dies")
        if is_mounted(self.mnt):
            subprocess.run(["umount", "-l", str(self.mnt)], check=True)
        shutil.rmtree(self.base)


class Sticks:
    """Media that take turns at one place. They are in memory: on the disk of the server nobody may back it up."""

    def __init__(self, base: Path, *labels: str) -> None:
        self.place, drawer = base / "stick", base / "drawer"
        self.place.mkdir()
        drawer.mkdir()
        self._drawer = drawer
        blockdev.mount("drawer", drawer, "tmpfs")
        self._images = {label: drawer / f"{label}.image" for label in labels}
        for image in self._images.values():
            blockdev.make_filesystem("ext4", image, mib=_STICK_MIB)
        # As a practice has them: a folder of its own for the backup.
        self.target = self.place / "backup"

    @contextmanager
    def plugged(self, label: str) -> Iterator[Path]:
        """This one is in; the directory for the backup."""
        with blockdev.mounted_image(self._images[label], self.place, "ext4"):
            yield self.target

    def throw_away(self) -> None:
        """All of them, for good."""
        blockdev.unmount(self._drawer)


# -- work --------------------------------------------------------------------------------------------------------------


def first_day(mnt: Path) -> None:
    """What there is when it begins: one of everything, letters, a database."""
    (mnt / "rich").mkdir()
    rich_trees.make(mnt / "rich")
    letters = mnt / "letters"
    letters.mkdir()
    for number in range(LETTERS):
        (letters / f"letter {number:02}.odt").write_bytes(os.urandom(2_000 + 311 * number))
    with closing(sqlite3.connect(mnt / DATABASE)) as database, database:
        database.execute("CREATE TABLE visits (day INTEGER, note TEXT)")


def a_day(mnt: Path, day: int) -> None:
    """New, changed in place, saved again, renamed, deleted; modes and attributes; a database."""
    letters = mnt / "letters"
    (letters / f"day {day:02}.odt").write_bytes(os.urandom(5_000 + day))
    with (letters / f"letter {day:02}.odt").open("r+b") as file:
        file.seek(1_000)
        file.write(b"day %d" % day)
    saved = letters / f"letter {day + 1:02}.odt"
    (letters / "saving").write_bytes(saved.read_bytes() + b"more")
    (letters / "saving").replace(saved)
    if (old := letters / f"day {day - 7:02}.odt").exists():
        old.rename(mnt / f"filed {day - 7:02}.odt")
    if (older := mnt / f"filed {day - 14:02}.odt").exists():
        older.unlink()
    (letters / f"letter {day + 2:02}.odt").chmod(0o600 + day)
    os.setxattr(letters / f"letter {day + 3:02}.odt", "user.seen", b"day %d" % day)
    with closing(sqlite3.connect(mnt / DATABASE)) as database, database:
        database.execute("INSERT INTO visits VALUES (?, ?)", (day, "seen" * 50))


def encrypt_everything(mnt: Path) -> int:
    """What a program does that takes a practice for ransom; how many files it got."""
    files = [path for path in mnt.rglob("*") if path.is_file() and not path.is_symlink() and path.stat().st_size]
    for path in files:
        path.chmod(0o600)
        path.write_bytes(os.urandom(path.stat().st_size if path.stat().st_size < 1 << 20 else 4096))
        path.rename(path.with_name(path.name + ".locked"))
    return len(files)


class Writer:
    """A program that commits to the database all the time, until it is told to end."""

    def __init__(self, database: Path) -> None:
        script = (
            "import sqlite3, sys\n"
            "database = sqlite3.connect(sys.argv[1])\n"
            "number = 0\n"
            "while True:\n"
            "    with database:\n"
            "        database.execute('INSERT INTO visits VALUES (?, ?)', (number, 'w' * 3000))\n"
            "    number += 1\n"
            "    if number == 1:\n"
            "        print('begun', flush=True)\n"
        )
        command = ["python3", "-c", script, str(database)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self._output = self._process.stdout
        self._output.readline()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._output.close()


@contextmanager
def writing(database: Path) -> Iterator[None]:
    """It writes for the time of the block."""
    writer = Writer(database)
    try:
        yield
    finally:
        writer.end()


def is_sound(database: Path) -> bool:
    """Whether SQLite finds nothing wrong with it."""
    with closing(sqlite3.connect(database)) as opened:
        found: Any = opened.execute("PRAGMA integrity_check").fetchall()
    return bool(found == [("ok",)])
