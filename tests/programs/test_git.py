"""git on a mount: clone, commit, gc, worktrees and pushes; fsck finds nothing; a killed daemon loses no commit."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.support.mounting import MountedVolume
from tests.support.programs import MARKER, Reporter, crash, need, reporting, run, worker

pytestmark = [pytest.mark.mount, pytest.mark.programs]

PERSON = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "C",
    "GIT_COMMITTER_EMAIL": "c@example.org",
}


def git(place: Path, *arguments: str | Path, check: bool = True) -> str:
    """Run git in a directory."""
    return run("git", *arguments, cwd=place, check=check, env=PERSON).strip()


def make_history(place: Path) -> None:
    """A repository of 120 commits, several hundred files, two branches and a merge."""
    place.mkdir()
    git(place, "init", "-q", "-b", "main")
    stream = ["feature done\n"]
    mark = 0
    for number in range(1, 121):
        branch = "side" if number % 4 == 0 else "main"
        files = []
        for part in range(4):
            mark += 1
            text = f"{MARKER} {number} {part}\n" + "".join(f"line {number * n % 97}\n" for n in range(number * 5))
            stream.append(f"blob\nmark :{mark}\ndata {len(text)}\n{text}\n")
            mode = "100755" if part == 3 else "100644"
            files.append(f"M {mode} :{mark} folder{number % 9}/{MARKER}-{number % 50}-{part}.txt\n")
        files.append(f"M 120000 inline link{number % 5}\ndata 7\nfolder{number % 9}\n")
        parent = "merge refs/heads/side\n" if number == 119 else ""
        start = "from refs/heads/main\n" if number == 4 else ""
        when = f"C <c@example.org> {1_700_000_000 + number} +0000"
        message = f"data 9\ncommit {number % 10}\n"
        stream.append(f"commit refs/heads/{branch}\ncommitter {when}\n{message}{start}{parent}{''.join(files)}\n")
    stream.append("done\n")
    history = place.parent / "history"
    history.write_text("".join(stream))
    run("sh", "-c", 'exec git fast-import --quiet < "$0"', history, cwd=place, env=PERSON)
    git(place, "checkout", "-q", "main")


@pytest.fixture(autouse=True)
def _git_is_installed() -> None:
    need("git")


def test_clone_commit_gc_fsck(volume: MountedVolume, base: Path) -> None:
    """A clone on the mount goes through a working day; fsck is content and the trees are those of a plain clone."""
    make_history(base / "source")
    repository, plain = volume.path / f"{MARKER}.repository", base / "plain"
    for clone in (repository, plain):
        git(base, "clone", "-q", "--no-local", base / "source", clone)
        git(clone, "merge", "-q", "--no-edit", "-s", "recursive", "-X", "theirs", "origin/side")
        git(clone, "mv", "folder1", f"moved {MARKER}")
        (clone / "new.txt").write_text(MARKER * 1000)
        git(clone, "add", "-A")
        git(clone, "commit", "-q", "-m", "work")
        git(clone, "checkout", "-q", "-b", "other", "HEAD~20")
        git(clone, "checkout", "-q", "main")
        git(clone, "stash", "list")
    assert git(repository, "rev-parse", "HEAD^{tree}") == git(plain, "rev-parse", "HEAD^{tree}")
    git(repository, "fsck", "--full", "--strict")
    git(repository, "repack", "-a", "-d", "-f", "-q")
    git(repository, "gc", "--prune=now", "--aggressive", "-q")
    git(repository, "worktree", "add", "-q", volume.path / "tree", "other")
    # A clone beside it shares the packs by hard links.
    git(volume.path, "clone", "-q", repository, volume.path / "second")
    (volume.path / "second" / "more.txt").write_text(MARKER)
    git(volume.path / "second", "add", "more.txt")
    git(volume.path / "second", "commit", "-q", "-m", "more")
    git(volume.path / "second", "push", "-q", "origin", "main:pushed")
    volume.remount()
    for clone in (repository, volume.path / "second", volume.path / "tree"):
        git(clone, "fsck", "--full", "--strict")
        assert git(clone, "status", "--porcelain") == ""
    git(base, "clone", "-q", "--no-local", "-b", "pushed", repository, base / "back")
    assert git(base / "back", "rev-parse", "HEAD") == git(volume.path / "second", "rev-parse", "HEAD")
    git(base / "back", "fsck", "--full", "--strict")


def test_the_daemon_is_killed(volume: MountedVolume) -> None:
    """kill -9 of the daemon while git commits and repacks: no commit that git had finished is lost or damaged."""
    repository = volume.path / "repository"
    git(volume.path, "init", "-q", "-b", "main", repository)
    git(repository, "config", "core.fsync", "all")
    git(repository, "config", "gc.auto", "0")
    for count in (3, 8, 5):
        committer = Reporter(worker("git_committer", repository))
        with reporting(committer):
            committer.read(count)
            crash(volume, committer)
        for lock in repository.glob(".git/**/*.lock"):
            # Of the git that died, as after any crash.
            lock.unlink()
        git(repository, "fsck", "--full", "--strict")
        history = git(repository, "rev-list", "main").splitlines()
        assert set(committer.lines) <= set(history)
        # What follows the last report is at most the commit whose report was on the way.
        assert history.index(committer.lines[-1]) <= 1
        git(repository, "reset", "-q", "--hard")
        # A file that was written but not yet added stays.
        assert git(repository, "status", "--porcelain", "--untracked-files=no") == ""


@pytest.mark.slow
def test_the_working_copy_of_this_interpreter(volume: MountedVolume, base: Path) -> None:
    """A thousand real files from Python's library: added, committed, archived, and the same when they come back."""
    library = Path(os.__file__).parent
    repository = volume.path / "library"
    git(volume.path, "init", "-q", "-b", "main", repository)
    copy = 'cd "$0" && find . -maxdepth 2 -name "*.py" -print0 | tar --null -T - -cf - | tar -C "$1" -xf -'
    run("sh", "-c", copy, library, repository)
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", sys.version.split()[0])
    volume.remount()
    assert git(repository, "status", "--porcelain") == ""
    (base / "out").mkdir()
    run("sh", "-c", 'git archive main | tar -C "$0" -xf -', base / "out", cwd=repository, env=PERSON)
    for file in (base / "out").rglob("*.py"):
        assert file.read_bytes() == (library / file.relative_to(base / "out")).read_bytes()
    assert len(list((base / "out").rglob("*.py"))) > 500
