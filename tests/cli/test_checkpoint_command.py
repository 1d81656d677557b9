"""``cloakfs checkpoint`` and ``verify --checkpoint`` on a volume that is not mounted (FORMAT.md section 12)."""

import os
import shutil

from encfs.format.recovery_key import decode_recovery_key
from encfs.format.slots import SlotKind
from encfs.volume import Volume
from tests.support.command import run
from tests.support.evidence import record


def damage(path, offset):
    """One byte of a lower file, flipped."""
    raw = bytearray(path.read_bytes())
    raw[offset] ^= 1
    path.write_bytes(raw)


def key(volume):
    """The recovery key, which needs no slow derivation."""
    return ("--recovery-file", str(volume.recovery_file))


def unlocked(volume):
    """The volume, open for writing."""
    text = " ".join(volume.recovery_file.read_text().splitlines()[1:])
    return Volume.unlock(os.fsencode(volume.path), decode_recovery_key(text), SlotKind.RECOVERY)


def test_checkpoint_in_words(volume):
    """Section 12: what it says, what it reads the first time and the second, and that verify then is content."""
    first = run("checkpoint", volume.path, *key(volume))
    assert (first.code, first.err) == (0, "")
    assert first.out.startswith("Checkpoint of 3 files, 2 directories, 1 symlink, 10 KiB in ")
    assert "read anew           3 files\n" in first.out
    assert "as in the last one  0 files\n" in first.out
    second = run("checkpoint", volume.path, *key(volume))
    assert "read anew           0 files\n" in second.out
    result = run("verify", volume.path, "--checkpoint", *key(volume))
    assert (result.code, result.err) == (0, "")
    assert "All of it is authentic." in result.out
    assert "3 files; 3 as they were. Nothing was put back or deleted below." in result.out
    assert len(list((volume.path / "cloakfs.c").iterdir())) == 2


def test_checkpoint_json(volume, tmp_path):
    """The documented object; the copy has the very bytes of the checkpoint."""
    copy = tmp_path / "copy"
    found = run("checkpoint", volume.path, "--output", copy, *key(volume), "--json").json
    assert found.pop("seconds") >= 0
    made = found.pop("checkpoint")
    assert found == {"volume": str(volume.path), "mounted": False, "copy": str(copy), "findings": []}
    (stored,) = (volume.path / "cloakfs.c").iterdir()
    assert copy.read_bytes() == stored.read_bytes()
    assert copy.stat().st_mode & 0o777 == 0o600
    assert (made["name"], made["size"]) == (stored.name, stored.stat().st_size)
    assert len(made["digest"]) == 64
    counts = {name: made[name] for name in ("files", "directories", "symlinks", "others", "read", "reused", "bytes")}
    assert counts == {
        "files": 3, "directories": 2, "symlinks": 1, "others": 0, "read": 3, "reused": 0, "bytes": 10255
    }  # fmt: skip


def test_verify_with_a_checkpoint_as_json(volume):
    """The comparison is an object of its own; without --checkpoint it is null."""
    made = run("checkpoint", volume.path, *key(volume), "--json").json["checkpoint"]
    assert run("verify", volume.path, *key(volume), "--json").json["checkpoint"] is None
    with unlocked(volume) as opened:
        opened.write_file(b"new", b"x")
    found = run("verify", volume.path, "--checkpoint", *key(volume), "--json").json
    assert found["clean"] is True
    comparison = found["checkpoint"]
    assert (comparison.pop("made"), comparison.pop("digest")) == (made["made"], made["digest"])
    assert comparison == {
        "name": made["name"], "files": 3, "same": 3, "changed": 0, "added": 1, "removed": 0, "written": True,
        "crashed": False, "findings": {},
    }  # fmt: skip


