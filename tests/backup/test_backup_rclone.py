"""encfs/backup/rclone.py, copying/rclone.py: sealed copies on remotes of rclone (FORMAT.md 18, "Target of `copy`")."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from encfs.backup import rclone
from encfs.backup.copying import piped
from encfs.backup.copying.rclone import RcloneTarget
from encfs.backup.copying.target import Stored
from encfs.backup.manifest import open_head
from encfs.backup.markers import Marker, check_marker
from encfs.backup.plans import EngineKind
from encfs.backup.rclone import RcloneError, Trouble
from encfs.errors import BackupError, NotEmptyError, UsageError, WrongMediumError
from tests.support import blockdev
from tests.support.backup_plans import PLAN, VOLUME, a_plan
from tests.support.mounting import wait_for
from tests.support.rclone_remotes import PASSWORD, Remotes, needs_rclone
from tests.support.sealed_backups import Sealed, allow, contents, nothing_torn
from tests.support.tree_backups import Silent
from tests.support.volumes import pattern

pytestmark = needs_rclone
MARKER = Marker(plan=PLAN, volume=VOLUME, label="", engine=EngineKind.COPY)
FILES = {b"one": pattern(100), b"two": pattern(50_000, 2), b"empty": b""}


@pytest.fixture
def remotes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Remotes:
    """No remote yet."""
    return Remotes(tmp_path / "remotes", monkeypatch)


def put(target: RcloneTarget, *contents: bytes) -> list[Stored]:
    """Objects that a run would write."""
    with target.held(writing=True):
        parts = {}
        for content in contents:
            part = target.part(len(content))
            part.write(content)
            part.close()
            parts[hashlib.sha256(content).digest()] = part
        target.publish(parts)
    return [Stored(hashlib.sha256(content).digest(), len(content)) for content in contents]


def read_back(target: RcloneTarget, wanted: list[Stored]) -> dict[bytes, bytes | None]:
    """What is really there, by what should be."""
    told: list[int] = []
    found = {one.digest: digest for one, digest in target.read_back(wanted, told.append)}
    assert told == sorted(told)
    return found


# -- which remotes -----------------------------------------------------------------------------------------------------


CLEAR = [
    ("webdav", {"url": "http://nas.lan/dav", "pass": PASSWORD}),
    ("ftp", {"host": "nas.lan", "pass": PASSWORD}),
    ("webdav", {"url": "HTTP://nas.lan/dav"}),
    ("s3", {"provider": "Minio", "endpoint": "http://nas.lan:9000", "secret_access_key": PASSWORD}),
    ("swift", {"auth": "http://nas.lan/auth"}),
    ("http", {"url": "https://nas.lan"}),
    ("smb", {"host": "nas.lan"}),
    ("memory", {}),
]
AROUND = ("alias", "crypt", "union", "combine", "on the spot")


@pytest.mark.parametrize(
    ("kind", "options", "around"),
    [
        *((kind, options, None) for kind, options in CLEAR),
        *((kind, options, around) for kind, options in CLEAR[:2] for around in AROUND),
    ],
)
def test_clear_text_remotes(remotes: Remotes, kind: str, options: dict[str, str], around: str | None) -> None:
    """Refused before anything is sent, also where another remote is around it; no secret is shown."""
    remotes.add("inner", kind, **options)
    match around:
        case None:
            name = "inner"
        case "union":
            name = "outer"
            remotes.directory("plain")
            remotes.add("outer", "union", upstreams="plain: inner:x:ro")
        case "combine":
            name = "outer"
            remotes.add("outer", "combine", upstreams="dir=inner:x")
        case "on the spot":
            name = "outer"
            told = "".join(f",{key}='{value}'" for key, value in options.items())
            remotes.add("outer", "alias", remote=f":{kind}{told}:x")
        case _:
            name = "outer"
            remotes.add("outer", around, remote="inner:x")
    with pytest.raises(UsageError, match="no backup goes to the remote") as caught:
        RcloneTarget(f"{name}:b").runs()
    assert caught.value.hint
    assert PASSWORD not in f"{caught.value}{caught.value.hint}"


def test_sftp_to_whatever_computer_answers(remotes: Remotes) -> None:
    """Refused unless the remote says which keys its computer may have; what older rclones do not know is no answer."""
    remotes.add("nas", "sftp", host="nas.lan")
    remotes.add("outer", "alias", remote="nas:x")
    remotes.add("by-ssh", "sftp", ssh="ssh -o BatchMode=yes nas.lan")
    for name in ("nas:b", "outer:b", "by-ssh:b", ":sftp,host=nas.lan:b", ":sftp,host=nas.lan,known_hosts_file=:b"):
        with pytest.raises(UsageError, match="any computer that answers") as caught:
            rclone.look_at(name)
        assert "known_hosts_file" in (caught.value.hint or "")
    remotes.add("known", "sftp", host="nas.lan", known_hosts_file="/k")
    for name in ("known:b", "nas,known_hosts_file=/k:b", ":sftp,host=nas.lan,known_hosts_file='/k':b"):
        rclone.look_at(name)


def test_another_computer_answers(remotes: Remotes) -> None:
    """One with another host key gets nothing, and the password least of all."""
    with remotes.server("sftp") as server:
        target = RcloneTarget("nas:b")
        target.write_marker(MARKER)
        other = (server.known_hosts.parent / "other").with_suffix(".key")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
        public = other.with_suffix(".key.pub").read_text(encoding="ascii")
        server.known_hosts.write_text(f"[127.0.0.1]:{server.port} {public}", encoding="ascii")
        with pytest.raises(RcloneError) as caught:
            target.runs()
        assert caught.value.trouble is Trouble.UNTRUSTED, caught.value
        assert "ssh" in caught.value.hint
        assert PASSWORD not in f"{caught.value}{caught.value.hint}"


def test_clear_text_from_the_environment(remotes: Remotes) -> None:
    """What rclone would take from its environment counts as it does there."""
    remotes.add("nas", "webdav", url="https://nas.lan")
    rclone.look_at("nas:b")
    remotes.monkeypatch.setenv("RCLONE_CONFIG_NAS_URL", "http://nas.lan")
    with pytest.raises(UsageError, match="clear text"):
        rclone.look_at("nas:b")
    remotes.monkeypatch.setenv("RCLONE_CONFIG_MY_NAS_TYPE", "ftp")
    with pytest.raises(UsageError, match="clear text"):
        rclone.look_at("my-nas:b")


def test_where_a_remote_leads(remotes: Remotes) -> None:
    """Directories of this computer are found below aliases, so that the medium of the volume is noticed."""
    path = remotes.directory("plain")
    remotes.add("second", "alias", remote="plain:sub")
    remotes.add("sealed", "crypt", remote="second:deep")
    remotes.add("disk", "local")
    remotes.add("self", "alias", remote="self:x")
    assert rclone.look_at("plain:").directories == (str(path),)
    assert rclone.look_at("second:b/c").directories == (f"{path}/sub/b/c",)
    assert rclone.look_at("sealed:b").directories == (f"{path}/sub/deep",)
    assert rclone.look_at("disk:/srv/b").directories == ("/srv/b",)
    with pytest.raises(UsageError, match="leads to itself"):
        rclone.look_at("self:b")
    with pytest.raises(UsageError, match="no such remote: other"):
        rclone.look_at("other:b")


def test_without_rclone(remotes: Remotes, tmp_path: Path) -> None:
    """It is said which package has it. An encrypted config is said to be one, and nobody is asked for its password."""
    remotes.directory()
    remotes.config.write_text("# Encrypted rclone configuration File\n\nRCLONE_ENCRYPT_V0:\n" + "AAAA" * 40)
    with pytest.raises(RcloneError, match="config of rclone is encrypted") as caught:
        RcloneTarget("nas:b").runs()
    assert "RCLONE_PASSWORD_COMMAND" in caught.value.hint
    remotes.monkeypatch.setenv("PATH", str(tmp_path))
    remotes.monkeypatch.setattr("encfs.stick.programs._MORE", ())
    with pytest.raises(BackupError, match="rclone, which goes to this target, is not installed") as missing:
        RcloneTarget("nas:b").runs()
    assert missing.value.hint == "On Debian: apt-get install rclone"


def test_options_in_the_environment(remotes: Remotes) -> None:
    """One that makes rclone only pretend, or trust any certificate, is not handed on."""
    served = remotes.directory()
    for name in ("DRY_RUN", "NO_CHECK_CERTIFICATE", "IMMUTABLE"):
        remotes.monkeypatch.setenv(f"RCLONE_{name}", "true")
    target = RcloneTarget("nas:b")
    target.write_marker(MARKER)
    assert (served / "b/cloakfs.backup").exists()
    assert not {name for name in rclone.environment() if name.startswith("RCLONE_")} - {"RCLONE_CONFIG"}


# -- what a target does ------------------------------------------------------------------------------------------------


@pytest.fixture(params=["directory", "webdav", "sftp"])
def served(request: pytest.FixtureRequest, remotes: Remotes) -> object:
    """A remote ``nas``, as a directory of this computer, over TLS, over SSH: where its bytes lie."""
    if request.param == "directory":
        yield remotes.directory()
        return
    with remotes.server(request.param) as server:
        yield server.path


def test_a_target(served: Path, host_memory: Path) -> None:
    """FORMAT.md 18: marker, manifests and objects are where they have to be, and come back as they were written."""
    target = RcloneTarget("nas:practice")
    with pytest.raises(BackupError, match="is gone"):
        target.runs()
    assert target.read_marker() is None
    target.write_marker(MARKER)
    assert target.read_marker() == MARKER
    assert (target.runs(), target.objects(), target.tree_run(), target.tree_files()) == ([], {}, "", {})
    contents = [pattern(5000, number) for number in range(3)] + [b""]
    there = put(target, *contents)
    top = served / "practice"
    for one, content in zip(there, contents, strict=True):
        name = one.digest.hex()
        assert (top / "objects" / name[:2] / name).read_bytes() == content
        with target.held(writing=False):
            reader = target.open(one)
            assert (reader.pread(10_000, 0), reader.pread(10, 4995)) == (content, content[4995:])
            reader.close()
    assert target.objects() == {one.digest: one.size for one in there}
    gone = Stored(bytes(32), 5)
    assert read_back(target, [*there, gone]) == {**{one.digest: one.digest for one in there}, gone.digest: None}
    with target.held(writing=False), pytest.raises(FileNotFoundError):
        target.open(gone)
    run = "01" * 16
    with target.held(writing=True):
        for manifest in (b"first", b"other"):
            target.write_run(run, manifest)
            assert (top / "runs" / run).read_bytes() == target.read_run(run) == manifest
        assert target.runs() == [run]
        assert target.remove([there[0].digest, gone.digest]) == there[0].size
        assert set(target.objects()) == {one.digest for one in there[1:]}
        target.remove_run(run)
        target.remove_run(run)
    assert target.runs() == []
    with pytest.raises(FileNotFoundError):
        target.read_run(run)
    assert list((host_memory / "backup-uploads").rglob("*.part")) == []
    assert all(not list(one.iterdir()) for one in (host_memory / "backup-uploads").iterdir())


def test_reading_here_and_there(remotes: Remotes) -> None:
    """Any piece of an object comes as it is; when the network goes, that is an error and not the end of the file."""
    content = pattern(2_000_000)
    with remotes.server("sftp") as server:
        target = RcloneTarget("nas:b")
        target.write_marker(MARKER)
        (one,) = put(target, content)
        with target.held(writing=False):
            reader = target.open(one)
            for offset, size in ((0, 512), (32_767, 2), (100, 1_500_000), (1_999_990, 100), (2_000_000, 5)):
                assert reader.pread(size, offset) == content[offset : offset + size]
            server.kill()
            remotes.monkeypatch.setattr(piped, "PATIENCE", 1.0)
            with pytest.raises(OSError, match="Input/output error"):
                reader.pread(1_000_000, 0)
            reader.close()
            with pytest.raises(RcloneError, match="cannot be reached"):
                target.open(one)


def test_one_flipped_bit(served: Path) -> None:
    """Whatever the remote says of its files: they are read, and hashed here. Written again, it is right again."""
    target = RcloneTarget("nas:practice")
    target.write_marker(MARKER)
    good, bad = put(target, pattern(9000), pattern(9000, 2))
    place = served / "practice/objects" / bad.digest.hex()[:2] / bad.digest.hex()
    info = place.stat()
    data = bytearray(place.read_bytes())
    data[4000] ^= 1
    place.write_bytes(data)
    os.utime(place, ns=(info.st_atime_ns, info.st_mtime_ns))
    found = read_back(target, [good, bad])
    assert found == {good.digest: good.digest, bad.digest: hashlib.sha256(data).digest()}
    put(target, pattern(9000, 2))
    assert read_back(target, [bad]) == {bad.digest: bad.digest}


def test_what_was_broken_off(remotes: Remotes, host_memory: Path) -> None:
    """Names that end in .part are of no run, and are cleared; so is what waited here; a held target is held."""
    top = remotes.directory() / "b"
    target = RcloneTarget("nas:b")
    target.write_marker(MARKER)
    run = "02" * 16
    (top / "runs").mkdir()
    (top / f"runs/{run}.part").write_bytes(b"half")
    (top / "cloakfs.backup.part").write_bytes(b"half")
    assert target.runs() == []
    (left,) = (host_memory / "backup-uploads").iterdir()
    (left / "tmpabc/objects").mkdir(parents=True)
    with target.held(writing=True):
        assert [one.name for one in left.iterdir()] != ["tmpabc"]
        assert not (left / "tmpabc").exists()
        target.clear()
        with pytest.raises(BackupError, match="another run is at work"), RcloneTarget("nas:b").held(writing=True):
            pass
        assert RcloneTarget("nas:b").runs() == []
    assert sorted(os.listdir(top)) == ["cloakfs.backup", "runs"]
    assert os.listdir(top / "runs") == []
    assert stat.S_IMODE((host_memory / "backup-uploads").stat().st_mode) == 0o700


def test_many_files_in_one_process(remotes: Remotes, tmp_path: Path) -> None:
    """300 objects are uploaded, read back and removed by one rclone each; it is told no name in its arguments."""
    remotes.directory()
    target = RcloneTarget("nas:b")
    target.write_marker(MARKER)
    log = tmp_path / "calls"
    fake = tmp_path / "bin"
    fake.mkdir()
    real = subprocess.run(["which", "rclone"], capture_output=True, text=True, check=True).stdout.strip()
    (fake / "rclone").write_text(f'#!/bin/sh\necho "$@" >> {log}\nexec {real} "$@"\n')
    (fake / "rclone").chmod(0o755)
    remotes.monkeypatch.setenv("PATH", f"{fake}:{os.environ['PATH']}")

    def calls() -> list[str]:
        words = [line for line in log.read_text().splitlines() if "config dump" not in line]
        log.write_text("")
        return words

    there = put(target, *(pattern(600, number) for number in range(300)))
    assert len(calls()) == 1
    assert read_back(target, there) == {one.digest: one.digest for one in there}
    said = calls()
    assert len(said) == 1
    assert there[0].digest.hex() not in said[0]
    with target.held(writing=True):
        assert target.remove(one.digest for one in there) == 300 * 600
    assert len(calls()) == 2  # What is there, and removing.


def test_a_large_file(remotes: Remotes, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is larger than what may wait here is read back without being kept."""
    top = remotes.directory() / "b"
    target = RcloneTarget("nas:b")
    target.write_marker(MARKER)
    monkeypatch.setattr(target, "batch", 10_000)
    there = put(target, pattern(25_000), pattern(4000), pattern(30_000, 2), pattern(5000, 3))
    assert read_back(target, there) == {one.digest: one.digest for one in there}
    (top / "objects" / there[0].digest.hex()[:2] / there[0].digest.hex()).unlink()
    assert read_back(target, there)[there[0].digest] is None
    (top / "cloakfs.backup").unlink()
    with pytest.raises(BackupError, match="is gone"):
        read_back(target, there)


