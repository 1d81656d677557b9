"""Golden volumes: what an earlier version wrote, every version reads (CONTRIBUTING.md; all of FORMAT.md).

Made by ``tools/make_golden_volume.py``. A test here that fails means that the format has changed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from encfs.format.recovery_key import decode_recovery_key
from encfs.format.session import SessionState
from encfs.format.slots import SlotKind
from encfs.volume import Volume, read_config
from tests.support.reader import REPOSITORY, load_tool
from tests.support.volumes import verify

maker = load_tool("make_golden_volume")
reader = load_tool("inspect_lower")

VOLUMES = REPOSITORY / "tests" / "volumes"
WHOLE = ["v1-cells-4096", "v1-cells-16384", "v1-cells-65536"]
ALL = [*WHOLE, "v1-crashed"]


class Golden:
    """One golden volume, unpacked, with its manifest."""

    def __init__(self, name: str, directory: Path) -> None:
        self.path = directory / name
        self.where = os.fsencode(self.path)
        self.manifest: dict[str, Any] = json.loads((VOLUMES / f"{name}.json").read_text(encoding="ascii"))
        self.secret = self.manifest["passphrase"].encode()
        self.recovery_key = decode_recovery_key(self.manifest["recovery_key"])
        archive = VOLUMES / f"{name}.tar"
        command = ["tar", "--extract", "--file", str(archive), "--directory", str(directory), "--preserve-permissions"]
        subprocess.run([*command, "--numeric-owner", "--xattrs", "--xattrs-include=user.*"], check=True)

    def entries(self) -> list[dict[str, Any]]:
        """What has to be in it."""
        entries: list[dict[str, Any]] = self.manifest["entries"]
        return entries


@pytest.fixture(params=WHOLE)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Golden:
    """A golden volume that was closed properly."""
    return Golden(request.param, tmp_path)


def test_every_golden_volume_is_tested() -> None:
    """Each archive has its manifest and is named in this file, and there is one for each cell size (section 3)."""
    assert sorted(path.stem for path in VOLUMES.glob("*.tar")) == sorted(ALL)
    assert sorted(path.stem for path in VOLUMES.glob("*.json")) == sorted(ALL)
    sizes = {json.loads((VOLUMES / f"{name}.json").read_text(encoding="ascii"))["cell_size"] for name in WHOLE}
    assert sizes == {4096, 16384, 65536}


def test_manifest_covers_every_kind_of_object(golden: Golden) -> None:
    """Files, sparse and linked ones, directories, both kinds of symlinks, pipes, attributes, ACLs (sections 7-10)."""
    entries = golden.entries()
    assert {entry["kind"] for entry in entries} == {"file", "directory", "symlink", "fifo"}
    assert any(len(os.fsencode(entry["path"].rpartition("/")[2])) > 160 for entry in entries)
    assert any(entry["kind"] == "file" and entry["links"] == 2 for entry in entries)
    assert any(entry["kind"] == "symlink" and entry["links"] == 2 for entry in entries)
    assert any(entry["kind"] == "symlink" and entry["size"] == 4095 for entry in entries)
    names = {name for entry in entries for name in entry.get("xattrs", {})}
    assert names == {"user.color", "user.long", "system.posix_acl_default"}


def test_passphrase_opens_it(golden: Golden) -> None:
    """With the passphrase: names, modes, sizes, contents, targets, attributes, times are those of the manifest."""
    config = read_config(golden.where)
    assert config.cell_size == golden.manifest["cell_size"]
    assert config.volume_id.hex() == golden.manifest["volume_id"]
    with Volume.unlock(golden.where, golden.secret) as volume:
        assert volume.recovery is None
        assert maker.describe(volume) == golden.entries()
        findings, summary = verify(volume)
        assert findings == []
        assert summary.clean


def test_recovery_key_opens_it_read_only(golden: Golden) -> None:
    """With the recovery key, and without writing one byte below (FORMAT.md sections 4 and 11)."""
    before = sorted((str(path), path.lstat().st_mtime_ns) for path in golden.path.rglob("*"))
    with Volume.unlock(golden.where, golden.recovery_key, SlotKind.RECOVERY, read_only=True) as volume:
        assert maker.describe(volume) == golden.entries()
    assert sorted((str(path), path.lstat().st_mtime_ns) for path in golden.path.rglob("*")) == before


def test_it_can_be_worked_in(golden: Golden) -> None:
    """Everything can be changed, moved and removed in a volume that an earlier version made (all sections)."""
    with Volume.unlock(golden.where, golden.recovery_key, SlotKind.RECOVERY) as volume:
        for entry in golden.entries():
            path = os.fsencode(entry["path"])
            if entry["kind"] == "file" and entry["links"] == 1:
                with volume.open(path, writable=True) as file:
                    data = b"".join(volume.read_file(path))
                    file.write(len(data) // 2, b"changed")
                    file.sync()
                    expected = bytearray(data)
                    expected[len(data) // 2 : len(data) // 2 + 7] = b"changed"
                assert b"".join(volume.read_file(path)) == expected
        assert verify(volume)[0] == []
        volume.rename(b"letters", b"moved")
        for entry in sorted(golden.entries(), key=lambda entry: entry["path"].count("/"), reverse=True):
            path = os.fsencode(entry["path"])
            volume.remove(b"moved" + path[7:] if path.split(b"/")[0] == b"letters" else path)
        assert volume.list_directory() == []
    left = {path.name for path in golden.path.iterdir()}
    assert left == {"cloakfs.volume", "cloakfs.volume.bak", "cloakfs.d", "cloakfs.s"}


def test_independent_reader_agrees(golden: Golden, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``tools/inspect_lower.py``, which shares no code with the program, reads the same (all sections)."""
    passphrase = tmp_path / "passphrase"
    passphrase.write_bytes(golden.secret)
    arguments = [str(golden.path), "--tree", "--json", "--passphrase-file", str(passphrase)]
    assert reader.main(arguments) == 0, capsys.readouterr()
    found = json.loads(capsys.readouterr().out)
    assert found["problems"] == []
    seen = {entry["path"]: entry for entry in found["entries"] if entry["path"] != "."}
    assert set(seen) == {entry["path"] for entry in golden.entries()}
    for entry in golden.entries():
        other = seen[entry["path"]]
        assert other["kind"] == entry["kind"]
        for key in ("size", "sha256", "target"):
            if key in entry:
                assert other[key] == entry[key], (entry["path"], key)
        assert other.get("xattrs", {}) == entry.get("xattrs", {})


def test_crashed_volume_is_recovered(tmp_path: Path) -> None:
    """What an earlier version left when it died is put right as its manifest says (FORMAT.md section 11)."""
    golden = Golden("v1-crashed", tmp_path)
    with Volume.unlock(golden.where, golden.recovery_key, SlotKind.RECOVERY, read_only=True) as volume:
        assert [record.state for record in volume.sessions.records()] == [SessionState.OPEN]
    with Volume.unlock(golden.where, golden.secret) as volume:
        assert volume.recovery is not None
        assert {"repaired": volume.recovery.repaired, "failed": volume.recovery.failed} == golden.manifest["recovery"]
        assert golden.manifest["recovery"]["repaired"].keys() == {"created", "size", "place", "record", "temporary"}
        assert maker.describe(volume) == golden.entries()
        assert verify(volume)[0] == []


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs GNU tar")
def test_attributes_survive_the_archive(golden: Golden) -> None:
    """The archives hold the sealed attributes: an unpacked volume without them would prove nothing (section 10)."""
    sealed = [path for path in golden.path.rglob("*") if not path.is_symlink() and "user.cloakfs" in os.listxattr(path)]
    assert len(sealed) == sum("xattrs" in entry for entry in golden.entries())
