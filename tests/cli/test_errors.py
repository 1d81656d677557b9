"""Every way in which a volume does not open has its own message and exit code."""

import os
import shutil
import subprocess
import sys

import pytest

from encfs.crypto import kdf
from encfs.format.config import assemble, split
from tests.support.command import PASSPHRASE, run

CONFIGS = ("cloakfs.volume", "cloakfs.volume.bak")


def reseal(path, change):
    """Change the signed bytes of both configs and give them a right checksum: damage that is none."""
    for name in CONFIGS:
        signed, mac, _ = split((path / name).read_bytes())
        signed = change(signed)
        (path / name).write_bytes(assemble(signed, mac, kdf.digest(signed)[:16]))


def test_wrong_passphrase(volume, tmp_path):
    """Exit 10; the message has the volume but not what was tried."""
    wrong = tmp_path / "wrong"
    wrong.write_text("not this one\n")
    wrong.chmod(0o600)
    result = run("verify", volume.path, "--passphrase-file", wrong)
    assert result.code == 10
    assert str(volume.path) in result.err
    assert "the passphrase is wrong" in result.err
    assert "not this one" not in result.err


def test_wrong_recovery_key(volume, tmp_path):
    """A mistyped key is a usage error that names the group; it is not tried."""
    key = volume.recovery_file.read_text().splitlines()[-1]
    (tmp_path / "r").write_text("zzzzz" + key[5:])
    result = run("verify", volume.path, "--recovery-file", tmp_path / "r")
    assert result.code == 2
    assert "group 1" in result.err


def test_one_damaged_config_does_not_matter(volume):
    """With one copy gone the other opens the volume."""
    (volume.path / CONFIGS[0]).write_bytes(b"junk")
    assert run("verify", volume.path, *volume.secret).code in (0, 3)


def test_damaged_config(volume):
    """Both copies damaged: exit 11, before a passphrase is asked for."""
    for name in CONFIGS:
        (volume.path / name).write_bytes((volume.path / name).read_bytes()[:-30])
    result = run("cat", volume.path, "letters/a.txt")
    assert result.code == 11
    assert "backup" in result.err


def test_damaged_slot(volume):
    """Right passphrase, damaged slot: exit 12."""
    reseal(volume.path, lambda signed: _flip(signed, b'"erk":"'))
    result = run("cat", volume.path, "letters/a.txt", *volume.secret)
    assert result.code == 12
    assert "recovery key" in result.err


def test_forged_config(volume):
    """A field changed by somebody without keys: exit 13."""
    reseal(volume.path, lambda signed: signed.replace(b'"label":"passphrase"', b'"label":"Passphrase"'))
    assert run("cat", volume.path, "letters/a.txt", *volume.secret).code == 13


def test_newer_format(volume):
    """A volume of a later version: exit 14, and the hint to take a newer cloakfs."""
    reseal(volume.path, lambda signed: signed.replace(b"cloakfs-volume 1\n", b"cloakfs-volume 2\n"))
    result = run("status", volume.path)
    assert result.code == 14
    assert "newer" in result.err


def _flip(signed, field):
    at = signed.index(field) + len(field) + 100
    return signed[:at] + (b"A" if signed[at : at + 1] != b"A" else b"B") + signed[at + 1 :]


@pytest.mark.parametrize("command", [("cat", "x"), ("export", "x", "y"), ("verify",), ("status",)])
def test_not_a_volume(tmp_path, command):
    """An ordinary directory, a file, and nothing at all: exit 15, each in its own words."""
    name, *rest = command
    (tmp_path / "file").write_text("")
    ordinary = run(name, tmp_path, *rest)
    file = run(name, tmp_path / "file", *rest)
    nothing = run(name, tmp_path / "nothing", *rest)
    assert [ordinary.code, file.code, nothing.code] == [15, 15, 15]
    assert "holds no cloakfs volume" in ordinary.err
    assert "no directory" in file.err
    assert "no such directory" in nothing.err


def test_no_prompt_without_a_terminal(volume):
    """Without a terminal and without an option nobody waits: exit 2 names the options."""
    for arguments in (("cat", volume.path, "x"), ("verify", volume.path), ("export", volume.path, "x", "y")):
        result = run(*arguments)
        assert result.code == 2
        assert "--passphrase-file" in result.err