# -- a new target ------------------------------------------------------------------------------------------------------


def test_preparing(remotes: Remotes, tmp_path: Path) -> None:
    """A remote gets its marker once; what is there already stays, and is not taken."""
    (tmp_path / "volume").mkdir()
    volume = os.fsencode(tmp_path / "volume")
    with remotes.server("sftp") as server:
        target = RcloneTarget("nas:b")
        for _ in range(2):
            target.prepare(MARKER, volume=volume)
        assert target.read_marker() == MARKER
        check_marker(a_plan(), target.read_marker())
        with pytest.raises(WrongMediumError, match="another backup of this volume"):
            check_marker(a_plan(id="0d" * 16), target.read_marker())
        with pytest.raises(WrongMediumError, match="already"):
            target.prepare(Marker(plan="0d" * 16, volume=VOLUME, label="", engine=EngineKind.COPY), volume=volume)
        (server.path / "full").mkdir()
        (server.path / "full/letter.odt").write_bytes(b"x")
        with pytest.raises(NotEmptyError, match="not empty"):
            RcloneTarget("nas:full").prepare(MARKER, volume=volume)
        assert os.listdir(server.path / "full") == ["letter.odt"]


def test_a_remote_on_the_disk_of_the_volume(remotes: Remotes, tmp_path: Path) -> None:
    """It is refused as a directory is."""
    remotes.directory()
    (tmp_path / "volume").mkdir()
    with pytest.raises(UsageError, match="same disk"):
        RcloneTarget("nas:b").prepare(MARKER, volume=os.fsencode(tmp_path / "volume"))
    assert list((remotes.base / "nas").iterdir()) == []


