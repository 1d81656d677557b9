"""fio writes patterns with checksums and reads them back, through every way to write that it has."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.mounting import MountedVolume
from tests.support.programs import Maker, need, run

pytestmark = [pytest.mark.mount, pytest.mark.programs]

JOBS = {
    "sequential-4k": ("--rw=write", "--bs=4k"),
    "sequential-1m": ("--rw=write", "--bs=1m"),
    "sequential-odd": ("--rw=write", "--bs=5000", "--size=20000000"),
    "random-4k": ("--rw=randwrite", "--bs=4k"),
    "random-512": ("--rw=randwrite", "--bs=512", "--size=4m"),
    "random-64k": ("--rw=randwrite", "--bs=64k"),
    "random-mixed": ("--rw=randwrite", "--bsrange=512-96k", "--bs_unaligned=1"),
    "random-fsync": ("--rw=randwrite", "--bs=4k", "--size=4m", "--fsync=8"),
    "random-dsync": ("--rw=randwrite", "--bs=16k", "--size=4m", "--sync=dsync"),
    "direct-sequential": ("--rw=write", "--bs=128k", "--direct=1"),
    "direct-random": ("--rw=randwrite", "--bs=4k", "--direct=1", "--size=16m"),
    "direct-asynchronous": ("--rw=randwrite", "--bs=8k", "--direct=1", "--ioengine=libaio", "--iodepth=16"),
    "mmap-sequential": ("--rw=write", "--bs=4k", "--ioengine=mmap"),
    "mmap-random": ("--rw=randwrite", "--bs=4k", "--ioengine=mmap", "--size=16m"),
    "vectors": ("--rw=randwrite", "--bs=12k", "--ioengine=pvsync", "--size=30m"),
    "four-files": ("--rw=randwrite", "--bs=4k", "--numjobs=4", "--size=8m"),
    "sparse": ("--rw=randwrite", "--bs=4k", "--fallocate=truncate", "--size=256m", "--io_size=8m"),
}


# Each has a sibling in the quick run that makes the same calls, with other sizes or in another order.
SLOW = ("sequential-4k", "sequential-1m", "random-512", "random-64k", "direct-sequential", "mmap-sequential")


def fio(directory: Path, *options: str) -> None:
    """Run one job; it fails when a block is not what was written."""
    run(
        "fio", "--name=job", f"--directory={directory}", "--ioengine=psync", "--size=32m", "--fallocate=none",
        "--thread", "--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0", "--randrepeat=1",
        "--group_reporting", *options,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _fio_is_installed() -> None:
    need("fio")


@pytest.mark.parametrize("job", [pytest.param(job, marks=[pytest.mark.slow] if job in SLOW else []) for job in JOBS])
def test_verified_writes(volume: MountedVolume, job: str) -> None:
    """What fio wrote is there at once, and after the mount was taken off and made again."""
    fio(volume.path, *JOBS[job], "--do_verify=1")
    volume.remount()
    fio(volume.path, *JOBS[job], "--verify_only")


@pytest.mark.parametrize("cell_size", [pytest.param(16384, marks=pytest.mark.slow), 65536])
def test_verified_writes_with_large_cells(make_volume: Maker, cell_size: int) -> None:
    """The same with the other two cell sizes, for unaligned, direct and mapped writes."""
    volume = make_volume(cell_size=cell_size)
    for job in ("random-mixed", "direct-random", "mmap-random"):
        directory = volume.path / job
        directory.mkdir()
        fio(directory, *JOBS[job], "--do_verify=1")
    volume.remount()
    for job in ("random-mixed", "direct-random", "mmap-random"):
        fio(volume.path / job, *JOBS[job], "--verify_only")


def test_writers_and_readers_of_one_file(volume: MountedVolume) -> None:
    """Four jobs write their parts of one file and check what they wrote while the others go on."""
    fio(
        volume.path, "--filename=shared", "--rw=randwrite", "--bs=4k", "--numjobs=4", "--size=8m",
        "--offset_increment=8m", "--verify_backlog=64", "--do_verify=1",
    )  # fmt: skip


@pytest.mark.slow
def test_more_than_four_gigabytes(volume: MountedVolume) -> None:
    """A verified file beyond 4 GiB."""
    job = ("--rw=write", "--bs=1m", "--size=4400m")
    fio(volume.path, *job, "--do_verify=1")
    volume.remount()
    fio(volume.path, *job, "--verify_only")
