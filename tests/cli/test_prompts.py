"""Questions and answers on a real terminal."""

import os
import re

import pytest

from encfs.format.recovery_key import decode_recovery_key, encode_recovery_key
from encfs.format.slots import SlotKind
from encfs.volume import Volume
from tests.support.command import CHEAP, PASSPHRASE
from tests.support.pty_session import PtySession


def answer_twice(session, passphrase=PASSPHRASE):
    """The new passphrase, and the same again."""
    session.answer("New passphrase: ", passphrase)
    session.answer("The same again: ", passphrase)


def read_key(session):
    """The recovery key as it stands on the screen."""
    shown = session.expect("Press Enter when you have it")
    groups = [group for group in re.findall(r"\b[0-9A-Z]{5}\b", shown) if group.isascii()]
    assert len(groups) == 13
    return groups


def test_create_by_questions(tmp_path):
    """Passphrase twice, the key shown and typed back in lower case on two lines: the volume opens with both."""
    with PtySession("create", str(tmp_path / "v"), *CHEAP) as session:
        answer_twice(session)
        groups = read_key(session)
        session.send("\n")
        session.answer("Recovery key: ", " ".join(groups[:6]).lower())
        session.answer("and on: ", "-".join(groups[6:]))
        session.expect("Made the volume")
        assert session.end() == 0
    assert PASSPHRASE not in session.text
    Volume.unlock(os.fsencode(tmp_path / "v"), PASSPHRASE.encode()).close()
    key = decode_recovery_key(" ".join(groups))
    Volume.unlock(os.fsencode(tmp_path / "v"), key, SlotKind.RECOVERY).close()


def test_nothing_is_made_before_the_key_is_typed_back(tmp_path):
    """Wrong answers are explained, an empty one shows the key again, three wrong ones end it: exit 10, no volume."""
    with PtySession("create", str(tmp_path / "v"), *CHEAP) as session:
        answer_twice(session)
        groups = read_key(session)
        session.send("\n")
        other = "Z" if groups[3][0] != "Z" else "Y"
        session.answer("Recovery key: ", " ".join([*groups[:3], other + groups[3][1:], *groups[4:]]))
        session.expect("group 4 of the recovery key is mistyped")
        session.answer("Recovery key: ", "")
        assert read_key(session) == groups
        session.send("\n")
        session.answer("Recovery key: ", encode_recovery_key(bytes(32)))
        session.expect("not this one")
        assert not (tmp_path / "v").exists()
        session.answer("Recovery key: ", encode_recovery_key(bytes(32)))
        assert session.end() == 10
    assert "nothing was made" in session.text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["\x03", "\x04"])
def test_giving_up_makes_nothing(tmp_path, key):
    """Ctrl-C or Ctrl-D at the recovery key: exit 130, no volume."""
    with PtySession("create", str(tmp_path / "v"), *CHEAP) as session:
        answer_twice(session)
        read_key(session)
        session.send(key)
        assert session.end() == 130
    assert list(tmp_path.iterdir()) == []


def test_weak_and_unequal_passphrases_can_be_corrected(tmp_path):
    """A refusal says why and asks again, a slip too; then it goes on."""
    with PtySession("create", str(tmp_path / "v"), "--no-recovery", *CHEAP) as session:
        session.answer("New passphrase: ", "hunter2")
        session.expect("too easy to guess")
        session.answer("New passphrase: ", PASSPHRASE)
        session.answer("The same again: ", PASSPHRASE + "x")
        session.expect("not the same")
        answer_twice(session)
        session.expect("Made the volume")
        assert session.end() == 0


def test_three_weak_passphrases_are_enough(tmp_path):
    """After the third refusal the command ends with 22."""
    with PtySession("create", str(tmp_path / "v"), "--no-recovery", *CHEAP) as session:
        for _ in range(3):
            session.answer("New passphrase: ", "hunter2")
        assert session.end() == 22
    assert list(tmp_path.iterdir()) == []


def test_prompts_never_go_to_stdout(tmp_path, volume):
    """With stdout redirected the dialogue is on the terminal, and only the content is in the file."""
    out = tmp_path / "out"
    with (
        out.open("wb") as file,
        PtySession("cat", str(volume.path), "letters/a.txt", stdout_to=file.fileno()) as session,
    ):
        session.answer("Passphrase of ", PASSPHRASE)
        assert session.end() == 0
    assert out.read_bytes() == b"Dear colleague\n"


def test_wrong_passphrase_three_times(volume):
    """Each wrong answer is told; after the third the status is 10."""
    with PtySession("cat", str(volume.path), "letters/a.txt") as session:
        for _ in range(2):
            session.answer("Passphrase of ", "wrong")
            session.expect("the passphrase is wrong.")
        session.answer("Passphrase of ", "wrong")
        assert session.end() == 10


def test_wrong_and_then_right(volume):
    """A second try opens the volume; the passphrase is not echoed."""
    with PtySession("verify", str(volume.path)) as session:
        session.answer("Passphrase of ", "wrong")
        session.answer("Passphrase of ", PASSPHRASE)
        session.expect("All of it is authentic")
        assert session.end() == 0
    assert PASSPHRASE not in session.text


def test_recovery_key_typed_at_the_prompt(volume):
    """``--recovery`` asks for the key; a mistyped group is named and can be typed again."""
    key = volume.recovery_file.read_text().splitlines()[-1]
    with PtySession("cat", str(volume.path), "letters/a.txt", "--recovery") as session:
        session.answer("groups: ", "11111" + key[5:])
        session.expect("group 1 of the recovery key is mistyped")
        session.answer("groups: ", key)
        session.expect("Dear colleague")
        assert session.end() == 0


def test_an_option_means_no_question(volume):
    """With a passphrase option nothing is asked, even on a terminal: a wrong one ends it."""
    with PtySession("cat", str(volume.path), "empty", "--passphrase-command", "echo wrong") as session:
        assert session.end() == 10
    assert "Passphrase" not in session.text


def test_interrupt_at_the_prompt(volume):
    """Ctrl-C at the passphrase: 130, one quiet line."""
    with PtySession("cat", str(volume.path), "empty") as session:
        session.expect("Passphrase of ")
        session.send("\x03")
        assert session.end() == 130
    assert "Traceback" not in session.text
    assert "cloakfs: interrupted" in session.text


def test_progress_moves_on_a_terminal(volume):
    """On a terminal unlocking shows that it works."""
    with PtySession("verify", str(volume.path)) as session:
        session.answer("Passphrase of ", PASSPHRASE)
        session.expect("Unlocking")
        assert session.end() == 0


def test_a_dumb_terminal_gets_plain_text(volume):
    """TERM=dumb: no control sequence at all."""
    with PtySession("verify", str(volume.path), *volume.secret, env={"TERM": "dumb"}) as session:
        assert session.end() == 0
    assert "\x1b" not in session._raw.decode()
    assert "All of it is authentic" in session.text
