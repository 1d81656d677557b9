"""What restic says, and what is made of it: no name of a file in it, and always something that can be done."""

from __future__ import annotations

import pytest

from encfs.backup.restic_words import Lock, Trouble, error_of, hopeless, lock_in, pack_in, trouble_in
from encfs.errors import ExitCode

_LOCKED = (
    "unable to create lock in backend: repository is already locked exclusively by PID 4711 on upstairs by root"
    " (UID 0, GID 0)\nlock was created at 2026-11-27 12:00:00 (3m1s ago)\nstorage ID 12ab\n"
)
_RETRY = "Load(<data/692f4578da>, 20042, 2264788) returned error, retrying after 552.330144ms: "


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        (_LOCKED, Trouble.LOCKED),
        ("Fatal: wrong password or no key found", Trouble.KEY),
        ("Fatal: create key in repository at /x failed: config file already exists", Trouble.THERE),
        (
            (
                "Fatal: unable to open config file: stat /x/config: no such file or directory\n"
                "Is there a repository at the following location?\n/x"
            ),
            Trouble.MISSING,
        ),
        ("Fatal: unable to save snapshot: write /x/data/00/tmp: no space left on device", Trouble.FULL),
        ("unable to create lock in backend: open /x/locks/1: read-only file system", Trouble.READ_ONLY),
        ("Host key verification failed.\nFatal: unable to start the sftp session", Trouble.HOST_KEY),
        ("root@127.0.0.1: Permission denied (publickey).\nFatal: unable to start the sftp session", Trouble.REFUSED),
        ("ssh: connect to host x port 22: Connection refused", Trouble.NETWORK),
        ("Fatal: unable to open config file: connection lost", Trouble.NETWORK),
        ("read /x/data/00/ab: input/output error", Trouble.GONE),
        ("open /x/keys: permission denied", Trouble.DENIED),
        ("pack 692f: does not exist\nFatal: repository contains errors", Trouble.DAMAGED),
        ("ciphertext verification failed", Trouble.DAMAGED),
        ('Fatal: invalid id "ab": no matching ID found for prefix "ab"', Trouble.SNAPSHOT),
        ("something else", Trouble.OTHER),
    ],
)
def test_what_it_means(text: str, trouble: Trouble) -> None:
    """Each text has its trouble, whose error has an exit code of backups and says what to do."""
    assert trouble_in(text) is trouble
    error = error_of(trouble, text)
    assert error.trouble is trouble
    assert error.exit_code is ExitCode.BACKUP
    assert error.hint


def test_no_text_of_restic_is_passed_on() -> None:
    """A name of a file that restic says does not get into the error."""
    for trouble in Trouble:
        error = error_of(trouble, f"open /mnt/Mueller-Anna.txt: x\n{_LOCKED}")
        assert "Mueller" not in str(error) + error.hint


def test_who_holds_the_lock() -> None:
    """The error of a lock says who has it and since when."""
    assert lock_in(_LOCKED) == Lock(4711, "upstairs", "2026-11-27 12:00:00")
    assert "by process 4711 on upstairs, since 2026-11-27 12:00:00" in str(error_of(Trouble.LOCKED, _LOCKED))
    assert lock_in("something else") is None


@pytest.mark.parametrize(
    ("why", "trouble"),
    [
        ("open /x/data/69/692f: no such file or directory", Trouble.DAMAGED),
        ("file does not exist", Trouble.DAMAGED),
        ("write /x/data/69/tmp: no space left on device", Trouble.FULL),
        ("connection lost", Trouble.NETWORK),
        ("something that may pass", None),
    ],
)
def test_what_is_not_waited_for(why: str, trouble: Trouble | None) -> None:
    """What trying again does not help is known when restic says that it tries again; all else may go on."""
    assert hopeless(_RETRY + why) is trouble
    assert hopeless(why) is None


def test_which_pack() -> None:
    """The id of a pack, in full where restic tells its path."""
    whole = "692f4578da" + "0" * 54
    assert pack_in(f"{_RETRY}open /x/data/69/{whole}: no such file or directory") == whole
    assert pack_in(f"{_RETRY}file does not exist") == "692f4578da"
    assert pack_in("Save(<data/692f4578da>) returned error, retrying after 1s: x") == ""
