"""What a share writes for Samba and systemd: each text is what the program that reads it understands."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from encfs.errors import CloakfsError, NotFoundError, UsageError
from encfs.share import changes, mountpoint, plan, settings
from encfs.share.definition import ShareSpec, definition, global_settings, guard, parse
from encfs.share.definition import settings as wanted
from encfs.share.places import Places
from encfs.share.units import unit

SPEC = ShareSpec(name="practice", volume="/srv/Dr Weber/practice.vault", mountpoint="/srv/a b/practice", group="staff")
AT_BOOT = ShareSpec(
    name="practice",
    volume="/srv/practice.vault",
    mountpoint="/srv/practice",
    group="staff",
    passphrase_file="/media/key stick/practice",
)
PROGRAM = "/usr/bin/cloakfs"


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """An /etc of its own, with a smb.conf that somebody has written."""
    (tmp_path / "samba").mkdir()
    (tmp_path / "samba/smb.conf").write_bytes(b"[global]\n  workgroup = B\xfcro\n\n[old]\n  path = /srv/old\n\n")
    return Places(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "global"},
        {"name": "IPC"},
        {"name": "a]b"},
        {"name": "../x"},
        {"name": ""},
        {"name": "x" * 33},
        {"group": "a b"},
        {"group": "+root"},
        {"volume": "relative"},
        {"volume": "/srv/a'b"},
        {"mountpoint": '/srv/a"b'},
        {"mountpoint": "/srv/%u"},
        {"mountpoint": "/srv/$HOME"},
        {"mountpoint": "/srv/a\nroot preexec = true"},
        {"volume": "/srv/a;b"},
        {"volume": "/srv/`id`"},
        {"passphrase_file": "/key/a\\b"},
    ],
)
def test_what_would_mean_something_else_is_refused(change: dict[str, str]) -> None:
    """No name or path can end a quote, a line or a section, or be expanded by Samba, the shell or systemd."""
    good = {"name": "practice", "volume": "/srv/v", "mountpoint": "/srv/m", "group": "staff"}
    with pytest.raises(UsageError):
        ShareSpec(**{**good, **change})


def test_a_definition_tells_what_it_was_made_of() -> None:
    """Check, renewal and removal need no record besides the file that Samba reads."""
    for spec in (SPEC, AT_BOOT):
        assert parse(definition(spec)) == spec
    for text in ("", "[practice]\n", "# Written by: me\n", "# Written by: cloakfs share init 'a\n"):
        assert parse(text) is None


def test_every_setting_has_its_reason_beside_it() -> None:
    """Settings come in groups, and each group begins with a comment."""
    share = definition(SPEC).partition("[practice]\n")[2].splitlines()
    for_all = global_settings().partition("[global]\n")[2].splitlines()
    for lines in (share, for_all):
        assert lines[0].startswith("    # ")
        assert all(line.startswith("    ") for line in lines)
    assert sum(line.startswith("    # ") for line in share) > len(wanted(SPEC)) // 2


@pytest.mark.skipif(shutil.which("testparm") is None, reason="no Samba")
def test_samba_understands_the_definition(places: Places) -> None:
    """What testparm has read is what was meant, a path with spaces included; nothing is unknown to it."""
    changes.apply(plan.to_make(SPEC, places, PROGRAM))
    done = subprocess.run(["testparm", "-s", str(places.smb_conf)], capture_output=True, text=True, check=True)
    assert "unknown" not in done.stderr.lower()
    assert "ignor" not in done.stderr.lower()
    config = settings.configuration(places.smb_conf)
    assert {name: config.value("practice", name) for name in wanted(SPEC)} == {
        name: settings.plain(value) for name, value in wanted(SPEC).items()
    }
    assert config.value("global", "server min protocol") == "SMB3_11"
    assert config.value("old", "path") == "/srv/old"
    assert config.port == 445
    assert settings.missing_modules(["acl_xattr", "streams_xattr", "no_such_module"]) == ["no_such_module"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
@pytest.mark.parametrize("spec", [SPEC, AT_BOOT], ids=["asked", "at-boot"])
def test_systemd_understands_the_unit(spec: ShareSpec, tmp_path: Path) -> None:
    """``systemd-analyze verify`` has nothing to say, and only what has a passphrase file starts by itself."""
    program = tmp_path / "cloakfs"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / spec.unit).write_text(unit(spec, str(program)))
    done = subprocess.run(
        ["systemd-analyze", "--system", "--man=no", "--recursive-errors=no", "verify", str(tmp_path / spec.unit)],
        capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )  # fmt: skip
    missing = [line for line in done.stderr.splitlines() if "smbcontrol" not in line]
    assert (done.returncode, done.stdout, missing) == (0, "", [])
    text = unit(spec, str(program))
    assert ("WantedBy=" in text) is (spec is AT_BOOT)
    assert ("--passphrase-file" in text) is (spec is AT_BOOT)


def test_the_guard_refuses_what_is_no_mount(tmp_path: Path) -> None:
    """A bare directory, with and without the folder, and a mount of something else: the guard says no."""

    def lets_in(mount: str, folder: str) -> bool:
        command = guard(mount, folder, str(tmp_path / "closing"))
        return subprocess.run(["/bin/sh", "-c", command], check=False).returncode == 0

    folder = str(tmp_path / "Share")
    assert not lets_in(str(tmp_path), folder)
    os.mkdir(folder)
    assert not lets_in(str(tmp_path), folder)
    assert not lets_in("/proc", "/proc/self")
    assert not lets_in(str(tmp_path / "none"), folder)


def test_the_line_in_smb_conf_comes_and_goes(places: Places) -> None:
    """Two shares need one line, and nothing in common; with the last one it goes, and smb.conf is what it was."""
    before = places.smb_conf.read_bytes()
    other = ShareSpec(name="archive", volume="/srv/a", mountpoint="/srv/m", group="staff")
    alike = (
        ShareSpec(name="Practice", volume="/srv/v", mountpoint="/srv/n", group="staff"),
        ShareSpec(name="again", volume=SPEC.volume, mountpoint="/srv/n", group="staff"),
        ShareSpec(name="again", volume="/srv/v", mountpoint=SPEC.mountpoint, group="staff"),
    )
    changes.apply(plan.to_make(SPEC, places, PROGRAM))
    assert plan.to_make(SPEC, places, PROGRAM) == []
    assert places.smb_conf.read_bytes().startswith(before)
    assert plan.is_included(places)
    for one in alike:
        with pytest.raises(CloakfsError, match="the share practice has that"):
            plan.to_make(one, places, PROGRAM)
    once = places.smb_conf.read_bytes()
    changes.apply(plan.to_make(other, places, PROGRAM))
    assert places.smb_conf.read_bytes() == once
    assert plan.names(places) == ["archive", "practice"]
    assert plan.known("archive", places) == other
    changes.apply(plan.to_remove(SPEC, places))
    assert places.smb_conf.read_bytes() == once
    assert "practice" not in places.included.read_text()
    assert not places.unit(SPEC.unit).exists()
    changes.apply(plan.to_remove(other, places))
    assert places.smb_conf.read_bytes() == before
    assert [path for path in places.etc.rglob("*") if path.is_file()] == [places.smb_conf]
    with pytest.raises(NotFoundError):
        plan.known("archive", places)


def test_a_share_of_somebody_else_is_left_alone(places: Places) -> None:
    """A section of that name in smb.conf, or a file that is not ours, is refused and stays."""
    taken = ShareSpec(name="OLD", volume="/srv/v", mountpoint="/srv/m", group="staff")
    with pytest.raises(CloakfsError, match="has a share OLD already"):
        plan.to_make(taken, places, PROGRAM)
    places.shares.mkdir()
    places.share("practice").write_text("[practice]\n")
    with pytest.raises(CloakfsError, match="not a file that cloakfs wrote"):
        plan.to_make(SPEC, places, PROGRAM)
    places.smb_conf.unlink()
    with pytest.raises(NotFoundError):
        plan.to_make(SPEC, places, PROGRAM)


def test_files_change_all_or_not_at_all(tmp_path: Path) -> None:
    """A write that fails takes those before it back; a file that is replaced keeps its mode and a link to it."""
    first, new = tmp_path / "first", tmp_path / "new"
    first.write_text("old\n")
    first.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(first)
    (tmp_path / "file").write_text("")
    blocked = tmp_path / "file" / "x"
    todo = [changes.change(Path(os.path.realpath(link)), "newer\n"), changes.change(new, "text\n")]
    with pytest.raises(OSError, match="file"):
        changes.apply([*todo, changes.Change(blocked, None, "text\n")])
    assert (first.read_text(), new.exists(), blocked.parent.read_text()) == ("old\n", False, "")
    changes.apply(todo)
    assert (link.read_text(), new.read_text(), first.stat().st_mode & 0o777) == ("newer\n", "text\n", 0o640)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "first", "link", "new"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root")
def test_a_directory_below_a_mount_is_seen_and_made_immutable(tmp_path: Path) -> None:
    """What lies under a mount is looked at without taking it off; where it is immutable nobody makes anything."""
    bare = tmp_path / "mnt"
    bare.mkdir()
    (bare / "leak").write_text("plain")
    subprocess.run(["mount", "-t", "tmpfs", "none", str(bare)], check=True)
    try:
        assert os.listdir(bare) == []
        assert mountpoint.look(str(bare), covered=True).entries == 1
        if not mountpoint.set_immutable(str(bare), on=True, covered=True):
            pytest.skip("no immutable directories on this filesystem")
    finally:
        subprocess.run(["umount", str(bare)], check=True)
    try:
        assert mountpoint.look(str(bare), covered=False) == mountpoint.Bare(1, immutable=True)
        with pytest.raises(PermissionError):
            (bare / "x").write_text("plain")
    finally:
        mountpoint.set_immutable(str(bare), on=False, covered=False)
    assert mountpoint.look(str(bare), covered=False) == mountpoint.Bare(1, immutable=False)