# -- runs, and the network ---------------------------------------------------------------------------------------------


@pytest.fixture
def sealed(tmp_path: Path) -> Sealed:
    """A volume with some files."""
    (tmp_path / "practice").mkdir()
    made = Sealed(tmp_path / "practice")
    made.write(FILES)
    return made


@pytest.mark.parametrize("served", ["directory", pytest.param("sftp", marks=pytest.mark.slow)], indirect=True)
def test_runs(served: Path, sealed: Sealed) -> None:
    """Two runs on each kind of remote: each opens as the volume was then; what did not change is not sent again."""
    target = RcloneTarget("nas:b")
    target.write_marker(MARKER)
    engine = sealed.engine(target=target)
    first = engine.run(allow, Silent())
    assert first.verified == first.new_bytes > 50_000
    sealed.write({b"three": pattern(7000, 3)})
    second = sealed.engine(target=target).run(allow, Silent())
    assert 7000 < second.new_bytes < 30_000
    engine = sealed.engine(target=RcloneTarget("nas:b"))
    assert [one.run for one in engine.runs()] == [first.manifest.head.run, second.manifest.head.run]
    assert contents(engine, first.manifest.head.run) == FILES
    assert contents(engine, second.manifest.head.run) == {**FILES, b"three": pattern(7000, 3)}
    assert engine.verify(first.manifest.head.run, Silent()).damaged == ()
    nothing_torn(served / "b")
    assert not (served / "b/volume").exists()
    engine.prune([second.manifest.head.run], Silent())
    assert [one.run for one in engine.runs()] == [second.manifest.head.run]
    assert engine.verify(second.manifest.head.run, Silent()).damaged == ()


