"""Every call of the backing store, in every operation of a volume, fails once with every errno.

After it the program was told that errno, or the call was one that can be done without (``SPARE``); it sees the old
state or the new one; what failed works when it is tried again; no descriptor is left; ``verify`` is clean (DESIGN
section 4, FORMAT.md section 11). EINTR: Python itself repeats interrupted calls (PEP 475), so one that comes from below
all the same is an error like any other: it reaches the program.
"""

from __future__ import annotations

import errno
import itertools
import os
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from errno import EACCES
from pathlib import Path
from typing import Any

import pytest

from encfs.core import config as core_config
from encfs.errors import CloakfsError
from encfs.store import local
from encfs.volume import Volume
from encfs.volume.verify import Severity
from tests.support import evidence
from tests.support.fault_matrix import CODES, FailingModelStore, Fault, calls_of, counting, endure, faulty
from tests.support.model_crash import Model
from tests.support.model_disk import Disk
from tests.support.operations import BYSTANDERS, INEXACT, OPERATIONS, Operation
from tests.support.steps import State, state
from tests.support.stores import FailingStore
from tests.support.volumes import LowerVolume, own_ring, verify

ALL = OPERATIONS | INEXACT
RMDIR = frozenset({"rmdir", "rename a directory over an empty one", "rename a directory over an empty one, long name"})

# Calls that an operation can do without: what fails, with which errno, in which operations (None: any).
SPARE: tuple[tuple[frozenset[str], frozenset[int] | None, frozenset[str] | None], ...] = (
    # Only the owner may set times; to anybody else the kernel sends them itself.
    (frozenset({"futime"}), frozenset({EACCES}), None),
    # Where the lower filesystem has no owners, not even root may give anything away.
    (frozenset({"chown", "fchown"}), frozenset({EACCES}), None),
    # An owner may lift mode bits that keep him out, for the moment.
    (frozenset({"open", "open_writable", "open_directory", "list"}), frozenset({EACCES}), None),
    # A directory without a name is taken apart as far as that goes; recovery does the rest.
    (frozenset({"open_directory", "stat", "list", "unlink", "rmdir", "chmod", "close"}), None, RMDIR),
    # There is a second copy of the config.
    (frozenset({"open", "pread", "close"}), None, frozenset({"config"})),
)


# The renames that let the header name the new place afterwards (FORMAT.md section 11).
HEADER_WAITS = frozenset({"rename", "rename over", "rename between directories", "rename what was linked", "save"})


def is_in_waiting_header(operation: str, fault: Fault, calls: Sequence[str]) -> bool:
    """Whether the fault meets the header of a file that is renamed already: it is tried again before CLEAN."""
    if operation not in HEADER_WAITS:
        return False
    renamed = calls.index("rename")
    synced = calls.index("fsync", renamed) - 1 if "fsync" in calls[renamed:] else len(calls)  # An open comes before it.
    return renamed < fault.call < synced


def is_spare(operation: str, fault: Fault, calls: Sequence[str]) -> bool:
    """Whether an operation may go on after a fault."""
    return is_in_waiting_header(operation, fault, calls) or any(
        fault.name in calls and (codes is None or fault.code in codes) and (names is None or operation in names)
        for calls, codes, names in SPARE
    )


def check_clean(volume: Volume, expected: State, *, leftovers: bool) -> None:
    """verify finds nothing, and everything is as it should be. ``leftovers``: a temporary entry may be there."""
    found, _ = verify(volume)
    assert [one.code for one in found if not (leftovers and one.severity is Severity.INFO)] == []
    assert state(volume) == expected


def pairs(calls: Sequence[str], count: int, seed: str) -> Iterator[Fault]:
    """Each call with ``count`` of the errnos, drawn so that each operation meets all of them."""
    codes = list(CODES)
    random.Random(seed).shuffle(codes)
    turn = itertools.cycle(codes)
    for number, name in enumerate(calls):
        for code in itertools.islice(turn, count):
            yield Fault(number, name, code)


