"""Older files and volumes against the memory of a host, with the library on real lower files (FORMAT.md section 13)."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from encfs.errors import ExitCode, MediumGoneError, PlaceError, RollbackError, VolumeRollbackError
from encfs.format.limits import SESSIONS_KEPT
from encfs.volume import Volume
from encfs.volume.changes import Caller
from tests.support.checkpoints import compare_in, make_in, stored
from tests.support.evidence import record
from tests.support.host import Host
from tests.support.volumes import LONG, LowerVolume, pattern, read, verify


@pytest.fixture
def host(host_memory: Path) -> Host:
    """This test's host."""
    return Host(host_memory)


def put(volume: Volume, path: bytes, seed: object, size: int = 5000) -> None:
    """Write a file."""
    volume.write_file(path, pattern(size, seed))


def all_content(volume: Volume) -> dict[bytes, bytes | str]:
    """Every file in the root of the plain tree: its bytes, or the kind of error."""
    found: dict[bytes, bytes | str] = {}
    for entry in volume.list_directory(b""):
        try:
            found[entry.name] = read(volume, entry.name)
        except (RollbackError, PlaceError) as exc:
            found[entry.name] = type(exc).__name__
    return found


def older_self(host: Host, lower: LowerVolume, change: Callable[[Volume], object], tmp_path: Path) -> Path:
    """Files ``a``, ``b`` and ``c``; a copy of the lower tree; ``change`` in a later session. Returns the copy."""
    with host.unlocked(lower) as volume:
        for name in (b"a", b"b", b"c"):
            put(volume, name, name)
    copy = tmp_path / "copy"
    shutil.copytree(lower.path, copy, symlinks=True)
    with host.unlocked(lower) as volume:
        change(volume)
    return copy


def put_back(lower: LowerVolume, copy: Path, plain: bytes) -> None:
    """The lower file of a plain name as it is in a copy."""
    name = lower.seal_name(lower.root_id(), plain)
    shutil.copy2(copy / name, lower.path / name)


CHANGES: dict[str, Callable[[Volume], object]] = {
    "rewritten": lambda volume: put(volume, b"a", "new"),
    "one byte changed": lambda volume: write_at(volume, b"a", 17),
    "appended": lambda volume: write_at(volume, b"a", 5000),
    "cut to nothing": lambda volume: volume.write_file(b"a", b""),
    "deleted": lambda volume: volume.remove(b"a"),
    "replaced by a rename": lambda volume: (put(volume, b"n", "new"), volume.rename(b"n", b"a")),
    "renamed": lambda volume: volume.rename(b"a", b"elsewhere"),
    "deleted while open": lambda volume: delete_open(volume, b"a"),
    "deleted and made anew": lambda volume: (volume.remove(b"a"), put(volume, b"a", "new")),
}


def write_at(volume: Volume, path: bytes, offset: int) -> None:
    """One byte somewhere."""
    with volume.open(path, writable=True) as file:
        file.write(offset, b"!")


def delete_open(volume: Volume, path: bytes) -> None:
    """Delete a file that a program has open, which goes on writing."""
    with volume.open(path, writable=True) as file:
        volume.remove(path)
        file.write(0, b"into nowhere")
        file.sync()


