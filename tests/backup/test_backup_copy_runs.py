"""Runs of ``copy`` on a directory, one after the other (FORMAT.md section 18, "Target of `copy`")."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from encfs.backup.copying import cache
from encfs.backup.copying.directory import DirectoryTarget
from encfs.backup.copying.scanning import SourceTree
from encfs.backup.drilling import Came, Trial, Wish
from encfs.backup.engine import Change
from encfs.backup.scratch import Scratch
from encfs.errors import BackupError, GuardError
from encfs.format import recovery_key
from encfs.format.backup import ItemKind
from encfs.format.slots import SlotKind
from encfs.volume import Volume
from tests.support.mounting import cloakfs
from tests.support.sealed_backups import PLAN, Sealed, allow, contents, nothing_torn, tree_is
from tests.support.tree_backups import Silent
from tests.support.volumes import LONG, RECOVERY_KEY, flip, pattern, read, verify

FILES = {b"one": pattern(100), b"two": pattern(50_000, 2), b"empty": b""}


@pytest.fixture
def sealed(tmp_path: Path) -> Sealed:
    """A volume with some files, and an empty target."""
    made = Sealed(tmp_path)
    made.write(FILES)
    return made


def test_first_run_has_everything_and_its_tree_is_a_volume(sealed: Sealed) -> None:
    """What is in the volume is in the run; ``volume/`` opens with the keys of the volume, and verifies."""
    made = sealed.run()
    engine = sealed.engine()
    assert [head.run for head in engine.runs()] == [made.manifest.head.run]
    assert contents(engine, made.manifest.head.run) == FILES
    assert not made.manifest.not_whole()
    assert made.verified == made.new_bytes > 0
    tree_is(sealed.target, made.manifest)
    with Volume.unlock(
        os.fsencode(sealed.target / "volume"), RECOVERY_KEY, SlotKind.RECOVERY, read_only=True
    ) as volume:
        assert read(volume, b"two") == FILES[b"two"]
        assert verify(volume)[0] == []
    nothing_torn(sealed.target)
    assert engine.verify(made.manifest.head.run, Silent()).damaged == ()


def test_unchanged_run_writes_no_object_and_reads_no_file(sealed: Sealed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unchanged files are known by what was remembered: they are not even read."""
    sealed.run()

    def read(*_: object) -> None:
        raise AssertionError("a file was read that has not changed")

    monkeypatch.setattr(SourceTree, "pieces", read)
    made = sealed.run()
    assert (made.new_files, made.new_bytes) == (0, 0)
    assert made.change == Change(before=3, changed=0, replaced=0, removed=0, added=0)


def test_later_runs_follow_and_earlier_ones_stay(sealed: Sealed) -> None:
    """After changes, renames and deletions each run still opens as it was; the tree is the newest."""
    first = sealed.run().manifest
    with sealed.volume.unlock() as volume:
        with volume.open(b"one", writable=True) as file:
            file.write(50, pattern(150, 3))
        volume.remove(b"empty")
        volume.make_directory(b"folder")
        volume.write_file(b"folder/new", pattern(7000, 4))
    second = sealed.run()
    with sealed.volume.unlock() as volume:
        volume.rename(b"folder", b"moved")
    third = sealed.run().manifest
    engine = sealed.engine()
    then = {b"one": FILES[b"one"][:50] + pattern(150, 3), b"two": FILES[b"two"]}
    assert contents(engine, first.head.run) == FILES
    assert contents(engine, second.manifest.head.run) == {**then, b"folder/new": pattern(7000, 4)}
    assert contents(engine, third.head.run) == {**then, b"moved/new": pattern(7000, 4)}
    assert second.change == Change(before=3, changed=1, replaced=0, removed=1, added=1)
    tree_is(sealed.target, third)
    nothing_torn(sealed.target)
    for run in (first, second.manifest, third):
        assert engine.verify(run.head.run, Silent()).damaged == ()


def test_what_moves_with_its_folder_is_not_copied_again(sealed: Sealed) -> None:
    """A renamed folder costs its record, whatever is in it."""
    with sealed.volume.unlock() as volume:
        volume.make_directory(b"folder")
        for number in range(5):
            volume.write_file(b"folder/%d" % number, pattern(9000, number))
    sealed.run()
    with sealed.volume.unlock() as volume:
        volume.rename(b"folder", b"elsewhere")
    made = sealed.run()
    assert made.new_bytes < 9000
    assert (made.change.removed, made.change.added, made.change.changed) == (0, 0, 0)


@pytest.mark.parametrize("damage", [None, b"", b"nonsense", b"cut"])
def test_without_what_was_remembered_all_is_read_and_nothing_written_again(
    sealed: Sealed, host_memory: Path, damage: bytes | None
) -> None:
    """A cache that is lost or damaged costs time alone."""
    first = sealed.run().manifest
    path = next((host_memory / "backup-copy").iterdir())
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-3] if damage == b"cut" else damage)
    made = sealed.run()
    assert made.new_bytes == 0
    assert made.change == Change(before=3, changed=0, replaced=0, removed=0, added=0)
    assert [item.digest for item in made.manifest.items] == [item.digest for item in first.items]


