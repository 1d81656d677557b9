"""The program rclone: how it is run, what its failures mean, and which of its remotes take a backup.

Owns: its command lines and its surroundings. Must not know: what is backed up, the layout of a target.

The config is the one of this user, or ``$RCLONE_CONFIG``. Options of rclone in the environment are left out: one of
them would make it only pretend, another would make it trust any certificate. Nobody is there to type a password.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from encfs.errors import BackupError, UsageError
from encfs.stick import programs
from encfs.wording import printable

_KEPT: Final = ("RCLONE_CONFIG", "RCLONE_PASSWORD_COMMAND", "RCLONE_CA_CERT", "RCLONE_CLIENT_", "RCLONE_BWLIMIT")
# What fails is said at once; the next run goes on where this one stopped. A dead network is noticed after a minute.
_ALWAYS: Final = (
    *("--retries", "1", "--low-level-retries", "2", "--contimeout", "30s", "--timeout", "60s"),
    *("--transfers", "8", "--ask-password=false", "--use-json-log", "--log-level", "DEBUG", "--stats", "0"),
)
_STAMP: Final = re.compile(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d ")
_EARLY: Final = re.compile(r"(DEBUG|INFO|NOTICE) *:")  # Before it has read how its log is to look.
_ENDED: Final = {3, 4}  # Directory, or file, not found.
_LEVELS: Final = ("error", "critical", "fatal", "panic")
_SHOWN: Final = 300
_LINES: Final = 1000
_TRIED: Final = re.compile(r"low level retry \d+/\d+ \(error")
GIVE_UP = 20
"""So often in a row the remote was out of reach: it waits for longer each time, and goes on to the next file."""
_PIECE: Final = 1 << 20


class Trouble(Enum):
    """Why rclone failed."""

    NOT_FOUND = "not found"
    FULL = "full"
    UNREACHABLE = "unreachable"
    DENIED = "denied"
    UNTRUSTED = "untrusted"
    NO_REMOTE = "no remote"
    LOCKED_CONFIG = "locked config"
    OTHER = "other"


class RcloneError(BackupError):
    """rclone could not do what it was asked; ``trouble`` says why."""

    def __init__(self, trouble: Trouble, message: str, *, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.trouble = trouble


HOPELESS: Final = frozenset({Trouble.FULL, Trouble.UNREACHABLE, Trouble.DENIED, Trouble.UNTRUSTED})
"""With these the next file fares no better."""
_NEXT: Final = "What is there stays as it is, and the next run goes on from there."
_SIGNS: Final = (
    (Trouble.NOT_FOUND, re.compile(r"is a directory or doesn't exist")),  # Of deletefile, with status 1.
    (
        Trouble.LOCKED_CONFIG,
        re.compile(r"unable to decrypt configuration|password required|config.*password", re.IGNORECASE),
    ),
    (Trouble.NO_REMOTE, re.compile(r"didn't find section in config file|didn't find backend called", re.IGNORECASE)),
    (Trouble.UNTRUSTED, re.compile(r"x509|certificate|knownhosts|host key", re.IGNORECASE)),
    (
        Trouble.FULL,
        re.compile(
            r"no space left|remaining disk space|insufficient storage|not enough (free )?space|quota|507 ",
            re.IGNORECASE,
        ),
    ),
    (
        Trouble.UNREACHABLE,
        re.compile(
            r"connection (refused|reset|lost|closed|timed out)|no such host|i/o timeout|unreachable|broken pipe"
            r"|unexpected EOF|: EOF|no route to host|server closed|context deadline|couldn't connect|dial tcp"
            r"|failed to (dial|read packet)|bad gateway|service unavailable",
            re.IGNORECASE,
        ),
    ),
    (
        Trouble.DENIED,
        re.compile(
            r"\b40[13]\b|unauthorized|forbidden|permission.denied|access.?denied|unable to authenticate"
            r"|read-only file system|operation not permitted",
            re.IGNORECASE,
        ),
    ),
)
_SAID: Final = {
    Trouble.NOT_FOUND: ("it is not there", _NEXT),
    Trouble.FULL: ("the remote is full", f"Make room there, or keep fewer runs. {_NEXT}"),
    Trouble.UNREACHABLE: ("the remote cannot be reached", f"Look at the network and the other computer. {_NEXT}"),
    Trouble.DENIED: ("the remote does not allow it", "Look at its account and its rights: rclone config"),
    Trouble.UNTRUSTED: (
        "the other computer is not known to be the right one",
        (
            "Its certificate or key is not trusted. Put the path of a certificate of your own into RCLONE_CA_CERT. Over"
            " sftp, log in there with ssh: it says what has changed."
        ),
    ),
    Trouble.NO_REMOTE: (
        "rclone has no such remote",
        "See which there are: rclone listremotes, as the user who runs the backup. Set one up: rclone config",
    ),
    Trouble.LOCKED_CONFIG: (
        "the config of rclone is encrypted, and nobody is there to type its password",
        "Let RCLONE_PASSWORD_COMMAND print it, or take that password away: rclone config",
    ),
    Trouble.OTHER: ("rclone failed", _NEXT),
}


def call(*arguments: str) -> bytes:
    """What rclone prints when it does something. Raises: as :func:`pieces`."""
    return b"".join(pieces(*arguments))


def pieces(*arguments: str) -> Iterator[bytes]:
    """The same, piece by piece.

    It is ended as soon as it tells of something that will not be better for the next file: with each of thousands it
    would try again for seconds.

    Raises:
        RcloneError: it failed. BackupError: it is not installed.
    """
    process = subprocess.Popen(
        [*command(), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    listening = _Listening(process)
    listening.start()
    assert process.stdout is not None
    try:
        with process.stdout as stream:
            while piece := stream.read(_PIECE):
                yield piece
        process.wait()
    finally:
        process.kill()  # Of no effect on one that has ended.
        process.wait()
        listening.join()
    if process.returncode:
        raise error_of(process.returncode, listening.said)


class _Listening(threading.Thread):
    """Reads along what it complains of, and ends it where there is nothing to wait for."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        super().__init__(daemon=True)
        self._process = process
        self._lines: list[str] = []
        self._tries = 0

    @property
    def said(self) -> str:
        return "\n".join(self._lines)

    def run(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            for raw in stream:
                self._take(raw.decode("utf-8", "replace").rstrip("\n"))

    def _take(self, line: str) -> None:
        told = _told(line)
        text = str(told["msg"])
        if text.startswith("Copied"):
            self._tries = 0
        elif _TRIED.match(text) and _trouble(text) is Trouble.UNREACHABLE:
            self._tries += 1
            if self._tries == GIVE_UP:
                self._end(json.dumps({"level": "error", "msg": text}))
        elif _is_complaint(line):
            self._end(line) if _trouble(text) in HOPELESS else self._keep(line)

    def _end(self, line: str) -> None:
        self._keep(line)
        self._process.terminate()

    def _keep(self, line: str) -> None:
        self._lines = [*self._lines[-_LINES:], line]


def command() -> list[str]:
    """How a command line begins. Raises: BackupError: it is not installed."""
    path = programs.find("rclone")
    if path is None:
        raise BackupError(
            "the program rclone, which goes to this target, is not installed", hint="On Debian: apt-get install rclone"
        )
    parent = programs.find("setpriv")  # So that it ends when this process is killed.
    return [*([parent, "--pdeathsig", "TERM"] if parent else []), path, *_ALWAYS]


def environment() -> dict[str, str]:
    """That of this process, but for options of rclone."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("RCLONE_") or name.startswith(_KEPT)
    }
    return kept | {"LC_ALL": "C.UTF-8"}


def error_of(status: int, said: str) -> RcloneError:
    """What a failure means, from its exit status and from what it said."""
    lines = list(_complaints(said))
    trouble = next((one for one in map(_trouble, lines) if one is not Trouble.OTHER), Trouble.OTHER)
    if status in _ENDED and trouble is Trouble.OTHER:
        trouble = Trouble.NOT_FOUND
    message, hint = _SAID[trouble]
    last = " ".join(re.sub(r"://[^/@ ]*@", "://", lines[-1] if lines else f"status {status}").split())
    short = last if len(last) <= _SHOWN else f"{last[: _SHOWN - 1]}…"
    return RcloneError(trouble, f"{message} ({printable(short)})", hint=hint)


def _trouble(text: str) -> Trouble:
    return next((one for one, sign in _SIGNS if sign.search(text)), Trouble.OTHER)


def _complaints(said: str) -> Iterator[str]:
    for line in said.splitlines():
        if _is_complaint(line):
            yield _STAMP.sub("", str(_told(line)["msg"]))


def _is_complaint(line: str) -> bool:
    return bool(line.strip()) and _told(line)["level"] in _LEVELS


def _told(line: str) -> Mapping[str, object]:
    """A line of its log; what it says before or after that is a complaint."""
    try:
        told = json.loads(line)
    except ValueError:
        told = None
    if isinstance(told, dict) and {"level", "msg"} <= set(told):
        return told
    return {"level": "debug" if _EARLY.match(_STAMP.sub("", line)) else "error", "msg": line}


# -- which remotes ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Remote:
    """Where a remote leads in the end.

    Attributes:
        directories: on this computer, of a remote that is one.
    """

    directories: tuple[str, ...]


_INSTEAD: Final = "Use sftp, or one with https://. Change it: rclone config"
_REFUSED: Final = {
    "ftp": ("ftp sends everything in clear text", _INSTEAD),
    "http": ("http can only be read", _INSTEAD),
    "hdfs": ("hdfs does not encrypt what is on its way", _INSTEAD),
    "memory": ("what goes into memory is gone when rclone ends", _INSTEAD),
    "smb": ("a share is not gone through by rclone", "Mount the share, and give the directory at which it is mounted."),
}
_WRAPPERS: Final = frozenset({"alias", "crypt", "chunker", "compress", "hasher", "cache"})
_SEVERAL: Final = frozenset({"union", "combine"})
_DEPTH: Final = 16
_CLEAR: Final = re.compile(r"\b(http|ws)://", re.IGNORECASE)
_KNOWN_HOSTS: Final = (
    "Log in there once with ssh, which notes its key; then:"
    " rclone config update REMOTE known_hosts_file ~/.ssh/known_hosts"
)
_HOST_OPTION: Final = re.compile(r"(^|,)known_hosts_file=[^,:]")


def look_at(location: str) -> Remote:
    """Make sure that a remote takes a backup; what is below one that wraps others is looked at too.

    Nothing of the config is shown but names of remotes and their types.

    Args:
        location: ``REMOTE:PATH``.

    Raises:
        UsageError: it is none, sends things in clear text, or to whatever computer answers.
        RcloneError: the config cannot be read. BackupError: rclone is not installed.
    """
    try:
        config = json.loads(call("config", "dump"))
    except ValueError as exc:
        raise BackupError("the config of rclone cannot be read", hint="Look at it: rclone config show") from exc
    return Remote(tuple(_below(config, location, 0)))


def _below(config: Mapping[str, Mapping[str, str]], location: str, depth: int) -> Iterator[str]:
    name, colon, path = location.partition(":")
    if depth > _DEPTH:
        raise UsageError("a remote of rclone leads to itself", hint="Change it: rclone config")
    if location.startswith(":"):
        # One that is told on the spot, inside of another one: :TYPE,OPTION=VALUE:PATH
        kind = re.split("[,:]", location[1:], maxsplit=1)[0]
        name, options, path = kind, {"type": kind, "options": location}, location.rpartition(":")[2]
    elif not colon or "/" in name:
        yield os.path.abspath(location)
        return
    else:
        name, _, more = name.partition(",")
        options = {**_options(config, name), **({"more": more} if more else {})}
    kind = options["type"]
    _check(name, kind, options)
    if kind == "local":
        yield os.path.abspath(path)
    for inner in _inner(kind, options):
        deeper = f"{inner.rstrip('/')}/{path}" if kind == "alias" and path and not inner.endswith(":") else inner + path
        yield from _below(config, deeper if kind == "alias" else inner, depth + 1)


def _options(config: Mapping[str, Mapping[str, str]], name: str) -> dict[str, str]:
    """Those of a remote; ``RCLONE_CONFIG_NAME_OPTION`` of the environment wins, as it does in rclone."""
    prefix = f"RCLONE_CONFIG_{name.upper().replace('-', '_')}_"
    told = {key[len(prefix) :].lower(): value for key, value in os.environ.items() if key.startswith(prefix)}
    options = {**config.get(name, {}), **told}
    if not options.get("type"):
        message, hint = _SAID[Trouble.NO_REMOTE]
        raise UsageError(f"{message}: {printable(name)}", hint=hint)
    return options


def _check(name: str, kind: str, options: Mapping[str, str]) -> None:
    """Raises: UsageError: no backup goes there."""
    reason, hint = _REFUSED.get(kind, ("", ""))
    if not reason and any(_CLEAR.search(str(value)) for value in options.values()):
        reason, hint = "its address begins with http://, so everything is sent in clear text", _INSTEAD
    if kind == "sftp" and not _knows_its_host(options):
        reason, hint = "rclone would take any computer that answers for the right one", _KNOWN_HOSTS
    if reason:
        raise UsageError(f'no backup goes to the remote "{printable(name)}": {reason}', hint=hint)


def _knows_its_host(options: Mapping[str, str]) -> bool:
    """Whether rclone is told which keys a computer that answers may have: https://rclone.org/sftp/#host-key-validation.

    Its option ``ssh`` would leave that to ssh, and is no answer: rclone before 1.64 does not know it, and says nothing.
    """
    told = (options.get(part, "") for part in ("options", "more"))
    return bool(options.get("known_hosts_file")) or any(map(_HOST_OPTION.search, told))


def _inner(kind: str, options: Mapping[str, str]) -> Iterable[str]:
    """Where a remote that wraps others leads."""
    if kind in _WRAPPERS:
        return [options.get("remote", "")]
    if kind not in _SEVERAL:
        return []
    named = re.findall(r'"[^"]*"|\S+', options.get("upstreams", ""))
    plain = [one.strip('"') for one in named]
    if kind == "combine":
        plain = [one.partition("=")[2] for one in plain]
    return [re.sub(r":(ro|nc|writeback)$", "", one) for one in plain]
