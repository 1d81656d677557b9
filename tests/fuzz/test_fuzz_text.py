"""What people and other programs type: recovery keys, passphrases, mount options, numbers to be shown."""

from __future__ import annotations

import os
import unicodedata

import pytest
from hypothesis import strategies as st

from encfs.cli import mount_helper, mount_options, output, secrets
from encfs.core.slots import passphrase_bytes, passphrase_from_raw
from encfs.errors import ExitCode, FormatError, UsageError
from encfs.format import base64url
from encfs.format.recovery_key import ALPHABET, decode_recovery_key, encode_recovery_key
from tests.support.fuzzing import MEMORY_MAX, ODD_NUMBERS, ODD_TEXTS, Fuzz, damaged, peak_memory

ANY_TEXT = st.text(st.characters(codec=None), max_size=200)
BAD_INPUT = (UsageError,)


def text_of(raw: bytes) -> str:
    """Bytes as the text that Python makes of an argument."""
    return os.fsdecode(raw)


def test_recovery_keys(fuzz: Fuzz) -> None:
    """A typed recovery key gives the 32 bytes that it spells, or UsageError (FORMAT.md section 4)."""
    key = bytes(range(100, 132))
    good = st.just(encode_recovery_key(key).encode())

    def attempt(text: str) -> None:
        decoded = decode_recovery_key(text)
        spelled = text.strip().upper().translate(str.maketrans("ILO", "110"))
        assert [c for c in spelled if c in ALPHABET] == [c for c in encode_recovery_key(decoded) if c != "-"]

    fuzz(
        "recovery key: text",
        attempt,
        damaged(good).map(text_of) | ANY_TEXT | st.text(ALPHABET + "-ilou \u0131\ufb01", max_size=90),
        examples=250,
        explicit=[*ODD_TEXTS, "-" * 200_000, " " * 200_000, "0" * 65, "\u0660" * 65, "\u00df" * 65],
        allowed=BAD_INPUT,
    )
    assert peak_memory(lambda: _refused("0" * (8 << 20))) < MEMORY_MAX


def _refused(text: str) -> None:
    with pytest.raises(UsageError):
        decode_recovery_key(text)


def test_passphrases(fuzz: Fuzz) -> None:
    """Any bytes and any text are a passphrase in one spelling, or refused as empty or no text (FORMAT.md section 4)."""

    def typed(text: str) -> None:
        secret = passphrase_bytes(text)
        assert secret == unicodedata.normalize("NFC", text).encode()

    def read(raw: bytes) -> None:
        secret = passphrase_from_raw(raw)
        assert secret
        # A carriage return at the end would become part of the end of the line.
        if not secret.endswith(b"\r"):
            assert passphrase_from_raw(secret + b"\n") == secret

    fuzz("passphrase: typed", typed, ANY_TEXT, explicit=[*ODD_TEXTS, "\u0344" * 5000], allowed=BAD_INPUT)
    fuzz(
        "passphrase: bytes of a file",
        read,
        st.binary(max_size=100) | damaged(st.just("Grüße, e\u0301\r\n".encode())),
        explicit=[b"", b"\n", b"\r\n", b"a\r", b"\xff\n", b"\n\n", b"\xed\xa0\x80", "e\u0301".encode() * 20_000],
        allowed=BAD_INPUT,
    )


def test_base64url(fuzz: Fuzz) -> None:
    """Every text is the one spelling of some bytes, or refused (FORMAT.md, "b64(x)")."""

    def attempt(text: bytes) -> None:
        assert base64url.encode(base64url.decode(text)) == text

    fuzz(
        "base64url: text",
        attempt,
        st.binary(max_size=80) | damaged(st.binary(max_size=60).map(base64url.encode)),
        examples=200,
        explicit=[b"=", b"A", b"AA=", b"AB", b"A" * (1 << 20), b"\n", b"AAAA\n", b"+/"],
        allowed=(FormatError,),
    )


OPTIONS = (
    "ro", "rw", "allow_other", "noatime", "_netdev", "x-systemd.automount", "passphrase-file=/a b", "log=syslog",
    'passphrase-command="a, b"', "passphrase-fd=3", "passphrase-fd=-1", "passphrase-fd=" + "9" * 30,
    "passphrase-fd=" + "9" * 5000, "passphrase-fd=\u0663", "recovery-file=", "=", '"', "nonsense", "passphrase-file",
)  # fmt: skip


def test_mount_options(fuzz: Fuzz, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any -o list is understood or refused as wrong usage; what mount(8) gives the helper likewise (docs/fstab.md)."""
    pieces = st.lists(st.sampled_from(OPTIONS) | ANY_TEXT, max_size=5).map(",".join)

    def attempt(text: str, sloppy: bool) -> None:
        options = mount_options.parse([text], sloppy=sloppy)
        fd = options.secret.passphrase_fd
        if fd is not None:
            with pytest.raises(UsageError):
                secrets.passphrase_from_options(mount_options.parse([f"passphrase-fd={fd + 2_000_000}"]).secret)

    def helper(arguments: list[str]) -> None:
        # With -f nothing is mounted.
        assert mount_helper._mount(["-f", *arguments]) is ExitCode.OK

    fuzz(
        "mount options: -o lists",
        attempt,
        damaged(pieces.map(lambda text: text.encode("utf-8", "surrogatepass"))).map(text_of) | pieces,
        st.booleans(),
        examples=200,
        explicit=[("passphrase-fd=" + "9" * 5000, False), ("passphrase-fd=" + "9" * 30, False)],
        allowed=BAD_INPUT,
    )
    words = st.sampled_from(["-o", "-s", "-n", "-v", "-r", "-w", "-t", "-N", "--", "-x", "volume", "/mnt", "-ofoo"])
    monkeypatch.setattr(output, "say", lambda *_: None)
    fuzz("mount options: arguments of the helper", helper, st.lists(words | pieces, max_size=8), allowed=BAD_INPUT)


def test_numbers_that_are_shown(fuzz: Fuzz) -> None:
    """Times and sizes of a config are shown, however large they are (FORMAT.md section 3: up to 2^64 - 1)."""

    def show(number: int) -> None:
        assert output.human_time(number)
        assert output.human_size(number)

    numbers = st.integers(0, (1 << 64) - 1) | st.sampled_from([n for n in ODD_NUMBERS if 0 <= n < 1 << 64])
    fuzz("numbers that are shown", show, numbers, explicit=[(1 << 64) - 1, 1 << 63, 1 << 56], allowed=())
