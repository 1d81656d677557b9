"""Three weeks of a practice, with sticks that take turns, a ransomware day, and a fire (FORMAT.md 18, docs/backup.md).

Everything is done with the command as it is installed, on a computer whose clock goes through the days.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from encfs.errors import ExitCode
from tests.support import audit_actions, blockdev, paper, practice_weeks, rich_trees
from tests.support.command import CHEAP
from tests.support.practice_weeks import DATABASE, DAY, WEEKS, Server, Sticks
from tests.support.programs import need
from tests.support.rich_trees import Known

LABELS: Final = ("Red", "Blue", "Green")
WORKDAYS: Final = tuple(day for day in range(7 * WEEKS) if day % 7 < 5)
EVEN_LIVE: Final = (0, ExitCode.FINDINGS)
"""How a command ends with which a file came in the way that was written to all the time; the register tells."""
RANSOM: Final = 10
"""The Thursday of the second week."""

pytestmark = [pytest.mark.mount, *blockdev.needs_filesystem("ext4")]


@dataclass
class Story:
    """What happened so far.

    Attributes:
        taken: what was in the volume at each good run, by the id of the run.
        days: that run, by its stick and its day.
        last_on: the last good run of each stick.
        expected: what the audit log has to say of it.
        live: whether the last run says that a file was written to all the time.
    """

    engine: str
    server: Server
    sticks: Sticks
    taken: dict[str, dict[bytes, Known]] = field(default_factory=dict)
    days: dict[tuple[str, int], str] = field(default_factory=dict)
    last_on: dict[str, str] = field(default_factory=dict)
    expected: list[tuple[str, str]] = field(default_factory=list)
    live: bool = False

    @property
    def labels_by_age(self) -> list[str]:
        """The stick with the newest run comes last."""
        return sorted(self.last_on, key=self.last_on.__getitem__)

    @property
    def opens(self) -> tuple[str, ...]:
        """What a restore from a sealed copy wants; the key of a repository is kept on the server."""
        return self.server.opens if self.engine == "copy" else ()

    def on(self, label: str) -> Any:
        """The stick is in."""
        return self.sticks.plugged(label)

    def back_up(self, label: str, *more: str) -> dict[str, Any]:
        """A good run on the stick that is in, of what is in the volume now."""
        run = self.good_run(label, *more)
        self.taken[run["run"]] = self.server.tree()
        return run

    def good_run(self, label: str, *more: str, ends: tuple[int, ...] = (0,)) -> dict[str, Any]:
        """The same; what is in the volume is not looked at."""
        done = self.server.cloakfs("backup", "run", self.server.volume, "--json", *more, ends=ends)
        run: dict[str, Any] = done.json["runs"][0]
        assert (run["label"], run["error"]) == (label, None)
        assert run["verified"] > 0
        self.last_on[label] = self.days[label, self.server.day] = run["run"]
        self.expected.append(("backup.run", "done"))
        return run


def digest_of(tree: Path) -> str:
    """All that is on a stick, bytes and names."""
    found = hashlib.sha256()
    for path in sorted(tree.rglob("*")):
        found.update(os.fsencode(path) + b"\0" + (path.read_bytes() if path.is_file() else b""))
    return found.hexdigest()


def differences(one: Mapping[bytes, Known], other: Mapping[bytes, Known]) -> set[bytes]:
    """What is not the same in both trees. The directory itself is that of whoever restored into it.

    A socket is nothing without the program that made it, and may be missing.
    """
    paths = {path for path in one.keys() | other.keys() if path and one.get(path) != other.get(path)}
    return {path for path in paths if path in one or not stat.S_ISSOCK(other[path].mode)}


@contextmanager
def begun(engine: str, base: Path) -> Iterator[Story]:
    """A practice whose first day was three weeks ago; whatever happens, nothing of it stays mounted."""
    midnight = (int(time.time()) // DAY - 7 * WEEKS) * DAY
    server, sticks = Server(base / "server", since=midnight), Sticks(base, *LABELS)
    try:
        server.is_day(0, hour=8)
        server.begin()
        practice_weeks.first_day(server.mnt)
        yield Story(engine, server, sticks)
    finally:
        if server.base.exists():
            server.burn()
        sticks.throw_away()


# -- the weeks ---------------------------------------------------------------------------------------------------------


def set_up(story: Story) -> None:
    """The backup, and its three sticks."""
    options = ("--engine", story.engine)
    if story.engine == "restic":
        options += ("--sheet", str(story.server.base / "sheet.pdf"))
    for label in LABELS:
        with story.on(label) as target:
            story.server.cloakfs("backup", "init", story.server.volume, target, "--label", label, *options)
        options = ()
        story.expected.append(("backup.init", "done"))


def weeks(story: Story) -> None:
    """Each working day its work and its run, the sticks in turn; once a week one is tried; on one day all is lost.

    What came back then is other than what each stick has last: each of them wants to be told once that all is well.
    """
    to_accept: set[str] = set()
    for number, day in enumerate(WORKDAYS[:-1]):
        label, before = LABELS[number % len(LABELS)], LABELS[(number - 1) % len(LABELS)]
        story.server.is_day(day)
        practice_weeks.a_day(story.server.mnt, day)
        if day == RANSOM:
            with story.on(label):
                held(story)
            with story.on(before):
                brought_back(story, before)
            to_accept = set(LABELS)
        with story.on(label):
            story.back_up(label, *(("--accept-changes", "--yes") if label in to_accept else ()))
            to_accept.discard(label)
            if day % 7 == 4:
                tried(story)


def held(story: Story) -> None:
    """A program encrypts everything: the guard holds the run, and nothing on the stick changes, however often."""
    server = story.server
    assert practice_weeks.encrypt_everything(server.mnt) > practice_weeks.LETTERS
    runs = server.cloakfs("backup", "list", server.volume, "--json").json
    was = digest_of(story.sticks.target)
    for _ in range(2):
        server.cloakfs("backup", "run", server.volume, ends=ExitCode.BACKUP_GUARD)
        story.expected.append(("backup.run", "refused"))
    assert digest_of(story.sticks.target) == was
    assert server.cloakfs("backup", "list", server.volume, "--json").json == runs
    found = server.cloakfs("backup", "status", server.volume, "--json", ends=ExitCode.FINDINGS).json["volumes"][0]
    assert "backup-guard" in {check["code"] for check in found["checks"]}


def brought_back(story: Story, label: str) -> None:
    """What was there yesterday comes back from yesterday's stick, over what the program has left."""
    server = story.server
    for path in server.mnt.rglob("*.locked"):
        path.unlink()
    server.cloakfs("restore", server.volume, "--yes", *story.opens)
    assert differences(server.tree(), story.taken[story.last_on[label]]) == set()
    story.expected.append(("backup.restore", "done"))


