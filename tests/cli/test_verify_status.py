"""``cloakfs verify`` and ``cloakfs status`` on a volume that is not mounted."""

import os

from encfs.volume import Volume, read_config
from tests.support.command import PASSPHRASE, run


def damage(path, offset):
    """One byte of a lower file, flipped."""
    raw = bytearray(path.read_bytes())
    raw[offset] ^= 1
    path.write_bytes(raw)


def test_clean_volume(volume):
    """Exit 0, and the counts of what was read."""
    result = run("verify", volume.path, *volume.secret)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("Read 3 files, 2 directories, 1 symlink, 10 KiB in ")
    assert "All of it is authentic." in result.out


def test_verify_json(volume):
    """The documented object."""
    found = run("verify", volume.path, *volume.secret, "--json").json
    assert found.pop("seconds") >= 0
    assert found == {
        "volume": str(volume.path),
        "mounted": False,
        "paths": [],
        "clean": True,
        "summary": {"files": 3, "directories": 2, "symlinks": 1, "bytes": 10255, "findings": {}, "epochs": {"0": 5}},
        "checkpoint": None,
        "findings": [],
    }


def test_findings(volume):
    """A damaged cell: exit 3, one line with severity, plain path and lower path, and what to do."""
    lower = volume.lower(b"letters/long.bin")
    damage(lower, 5000)
    result = run("verify", volume.path, *volume.secret)
    assert result.code == 3
    line = result.out.splitlines()[0]
    assert line.startswith("ERROR: letters/long.bin: ")
    assert str(lower.relative_to(volume.path)) in line
    assert "1 error found." in result.out
    assert "backup" in result.out


def test_findings_as_json(volume):
    """Each finding has its severity, code, and both paths."""
    lower = volume.lower(b"letters/long.bin")
    damage(lower, 5000)
    result = run("verify", volume.path, *volume.secret, "--json")
    assert result.code == 3
    assert result.json["clean"] is False
    (finding,) = result.json["findings"]
    assert set(finding) == {"severity", "code", "path", "lower_path", "detail"}
    assert (finding["severity"], finding["path"]) == ("error", "letters/long.bin")
    assert finding["lower_path"] == str(lower.relative_to(volume.path))


def test_verify_of_a_part(volume):
    """Only what is named is read."""
    damage(volume.lower(b"letters/long.bin"), 5000)
    assert run("verify", volume.path, "letters/a.txt", "empty", *volume.secret).code == 0
    assert run("verify", volume.path, "letters", *volume.secret).code == 3


def test_verify_of_a_missing_path(volume):
    """A path that does not exist is no finding but exit 26."""
    result = run("verify", volume.path, "nope", *volume.secret)
    assert result.code == 26
    assert "nope" in result.err


def test_status_of_a_locked_volume(volume):
    """Everything that needs no key, in words."""
    result = run("status", volume.path)
    assert (result.code, result.err) == (0, "")
    for words in ("locked (not mounted)", "4 KiB", "Argon2id 64 MiB, 3 passes", "recovery key", "on the disk"):
        assert words in result.out


def test_status_json(volume):
    """The documented object, without any key."""
    config = read_config(os.fsencode(volume.path))
    (found,) = run("status", volume.path, "--json").json["volumes"]
    sizes = found.pop("sizes")
    assert set(sizes) == {"lower_files", "lower_bytes", "complete", "disk_free", "disk_total"}
    assert sizes["lower_files"] == sum(path.is_file() or path.is_symlink() for path in volume.path.rglob("*"))
    slots = [
        {"id": slot.id.hex(), "kind": str(slot.kind), "label": slot.label, "created": slot.created}
        for slot in config.slots
    ]
    slots[0]["kdf"] = {"alg": "argon2id", "memory_kib": 65536, "passes": 3, "lanes": 1}
    slots[1]["kdf"] = {"alg": "none"}
    assert found == {
        "volume": str(volume.path),
        "state": "locked",
        "mount": None,
        "last_lock": None,
        "last_session": None,
        "rollback": None,
        "elsewhere": [],
        "verified": None,
        "break_glass": [],
        "policy": None,
        "config": {
            "volume_id": config.volume_id.hex(),
            "created": config.created,
            "suite": "cloakfs-1",
            "cell_size": 4096,
            "epochs": 1,
            "rotating": False,
            "features": {"compat": [], "incompat": [], "ro_compat": []},
            "read_only": False,
            "slots": slots,
        },
    }


def test_status_with_a_passphrase_tells_the_last_session(volume):
    """The sealed records say how it ended: here cleanly, by this process."""
    (found,) = run("status", volume.path, *volume.secret, "--quick", "--json").json["volumes"]
    session = found["last_session"]
    assert set(session) == {"state", "started", "ended", "host", "pid", "uid", "mountpoint"}
    assert (session["state"], session["pid"]) == ("clean", os.getpid())
    assert found["sizes"] is None


def test_status_tells_a_crash(volume):
    """A session that never ended is told, and that the next mount checks."""
    opened = Volume.unlock(os.fsencode(volume.path), PASSPHRASE.encode())
    opened._abandon()
    result = run("status", volume.path, *volume.secret)
    assert "ended in a crash; the next mount checks the volume" in result.out


def test_status_of_several(volume, tmp_path):
    """Each argument has its own object, in order; one that is no volume fails all."""
    other = tmp_path / "other"
    Volume.create(os.fsencode(other), secret=b"x")
    found = run("status", other, volume.path, "--json").json["volumes"]
    assert [entry["volume"] for entry in found] == [str(other), str(volume.path)]
    assert run("status", other, tmp_path).code == 15


def test_status_without_arguments():
    """Without an argument it is a list, whatever is mounted on this machine."""
    result = run("status", "--quick", "--json")
    assert result.code == 0
    assert isinstance(result.json["volumes"], list)


def test_lock_of_what_is_not_mounted(volume):
    """Exit 21, and where to look."""
    result = run("lock", volume.path, "--json")
    assert result.code == 21
    assert result.json["error"]["name"] == "NOT_MOUNTED"
    assert "cloakfs status" in result.err
