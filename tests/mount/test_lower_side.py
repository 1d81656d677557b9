"""What the disk sees: no plain name and no plain content, in whatever form (THREAT_MODEL.md)."""

from __future__ import annotations

import base64
import os
import subprocess
from pathlib import Path

from tests.mount.conftest import lower_files_open
from tests.support.linux import renameat2
from tests.support.mounting import MountedVolume, wait_for

WORD = "Zyklamenbefund"


def _forms(text: str) -> list[bytes]:
    """A text as bytes, as UTF-16, in hex, and in base64 at all three alignments."""
    raw = text.encode()
    found = [raw, text.encode("utf-16-le"), text.encode("utf-16-be"), raw.hex().encode(), raw[::-1]]
    for shift in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            coded = encode(b"\0" * shift + raw)
            # The characters at both ends mix with what stands beside the text.
            found.append(coded[4 if shift else 0 : len(coded) // 4 * 4 - 4])
    return found


def _leave_traces(top: Path) -> None:
    """The word in every place where a program can put one."""
    (top / WORD).mkdir()
    for number, name in enumerate((f"{WORD}.odt", f".~lock.{WORD}#", WORD + "x" * 200)):
        path = top / WORD / name
        path.write_text(f"{number} {WORD} " * 3000)
        os.setxattr(path, f"user.{WORD}", WORD.encode())
        os.link(path, top / f"{WORD} link {number}")
    os.setxattr(top / WORD, f"user.{WORD}", WORD.encode() * 10)
    (top / f"{WORD} s").symlink_to(WORD)
    (top / f"{WORD} long").symlink_to(WORD * 250)
    (top / f"{WORD} {'s' * 200}").symlink_to(WORD)
    os.mkfifo(top / f"{WORD} pipe")
    (top / f"{WORD} small").write_text(WORD)
    with (top / f"{WORD} sparse").open("wb") as file:
        file.seek(1_000_000)
        file.write(WORD.encode())
    (top / f"{WORD} cut").write_text(WORD * 1000)
    os.truncate(top / f"{WORD} cut", 20)
    (top / f"{WORD} a").write_text(WORD)
    (top / f"{WORD} b").write_text(WORD * 1000)
    renameat2(top / f"{WORD} a", top / f"{WORD} b", 2)
    (top / f"{WORD} a").rename(top / WORD / f"{WORD} c")
    (top / f"{WORD} gone").write_text(WORD)
    (top / f"{WORD} gone").unlink()
    (top / f"{WORD} gone").mkdir()
    (top / f"{WORD} gone").rmdir()


def _plain_text_below(volume: MountedVolume) -> list[str]:
    """Where below a form of the word is found: contents, names, symlink targets, attributes, and the daemon's log."""
    found = []
    for form in _forms(WORD):
        command: list[str | Path] = ["grep", "-rlF", "--binary-files=text", "-f", "-", volume.lower, volume.log]
        result = subprocess.run(command, input=form, capture_output=True, check=False)
        assert result.returncode in (0, 1), result.stderr
        found += result.stdout.decode().splitlines()
        for path in volume.lower.rglob("*"):
            places = [os.fsencode(path.name)]
            if path.is_symlink():
                places.append(os.fsencode(os.readlink(path)))
            else:
                places += [part for name in os.listxattr(path) for part in (os.fsencode(name), os.getxattr(path, name))]
            if any(form in place for place in places):
                found.append(f"{path} (name, target or attribute)")
    return found


def test_no_plain_name_or_content_below(mounted: MountedVolume) -> None:
    """grep -r for a word that is in all names and contents finds nothing below: mounted, locked, after a crash."""
    _leave_traces(mounted.path)
    fd = os.open(mounted.path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    assert _plain_text_below(mounted) == []
    mounted.lock()
    assert _plain_text_below(mounted) == []
    mounted.mount()
    assert WORD in (mounted.path / WORD / f"{WORD}.odt").read_text()
    (mounted.path / f"{WORD} unfinished").write_text(WORD * 10_000)
    mounted.kill()
    assert _plain_text_below(mounted) == []
    mounted.mount()
    assert _plain_text_below(mounted) == []


def test_the_search_would_find_it(mounted: MountedVolume) -> None:
    """The check itself works: a plain file, name, or encoded name below is found."""
    for number, form in enumerate(
        (WORD.encode(), base64.b64encode(b"12" + WORD.encode() + b"345"), WORD.encode("utf-16-le"))
    ):
        planted = mounted.lower / "cloakfs.s" / f"planted{number}"
        planted.write_bytes(b"before" + form + b"after")
        assert _plain_text_below(mounted) != []
        planted.unlink()
    assert _plain_text_below(mounted) == []


def test_names_equal_in_two_directories_differ_below(mounted: MountedVolume) -> None:
    """The same name in two directories, and the same content in two files, look different below; nothing repeats."""
    for name in ("one", "two"):
        (mounted.path / name).mkdir()
        (mounted.path / name / "same.txt").write_bytes(b"same content " * 1000)
    mounted.lock()
    files = [path for path in mounted.lower.rglob("*") if len(path.name) > 40 and path.is_file()]
    assert len(files) == 2
    assert files[0].name != files[1].name
    contents = [path.read_bytes() for path in files]
    blocks = [content[at : at + 16] for content in contents for at in range(512, len(content) - 15, 16)]
    assert len({block for block in blocks if any(block)}) == sum(any(block) for block in blocks)


def test_the_daemon_keeps_only_its_own_descriptors(mounted: MountedVolume) -> None:
    """After thousands of operations the daemon has no lower file open, and no more directories than it means to."""
    for number in range(400):
        box = mounted.path / f"d{number}"
        box.mkdir()
        (box / "f").write_bytes(b"x")
        (box / "f").read_bytes()
    wait_for(lambda: not lower_files_open(mounted), "all files are closed below")
    assert len(os.listdir(f"/proc/{mounted.pid}/fd")) < 300
