"""The audit log on a medium that is full, read-only or dead (docs/audit.md; FORMAT.md section 16)."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from encfs.audit.home import home
from encfs.errors import ExitCode
from encfs.format.audit import NO_VOLUME
from encfs.format.recovery_key import encode_recovery_key
from encfs.volume import Volume
from tests.support import media
from tests.support.audit_logs import body, years_here
from tests.support.command import PASSPHRASE, Made, run
from tests.support.evidence import record


@pytest.fixture
def volume(base: Path) -> Made:
    """A locked volume beside the medium of the log."""
    key, recovery, secret = os.urandom(32), base / "recovery", base / "passphrase"
    for path, text in ((recovery, encode_recovery_key(key)), (secret, PASSPHRASE)):
        path.write_text(text + "\n")
        path.chmod(0o600)
    Volume.create(os.fsencode(base / "volume"), secret=PASSPHRASE.encode(), recovery_key=key)
    with Volume.unlock(os.fsencode(base / "volume"), PASSPHRASE.encode()) as opened:
        opened.write_file(b"a.txt", b"Dear colleague\n")
    return Made(base / "volume", secret, recovery)


@pytest.fixture
def medium(base: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[media.Lower]:
    """A small ext4 that holds the log, and can fail."""
    with media.lower_filesystem("ext4", base, flaky=True) as lower:
        monkeypatch.setenv("CLOAKFS_STATE_DIRECTORY", str(lower.path / "state"))
        yield lower


def fast(volume: Made) -> tuple[str, ...]:
    """Opens it without a key derivation."""
    return ("--recovery-file", str(volume.recovery_file))


def keys_are_kept(volume: Made) -> None:
    """A change of keys is refused with exit status 30, and the config is as it was."""
    before = (volume.path / "cloakfs.volume").read_bytes()
    refused = run("key", "rename", volume.path, "passphrase", "Anna", *fast(volume))
    assert refused.code == ExitCode.AUDIT, refused.err
    assert "cannot be recorded in the audit log" in refused.err
    assert "Make room, or mend the disk" in refused.err
    assert (volume.path / "cloakfs.volume").read_bytes() == before


def files_go_on(volume: Made) -> None:
    """They are read, with a warning."""
    read = run("cat", volume.path, "a.txt", *fast(volume))
    assert (read.code, read.out) == (0, "Dear colleague\n")
    assert "cannot be recorded" in read.err


def works_again(volume: Made, confirmed: int) -> None:
    """The log goes on without a break, with all that was confirmed."""
    assert run("key", "rename", volume.path, "passphrase", "Anna", *fast(volume)).code == 0
    report = run("audit", "verify", "--json")
    assert (report.code, report.json["problems"]) == (0, [])
    records = run("audit", "show", "--json").json["records"]
    assert sum(each["action"] == "test" for each in records) >= confirmed


def fill(medium: media.Lower) -> int:
    """Take all room, root's too, and append until nothing fits; how many were confirmed."""
    medium.leave(0)
    with (medium.path / "ballast").open("ab", buffering=0) as ballast, suppress(OSError):
        while True:
            ballast.write(bytes(512))
    with home() as here:
        log = here.log()
        for number in range(2000):
            try:
                log.record(NO_VOLUME, body(number))
            except OSError as exc:
                assert exc.errno == errno.ENOSPC
                return number
    raise AssertionError("the medium does not fill")


@pytest.mark.parametrize("kind", media.kinds("ext4"))
def test_a_full_disk(medium: media.Lower, volume: Made, kind: str) -> None:
    """Keys stay, files are read, the log can be read and verified; with room it goes on as if nothing had been."""
    run("cat", volume.path, "a.txt", *fast(volume))
    confirmed = fill(medium)
    keys_are_kept(volume)
    files_go_on(volume)
    verified = run("audit", "verify")
    assert (verified.code, "Nothing is wrong." in verified.out) == (0, True)
    assert "cannot be recorded" in verified.err
    (medium.path / "ballast").unlink()
    os.sync()
    works_again(volume, confirmed)
    record("audit", f"the log's disk is full: {kind}", note="keys stay, files are read, it goes on when there is room")


@pytest.mark.parametrize("kind", media.kinds("ext4"))
def test_a_read_only_disk(medium: media.Lower, volume: Made, kind: str) -> None:
    """The same; nothing is written, and the log is read."""
    run("cat", volume.path, "a.txt", *fast(volume))
    subprocess.run(["mount", "-o", "remount,ro", str(medium.path)], check=True)
    keys_are_kept(volume)
    files_go_on(volume)
    for command in ("verify", "show", "export"):
        read = run("audit", command)
        assert (read.code, "cannot be recorded" in read.err) == (0, True), read.err
    assert run("audit", "review", "--reviewer", "Anna", "--no-findings").code == ExitCode.AUDIT
    subprocess.run(["mount", "-o", "remount,rw", str(medium.path)], check=True)
    works_again(volume, 0)
    record("audit", f"the log's disk is read-only: {kind}", note="keys stay, files and the log are read")


@pytest.mark.parametrize("kind", media.kinds("ext4"))
def test_a_dead_disk(medium: media.Lower, volume: Made, kind: str) -> None:
    """EIO from the disk: keys stay, files are read; when it is back, all that was confirmed is there."""
    assert medium.disk is not None
    run("cat", volume.path, "a.txt", *fast(volume))
    with home() as here:
        log = here.log()
        for number in range(30):
            log.record(NO_VOLUME, body(number))
    medium.disk.fails()
    keys_are_kept(volume)
    files_go_on(volume)
    with home() as here, pytest.raises(OSError, match=r"Input/output error|Read-only"):
        here.log().record(NO_VOLUME, body(99))
    medium.disk.works()
    media.take_out(medium)
    media.insert(medium)
    works_again(volume, 30)
    record("audit", f"the log's disk is dead: {kind}", note="keys stay, files are read, what was confirmed is there")


@pytest.mark.parametrize("kind", media.kinds("ext4"))
def test_pruning_on_a_full_disk(medium: media.Lower, kind: str) -> None:
    """No room for the mark: nothing goes; with room it does."""
    years_here()
    segments = sorted(path.name for path in (medium.path / "state" / "audit").glob("log-*"))
    fill(medium)
    refused = run("audit", "prune", "--yes")
    assert refused.code == ExitCode.AUDIT, refused.err
    assert "could not be pruned: No space left" in refused.err
    there = sorted(path.name for path in (medium.path / "state" / "audit").glob("log-*"))
    assert there[: len(segments)] == segments
    (medium.path / "ballast").unlink()
    os.sync()
    assert run("audit", "prune", "--yes", "--json").json["removed"]
    assert run("audit", "verify").code == 0
    record("audit", f"pruning on a full disk: {kind}", note="nothing goes without its tombstone")