def run_on_model(model: Model, furnished: Disk, name: str, count: int) -> None:
    """One operation on a store in memory, each call with ``count`` errnos."""
    operation = ALL[name]
    disk = model.prepare(furnished, operation.before)
    states = model.states(disk, operation.steps)
    store = FailingModelStore(disk)
    with model.unlock(store) as volume:
        calls = calls_of(store, volume, operation.steps)
    done: Counter[int] = Counter()
    for fault in pairs(calls, count, name):
        store = FailingModelStore(disk)
        with model.unlock(store) as volume:
            told = endure(volume, operation.steps, fault, states)
            assert told == fault.code or (told is None and is_spare(name, fault, calls)), f"{fault}: told {told}"
        assert store.open_descriptors == 0, f"{fault}: a descriptor is left"
        volume = model.unlock(store)
        try:
            assert volume.recovery is None
            check_clean(volume, states[-1], leftovers=True)
        finally:
            volume.disown()
        done[fault.code] += 1
    for code, cases in done.items():
        evidence.record("faults", f"{name}: {errno.errorcode[code]}", cases=cases)


@pytest.mark.parametrize("name", ALL)
def test_each_call_fails(model: Model, furnished: Disk, name: str) -> None:
    """Each call of each operation fails with two errnos: told, old or new, repeatable, clean (DESIGN section 4)."""
    run_on_model(model, furnished, name, 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_each_call_fails_in_every_way(model: Model, furnished: Disk, name: str) -> None:
    """The same with every errno (DESIGN section 4)."""
    run_on_model(model, furnished, name, len(CODES))


# -- unlock and lock --------------------------------------------------------------------------------------------


def test_each_call_of_an_unlock_fails(model: Model, furnished: Disk) -> None:
    """An unlock that fails leaves no descriptor, and the next one works (DESIGN section 4)."""
    store = FailingModelStore(furnished)
    with counting(store) as calls:
        volume = model.unlock(store)
    expected = state(volume)
    volume.close()
    cases = 0
    for number, name in enumerate(calls):
        for code in CODES:
            store = FailingModelStore(furnished)
            with faulty(store, Fault(number, name, code)):
                try:
                    model.unlock(store).close()
                except OSError as exc:
                    assert exc.errno == code
                except CloakfsError:
                    pass
            assert store.open_descriptors == 0, f"{name} {code}: a descriptor is left"
            with model.unlock(store) as volume:
                check_clean(volume, expected, leftovers=False)
            cases += 1
    evidence.record("faults", "unlock", cases=cases)


def test_each_call_of_a_lock_fails(model: Model, furnished: Disk) -> None:
    """A lock that fails says so and leaves no descriptor; the next unlock finds everything (FORMAT.md section 11)."""
    operation = OPERATIONS["create and write"]
    expected = model.states(furnished, operation.steps)[-1]

    def work(store: FailingModelStore) -> Volume:
        volume = model.unlock(store)
        handle = volume.open(b"g", create=True, writable=True)
        for step in operation.steps:
            step(volume)
        handle.close()
        volume.remove(b"g")
        return volume

    store = FailingModelStore(furnished)
    volume = work(store)
    with counting(store) as calls:
        volume.close()
    cases = 0
    for number, name in enumerate(calls):
        for code in CODES:
            store = FailingModelStore(furnished)
            volume = work(store)
            with faulty(store, Fault(number, name, code)):
                try:
                    volume.close()
                except (OSError, CloakfsError) as exc:
                    assert not isinstance(exc, OSError) or exc.errno == code
            assert store.open_descriptors == 0, f"{name} {code}: a descriptor is left"
            with model.unlock(store) as volume:
                assert volume.recovery is None or volume.recovery.failed == 0
                check_clean(volume, expected, leftovers=False)
            cases += 1
    evidence.record("faults", "lock", cases=cases)


# -- a real filesystem --------------------------------------------------------------------------------------------


def descriptors() -> int:
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture(scope="module", autouse=True)
def _one_unlock() -> Iterator[None]:
    """Open the slot of each config once: hundreds of volumes are copies of one."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        real, known = core_config.unlock, {}

        def unlock(copies: Any, source: Any) -> Any:
            key = (tuple(copies), source)
            if key not in known:
                known[key] = real(copies, source)
            # A volume that is closed forgets its ring.
            return replace(known[key], ring=own_ring(known[key].ring))

        monkeypatch.setattr(core_config, "unlock", unlock)
        yield


class Bench:
    """Copies of a volume, on which one operation is tried again and again."""

    def __init__(self, path: Path, operation: Operation) -> None:
        self._path = path
        self._steps = operation.steps
        self._tidy = LowerVolume(path / "tidy")
        with self._tidy.unlock() as volume:
            for step in (*BYSTANDERS, *operation.before):
                step(volume)
        self.states = self._states()
        self._number = 0

    def _states(self) -> list[State]:
        with self.copy("states").unlock() as volume:
            seen = [state(volume)]
            for step in self._steps:
                step(volume)
                seen.append(state(volume))
        return seen

    def copy(self, name: str) -> LowerVolume:
        """A volume in the state before the operation."""
        return self._tidy.copy(self._path / name)

    def next(self) -> LowerVolume:
        """The same, for the next trial."""
        self._number += 1
        return self.copy(str(self._number))


@pytest.mark.parametrize("name", ALL)
def test_each_call_fails_on_a_real_filesystem(fast_path: Path, name: str) -> None:
    """Each call of each operation, below a real store: the same, and no descriptor is left (DESIGN section 4)."""
    operation = ALL[name]
    bench = Bench(fast_path, operation)
    with bench.next().unlock(store=FailingStore) as volume:
        calls = calls_of(volume.ctx.store, volume, operation.steps)
    done: Counter[int] = Counter()
    for fault in pairs(calls, 1, name):
        lower, before = bench.next(), descriptors()
        with lower.unlock(store=FailingStore) as volume:
            told = endure(volume, operation.steps, fault, bench.states)
            assert told == fault.code or (told is None and is_spare(name, fault, calls)), f"{fault}: told {told}"
        assert descriptors() == before, f"{fault}: a descriptor is left"
        with lower.unlock(read_only=True) as volume:
            check_clean(volume, bench.states[-1], leftovers=True)
        lower.remove()
        done[fault.code] += 1
    for code, cases in done.items():
        evidence.record("faults", f"{name}: {errno.errorcode[code]}", cases=cases)


class ShortOs:
    """The ``os`` module, in which one call that moves bytes moves only half of them."""

    def __init__(self, short: int) -> None:
        self.short = short
        self.count = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def _now(self) -> bool:
        self.count += 1
        return self.count - 1 == self.short

    def pwrite(self, fd: int, data: Any, offset: int) -> int:
        return os.pwrite(fd, memoryview(data)[: len(data) // 2] if self._now() else data, offset)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        return os.pread(fd, (size + 1) // 2 if self._now() else size, offset)

    def preadv(self, fd: int, buffers: list[memoryview], offset: int, *flags: int) -> int:
        if self._now():
            buffers = [buffers[0][: (len(buffers[0]) + 1) // 2]]
        return os.preadv(fd, buffers, offset, *flags)


@pytest.mark.parametrize("name", ALL)
def test_short_reads_and_writes(fast_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that moves only half of the bytes is carried on: nobody notices (DESIGN section 4)."""
    operation = ALL[name]
    bench = Bench(fast_path, operation)

    def trial(short: int) -> int:
        lower = bench.next()
        with lower.unlock() as volume:
            halving = ShortOs(short)
            monkeypatch.setattr(local, "os", halving)
            for step in operation.steps:
                step(volume)
            monkeypatch.setattr(local, "os", os)
            assert volume.ctx.events == 0
            check_clean(volume, bench.states[-1], leftovers=False)
        with lower.unlock(read_only=True) as volume:
            check_clean(volume, bench.states[-1], leftovers=False)
        lower.remove()
        return halving.count

    count = trial(-1)
    for short in range(count):
        trial(short)
    evidence.record("faults", f"{name}: short reads and writes", cases=count)
