"""The small parts of the command line that need no process: options, spelling, the control client, costs."""

import hashlib
import json
import os
import socket
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encfs import control
from encfs.cli import calibration, mount_options, mounts, output, processes, secrets, strength, unlocking
from encfs.cli.options import Size
from encfs.errors import CloakfsError, MountBusyError, NotMountedError, UsageError, WeakPassphraseError
from encfs.host.freshness import HostFreshness

# -- mount options ---------------------------------------------------------------------------------------------


def test_mount_options_of_fstab():
    """What fstab and systemd add is passed over; ours and the kernel's are taken, the last of ro and rw wins."""
    found = mount_options.parse(
        ["rw,noauto,nofail,_netdev,user=anna,x-systemd.idle-timeout=60,X-mount.mkdir", "allow_other,noatime,ro,log=/l"]
    )
    assert (found.read_only, found.allow_other, found.log, found.kernel) == (True, True, "/l", ("noatime",))


def test_a_comma_in_quotes_does_not_split():
    """A passphrase command may hold commas, as mount(8) allows it."""
    found = mount_options.parse(['ro,passphrase-command="pass show a,b",nodev'])
    assert (found.secret.passphrase_command, found.kernel) == ("pass show a,b", ("nodev",))


@pytest.mark.parametrize(
    "text",
    ["nope", "passphrase-file", "passphrase-fd=x", "passphrase-fd=²", 'log="x', "passphrase-fd=1,recovery-file=x"],
)
def test_bad_mount_options(text):
    """Unknown, incomplete and contradicting options are usage errors."""
    with pytest.raises(UsageError):
        mount_options.parse([text])


# -- spelling --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (4096, "4 KiB"), (1536, "1.5 KiB"), (10**6, "977 KiB"),
     (1023 << 20, "1 GiB"), (5 << 40, "5 TiB"), (1 << 70, "1024 EiB")],
)  # fmt: skip
def test_human_size(count, text):
    """Binary units with three digits."""
    assert output.human_size(count) == text


@given(st.binary())
def test_printable_is_printable(name):
    """Whatever a name holds, what is shown has no control characters and stays on one line."""
    assert output.printable(name).isprintable()


def test_printable_keeps_text():
    """Letters of any language stay as they are."""
    assert output.printable("Befund Müller 検査.pdf") == "Befund Müller 検査.pdf"
    assert output.printable(b"a\nb\xff") == r"a\x0ab\xff"


@pytest.mark.parametrize(("text", "size"), [("64M", 64 << 20), ("1g", 1 << 30), ("4096", 4096), ("2 KiB", None)])
def test_sizes(text, size):
    """Sizes with a unit; what is none is refused."""
    import click

    if size is None:
        with pytest.raises(click.BadParameter):
            Size().convert(text, None, None)
    else:
        assert Size().convert(text, None, None) == size


# -- passphrases and cost --------------------------------------------------------------------------------------


def test_strength_tells_guessable_words():
    """The name of the volume is among the first guesses."""
    with pytest.raises(WeakPassphraseError):
        strength.check(b"Praxis-Tunnelblick", about=["praxis-tunnelblick"])
    strength.check(b"Praxis-Tunnelblick-Gurke-17")


def test_strength_takes_bytes_that_are_no_text():
    """32 random bytes from a key file are strong, whatever they look like."""
    strength.check(hashlib.sha256(b"a key file").digest())


def machine(monkeypatch, *, gib_per_second, memory_gib):
    """A machine that does Argon2id at this speed; returns what was measured on it."""
    runs = []

    def measure(memory_kib, passes, lanes):
        runs.append((memory_kib, passes, lanes))
        return memory_kib / (1 << 20) * passes / gib_per_second

    monkeypatch.setattr(calibration, "_measure", measure)
    monkeypatch.setattr(calibration, "_machine_kib", lambda: memory_gib << 20)
    return runs


@pytest.mark.parametrize(
    ("speed", "memory", "expected_mib", "expected_passes"),
    [
        (3, 16, 1024, 3),  # 1 GiB three times is one second
        (12, 16, 1024, 12),  # fast: more passes
        (1, 16, 512, 3),  # slow: less memory, at most 1.5 s
        (100, 2, 512, 64),  # little memory: a quarter, and no more passes than the format allows
        (0.05, 16, 64, 3),  # very slow: the floor
    ],
)
def test_calibration(monkeypatch, speed, memory, expected_mib, expected_passes):
    """Memory first, up to a quarter and 1 GiB; then passes up to a second."""
    machine(monkeypatch, gib_per_second=speed, memory_gib=memory)
    found = calibration.calibrate()
    assert (found.kdf.memory_kib >> 10, found.kdf.passes) == (expected_mib, expected_passes)


def test_calibration_with_fixed_values(monkeypatch):
    """A fixed value stays; with both fixed nothing is measured."""
    runs = machine(monkeypatch, gib_per_second=1, memory_gib=16)
    assert calibration.calibrate(passes=10).kdf.passes == 10
    assert calibration.calibrate(memory_kib=2 << 20).kdf.memory_kib == 2 << 20
    runs.clear()
    found = calibration.calibrate(memory_kib=65536, passes=3)
    assert (found.seconds, runs) == (None, [])


