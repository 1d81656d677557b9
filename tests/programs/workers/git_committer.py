"""git_committer.py REPOSITORY: commits until it is stopped, and repacks now and then; prints each finished commit."""

import os
import subprocess
import sys
from pathlib import Path

from common import MARKER


def git(repository: Path, *arguments: str) -> str:
    """Run git; a failure ends the program."""
    return subprocess.check_output(["git", *arguments], cwd=repository, text=True).strip()


def main(repository: Path) -> None:
    """Commit for ever."""
    for name, value in (("NAME", "A"), ("EMAIL", "a@example.org")):
        os.environ[f"GIT_AUTHOR_{name}"] = os.environ[f"GIT_COMMITTER_{name}"] = value
    number = 0
    while True:
        number += 1
        (repository / f"{MARKER} {number % 5}.txt").write_text(f"{MARKER} {os.getpid()} {number}\n" * 500)
        git(repository, "add", "-A")
        git(repository, "commit", "-q", "-m", f"commit {number}")
        print(git(repository, "rev-parse", "HEAD"), flush=True)
        if number % 4 == 0:
            git(repository, "repack", "-a", "-d", "-q")


main(Path(sys.argv[1]))
