"""Whole volumes of which anything was changed: they open or are refused, in bounded work, with our errors only."""

from __future__ import annotations

import gc
import os
import shutil
import stat
from collections.abc import Iterator
from errno import EIO
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import strategies as st

from encfs.errors import CloakfsError
from encfs.format.geometry import Geometry
from encfs.format.slots import SlotKind
from encfs.volume import Volume
from encfs.volume.changes import Caller
from tests.support.evidence import record
from tests.support.fuzzing import MEMORY_MAX, Fuzz, damaged, peak_memory
from tests.support.lower_damage import (
    KINDS,
    ODD_NAMES,
    OURS,
    CountingStore,
    damage,
    hang_guard,
    lower_objects,
    outside_is_untouched,
    use_everything,
)
from tests.support.stores import FailingStore
from tests.support.volumes import LONG, RECOVERY_KEY, LowerVolume

HANG = 120


def fill(volume: Volume) -> None:
    """Some of everything that a volume can hold."""
    volume.write_file(b"empty", b"")
    volume.write_file(b"small", b"small")
    volume.write_file(b"cells", bytes(range(256)) * 50)
    volume.write_file(LONG, b"long name")
    with volume.open(b"sparse", writable=True, create=True) as file:
        file.write(0, b"begin")
        file.write(200_000, b"end")
    path = b""
    for name in (b"one", b"two", b"D" * 180, b"four"):
        path = path + b"/" + name if path else name
        volume.make_directory(path)
        volume.write_file(path + b"/inner", name * 1000)
    volume.make_symlink(b"link", b"cells")
    volume.make_symlink(b"one/up", b"../two/" + b"x" * 50)
    volume.make_symlink(b"S" * 180, b"small")
    volume.changes.link(volume.resolve(b"small"), volume.tree.root, b"linked")
    volume.changes.mknod(volume.tree.root, b"pipe", stat.S_IFIFO | 0o600, 0, Caller(0, 0))
    volume.attributes.set(volume.resolve(b"cells"), b"user.note", b"text")
    volume.attributes.set(volume.resolve(b"one"), b"user.note", b"text")


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    """A directory in memory: hundreds of volumes are made there."""
    place = Path(mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None, prefix="cloakfs-fuzz-"))
    try:
        yield place
    finally:
        shutil.rmtree(place)


@pytest.fixture(scope="module")
def volumes(memory: Path) -> dict[str, Path]:
    """One volume that was closed, and one whose writer died."""
    clean = LowerVolume(memory / "clean")
    with clean.unlock() as volume:
        fill(volume)
    crashed = LowerVolume(memory / "crashed")
    crashed.crash(fill)
    return {"clean": clean.path, "crashed": crashed.path}


class Victim:
    """A copy of a volume that is damaged and then used, with every store call counted."""

    def __init__(self, template: Path, place: Path) -> None:
        self.template, self.path = template, place

    def fresh(self) -> None:
        """The volume as it was."""
        shutil.rmtree(self.path, ignore_errors=True)
        shutil.copytree(self.template, self.path, symlinks=True, ignore=_no_pipes)

    def use(self, budget: int) -> int:
        """Unlock for reading and for writing, and use all that is there; how many calls that took."""
        calls = 0
        for read_only in (True, False):
            fd = os.open(self.path, os.O_RDONLY)
            try:
                store = CountingStore(fd)
            finally:
                os.close(fd)
            store.budget = budget
            try:
                with Volume.unlock(
                    os.fsencode(self.path), RECOVERY_KEY, SlotKind.RECOVERY, read_only=read_only, store=store
                ) as volume:
                    use_everything(volume)
            except OURS:
                pass
            calls += store.calls
        return calls


def _no_pipes(folder: str, names: list[str]) -> list[str]:
    """copytree reads what it copies."""
    return [name for name in names if stat.S_ISFIFO(os.lstat(os.path.join(folder, name)).st_mode)]


