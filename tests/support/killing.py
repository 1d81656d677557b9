"""Programs that work on a mount until its daemon is killed: they say through a pipe what they begin and what is done.

Owns: running them, and hearing what they say. Must not know: what they do.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.mounting import MountedVolume, cloakfs, wait_for

# What recovery may say that it did.
REPAIRS = {"created", "size", "place", "record", "temporary"}
Say = Callable[..., None]


class Said(NamedTuple):
    """What a worker has said: the last step it began, the last one it called done."""

    begun: int
    done: int


class Worker(NamedTuple):
    """A program (it never ends by itself), and what must be true of its directory afterwards."""

    run: Callable[[Path, Say], None]
    check: Callable[[Path, Said], None]


def steps(say: Say) -> Iterator[int]:
    """Number the steps; each is begun when it is asked for, and done when the next one is."""
    number = 0
    while True:
        say("b", number)
        yield number
        say("d", number)
        number += 1


def sync(path: Path) -> None:
    """fsync of a file or directory."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Running:
    """A worker's process, and what it has said so far."""

    def __init__(self, worker: Worker, top: Path) -> None:
        self.worker, self.top = worker, top
        self._said = b""
        self.pipe, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.pipe)
            try:
                worker.run(top, lambda *words: os.write(writer, b"%s %d\n" % (words[0].encode(), words[1])))
            finally:
                os._exit(0)  # the daemon is gone
        os.close(writer)

    def listen(self) -> int:
        """Take what there is to hear; how many lines there are by now."""
        self._said += os.read(self.pipe, 1 << 16)
        return self._said.count(b"\n")

    def finish(self) -> Said:
        """Hear the worker out and wait for its end."""
        while piece := os.read(self.pipe, 1 << 16):
            self._said += piece
        os.close(self.pipe)
        os.waitpid(self.pid, 0)
        said = [text.split() for text in self._said.splitlines()]
        begun = [int(number) for word, number in said if word == b"b"]
        done = [int(number) for word, number in said if word == b"d"]
        return Said(max(begun, default=-1), max(done, default=-1))


def listen_until(workers: list[Running], lines: int) -> None:
    """Wait until all workers have begun and together have said so many lines."""
    with selectors.DefaultSelector() as selector:
        for one in workers:
            selector.register(one.pipe, selectors.EVENT_READ, one)
        heard = dict.fromkeys(workers, 0)
        while sum(heard.values()) < lines or not all(heard.values()):
            events = selector.select(60)
            assert events, "the workers have stopped"
            for key, _ in events:
                heard[key.data] = key.data.listen()


_RENAMER = """
import os, sys
while True:
    with open(f"{sys.argv[1]}/new", "wb") as new:
        new.write(bytes(3600))
    os.rename(f"{sys.argv[1]}/new", f"{sys.argv[1]}/saved")
"""


def kill_a_renamer(top: Path) -> None:
    """A program saves a file again and again in a new directory, until it is killed.

    On Linux 6.18 the kernel remembered 34 of 250 such kills as an error of the mount.
    """
    top.mkdir()
    with subprocess.Popen([sys.executable, "-S", "-c", _RENAMER, str(top)]) as process:
        try:
            wait_for(lambda: (top / "saved").exists(), "a file was saved")
        finally:
            process.kill()


def status(volume: MountedVolume) -> dict[str, Any]:
    """What the daemon says about itself."""
    answer = json.loads(cloakfs("status", str(volume.lower), "--quick", "--json").stdout)
    mount: dict[str, Any] = answer["volumes"][0]["mount"]
    return mount
