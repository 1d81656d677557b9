"""encfs/volume/handing_over.py: a copy is whole and proved, or it is not there (FORMAT.md section 17)."""

from __future__ import annotations

import hashlib
import hmac
import os
import shutil
import stat
import struct
import traceback
from collections.abc import Callable
from errno import EIO, ENOSPC, EOPNOTSUPP, EPERM
from pathlib import Path
from typing import Any

import pytest

from encfs.core.slots import SlotSecret
from encfs.core.sources import KnownSecret, NewSlot
from encfs.crypto.kdf import expand
from encfs.errors import DataError, NotEmptyError, UsageError, WrongSecretError
from encfs.format.slots import Kdf, KdfAlg, SlotKind
from encfs.store.local import LocalStore
from encfs.volume import Volume, acl
from encfs.volume.attributes import Setattr
from encfs.volume.contents import take_stock
from encfs.volume.handing_over import HandedOver, check_place, hand_over
from encfs.volume.replica import Replica, _Dress
from tests.support.steps import state
from tests.support.stores import CHANGES
from tests.support.volumes import LONG, RECOVERY_KEY, ROOT, SECRET, LowerVolume, flip, pattern, verify

KEY, ID = b"r" * 32, b"i" * 16
NEW = NewSlot(kind=SlotKind.RECOVERY, label="Clinic", kdf=Kdf(KdfAlg.NONE), secret=SlotSecret(key=KEY))
PROOF = KnownSecret.of(SlotKind.RECOVERY, KEY)
DEFAULT_ACL = acl.build(acl.parse(struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, perm, 0xFFFFFFFF) for tag, perm in ((1, 7), (4, 5), (16, 7), (32, 0))
)))  # fmt: skip


class Steps:
    """Remembers how far it was told to be."""

    def __init__(self) -> None:
        self.last = [0, 0]

    def copied(self, done: int) -> None:
        assert done >= self.last[0]
        self.last[0] = done

    def verified(self, done: int) -> None:
        assert done >= self.last[1]
        self.last[1] = done


def furnished(path: Path) -> LowerVolume:
    """A volume with one of everything."""
    lower = LowerVolume(path)
    with lower.unlock() as volume:
        for directory in (b"letters", b"letters/2026", LONG + b"d", b"acl"):
            volume.make_directory(directory)
        volume.write_file(b"letters/2026/a", pattern(300_000), mode=0o640)
        volume.write_file(b"empty", b"")
        volume.write_file(LONG, pattern(5000))
        volume.write_file(b"bin\xff", b"\0" * 3_000_000 + b"x")
        with volume.open(b"sparse", create=True, writable=True) as file:
            file.truncate(3 << 20)
            file.write(2 << 20, b"in the middle")
        volume.make_symlink(b"l", b"letters/2026/a")
        volume.make_symlink(b"nowhere", b"x" * 4000)
        for name in (b"first", b"second"):
            volume.changes.link(volume.resolve(b"letters/2026/a"), volume.tree.root, name)
        volume.changes.link(volume.resolve(b"l", follow=False), volume.tree.root, b"l2")
        volume.changes.mknod(volume.tree.root, b"pipe", stat.S_IFIFO | 0o600, 0, ROOT)
        volume.attributes.set(volume.resolve(b"letters/2026/a"), b"user.DOSATTRIB", b"0x20")
        volume.attributes.set(volume.resolve(b"letters"), b"user.d", b"folder")
        volume.attributes.set(volume.resolve(b"acl"), acl.DEFAULT, DEFAULT_ACL)
        volume.write_file(b"acl/in", b"inherits")
        for number, name in enumerate((b"letters/2026/a", b"letters/2026", b"letters", b"sparse", b"acl", b"")):
            volume.set_metadata(name, Setattr(mtime_ns=10**18 + number))
        volume.set_metadata(b"empty", Setattr(mode=0o4755))
    return lower