def tried(story: Story) -> None:
    """A sample is restored for a trial, and somebody else certifies it."""
    server = story.server
    options = ("--sample", "6", "--by", "Anna", "--json", *story.opens)
    drill = server.cloakfs("backup", "drill", server.volume, *options).json
    assert drill["passed"]
    server.cloakfs("backup", "certify", drill["drill"]["id"], "--by", "Dr. Weber")
    story.expected += [("backup.drill", "done"), ("backup.certify", "done")]


# -- the fire ----------------------------------------------------------------------------------------------------------


def last_evening(story: Story) -> None:
    """The last run before the fire, while a program writes to its database."""
    server, label = story.server, LABELS[(len(WORKDAYS) - 1) % len(LABELS)]
    server.is_day(WORKDAYS[-1])
    practice_weeks.a_day(server.mnt, WORKDAYS[-1])
    with story.on(label), practice_weeks.writing(server.mnt / DATABASE):
        run = story.good_run(label, ends=EVEN_LIVE)
    story.taken[run["run"]] = server.tree()
    story.live = bool(run["not_whole"])


def in_the_log(server: Server) -> list[tuple[str, str]]:
    """What was done with backups, in its order; each kind of record is one that docs/json.md has."""
    records = server.cloakfs("audit", "show", "--json").json["records"]
    audit_actions.check(records)
    ours = [each for each in records if each["action"].startswith("backup.") and each["outcome"] != "begun"]
    return [(each["action"], each["outcome"]) for each in ours if each["action"] != "backup.prune"]


