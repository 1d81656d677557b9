"""Each filesystem that can be compared: how it is made and mounted, with its own sensible defaults.

Owns: command lines, and the packages they come from. Must not know: what is measured. Nobody measures the cost of a
key derivation, so each has the cheapest that it offers. What a host remembers of a volume is remembered in its home.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import encfs
from benchmarks.harness.peers import Peer, run, start_in_foreground
from encfs.crypto import rng
from encfs.format.limits import RECOVERY_KEY_SIZE
from encfs.format.recovery_key import encode_recovery_key
from encfs.volume import Volume

_SECRET = b"a passphrase for benchmarks"
_TOP = Path(__file__).resolve().parents[2]

OURS = "cloakfs"
BARE = "bare"
PASSTHROUGH = "passthrough"
ENCRYPTED = ("gocryptfs", "securefs", "cryfs", "encfs")
"""The peers whose best one counts. Each is a program in the Debian package of its name."""


def bare() -> Peer:
    """The directory itself, without encryption."""
    return Peer(BARE, "", "the backing store itself")


def passthrough() -> Peer:
    """What pyfuse3 costs without encryption."""
    command = (sys.executable, "-m", "benchmarks.passthrough")

    def start(home: Path) -> subprocess.Popen[bytes]:
        (home / "lower").mkdir(exist_ok=True)
        return start_in_foreground(home, (*command, str(home / "lower"), str(home / "mnt")), cwd=_TOP)

    return Peer(PASSTHROUGH, encfs.__version__, "benchmarks/passthrough.py", start=start)


def cloakfs(cell_size: int) -> Peer:
    """``cloakfs mount`` of the Python that runs this, with its own defaults, unlocked with a recovery key."""

    def create(home: Path) -> None:
        key = rng.random_bytes(RECOVERY_KEY_SIZE)
        (home / "key").write_text(encode_recovery_key(key) + "\n", encoding="ascii")
        Volume.create(os.fsencode(home / "lower"), secret=_SECRET, recovery_key=key, cell_size=cell_size)

    def start(home: Path) -> None:
        where = (str(home / "lower"), str(home / "mnt"))
        run_cloakfs(home, "mount", *where, "--recovery-file", str(home / "key"), "--log", str(home / "log"))

    def find_pid(home: Path) -> int:
        status = json.loads(run_cloakfs(home, "status", str(home / "lower"), "--json"))
        return int(status["volumes"][0]["mount"]["pid"])

    def stop(home: Path) -> None:
        run_cloakfs(home, "lock", str(home / "mnt"))

    settings = f"cells of {cell_size} bytes, unlocked with a recovery key"
    return Peer(OURS, encfs.__version__, settings, create=create, start=start, find_pid=find_pid, stop=stop)


def run_cloakfs(home: Path, *arguments: str) -> str:
    """What a command prints that belongs to the peer in this home. Raises: PeerError: it failed."""
    return run(OURS, (sys.executable, "-m", "encfs", *arguments), {"CLOAKFS_STATE_DIRECTORY": str(home / "state")})


def gocryptfs() -> Peer:
    """AES-GCM in blocks of 4 KiB."""

    def create(home: Path) -> None:
        (home / "lower").mkdir()
        (home / "passphrase").write_bytes(_SECRET)
        key = ("-passfile", str(home / "passphrase"), "--", str(home / "lower"))
        run("gocryptfs", ("gocryptfs", "-q", "-init", "-scryptn", "10", *key))

    def start(home: Path) -> subprocess.Popen[bytes]:
        key = ("-passfile", str(home / "passphrase"), "--", str(home / "lower"))
        return start_in_foreground(home, ("gocryptfs", "-q", "-fg", *key, str(home / "mnt")))

    return Peer("gocryptfs", packaged("gocryptfs"), "-scryptn 10", create=create, start=start)


def securefs() -> Peer:
    """The format that ``securefs create`` chooses: 4, which is "lite": a file is a file below."""

    def create(home: Path) -> None:
        (home / "lower").mkdir()
        (home / "key").write_bytes(_SECRET)
        cheap = ("--pbkdf", "pkcs5-pbkdf2-hmac-sha256", "--rounds", "1", "--keyfile", str(home / "key"))
        run("securefs", ("securefs", "create", *cheap, str(home / "lower")))

    def start(home: Path) -> subprocess.Popen[bytes]:
        where = (str(home / "lower"), str(home / "mnt"))
        return start_in_foreground(home, ("securefs", "mount", "--keyfile", str(home / "key"), *where))

    settings = "format 4 (lite), the default; --pbkdf pkcs5-pbkdf2-hmac-sha256 --rounds 1"
    return Peer("securefs", packaged("securefs"), settings, create=create, start=start)


def cryfs() -> Peer:
    """Everything in blocks of 16 KiB, whose key takes some seconds to derive, which cannot be changed."""

    def start(home: Path) -> subprocess.Popen[bytes]:
        (home / "lower").mkdir(exist_ok=True)
        told = {
            "CRYFS_FRONTEND": "noninteractive",
            "CRYFS_NO_UPDATE_CHECK": "true",
            "CRYFS_LOCAL_STATE_DIR": str(home / "state"),
        }
        command = ("cryfs", "-f", str(home / "lower"), str(home / "mnt"))
        return start_in_foreground(home, command, secret=_SECRET, environment=told)

    return Peer(
        "cryfs",
        packaged("cryfs"),
        "blocks of 16 KiB, the default; no cheap key derivation",
        start=start,
        cheap_kdf=False,
    )


def encfs_1_9() -> Peer:
    """EncFS in its standard mode, which authenticates nothing and spends half a second on the key."""

    def start(home: Path) -> subprocess.Popen[bytes]:
        (home / "lower").mkdir(exist_ok=True)
        command = ("encfs", "-f", "--stdinpass", "--standard", str(home / "lower"), str(home / "mnt"))
        return start_in_foreground(home, command, secret=_SECRET)

    return Peer("encfs", packaged("encfs"), "--standard; no cheap key derivation", start=start, cheap_kdf=False)


def packaged(package: str) -> str:
    """The version of a Debian package."""
    command = ("dpkg-query", "-W", "-f", "${Version}", package)
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() or "not from a package"


MAKERS: dict[str, Callable[[], Peer]] = {
    BARE: bare,
    PASSTHROUGH: passthrough,
    "gocryptfs": gocryptfs,
    "securefs": securefs,
    "cryfs": cryfs,
    "encfs": encfs_1_9,
}
"""Everything that cloakfs can be compared with."""
