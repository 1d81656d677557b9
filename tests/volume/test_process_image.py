"""What a process keeps in memory of a volume that it had open: all that can be read of it is searched."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from encfs.core.sources import KnownSecret
from encfs.format.slots import SlotKind
from encfs.volume import Volume
from tests.support.evidence import record
from tests.support.linux import needs_root
from tests.support.process_image import Secrets, can_be_locked, found_in, secrets_of

_PROCESS = """
import os, sys
from encfs.format.slots import SlotKind
from encfs.memory import leftovers, process
from encfs.volume import Volume

def pause(at):
    print(at, flush=True)
    sys.stdin.readline()

def unlock():
    secret = bytes.fromhex(sys.stdin.readline())
    pause("held")
    return Volume.unlock(os.fsencode(sys.argv[1]), secret, SlotKind(sys.argv[2]))

process.protect()
volume = unlock()
leftovers.overwrite()
volume.write_file(b"letter", b"Dear colleague" * 2000)
b"".join(volume.read_file(b"letter"))
volume.list_directory()
pause("open")
volume.close()
leftovers.overwrite()
pause("closed")
"""


@contextmanager
def process(path: Path, source: KnownSecret) -> Iterator[subprocess.Popen[str]]:
    """A process that works in the volume and stops at each step until :func:`go_on`."""
    command = [sys.executable, "-c", _PROCESS, str(path), str(source.kind)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as made:
        try:
            go_on(made, (source.passphrase or source.key).hex())
            yield made
        finally:
            made.kill()


def go_on(stopped: subprocess.Popen[str], answer: str = "") -> None:
    """Let it work on to its next step."""
    assert stopped.stdin is not None
    stopped.stdin.write(answer + "\n")
    stopped.stdin.flush()


def at(stopped: subprocess.Popen[str], step: str) -> None:
    """Wait until it is there."""
    assert stopped.stdout is not None
    assert stopped.stdout.readline() == step + "\n"


def copy_of_files(path: Path, to: Path, source: KnownSecret) -> Secrets:
    """The secrets of a volume that another process has open: a copy has the same."""
    subprocess.run(["cp", "-a", str(path), str(to)], check=True)
    return secrets_of(to, source, [b"letter"])


@needs_root
@pytest.mark.parametrize("kind", [SlotKind.PASSPHRASE, SlotKind.RECOVERY])
def test_what_opened_a_volume_goes_at_once_and_the_keys_when_it_is_closed(tmp_path: Path, kind: SlotKind) -> None:
    """Passphrase, recovery key, KEK, private key and root key are gone once it is open, all keys once it is closed."""
    path, passphrase, recovery = tmp_path / "volume", b"a passphrase in memory", os.urandom(32)
    Volume.create(os.fsencode(path), secret=passphrase, recovery_key=recovery)
    source = KnownSecret.of(kind, passphrase if kind is SlotKind.PASSPHRASE else recovery)
    with process(path, source) as other:
        at(other, "held")
        given = {"given": source.passphrase or source.key}
        assert found_in(other.pid, given) == ["given"], "the search finds what is there"
        go_on(other)
        at(other, "open")
        secrets = copy_of_files(path, tmp_path / "copy", source)
        assert found_in(other.pid, secrets.opening) == []
        assert {"epoch key 0", "header key of b'letter'"} <= set(found_in(other.pid, secrets.working))
        go_on(other)
        at(other, "closed")
        assert found_in(other.pid, secrets.all) == []
        go_on(other)
        assert other.wait() == 0
    record("memory", f"library, opened with a {kind}", cases=len(secrets.all), note="nothing is left when it is closed")


@needs_root
@pytest.mark.parametrize("privileged", [True, False])
def test_memory_is_locked_only_where_no_limit_can_hit_later(*, privileged: bool) -> None:
    """With CAP_IPC_LOCK all of it; under a limit none, and memory beyond the limit can still be had."""
    drop = [] if privileged else ["setpriv", "--bounding-set=-ipc_lock"]
    assert can_be_locked("prlimit", "--memlock=1048576", *drop) is privileged


_LEAVING = """
import os, sys
from encfs.memory import leftovers

def pause(at):
    print(at, flush=True)
    sys.stdin.readline()

mark = os.read(os.open(sys.argv[1], os.O_RDONLY), 64)
sizes = (64, 128, 256, 448, 1008, 5008, 40_000, 90_000)
held = [mark * (size // len(mark)) for size in sizes for _ in range(50)]
pause("held")
del mark
held.clear()
leftovers.overwrite()
pause("dropped")
"""


@needs_root
def test_what_was_freed_is_overwritten(tmp_path: Path) -> None:
    """Pieces of every kind of size, many of each, that both allocators had given out and got back."""
    # Registers lie on the stack now and then, and that is not overwritten. Those of AVX-512 hold a whole mark; they are
    # saved whenever the dynamic linker looks up a function, which LD_BIND_NOW makes it do before everything else.
    mark = {"mark": os.urandom(64)}
    (tmp_path / "mark").write_bytes(mark["mark"])
    command = [sys.executable, "-c", _LEAVING, str(tmp_path / "mark")]
    bound = os.environ | {"LD_BIND_NOW": "1"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=bound) as other:
        at(other, "held")
        assert found_in(other.pid, mark) == ["mark"], "the search finds what is there"
        go_on(other)
        at(other, "dropped")
        assert found_in(other.pid, mark) == []
        go_on(other)


_OTHER_HEAPS = """
import ctypes, resource, threading
from encfs.memory import leftovers

libc = ctypes.CDLL(None)
libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
places = []
other = threading.Thread(target=lambda: places.extend(libc.malloc(1032) for _ in range(4)))
other.start()
other.join()
# Much is free between pieces that are in use.
mine = [libc.malloc(2000) for _ in range(20_000)]
for place in mine[::2]:
    libc.free(place)
for place in places:
    libc.free(place)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
leftovers.overwrite()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_overwriting_takes_no_more_than_is_free() -> None:
    """With pieces at hand that lie in the heap of another thread; 20 MB are free, between others."""
    ran = subprocess.run([sys.executable, "-c", _OTHER_HEAPS], check=True, capture_output=True, text=True)
    assert int(ran.stdout) < 40_000