@pytest.mark.parametrize("change", CHANGES)
def test_an_older_file_is_not_opened(
    lower: LowerVolume, host: Host, tmp_path: Path, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    """FORMAT.md section 13: a file's older self is a rollback whatever had happened to it; others are readable."""
    copy = older_self(host, lower, CHANGES[change], tmp_path)
    with host.unlocked(lower) as volume:
        before = all_content(volume)
    put_back(lower, copy, b"a")
    with host.unlocked(lower) as volume, caplog.at_level(logging.ERROR):
        assert all_content(volume) == {**before, b"a": "RollbackError"}
        events = [line for line in caplog.messages if "integrity: rollback inode=" in line]
        assert len(events) == volume.ctx.events == 1
        found, summary = verify(volume)
        assert [(str(one.code), one.path) for one in found] == [("file-rollback", b"a")]
        assert not summary.clean
        volume.remove(b"a")
    with host.unlocked(lower) as volume:
        assert all_content(volume) == {name: data for name, data in before.items() if name != b"a"}
    record("freshness", f"older file put back: {change}", note="EIO, one event, others readable, can be deleted")


def test_what_is_back_as_it_was_is_no_rollback(lower: LowerVolume, host: Host, tmp_path: Path) -> None:
    """FORMAT.md section 13: the same generation, another name's copy and a file that nobody wrote since are fine."""
    copy = older_self(host, lower, lambda volume: put(volume, b"b", "new"), tmp_path)
    put_back(lower, copy, b"a")
    with host.unlocked(lower) as volume:
        assert read(volume, b"a") == pattern(5000, b"a")
        assert read(volume, b"b") == pattern(5000, "new")
        assert verify(volume)[1].clean


def test_symlinks_in_files_and_long_names(lower: LowerVolume, host: Host, tmp_path: Path) -> None:
    """FORMAT.md sections 9.4 and 13: what is kept in a lower file is remembered like a file."""

    def make(volume: Volume) -> None:
        put(volume, LONG, "one")
        volume.make_symlink(b"link", b"t" * 3500)

    def change(volume: Volume) -> None:
        put(volume, LONG, "two")
        volume.remove(b"link")

    with host.unlocked(lower) as volume:
        make(volume)
        long_name, link = lower.lower_in(volume, LONG), lower.lower_in(volume, b"link")
    kept = {path: path.read_bytes() for path in (long_name, link)}
    assert link.name.endswith(".l")
    with host.unlocked(lower) as volume:
        change(volume)
    for path, content in kept.items():
        path.write_bytes(content)
    with host.unlocked(lower) as volume:
        with pytest.raises(RollbackError):
            read(volume, LONG)
        with pytest.raises(RollbackError):
            volume.read_link(b"link")
        volume.remove(b"link")
        volume.remove(LONG)


def test_hard_links_exchanges_and_failed_renames_delete_nothing(lower: LowerVolume, host: Host) -> None:
    """FORMAT.md section 13: only the last name's removal is a deletion."""
    with host.unlocked(lower) as volume:
        for name in (b"a", b"b"):
            put(volume, name, name)
    with host.unlocked(lower) as volume:
        root = volume.tree.root
        volume.changes.link(volume.resolve(b"a"), root, b"a2")
        volume.remove(b"a")
        volume.changes.exchange(root, b"a2", root, b"b")
        with pytest.raises(FileExistsError):
            volume.changes.rename(root, b"a2", root, b"b", no_replace=True)
        with pytest.raises(FileNotFoundError):
            volume.changes.rename(root, b"missing", root, b"b")
        volume.make_directory(b"d")
        with pytest.raises(IsADirectoryError):
            volume.changes.rename(root, b"a2", root, b"d")
    assert host.rows("SELECT count(*) FROM durable WHERE mark % 2") == [(0,)]
    with host.unlocked(lower) as volume:
        assert all_content_of(volume, b"a2", b"b") == [pattern(5000, b"b"), pattern(5000, b"a")]
        volume.remove(b"a2")
    assert host.rows("SELECT count(*) FROM durable WHERE mark % 2") == [(1,)]


def all_content_of(volume: Volume, *paths: bytes) -> list[bytes]:
    """The content of files."""
    return [read(volume, path) for path in paths]


def test_to_delete_a_copied_file_does_not_delete_the_true_one(lower: LowerVolume, host: Host) -> None:
    """FORMAT.md section 13: a file that stands where its header does not say is removed without a note."""
    with host.unlocked(lower) as volume:
        for name in (b"a", b"b", b"c"):
            put(volume, name, name)
        paths = {name: lower.lower_in(volume, name) for name in (b"a", b"b", b"c")}
    shutil.copy2(paths[b"a"], paths[b"b"])
    content = bytearray(paths[b"a"].read_bytes())
    content[100] ^= 1
    paths[b"c"].write_bytes(content)
    with host.unlocked(lower) as volume:
        volume.remove(b"b")
        volume.remove(b"c")
        put(volume, b"n", "n")
        volume.rename(b"n", b"b")
    with host.unlocked(lower) as volume:
        assert read(volume, b"a") == pattern(5000, b"a")
        assert verify(volume)[1].clean


def test_a_crash_is_no_rollback_and_hides_none(lower: LowerVolume, host: Host, tmp_path: Path) -> None:
    """FORMAT.md sections 11 and 13: recovery takes what a crash left, and not a file older than a durable one."""

    def work(volume: Volume) -> None:
        put(volume, b"a", "crashed")
        put(volume, b"fresh", "crashed")
        volume.remove(b"b")

    copy = older_self(host, lower, lambda volume: put(volume, b"c", "new"), tmp_path)
    host.crash(lower, work)
    put_back(lower, copy, b"b")  # As a power cut would: the removal never reached the medium.
    with host.unlocked(lower) as volume:
        assert volume.recovery is not None
        assert volume.recovery.failed == 0
        assert read(volume, b"b") == pattern(5000, b"b")
        assert read(volume, b"a") == pattern(5000, "crashed")
    host.crash(lower, lambda volume: put(volume, b"b", "more"))
    put_back(lower, copy, b"c")
    with host.unlocked(lower, read_only=True) as volume:
        assert volume.ctx.tolerant
        with pytest.raises(RollbackError):
            read(volume, b"c")
    with host.unlocked(lower) as volume:
        assert volume.recovery is not None
        assert volume.recovery.failed == 1
        with pytest.raises(RollbackError):
            read(volume, b"c")
    record("freshness", "older file put back during the tolerance after a crash", note="noticed all the same")


def test_an_fsynced_file_is_remembered_although_its_session_crashed(
    lower: LowerVolume, host: Host, tmp_path: Path
) -> None:
    """FORMAT.md section 13: a generation counts from its fdatasync on, also without the end of the session."""
    copy = older_self(host, lower, lambda _: None, tmp_path)

    def work(volume: Volume) -> None:
        with volume.open(b"a", writable=True) as file:
            file.write(0, b"synced")
            file.sync()
        assert volume.memory is not None
        volume.memory.flush()

    host.crash(lower, work)
    put_back(lower, copy, b"a")
    with host.unlocked(lower) as volume, pytest.raises(RollbackError):
        read(volume, b"a")


def test_what_was_only_read_is_remembered(lower: LowerVolume, tmp_path: Path) -> None:
    """FORMAT.md section 13: a writer remembers at its end what it has read; a reader remembers no files."""
    writer, reader, other = (Host(tmp_path / name) for name in ("writer", "reader", "other"))
    with other.unlocked(lower) as volume:
        put(volume, b"a", "one")
        path = lower.lower_in(volume, b"a")
    old = path.read_bytes()
    with other.unlocked(lower) as volume:
        put(volume, b"b", "one")
        write_at(volume, b"a", 3)
    new = path.read_bytes()
    for host in (writer, reader):
        with host.unlocked(lower, read_only=host is reader) as volume:
            read(volume, b"a")
    path.write_bytes(old)
    with writer.unlocked(lower) as volume, pytest.raises(RollbackError):
        read(volume, b"a")
    with reader.unlocked(lower) as volume:
        assert len(read(volume, b"a")) == 5000
    path.write_bytes(new)
    assert writer.rows("SELECT count(*) FROM durable") == [(1,)]  # Nobody opened the other file.


def test_a_medium_that_goes_away_takes_the_keys_and_not_the_memory(lower: LowerVolume, host: Host) -> None:
    """FORMAT.md section 13: what was synced before the medium went is written; the keys of the memory go too."""
    with host.here():
        volume = host.unlock_here(lower.path)
        with volume.open(b"a", writable=True, create=True) as file:
            file.write(0, b"synced")
            file.sync()
        volume.lose_medium()
        memory = volume.memory
        assert memory is not None
        assert memory._secret is None  # type: ignore[attr-defined]
        with pytest.raises(MediumGoneError):
            volume.close()
    assert len(host.rows("SELECT mark FROM durable")) == 1
    with host.unlocked(lower) as volume:
        assert read(volume, b"a") == b"synced"


# -- the whole volume -------------------------------------------------------------------------------------------


def tree_bytes(path: Path) -> dict[str, bytes]:
    """Every lower file."""
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def refused(host: Host, lower: LowerVolume) -> str:
    """A writer is refused and nothing is written; returns what it is told. A reader is let in and told."""
    before = tree_bytes(lower.path)
    with host.here(), pytest.raises(VolumeRollbackError) as told:
        host.unlock_here(lower.path)
    assert told.value.exit_code == ExitCode.ROLLBACK == 28
    assert "cloakfs accept" in told.value.hint
    with host.unlocked(lower, read_only=True) as volume:
        assert volume.rollback is not None
        assert volume.rollback in str(told.value)
        found, summary = verify(volume)
        assert [str(one.code) for one in found] == ["volume-rollback"]
        assert not summary.clean
    assert tree_bytes(lower.path) == before
    return str(told.value)


def restore(lower: LowerVolume, copy: Path) -> None:
    """The whole lower tree as it is in a copy."""
    shutil.rmtree(lower.path)
    shutil.copytree(copy, lower.path, symlinks=True)


def test_an_older_volume_is_refused_until_it_is_accepted(lower: LowerVolume, host: Host, tmp_path: Path) -> None:
    """FORMAT.md section 13: a writer stops, a reader is warned; once accepted the old state is the remembered one."""
    copy = older_self(host, lower, lambda volume: put(volume, b"a", "new"), tmp_path)
    restore(lower, copy)
    assert "is missing" in refused(host, lower)
    with host.unlocked(lower, read_only=True) as volume:
        assert read(volume, b"a") == pattern(5000, b"a")
    assert host.accept(lower) == 1
    assert host.accept(lower) == 0
    for seed in ("again", "and again"):
        with host.unlocked(lower) as volume:
            assert read(volume, b"b") == pattern(5000, b"b")
            put(volume, b"a", seed)
    assert [row[2:] for row in host.rows("SELECT * FROM accepted")] == [("tester", "a test", "all")] * 2
    restore(lower, copy)
    refused(host, lower)
    record("freshness", "older whole volume", note="write refused, read warns, accept takes it, noticed again")


def test_an_older_session_record_buys_no_tolerance(lower: LowerVolume, host: Host) -> None:
    """FORMAT.md section 13: CLEAN put back to OPEN, deleted, or damaged: refused before recovery would begin."""
    with host.unlocked(lower) as volume:
        put(volume, b"a", "one")
        (path,) = [one for one in (lower.path / "cloakfs.s").iterdir() if one.name != "lock"]
        opened = path.read_bytes()
    clean = path.read_bytes()
    path.write_bytes(opened)
    assert "its record says that it had not" in refused(host, lower)
    path.unlink()
    assert "is missing" in refused(host, lower)
    path.write_bytes(clean[:100] + bytes([clean[100] ^ 1]) + clean[101:])
    assert "is damaged" in refused(host, lower)
    path.write_bytes(clean)
    with host.unlocked(lower) as volume:
        assert volume.recovery is None
        assert all_content(volume) == {b"a": pattern(5000, "one")}
    record("freshness", "session record put back, deleted, damaged", cases=3, note="refused, nothing written")


def test_an_older_state_of_a_crashed_session_is_older(lower: LowerVolume, host: Host, tmp_path: Path) -> None:
    """FORMAT.md section 13: a session counts from its OPEN record on, and RECOVERED is not undone."""
    copy = tmp_path / "before"
    shutil.copytree(lower.path, copy)
    host.crash(lower, lambda volume: put(volume, b"a", "one"))
    crashed = tmp_path / "crashed"
    shutil.copytree(lower.path, crashed)
    restore(lower, copy)
    if list((copy / "cloakfs.s").iterdir()) != [copy / "cloakfs.s/lock"]:
        pytest.fail("the template has sessions")
    assert "is missing" in refused(host, lower)
    restore(lower, crashed)
    with host.unlocked(lower) as volume:
        assert volume.recovery is not None
    restore(lower, crashed)
    refused(host, lower)


def test_a_medium_that_was_never_seen(lower: LowerVolume, host: Host, tmp_path: Path) -> None:
    """FORMAT.md section 13: another host, or this one after its memory was deleted, takes the volume as it is."""
    copy = older_self(host, lower, lambda volume: put(volume, b"a", "new"), tmp_path)
    other = Host(tmp_path / "other", name="other-host")
    with other.unlocked(copy) as volume:
        assert volume.memory is not None
        assert (volume.rollback, volume.memory.state) == (None, "new")
        assert all_content(volume) == {name: pattern(5000, name) for name in (b"a", b"b", b"c")}
    with other.unlocked(copy, read_only=True) as volume:
        assert volume.memory is not None
        assert volume.memory.state == "known"
    host.database().unlink()
    with host.unlocked(lower, read_only=True) as volume:
        assert volume.memory is not None
        assert (volume.rollback, volume.memory.state) == (None, "lost")
    with host.unlocked(lower) as volume:
        assert volume.memory is not None
        assert volume.memory.state == "known"  # It was said once.
    record("freshness", "never seen, and memory deleted", cases=2, note="works; the loss is said once")


def test_use_as_a_library_remembers_nothing(lower: LowerVolume, host_memory: Path) -> None:
    """FORMAT.md section 13: without a memory given, none is made."""
    with lower.unlock() as volume:
        put(volume, b"a", "one")
        assert volume.memory is None
    assert not host_memory.exists()


# -- no false alarms ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("skew_days", [0, -400, 400])
def test_two_hosts_in_turn(lower: LowerVolume, tmp_path: Path, skew_days: int) -> None:
    """FORMAT.md sections 11 and 13: hosts take turns, with pruning, crashes and clocks that disagree: no alarm."""
    one = Host(tmp_path / "one", name="one")
    two = Host(tmp_path / "two", name="two", skew_ms=skew_days * 86_400_000)
    turns = 0
    for round_ in range(4):
        for host, sessions in ((one, 1 + round_ % 2), (two, SESSIONS_KEPT + 3 if round_ == 1 else 2)):
            for number in range(sessions):
                turns += 1

                def work(volume: Volume, seed: int = turns) -> None:
                    assert volume.rollback is None
                    put(volume, b"a", seed, 100)
                    put(volume, b"b%d" % (seed % 3), seed, 100)
                    if seed % 2 and volume.tree.find(volume.tree.root, b"b1"):
                        volume.remove(b"b1")

                if number == 1:
                    host.crash(lower, work)
                    continue
                with host.unlocked(lower) as volume:
                    assert volume.recovery is None or volume.recovery.failed == 0
                    work(volume)
                    assert volume.ctx.events == 0
    with one.unlocked(lower) as volume:
        records = volume.sessions.records()
        assert len(records) <= SESSIONS_KEPT + 2
        assert records[-1].session == volume.ctx.session  # The order of ids is the order of use.
        assert verify(volume)[1].clean
    record("freshness", "two hosts in turn, clocks apart, pruning", cases=turns, note="no alarm")


def test_an_older_volume_is_noticed_after_the_other_host_pruned(lower: LowerVolume, tmp_path: Path) -> None:
    """FORMAT.md section 13: many sessions elsewhere do not hide an older state from the host that saw a newer one."""
    one, two = Host(tmp_path / "one"), Host(tmp_path / "two", skew_ms=-400 * 86_400_000)
    with one.unlocked(lower) as volume:
        put(volume, b"a", 0)
    for number in range(SESSIONS_KEPT + 2):
        with two.unlocked(lower) as volume:
            put(volume, b"a", number)
    copy = tmp_path / "copy"
    shutil.copytree(lower.path, copy)
    with two.unlocked(lower) as volume:
        put(volume, b"a", "newest")
    restore(lower, copy)
    assert "is missing" in refused(two, lower)
    with one.unlocked(lower) as volume:  # It never saw the newer one.
        assert read(volume, b"a") == pattern(5000, SESSIONS_KEPT + 1)


def test_a_failed_fdatasync_claims_nothing(lower: LowerVolume, host: Host) -> None:
    """FORMAT.md section 13: after an fdatasync that failed, the next one has a header of its own to bring there."""
    with host.unlocked(lower) as volume:
        put(volume, b"a", "one")
        handle = volume.open(b"a", writable=True)
        handle.write(0, b"two")
        file = handle._file
        store = volume.ctx.store

        def fail(_fd: int) -> None:
            raise OSError(5, os.strerror(5))

        true = store.fdatasync
        store.fdatasync = fail  # type: ignore[method-assign]
        with pytest.raises(OSError, match=os.strerror(5)):
            file.sync()
        assert volume.memory is not None
        volume.memory.flush()
        claimed = host.rows("SELECT count(*) FROM durable")
        failed = file.header.generation
        store.fdatasync = true  # type: ignore[method-assign]
        file.sync()
        assert claimed == [(0,)]
        assert file.header.generation == failed + 1
        volume.memory.flush()
        assert host.rows("SELECT mark FROM durable") == [(2 * failed + 2,)]
        handle.close()


def test_other_users_may_do_without(lower: LowerVolume, host: Host) -> None:
    """FORMAT.md section 13: files made for other owners are remembered in the memory of who unlocks."""
    with host.unlocked(lower) as volume:
        node, _ = volume.changes.create(volume.tree.root, b"theirs", 0o600, Caller(4711, 4711))
        volume.tree.close_file(node)
    assert host.rows("SELECT count(*) FROM durable") == [(1,)]


def test_checkpoint_that_was_put_back(tmp_path: Path) -> None:
    """Section 13: an older checkpoint in the place of the newest of this host is found; other hosts know nothing."""
    lower, here, elsewhere = LowerVolume(tmp_path / "volume"), Host(tmp_path / "here"), Host(tmp_path / "elsewhere")
    with here.unlocked(lower) as volume:
        make_in(volume, alone=True)
    first = stored(lower)[-1].read_bytes()
    with here.unlocked(lower) as volume:
        volume.write_file(b"a", b"newer")
        make_in(volume, alone=True)
        assert compare_in(volume)[0] == []
    old, new = stored(lower)
    assert old.read_bytes() == first
    new.unlink()
    with here.unlocked(lower, read_only=True) as volume:
        findings, summary = compare_in(volume)
    assert [(one.code, one.lower_path) for one in findings] == [("checkpoint-rollback", b"cloakfs.c")]
    assert not summary.clean
    with elsewhere.unlocked(lower, read_only=True) as volume:
        assert compare_in(volume)[0] == []
    with here.unlocked(lower) as volume:
        assert [one.code for one in make_in(volume, alone=True)[1]] == ["checkpoint-rollback"]
    with here.unlocked(lower, read_only=True) as volume:
        assert compare_in(volume)[0] == []
    record("freshness", "older checkpoint put back", note="verify: checkpoint-rollback")