def handed(lower: LowerVolume, to: Path, steps: Steps | None = None) -> HandedOver:
    """The copy, as the command makes it."""
    with lower.unlock(read_only=True) as volume:
        return hand_over(volume, os.fsencode(to), NEW, PROOF, handover_id=ID, steps=steps or Steps())


def opened(path: Path, key: bytes = KEY) -> Volume:
    """The copy, with what the receiver has."""
    return Volume.unlock(os.fsencode(path), key, SlotKind.RECOVERY, read_only=True)


def everything(volume: Volume) -> dict[bytes, tuple[object, ...]]:
    """All a program sees, with owners, times and which names are of one object."""
    seen: dict[bytes, tuple[object, ...]] = {}
    for path, one in state(volume).items():
        entry = volume.stat(path, follow=False)
        seen[path] = (one, entry.mtime_ns, entry.uid, entry.gid)
    seen[b""] = (volume.stat(b"").mtime_ns, stat.S_IMODE(volume.stat(b"").mode))
    return seen


def test_all_of_it_is_there(tmp_path: Path) -> None:
    """Contents, names, links, modes, owners, times, attributes, ACLs; holes stay holes; both volumes verify."""
    lower, to, steps = furnished(tmp_path / "volume"), tmp_path / "copy", Steps()
    done = handed(lower, to, steps)
    with lower.unlock(read_only=True) as source, opened(to) as copy:
        assert everything(copy) == everything(source)
        assert copy.config.slots[0].label == "Clinic"
        names = (b"first", b"second", b"letters/2026/a")
        assert len({copy.stat(name).inode for name in names}) == 1
        total = sum(one.size for one in map(source.stat, (*names, LONG, b"bin\xff", b"sparse", b"acl/in")))
    assert sum(done.lost.as_dict().values()) == 0
    assert done.counts.as_dict() == {"directories": 4, "files": 8, "symlinks": 3, "others": 1, "bytes": total}
    assert steps.last == [total, total]
    blocks = sum(path.lstat().st_blocks for path in to.rglob("*")) * 512
    assert blocks < 4 << 20, "holes were filled"
    assert [path.name for path in tmp_path.iterdir() if "unfinished" in path.name] == []
    with opened(to) as copy:
        assert [one for one in verify(copy)[0] if str(one.severity) != "info"] == []
    assert lower.findings() == []


def test_neither_opens_the_other(tmp_path: Path) -> None:
    """No id, name or byte below is shared, and no secret of one side opens what the other has."""
    lower, to = furnished(tmp_path / "volume"), tmp_path / "copy"
    handed(lower, to)
    for secret, kind in ((SECRET, SlotKind.PASSPHRASE), (RECOVERY_KEY, SlotKind.RECOVERY)):
        with pytest.raises(WrongSecretError):
            Volume.unlock(os.fsencode(to), secret, kind)
    with pytest.raises(WrongSecretError):
        opened(lower.path)
    with lower.unlock(read_only=True) as source, opened(to) as copy:
        assert source.config.volume_id != copy.config.volume_id
        assert source.ctx.ring.active.key != copy.ctx.ring.active.key
        assert source.ctx.ring.metadata.freshness_key != copy.ctx.ring.metadata.freshness_key
    names = [{path.name for path in place.rglob("*") if len(path.name) >= 43} for place in (lower.path, to)]
    assert names[0] & names[1] == set()


