"""A scratch copy of this machine: what is done in it as root changes nothing outside, and ends with it.

Owns: the namespaces, what lies where in them, its user, sticks, and what is started again after a power cut. Whoever is
in it sees this machine's programs; ``/etc``, ``/var``, ``/srv`` and where people keep their files are overlays whose
changes go to a directory; ``/run`` and ``/dev`` are fresh; the network is a loopback of its own: every port is free.

``enter`` starts a program as the only inhabitant. When it ends, all processes and mounts go.
"""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support import blockdev, mounting

TOP: Final = Path(__file__).resolve().parents[2]
USER: Final = "anna"
UID: Final = 1000
_OVERLAYS: Final = ("etc", "var", "srv", "home", "root", "media", "mnt", "opt", "usr/local")
_NODES: Final = ("null", "zero", "full", "random", "urandom", "tty", "fuse", "loop-control")
_A_WHILE: Final = 5.0  # Seconds.
_STICK: Final = Path("/dev/sdb1")
_STICK_SIZE: Final = 192 << 20
_SHIMS: Final = {"systemctl": "systemctl", "apt": "package_shim", "apt-get": "package_shim"}


def available() -> bool:
    """Whether a scratch machine can be made here: it takes root, and a kernel with overlays."""
    return os.geteuid() == 0 and "overlay" in Path("/proc/filesystems").read_text() and Path("/dev/fuse").exists()


def enter(base: Path, told: Path, *module: str, timeout: float) -> tuple[int, str]:
    """Run ``python -m MODULE ...`` in a new machine whose changes go to ``base``, its standard output to ``told``.

    Returns:
        Its exit status, and what it said on standard error. When it takes too long, all of it is killed.
    """
    # bash is the first process: it takes the exit status of every orphan, as an init does.
    inside = shlex.join([sys.executable, "-m", *module])
    command = ["unshare", "--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc"]
    command += ["--propagation", "private", "bash", "-c", f"{inside}; exit $?"]
    environment = {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(TOP),
        "PYTHONDONTWRITEBYTECODE": "1",
        "SCRATCH_MACHINE": str(base),
    }
    base.mkdir(exist_ok=True)
    with told.open("wb") as stdout:
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False,
                timeout=timeout, env=environment, cwd=TOP,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return 124, f"it took longer than {timeout:.0f} seconds"
    return done.returncode, done.stderr


def furnish() -> Machine:
    """Lay the machine out, from inside, as its first act."""
    base = Path(os.environ["SCRATCH_MACHINE"])
    # Those of other tests: only the view of them goes. A disk of theirs would stay in use by us when it is taken out.
    _drop_mounts(r"fuse(\.|blk|\s)")
    _drop_mounts(r"\S+ /dev/loop")
    for name in _OVERLAYS:
        if Path("/", name).is_dir():
            (base / "new" / name).mkdir(parents=True)
            _run("mount", "--bind", f"/{name}", str(base / "new" / name))
    _make_devices(base / "dev")
    _run("ip", "link", "set", "lo", "up")
    _lay_out(base, "practice")
    return Machine(base)


def _lay_out(base: Path, hostname: str) -> None:
    """Everything that is kept, as on a new machine with this name."""
    for name in _OVERLAYS:
        lower = base / "new" / name
        if lower.is_dir():
            upper, work = base / hostname / "changes" / name, base / hostname / "work" / name
            upper.mkdir(parents=True)
            work.mkdir(parents=True)
            options = f"lowerdir={lower},upperdir={upper},workdir={work}"
            _run("mount", "-t", "overlay", "scratch", "-o", options, f"/{name}")
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "run", "/run")
    for directory in ("lock", "samba", "user"):
        Path("/run", directory).mkdir()
    _run("hostname", hostname)
    _make_user()
    _install()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def _drop_mounts(what: str) -> None:
    """``what``: how filesystem and source of a mount begin in mountinfo; a regular expression."""
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        if re.match(what, line.partition(" - ")[2]):
            _run("umount", "-l", line.split(" ")[4].encode().decode("unicode_escape"))


def _processes() -> list[int]:
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())