def descriptors() -> int:
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("state", ["clean", "crashed"])
def test_anything_below(fuzz: Fuzz, volumes: dict[str, Path], memory: Path, state: str) -> None:
    """Lower files replaced, cut, swapped, made pipes, devices, loops or endless (THREAT_MODEL.md section 3, A3).

    Unlock, list, read and verify raise nothing but our errors and OSError, come to an end after a bounded number of
    store calls, and leave no descriptor open. The clean volume is strict, the crashed one is recovered.
    """
    victim = Victim(volumes[state], memory / f"victim-{state}")
    victim.fresh()
    paths = [path.relative_to(victim.path) for path in lower_objects(victim.path)]
    ordinary = victim.use(1 << 60)
    contents = [(volumes[state] / p).read_bytes() for p in paths if (volumes[state] / p).is_file()]
    steps = st.lists(
        st.tuples(
            st.sampled_from(paths),
            st.sampled_from(paths),
            st.sampled_from(KINDS),
            damaged(st.sampled_from(contents)),
            st.sampled_from(ODD_NAMES),
        ),
        min_size=1,
        max_size=4,
    )

    # What other tests of this process have left is not closed in the middle of this one.
    gc.collect()

    def attempt(changes: list[tuple[Path, Path, str, bytes, bytes]]) -> None:
        victim.fresh()
        for path, other, *rest in changes:
            damage(victim.path / path, victim.path / other, *rest)
        before = descriptors()
        with hang_guard(HANG):
            victim.use(20 * ordinary)
        assert descriptors() == before
        assert outside_is_untouched()

    # A pipe, a device, a directory, a loop and an endless file in the place of each kind of file that a volume has.
    important = [p for p in paths if p.name.startswith("cloakfs") or len(p.name) == 32 or len(p.parts) == 1]
    fixed = [
        [(path, path, kind, b"", b"")]
        for kind in ("pipe", "device", "directory", "loop", "giant", "socket")
        for path in important
    ]
    fuzz(
        f"whole volume, {state}: anything below",
        attempt,
        steps,
        examples=70,
        explicit=[(one,) for one in fixed],
        allowed=(),
    )


@pytest.mark.parametrize("state", ["clean", "crashed"])
def test_memory_of_endless_files(volumes: dict[str, Path], memory: Path, state: str) -> None:
    """Every lower file made a petabyte long, one by one: memory stays bounded (FORMAT.md section 9.3)."""
    victim = Victim(volumes[state], memory / f"endless-{state}")
    victim.fresh()
    files = [p.relative_to(victim.path) for p in lower_objects(victim.path) if p.is_file() and not p.is_symlink()]
    files = [path for path in files if not path.name.startswith("cloakfs.")]  # One after the other in the test above.
    for path in files:
        damage(victim.path / path, victim.path, "giant", b"", b"")
    ordinary = 200 * len(lower_objects(victim.path))

    def use() -> None:
        with hang_guard(HANG):
            victim.use(ordinary)

    assert peak_memory(use) < MEMORY_MAX
    record("fuzz", f"whole volume, {state}: endless files", cases=len(files), note="bounded work and memory")


def test_endless_way(tmp_path: Path) -> None:
    """Symlinks to symlinks to symlinks, each twice: the way is bounded as a whole, as the kernel's is (section 9.4)."""
    lower = LowerVolume(tmp_path / "volume")
    with lower.unlock() as volume:
        volume.make_directory(b"d")
        volume.make_symlink(b"l0", b"d")
        for number in range(1, 31):
            volume.make_symlink(b"l%d" % number, b"l%d/../l%d" % (number - 1, number - 1))
        assert volume.resolve(b"l4") is volume.resolve(b"d")
        with hang_guard(HANG), pytest.raises(OSError, match="symbolic links"):
            volume.resolve(b"l30")  # Thirty deep, and a thousand million links long.
    record("fuzz", "symlinks: an endless way", note="ELOOP")


def test_endless_sparse_file_after_a_crash(tmp_path: Path) -> None:
    """A sparse file made 8 TiB long while a crash is recovered is read where it has data only (section 11)."""
    lower = LowerVolume(tmp_path / "volume")
    size = int(Geometry(4096).start_of(25))

    def work(volume: Volume) -> None:
        with volume.open(b"sparse", writable=True, create=True) as file:
            file.write(0, b"begin")
            # The last cell is full: a shorter one would be the end of the file, whatever follows.
            file.write(size - 3, b"end")
            file.sync()

    lower.crash(work)
    with lower.unlock(read_only=True) as volume:
        path = lower.lower_in(volume, b"sparse")
    os.truncate(path, 1 << 43)
    store = lower.make_store(CountingStore)
    store.budget = 5_000
    with (
        hang_guard(HANG),
        Volume.unlock(os.fsencode(lower.path), RECOVERY_KEY, SlotKind.RECOVERY, store=store) as volume,
    ):
        assert volume.recovery is not None
        assert volume.recovery.failed == 0
        content = b"".join(volume.read_file(b"sparse"))
    assert content == b"begin" + bytes(size - 8) + b"end"
    record("fuzz", "recovery: an endless sparse file", note="bounded work, content intact")