def fire(story: Story, base: Path) -> tuple[Server, Path]:
    """The server is no more. A new one, of which nothing is known, and a file with what was on paper in the safe."""
    assert in_the_log(story.server) == story.expected
    words = story.server.sheet.read_bytes()
    if story.engine == "restic":
        words = paper.codes_on((story.server.base / "sheet.pdf").read_bytes())[0].encode()
    story.server.burn()
    new = Server(base / "new", since=story.server.since)
    new.is_day(7 * WEEKS, hour=8)
    typed = new.base / "typed"
    typed.write_bytes(words)
    typed.chmod(0o600)
    return new, typed


def after_the_fire(story: Story, new: Server, typed: Path) -> None:
    """All of the last run is there again, byte for byte; and from each stick its own last run, and an earlier one."""
    from_paper = ("--sheet", "--recovery-file", typed)
    keys: tuple[str | Path, ...] = ()
    if story.engine == "restic":  # A volume with keys of its own; a sealed copy is the old volume again.
        new.secret.write_text("six other words for the new one")
        keys = ("--new-passphrase-file", new.secret, "--recovery-out", new.sheet, *CHEAP)
    else:
        new.sheet.write_bytes(typed.read_bytes())
    last = story.labels_by_age[-1]
    with story.on(last) as target:
        options = ("--from", target, "--new-volume", new.volume, *from_paper, *keys)
        first = new.cloakfs("restore", *options, ends=EVEN_LIVE).code
    new.mount()
    wrong = differences(new.tree(), story.taken[story.last_on[last]])
    assert wrong <= {DATABASE.encode(), f"{DATABASE}-journal".encode()}
    if not story.live:
        assert wrong == set()
        assert practice_weeks.is_sound(new.mnt / DATABASE)
    for label in story.labels_by_age[:-1]:
        with story.on(label) as target:
            new.cloakfs("restore", "--from", target, "--to", new.mnt / label, *from_paper)
            assert differences(rich_trees.walked(new.mnt / label), story.taken[story.last_on[label]]) == set()
    label, day = next((label, day) for label, day in story.days if 7 < day < RANSOM)
    when = time.strftime("%Y-%m-%d", time.localtime(new.since + day * DAY + DAY / 2))
    with story.on(label) as target:
        new.cloakfs("restore", "--from", target, "--to", new.mnt / "then", "--as-of", when, *from_paper)
    assert differences(rich_trees.walked(new.mnt / "then"), story.taken[story.days[label, day]]) == set()
    assert first == 0 or story.live
    outcomes = ["done" if first == 0 else "failed", *["done"] * len(LABELS)]
    assert in_the_log(new) == [("backup.restore", outcome) for outcome in outcomes]


@pytest.mark.parametrize("engine", ["copy", pytest.param("restic", marks=pytest.mark.slow)])
def test_three_weeks_a_ransomware_day_and_a_fire(engine: str, tmp_path: Path) -> None:
    """Nothing that was in a good run is lost, whatever happens to the server; the audit trail has all of it."""
    if engine == "restic":
        need("restic")
    with begun(engine, tmp_path) as story:
        set_up(story)
        weeks(story)
        last_evening(story)
        new, typed = fire(story, tmp_path)
        try:
            after_the_fire(story, new, typed)
        finally:
            new.burn()