def test_the_digest_is_what_the_format_says(tmp_path: Path) -> None:
    """Section 17, "Handover", written out a second time; it is the same on each reading, and another for another id."""
    lower, to = LowerVolume(tmp_path / "volume"), tmp_path / "copy"
    with lower.unlock() as volume:
        volume.make_directory(b"b")
        volume.write_file(b"b/f", b"content")
        volume.make_symlink(b"a", b"target")
        volume.attributes.set(volume.resolve(b"b/f"), b"user.x", b"y")
    digest = handed(lower, to).digest
    nothing = hashlib.sha256(b"").digest()
    listed = hashlib.sha256(b"\0\6user.x\0\0\0\1y").digest()
    items = [
        b"\2" + struct.pack(">I", 0) + nothing,
        b"\3" + struct.pack(">I", 1) + b"a" + b"target",
        b"\2" + struct.pack(">I", 1) + b"b" + nothing,
        b"\1" + struct.pack(">I", 3) + b"b/f" + struct.pack(">Q", 7) + hashlib.sha256(b"content").digest() + listed,
    ]
    whole = hashlib.sha256(b"".join(hashlib.sha256(item).digest() for item in items)).digest()
    with opened(to) as copy:
        metadata_key = copy.ctx.ring.metadata._key
        assert digest == hmac.digest(expand(metadata_key, b"cloakfs/1 handover" + ID), whole, "sha256")
        assert take_stock(copy).digest(copy.ctx.ring.metadata.handover_key(ID)) == digest
        assert take_stock(copy).digest(copy.ctx.ring.metadata.handover_key(b"j" * 16)) != digest


@pytest.mark.parametrize(
    "change",
    [
        lambda copy: copy.write_file(b"b", b"y"),
        lambda copy: copy.rename(b"b", b"c"),
        lambda copy: copy.remove(b"b"),
        lambda copy: copy.write_file(b"new", b""),
        lambda copy: copy.attributes.set(copy.resolve(b"b"), b"user.x", b"y"),
        lambda copy: copy.make_directory(b"d"),
    ],
)
def test_any_change_changes_the_digest(tmp_path: Path, change: Callable[[Volume], object]) -> None:
    """Content, name, one file less or more, an attribute, a folder; not a mode, which another medium may lose."""
    lower, to = LowerVolume(tmp_path / "volume"), tmp_path / "copy"
    with lower.unlock() as volume:
        volume.write_file(b"b", b"x")
    digest = handed(lower, to).digest
    with Volume.unlock(os.fsencode(to), KEY, SlotKind.RECOVERY) as copy:
        copy.set_metadata(b"b", Setattr(mode=0o600, mtime_ns=5))
        assert take_stock(copy).digest(copy.ctx.ring.metadata.handover_key(ID)) == digest
        change(copy)
        assert take_stock(copy).digest(copy.ctx.ring.metadata.handover_key(ID)) != digest


def test_places(tmp_path: Path) -> None:
    """New, or an empty directory; never over something, never on top of a medium, never beside a broken-off copy."""
    lower = LowerVolume(tmp_path / "volume")
    empty = tmp_path / "empty"
    empty.mkdir()
    check_place(os.fsencode(empty))
    handed(lower, empty)
    for name, kind in (("empty", NotEmptyError), ("missing/copy", UsageError), ("volume", NotEmptyError)):
        with pytest.raises(kind):
            check_place(os.fsencode(tmp_path / name))
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "new")
    (tmp_path / "late.unfinished").mkdir()
    for name in ("file", "link", "late"):
        with pytest.raises(NotEmptyError):
            check_place(os.fsencode(tmp_path / name))
    with pytest.raises(UsageError, match="top of a medium"):
        check_place(b"/proc/sys/fs/binfmt_misc") if os.path.ismount("/proc/sys/fs/binfmt_misc") else check_place(
            _mount()
        )


def _mount() -> bytes:
    """An empty directory that is a mount point on this machine."""
    for line in Path("/proc/mounts").read_text().splitlines():
        place = line.split()[1]
        if os.path.isdir(place) and os.access(place, os.R_OK) and not os.listdir(place):
            return os.fsencode(place)
    pytest.skip("no empty mount point")