# -- what is mounted -------------------------------------------------------------------------------------------


def test_mountinfo_is_unescaped():
    """Spaces, tabs and backslashes in paths, and who mounted it."""
    line = (
        rb"87 27 0:51 / /mnt/a\040b\134c rw,nosuid shared:1 master:2 - fuse.cloakfs /v\011w rw,user_id=1000,group_id=0"
        b"\n28 1 254:1 / / rw - ext4 /dev/root rw\n"
    )
    first, second = mounts.parse(line)
    assert (first.mountpoint, first.source, first.uid, first.device) == ("/mnt/a b\\c", "/v\tw", 1000, "00:33")
    assert (second.mountpoint, second.fstype, second.uid) == ("/", "ext4", None)


def test_processes_finds_this_one_by_its_files(tmp_path, monkeypatch):
    """A process with an open file below a directory is found with its command; our own is left out."""
    (tmp_path / "f").touch()
    with (tmp_path / "f").open():
        monkeypatch.setattr(os, "getpid", lambda: -1)
        found = [user for user in processes.using(str(tmp_path)) if Path(f"/proc/{user.pid}").samefile("/proc/self")]
        assert [user.how for user in found] == ["has a file open"]
        monkeypatch.undo()
        assert os.getpid() not in [user.pid for user in processes.using(str(tmp_path))]


# -- the control client ----------------------------------------------------------------------------------------


@pytest.fixture
def daemon(tmp_path):
    """A socket that answers one request with the lines it is given; the request is in ``asked``."""
    path = tmp_path / "c.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    threads = []
    asked = []

    def answer(*lines):
        def serve():
            connection, _ = listener.accept()
            with connection, connection.makefile("rwb") as stream:
                asked.append(json.loads(stream.readline()))
                stream.write(
                    b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
                )

        thread = threading.Thread(target=serve)
        thread.start()
        threads.append(thread)
        return path, asked

    yield answer
    for thread in threads:
        thread.join()
    listener.close()


def test_control_yields_every_reply(daemon):
    """Replies come one by one; the last one ends it."""
    path, asked = daemon({"progress": {}}, {"done": True, "ok": True, "x": 1})
    assert list(control.talk(path, {"verb": "v"})) == [{"progress": {}}, {"done": True, "ok": True, "x": 1}]
    assert asked == [{"verb": "v"}]


def test_control_raises_the_daemon_s_error(daemon):
    """The exit code says which class it is; message and hint are the daemon's."""
    path, _ = daemon({"done": True, "ok": False, "error": {"exit_code": 20, "message": "m", "hint": "h"}})
    with pytest.raises(MountBusyError, match="m") as caught:
        control.ask(path, {"verb": "lock"})
    assert caught.value.hint == "h"


def test_control_takes_an_error_of_a_newer_daemon(daemon):
    """An exit code that is unknown here is still an error with its text."""
    path, _ = daemon({"done": True, "ok": False, "error": {"exit_code": 99, "message": "new"}})
    with pytest.raises(CloakfsError, match="new"):
        control.ask(path, {"verb": "x"})


@pytest.mark.parametrize("lines", [(), (b'{"done": tr',), ({"progress": {}},)])
def test_control_when_the_daemon_dies(daemon, lines):
    """An answer that ends early is told, never taken for success."""
    path, _ = daemon(*lines)
    with pytest.raises(control.BrokeOffError):
        control.ask(path, {"verb": "lock"})


def test_control_without_a_daemon(tmp_path):
    """A socket that nobody serves, or none at all, is "not mounted"."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "dead.sock"))
    listener.close()
    for name in ("dead.sock", "none.sock"):
        with pytest.raises(NotMountedError):
            control.ask(tmp_path / name, {"verb": "status"})


def test_control_does_not_wait_for_ever(tmp_path):
    """A daemon that accepts and stays silent is told after the time limit."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "c.sock"))
        listener.listen()
        with pytest.raises(CloakfsError, match="does not answer"):
            control.ask(tmp_path / "c.sock", {"verb": "status"}, timeout=0.05)


# -- what opened a volume ----------------------------------------------------------------------------------------


def test_what_opened_a_volume_is_overwritten_last(volume, monkeypatch):
    """Once nothing needs the secret and the host's database has given back its memory."""
    done = []
    monkeypatch.setattr(HostFreshness, "release", lambda _: done.append("database closed"))
    monkeypatch.setattr(unlocking.leftovers, "overwrite", lambda: done.append("overwritten"))
    options = secrets.SecretOptions(passphrase_file=str(volume.passphrase_file))
    unlocking.unlock(str(volume.path), options, read_only=True).close()
    assert done[done.index("overwritten") - 1 :][:2] == ["database closed", "overwritten"]
    assert done.count("overwritten") == 1
