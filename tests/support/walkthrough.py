"""Follows a page word by word on a scratch machine, and tells what was different.

Owns: two shells, one of the user and one of root, each on a terminal; what is typed at a prompt. How a page is read:
``pages.py``; where it happens: ``scratch_machine.py``.

    python -m tests.support.walkthrough docs/share.md      prints the page as it really went
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.support import pages, paper, scratch_machine
from tests.support.pages import Command, Page
from tests.support.pty_session import PtySession

SECONDS: Final = 300.0
_MARK: Final = "\x02"
# Commands arrive on a descriptor, so that the terminal shows nothing but what they say, and is theirs to read from.
_LOOP: Final = r"""
again() { return "$1"; }
status=0
while IFS= read -r -d '' command <&"$1"; do
    again "$status"
    eval "$command"
    status=$?
    printf '\002%d\n' "$status"
done
"""
_PASSPHRASE: Final = "seven grey herons by the lake"
_RECOVERY_KEY: Final = re.compile(r"^Recovery key of .*?((?:\b[0-9A-Z]{5}\b[^A-Z]*){13})", re.MULTILINE | re.DOTALL)
_TRIAL: Final = re.compile(r"^ *trial +([0-9a-f]{16})$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Went:
    """How one step went: what was seen, how it ended, and what is wrong with that, if anything."""

    line: int
    who: str
    text: str
    seen: str
    status: int
    wrong: str = ""


class Shell:
    """One login on a terminal of 100 columns."""

    def __init__(self, who: str) -> None:
        root = who == pages.ROOT
        name = "root" if root else scratch_machine.USER
        home = "/root" if root else f"/home/{name}"
        environment = {
            "HOME": home,
            "USER": name,
            "LOGNAME": name,
            "SHELL": "/bin/bash",
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        }
        if not root:
            environment["XDG_RUNTIME_DIR"] = f"/run/user/{scratch_machine.UID}"
        read, self._write = os.pipe()
        # The environment is this one alone: nothing of a test run reaches what people will do.
        program = ("env", "-i", *(f"{key}={value}" for key, value in environment.items()))
        more: dict[str, Any] = {} if root else {"user": name, "group": name, "extra_groups": []}
        self._session = PtySession(
            *("bash", "-c", _LOOP, "bash", str(read)), program=program, pass_fds=(read,), cwd=home, **more
        )
        os.close(read)

    def run(self, command: Command, secrets: Secrets) -> tuple[str, int]:
        """What the terminal shows until the command has ended, and its status.

        Raises:
            AssertionError: the terminal says nothing any more: it waits for an answer that the page does not have.
        """
        before = len(self._session.text)
        try:
            return self._run(command, secrets)
        except AssertionError:
            raise AssertionError(f"it waits for something. It says:\n{self._session.text[before:]}") from None

    def _run(self, command: Command, secrets: Secrets) -> tuple[str, int]:
        os.write(self._write, secrets.filled(command.text).encode() + b"\0")
        shown = ""
        for prompt, answer in command.answers:
            found, text = self._session.expect_one_of(prompt, _MARK)
            shown += text.removesuffix(_MARK)
            if found == _MARK:
                return shown, int(self._session.expect("\n"))
            secrets.notice(shown)
            self._session.send(secrets.typed(answer) + "\n")
        shown += self._session.expect(_MARK).removesuffix(_MARK)
        secrets.notice(shown.replace("\r", ""))
        return shown, int(self._session.expect("\n"))

    def close(self) -> None:
        """Log out."""
        os.close(self._write)
        self._session.__exit__(None, None, None)


@dataclass
class Secrets:
    """What the ‹ › of a page stand for."""

    recovery_key: str = ""
    backup_key: str = ""
    trial: str = ""

    def filled(self, command: str) -> str:
        """A command with the number in it that the last trial of a backup was told by."""
        return command.replace("‹the trial›", self.trial or "nothing was tried so far")

    def typed(self, answer: str) -> str:
        """What is typed for the words between ‹ ›."""
        if answer == "your passphrase":
            return _PASSPHRASE
        if answer == "the recovery key":
            assert self.recovery_key, "no recovery key was shown so far"
            return self.recovery_key
        if answer == "the backup key":
            assert self.backup_key, "no sheet was printed so far"
            return self.backup_key
        if answer.startswith("the password of "):
            return f"{answer.rpartition(' ')[2]} opens 7 windows"
        return "" if answer == "enter" else answer

    def print(self, sheet: Path) -> None:
        """It is on paper now: what stands in its code is what somebody will type."""
        (code,) = set(paper.codes_on(sheet.read_bytes()))
        self.backup_key = code

    def notice(self, seen: str) -> None:
        """Remember the last recovery key that was shown, and the last trial."""
        if trials := _TRIAL.findall(seen):
            self.trial = trials[-1]
        if found := _RECOVERY_KEY.findall(seen):
            self.recovery_key = "-".join(re.findall(r"\b[0-9A-Z]{5}\b", found[-1]))


@dataclass
class Walk:
    """A page on its way."""

    machine: scratch_machine.Machine
    secrets: Secrets = field(default_factory=Secrets)
    shells: dict[str, Shell] = field(default_factory=dict)

    def follow(self, page: Page) -> Iterator[Went]:
        """Do the steps in their order; the first that is wrong is the last."""
        # A command may fail where the page shows its status right after it.
        shown = [isinstance(step, Command) and step.text == "echo $?" for step in page.steps[1:]] + [False]
        for step, may_fail in zip(page.steps, shown, strict=True):
            if isinstance(step, Command):
                went = self._command(step, may_fail=may_fail)
            else:
                self._hands(step.action)
                went = Went(step.line, "", step.action, "", 0)
            yield went
            if went.wrong:
                return

    def _hands(self, action: str) -> None:
        if action.startswith("print "):
            self.secrets.print(Path(action.removeprefix("print ")))
        elif self.machine.do(action):
            self._log_out()

    def _command(self, step: Command, *, may_fail: bool) -> Went:
        if step.who not in self.shells:
            self.shells[step.who] = Shell(step.who)
        try:
            seen, status = self.shells[step.who].run(step, self.secrets)
        except AssertionError as exc:
            return Went(step.line, step.who, step.text, "", -1, str(exc))
        wrong = ""
        if status and not may_fail:
            wrong = f"it ends with {status}"
        elif step.output and not pages.says(step.output, seen):
            wrong = "it does not say what the page shows:\n" + "\n".join(step.output)
        return Went(step.line, step.who, step.text, pages.tidy(seen), status, wrong)

    def _log_out(self) -> None:
        for shell in self.shells.values():
            shell.close()
        self.shells.clear()

    def put_away(self) -> str:
        """Stop what runs, lock what is mounted; what does not work, or nothing."""
        self._log_out()
        subprocess.run(["systemctl", "halt"], check=True, capture_output=True)
        for line in Path("/proc/self/mounts").read_text().splitlines():
            fields = line.split(" ")
            if fields[2] == "fuse.cloakfs":
                owner = int(dict(option.partition("=")[::2] for option in fields[3].split(","))["user_id"])
                place = {"XDG_RUNTIME_DIR": f"/run/user/{owner}"} if owner else {}
                command = ["cloakfs", "lock", fields[1]]
                more: dict[str, Any] = {"user": owner, "extra_groups": [], "env": os.environ | place}
                done = subprocess.run(command, capture_output=True, text=True, check=False, **more)
                if done.returncode:
                    return f"{fields[1]} cannot be locked at the end: {done.stderr}"
        return ""


def walk(page: Path, base: Path) -> list[Went]:
    """Follow a page on a new scratch machine, whose changes go to ``base``."""
    told = base / "told"
    status, said = scratch_machine.enter(
        base, told, "tests.support.walkthrough", "--inside", str(page), timeout=SECONDS
    )
    steps = [Went(**json.loads(line)) for line in told.read_text().splitlines()]
    if status:
        steps.append(Went(0, "", "", "", 0, f"after that the scratch machine ended with {status}: {said}"))
    return steps


def _inside(page: Path) -> None:
    walking = Walk(scratch_machine.furnish())
    for went in walking.follow(pages.read(page.read_text())):
        _tell(went)
    if wrong := walking.put_away():
        _tell(Went(0, "", "", "", 0, wrong))


def _tell(went: Went) -> None:
    print(json.dumps({name: getattr(went, name) for name in Went.__slots__}), flush=True)


def transcript(steps: list[Went]) -> str:
    """The page as it went, for whoever writes one."""
    told = []
    for step in steps:
        told += [f"{step.who or '(hands)'} {step.text}", *([step.seen] if step.seen else [])]
        if step.wrong:
            told.append(f"!!! line {step.line}: {step.wrong}")
    return "\n".join(told)


if __name__ == "__main__":
    if sys.argv[1] == "--inside":
        _inside(Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory(prefix="walkthrough-") as scratch:
            print(transcript(walk(Path(sys.argv[1]).resolve(), Path(scratch))))