def _kill(number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(number, signal.SIGKILL)
    mounting.wait_for(lambda: mounting.is_gone(number), "a process dies")


def _make_devices(scratch: Path) -> None:
    """/dev with what programs need, and loop devices: a stick gets its node here, and no other machine sees it."""
    scratch.mkdir()
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "dev", str(scratch))
    for node in [*(Path("/dev", name) for name in _NODES), *Path("/dev").glob("loop[0-9]*")]:
        info = node.stat()
        copy = scratch / node.name
        os.mknod(copy, stat.S_IFMT(info.st_mode) | 0o600, info.st_rdev)
        copy.chmod(0o600 if stat.S_ISBLK(info.st_mode) else 0o666)
    for name, target in {
        "fd": "/proc/self/fd",
        "stdin": "fd/0",
        "stdout": "fd/1",
        "stderr": "fd/2",
        "ptmx": "pts/ptmx",
    }.items():
        (scratch / name).symlink_to(target)
    for name in ("pts", "shm"):
        (scratch / name).mkdir()
    _run("mount", "-t", "devpts", "-o", "newinstance,ptmxmode=0666,mode=0620", "devpts", str(scratch / "pts"))
    _run("mount", "-t", "tmpfs", "-o", "mode=1777", "shm", str(scratch / "shm"))
    _run("mount", "--move", str(scratch), "/dev")


def _make_user() -> None:
    """Anna, who has the first number of an ordinary user, as on any new machine."""
    for name in ("passwd", "group", "shadow"):
        file = Path("/etc", name)
        taken = {USER, *(entry.pw_name for entry in pwd.getpwall() if entry.pw_uid == UID)}
        lines = [line for line in file.read_text().splitlines() if line.split(":")[0] not in taken]
        lines.append(
            {"passwd": f"{USER}:x:{UID}:{UID}:Anna:/home/{USER}:/bin/bash", "group": f"{USER}:x:{UID}:"}.get(
                name, f"{USER}:*:::::::"
            )
        )
        file.write_text("\n".join(lines) + "\n")
    home = Path("/home", USER)
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(mode=0o750)
    (home / "cloakfs").symlink_to(TOP)  # A checkout, as whoever reads README.md has one.
    runtime = Path("/run/user", str(UID))
    runtime.mkdir(mode=0o700)
    for directory in (home, runtime):
        os.chown(directory, UID, UID)
    # The interpreter may be below root's home: in the scratch copy everybody may pass through.
    for parent in (*Path(sys.executable).resolve().parents, *TOP.parents):
        if str(parent).startswith(("/root", "/home")):
            parent.chmod(parent.stat().st_mode | 0o055)
    # What root may let others see (allow_other) needs a word in this file of any machine.
    Path("/etc/fuse.conf").write_text("user_allow_other\n")


def _install() -> None:
    """``cloakfs`` as an installed program, and stand-ins for what a container lacks."""
    programs = Path("/usr/local/bin")
    for name in ("cloakfs", "mount.fuse.cloakfs"):
        found = Path(sys.executable).with_name(name)
        if found.exists():
            (programs / name).unlink(missing_ok=True)
            (programs / name).symlink_to(found)
    for name, module in _SHIMS.items():
        shim = programs / name
        shim.unlink(missing_ok=True)
        shim.write_text(
            f"#!/bin/sh\nPYTHONPATH={shlex.quote(str(TOP))} "
            f'exec {shlex.quote(sys.executable)} -m tests.support.{module} "$@"\n'
        )
        shim.chmod(0o755)


