"""encfs/backup/drilling.py, picking.py, trial.py: what a drill restores, and what it calls right (FORMAT.md 17, 18)."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from encfs.audit.home import host_signer
from encfs.backup.drill_record import DrillOutcome, People, Record, as_json, parse
from encfs.backup.drilling import Wish
from encfs.backup.picking import files_of, pick
from encfs.backup.plans import EngineKind
from encfs.backup.scratch import Scratch
from encfs.backup.trial import About, Ended, hold
from encfs.crypto.signing import Algorithm, Signer
from encfs.errors import BackupError, FormatError, WrongSecretError
from encfs.format.backup import Item, ItemKind, Taken
from tests.support.tree_backups import KEY, PLAN, VOLUME, Silent, TreeBackup
from tests.support.volumes import RECOVERY_KEY, LowerVolume, pattern

NAMES = (b"Mueller-Anna", b"findings.pdf", b"empty")
FULL = Wish(sample=None, seed=0)


def _about(backup: TreeBackup, **changes: Any) -> About:
    kind = EngineKind.COPY if backup.sealed else EngineKind.RESTIC
    people = People(login="anna", uid=1000, name="Anna Weber")
    about = About(plan=PLAN, volume=VOLUME, engine=kind, target="/media/stick", people=people, key="kept key")
    return replace(about, own=host_signer().public, **changes)


def _hold(backup: TreeBackup, wish: Wish = FULL, *, room: int = 1 << 30, **about: Any) -> Ended:
    with Scratch(room) as scratch:
        key = None if backup.sealed else KEY
        return hold(backup, _about(backup, **about), wish, backup_key=key, scratch=scratch, steps=Silent())


@pytest.fixture
def plain(tmp_path: Path) -> TreeBackup:
    """A backup of a plain tree: a folder, files of several sizes, a link, attributes; ten more files."""
    backup = TreeBackup(tmp_path / "plain")
    folder = backup.tree / "Mueller-Anna"
    folder.mkdir(parents=True)
    (folder / "findings.pdf").write_bytes(pattern(2_500_000))
    (folder / "empty").write_bytes(b"")
    (folder / "latest").symlink_to("findings.pdf")
    os.setxattr(folder / "findings.pdf", "user.note", b"seen")
    for number in range(10):
        (folder / f"letter {number}.txt").write_bytes(pattern(1000 + number, number))
        os.utime(folder / f"letter {number}.txt", (number, number))
    backup.take()
    return backup


@pytest.fixture
def sealed(tmp_path: Path) -> TreeBackup:
    """A backup of a sealed tree with a long name, a link and a folder."""
    backup = TreeBackup(tmp_path / "sealed", sealed=True, secret=RECOVERY_KEY)
    backup.base.mkdir()
    made = LowerVolume(backup.tree)
    with made.unlock() as volume:
        volume.make_directory(b"Mueller-Anna")
        volume.write_file(b"Mueller-Anna/findings.pdf", pattern(300_000))
        volume.write_file(b"Mueller-Anna/" + b"L" * 200, b"a long name")
        volume.write_file(b"empty", b"")
        volume.make_symlink(b"latest", b"Mueller-Anna/findings.pdf")
        volume.make_symlink(b"far", b"x" * 3500)
    backup.take()
    return backup


# -- what is right -----------------------------------------------------------------------------------------------------


def test_all_of_a_plain_backup_passes(plain: TreeBackup) -> None:
    """Section 17, Drill: everything is restored, counted, and found to be what was taken."""
    ended = _hold(plain)
    assert ended.failure is None
    assert ended.record.outcome is DrillOutcome.PASSED, (ended.record, ended.came and ended.came.wrong)
    found = ended.record.found
    assert (found.files, found.bytes) == (12, 2_500_000 + 10 * 1000 + sum(range(10)))
    assert (found.wrong, found.extra) == (0, 0)
    assert (ended.record.method.population, ended.record.method.picked) == (12, 12)
    assert ended.record.scratch == "memory"


def test_all_of_a_sealed_backup_passes(sealed: TreeBackup) -> None:
    """Section 17, Drill: of a sealed tree the files that people have are counted, not those of the volume itself."""
    ended = _hold(sealed)
    assert ended.record.outcome is DrillOutcome.PASSED, (ended.record, ended.came and ended.came.wrong)
    assert (ended.record.found.files, ended.record.found.bytes) == (3, 300_011)
    assert ended.record.method.population == 3


@pytest.mark.parametrize("kind", ["plain", "sealed"])
def test_a_sample_passes(kind: str, request: pytest.FixtureRequest) -> None:
    """A sample restores as many files as were asked for, and looks for no others."""
    ended = _hold(request.getfixturevalue(kind), Wish(sample=2, seed=7))
    assert ended.record.outcome is DrillOutcome.PASSED
    assert (ended.record.found.files, ended.record.method.picked, ended.record.method.seed) == (2, 2, 7)
    assert ended.record.found.extra is None
    assert not ended.record.method.full


# -- what is not -------------------------------------------------------------------------------------------------------


def _flip(path: Path, at: int) -> None:
    info = path.stat()
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def _largest(tree: Path) -> Path:
    return max((path for path in tree.rglob("*") if path.is_file() and not path.is_symlink()), key=os.path.getsize)


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("at", [0, 511, 512, 150_000, -1])
def test_one_bit_of_a_sealed_file(sealed: TreeBackup, at: int, full: bool) -> None:
    """One bit flipped in the largest file, which is in every sample: the drill fails, and says that one is damaged."""
    _flip(_largest(sealed.tree), at)
    ended = _hold(sealed, FULL if full else Wish(sample=1, seed=1))
    assert ended.record.outcome is DrillOutcome.FAILED
    found = ended.record.found
    # Behind the end of the content nothing is sealed: only the manifest tells.
    assert (found.tag_failures, found.mismatches, found.wrong) == ((0, 1, 1) if at == -1 else (1, 0, 1))
    assert found.files == (2 if full else 0)


@pytest.mark.parametrize("at", [0, 1_048_576, -1])
def test_one_bit_of_a_plain_file(plain: TreeBackup, at: int) -> None:
    """What authenticates nowhere is held against the keyed digest: one bit makes it another file than was taken."""
    _flip(_largest(plain.tree), at)
    ended = _hold(plain, Wish(sample=1, seed=1))
    assert (ended.record.outcome, ended.record.found.mismatches) == (DrillOutcome.FAILED, 1)


def test_a_sealed_file_that_opens_and_was_never_taken(sealed: TreeBackup, tmp_path: Path) -> None:
    """An older version of a file authenticates; the manifest tells that it is not the one that was taken."""
    before = sealed.tree
    kept = {path: path.read_bytes() for path in before.rglob("*") if path.is_file()}
    big = _largest(before)
    made = LowerVolume.__new__(LowerVolume)
    made.path = before
    with made.unlock() as volume:
        volume.write_file(b"Mueller-Anna/findings.pdf", pattern(300_000, "changed"))
    for path in list(before.rglob("*")):
        if path.is_file() and path != big:
            path.unlink()
    for path, content in kept.items():
        if path != big:
            path.write_bytes(content)
    ended = _hold(sealed)
    assert ended.record.found.mismatches >= 1
    assert ended.record.found.tag_failures == 0
    assert ended.record.outcome is DrillOutcome.FAILED


@pytest.mark.parametrize("kind", ["plain", "sealed"])
def test_a_missing_file(kind: str, request: pytest.FixtureRequest) -> None:
    """A file that is gone from the backup is told as missing."""
    backup = request.getfixturevalue(kind)
    _largest(backup.tree).unlink()
    ended = _hold(backup, Wish(sample=1, seed=3))
    assert (ended.record.outcome, ended.record.found.missing) == (DrillOutcome.FAILED, 1)
    assert ended.record.found.mismatches == 0


def test_a_file_too_many(plain: TreeBackup) -> None:
    """A full drill finds what nobody took."""
    folder = plain.tree / "Mueller-Anna"
    info = folder.stat()
    (folder / "not mine").write_bytes(b"x")
    os.utime(folder, ns=(info.st_atime_ns, info.st_mtime_ns))
    found = _hold(plain).record.found
    assert (found.extra, found.wrong) == (1, 1)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda tree: os.chmod(tree / "Mueller-Anna" / "findings.pdf", 0o604),
        lambda tree: os.utime(tree / "Mueller-Anna" / "findings.pdf", ns=(0, 1)),
        lambda tree: os.setxattr(tree / "Mueller-Anna" / "findings.pdf", "user.note", b"sean"),
        lambda tree: os.removexattr(tree / "Mueller-Anna" / "findings.pdf", "user.note"),
        lambda tree: os.chown(tree / "Mueller-Anna" / "findings.pdf", 1234, -1),
        lambda tree: os.chmod(tree / "Mueller-Anna", 0o701),
    ],
    ids=["mode", "mtime", "attribute", "no attribute", "owner", "folder"],
)
def test_metadata(plain: TreeBackup, spoil: Callable[[Path], None]) -> None:
    """Contents that are right with another mode, time, owner or attribute fail too, also those of a folder above."""
    spoil(plain.tree)
    ended = _hold(plain, Wish(sample=1, seed=0))
    assert (ended.record.outcome, ended.record.found.metadata) == (DrillOutcome.FAILED, 1)
    assert ended.record.found.files == 1


def test_another_link(plain: TreeBackup) -> None:
    """A symlink that leads elsewhere is found in a full drill."""
    link = plain.tree / "Mueller-Anna" / "latest"
    folder = link.parent.stat()
    mtime = link.lstat().st_mtime_ns
    link.unlink()
    link.symlink_to("findings.pdg")
    os.utime(link, ns=(mtime, mtime), follow_symlinks=False)
    os.utime(link.parent, ns=(folder.st_mtime_ns, folder.st_mtime_ns))
    assert _hold(plain).record.found.metadata == 1


def test_a_file_that_grows_without_end(plain: TreeBackup) -> None:
    """A file that has more than it says takes no more room than it says, and is not what was taken."""

    class Endless(TreeBackup):
        pass

    backup = Endless(plain.base)
    sizes: list[int] = []

    class Growing:
        def __init__(self, source: Any) -> None:
            self._source = source

        def __getattr__(self, name: str) -> Any:
            return getattr(self._source, name)

        def read(self, path: bytes) -> Any:
            while True:
                sizes.append(len(sizes))
                yield bytes(1 << 20)

    opened = backup.open

    @contextmanager
    def growing(run: str) -> Any:
        with opened(run) as source:
            yield Growing(source)

    backup.open = growing  # type: ignore[method-assign]
    ended = _hold(backup, Wish(sample=1, seed=0))
    assert ended.record.found.mismatches == 1
    assert len(sizes) <= 4


def test_a_manifest_with_a_bit_flipped(plain: TreeBackup) -> None:
    """The manifest itself is part of the backup: damage to it is a drill that failed, with no digest to name."""
    (manifest,) = (plain.base / "runs").iterdir()
    _flip(manifest, 200)
    ended = _hold(plain)
    assert ended.record.outcome is DrillOutcome.FAILED
    assert ended.record.why
    assert ended.record.manifest.digest == ""
    assert ended.failure is None


def test_the_config_of_a_sealed_backup_is_gone(sealed: TreeBackup) -> None:
    """A backup that can no longer be opened at all is not broken off: it has failed or cannot be, but never passes."""
    for name in ("cloakfs.volume", "cloakfs.volume.bak"):
        (sealed.tree / name).unlink()
    ended = _hold(sealed)
    assert ended.record.outcome is not DrillOutcome.PASSED
    assert ended.record.why


def test_another_key(plain: TreeBackup, sealed: TreeBackup) -> None:
    """A key that is another one: of a sealed tree nothing opens, of a plain one nothing is what was taken."""
    sealed.secret = bytes(32)
    with pytest.raises(WrongSecretError):
        _hold(sealed)
    with Scratch(1 << 30) as scratch:
        ended = hold(plain, _about(plain), FULL, backup_key=bytes(32), scratch=scratch, steps=Silent())
    assert ended.record.found.mismatches == 12


def test_the_target_goes_away(plain: TreeBackup) -> None:
    """A target that is gone in the middle is a drill that was broken off, not a backup that is bad."""
    opened = plain.open

    @contextmanager
    def gone(run: str) -> Any:
        with opened(run) as source:
            plain.base.rename(plain.base.with_name("away"))
            yield source

    plain.open = gone  # type: ignore[method-assign]
    ended = _hold(plain)
    assert ended.record.outcome is DrillOutcome.BROKEN_OFF
    assert isinstance(ended.failure, BackupError)
    assert ended.record.why == "the target is gone"


def test_no_run(tmp_path: Path) -> None:
    """A target without a complete run: broken off, and the message says what to do."""
    backup = TreeBackup(tmp_path / "none")
    (backup.base / "runs").mkdir(parents=True)
    ended = _hold(backup)
    assert ended.record.outcome is DrillOutcome.BROKEN_OFF
    assert isinstance(ended.failure, BackupError)
    assert "cloakfs backup run" in ended.failure.hint


# -- which files -------------------------------------------------------------------------------------------------------


def _item(path: bytes, size: int = 1, mtime_ns: int = 1, taken: Taken = Taken.WHOLE) -> Item:
    digest = b"" if taken is Taken.MISSING else bytes(32)
    return Item(
        path=path,
        kind=ItemKind.FILE,
        mode=0o100644,
        uid=0,
        gid=0,
        mtime_ns=mtime_ns,
        size=size,
        digest=digest,
        taken=taken,
    )


def test_the_sample_is_the_one_of_the_format() -> None:
    """Section 17: largest, newest, then the smallest SHA-256("cloakfs/1 drill" || u64 seed || path)."""
    files = [_item(b"%02d" % number) for number in range(50)]
    files[10] = _item(b"10", size=5)
    files[20] = _item(b"20", mtime_ns=5)
    rank = sorted(
        files, key=lambda one: hashlib.sha256(b"cloakfs/1 drill" + (77).to_bytes(8, "big") + one.path).digest()
    )
    rest = [one for one in rank if one.path not in (b"10", b"20")][:4]
    expected = sorted([files[10], files[20], *rest], key=lambda one: one.path)
    assert pick(files, 6, 77) == expected
    assert pick(files, 6, 78) != expected
    assert pick(files, 1, 77) == [files[10]]
    assert pick(files, 2, 77) == [files[10], files[20]]
    assert pick(files, 50, 77) == pick(files, 99, 77) == files


def test_equal_sizes_are_settled_by_the_path() -> None:
    """Of equals the first by path; one that is largest and newest counts once."""
    files = [_item(b"a", 3, 3), _item(b"b", 3, 3), _item(b"c"), _item(b"d")]
    assert files[0] in pick(files, 1, 0)
    assert len(pick(files, 3, 0)) == 3


def test_what_is_missing_is_no_file(plain: TreeBackup) -> None:
    """What a run could not take is not picked: it is counted as not whole."""
    run = os.listdir(plain.base / "runs")[0]
    manifest = plain.manifest(run)
    gone = _item(b"zz", size=1 << 40, taken=Taken.MISSING)
    assert gone not in files_of(replace(manifest, items=(*manifest.items, gone)))


# -- the record --------------------------------------------------------------------------------------------------------


def test_the_record_says_whose_manifest_it_was(plain: TreeBackup) -> None:
    """Known: this computer signed it, or had noted its digest; another host: neither name nor key is the manifest's."""
    record = _hold(plain).record
    assert record.manifest.known
    assert not record.other_host  # The key is this computer's, whatever the name in the manifest.
    assert record.manifest.signer == host_signer().public.fingerprint()
    assert (record.manifest.host, record.manifest.files, record.manifest.not_whole) == ("source", 12, 0)
    other = Signer(Algorithm.ED25519, bytes(range(32)))
    plain.take(signer=other)
    foreign = _hold(plain).record
    assert (foreign.manifest.known, foreign.other_host) == (False, True)
    assert _hold(plain, noted={foreign.manifest.digest}).record.manifest.known
    plain.take(signer=other, host=socket.gethostname())
    assert not _hold(plain).record.other_host