def test_tampering_is_found(volume, tmp_path):
    """An old file, a deleted one: exit 3, a line for each with code and lower path, and the counts."""
    lower, gone = volume.lower(b"letters/long.bin"), volume.lower(b"empty")
    old = lower.read_bytes()
    with unlocked(volume) as opened, opened.open(b"letters/long.bin", writable=True) as file:
        file.write(0, b"newer")
    copy = tmp_path / "copy"
    run("checkpoint", volume.path, "--output", copy, *key(volume))
    lower.write_bytes(old)
    gone.unlink()
    elsewhere = {"CLOAKFS_STATE_DIRECTORY": str(tmp_path / "another host")}
    for options in (("--checkpoint",), ("--checkpoint-file", str(copy))):
        result = run("verify", volume.path, *options, *key(volume), env=elsewhere)
        assert result.code == 3
        assert f"[file-deleted, below: {gone.relative_to(volume.path)}]" in result.out
        assert f"[file-rollback, below: {lower.relative_to(volume.path)}]" in result.out
        assert "All of it is authentic." in result.out
        assert "2 errors found." in result.out
    # This host remembers the newer file itself: it is told once.
    here = run("verify", volume.path, "--checkpoint", *key(volume), "--json")
    assert here.code == 3
    assert here.json["clean"] is False
    assert here.json["summary"]["findings"] == here.json["checkpoint"]["findings"] == {"error": 1}
    assert sorted((one["code"], one["path"]) for one in here.json["findings"]) == [
        ("file-deleted", "empty"), ("file-rollback", "letters/long.bin")
    ]  # fmt: skip
    record("checkpoint", "tampering, told by the command", note="exit 3, code, plain and lower path")


def test_damage_is_told_and_the_checkpoint_made(volume):
    """A header that does not open: exit 3, and everything else is in the checkpoint."""
    damage(volume.lower(b"letters/long.bin"), 70)
    result = run("checkpoint", volume.path, *key(volume))
    assert result.code == 3
    assert result.out.startswith("ERROR: letters/long.bin: ")
    assert "1 entry: run cloakfs verify" in result.out
    made = run("checkpoint", volume.path, *key(volume), "--json")
    assert made.code == 3
    assert (made.json["checkpoint"]["files"], made.json["checkpoint"]["damaged"]) == (2, 1)
    assert [one["code"] for one in made.json["findings"]] == ["file-damaged"]


def test_no_checkpoint_and_a_damaged_one(volume, tmp_path):
    """None: exit 26. A damaged one, or one of another volume: exit 25. A file that is not there: exit 1."""
    missing = run("verify", volume.path, "--checkpoint", *key(volume), "--json")
    assert missing.code == 26
    assert missing.json["error"]["name"] == "NOT_FOUND"
    assert "cloakfs checkpoint" in missing.err
    run("checkpoint", volume.path, *key(volume))
    (stored,) = (volume.path / "cloakfs.c").iterdir()
    copy = tmp_path / "copy"
    shutil.copy(stored, copy)
    damage(stored, 200)
    assert run("verify", volume.path, "--checkpoint", *key(volume)).code == 25
    assert run("verify", volume.path, "--checkpoint-file", copy, *key(volume)).code == 0
    damage(copy, 33)
    other = run("verify", volume.path, "--checkpoint-file", copy, *key(volume))
    assert other.code == 25
    assert "another volume" in other.err
    assert run("verify", volume.path, "--checkpoint-file", tmp_path / "nothing", *key(volume)).code == 1


def test_usage(volume, tmp_path):
    """A checkpoint is of the whole volume; where the copy cannot be written the checkpoint is there all the same."""
    result = run("verify", volume.path, "letters", "--checkpoint", *key(volume))
    assert result.code == 2
    assert "whole volume" in result.err
    failed = run("checkpoint", volume.path, "--output", tmp_path / "no" / "copy", *key(volume))
    assert failed.code == 1
    assert len(list((volume.path / "cloakfs.c").iterdir())) == 1
    assert run("checkpoint", tmp_path, *key(volume)).code == 15
