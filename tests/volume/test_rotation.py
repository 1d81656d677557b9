"""FORMAT.md section 14: a new epoch, new content keys, and nothing left under the old ones."""

from __future__ import annotations

import os
from errno import EIO
from pathlib import Path

import pytest

from encfs.core import frames
from encfs.core.sources import KnownSecret
from encfs.errors import ConfigForgedError, DataError, RollbackError, UsageError, VolumeInUseError, WrongSecretError
from encfs.format.epochs import RotationReason
from encfs.format.frame import parse_clear
from encfs.format.slots import SlotKind
from encfs.host.freshness import HostFreshness
from encfs.volume import Volume, read_config
from encfs.volume.keys import Keys, NewEpoch
from encfs.volume.repair import Repair
from encfs.volume.rotation import Outcome, Rotator
from encfs.volume.steps import carry_out
from tests.support.checkpoints import compare, make, stored
from tests.support.stores import FailingStore
from tests.support.volumes import (
    LONG,
    RECOVERY_KEY,
    SECRET,
    LowerVolume,
    flip,
    open_file,
    pattern,
    read,
    verify,
)

SOURCE = KnownSecret.of(SlotKind.RECOVERY, RECOVERY_KEY)
BIG = pattern(300_000)


def furnish(volume: Volume) -> dict[bytes, bytes]:
    """Files of several sizes and kinds, and what is in them."""
    made = {b"empty": b"", b"note": b"a note", b"big": BIG, b"docs/" + LONG: b"long", b"docs/deep/x": pattern(9000, 1)}
    volume.make_directory(b"docs")
    volume.make_directory(b"docs/deep")
    for path, content in made.items():
        volume.write_file(path, content)
    volume.make_symlink(b"link", b"docs/deep/x")
    volume.make_symlink(b"docs/link", b"t" * 3500)
    volume.changes.link(volume.resolve(b"note"), volume.resolve(b"docs"), b"second name")
    volume.attributes.set(volume.resolve(b"note"), b"user.who", b"Anna")
    return made


def begin(lower: LowerVolume, *, data: bool = False) -> NewEpoch:
    """The config of a new epoch."""
    with Keys(os.fsencode(lower.path), SOURCE) as keys:
        return keys.rotate(RotationReason.STAFF, data=data)


def run_in(volume: Volume) -> Outcome:
    """One run over an open volume."""
    rotator = Rotator(volume)
    for step in rotator.run():
        carry_out(step)
    assert rotator.outcome is not None
    assert rotator.ended is rotator.outcome.complete
    return rotator.outcome


def rotate(lower: LowerVolume, *, data: bool = False) -> Outcome:
    """All of a rotation, with the volume locked."""
    begin(lower, data=data)
    with lower.unlock() as volume:
        return run_in(volume)


def epochs_below(lower: LowerVolume) -> set[int]:
    """Of every frame and checkpoint that lies there."""
    found = set()
    for folder, _, files in os.walk(lower.path):
        for name in files:
            path = Path(folder, name)
            raw = b"" if path.is_symlink() else path.read_bytes()
            if raw[:4] == b"CLKM":
                found.add(int.from_bytes(raw[8:12], "big"))
            elif raw[:3] == b"CLK":
                found.add(parse_clear(raw).epoch)
    return found


def check(lower: LowerVolume, made: dict[bytes, bytes]) -> None:
    """Verify is clean, and contents and attributes are what they were."""
    assert lower.findings() == []
    with lower.unlock() as volume:
        assert {path: read(volume, path) for path in made} == made
        assert volume.attributes.read(volume.resolve(b"note")) == {b"user.who": b"Anna"}


@pytest.mark.parametrize("data", [False, True])
def test_everything_comes_under_the_new_epoch(lower, data):
    """Steps 1 to 4: all is readable, nothing names the old epoch, and neither copy of the config has its key."""
    with lower.unlock() as volume:
        made = furnish(volume)
        keys = {path: open_key(volume, path) for path in made}
    make(lower)
    before = lower.snapshot()
    outcome = rotate(lower, data=data)
    assert (outcome.complete, outcome.files, outcome.directories, outcome.damaged) == (True, 6, 3, 0)
    assert epochs_below(lower) == {1}
    config = read_config(os.fsencode(lower.path))
    assert [(entry.epoch, entry.active) for entry in config.epochs] == [(1, True)]
    (record,) = config.rotations
    assert (record.epoch, record.reason, record.data, record.finished > 0) == (1, RotationReason.STAFF, data, True)
    assert (record.files, record.directories, record.cells) == (6, 3, outcome.cells)
    for name in ("cloakfs.volume", "cloakfs.volume.bak"):
        assert (lower.path / name).read_bytes().count(b'"epoch":') == 2  # The epoch, and the record.
    check(lower, made)
    with lower.unlock() as volume:
        changed = {path for path in made if open_key(volume, path) != keys[path]}
    assert changed == (set(made) if data else set())
    del before[os.fspath(lower.path)]  # The config is written in there.
    times = {path: seen[3] for path, seen in lower.snapshot().items() if path in before and "cloakfs" not in path}
    assert times == {path: before[path][3] for path in times}


