"""Pages are read as they are written, and what differs from them is told: else the walk-through would prove nothing."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from encfs.format.recovery_key import encode_recovery_key
from encfs.sheets.sheets import recovery_sheet
from encfs.units import VolumeId
from tests.support import pages, scratch_machine, walkthrough
from tests.support.pages import Command, Hands, PageError

PAGE = """\
Text. `$ this` is no command.

```console
# apt install samba
$ cat > ~/a.txt <<'END'
$ one
END
$ cloakfs mount a \\
    b
Passphrase of ...: ‹your passphrase›
...
```

<!-- hands: power cut -->

- in a list

    ```console
    $ pwd
    /home/anna
    ```

<!-- walkthrough: skip, another machine -->
```console
$ format c:
```
"""


def test_commands_output_and_hands_are_read_in_their_order():
    """Users, continued lines, here-documents, prompts, indented blocks, hands and left-out blocks."""
    page = pages.read(PAGE)
    assert page.skipped == ((24, "another machine"),)
    assert page.steps == (
        Command(4, "#", "apt install samba", ()),
        Command(5, "$", "cat > ~/a.txt <<'END'\n$ one\nEND", ()),
        Command(8, "$", "cloakfs mount a \\\n    b", ("Passphrase of ...: ‹your passphrase›", "...")),
        Hands(14, "power cut"),
        Command(19, "$", "pwd", ("/home/anna",)),
    )
    assert page.steps[2].answers == [(":", "your passphrase")]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("```console\noutput first\n```", "line 2"),
        ("```console\n$ true\n", "line 1"),
        ("```console\n$ cat <<END\nnever\n```", "line 2"),
        ("<!-- walkthrough: ignore -->", "line 1"),
    ],
)
def test_a_page_that_nobody_could_follow_is_refused(text, line):
    """Output without a command, a block or here-document without an end, a comment that means nothing."""
    with pytest.raises(PageError, match=line):
        pages.read(text)


def test_a_typed_answer_needs_a_prompt():
    """What is typed where nothing asks would be typed too early."""
    with pytest.raises(PageError, match="line 2"):
        print(pages.read("```console\n$ a\n... ‹b›\n```").steps[0].answers)


@pytest.mark.parametrize(
    ("expected", "seen", "same"),
    [
        ("a\nb", "a\nb\n", True),
        ("a", "a\nb\n", False),
        ("a\n...", "a\n", True),
        ("a\n...\nd", "a\nb\nc\nd\n", True),
        ("a\n...\nd", "a\nb\nc\n", False),
        ("free: ... GiB", "free: 75.2 GiB\n", True),
        ("free: ... GiB", "free: 75.2\nGiB\n", False),
        ("Type sdb1: ‹sdb1›\ndone", "Type sdb1: sdb1\ndone\n", True),
        ("Passphrase: ‹your passphrase›", "Passphrase: \n", True),
        ("Passphrase: ‹your passphrase›", "PIN: \n", False),
        ("a.c", "abc\n", False),
        ("  state    locked", "  state    locked   \n", True),
    ],
)
def test_what_is_the_same(expected, seen, same):
    """Dots stand for any text, of a line or of lines; everything else is compared as it is."""
    assert pages.says(tuple(expected.splitlines()), seen) is same


WRONG = {
    "fails": ("```console\n$ true\n$ false\n$ true\n```", 3, "it ends with 1"),
    "says": ("```console\n$ echo one\ntwo\n```", 2, "it does not say what the page shows"),
    "prompt": ("```console\n$ echo nothing asks\nPIN: ‹1234›\n```", 2, "it does not say what the page shows"),
    "package": ("```console\n# apt install no-such-package-here\n```", 2, "it ends with 100"),
    "unit": ("```console\n# systemctl start no-such-unit\n```", 2, "it ends with 5"),
}


@pytest.mark.mount
@pytest.mark.skipif(not scratch_machine.available(), reason="needs root and overlays")
@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_page_fails_where_it_is_wrong(case, tmp_path):
    """The walk stops at the first command that fails or says something else, and names its line."""
    text, line, why = WRONG[case]
    page = tmp_path / "page.md"
    page.write_text(text)
    last = walkthrough.walk(page, tmp_path / "machine")[-1]
    assert (last.line, last.wrong.partition(":")[0]) == (line, why)


@pytest.mark.mount
@pytest.mark.skipif(not scratch_machine.available(), reason="needs root and overlays")
def test_nothing_of_the_machine_changes(tmp_path):
    """What a page does as root in /etc, /srv, /var and /usr/local is there for the page, and not for this machine."""
    places = [f"{top}/cloakfs-walkthrough-was-here" for top in ("/etc", "/srv", "/var", "/usr/local", "/run", "/dev")]
    page = tmp_path / "page.md"
    page.write_text(
        f"```console\n# touch {' '.join(places)}\n# ls {' '.join(places)}\n...\n# ip link show\n1: lo: ...\n...\n```"
    )
    assert [step.wrong for step in walkthrough.walk(page, tmp_path / "machine")] == ["", "", ""]
    assert [place for place in places if Path(place).exists()] == []


STICKS = """\
<!-- hands: plug in red at /media/anna/STICK ext4 -->