def test_somebody_else_takes_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came meanwhile stays, and the copy is gone."""
    lower, to = LowerVolume(tmp_path / "volume"), tmp_path / "copy"

    class Late(Steps):
        def verified(self, done: int) -> None:
            to.mkdir(exist_ok=True)
            (to / "mine").write_text("mine")

    with lower.unlock() as volume:
        volume.write_file(b"b", b"x")
    with pytest.raises(NotEmptyError, match="not there before"):
        handed(lower, to, Late())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "volume"]
    assert [path.name for path in to.iterdir()] == ["mine"]


@pytest.mark.parametrize("where", ["cell", "header", "name", "attributes", "record"])
def test_damage_ends_it(tmp_path: Path, where: str) -> None:
    """A copy that lacks something is none: the damage is told, by its name, and nothing is left of the copy."""
    lower = furnished(tmp_path / "volume")
    file = lower.lower(b"letters/2026/a")
    if where == "attributes":
        sealed = bytearray(os.getxattr(file, "user.cloakfs"))
        sealed[-1] ^= 1
        os.setxattr(file, "user.cloakfs", bytes(sealed))
    elif where == "name":
        file.rename(file.with_name(("A" if file.name[0] != "A" else "B") + file.name[1:]))
    elif where == "record":
        flip(file.parent / "cloakfs.d", 100)
    else:
        flip(file, 5000 if where == "cell" else 100)
    with pytest.raises(DataError, match=r"letters|first"):
        handed(lower, tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == ["volume"]


def test_a_crash_is_recovered_first(tmp_path: Path) -> None:
    """What may be half-written is not handed over."""
    lower = LowerVolume(tmp_path / "volume")
    lower.crash(lambda volume: volume.write_file(b"b", b"x"))
    with pytest.raises(DataError, match="not closed properly"):
        handed(lower, tmp_path / "copy")
    lower.unlock().close()
    handed(lower, tmp_path / "copy")


def test_what_was_written_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte that the medium loses, and a file that goes, are noticed before the copy has a name."""
    lower = furnished(tmp_path / "volume")

    def spoil(how: Callable[[Path], object]) -> None:
        def spoiling(path: bytes) -> None:
            big = max((each for each in Path(os.fsdecode(path)).rglob("*") if each.is_file()), key=_size)
            how(big)

        monkeypatch.setattr("encfs.volume.handing_over.forget", spoiling)
        with pytest.raises(DataError):
            handed(lower, tmp_path / "copy")
        assert [each.name for each in tmp_path.iterdir()] == ["volume"]

    spoil(lambda file: flip(file, 600))
    spoil(lambda file: file.unlink())


def _size(path: Path) -> int:
    return path.stat().st_size


def test_another_content_is_noticed(tmp_path: Path) -> None:
    """Also one that authenticates: what is compared is what was read, not what was written."""
    lower, to = LowerVolume(tmp_path / "volume"), tmp_path / "copy"
    with lower.unlock() as volume:
        volume.write_file(b"b", b"right")
        volume.write_file(b"c", b"")
    handed(lower, to)
    with lower.unlock(read_only=True) as source:
        for change in (lambda copy: copy.write_file(b"b", b"wrong"), lambda copy: copy.remove(b"c")):
            replica = Replica(source, _Sink(source))  # type: ignore[arg-type]
            replica.contents = take_stock(source)
            replica._dresses = [_Dress(0, 0, 0, 0)] * 9
            with Volume.unlock(os.fsencode(to), KEY, SlotKind.RECOVERY) as copy:
                change(copy)
            with opened(to) as copy, pytest.raises(DataError, match="in the copy"):
                replica.prove(copy)


class _Sink:
    """Stands for a volume that nothing is written to."""

    def __init__(self, volume: Volume) -> None:
        self.ctx = volume.ctx