def open_key(volume: Volume, path: bytes) -> bytes:
    """The one content key of a file."""
    with open_file(volume, path) as file:
        assert file.header.previous_content_key is None
        return file.header.content_key


def test_the_old_keys_open_nothing(lower):
    """What somebody learned before the rotation, root key and epoch key, opens neither config nor headers."""
    with lower.unlock() as volume:
        furnish(volume)
        old_ring_key = volume.ctx.ring.active._key
    with Keys(os.fsencode(lower.path), SOURCE) as keys:
        old_root = keys.root_key
    rotate(lower)
    with pytest.raises(ConfigForgedError):
        Volume.unlock_with_root_key(os.fsencode(lower.path), old_root)
    raw = lower.lower(b"note").read_bytes()[:512]
    with lower.unlock() as volume:
        ring = volume.ctx.ring
        ring._epochs[1] = type(ring.active)(ring.suite, 1, old_ring_key)
        with pytest.raises(DataError):
            frames.open_header(ring, raw)


def test_everybody_else_still_opens(lower):
    """Section 4: the root key is new, and every slot opens with its own secret all the same."""
    rotate(lower)
    for kind, secret in ((SlotKind.PASSPHRASE, SECRET), (SlotKind.RECOVERY, RECOVERY_KEY)):
        Volume.unlock(os.fsencode(lower.path), secret, kind).close()


def test_a_leaver_is_shut_out(lower):
    """The slot goes in the same write: its secret does not open what comes after."""
    with Keys(os.fsencode(lower.path), SOURCE) as keys:
        leaver = next(slot for slot in keys.config.slots if slot.kind == SlotKind.PASSPHRASE)
        before = keys.config.seq
        keys.rotate(RotationReason.STAFF, without=leaver)
        assert (keys.config.seq, len(keys.config.slots)) == (before + 1, 1)
    with pytest.raises(WrongSecretError, match="no passphrase"):
        Volume.unlock(os.fsencode(lower.path), SECRET)


def test_data_wants_cells_of_one_page(tmp_path):
    """Section 14, step 3: with larger cells a power cut could hit one half-written; nothing is begun."""
    lower = LowerVolume(tmp_path / "volume", 16384)
    before = lower.snapshot()
    with Keys(os.fsencode(lower.path), SOURCE) as keys, pytest.raises(UsageError, match="16384 bytes"):
        keys.rotate(RotationReason.SCHEDULE, data=True)
    assert lower.snapshot() == before
    assert rotate(lower).complete


def test_a_second_rotation_before_the_first_has_ended(lower):
    """Both end together, with the content keys that the first one wanted."""
    with lower.unlock() as volume:
        made = furnish(volume)
        keys = {path: open_key(volume, path) for path in made}
    begin(lower, data=True)
    outcome = rotate(lower)
    assert (outcome.complete, outcome.cells > 70) == (True, True)
    config = read_config(os.fsencode(lower.path))
    assert [(one.epoch, one.data, one.finished > 0) for one in config.rotations] == [(1, True, True), (2, False, True)]
    assert epochs_below(lower) == {2}
    check(lower, made)
    with lower.unlock() as volume:
        assert not {open_key(volume, path) for path in made} & set(keys.values())


@pytest.mark.parametrize("after", [1, 4, 9, 14])
def test_a_run_that_is_broken_off(lower, after):
    """Between any two steps the volume can be locked; the next run does the rest."""
    with lower.unlock() as volume:
        made = furnish(volume)
    begin(lower, data=True)
    with lower.unlock() as volume:
        steps = Rotator(volume).run()
        for _ in range(after):
            carry_out(next(steps))
        steps.close()
        assert volume.config.rotating
        assert len(volume.tree.nodes) == 1
    check(lower, made)
    with lower.unlock() as volume:
        assert run_in(volume).complete
    assert epochs_below(lower) == {1}
    check(lower, made)


def test_what_is_moved_meanwhile_is_not_missed(lower):
    """Objects that change places while the walk is under way, and ones that lose their name, are sealed anew too."""
    with lower.unlock() as volume:
        for folder in (b"a", b"b"):
            volume.make_directory(folder)
            for number in range(5):
                volume.make_directory(folder + b"/d%d" % number)
                volume.write_file(folder + b"/d%d/f" % number, b"text")
    begin(lower)
    with lower.unlock() as volume:
        rotator, moved = Rotator(volume), 0
        kept = volume.open(b"a/d0/f", writable=True)
        volume.remove(b"a/d0/f")
        for step in rotator.run():
            carry_out(step)
            if moved < 4:  # Back and forth: what is behind the walk comes before it, and the reverse.
                volume.rename(b"a/d%d" % (moved + 1), b"b/x%d" % moved)
                volume.rename(b"b/d%d" % (moved + 1), b"a/x%d" % moved)
                volume.rename(b"b/x%d/f" % moved, b"f%d" % moved)
                moved += 1
        assert (rotator.ended, moved) == (True, 4)
        kept.write(0, b"still writable")
        kept.close()
    assert epochs_below(lower) == {1}
    assert lower.findings() == []


