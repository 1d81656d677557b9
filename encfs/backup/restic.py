"""The program restic: how it is found, run and ended, for one repository.

Owns: its command lines, its password, what it is told of its surroundings. Must not know: what is backed up, manifests.

The password goes through a pipe that only restic reads: not through its arguments, which everybody may see, its
environment or a file. restic tries again for minutes what cannot succeed, as reading what is gone: then it is ended.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from encfs.backup import restic_sftp
from encfs.backup.restic_words import PARTLY_READ, ResticError, Trouble, error_of, hopeless, trouble_in
from encfs.errors import BackupError
from encfs.format.recovery_key import encode_recovery_key
from encfs.stick import programs

OLDEST: Final = (0, 14)
_VERSION: Final = re.compile(r"restic (\d+)\.(\d+)")
_ID_DIGITS: Final = 64
_KEPT: Final = 1 << 18
_GRACE: Final = 10.0
_OF_A_FILE: Final = '{"message_type":"error"'


Told = Callable[[str], None]


def program() -> str:
    """The path of restic. Raises: BackupError: it is missing, or too old."""
    path = programs.find("restic")
    if path is None:
        raise BackupError(
            "the program restic, which makes this backup, is not installed", hint="On Debian: apt-get install restic"
        )
    done = subprocess.run([path, "version"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    found = _VERSION.match(done.stdout)
    if found is None or (int(found[1]), int(found[2])) < OLDEST:
        raise BackupError(
            "the program restic on this computer is older than 0.14, with which this backup works",
            hint="It comes with Debian 12 and later: apt-get install restic",
        )
    return path


class Running:
    """A restic that runs. What it complains of is read along, and it is ended where it would wait for nothing.

    Attributes:
        hopeless: why it was ended; None if it was not.
        told: the line in which it said so.
        ssh: the command line with which it reaches the target; empty if that is here.
        partly: whether it may end with :data:`encfs.backup.restic_words.PARTLY_READ`.
    """

    def __init__(self, command: Sequence[str], password: bytes, *, stdin: int | bytes, cwd: bytes | None) -> None:
        self.hopeless: Trouble | None = None
        self.told = ""
        self.ssh: Sequence[str] = ()
        self.partly = False
        self._said: list[str] = []
        self._size = 0
        read, write = os.pipe2(os.O_CLOEXEC)
        try:
            os.write(write, password)
            os.close(write)
            self.process = subprocess.Popen(
                [*_with_parent(), *command, "--password-file", f"/proc/self/fd/{read}"],
                stdin=subprocess.PIPE if isinstance(stdin, bytes) else stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=cwd,
                env=_environment(),
                pass_fds=(read,),
            )
        finally:
            os.close(read)
        self._threads = [threading.Thread(target=self._listen, daemon=True)]
        if isinstance(stdin, bytes):
            self._threads.append(threading.Thread(target=self._feed, args=(stdin,), daemon=True))
        for thread in self._threads:
            thread.start()

    def lines(self) -> Iterator[str]:
        """What it prints, line by line, until it ends."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            yield line.decode("utf-8", "surrogateescape").rstrip("\n")

    def pieces(self) -> Iterator[bytes]:
        """What it prints, as bytes."""
        assert self.process.stdout is not None
        while piece := self.process.stdout.read(1 << 20):
            yield piece

    def wait(self) -> int:
        """Its exit status."""
        status = self.process.wait()
        for thread in self._threads:
            thread.join()
        if self.process.stdout is not None:
            self.process.stdout.close()
        return status

    def end(self) -> None:
        """Let it clear up, which it does when it is interrupted; if it does not, kill it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.wait()

    @property
    def complaints(self) -> str:
        """What it said on its standard error, but for what it said of files that it reads."""
        return "\n".join(self._said)

    def _feed(self, content: bytes) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # It has ended: its exit status tells why.
            self.process.stdin.write(content)
        with suppress(BrokenPipeError):
            self.process.stdin.close()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            for raw in stream:
                line = raw.decode("utf-8", "replace").rstrip("\n")
                if self._size < _KEPT and not line.startswith(_OF_A_FILE):
                    self._said.append(line)
                    self._size += len(line)
                if self.hopeless is None and (trouble := hopeless(line)) is not None:
                    self.hopeless, self.told = trouble, line
                    self.process.kill()  # What it has locked is found by the next one: see Restic.call.


class Restic:
    """One repository.

    Args:
        location: a directory, or ``sftp:USER@HOST:PATH``.
        key: the backup key, 32 bytes.
        cache: directory in which restic keeps what it needs often, as it is in the repository: encrypted.
        ssh: the words that begin a command line of ssh; None: those in ``CLOAKFS_SSH``, or ``ssh``.
    """

    def __init__(self, location: str, key: bytes, cache: Path, *, ssh: Sequence[str] | None = None) -> None:
        self.location = location
        self._password = encode_recovery_key(key).encode() + b"\n"
        self._cache = cache
        self._program = ""
        self._ssh = restic_sftp.command(location, ssh or shlex.split(os.environ.get("CLOAKFS_SSH", "ssh")))

    @property
    def directory(self) -> bytes | None:
        """Where it lies, if that is on this computer."""
        return None if self.location.startswith("sftp:") else os.fsencode(self.location)

    def start(
        self, *arguments: str, cached: bool = True, stdin: int | bytes = subprocess.DEVNULL, cwd: bytes | None = None
    ) -> Running:
        """Begin a command. Raises: BackupError: restic is missing. OSError: ``cwd`` is gone."""
        self._program = self._program or program()
        cache = ("--cache-dir", str(self._cache)) if cached else ("--no-cache",)
        over = ("-o", f"sftp.command={shlex.join(self._ssh)}") if self._ssh else ()
        command = [self._program, "-r", self.location, *over, *cache, *arguments]
        running = Running(command, self._password, stdin=stdin, cwd=cwd)
        running.ssh, running.partly = self._ssh, arguments[0] == "backup"
        return running

    def call(
        self, *arguments: str, stdin: bytes | None = None, cwd: bytes | None = None, told: Told | None = None
    ) -> list[str]:
        """Run a command to its end; the lines that it printed, if there is nobody who is told each.

        A lock that a killed restic of this computer has left is taken away.

        Args:
            arguments: the command and what belongs to it.
            stdin: what it reads, if it reads anything.
            cwd: its directory.
            told: is given each line that it prints.

        Raises:
            ResticError: it failed; not if ``backup`` could not read some of the files. OSError: ``cwd`` is gone.
        """

        def once(*words: str) -> list[str]:
            lines: list[str] = []
            with ended(self.start(*words, stdin=subprocess.DEVNULL if stdin is None else stdin, cwd=cwd)) as running:
                for line in running.lines():
                    (told or lines.append)(line)
                raise_if_failed(running, running.wait())
            return lines

        try:
            return once(*arguments)
        except ResticError as exc:
            if exc.trouble is not Trouble.LOCKED:
                raise
        with ended(self.start("unlock")) as running:  # Locks of processes that live stay.
            raise_if_failed(running, running.wait())
        return once(*arguments)

    # -- what is asked of it -------------------------------------------------------------------------------------------

    def init(self) -> None:
        """Make the repository. Raises: ResticError."""
        self.call("init")

    def snapshots(self, *tags: str) -> list[Snapshot]:
        """All that cloakfs made here and that have these tags, the oldest first. Raises: ResticError."""
        wanted = ",".join(("cloakfs", *tags))
        text = "".join(self.call("snapshots", "--json", "--no-lock", "--tag", wanted))
        found = [Snapshot(one) for one in json.loads(text) or []]
        return sorted(found, key=lambda one: (one.run, one.time, one.id))

    def in_pack(self, pack: str, snapshot: str) -> set[bytes]:
        """Paths of the files of a snapshot that lie in a pack that is gone, wholly or in part.

        Args:
            pack: its id, or the beginning of it.
            snapshot: id.

        Raises:
            ResticError: so much is gone that it cannot be told.
        """
        text = "".join(self.call("find", "--json", "--snapshot", snapshot, "--pack", self._whole_id(pack), "--no-lock"))
        return {os.fsencode(one["path"]).lstrip(b"/") for one in json.loads(text) or []}

    def _whole_id(self, pack: str) -> str:
        """Of a pack that is gone. Over sftp restic tells the beginning only; its check names those that are gone."""
        if len(pack) == _ID_DIGITS:
            return pack
        with ended(self.start("check", "--no-lock")) as running:
            list(running.lines())
            running.wait()
        found = re.search(rf"{pack}[0-9a-f]{{{_ID_DIGITS - len(pack)}}}", running.complaints)
        return found[0] if found else pack


class Snapshot:
    """One, as restic lists it."""

    def __init__(self, listed: Mapping[str, Any]) -> None:
        self.id: str = listed["id"]
        self.time: str = listed["time"]
        self.tags = frozenset(listed.get("tags") or ())

    @property
    def run(self) -> str:
        """Id of the run of which it is a part, or empty."""
        return next((tag.removeprefix("run=") for tag in self.tags if tag.startswith("run=")), "")


def raise_if_failed(running: Running, status: int) -> None:
    """Raises: ResticError: that is how it ended."""
    if running.hopeless is None and (status == 0 or (running.partly and status == PARTLY_READ)):
        return
    text = running.complaints if running.hopeless is None else running.told
    trouble = running.hopeless or trouble_in(text)
    if trouble is Trouble.NETWORK and running.ssh:
        trouble = restic_sftp.trouble(running.ssh) or trouble  # restic may have ended before ssh could say it.
    raise error_of(trouble, text, status)


def snapshot_in(lines: Iterable[str]) -> str:
    """The snapshot that ``backup --json`` made: as much of its id as it tells. Raises: BackupError."""
    for line in lines:
        if line.startswith("{") and (message := json.loads(line)).get("message_type") == "summary":
            return str(message["snapshot_id"])
    raise BackupError(
        "restic did not say what it made", hint="Is it a version of restic that is older or newer than others here?"
    )


@contextmanager
def ended(running: Running) -> Iterator[Running]:
    """Behind this it does not run any more."""
    try:
        yield running
    finally:
        running.end()


def _with_parent() -> list[str]:
    """So that it is interrupted when this process is killed: nobody would be there to end it."""
    path = shutil.which("setpriv", path=os.defpath)
    return [path, "--pdeathsig", "INT"] if path else []


def _environment() -> dict[str, str]:
    """Nothing that tells restic of another repository or password."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RESTIC_")} | {"LC_ALL": "C.UTF-8"}