def test_guard_is_asked_before_anything_is_written(sealed: Sealed) -> None:
    """What it refuses leaves the target as it was, byte for byte."""
    sealed.run()
    before = {path: path.stat() for path in sealed.target.rglob("*")}
    sealed.write({b"one": b"x", b"two": b"y"})
    told = []

    def guard(change: Change) -> None:
        told.append(change)
        raise GuardError("too much has changed")

    with pytest.raises(GuardError):
        sealed.engine().run(guard, Silent())
    assert told == [Change(before=3, changed=0, replaced=2, removed=0, added=0)]
    now = {path: path.stat() for path in sealed.target.rglob("*")}
    assert {path: (one.st_ino, one.st_mtime_ns) for path, one in now.items()} == {
        path: (one.st_ino, one.st_mtime_ns) for path, one in before.items()
    }


def test_files_that_were_encrypted_once_more_have_lost_their_chain(sealed: Sealed) -> None:
    """Whatever writes over the sealed files, or puts others in their place, is counted as replacing them."""
    sealed.run()
    sealed.volume.lower(b"one").write_bytes(pattern(4197, "ransom"))
    with sealed.volume.unlock() as volume:
        volume.write_file(b"fresh", FILES[b"two"])
        volume.rename(b"fresh", b"two")
    told: list[Change] = []
    sealed.engine().run(told.append, Silent())
    assert told == [Change(before=3, changed=0, replaced=2, removed=0, added=0)]


def test_a_volume_that_is_gone_or_another_one_is_no_reason_to_empty_the_backup(sealed: Sealed, tmp_path: Path) -> None:
    """An empty mount point, or another volume there: nothing is written, and the error says what to do."""
    sealed.run()
    away = tmp_path / "away"
    sealed.volume.path.rename(away)
    with pytest.raises(BackupError, match="not where the backup takes it from") as caught:
        sealed.engine(known=away).run(allow, Silent())
    assert "Put its medium back" in caught.value.hint
    sealed.volume.path.mkdir()
    with pytest.raises(BackupError, match="not where the backup takes it from"):
        sealed.engine(known=away).run(allow, Silent())
    assert len(sealed.engine(known=away).runs()) == 1


def test_links_symlinks_attributes_and_modes_come_back(sealed: Sealed) -> None:
    """Everything that the sealed tree has is in the run, also what the target does not keep."""
    with sealed.volume.unlock() as volume:
        volume.changes.link(volume.resolve(b"one"), volume.tree.root, b"other name")
        volume.make_symlink(b"link", b"one")
        volume.write_file(LONG, b"long")
    made = sealed.run()
    kinds = {item.kind for item in made.manifest.items}
    assert ItemKind.SYMLINK in kinds
    several = [item for item in made.manifest.items if item.links]
    assert len(several) == 2
    assert len({item.links for item in several}) == 1
    tree_is(sealed.target, made.manifest)
    engine = sealed.engine()
    with engine.open(made.manifest.head.run) as source:
        assert source.read_link(b"link") == b"one"
        assert source.stat(b"other name").links == 2
        assert b"".join(source.read(LONG)) == b"long"
    again = sealed.run()
    assert again.new_files == 0
    tree_is(sealed.target, again.manifest)


def test_temporaries_and_foreign_files_stay_out(sealed: Sealed) -> None:
    """What is not encrypted never gets onto a target: it could be a plain file that landed there by mistake."""
    (sealed.volume.path / "patients.csv").write_bytes(b"name;born")
    (sealed.volume.path / "cloakfs.t.0123456789abcdef").write_bytes(b"half")
    made = sealed.run()
    paths = {item.path for item in made.manifest.items}
    assert not {b"patients.csv", b"cloakfs.t.0123456789abcdef"} & paths
    everything = b"".join(path.read_bytes() for path in sealed.target.rglob("*") if path.is_file())
    assert b"name;born" not in everything


def test_run_that_was_broken_off_goes_on_where_it_was(sealed: Sealed, monkeypatch: pytest.MonkeyPatch) -> None:
    """What became an object is neither read nor written again, although there is no run yet."""
    target = DirectoryTarget(os.fsencode(sealed.target))
    monkeypatch.setattr(target, "batch", 1)
    looked: list[int] = []

    def flush() -> None:
        looked.append(len(list(sealed.target.glob("objects/??/*"))))
        if looked[-1] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sealed.engine(target=target, flush=flush).run(allow, Silent())
    there = {path.name: path.stat().st_ino for path in sealed.target.glob("objects/??/*")}
    assert len(there) == 3
    assert not list(sealed.target.rglob("*.part"))
    again: list[str] = []
    pieces = SourceTree.pieces

    def noted(tree: SourceTree, fd: int) -> Iterator[bytes]:
        for piece in pieces(tree, fd):
            again.append(hashlib.sha256(piece).hexdigest())
            yield piece

    monkeypatch.setattr(SourceTree, "pieces", noted)
    made = sealed.run()
    config = hashlib.sha256((sealed.volume.path / "cloakfs.volume").read_bytes()).hexdigest()
    assert not set(again) & set(there) - {config}  # It has a second copy, which is another file.
    assert contents(sealed.engine(), made.manifest.head.run) == FILES


