"""``cloakfs create`` without a terminal: options, refusals, what is left behind."""

import os
import re
import signal
import stat
import subprocess
import sys

import pytest

from encfs.format.recovery_key import decode_recovery_key
from encfs.format.slots import SlotKind
from encfs.volume import Volume, read_config
from tests.support.command import CHEAP, PASSPHRASE, run


def test_create_with_options_alone(tmp_path, secret_file):
    """Every question has an option: nothing is asked, and the volume opens with the passphrase."""
    result = run("create", tmp_path / "v", "--passphrase-file", secret_file, "--no-recovery", *CHEAP)
    assert (result.code, result.err) == (0, "")
    assert "cloakfs mount" in result.out
    with Volume.unlock(os.fsencode(tmp_path / "v"), PASSPHRASE.encode()) as volume:
        assert [slot.kind for slot in volume.config.slots] == [SlotKind.PASSPHRASE]


def test_create_json(tmp_path, secret_file):
    """``--json`` prints the documented object."""
    arguments = ("--label", "Dr. Müller", "--cell-size", "16k", "--no-recovery", "--json", *CHEAP)
    result = run("create", tmp_path / "v", "--passphrase-file", secret_file, *arguments)
    config = read_config(os.fsencode(tmp_path / "v"))
    assert result.json == {
        "volume": str(tmp_path / "v"),
        "volume_id": config.volume_id.hex(),
        "created": config.created,
        "cell_size": 16384,
        "kdf": {
            "alg": "argon2id",
            "memory_kib": 65536,
            "passes": 3,
            "lanes": config.slots[0].kdf.lanes,
            "seconds": None,
        },
        "recovery": "none",
        "recovery_out": None,
    }
    assert (config.cell_size, config.slots[0].label) == (16384, "Dr. Müller")


def test_recovery_key_goes_to_a_private_file(tmp_path, secret_file):
    """``--recovery-out`` writes a file for its owner only, which ``--recovery-file`` takes as it is."""
    out = tmp_path / "key"
    made = run("create", tmp_path / "v", "--passphrase-file", secret_file, "--recovery-out", out, *CHEAP)
    assert made.code == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    key = decode_recovery_key(out.read_text().splitlines()[-1])
    Volume.unlock(os.fsencode(tmp_path / "v"), key, SlotKind.RECOVERY).close()
    assert run("verify", tmp_path / "v", "--recovery-file", out).code == 0
    assert out.read_text().splitlines()[-1] not in made.out + made.err


def test_the_fate_of_the_recovery_key_must_be_said(tmp_path, secret_file):
    """A script that says nothing about the recovery key is told its two choices; nothing is made."""
    result = run("create", tmp_path / "v", "--passphrase-file", secret_file, *CHEAP)
    assert result.code == 2
    assert "--recovery-out" in result.err
    assert "--no-recovery" in result.err
    assert not (tmp_path / "v").exists()


@pytest.mark.parametrize("where", ["v/key", "v/sub/../key"])
def test_recovery_key_may_not_lie_in_the_volume(tmp_path, secret_file, where):
    """A key beside what it opens protects nothing."""
    (tmp_path / "v").mkdir()
    result = run("create", tmp_path / "v", "--passphrase-file", secret_file, "--recovery-out", tmp_path / where, *CHEAP)
    assert result.code == 2
    assert list((tmp_path / "v").iterdir()) == []


def test_recovery_out_is_never_overwritten(tmp_path, secret_file):
    """A file that is there already stays as it is, and no volume is made."""
    out = tmp_path / "key"
    out.write_text("another key")
    result = run("create", tmp_path / "v", "--passphrase-file", secret_file, "--recovery-out", out, *CHEAP)
    assert result.code == 17
    assert out.read_text() == "another key"
    assert not (tmp_path / "v").exists()


def test_a_directory_that_is_not_empty_is_refused(tmp_path, secret_file):
    """Exit 17, before anything is asked or computed; what is there stays."""
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "mine").write_text("x")
    result = run("create", tmp_path / "v", "--passphrase-file", secret_file, "--no-recovery", *CHEAP)
    assert result.code == 17
    assert [path.name for path in (tmp_path / "v").iterdir()] == ["mine"]


def test_a_volume_is_not_made_twice(volume):
    """An existing volume is named as such."""
    result = run("create", volume.path, *volume.secret, "--no-recovery", *CHEAP)
    assert result.code == 17
    assert "there is a volume already" in result.err


