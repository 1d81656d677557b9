"""``cloakfs verify --repair``, ``--for`` and ``cloakfs rescue`` as a person and as a script use them."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from encfs.format.recovery_key import encode_recovery_key
from tests.support.command import run
from tests.support.pty_session import PtySession
from tests.support.volumes import RECOVERY_KEY, LowerVolume

LONG_BIN = bytes(range(256)) * 40


@pytest.fixture
def volume(tmp_path):
    """A locked volume that a recovery key opens, without the second that Argon2id takes."""
    made = LowerVolume(tmp_path / "volume")
    with made.unlock() as opened:
        opened.make_directory(b"letters", 0o750)
        opened.write_file(b"letters/a.txt", b"Dear colleague\n", mode=0o640)
        opened.write_file(b"letters/long.bin", LONG_BIN, mode=0o600)
        opened.write_file(b"empty", b"")
    return made


def fast(volume):
    """The options that unlock it."""
    path = volume.path.parent / "recovery"
    path.write_text(encode_recovery_key(RECOVERY_KEY) + "\n")
    path.chmod(0o600)
    return ("--recovery-file", str(path))


def flip(path, offset):
    """One byte of a lower file, changed."""
    raw = bytearray(path.read_bytes())
    raw[offset] ^= 1
    path.write_bytes(raw)


@pytest.fixture
def damaged(volume):
    """A volume with a damaged file and a directory without a record."""
    flip(volume.lower(b"letters/long.bin"), 5000)
    flip(volume.lower(b"empty"), 100)
    return volume


def test_repair_without_a_terminal(damaged):
    """Exit 2 and nothing changed: there is nobody to ask, and --yes was not given."""
    before = {path: path.read_bytes() for path in damaged.path.rglob("*") if path.is_file()}
    result = run("verify", damaged.path, "--repair", *fast(damaged))
    assert result.code == 2
    assert "--yes" in result.err
    assert {path: path.read_bytes() for path in damaged.path.rglob("*") if path.is_file()} == before


def test_repair_with_yes(damaged):
    """The plan, what was done, where it is; exit 0, and verify finds nothing more."""
    result = run("verify", damaged.path, "--repair", "--yes", *fast(damaged))
    assert (result.code, result.err) == (0, "")
    for words in (
        "Repair would do 2 things:",
        "letters/long.bin: moved to lost+found/",
        "empty: its sealed bytes are moved to lost+found/",
        "lost: 1 of its 3 pieces",
        "Nothing is deleted.",
        "report.txt",
        "done: letters/long.bin",
        "Repaired 2 things.",
        "Nothing is wrong any more.",
    ):
        assert words in result.out, words
    again = run("verify", damaged.path, *fast(damaged))
    assert again.code == 0
    assert "kept-damaged" in again.out
    assert run("verify", damaged.path, "--repair", "--yes", *fast(damaged)).code == 0


def test_repair_of_a_path(damaged):
    """Only what is named is repaired; the rest is still found."""
    assert run("verify", damaged.path, "letters", "--repair", "--yes", *fast(damaged)).code == 0
    result = run("verify", damaged.path, *fast(damaged))
    assert result.code == 3
    assert "ERROR: empty:" in result.out
    assert "ERROR: letters" not in result.out


def test_repair_leaves_strangers_alone(damaged):
    """What is not the volume's is told and left; exit 3."""
    (damaged.path / "Thumbs.db").write_bytes(b"x")
    result = run("verify", damaged.path, "--repair", "--yes", *fast(damaged))
    assert result.code == 3
    assert "left alone: Thumbs.db: " in result.out
    assert "Nothing is wrong" not in result.out
    assert (damaged.path / "Thumbs.db").read_bytes() == b"x"


def test_repair_as_json(damaged):
    """The documented object."""
    result = run("verify", damaged.path, "--repair", "--yes", "--json", *fast(damaged))
    assert (result.code, result.err) == (0, "")
    found = result.json
    assert found["clean"] is True
    assert {one["code"] for one in found["findings"]} == {"cell-damaged", "file-damaged"}
    assert found["coverage"] is None
    repair = found["repair"]
    assert repair["lost_found"].startswith("lost+found/2")
    assert repair["left"] == []
    for action in repair["actions"]:
        assert set(action) == {"code", "path", "lower_path", "found", "text", "loss", "bytes", "outcome", "reason"}
        assert (action["outcome"], action["reason"]) == ("done", "")
    assert sorted(action["path"] for action in repair["actions"]) == ["empty", "letters/long.bin"]


def test_nothing_to_repair(volume):
    """A volume without damage: exit 0, and no lost+found."""
    result = run("verify", volume.path, "--repair", "--yes", *fast(volume))
    assert result.code == 0
    assert "All that was read is authentic." in result.out
    assert run("export", volume.path, "lost+found", volume.path.parent / "x", *fast(volume)).code == 26


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("", 3), ("n", 3), ("nonsense", 3)])
def test_the_question(damaged, answer, code):
    """On a terminal it asks; anything but yes changes nothing."""
    with PtySession("verify", str(damaged.path), "--repair", *fast(damaged)) as session:
        session.answer("Repair 2 things? [y/N] ", answer)
        assert session.end() == code
        if code:
            assert "Nothing was changed." in session.text
        else:
            assert "Nothing is wrong any more." in session.text
    assert run("verify", damaged.path, *fast(damaged)).code == code


