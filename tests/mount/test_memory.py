"""What the daemon keeps in memory: a listing of 200,000 files, and what it gives back (DESIGN section 7; issue 2)."""

from __future__ import annotations

import json
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from encfs.volume import Volume
from encfs.volume.changes import Caller
from tests.mount.conftest import Maker
from tests.support.linux import Child, needs_root
from tests.support.mounting import SECRET, MountedVolume, cloakfs, wait_for

FILES = 200_000
DIRECTORIES = 20
RESIDENT_MAX = 200 << 20


def resident(volume: MountedVolume, *, peak: bool = False) -> int:
    """Bytes of the daemon that are in memory, or ever were."""
    wanted = "VmHWM:" if peak else "VmRSS:"
    for line in Path(f"/proc/{volume.pid}/status").read_text().splitlines():
        if line.startswith(wanted):
            return int(line.split()[1]) << 10
    raise AssertionError("the daemon is gone")


def known(volume: MountedVolume) -> int:
    """How many inodes the daemon knows, as it says."""
    answer = json.loads(cloakfs("status", str(volume.lower), "--quick", "--json").stdout)
    return int(answer["volumes"][0]["mount"]["known_inodes"])


def fill(volume: MountedVolume) -> None:
    """Make the files through the library: no kernel in between."""
    caller = Caller(os.geteuid(), os.getegid())
    with Volume.unlock(os.fsencode(volume.lower), SECRET) as library:
        for directory in range(DIRECTORIES):
            parent, _ = library.changes.mkdir(library.tree.root, b"directory-%d" % directory, 0o755, caller)
            parent.lookups += 1
            for number in range(FILES // DIRECTORIES):
                node, _ = library.changes.create(parent, b"letter number %06d.txt" % number, 0o644, caller)
                library.tree.close_file(node)


@needs_root
@pytest.mark.slow
def test_listing_200_000_files(make_volume: Maker, record_property: Callable[[str, object], None]) -> None:
    """ls -lR over 200,000 files ends with under 200 MB resident, and forget gives it back (issue 2, engineering)."""
    volume = make_volume(mount=False)
    fill(volume)
    volume.mount()
    before = resident(volume)
    listed = list_all(volume)
    assert listed.count(b".txt\n") == FILES
    after_ls = resident(volume)
    with all_held(volume):  # whatever else drops the machine's caches meanwhile
        inodes, held = known(volume), resident(volume)
        assert inodes > FILES
    assert resident(volume, peak=True) < RESIDENT_MAX, f"{resident(volume, peak=True) >> 20} MiB resident"
    Path("/proc/sys/vm/drop_caches").write_text("2")
    wait_for(lambda: known(volume) < FILES // 100, "the daemon forgets", 120)
    forgotten = resident(volume)
    assert list_all(volume) == listed, "numbers, sizes or times have changed"
    again = resident(volume)
    # What was given back is used again: a second listing takes no more than the first.
    assert again < RESIDENT_MAX
    figures = {"before": before, "after ls": after_ls, "all held": held, "forgotten": forgotten, "second ls": again}
    for name, size in figures.items():
        record_property(f"resident {name}", f"{size >> 20} MiB")
    print(f"{inodes} inodes:", ", ".join(f"{name} {size >> 20} MiB" for name, size in figures.items()))


def list_all(volume: MountedVolume) -> bytes:
    """What ls -lR says."""
    return subprocess.run(["ls", "-lR", str(volume.path)], stdout=subprocess.PIPE, check=True).stdout


@contextmanager
def all_held(volume: MountedVolume) -> Iterator[None]:
    """Hold a reference on every file, so that the kernel cannot forget one; a process for each directory."""
    release, holding = os.pipe(), os.pipe()
    directories = list(volume.path.iterdir())
    children = [Child(lambda directory=directory: hold(directory, release, holding[1])) for directory in directories]
    try:
        for _ in children:
            assert os.read(holding[0], 1), "a process could not hold its files"
        yield
    finally:
        for end in (*release, *holding):
            os.close(end)
        for child in children:
            assert child.result() == FILES // DIRECTORIES


def hold(directory: Path, release: tuple[int, int], holding: int) -> int:
    """Open everything in a directory, say so, and let go when the other end does."""
    os.close(release[1])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    top = os.open(directory, os.O_PATH)
    held = [os.open(name, os.O_PATH, dir_fd=top) for name in os.listdir(directory)]
    os.write(holding, b"x")
    os.read(release[0], 1)
    return len(held)
