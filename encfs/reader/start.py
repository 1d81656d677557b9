"""How the reader starts: finds the packages that do the cryptography, or says exactly what is missing.

Owns: the search for them (installed; else as wheels beside the reader), unpacking wheels for the time of a run. Must
not know: commands.

Nothing is installed and nothing stays: wheels are unpacked into a private temporary directory, and a second process of
the same Python does the work, because Windows does not let go of a library before the process that loaded it has ended.
"""

from __future__ import annotations

import os
import pkgutil
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from types import FrameType
from typing import Final, NoReturn

from encfs.errors import ExitCode
from encfs.reader import screen, wheels

FOLDER: Final = "cloakfs-reader-wheels"
_UNPACKED: Final = "CLOAKFS_READER_UNPACKED"
_PINS: Final = "wheels.txt"  # tools/build-reader puts it into the archive


def main() -> int:
    """Run the command line of this process. Returns: its exit status."""
    unpacked = os.environ.pop(_UNPACKED, "")
    if unpacked:
        sys.path.insert(0, unpacked)
    problem = _problem()
    if problem is None:
        from encfs.reader.main import main as run  # noqa: PLC0415 - it loads only with the packages

        return run(sys.argv[1:])
    if unpacked:
        screen.remark(f"cloakfs-reader: the wheels beside the reader do not load: {problem}")
        return ExitCode.FAILURE
    return _with_wheels(problem)


def _problem() -> str | None:
    """Why the cryptography does not load; None if it does."""
    try:
        from encfs.crypto import suite  # noqa: F401, PLC0415 - asked for, not used
    except ImportError as exc:
        return str(exc)
    return None


def _with_wheels(problem: str) -> int:
    reader = os.path.abspath(sys.argv[0])
    beside = os.path.dirname(reader)
    pins = wheels.read_pins((pkgutil.get_data("encfs.reader", _PINS) or b"").decode())
    host = wheels.this_host()
    found = wheels.find([os.path.join(beside, FOLDER), beside], pins, host)
    if found.missing:
        _explain(problem, found, pins, host)
        return ExitCode.FAILURE
    signal.signal(signal.SIGTERM, _end)
    folder = tempfile.mkdtemp(prefix="cloakfs-reader-")
    try:
        for path in found.wheels.values():
            with zipfile.ZipFile(path) as archive:
                archive.extractall(folder)
        return _run_again(reader, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run_again(reader: str, folder: str) -> int:
    isolated = ["-I"] if sys.flags.isolated else []
    environment = {**os.environ, _UNPACKED: folder}
    with subprocess.Popen([sys.executable, *isolated, reader, *sys.argv[1:]], env=environment) as child:
        try:
            while True:
                try:
                    status = child.wait()
                except KeyboardInterrupt:
                    continue  # The child got it as well, and ends in its own way.
                return status if status >= 0 else 128 - status
        finally:
            if child.poll() is None:
                child.terminate()


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """SIGTERM: the child ends too, and what was unpacked goes."""
    del frame
    raise SystemExit(128 + number)


def _explain(problem: str, found: wheels.Found, pins: Mapping[str, wheels.Pins], host: wheels.Host) -> None:
    exact = " ".join(f"{name}=={pins[name].version}" for name in wheels.REQUIRED)
    needs = " ".join(f'"{name}>={pins[name].version.partition(".")[0]}"' for name in ("cryptography", "argon2-cffi"))
    tags = " ".join(f"--platform {tag}" for tag in host.download_tags)
    download = f"python3 -m pip download --no-deps --only-binary=:all: --dest {FOLDER}"
    lines = [
        f"cloakfs-reader: the packages cryptography and argon2-cffi are needed, and do not load here: {problem}",
        f"  It found no wheels for {host.text} of: {', '.join(found.missing)}",
        *(f"  Refused, because it is not the file that this reader was built for: {path}" for path in found.refused),
        *_unknown(host),
        "  Any of these helps, and none needs an administrator:",
        *_install(needs, host),
        f"  2. On a machine with internet, then copy the folder to where {os.path.basename(sys.argv[0])} lies:",
        f"     {download} {tags} --python-version 3.{host.minor} {exact}",
        "  3. tools/build-reader --wheels  (in the source of cloakfs) makes that folder for all systems.",
    ]
    screen.remark("\n".join(lines))


def _unknown(host: wheels.Host) -> list[str]:
    if (host.system, host.machine) in wheels.DOWNLOAD_TAGS:
        return []
    if host.system == "win":
        return ["  There are no such wheels for this Python. Install Python for 64-bit x64 from python.org instead."]
    return ["  As far as is known there are no such wheels for this system. Use another machine if what follows fails."]


def _install(needs: str, host: wheels.Host) -> list[str]:
    if host.system == "win":
        return [f"  1. With internet, here:  py -m pip install --user {needs}"]
    # Most Linux systems and Homebrew refuse to install beside their own packages, so it gets a place of its own.
    return [
        f"  1. With internet, here:  python3 -m venv reader-env && reader-env/bin/pip install {needs}",
        f"     then:                 reader-env/bin/python {os.path.basename(sys.argv[0])} ...",
    ]