@dataclass
class Machine:
    """What hands can do to the machine."""

    base: Path
    _stick: Path | None = None
    _place: Path | None = None
    _kind: str = ""
    _device: str = ""
    _fd: int = -1

    def do(self, action: str) -> bool:
        """Do what a page says that hands do; whether shells have to be started anew.

        Raises:
            AssertionError: no such action.
        """
        match action.split():
            case ["plug", "in", "unformatted"]:
                self._make_stick(self.base / "stick.image", "")
            case ["plug", "in", directory, kind]:
                self._make_stick(self.base / "stick.image", kind.lower())
                self._mount_stick(Path(directory))
            case ["plug", "in", name, "at", directory, kind]:
                # One of several: it is new when it is first plugged in, and has what is on it ever after.
                self._plug_in(self._drawer() / f"{name}.image", kind.lower())
                self._mount_stick(Path(directory))
            case ["pull", "out"]:
                self.pull_out()
            case ["put", "back"]:
                assert self._place is not None, "no stick was pulled out"
                self._attach()
                self._mount_stick(self._place)
            case ["power", "cut"]:
                self.power_cut()
                return True
            case ["a", "while", "passes"]:
                # A record of an incident believes no time to less than two seconds.
                until = time.time() + _A_WHILE
                mounting.wait_for(lambda: time.time() > until, "time passes")
            case ["a", "night", "passes"]:
                _run("systemctl", "elapse")
            case ["another", "machine", *files]:
                self.go_to_another(files)
                return True
            case ["restart"]:
                _run("systemctl", "halt")
                self.power_cut()
                _run("systemctl", "default")
                return True
            case _:
                raise AssertionError(f"hands cannot {action!r}")
        return False

    def _drawer(self) -> Path:
        """Where the sticks are that have names: in memory, so that none of them lies on the disk of the machine."""
        drawer = self.base / "drawer"
        if not drawer.exists():
            drawer.mkdir()
            _run("mount", "-t", "tmpfs", "drawer", str(drawer))
        return drawer

    def _plug_in(self, image: Path, kind: str) -> None:
        if not image.exists():
            self._make_stick(image, kind)
            return
        blockdev.await_detached(image)
        self._stick, self._kind = image, kind
        self._attach()

    def _make_stick(self, image: Path, kind: str) -> None:
        self._kind, self._stick = kind, image
        with image.open("wb") as file:
            file.truncate(_STICK_SIZE)
        if kind:
            options = {"ext4": ["-q", "-F", "-E", f"root_owner={UID}:{UID}"]}.get(kind, [])
            _run(f"mkfs.{kind}", *options, str(self._stick))
        self._attach()

    def _attach(self) -> None:
        assert self._stick is not None
        self._device, fd = blockdev.attach(self._stick)
        # The kernel lets go of the device with its last user. This one cannot write, and so is in nobody's way.
        self._fd = os.open(self._device, os.O_RDONLY | os.O_CLOEXEC)
        os.close(fd)
        _STICK.unlink(missing_ok=True)
        os.mknod(_STICK, stat.S_IFBLK | 0o660, os.stat(self._device).st_rdev)

    def _mount_stick(self, directory: Path) -> None:
        self._place = directory
        directory.mkdir(parents=True, exist_ok=True)
        if self._kind == "exfat":
            _run("mount.exfat-fuse", "-o", f"uid={UID},gid={UID},allow_other,nonempty", self._device, str(directory))
        else:
            _run("mount", "-t", self._kind, self._device, str(directory))
        mounting.wait_for(lambda: mounting.is_mounted(directory), "the stick is mounted")

    def pull_out(self) -> None:
        """The stick goes while it is in use. A program that serves its filesystem dies: requests fail at once."""
        assert self._place is not None, "no stick is plugged in"
        for number in _processes():
            if Path(f"/proc/{number}/cmdline").read_bytes().startswith(b"mount.exfat-fuse\0"):
                _kill(number)
        subprocess.run(["umount", "-l", str(self._place)], check=False, capture_output=True)
        os.close(self._fd)
        _STICK.unlink(missing_ok=True)

    def go_to_another(self, files: list[str]) -> None:
        """Sit down at a machine on which nothing was done yet, with these files in the user's home directory."""
        carried = {Path(file).name: Path(file).read_bytes() for file in files}
        self.power_cut()
        _lay_out(self.base, f"elsewhere{len(list(self.base.glob('elsewhere*')))}")
        for name, content in carried.items():
            copy = Path("/home", USER, name)
            copy.write_bytes(content)
            os.chown(copy, UID, UID)

    def power_cut(self) -> None:
        """All processes die at once but the first one and who asks for it; mounts of programs go."""
        for number in _processes():
            if number not in {1, os.getpid()}:
                _kill(number)
        _drop_mounts(r"fuse\.cloakfs\s")
