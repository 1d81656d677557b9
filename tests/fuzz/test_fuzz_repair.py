"""Repair of volumes to which anything was done: it comes to an end, says what it did, and no byte is lost."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import strategies as st

from encfs.errors import CloakfsError
from encfs.volume import Volume
from encfs.volume.changes import Caller
from encfs.volume.repair import Outcome
from tests.support.fuzzing import Fuzz, damaged
from tests.support.lower_damage import KINDS, ODD_NAMES, damage, hang_guard, lower_objects
from tests.support.repairing import lower_pieces, missing_bytes, repair_open
from tests.support.volumes import LONG, LowerVolume

HANG = 120
# One run can bring to light what only the next one sees: attributes behind a header, what is in a directory.
RUNS = 3
# Endless files cannot be compared byte for byte; what is gone or overwritten before repair begins is not its doing.
DONE_BEFORE = [kind for kind in KINDS if kind != "giant"]


@pytest.fixture(scope="module")
def template() -> Iterator[LowerVolume]:
    """A volume with some of everything, in memory."""
    place = Path(mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None, prefix="cloakfs-fuzz-repair-"))
    try:
        lower = LowerVolume(place / "volume")
        with lower.unlock() as volume:
            fill(volume)
        yield lower
    finally:
        shutil.rmtree(place)


def fill(volume: Volume) -> None:
    """Files, directories, links and attributes, some under long names."""
    for directory in (b"one", b"one/two", b"D" * 180):
        volume.make_directory(directory)
        volume.write_file(directory + b"/inner", directory * 60)
    volume.write_file(b"cells", bytes(range(256)) * 50)
    volume.write_file(LONG, b"long name")
    volume.write_file(b"empty", b"")
    volume.make_symlink(b"link", b"cells")
    volume.make_symlink(b"S" * 180, b"cells")
    volume.changes.link(volume.resolve(b"cells"), volume.resolve(b"one"), b"linked")
    volume.changes.mknod(volume.tree.root, b"pipe", stat.S_IFIFO | 0o600, 0, Caller(0, 0))
    volume.attributes.set(volume.resolve(b"one"), b"user.note", b"text")
    volume.attributes.set(volume.resolve(b"one/inner"), b"user.note", b"more")


def test_repair_of_anything(fuzz: Fuzz, template: LowerVolume, tmp_path: Path) -> None:
    """docs/findings.md, "Repair": repair of anything ends, loses no byte, and soon there is nothing left to do."""
    victim = LowerVolume.__new__(LowerVolume)
    victim.path, victim.cell_size = template.path.with_name("victim"), template.cell_size
    paths = [path.relative_to(template.path) for path in lower_objects(template.path)]
    contents = [(template.path / path).read_bytes()[:600] for path in paths if (template.path / path).is_file()]
    steps = st.lists(
        st.tuples(
            st.sampled_from(paths),
            st.sampled_from(paths),
            st.sampled_from(DONE_BEFORE),
            damaged(st.sampled_from(contents)),
            st.sampled_from(ODD_NAMES),
        ),
        min_size=1,
        max_size=3,
    )

    def attempt(changes: list[tuple[Path, Path, str, bytes, bytes]]) -> None:
        shutil.rmtree(victim.path, ignore_errors=True)
        shutil.copytree(template.path, victim.path, symlinks=True, ignore=_no_pipes)
        for path, other, *rest in changes:
            damage(victim.path / path, victim.path / other, *rest)
        with hang_guard(HANG):
            before = lower_pieces(victim)
            with victim.unlock() as volume:
                repair_open(volume)
            assert missing_bytes(before, victim) == set()
            for _ in range(RUNS):
                with victim.unlock() as volume:
                    again, _ = repair_open(volume)
                assert missing_bytes(before, victim) == set()
                if not any(one.outcome is Outcome.DONE for one in again):
                    break
            else:
                pytest.fail(f"there is always something left to do: {again}")

    fuzz(
        "repair: whatever was done below",
        attempt,
        steps,
        examples=40,
        allowed=(CloakfsError, OSError),
    )


def test_hard_link_in_the_place_of_a_file(tmp_path: Path) -> None:
    """What repair has done in vain it does not do again and again (docs/findings.md, "Repair")."""
    lower = LowerVolume(tmp_path / "volume")
    with lower.unlock() as volume:
        fill(volume)
        one, other = lower.lower_in(volume, b"empty"), lower.lower_in(volume, b"one/inner")
    one.unlink()
    os.link(other, one)
    before = lower_pieces(lower)
    with hang_guard(HANG), lower.unlock() as volume:
        repair_open(volume)
    assert missing_bytes(before, lower) == set()


def _no_pipes(folder: str, names: list[str]) -> list[str]:
    """copytree reads what it copies."""
    return [name for name in names if stat.S_ISFIFO(os.lstat(os.path.join(folder, name)).st_mode)]
