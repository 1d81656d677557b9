"""Completion in real shells: a command, an option, what is mounted, a slot; quick, and without any passphrase."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import Made, run
from tests.support.mounting import MountedVolume
from tests.support.pty_session import PtySession

SCRIPTS = Path(__file__).resolve().parents[2] / "docs/completion"
NEVER = "no-such-directory"


def words(line: str, shell: str = "bash") -> list[str]:
    """What cloakfs offers for the last word of a line."""
    env = {"_CLOAKFS_COMPLETE": f"{shell}_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    return run(env=env).out.split()


@pytest.fixture
def program(tmp_path: Path) -> dict[str, str]:
    """An environment in which ``cloakfs`` is the one of these tests, and the shells have no settings of anybody."""
    command = tmp_path / "bin/cloakfs"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m encfs "$@"\n')
    command.chmod(0o755)
    return {"PATH": f"{command.parent}:{os.environ['PATH']}", "HOME": str(tmp_path), "PS1": "$ "}


def test_what_is_offered(volume: Made) -> None:
    """Commands without loading them; options; values of an option; slots of a volume, whose config needs no key."""
    assert words("cloakfs sta") == ["plain,status"]
    assert set(words("cloakfs ")) >= {"plain,mount", "plain,doctor", "plain,completion"}
    assert words("cloakfs mount --idle-open w") == ["plain,wait", "plain,warn"]
    assert words("cloakfs verify --chec") == ["plain,--checkpoint", "plain,--checkpoint-file"]
    assert words("cloakfs mount --key-file x") == ["file,x"]
    assert words("cloakfs lock x") == ["dir,x"]
    assert words(f"cloakfs mount {volume.path.parent}/v") == [f"plain,{volume.path}"]
    assert words(f"cloakfs mount {volume.path} {volume.path.parent}/v") == [f"dir,{volume.path.parent}/v"]
    assert words(f"cloakfs key remove {volume.path} pass") == ["plain,passphrase"]
    assert words(f"cloakfs key remove {NEVER} pass") == []


def test_completing_a_command_loads_no_cryptography() -> None:
    """Somebody waits with a finger on the Tab key."""
    script = (
        "import sys, encfs.cli.main as m; sys.argv = ['cloakfs']\n"
        "try: m.main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'cryptography', 'argon2', 'rich', 'zxcvbn', 'encfs.volume'} & set(sys.modules)))"
    )
    env = {**os.environ, "_CLOAKFS_COMPLETE": "bash_complete", "COMP_WORDS": "cloakfs sta", "COMP_CWORD": "1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.splitlines() == ["plain,status", "[]"]


def test_the_command_prints_the_files() -> None:
    """What packages install is what the command prints."""
    for shell, name in (("bash", "cloakfs.bash"), ("zsh", "_cloakfs"), ("fish", "cloakfs.fish")):
        assert run("completion", shell).out == (SCRIPTS / name).read_text()
    assert run("completion", "tcsh").code == 2


@pytest.mark.mount
def test_shells(mounted: MountedVolume, program: dict[str, str]) -> None:
    """In bash, zsh and fish: a command, an option, and a mount point before other directories that begin so."""
    (mounted.base / "mno").mkdir()
    typed = str(mounted.path)[:-2]
    if shutil.which("bash"):
        with PtySession("--norc", "--noprofile", "-i", env=program, program=("bash",)) as bash:
            bash.send(f"source {SCRIPTS}/cloakfs.bash\n")
            bash.send("cloakfs sta\t")
            bash.expect("cloakfs status ")
            bash.send("--qui\t")
            bash.expect("--quick ")
            bash.send(f"{typed}\t")
            bash.expect(f"{mounted.path} ")
    if shutil.which("zsh"):
        with PtySession("-f", "-i", env=program, program=("zsh",)) as zsh:
            zsh.send("autoload -U compinit; compinit -D -u\n")
            zsh.send(f"source {SCRIPTS}/_cloakfs\n")
            zsh.send("cloakfs sta\t")
            zsh.expect("cloakfs status")
            zsh.send("--qui\t")
            zsh.expect("--quick")
            zsh.send(f"{typed}\t")
            zsh.expect("mnt ")
    if shutil.which("fish"):
        asked = [f"complete -C 'cloakfs {line}'" for line in ("sta", "status --qui", f"lock {typed}")]
        script = "; ".join([f"source {SCRIPTS}/cloakfs.fish", *asked])
        fish = subprocess.run(
            ["fish", "--no-config", "-c", script],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, **program},
        )
        assert [line.split("\t")[0] for line in fish.stdout.splitlines()[:2]] == ["status", "--quick"]
        assert f"{mounted.path}\tmounted" in fish.stdout.splitlines()