def test_age_and_clocks(plain: TreeBackup) -> None:
    """The age of the data is measured; a run of the future has none, whatever else is right."""
    plain.take(at=time.time() - 3 * 86400)
    runs = plain.base / "runs"
    newest = max(runs.iterdir(), key=lambda path: path.name)
    if newest.name != min(runs.iterdir(), key=lambda path: path.name).name:
        newest.unlink()
    age = _hold(plain).record.took.age
    assert age is not None
    assert 3 * 86400 <= age < 3 * 86400 + 600
    plain.take(at=time.time() + 86400)
    record = _hold(plain).record
    assert record.took.age is None
    assert record.outcome is DrillOutcome.PASSED


def test_time_is_measured(plain: TreeBackup) -> None:
    """The estimate of a sample covers all files and all bytes; that of a full drill is what was measured."""
    ended = _hold(plain, Wish(sample=2, seed=0))
    assert ended.came is not None
    assert ended.record.took.target == 72 * 3600
    assert ended.record.took.ended >= ended.record.took.began
    assert ended.record.took.estimate * 1000 >= ended.came.ms - 1000


def test_a_record_comes_back_from_json(plain: TreeBackup) -> None:
    """Every field is written and read; one that is missing, too many, or of another type is refused."""
    record = _hold(plain).record
    told = as_json(record)
    assert parse(told) == record
    for name in told:
        with pytest.raises(FormatError):
            parse({key: value for key, value in told.items() if key != name})
        with pytest.raises(FormatError):
            parse({**told, name: [1]})
    for broken in ({"more": 1}, {"format": 2}, {"id": "zz"}, {"outcome": "well"}, {"engine": "borg"}):
        with pytest.raises(FormatError):
            parse({**told, **broken})


@pytest.mark.parametrize("kind", ["plain", "sealed"])
def test_no_name_and_no_content_in_a_record(kind: str, request: pytest.FixtureRequest) -> None:
    """Also of a drill that found something: no name of a file, no content, no digest of one."""
    backup = request.getfixturevalue(kind)
    largest = _largest(backup.tree)
    _flip(largest, 150_000)
    record: Record = _hold(backup).record
    text = repr(as_json(record)) + repr(record) + repr(_hold(backup).came)
    for name in (*map(os.fsdecode, NAMES), "letter", largest.name):
        assert name not in text
