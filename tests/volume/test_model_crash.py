"""Power cuts at system-call granularity: every state that a model disk can be in, for each operation of a volume.

``tests/support/model_disk.py`` says what a cut can leave. On each disk the volume opens, what was synced is there and
unchanged, what was being done is done or not done (a file that grows may have grown in part), ``verify`` is clean, and
a second unlock finds nothing more to recover (FORMAT.md section 11, THREAT_MODEL.md section 4).
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from encfs.volume import Volume
from encfs.volume.checkpoint import open_newest
from encfs.volume.checkpoint_make import CheckpointMaker
from encfs.volume.steps import Waiting
from tests.support import evidence
from tests.support.model_crash import Model
from tests.support.model_disk import Disk
from tests.support.model_store import ModelStore
from tests.support.operations import BIG, INEXACT, OPERATIONS, new_config, put
from tests.support.steps import (
    LONGER,
    State,
    Step,
    allowed,
    attribute,
    create,
    exchange,
    link,
    mkdir,
    remove,
    rename,
    symlink,
    sync_directory,
    truncate,
    write,
)
from tests.support.volumes import LONG, pattern


def nothing_lost(before: State, after: State, seen: State) -> bool:
    """Whether each object that stays is there under one of its names, and nothing is that was never there."""
    was = [*before.values(), *after.values()]
    contents = {one.content for one in seen.values()}
    known = {path for path in seen if path in before or path in after or path.startswith(b"recovered-")}
    same = [path for path in before if before[path].content and before[path] == after.get(path)]
    return (
        known == seen.keys()
        and all(seen.get(path) == before[path] for path in same)
        and all(one.content in contents for one in after.values())
        and all(one.content in {other.content for other in was} for one in seen.values())
    )


@pytest.mark.parametrize("name", OPERATIONS)
def test_power_cut(model: Model, furnished: Disk, name: str) -> None:
    """Every disk that a cut during an operation can leave: old or new, verify clean (FORMAT.md section 11)."""
    operation = OPERATIONS[name]
    disk = model.prepare(furnished, operation.before)
    states = model.states(disk, operation.steps)
    during, after = model.cut(disk, operation.steps, name)
    for identity, left in (during | after).items():
        seen = model.look(left)
        assert allowed(states, seen), f"{name}: {sorted(seen)}"
        if operation.kept and identity in after:
            assert seen == states[-1], f"{name}: what was synced is not there"
    assert len(during) > 1
    evidence.record("crashes", f"model store: {name}", cases=len(during))


@pytest.mark.parametrize("name", INEXACT)
def test_power_cut_between_two_names(model: Model, furnished: Disk, name: str) -> None:
    """The changes that cannot be whole: every object is there under one of its names (FORMAT.md section 11)."""
    operation = INEXACT[name]
    disk = model.prepare(furnished, operation.before)
    states = model.states(disk, operation.steps)
    found = model.cut(disk, operation.steps, name).during
    exact = 0
    for left in found.values():
        seen = model.look(left)
        exact += allowed(states, seen)
        assert nothing_lost(states[0], states[-1], seen), f"{name}: {sorted(seen)}"
    assert 0 < exact < len(found), f"{name}: {exact} of {len(found)} are old or new; is it whole now?"
    evidence.record("crashes", f"model store: {name}", cases=len(found), note="nothing lost; names may be old and new")


def test_power_cut_of_a_config_write(model: Model, furnished: Disk) -> None:
    """The old config or the new one opens the volume, and the new one once it is written (FORMAT.md section 3)."""

    def number(left: Disk) -> int:
        with model.unlock(ModelStore(left)) as volume:
            return volume.config.seq

    old = number(furnished)
    during, after = model.cut(furnished, [new_config])
    assert {number(left) for left in during.values()} == {old, old + 1}
    assert {number(left) for left in after.values()} == {old + 1}


def make_checkpoint(volume: Volume) -> None:
    """Write a checkpoint as the daemon does."""
    for step in CheckpointMaker(volume, alone=False).run():
        if isinstance(step, Waiting):
            step.call()


def test_power_cut_of_a_checkpoint(model: Model, furnished: Disk) -> None:
    """The newest checkpoint is the old one or the new one, whole; once it is made, the new one (section 12)."""

    def newest(left: Disk) -> bytes:
        with model.unlock(ModelStore(left)) as volume, open_newest(volume.ctx, volume.root_fd) as found:
            assert list(found.records())
            return found.head.checkpoint_id

    disk = model.prepare(furnished, (make_checkpoint, put(b"f", 9000)))
    states, old = model.states(disk, (make_checkpoint,)), newest(disk)
    during, after = model.cut(disk, (make_checkpoint,))
    for left in during.values():
        assert allowed(states, model.look(left))
    ids = {newest(left) for left in during.values()}
    assert len(ids) == 2
    assert old in ids
    assert {newest(left) for left in after.values()} == ids - {old}
    evidence.record("crashes", "model store: checkpoint", cases=len(during))


SESSION = (create(b"f"), mkdir(b"d"), attribute(b"d", b"value"), rename(b"d", b"e"), write(b"f", 0, pattern(9000)))


def test_power_cut_from_unlock_to_lock(model: Model, furnished: Disk) -> None:
    """A whole session, begin and end: what was done is there when the volume is locked (FORMAT.md section 11)."""
    states = model.states(furnished, SESSION)
    during, after = model.cut_session(furnished, SESSION)
    for identity, left in (during | after).items():
        seen = model.look(left, crashed=None)
        if identity in after:
            assert seen == states[-1]
        else:
            assert allowed(states, seen)
    evidence.record("crashes", "model store: session, begin to end", cases=len(during | after))


def test_power_cut_during_recovery(model: Model, furnished: Disk) -> None:
    """A cut while a cut is recovered: the same holds, whatever was repaired by then (FORMAT.md section 11)."""
    cases, chance = 0, random.Random(3)
    for name, operation in OPERATIONS.items():
        disk = model.prepare(furnished, operation.before)
        states = model.states(disk, operation.steps)
        found = list(model.cut(disk, operation.steps, name).during.values())
        for left in chance.sample(found, min(len(found), 3)):
            during, after = model.cut_session(left, ())
            for again in (during | after).values():
                assert allowed(states, model.look(again, crashed=None)), name
                cases += 1
    assert cases > 500
    evidence.record("crashes", "model store: recovery", cases=cases)


NAMES = (b"a", b"b", LONG, LONGER, b"d/a", b"d/" + LONG, b"d/e/b", LONGER + b"/c")
ANY: tuple[Callable[[random.Random], Step], ...] = (
    lambda chance: put(chance.choice(NAMES), chance.choice((0, 100, 5000, 15_000))),
    lambda chance: write(chance.choice(NAMES), chance.randrange(12_000), pattern(chance.choice((1, 3000, 9000)))),
    lambda chance: write(chance.choice(NAMES), chance.randrange(12_000), pattern(4000), sync=True),
    lambda chance: truncate(chance.choice(NAMES), chance.choice((0, 1, 3552, 6000, 30_000))),
    lambda chance: mkdir(chance.choice((b"d", b"d/e", b"d/" + LONG, LONGER))),
    lambda chance: symlink(chance.choice(NAMES), chance.choice((b"t", BIG))),
    lambda chance: link(chance.choice(NAMES), chance.choice(NAMES)),
    lambda chance: rename(chance.choice(NAMES), chance.choice(NAMES)),
    lambda chance: rename(chance.choice((b"d", b"d/e", LONGER)), chance.choice((b"d", b"x", b"d/" + LONG, LONGER))),
    lambda chance: exchange(chance.choice(NAMES), chance.choice((*NAMES, b"d"))),
    lambda chance: remove(chance.choice((*NAMES, b"d/e", b"d"))),
    lambda chance: attribute(chance.choice(NAMES), b"value"),
    lambda chance: sync_directory(chance.choice((b"", b"d"))),
)  # fmt: skip


def possible(steps: list[Step]) -> Step:
    """The steps of a list that can be taken: names are drawn by lot and may be missing or taken."""

    def step(volume: Volume) -> None:
        for one in steps:
            try:
                one(volume)
            except OSError:
                continue

    return step


def run_mixtures(model: Model, furnished: Disk, rounds: range) -> int:
    """Random steps, some before a sync and some after it; how many disks were looked at."""
    cases = 0
    untouched = model.states(furnished, ())[0]
    for number in rounds:
        chance = random.Random(number)
        before, steps = ([chance.choice(ANY)(chance) for _ in range(count)] for count in (12, 6))
        disk = model.prepare(furnished, [possible(before)])
        found = list(model.cut(disk, [possible(steps)], number).during.values())
        for left in chance.sample(found, min(len(found), 60)):
            seen = model.look(left)
            assert untouched.items() <= seen.items(), f"round {number}"
            cases += 1
    return cases


def test_power_cut_in_mixtures(model: Model, furnished: Disk) -> None:
    """Any steps in any order, cut anywhere: it opens, verify is clean, other files are as they were (section 11)."""
    cases = run_mixtures(model, furnished, range(40))
    evidence.record("crashes", "model store: mixtures of steps", cases=cases)


@pytest.mark.slow
def test_power_cut_in_many_mixtures(model: Model, furnished: Disk) -> None:
    """The same, longer (FORMAT.md section 11)."""
    cases = run_mixtures(model, furnished, range(40, 2000))
    evidence.record("crashes", "model store: mixtures of steps", cases=cases)