def test_a_missing_parent_is_named(tmp_path, secret_file):
    """The message names the directory that is missing, not the one that was to be made."""
    result = run("create", tmp_path / "no" / "v", "--passphrase-file", secret_file, "--no-recovery", *CHEAP)
    assert result.code == 2
    assert f"{tmp_path}/no: there is no such directory" in result.err


@pytest.mark.parametrize("weak", ["hunter2", "aaaaaaaaaaaaaaaaaaaa", "passwordpassword", "qwertyuiopasdfghjkl"])
def test_weak_passphrase_is_refused_with_the_reason(tmp_path, weak):
    """Exit 22 says why and what would do; length alone is not believed."""
    result = run("create", tmp_path / "v", "--passphrase-fd", "0", "--no-recovery", *CHEAP, stdin=weak.encode())
    assert result.code == 22
    assert "too easy to guess" in result.err
    assert "15 characters" in result.err
    assert weak not in result.err
    assert not (tmp_path / "v").exists()


def test_weak_passphrase_can_be_insisted_on(tmp_path):
    """``--allow-weak`` takes it, with a warning."""
    result = run(
        "create", tmp_path / "v", "--passphrase-fd", "0", "--no-recovery", "--allow-weak", *CHEAP, stdin=b"hunter2\n"
    )
    assert result.code == 0
    assert "warning: this passphrase is too easy" in result.err
    Volume.unlock(os.fsencode(tmp_path / "v"), b"hunter2").close()


@pytest.mark.parametrize("good", ["Tr0ub4dor&3 x", "vier ganz andere Wörter", "x" * 3 + "q7!Zp2" * 40])
def test_good_passphrase_is_taken(tmp_path, good):
    """A score of 4, or 15 characters; very long ones too."""
    result = run("create", tmp_path / "v", "--passphrase-fd", "0", "--no-recovery", *CHEAP, stdin=good.encode())
    assert (result.code, result.err) == (0, "")


def test_without_a_terminal_nothing_is_asked(tmp_path):
    """No passphrase option and no terminal is a usage error that names the options."""
    result = run("create", tmp_path / "v", "--no-recovery", *CHEAP)
    assert result.code == 2
    assert "--passphrase-file" in result.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--kdf-memory", "1M"),
        ("--kdf-memory", "5G"),
        ("--kdf-memory", "lots"),
        ("--kdf-passes", "2"),
        ("--kdf-passes", "65"),
        ("--cell-size", "8K"),
        ("--label", "x" * 65),
        ("--label", "a\x1bb"),
        ("--recovery-out", "k", "--passphrase-fd", "0"),
    ],
)
def test_senseless_values_are_refused(tmp_path, secret_file, arguments):
    """Values outside the format's limits are usage errors; nothing is made."""
    result = run("create", tmp_path / "v", "--passphrase-file", secret_file, "--no-recovery", *arguments)
    assert result.code == 2
    assert not (tmp_path / "v").exists()


def test_a_disk_that_refuses_leaves_nothing(tmp_path, secret_file):
    """When the volume cannot be made, the recovery key's file is taken back."""
    out = tmp_path / "key"
    target = "/proc/cloakfs-test"
    result = run("create", target, "--passphrase-file", secret_file, "--recovery-out", out, *CHEAP)
    assert result.code == 1
    assert target in result.err
    assert not out.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing(tmp_path, secret_file, number):
    """Ctrl-C or SIGTERM in the middle: no volume, no recovery key, and the right status."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    arguments = ["--passphrase-file", str(fifo), "--recovery-out", str(tmp_path / "key"), *CHEAP]
    process = subprocess.Popen(
        [sys.executable, "-m", "encfs", "create", str(tmp_path / "v"), *arguments], stderr=subprocess.PIPE, text=True
    )
    # Opening the other end returns when the command has begun to wait for the passphrase.
    with fifo.open("wb"):
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    assert "Traceback" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fifo", "passphrase"]


def test_calibration_takes_what_is_fixed(tmp_path, secret_file):
    """With only the memory fixed the passes are measured, and the result says how long it takes."""
    result = run(
        "create", tmp_path / "v", "--passphrase-file", secret_file, "--no-recovery", "--json", "--kdf-memory", "64M"
    )
    kdf = result.json["kdf"]
    assert kdf["memory_kib"] == 65536
    assert kdf["passes"] >= 3
    assert kdf["seconds"] > 0


def test_text_names_the_cost(tmp_path, secret_file):
    """The text says what was chosen."""
    out = run("create", tmp_path / "v", "--passphrase-file", secret_file, "--no-recovery", *CHEAP).out
    assert re.search(r"Argon2id with 64 MiB and 3 passes", out)
    assert "everything in the volume is lost" in out