def test_interrupted_at_the_question(damaged):
    """Ctrl-C at the question: exit 130, nothing changed, and the volume was locked properly."""
    with PtySession("verify", str(damaged.path), "--repair", *fast(damaged)) as session:
        session.expect("Repair 2 things? [y/N] ")
        session.send("\x03")
        assert session.end() == 130
    with PtySession("verify", str(damaged.path), "--repair", "--json", *fast(damaged)) as session:
        assert session.end() == 2
        assert "--yes" in session.text
    assert run("verify", damaged.path, *fast(damaged)).code == 3
    with damaged.unlock() as volume:
        assert volume.recovery is None


def test_for_a_time(volume):
    """With time enough all files are checked, and that is said; also in JSON."""
    result = run("verify", volume.path, "--for", "1h", *fast(volume))
    assert (result.code, result.err) == (0, "")
    assert "Checked 3 of 3 files in this go: all of them." in result.out
    found = run("verify", volume.path, "--for", "1h", "--json", *fast(volume)).json
    assert found["coverage"] == {
        "checked": 3, "files": 3, "never": 0, "oldest": None, "listed": True, "complete": True
    }  # fmt: skip
    assert found["repair"] is None


def test_for_a_time_that_is_too_short(volume, capsys):
    """What was not reached is told, with what to do: the next call goes on there."""
    from encfs.cli import mending, targets
    from encfs.cli.secrets import SecretOptions

    ticks = iter([0.0, 0.0, *[0.1] * 2, *[5.0] * 100])
    wishes = mending.Wishes(repair=False, yes=False, seconds=1.0, as_json=False)
    secret = SecretOptions(recovery_file=fast(volume)[1])
    code = mending.run(targets.find(str(volume.path)), [], wishes, secret, clock=lambda: next(ticks))
    told = capsys.readouterr().out
    assert code == 0
    assert "Checked 1 of 3 files in this go; 2 not yet at all. Go on with the same command." in told


@pytest.mark.parametrize("words", [["--for", "0s"], ["--for", "soon"], ["--for", "30"], ["--yes"]])
def test_wrong_words(volume, words):
    """Exit 2 for what makes no sense."""
    assert run("verify", volume.path, *words, *fast(volume)).code == 2


def test_repair_and_rescue_of_a_mounted_volume(mounted, tmp_path):
    """Exit 16, and what to do first: lock it."""
    for words in (["verify", mounted.path, "--repair", "--yes"], ["verify", mounted.path, "--for", "1h"]):
        result = run(*words)
        assert result.code == 16
        assert "cloakfs lock" in result.err
    result = run("rescue", mounted.path, "a.txt", tmp_path / "out")
    assert result.code == 16
    assert "cloakfs lock" in result.err
    assert not (tmp_path / "out").exists()


# -- rescue ------------------------------------------------------------------------------------------------


def test_rescue(damaged, tmp_path):
    """Exit 25: the good cells at their places, zeros in the gap, the gap on stdout and in JSON."""
    result = run("rescue", damaged.path, "letters/long.bin", tmp_path / "out", *fast(damaged))
    assert result.code == 25
    assert "missing: 4,064 bytes at 3,552" in result.out
    assert (tmp_path / "out").read_bytes() == LONG_BIN[:3552] + bytes(4064) + LONG_BIN[3552 + 4064 :]
    found = run("rescue", damaged.path, "letters/long.bin", tmp_path / "2", "--json", *fast(damaged))
    assert found.code == 25
    assert found.json == {
        "volume": str(damaged.path),
        "path": "letters/long.bin",
        "destination": str(tmp_path / "2"),
        "size": 10240,
        "bytes": 10240 - 4064,
        "from_checkpoint": False,
        "gaps": [{"offset": 3552, "length": 4064}],
    }


def test_rescue_of_a_whole_file(volume, tmp_path):
    """Exit 0: nothing is missing; a directory as destination takes it under its own name."""
    result = run("rescue", volume.path, "/letters/long.bin", tmp_path, *fast(volume))
    assert (result.code, result.err) == (0, "")
    assert "Nothing is missing." in result.out
    assert (tmp_path / "long.bin").read_bytes() == LONG_BIN
    assert (tmp_path / "long.bin").stat().st_mode & 0o777 == 0o600


def test_rescue_overwrites_nothing(damaged, tmp_path):
    """Nothing that is there is overwritten, and nothing is written into the volume directory."""
    (tmp_path / "out").write_bytes(b"mine")
    assert run("rescue", damaged.path, "letters/long.bin", tmp_path / "out", *fast(damaged)).code == 17
    assert (tmp_path / "out").read_bytes() == b"mine"
    assert run("rescue", damaged.path, "letters/long.bin", damaged.path / "out", *fast(damaged)).code == 2
    assert run("rescue", damaged.path, "nope", tmp_path / "2", *fast(damaged)).code == 26
    assert run("rescue", damaged.path, "empty", tmp_path / "2", *fast(damaged)).code == 25
    assert not (tmp_path / "2").exists()


def test_interrupted_while_it_verifies(damaged):
    """SIGINT while files are read: exit 130, nothing changed, no crash recorded."""
    with damaged.unlock() as volume:
        volume.write_file(b"big", bytes(64 << 20))
    command = [sys.executable, "-m", "encfs", "verify", str(damaged.path), "--repair", "--yes", *fast(damaged)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()  # The first finding: it is reading.
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode in (130, 0)
    with damaged.unlock() as volume:
        assert volume.recovery is None