def test_run_ids_grow_whatever_the_clock_says(sealed: Sealed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that was put back does not make a new run look old."""
    first = sealed.run().manifest
    monkeypatch.setattr("encfs.backup.copying.engine.time.time_ns", lambda: 1_000_000_000)
    second = sealed.run().manifest
    assert second.head.run > first.head.run
    assert second.head.previous == first.head.run
    assert [head.run for head in sealed.engine().runs()] == [first.head.run, second.head.run]


def test_prune_takes_runs_and_what_only_they_had(sealed: Sealed) -> None:
    """What a run that stays has is untouched; what nobody names any more is gone; the newest run always stays."""
    first = sealed.run().manifest
    sealed.write({b"one": pattern(60_000, 5)})
    second = sealed.run().manifest
    sealed.write({b"one": pattern(70_000, 6)})
    third = sealed.run().manifest
    engine = sealed.engine()
    freed = engine.prune([first.head.run], Silent())
    assert freed >= 60_000
    assert [head.run for head in engine.runs()] == [first.head.run, third.head.run]
    assert contents(engine, first.head.run) == FILES
    assert contents(engine, third.head.run) == {**FILES, b"one": pattern(70_000, 6)}
    named = {item.digest for manifest in (first, third) for item in manifest.items}
    assert {bytes.fromhex(path.name) for path in (sealed.target / "objects").glob("??/*")} <= named
    tree_is(sealed.target, third)
    with pytest.raises(BackupError, match="no such run"):
        engine.manifest(second.head.run)


def test_another_target_of_the_same_backup_gets_everything(sealed: Sealed, tmp_path: Path) -> None:
    """What is remembered is of the volume, not of the medium: a second medium that has nothing gets all of it."""
    sealed.run()
    other = tmp_path / "other"
    other.mkdir()
    engine = sealed.engine(target=other, label="B")
    made = engine.run(allow, Silent())
    assert contents(engine, made.manifest.head.run) == FILES
    assert made.manifest.head.label == "B"
    tree_is(other, made.manifest)


def test_a_config_of_its_own_takes_the_place_of_the_volumes(sealed: Sealed) -> None:
    """With ``config`` both copies in the run, and in the tree, are that one; the volume's own slots are nowhere."""
    own = (sealed.volume.path / "cloakfs.volume").read_bytes()
    other = own.replace(b'"seq":', b'"seq": ')  # It need not open here: what is asked is which bytes are where.
    engine = sealed.engine(config=lambda: other)
    made = engine.run(allow, Silent())
    for name in ("cloakfs.volume", "cloakfs.volume.bak"):
        assert (sealed.target / "volume" / name).read_bytes() == other
    everything = [path.read_bytes() for path in sealed.target.rglob("*") if path.is_file()]
    assert own not in everything
    assert engine.run(allow, Silent()).new_files == 0
    assert engine.verify(made.manifest.head.run, Silent()).damaged == ()


def test_what_is_remembered_has_no_plain_name(sealed: Sealed, host_memory: Path) -> None:
    """Only sealed names, digests and times are kept in the state directory."""
    sealed.write({b"Patientenliste": b"x"})
    sealed.run()
    known = cache.load(PLAN, sealed.volume_id)
    assert known.files
    assert not any(b"Patientenliste" in path for path in known.files)


def test_drill_of_a_run(sealed: Sealed) -> None:
    """All of an older run is restored and compared; one bit in it, wherever it lies, fails the drill."""
    with sealed.volume.unlock() as volume:
        volume.make_directory(b"folder")
        volume.write_file(b"folder/inside", b"inside")
    first = sealed.run().manifest
    sealed.write({b"two": b"another"})
    sealed.run()
    engine = sealed.engine()

    def drill() -> Came:
        with Scratch(1 << 30) as scratch:
            trial = Trial(engine, engine.manifest(first.head.run), key=None, scratch=scratch, steps=Silent())
            return trial.run(Wish(sample=None, seed=0))

    came = drill()
    assert came.passed
    assert (came.found.files, came.method.population) == (4, 4)
    two = next(item for item in first.items if item.size > 50_000)
    name = two.digest.hex()
    flip(sealed.target / "objects" / name[:2] / name, 30_000)
    came = drill()
    assert not came.passed
    assert came.found.wrong == 1


def test_tree_opens_with_the_command(sealed: Sealed) -> None:
    """``cloakfs verify`` finds nothing in ``volume/``, and what this computer remembers of the volume is no matter."""
    sealed.run()
    key = sealed.target.parent / "key"
    key.write_text(recovery_key.encode_recovery_key(RECOVERY_KEY))
    found = cloakfs("verify", str(sealed.target / "volume"), "--recovery-file", str(key), "--json")
    assert json.loads(found.stdout)["findings"] == []
    tree_is(sealed.target, sealed.engine().manifest(sealed.engine().runs()[0].run))