@pytest.mark.parametrize("kind", ["webdav", pytest.param("sftp", marks=pytest.mark.slow)])
def test_the_network_goes_in_the_middle(remotes: Remotes, sealed: Sealed, kind: str) -> None:
    """The server dies while a file is on its way: no run counts; the next one is whole, whatever was left there."""
    sealed.write({b"big-%d" % number: pattern(3 << 20, number) for number in range(4)})
    remotes.monkeypatch.setenv("RCLONE_BWLIMIT", "4M")
    remotes.monkeypatch.setattr(rclone, "GIVE_UP", 3)
    with remotes.server(kind) as server:
        target = RcloneTarget("nas:b")
        target.write_marker(MARKER)
        killer = threading.Thread(target=_kill_in_the_middle, args=(server,))
        killer.start()
        try:
            with pytest.raises(RcloneError) as caught:
                sealed.engine(target=target).run(allow, Silent())
        finally:
            killer.join()
        assert caught.value.trouble is Trouble.UNREACHABLE
        assert "the next run goes on" in caught.value.hint
        with pytest.raises(RcloneError, match="cannot be reached"):
            sealed.engine(target=target).runs()
        remotes.monkeypatch.delenv("RCLONE_BWLIMIT")
        server.start()
        assert sealed.engine(target=target).runs() == []
        made = sealed.engine(target=target).run(allow, Silent())
        assert made.verified > 12 << 20
        assert sealed.engine(target=target).verify(made.manifest.head.run, Silent()).damaged == ()
        nothing_torn(server.path / "b")
        assert open_head(target.read_run(made.manifest.head.run))[0] == made.manifest.head


