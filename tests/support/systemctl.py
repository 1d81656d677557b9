"""``systemctl`` on a scratch machine, which has no systemd: it runs what the units say, for real.

Owns: starting and stopping services in the order of their dependencies, and who is stopped with whom. It knows which
processes belong to a service by a word in their environment, as systemd does by their cgroup. Each call first looks at
what has died since.

``halt`` stops everything in good order, ``default`` starts what is enabled: the scratch machine's shutdown and boot.
``elapse`` does what every timer that is on would do by the next day.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from tests.support import units
from tests.support.mounting import is_gone, wait_for
from tests.support.units import Unit, UnitError

_SECONDS: Final = 60
_STATE: Final = Path("/run/scratch-units.json")
_JOURNAL: Final = Path("/run/scratch-journal")
_VARIABLE: Final = re.compile(r"\$(?:\$|\{(\w+)\}|(\w+))")


class JobError(Exception):
    """A job failed: what systemctl says then."""


class Manager:
    """What is running, kept in a file between calls."""

    def __init__(self) -> None:
        self.active: dict[str, dict[str, Any]] = json.loads(_STATE.read_text()) if _STATE.exists() else {}
        _JOURNAL.mkdir(exist_ok=True)

    def save(self) -> None:
        _STATE.write_text(json.dumps(self.active))

    def processes(self, name: str) -> list[int]:
        """Who belongs to a service."""
        mark = f"INVOCATION_ID={self.active[name]['id']}".encode()
        found = []
        for number in filter(str.isdigit, os.listdir("/proc")):
            try:
                environment = Path(f"/proc/{number}/environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if mark in environment and not is_gone(int(number)):
                found.append(int(number))
        return found

    def look(self) -> None:
        """Notice services whose processes have died, and stop what is bound to them."""
        for name in list(self.active):
            if name in self.active and not self.active[name]["stays"] and not self.processes(name):
                self._after_stop(units.load(name), "exit-code")
                self._stop_with(name, "BindsTo", "Requires")

    def start(self, name: str) -> None:
        name = units.full_name(name)
        if name in self.active:
            return
        unit = units.load(name)
        for need in unit.words("Requires", "BindsTo", "Wants"):
            if units.exists(need) and need.endswith(".service"):
                try:
                    self.start(need)
                except (JobError, UnitError):
                    if need not in unit.words("Wants"):
                        raise JobError(
                            f"A dependency job for {name} failed. See 'journalctl -xe' for details."
                        ) from None
        if not all(Path(path).exists() for path in unit.words("ConditionPathExists")):
            return
        stays = name.endswith(".timer") or unit.one("RemainAfterExit") in {"yes", "true"}
        self.active[name] = {"id": uuid.uuid4().hex, "main": 0, "stays": stays}
        if name.endswith(".timer"):
            units.load(name.replace(".timer", ".service"))  # A timer of nothing is an error.
            return
        try:
            self._run_start(unit)
        except JobError:
            self._kill(name)
            self._after_stop(unit, "exit-code")
            raise
        if unit.one("Type") == "oneshot" and not self.active[name]["stays"]:
            self.active.pop(name)

    def _run_start(self, unit: Unit) -> None:
        if credentials := unit.words("LoadCredential"):
            unit.credentials.mkdir(parents=True, mode=0o700)
            for credential in credentials:
                key, _, path = credential.partition(":")
                try:
                    (unit.credentials / key).write_bytes(Path(path).read_bytes())
                except OSError as exc:
                    raise self._failed(unit, f"credential {path}: {exc.strerror}") from None
        for directory in unit.words("RuntimeDirectory"):
            Path("/run", directory).mkdir(
                parents=True, exist_ok=True, mode=int(unit.one("RuntimeDirectoryMode", "755"), 8)
            )
        for line in unit.all("ExecCondition"):
            if self._execute(unit, line):
                raise self._failed(unit, "its condition is not met")
        for line in unit.all("ExecStartPre"):
            self._must(unit, line)
        if unit.one("Type", "simple") in {"oneshot", "forking"}:
            for line in unit.all("ExecStart"):
                self._must(unit, line)
            left = self.processes(unit.name)
            if unit.one("Type") == "forking" and not left:
                raise self._failed(unit, "it left no process")
            self.active[unit.name]["main"] = (left or [0])[0]
        else:
            self._run_in_background(unit)
        for line in unit.all("ExecStartPost"):
            self._must(unit, line)

    def _run_in_background(self, unit: Unit) -> None:
        notify = unit.one("Type") == "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            more = {}
            if notify:
                more["NOTIFY_SOCKET"] = f"\0{uuid.uuid4().hex}"
                listener.bind(more["NOTIFY_SOCKET"])
                more["NOTIFY_SOCKET"] = "@" + more["NOTIFY_SOCKET"][1:]
            process = self._spawn(unit, unit.one("ExecStart"), more)
            self.active[unit.name]["main"] = process.pid
            listener.settimeout(0.2)
            deadline = time.monotonic() + _SECONDS
            while notify:
                if time.monotonic() > deadline:
                    raise self._failed(unit, "it does not get ready")
                try:
                    if b"READY=1" in listener.recv(65536):
                        return
                except TimeoutError:
                    if process.poll() is not None:
                        raise self._failed(unit, f"it ended with {process.returncode}") from None

    def elapse(self) -> None:
        """The time of each timer comes. That a service fails is told by its journal, and to nobody else."""
        for timer in [name for name in self.active if name.endswith(".timer")]:
            with suppress(JobError):
                self.start(timer.replace(".timer", ".service"))

    def stop(self, name: str, result: str = "success") -> None:
        name = units.full_name(name)
        unit = units.load(name)
        if name not in self.active:
            return
        self._stop_with(name, "BindsTo", "Requires", "PartOf")
        for line in unit.all("ExecStop"):
            if self._execute(unit, line):
                result = "exit-code"
        if self._kill(name):
            result = "signal" if unit.all("ExecStop") else result
        self._after_stop(unit, result)

    def _stop_with(self, name: str, *bonds: str) -> None:
        for other in list(self.active):
            if name in units.load(other).words(*bonds):
                self.stop(other)

    def _kill(self, name: str) -> bool:
        """SIGTERM for whoever is left; whether there was anybody."""
        left = self.processes(name)
        for number in left:
            try:
                os.kill(number, signal.SIGTERM)
            except ProcessLookupError:
                continue
        wait_for(lambda: not self.processes(name), f"{name} ends")
        return bool(left)

    def _after_stop(self, unit: Unit, result: str) -> None:
        for line in unit.all("ExecStopPost"):
            self._execute(unit, line, SERVICE_RESULT=result)
        for directory in (unit.credentials, *(Path("/run", name) for name in unit.words("RuntimeDirectory"))):
            shutil.rmtree(directory, ignore_errors=True)
        self.active.pop(unit.name, None)

    def reload(self, name: str) -> None:
        unit = units.load(name)
        if unit.name not in self.active:
            raise JobError(f"{unit.name} is not active, cannot reload.")
        for line in unit.all("ExecReload"):
            self._must(unit, line)

    def _environment(self, unit: Unit, more: dict[str, str]) -> dict[str, str]:
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        assignments = [word for value in unit.all("Environment") for word in shlex.split(value)]
        for value in unit.all("EnvironmentFile"):
            file = Path(value.removeprefix("-"))
            if file.exists() or not value.startswith("-"):
                assignments += [
                    word for line in file.read_text().splitlines() for word in shlex.split(line, comments=True)
                ]
        environment |= dict(word.partition("=")[::2] for word in assignments)
        started = self.active[unit.name]
        environment |= {"INVOCATION_ID": started["id"], "MAINPID": str(started["main"])}
        if unit.credentials.exists():
            environment["CREDENTIALS_DIRECTORY"] = str(unit.credentials)
        return environment | more

    def _spawn(self, unit: Unit, line: str, more: dict[str, str]) -> subprocess.Popen[bytes]:
        environment = self._environment(unit, more)
        command = []
        for word in shlex.split(line.lstrip("-+!:")):
            alone = re.fullmatch(r"\$(\w+)", word)
            command += environment.get(alone[1], "").split() if alone else [_expand(word, environment)]
        user = unit.one("User")
        who: dict[str, Any] = {"user": user, "group": unit.one("Group") or None, "extra_groups": []} if user else {}
        with (_JOURNAL / unit.name).open("ab") as journal:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=journal,
                stderr=journal,
                env=environment,
                cwd="/",
                start_new_session=True,
                **who,
            )

    def _execute(self, unit: Unit, line: str, **more: str) -> int:
        status = self._spawn(unit, line, more).wait(_SECONDS)
        return 0 if line.startswith("-") else status

    def _must(self, unit: Unit, line: str) -> None:
        if status := self._execute(unit, line):
            raise self._failed(unit, f"{line.split(maxsplit=1)[0]} ended with {status}")

    def _failed(self, unit: Unit, why: str) -> JobError:
        said = (_JOURNAL / unit.name).read_text(errors="replace") if (_JOURNAL / unit.name).exists() else ""
        return JobError(f"Job for {unit.name} failed: {why}.\n{said}".rstrip())


def _expand(word: str, environment: dict[str, str]) -> str:
    return _VARIABLE.sub(lambda found: environment.get(found[1] or found[2], "") if found[1] or found[2] else "$", word)


def _links(unit: Unit) -> list[Path]:
    wanted = [(target, "wants") for target in unit.words("WantedBy")] + [
        (t, "requires") for t in unit.words("RequiredBy")
    ]
    return [Path("/etc/systemd/system", f"{target}.{kind}", unit.name) for target, kind in wanted]


def _enable(unit: Unit) -> None:
    for link in _links(unit):
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(unit.path)
            print(f"Created symlink {link} → {unit.path}.")


def _disable(unit: Unit) -> None:
    for link in _links(unit):
        if link.is_symlink():
            link.unlink()
            print(f"Removed {link}.")


def _status(manager: Manager, name: str) -> int:
    unit = units.load(name)
    up = unit.name in manager.active
    print(f"{'●' if up else '○'} {unit.name} - {unit.one('Description')}")
    print(f"     Loaded: loaded ({unit.path}; {'enabled' if all(map(Path.is_symlink, _links(unit))) else 'disabled'})")
    print(f"     Active: {'active (running)' if up else 'inactive (dead)'}")
    return 0 if up else 3


def _is_active(manager: Manager, name: str) -> int:
    up = units.load(name).name in manager.active
    print("active" if up else "inactive")
    return 0 if up else 3


def _restart(manager: Manager, name: str) -> None:
    others = [
        other
        for other in manager.active
        if units.load(name).name in units.load(other).words("BindsTo", "Requires", "PartOf")
    ]
    manager.stop(name)
    for unit in (name, *others):
        manager.start(unit)


def _boot(manager: Manager) -> None:
    for name in sorted(
        os.path.basename(path) for path in Path("/etc/systemd/system/multi-user.target.wants").glob("*.service")
    ):
        # Of the rest only file sharing matters here; nmbd waits for a network that this machine does not have.
        if "cloakfs" in name or name == "smbd.service":
            manager.start(name)


def _act(manager: Manager, verb: str, names: list[str], *, now: bool) -> int:
    jobs: dict[str, Callable[[str], object]] = {
        "start": manager.start,
        "stop": manager.stop,
        "restart": lambda name: _restart(manager, name),
        "reload": manager.reload,
        "enable": lambda name: (_enable(units.load(name)), manager.start(name) if now else None),
        "disable": lambda name: (_disable(units.load(name)), manager.stop(name) if now else None),
    }
    if verb == "daemon-reload":
        return 0
    if verb == "halt":
        for name in list(manager.active):
            manager.stop(name)
        return 0
    if verb == "elapse":
        manager.elapse()
        return 0
    if verb == "default":
        _boot(manager)
        return 0
    if verb in {"status", "is-active"}:
        return max((_status if verb == "status" else _is_active)(manager, name) for name in names)
    if verb not in jobs:
        raise JobError(f"The scratch machine's systemctl does not know {verb!r} (tests/support/systemctl.py).")
    with _passwords_are_asked():
        for name in names:
            jobs[verb](name)
    return 0


@contextmanager
def _passwords_are_asked() -> Iterator[None]:
    """On a terminal systemctl asks for what units ask with systemd-ask-password, as long as their jobs run."""
    agent = shutil.which("systemd-tty-ask-password-agent")
    if not agent or not sys.stdin.isatty():
        yield
        return
    with subprocess.Popen([agent, "--watch"]) as process:
        try:
            yield
        finally:
            process.terminate()


def main(arguments: list[str]) -> int:
    """The exit status of ``systemctl``."""
    words = [word for word in arguments if not word.startswith("-")]
    if unknown := set(arguments) - set(words) - {"--now", "--no-pager", "--quiet", "-q"}:
        print(f"The scratch machine's systemctl does not know {sorted(unknown)}.", file=sys.stderr)
        return 1
    manager = Manager()
    try:
        manager.look()
        return _act(manager, words[0], words[1:], now="--now" in arguments)
    except (JobError, UnitError) as exc:
        print(exc, file=sys.stderr)
        return 5 if isinstance(exc, UnitError) else 1
    finally:
        manager.save()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
