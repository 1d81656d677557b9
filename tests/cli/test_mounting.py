"""``cloakfs mount``, ``lock`` and the commands that talk to a mount, with real mounts."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from encfs.volume import read_config
from tests.support.command import run
from tests.support.mounting import SECRET, is_mounted, wait_for
from tests.support.pty_session import PtySession

pytestmark = pytest.mark.mount

STATUS = {
    "volume", "volume_id", "mountpoint", "pid", "uid", "since", "read_only", "allow_other", "cell_size", "slots",
    "session", "recovery", "open_files", "integrity_events",
}  # fmt: skip


def secret(volume):
    """The option that unlocks a mounted volume of tests.support."""
    return ("--passphrase-file", str(volume.secret_file))


def start(*arguments, cwd=None, stdin=None):
    """A program that says "ready" and then waits for its stdin to close."""
    process = subprocess.Popen(arguments, cwd=cwd, stdin=stdin or subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    return process


def stop(process):
    """Close its stdin and wait for the end."""
    process.communicate(timeout=60)


def kill_daemon(volume):
    """kill -9, and wait until the process is gone; its mount stays."""
    os.kill(volume.pid, signal.SIGKILL)
    wait_for(lambda: _ended(volume.pid), "the daemon dies")


def _ended(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except FileNotFoundError:
        return True


# -- mount and lock --------------------------------------------------------------------------------------------


def test_mount_and_lock_in_words(mounted):
    """Both say what they did; after the lock neither mount nor process is there, and the file is on the disk."""
    locked = run("lock", mounted.path)
    assert (locked.code, locked.err) == (0, "")
    assert locked.out.startswith("Locked. Everything is on the disk")
    assert not is_mounted(mounted.path)
    assert _ended(mounted.pid)
    again = run("mount", mounted.lower, mounted.path, *secret(mounted), "--log", mounted.log)
    assert (again.code, again.err) == (0, "")
    assert f"Mounted {mounted.lower} at {mounted.path}." in again.out
    assert f"cloakfs lock {mounted.path}" in again.out
    assert (mounted.path / "a.txt").read_text() == "Dear colleague\n"


def test_mount_json(mounted):
    """The object of ``mount`` has what docs/control.md lists."""
    run("lock", mounted.path)
    result = run("mount", mounted.lower, mounted.path, *secret(mounted), "--log", mounted.log, "--json")
    status = result.json["mount"]
    assert set(status) >= STATUS
    assert (status["volume"], status["mountpoint"]) == (str(mounted.lower), str(mounted.path))
    assert (status["read_only"], status["session"], status["recovery"]) == (False, "open", None)


def test_lock_json_by_volume(mounted):
    """``lock`` takes the volume too, and prints the documented object."""
    assert run("lock", mounted.lower, "--json").json == {
        "volume": str(mounted.lower),
        "mountpoint": str(mounted.path),
        "state": "clean",
        "forced": False,
        "pid": mounted.pid,
    }


def test_second_mount_names_host_and_process(mounted):
    """Exit 16, before a passphrase is asked for."""
    other = mounted.base / "other"
    other.mkdir()
    result = run("mount", mounted.lower, other)
    assert result.code == 16
    for words in (os.uname().nodename, f"process {mounted.pid}", str(mounted.path)):
        assert words in result.err


def test_mount_asks_on_a_terminal(mounted):
    """At a terminal the passphrase is asked for; the command comes back when the mount answers."""
    run("lock", mounted.path)
    with PtySession("mount", str(mounted.lower), str(mounted.path), "--log", str(mounted.log)) as session:
        session.answer("Passphrase of ", "wrong")
        session.answer("Passphrase of ", SECRET.decode())
        session.expect("Mounted ")
        assert session.end() == 0
    assert (mounted.path / "a.txt").read_text() == "Dear colleague\n"


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("missing", "does not exist"),
        ("full", "is not empty"),
        ("file", "ot a directory"),
        ("volume", "same directory"),
        ("volume/inside", "inside the volume"),
        (".", "inside the mount point"),
    ],
)
def test_bad_mount_points(mounted, where, words):
    """Each has its own words and exit 19, before a passphrase is asked for."""
    run("lock", mounted.path)
    (mounted.base / "full").mkdir()
    (mounted.base / "full" / "x").touch()
    (mounted.base / "file").touch()
    result = run("mount", mounted.lower, mounted.base / where)
    assert (result.code, words in result.err) == (19, True), result.err


def test_read_only_mount(mounted):
    """Nothing can be written, and the volume is the same byte for byte afterwards."""
    run("lock", mounted.path)

    def look():
        return {path: path.read_bytes() for path in mounted.lower.rglob("*") if path.is_file()}

    before = look()
    assert run("mount", mounted.lower, mounted.path, *secret(mounted), "--read-only").code == 0
    with pytest.raises(OSError, match="Read-only"):
        (mounted.path / "b.txt").touch()
    assert (mounted.path / "a.txt").read_text() == "Dear colleague\n"
    run("lock", mounted.path)
    assert look() == before


def test_mount_options(mounted):
    """Options of mount(8) reach the kernel; the passphrase may come from them; unknown ones are refused."""
    run("lock", mounted.path)
    listed = f'noatime,noexec,nofail,x-systemd.automount,"passphrase-file={mounted.secret_file}"'
    assert run("mount", mounted.lower, mounted.path, "-o", listed).code == 0
    line = next(line for line in Path("/proc/mounts").read_text().splitlines() if f" {mounted.path} " in line)
    assert {"noatime", "noexec", "nosuid", "nodev"} <= set(line.split()[3].split(","))
    assert run("mount", mounted.lower, mounted.path, "-o", "noatme").code == 2


def test_mount_helper(mounted):
    """mount(8)'s convention: the same mount; ``-f`` does nothing; errors begin with the helper's name."""
    run("lock", mounted.path)
    helper = [sys.executable, "-c", "from encfs.cli.mount_helper import main; main()"]
    options = f"rw,noauto,passphrase-file={mounted.secret_file}"
    base = [*helper, str(mounted.lower), str(mounted.path)]
    subprocess.run([*base, "-f", "-o", options, "-t", "fuse.cloakfs"], check=True)
    assert not is_mounted(mounted.path)
    done = subprocess.run(
        [*base, "-nv", "-o", options, "-t", "fuse.cloakfs"], capture_output=True, text=True, check=True
    )
    assert "Mounted " in done.stdout
    assert (mounted.path / "a.txt").exists()
    failed = subprocess.run([*base, "-o", "nonsense"], capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    assert failed.stderr.startswith("mount.fuse.cloakfs: unknown mount option 'nonsense'")
    sloppy = subprocess.run([*base, "-s", "-o", "nonsense"], capture_output=True, text=True, check=False)
    assert sloppy.returncode == 16


def test_foreground_ends_with_a_clean_volume(mounted):
    """``--foreground`` serves until SIGINT, and then everything is on the disk."""
    run("lock", mounted.path)
    command = [sys.executable, "-m", "encfs", "mount", str(mounted.lower), str(mounted.path), "--foreground"]
    process = subprocess.Popen([*command, *secret(mounted)], stderr=subprocess.PIPE, text=True)
    wait_for(lambda: is_mounted(mounted.path) and (mounted.path / "a.txt").exists(), "it is mounted")
    (mounted.path / "b.txt").write_text("b")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert not is_mounted(mounted.path)
    (found,) = run("status", mounted.lower, *secret(mounted), "--json").json["volumes"]
    assert found["last_session"]["state"] == "clean"


# -- busy ------------------------------------------------------------------------------------------------------


WAIT = "print('ready', flush=True)\nsys.stdin.read()"


@pytest.mark.parametrize(
    ("program", "how"),
    [
        ("import sys, os\nos.chdir(os.path.dirname(sys.argv[1]))\n", "works in it"),
        ("import sys\nf = open(sys.argv[1])\n", "has a file open"),
        ("import sys, mmap\nf = open(sys.argv[1])\nm = mmap.mmap(f.fileno(), 0, prot=1)\nf.close()\n", ""),
    ],
)
def test_busy_mount_names_the_processes(mounted, program, how):
    """A working directory, an open file and a mapping each keep the mount; exit 20 says who."""
    process = start(sys.executable, "-c", program + WAIT, str(mounted.path / "a.txt"))
    try:
        result = run("lock", mounted.path, "--json")
        assert result.code == 20
        assert is_mounted(mounted.path)
        (found,) = result.json["error"]["processes"]
        assert found["pid"] == process.pid
        assert found["command"].startswith(sys.executable)
        assert how in found["how"]
        assert f"process {process.pid}" in result.err
    finally:
        stop(process)
    assert run("lock", mounted.path).code == 0


def test_forced_lock_of_a_busy_mount(mounted):
    """``--force`` locks all the same, and what was written is on the disk."""
    code = "import sys\nf = open(sys.argv[1], 'w')\nprint('kept', end='', file=f, flush=True)\n" + WAIT
    process = start(sys.executable, "-c", code, str(mounted.path / "b.txt"))
    try:
        result = run("lock", mounted.path, "--force", "--json")
        assert (result.code, result.json["state"], result.json["forced"]) == (0, "clean", True)
        assert not is_mounted(mounted.path)
    finally:
        stop(process)
    assert run("cat", mounted.lower, "b.txt", *secret(mounted)).out == "kept"


# -- talking to a mount ----------------------------------------------------------------------------------------


def test_status_of_a_mount(mounted):
    """By volume or by mount point: where, since when, by whom, what it is made of."""
    for target in (mounted.lower, mounted.path):
        (found,) = run("status", target, "--json").json["volumes"]
        assert (found["volume"], found["state"]) == (str(mounted.lower), "mounted")
        assert found["mount"]["pid"] == mounted.pid
        assert set(found["mount"]) >= STATUS - {"volume", "volume_id", "cell_size", "slots"}
        assert found["config"]["volume_id"] == read_config(os.fsencode(mounted.lower)).volume_id.hex()
        assert found["sizes"]["lower_files"] > 0
    text = run("status", mounted.path).out
    for words in (f"mounted at {mounted.path}", f"process {mounted.pid}", "read and write"):
        assert words in text


def test_status_without_arguments_lists_the_mount(mounted):
    """The mount is in the list of everything that is mounted."""
    found = run("status", "--quick", "--json").json["volumes"]
    assert str(mounted.path) in [entry["mount"]["mountpoint"] for entry in found]


def test_verify_of_a_mount_needs_no_passphrase(mounted):
    """The daemon verifies; what is still in its memory counts."""
    result = run("verify", mounted.lower, "--json")
    assert result.code == 0
    assert (result.json["mounted"], result.json["clean"]) == (True, True)
    assert result.json["summary"]["files"] == 1
    assert run("verify", mounted.path, "nope").code == 26


def test_findings_of_a_mount(mounted):
    """Damage below is found over the socket with the same object as without a mount."""
    (mounted.path / "b.bin").write_bytes(bytes(20000))
    run("lock", mounted.path)
    lower = max((path for path in mounted.lower.iterdir() if path.is_file()), key=lambda path: path.stat().st_size)
    raw = bytearray(lower.read_bytes())
    raw[9000] ^= 1
    lower.write_bytes(raw)
    mounted.mount()
    result = run("verify", mounted.path, "--json")
    assert result.code == 3
    (finding,) = result.json["findings"]
    assert (finding["severity"], finding["path"], finding["lower_path"]) == ("error", "b.bin", lower.name)
    damaged = run("cat", mounted.path, "b.bin")
    assert damaged.code == 25
    assert "b.bin: damaged" in damaged.err
    assert run("export", mounted.path, "/", mounted.base / "out").code == 25
    assert (mounted.base / "out" / "a.txt").exists()


def test_cat_and_export_read_through_the_mount(mounted):
    """No passphrase; unsaved data is seen; an absolute symlink leads to the volume's root, not the machine's."""
    (mounted.path / "etc").mkdir()
    (mounted.path / "etc" / "passwd").write_text("inside\n")
    (mounted.path / "link").symlink_to("/etc/passwd")
    (mounted.path / "up").symlink_to("../../../../../../etc/passwd")
    for target in (mounted.lower, mounted.path):
        assert run("cat", target, "a.txt").out == "Dear colleague\n"
        assert run("cat", target, "link").out == "inside\n"
        assert run("cat", target, "up").out == "inside\n"
        assert run("cat", target, "../../../../../../etc/passwd").out == "inside\n"
    result = run("export", mounted.lower, "/", mounted.base / "out", "--json")
    assert (result.json["files"], result.json["directories"], result.json["symlinks"]) == (2, 2, 2)
    assert os.readlink(mounted.base / "out" / "link") == "/etc/passwd"


def test_special_files_are_left_out_of_an_export(mounted):
    """A fifo is named and not copied."""
    os.mkfifo(mounted.path / "fifo")
    result = run("export", mounted.path, "/", mounted.base / "out", "--json")
    assert (result.code, result.json["skipped"]) == (0, [{"path": "fifo", "kind": "fifo"}])


def test_export_of_a_locked_and_of_a_mounted_volume_are_the_same(mounted):
    """Both ways give the same tree with the same modes and times."""

    def look(top):
        return {
            str(path.relative_to(top)): (
                path.lstat().st_mode,
                path.lstat().st_mtime_ns,
                path.is_file() and path.read_bytes(),
            )
            for path in top.rglob("*")
        }

    (mounted.path / "dir").mkdir(mode=0o700)
    (mounted.path / "dir" / "b").write_bytes(os.urandom(10000))
    os.utime(mounted.path / "dir", ns=(1, 123456789))
    mounted.remount()
    run("export", mounted.path, "/", mounted.base / "one")
    run("lock", mounted.path)
    run("export", mounted.lower, "/", mounted.base / "two", *secret(mounted))
    assert look(mounted.base / "one") == look(mounted.base / "two") != {}


# -- a dead daemon ---------------------------------------------------------------------------------------------


def test_after_a_crash(mounted):
    """Status says that the daemon died and what to do; lock clears it; the next mount tells of the recovery."""
    (mounted.path / "b.txt").write_text("b")
    os.sync()
    kill_daemon(mounted)
    (found,) = run("status", mounted.lower, "--json").json["volumes"]
    assert found["state"] == "dead"
    assert f"cloakfs lock {mounted.path}" in run("status", mounted.path).out
    stuck = run("mount", mounted.lower, mounted.path, *secret(mounted))
    assert stuck.code == 19
    assert f"cloakfs lock {mounted.path}" in stuck.err
    assert run("cat", mounted.path, "a.txt").code == 21
    assert run("verify", mounted.path).code == 21
    cleared = run("lock", mounted.path, "--json")
    assert (cleared.code, cleared.json["state"], cleared.json["pid"]) == (0, "crashed", None)
    assert not is_mounted(mounted.path)
    again = run("mount", mounted.lower, mounted.path, *secret(mounted))
    assert again.code == 0
    assert "Recovered: a crash came before" in again.out
    assert (mounted.path / "b.txt").read_text() == "b"


# -- without FUSE ----------------------------------------------------------------------------------------------


def test_without_pyfuse3(mounted, tmp_path):
    """Where pyfuse3 is missing, mount says what to install (exit 18), asks nothing, and all else works."""
    run("lock", mounted.path)
    (tmp_path / "pyfuse3.py").write_text("raise ModuleNotFoundError(\"No module named 'pyfuse3'\", name='pyfuse3')\n")
    env = {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    result = run("mount", mounted.lower, mounted.path, env=env)
    assert result.code == 18
    assert "pyfuse3" in result.err
    assert "apt-get install fuse3" in result.err
    assert run("verify", mounted.lower, *secret(mounted), env=env).code == 0
    assert run("cat", mounted.lower, "a.txt", *secret(mounted), env=env).out == "Dear colleague\n"


def test_mount_from_a_bare_environment(mounted):
    """As from cron: no terminal, no PATH to speak of, no runtime directory; lock finds it again."""
    run("lock", mounted.path)
    bare = {"HOME": os.environ.get("HOME", "/"), "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}
    command = [
        sys.executable,
        "-m",
        "encfs",
        "mount",
        str(mounted.lower),
        str(mounted.path),
        *secret(mounted),
        "--json",
    ]
    top = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, env=bare, cwd=top, capture_output=True, stdin=subprocess.DEVNULL, check=True)
    assert json.loads(done.stdout)["mount"]["mountpoint"] == str(mounted.path)
    assert run("lock", mounted.path).code == 0


def test_the_daemon_keeps_nothing_of_the_caller(mounted):
    """It has its own session, no terminal, the root as working directory, and a pipe to it ends."""
    process = Path(f"/proc/{mounted.pid}")
    assert os.getsid(mounted.pid) == mounted.pid
    assert os.readlink(process / "cwd") == "/"
    assert {os.readlink(process / "fd" / name) for name in ("0", "1", "2")} == {"/dev/null"}


def test_verify_of_a_volume_in_use_elsewhere(mounted):
    """Hiding the socket, as for another user: nobody reads the store behind the mount."""
    socket = Path("/run/cloakfs") if os.geteuid() == 0 else None
    if socket is None:
        pytest.skip("the path of the socket is that of root")
    path = socket / (read_config(os.fsencode(mounted.lower)).volume_id.hex() + ".sock")
    hidden = path.with_suffix(".hidden")
    path.rename(hidden)
    try:
        assert run("verify", mounted.lower, *secret(mounted)).code == 21
        (found,) = run("status", mounted.path, "--json").json["volumes"]
        assert (found["state"], found["mount"]) == ("mounted", {"mountpoint": str(mounted.path)})
        assert run("cat", mounted.lower, "a.txt").out == "Dear colleague\n"
    finally:
        hidden.rename(path)
