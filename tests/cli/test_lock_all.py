"""``cloakfs lock --all``: everything of this user, at once, whoever uses it.

It would lock what other tests have mounted, so it runs where nothing but its own mounts is to be seen: in a mount
namespace of its own with a ``/run`` of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from encfs.errors import ExitCode
from tests.support.command import run

TOP = Path(__file__).resolve().parents[2]
alone = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/fuse").exists(), reason="wants root, to see no mounts but its own"
)

_INSIDE = """
import contextlib, json, os, subprocess, sys
from pathlib import Path
from tests.support.command import run
from tests.support.mounting import MountedVolume

subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
for line in Path("/proc/mounts").read_text().splitlines():
    source, where, kind, *_ = line.split(" ")
    if kind.startswith("fuse"):
        subprocess.run(["umount", "-l", where], check=True)
made = [MountedVolume(Path(sys.argv[1]) / name) for name in ("one", "two", "three")]
for one in made:
    one.secret_file.chmod(0o600)
    one.mount()
    (one.path / "a.txt").write_text("Dear colleague")
{before}
held = (made[0].path / "a.txt").open("rb")
result = run("lock", "--all", *sys.argv[2:])
left = [line for line in Path("/proc/mounts").read_text().splitlines() if "fuse.cloakfs" in line]
{after}
again = run("lock", "--all", "--json")
why = run("status", "--json").json["locked"]
with contextlib.suppress(OSError):  # Its mount is gone.
    held.close()
print(json.dumps({{
    "why": why,
    "code": result.code, "out": result.out, "err": result.err, "left": left, "again": [again.code, again.json],
    "mountpoints": [str(one.path) for one in made], "lower": [str(one.lower) for one in made],
}}))
"""


def inside(base: Path, *options: str, before: str = "", after: str = "") -> dict[str, Any]:
    """What ``lock --all`` did with three mounts, of which a program uses one, and what was left of them."""
    for name in ("one", "two", "three"):
        (base / name).mkdir()
    script = _INSIDE.format(before=before, after=after)
    command = ["unshare", "-m", "--propagation", "private", sys.executable, "-c", script, str(base), *options]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@alone
def test_everything_is_locked_whoever_uses_it(tmp_path: Path) -> None:
    """All three, also the one with an open file; the volumes are clean, and a second time there is nothing to do."""
    found = inside(tmp_path)
    assert (found["code"], found["err"], found["left"]) == (0, "", [])
    assert found["out"].splitlines() == sorted(f"Locked: {where}" for where in found["mountpoints"])
    assert found["again"] == [0, {"mounts": []}]
    assert [lock["reason"] for lock in found["why"]] == ["panic"] * 3
    assert {lock["volume"] for lock in found["why"]} == set(found["lower"])
    for name in ("one", "two", "three"):
        lower = Path(found["lower"][("one", "two", "three").index(name)])
        last = run("status", lower, "--json", "--passphrase-file", tmp_path / name / "passphrase").json
        assert last["volumes"][0]["last_session"]["state"] == "clean"


@alone
def test_json_says_of_each_how_it_ended(tmp_path: Path) -> None:
    """A daemon that had died is told from one that ended well (docs/json.md)."""
    found = inside(tmp_path, "--json", before="made[1].kill_daemon()")
    assert (found["code"], found["left"]) == (0, [])
    mounts = json.loads(found["out"])["mounts"]
    states = {mount["mountpoint"]: (mount["state"], mount["error"]) for mount in mounts}
    one, two, three = found["mountpoints"]
    assert states == {one: ("clean", None), two: ("crashed", None), three: ("clean", None)}


@alone
def test_one_that_cannot_be_locked_keeps_no_other(tmp_path: Path) -> None:
    """A daemon that does not answer is told, with an exit code of its own; the others are locked all the same."""
    found = inside(tmp_path, "--json", before="os.kill(made[1].pid, 19)", after="made[1].kill()")
    one, two, three = found["mountpoints"]
    states = {mount["mountpoint"]: mount["state"] for mount in json.loads(found["out"])["mounts"]}
    assert states == {one: "clean", two: None, three: "clean"}
    assert found["code"] != 0
    assert f"{two} is NOT locked" in found["err"]


def test_all_or_one(tmp_path: Path) -> None:
    """A target and ``--all``, or neither, makes no sense."""
    for arguments in ((), ("--all", tmp_path)):
        result = run("lock", *arguments)
        assert (result.code, "either" in result.err) == (ExitCode.USAGE, True)