```console
$ echo red > /media/anna/STICK/which
```

<!-- hands: pull out -->
<!-- hands: plug in blue at /media/anna/STICK ext4 -->

```console
$ ls /media/anna/STICK
lost+found
$ echo blue > /media/anna/STICK/which
```

<!-- hands: pull out -->
<!-- hands: another machine -->
<!-- hands: plug in red at /media/anna/STICK ext4 -->

```console
$ cat /media/anna/STICK/which
red
```
"""


@pytest.mark.mount
@pytest.mark.skipif(not scratch_machine.available(), reason="needs root and overlays")
def test_one_of_several_sticks_keeps_what_is_on_it(tmp_path):
    """Each name is a stick of its own, new at first, and has what was put on it also at another machine."""
    page = tmp_path / "page.md"
    page.write_text(STICKS)
    steps = walkthrough.walk(page, tmp_path / "machine")
    assert [step.wrong for step in steps] == [""] * 10, walkthrough.transcript(steps)


NIGHT = """\
```console
# printf '[Service]\\nType=oneshot\\nExecStart=/bin/sh -c "echo ran >> /root/ran"\\n' > /etc/systemd/system/x.service
# cd /etc/systemd/system
# printf '[Timer]\\nOnCalendar=*-*-* 12:30:00\\nPersistent=true\\n[Install]\\nWantedBy=timers.target\\n' > x.timer
# systemctl enable --now x.timer
...
```

<!-- hands: a night passes -->

```console
# cat /root/ran
ran
# systemctl disable --now x.timer
...
```

<!-- hands: a night passes -->

```console
# cat /root/ran
ran
```
"""


@pytest.mark.mount
@pytest.mark.skipif(not scratch_machine.available(), reason="needs root and overlays")
def test_timers_do_their_work_at_night(tmp_path):
    """Once for each night while they are on, and never while they are off."""
    page = tmp_path / "page.md"
    page.write_text(NIGHT)
    steps = walkthrough.walk(page, tmp_path / "machine")
    assert [step.wrong for step in steps] == [""] * 9, walkthrough.transcript(steps)


def test_what_is_printed_can_be_typed(tmp_path):
    """The key of a sheet is what stands for the words of the page, and nobody can type one that was never printed."""
    secrets = walkthrough.Secrets()
    with pytest.raises(AssertionError, match="no sheet was printed"):
        secrets.typed("the backup key")
    sheet = tmp_path / "sheet.pdf"
    key, day = bytes(range(32)), date(2026, 11, 27)
    made = recovery_sheet(key, volume="practice", volume_id=VolumeId(bytes(16)), custodian="Dr. Weber", day=day)
    sheet.write_bytes(made)
    secrets.print(sheet)
    assert secrets.typed("the backup key") == encode_recovery_key(key)