def test_directory_under_the_name_of_a_symlink_after_a_crash(tmp_path: Path) -> None:
    """A directory moved to a name that ends in .l is foreign: recovery leaves it and comes to an end (section 7)."""
    lower = LowerVolume(tmp_path / "volume")

    def work(volume: Volume) -> None:
        volume.make_directory(b"D" * 200)
        volume.make_symlink(b"S" * 200, b"target")

    lower.crash(work)
    with lower.unlock(read_only=True) as volume:
        directory, link = lower.lower_in(volume, b"D" * 200), lower.lower_in(volume, b"S" * 200)
    link.unlink()
    directory.rename(link)
    store = lower.make_store(CountingStore)
    store.budget = 5_000
    with (
        hang_guard(HANG),
        Volume.unlock(os.fsencode(lower.path), RECOVERY_KEY, SlotKind.RECOVERY, store=store) as volume,
    ):
        assert volume.list_directory() == []
    assert link.is_dir()
    record("fuzz", "recovery: a directory under a symlink's name", note="left alone")


@pytest.mark.parametrize("kind", ["pipe", "socket", "loop", "directory", "unreadable-sector"])
@pytest.mark.parametrize("name", ["cloakfs.volume", "cloakfs.volume.bak"])
def test_one_copy_of_the_config_is_enough(tmp_path: Path, name: str, kind: str) -> None:
    """Whatever stands in the place of one copy of the config, the other opens the volume (FORMAT.md section 3)."""
    lower = LowerVolume(tmp_path / "volume")
    store = None
    if kind == "unreadable-sector":
        store = lower.make_store(FailingStore)
        store.broken, store.times, store.after = {"pread": EIO}, 1, name.endswith(".bak")
    else:
        damage(lower.path / name, lower.path, kind, b"", b"")
    with hang_guard(HANG):
        Volume.unlock(os.fsencode(lower.path), RECOVERY_KEY, SlotKind.RECOVERY, read_only=True, store=store).close()


@pytest.mark.parametrize("kind", ["pipe", "socket", "loop", "directory", "zero"])
def test_session_record_of_another_kind(tmp_path: Path, kind: str) -> None:
    """What stands in the place of an old session record keeps nobody out: it is skipped (FORMAT.md section 11)."""
    lower = LowerVolume(tmp_path / "volume")
    lower.unlock().close()
    (old,) = (path for path in (lower.path / "cloakfs.s").iterdir() if path.name != "lock")
    damage(old, lower.path, kind, b"", b"")
    with hang_guard(HANG):
        lower.unlock().close()


def test_lower_symlinks_are_never_followed(tmp_path: Path) -> None:
    """Not even to a good copy of what should be there: config, record, header, session lock (section 3, A3)."""
    lower = LowerVolume(tmp_path / "volume")
    with lower.unlock() as volume:
        volume.make_directory(b"d")
        volume.write_file(b"d/f", b"text")
        below = lower.lower_in(volume, b"d")
    outside = tmp_path / "outside"
    shutil.copytree(lower.path, outside)
    for names in (
        ["cloakfs.volume", "cloakfs.volume.bak"],
        ["cloakfs.d"],
        ["cloakfs.s/lock"],
        ["cloakfs.s"],
        [below.name],
    ):
        for name in names:
            (lower.path / name).rename(tmp_path / name.replace("/", "-"))
            (lower.path / name).symlink_to(outside / name)
        with pytest.raises((CloakfsError, OSError)), lower.unlock(read_only=True) as volume:
            volume.list_directory(b"d")
        for name in names:
            (lower.path / name).unlink()
            (tmp_path / name.replace("/", "-")).rename(lower.path / name)
    assert lower.findings() == []
    record("fuzz", "whole volume: symlinks to good copies", cases=5, note="never followed")


def test_refused_volumes_say_so_in_our_words(volumes: dict[str, Path], memory: Path) -> None:
    """A pipe or device in the place of each fixed file never blocks unlock (THREAT_MODEL.md section 3, A3)."""
    victim = Victim(volumes["clean"], memory / "fixed")
    for names in (("cloakfs.volume", "cloakfs.volume.bak"), ("cloakfs.d",), ("cloakfs.s/lock",)):
        for kind in ("pipe", "device", "socket", "loop", "directory"):
            victim.fresh()
            for name in names:
                damage(victim.path / name, victim.path, kind, b"", b"")
            with hang_guard(HANG):
                try:
                    Volume.unlock(os.fsencode(victim.path), RECOVERY_KEY, SlotKind.RECOVERY, read_only=True).close()
                except (CloakfsError, OSError) as exc:
                    assert str(exc)
    record("fuzz", "whole volume: pipes in fixed places", cases=15, note="no wait")