@pytest.mark.parametrize("code", [ENOSPC, EIO])
@pytest.mark.parametrize("call", ["pwrite", "open", "mkdir", "rename", "fsync", "syncfs", "link", "symlink"])
def test_a_medium_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int) -> None:
    """At the first, a middle and a late call of each kind: an error, the source untouched, nothing left of the copy."""
    lower, to = furnished(tmp_path / "volume"), tmp_path / "copy"
    before = lower.snapshot()
    for nth in (0, 3, 17):
        reached = _fail_at(monkeypatch, call, code, nth)
        try:
            handed(lower, to)
        except OSError as exc:
            assert exc.errno == code
        else:
            assert not reached()
            shutil.rmtree(to)
        monkeypatch.undo()
        assert [path.name for path in tmp_path.iterdir()] == ["volume"], f"call {nth}"
    assert lower.snapshot() == before


def _fail_at(monkeypatch: pytest.MonkeyPatch, call: str, code: int, nth: int) -> Callable[[], bool]:
    """From now on call number ``nth`` of one kind fails; whether that was reached."""
    own, count = vars(LocalStore)[call], 0
    is_static = isinstance(own, staticmethod)
    real = own.__func__ if is_static else own

    def failing(self: LocalStore, *arguments: Any, **more: Any) -> Any:
        nonlocal count
        if call != "open" or arguments[2] & os.O_CREAT:
            count += 1
            if count - 1 == nth:
                raise OSError(code, os.strerror(code))
        return real(*arguments, **more) if is_static else real(self, *arguments, **more)

    monkeypatch.setattr(LocalStore, call, failing)
    return lambda: count > nth


def test_a_medium_without_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a stick with FAT: what is not kept is counted, and contents are there all the same."""
    lower, to = furnished(tmp_path / "volume"), tmp_path / "copy"

    def refuses(code: int) -> Any:
        def call(*_arguments: Any, **_more: Any) -> None:
            raise OSError(code, os.strerror(code))

        return call

    for call in ("link", "mknod", "chown", "symlink"):
        monkeypatch.setattr(LocalStore, call, refuses(EPERM))
    for call in ("setxattr", "removexattr"):
        monkeypatch.setattr(LocalStore, call, refuses(EOPNOTSUPP))
    monkeypatch.setattr(LocalStore, "chmod", lambda *_: None)
    done = handed(lower, to)
    monkeypatch.undo()
    lost = done.lost.as_dict()
    assert (lost["attributes"], lost["hard_links"], lost["others"]) == (6, 3, 1)
    assert lost["modes"] > 0
    with lower.unlock(read_only=True) as source, opened(to) as copy:
        for name in (b"first", b"second", b"letters/2026/a", b"sparse", LONG):
            assert b"".join(copy.read_file(name)) == b"".join(source.read_file(name))
        assert copy.read_link(b"l") == copy.read_link(b"l2") == b"letters/2026/a"


def test_killed_while_it_copies(fast_path: Path) -> None:
    """What is left has a name that says so, and nothing under the name of the copy; the source is as it was."""
    lower, number, cases = furnished(fast_path / "volume"), 0, 0
    while True:
        to = fast_path / f"copy-{number}"
        child = os.fork()
        if child == 0:
            status = 1
            try:
                _die_at(number)
                handed(lower, to)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (0, 77)
        if status == 0:
            break
        assert not to.exists(), f"change {number}"
        with pytest.raises(NotEmptyError, match="broken off"):
            check_place(os.fsencode(to))
        shutil.rmtree(fast_path / f"copy-{number}.unfinished")
        number += 7
        cases += 1
    assert cases > 8
    assert lower.findings() == []


def _die_at(number: int) -> None:
    """From now on this process dies before change ``number`` of any store."""
    count = 0

    def dying(real: Any, *, is_static: bool) -> Any:
        def call(self: LocalStore, *arguments: Any, **more: Any) -> Any:
            nonlocal count
            if count == number:
                os._exit(77)
            count += 1
            return real(*arguments, **more) if is_static else real(self, *arguments, **more)

        return call

    for name in CHANGES:
        own = vars(LocalStore).get(name)
        if own is not None:
            is_static = isinstance(own, staticmethod)
            setattr(LocalStore, name, dying(own.__func__ if is_static else own, is_static=is_static))
