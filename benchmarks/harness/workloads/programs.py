"""git and rsync at their daily work: a clone, a status, a backup with nothing to do."""

from __future__ import annotations

from pathlib import Path

from benchmarks.harness.tree import SampleTree
from benchmarks.harness.workloads.steps import Round, Step, WrongBytesError, command

_GIT = ("env", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "git")  # No settings of this machine count.
_AUTHOR = ("-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost")
_RSYNC = ("rsync", "-a", "--exclude=/.git")


def make_repository(sample: SampleTree, place: Path) -> Path:
    """A repository whose one commit is the tree, everything in one pack."""
    place.mkdir()
    command("tar", "-x", "-f", str(sample.archive), "-C", str(place))
    git = (*_GIT, "-C", str(place))
    command(*git, "init", "-q", "-b", "main")
    command(*git, "add", ".")
    command(*git, *_AUTHOR, "commit", "-q", "-m", "the tree")
    command(*git, "repack", "-a", "-d", "-q")
    return place


def _repository(rnd: Round) -> str:
    if rnd.samples.repository is None:
        raise AssertionError("internal error: a step of git without git")
    return str(rnd.samples.repository)


def _clone(path: Path, rnd: Round) -> None:
    command(*_GIT, "clone", "-q", "--no-hardlinks", _repository(rnd), str(path / "clone"))


def _check_clone(path: Path, rnd: Round) -> None:
    difference = rnd.samples.tree.difference(path / "clone", besides=".git")
    if difference:
        raise WrongBytesError(difference)


def _status(path: Path, rnd: Round) -> None:
    command(*_GIT, "-C", str(path / "clone"), "status", "--porcelain", stdout=rnd.scratch / "changes")


def _check_status(path: Path, rnd: Round) -> None:
    del path
    if (rnd.scratch / "changes").read_bytes():
        raise WrongBytesError("git finds changes where there are none")


def _sync(path: Path, rnd: Round) -> None:
    changes = rnd.scratch / "transfers"
    command(*_RSYNC, "--itemize-changes", f"{_repository(rnd)}/", f"{path}/clone/", stdout=changes)


def _sync_before(path: Path, rnd: Round) -> None:
    command(*_RSYNC, "--checksum", f"{_repository(rnd)}/", f"{path}/clone/")


def _check_sync(path: Path, rnd: Round) -> None:
    del path
    transfers = (rnd.scratch / "transfers").read_text(encoding="utf-8").splitlines()
    if transfers:
        raise WrongBytesError(f"rsync finds something to do: {transfers[0]}")


# fmt: off
STEPS = (
    Step("programs", "git_clone", "git clone", "s", _clone, read_back=_check_clone, needs=("git",)),
    Step("programs", "git_status", "git status, cold", "s", _status, prepare=_status, check=_check_status, cold=True,
         needs=("git",)),
    Step("programs", "rsync", "rsync with nothing to do, cold", "s", _sync, prepare=_sync_before, check=_check_sync,
         cold=True, needs=("git", "rsync")),
)
# fmt: on