def test_two_sources_are_refused(volume):
    """Only one source of the passphrase makes sense."""
    result = run("cat", volume.path, "x", *volume.secret, "--passphrase-fd", "0")
    assert result.code == 2
    assert "more than one" in result.err


@pytest.mark.parametrize(
    ("option", "code", "words"),
    [
        (("--passphrase-file", "/nonexistent/p"), 1, "/nonexistent/p: no such file"),
        (("--passphrase-fd", "77"), 2, "--passphrase-fd 77"),
        (("--passphrase-command", "false"), 1, "exit status 1"),
        (("--passphrase-command", "/nonexistent/c"), 1, "cannot be run"),
        (("--passphrase-command", "echo 'open"), 2, "no closing quotation"),
        (("--passphrase-command", "true"), 2, "empty"),
        (("--passphrase-command", "yes"), 2, "longer than 64 KiB"),
    ],
)
def test_sources_that_fail_are_explained(volume, option, code, words):
    """A file, descriptor or command that gives nothing is told in a sentence."""
    result = run("cat", volume.path, "empty", *option)
    assert (result.code, words in result.err) == (code, True), result.err


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_one_final_newline_does_not_count(volume, ending):
    """A passphrase file may end with a newline or not; a command's output too."""
    text = PASSPHRASE + ending
    assert run("cat", volume.path, "empty", "--passphrase-fd", "0", stdin=text.encode()).code == 0
    assert run("cat", volume.path, "empty", "--passphrase-command", f"printf '{text}'").code == 0


def test_readable_passphrase_file_is_warned_about(volume):
    """Other users can read the file: a warning, and it goes on."""
    volume.passphrase_file.chmod(0o644)
    result = run("cat", volume.path, "letters/a.txt", *volume.secret)
    assert (result.code, result.out) == (0, "Dear colleague\n")
    assert "chmod 600" in result.err


def test_error_as_json(volume):
    """With ``--json`` a failure is one object on stdout, and the text is on stderr all the same."""
    result = run("verify", volume.path, "--passphrase-fd", "0", "--json", stdin=b"wrong")
    assert result.code == 10
    error = result.json["error"]
    assert set(error) == {"name", "exit_code", "message", "hint"}
    assert (error["name"], error["exit_code"]) == ("WRONG_SECRET", 10)
    assert result.err.startswith("cloakfs: ")


def test_debug_shows_the_traceback(volume):
    """``--debug`` in either place shows where it happened."""
    for arguments in (("--debug", "cat"), ("cat", "--debug")):
        result = run(*arguments, volume.path, "empty", "--passphrase-fd", "0", stdin=b"wrong")
        assert result.code == 10
        assert "Traceback" in result.err


def test_volume_in_use_by_another_process(volume):
    """While a program has the volume open for writing, readers are refused with host and process: exit 16."""
    from encfs.volume import Volume

    with Volume.unlock(os.fsencode(volume.path), PASSPHRASE.encode()):
        for command in (("cat", volume.path, "empty"), ("verify", volume.path)):
            result = run(*command, *volume.secret)
            assert result.code == 16
            assert str(os.getpid()) in result.err
            assert os.uname().nodename in result.err
        assert run("status", volume.path, "--json").json["volumes"][0]["state"] == "in-use"
    assert run("status", volume.path, "--json").json["volumes"][0]["state"] == "locked"


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_stdout_on_a_full_disk(volume, arguments):
    """A result that cannot be written is exit 24 with one line, not a crash at the end."""
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "encfs", "status", str(volume.path), *arguments]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (24, "cloakfs: no space left on device\n")


def test_closed_streams(volume):
    """Where the caller has closed all three standard streams, the command does its work all the same."""
    script = 'exec "$@" <&- >&- 2>&-'
    done = subprocess.run(
        ["sh", "-c", script, "sh", sys.executable, "-m", "encfs", "verify", str(volume.path), *volume.secret],
        check=False,
    )
    assert done.returncode == 0


def test_a_volume_with_a_missing_part(volume):
    """Where only a part of the volume is gone, that part is named; exit 25."""
    shutil.rmtree(volume.path / "cloakfs.s")
    result = run("cat", volume.path, "empty", *volume.secret)
    assert result.code == 25
    assert "cloakfs.s" in result.err