def test_what_no_name_leads_to_keeps_the_old_key(lower):
    """Files below a directory whose record is damaged need it until repair has brought them back."""
    with lower.unlock() as volume:
        made = furnish(volume)
        volume.write_file(b"docs/deep/y", b"yes")
    flip(lower.lower(b"docs/deep") / "cloakfs.d", 100)
    outcome = rotate(lower)
    assert (outcome.complete, outcome.left, outcome.failed) == (False, 2, 0)
    assert read_config(os.fsencode(lower.path)).rotating
    with lower.unlock() as volume:
        repair = Repair(volume)
        list(repair.apply(repair.plan(verify(volume)[0])))
    with lower.unlock() as volume:
        assert run_in(volume).complete
    with lower.unlock() as volume:
        assert read(volume, b"docs/deep/x") == made[b"docs/deep/x"]


def test_damage_does_not_hold_up_the_rest(lower):
    """What opens under no key is counted and stays byte for byte; a file with a bad cell keeps its good ones."""
    with lower.unlock() as volume:
        furnish(volume)
        volume.write_file(b"bad", BIG)
    header, cell = lower.lower(b"note"), lower.lower(b"bad")
    flip(header, 200)
    flip(cell, 4096 * 3 + 100)
    before = header.read_bytes()
    outcome = rotate(lower, data=True)
    assert (outcome.complete, outcome.damaged) == (True, 2)
    assert header.read_bytes() == before
    with lower.unlock() as volume, open_file(volume, b"bad") as file:
        assert bytes(file.read(0, 3000)) == BIG[:3000]
        assert bytes(file.read(200_000, 50_000)) == BIG[200_000:250_000]
    assert ("cell-damaged", b"bad") in lower.findings()


def test_what_cannot_be_written_keeps_the_old_key(lower):
    """A medium that refuses one header: the rotation does not end, nothing is lost, and the next run ends it."""
    with lower.unlock() as volume:
        made = furnish(volume)
    begin(lower)
    store = lower.make_store(FailingStore)
    with Volume.unlock(os.fsencode(lower.path), RECOVERY_KEY, SlotKind.RECOVERY, store=store) as volume:
        store.broken, store.times, store.after = {"pwrite": EIO}, 1, 3
        outcome = run_in(volume)
        assert (outcome.complete, outcome.failed) == (False, 1)
    check(lower, made)
    with lower.unlock() as volume:
        assert run_in(volume).complete
    check(lower, made)


def test_nobody_may_change_the_keys_while_it_ends(lower):
    """The last config is not written over somebody else's change; the next run ends it."""
    begin(lower)
    with lower.unlock() as volume:
        with Keys(os.fsencode(lower.path), SOURCE), pytest.raises(VolumeInUseError):
            run_in(volume)
        assert volume.config.rotating
        assert run_in(volume).complete


def test_a_file_that_was_put_back_can_still_be_accepted(lower, tmp_path):
    """A file that is older than the host remembers is evidence: it is rewrapped as it is, and opens once accepted."""
    memory = HostFreshness()
    with Volume.unlock(os.fsencode(lower.path), RECOVERY_KEY, SlotKind.RECOVERY, freshness=memory) as volume:
        volume.write_file(b"note", b"old")
    path = lower.lower(b"note")
    old = path.read_bytes()
    with (
        Volume.unlock(os.fsencode(lower.path), RECOVERY_KEY, SlotKind.RECOVERY, freshness=HostFreshness()) as volume,
        volume.open(b"note", writable=True) as file,
    ):
        file.write(0, b"new")
    path.write_bytes(old)
    begin(lower)
    with Volume.unlock(os.fsencode(lower.path), RECOVERY_KEY, SlotKind.RECOVERY, freshness=HostFreshness()) as volume:
        assert run_in(volume).complete
        with pytest.raises(RollbackError):
            read(volume, b"note")
    with lower.unlock() as volume:
        assert read(volume, b"note") == b"old"


def test_checkpoints_go_on_to_count(lower):
    """A checkpoint from before is sealed anew with its id and its records, and nothing differs from it."""
    with lower.unlock() as volume:
        furnish(volume)
    made = make(lower)
    rotate(lower)
    assert [path.name for path in stored(lower)] == [made.name]
    assert compare(lower) == []


def test_verify_counts_the_epochs(lower):
    """The proof that a user can ask for: how many headers and records each epoch seals."""
    with lower.unlock() as volume:
        furnish(volume)
    assert lower.verify()[1].epochs == {"0": 9}
    begin(lower)
    assert lower.verify()[1].epochs == {"0": 9}
    with lower.unlock() as volume:
        volume.write_file(b"after", b"new")
        assert verify(volume)[1].epochs == {"0": 9, "1": 1}
        run_in(volume)
    assert lower.verify()[1].epochs == {"1": 10}


def test_a_volume_without_rotation_ends_none(lower):
    """With one epoch a run changes nothing, and the config stays byte for byte."""
    before = (lower.path / "cloakfs.volume").read_bytes()
    with lower.unlock() as volume:
        furnish(volume)
        assert run_in(volume).files == 0
    assert (lower.path / "cloakfs.volume").read_bytes() == before
