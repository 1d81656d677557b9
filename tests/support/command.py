"""Running ``cloakfs`` as a process of its own, without a terminal, and volumes for it to work on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encfs.volume import Volume

PASSPHRASE = "four unrelated words here"
CHEAP = ("--kdf-memory", "64M", "--kdf-passes", "3")


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on stdout."""
        assert self.out.count("\n") == 1, self.out
        return json.loads(self.out)


def run(
    *arguments: str | os.PathLike[str],
    stdin: bytes = b"",
    env: dict[str, str] | None = None,
    program: tuple[str, ...] = ("-m", "encfs"),
    **more: Any,
) -> Result:
    """Run ``cloakfs`` without a terminal; a traceback fails the test whatever it is about.

    ``program`` is what Python runs instead of the command as it is installed.
    """
    command = [sys.executable, *program, *map(os.fspath, arguments)]
    done = subprocess.run(
        command, input=stdin, capture_output=True, check=False, timeout=120, env={**os.environ, **(env or {})}, **more
    )
    result = Result(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
    assert "Traceback" not in result.err or "--debug" in command, result.err
    return result


@dataclass(frozen=True)
class Made:
    """A volume with some files, and what opens it."""

    path: Path
    passphrase_file: Path
    recovery_file: Path

    @property
    def secret(self) -> tuple[str, str]:
        """The options that unlock it."""
        return ("--passphrase-file", str(self.passphrase_file))

    def lower(self, plain: bytes) -> Path:
        """The lower file of a plain path."""
        with Volume.unlock(os.fsencode(self.path), PASSPHRASE.encode(), read_only=True) as volume:
            node = volume.resolve(plain, follow=False)
            names = []
            while node.parent is not None:
                names.append(os.fsdecode(node.lower_name))
                node = node.parent
        return self.path.joinpath(*reversed(names))