def _kill_in_the_middle(server: object) -> None:
    wait_for(lambda: any(100_000 < one.stat().st_size < 3 << 20 for one in server.objects("b")), "a file is on its way")
    server.kill()


def test_a_certificate_that_is_not_known(remotes: Remotes) -> None:
    """Nothing is sent to a server that cannot show who it is; nor to one that does not take the password."""
    with remotes.server("webdav") as server:
        target = RcloneTarget("nas:b")
        target.write_marker(MARKER)
        remotes.monkeypatch.delenv("RCLONE_CA_CERT")
        with pytest.raises(RcloneError) as caught:
            target.runs()
        assert caught.value.trouble is Trouble.UNTRUSTED
        assert "RCLONE_CA_CERT" in caught.value.hint
        remotes.monkeypatch.setenv("RCLONE_CA_CERT", str(server.authority.ca))
        remotes.monkeypatch.setenv("RCLONE_CONFIG_NAS_USER", "somebody")
        with pytest.raises(RcloneError) as denied:
            target.runs()
        assert denied.value.trouble is Trouble.DENIED
        assert PASSWORD not in f"{denied.value}{denied.value.hint}"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a filesystem")
def test_a_full_remote(remotes: Remotes, sealed: Sealed) -> None:
    """It is said, and what was there is there: the run before is still whole."""
    path = remotes.directory()
    blockdev.mount("tmpfs", path, "tmpfs", "size=1m")
    try:
        target = RcloneTarget("nas:b")
        target.write_marker(MARKER)
        run = sealed.engine(target=target).run(allow, Silent()).manifest.head.run
        sealed.write({b"big": pattern(2 << 20)})
        with pytest.raises(RcloneError, match="full") as caught:
            sealed.engine(target=target).run(allow, Silent())
        assert caught.value.trouble is Trouble.FULL
        engine = sealed.engine(target=target)
        assert [one.run for one in engine.runs()] == [run]
        assert engine.verify(run, Silent()).damaged == ()
    finally:
        blockdev.unmount(path)


@pytest.mark.parametrize(
    ("said", "trouble"),
    [
        ("2026/11/27 20:00:00 Failed to copy: Put: 507 Insufficient Storage", Trouble.FULL),
        ("Failed to lsjson: googleapi: Error 403: storageQuotaExceeded", Trouble.FULL),
        ("dial tcp: lookup nas on 1.1.1.1:53: no such host", Trouble.UNREACHABLE),
        ('Put "https://u:geheim@nas/x": write: connection reset by peer', Trouble.UNREACHABLE),
        ("ssh: handshake failed: knownhosts: key mismatch", Trouble.UNTRUSTED),
        ("something else", Trouble.OTHER),
        ("", Trouble.OTHER),
    ],
)
def test_what_failures_mean(said: str, trouble: Trouble) -> None:
    """What rclone says becomes one of our words, with what to do; of what it says no password is shown."""
    line = json.dumps({"level": "error", "msg": said}) + "\n" + json.dumps({"level": "info", "msg": "quota"})
    line = f"2026/11/28 00:00:00 DEBUG : Setting --ca-cert\n{line}"
    error = rclone.error_of(1, line if said else "")
    assert error.trouble is trouble
    assert error.hint
    assert "geheim" not in str(error)
    assert "2026/11" not in str(error)
    assert error.exit_code == 31
