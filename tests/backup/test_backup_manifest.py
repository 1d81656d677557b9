"""The manifest of a run: what is written is what is read, and nothing else is (FORMAT.md 18, "Manifest")."""

from __future__ import annotations

import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encfs.backup.manifest import (
    Manifest,
    RunHead,
    content_key,
    keyed_digest,
    open_head,
    open_manifest,
    seal_manifest,
)
from encfs.crypto.signing import Algorithm, Signer
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import AuthenticationError, DataError, FormatError, NewerFormatError
from encfs.format.backup import Item, ItemKind, Taken, pack_items, parse_items

SIGNER = Signer(Algorithm.ED25519, bytes(range(32)))
HEAD = RunHead(
    plan="0a" * 16,
    run=f"{1_700_000_000_000:016x}{'01' * 8}",
    volume="0b" * 16,
    engine="copy",
    label="Blue 1",
    snapshot="",
    checkpoint="",
    mounted=True,
    previous="",
)
_parts = st.binary(min_size=1, max_size=12).filter(lambda one: one not in (b".", b"..") and not set(one) & {0, 47})
_paths = st.lists(_parts, max_size=4).map(b"/".join)
_numbers = st.integers(0, 2**53 - 1)
_digests = st.binary(min_size=32, max_size=32)


@st.composite
def _items(draw: st.DrawFn) -> Item:
    kind = draw(st.sampled_from(ItemKind))
    taken = draw(st.sampled_from(Taken))
    there = kind is ItemKind.FILE and taken is not Taken.MISSING
    return Item(
        path=draw(_paths),
        kind=kind,
        mode=draw(st.integers(0, 0o177777)),
        uid=draw(_numbers),
        gid=draw(_numbers),
        mtime_ns=draw(st.integers(-(2**53) + 1, 2**53 - 1)),
        size=draw(_numbers) if there else 0,
        digest=draw(_digests) if there else b"",
        links=draw(st.integers(0, 9)),
        target=draw(st.binary(max_size=20)) if kind is ItemKind.SYMLINK else b"",
        device=draw(st.integers(0, 9)),
        attributes=draw(st.dictionaries(st.text("abcdef.", min_size=1, max_size=9), st.binary(max_size=9), max_size=3)),
        taken=taken,
    )


_trees = st.lists(_items(), max_size=8, unique_by=lambda one: one.path)


def _sealed(items: tuple[Item, ...], head: RunHead = HEAD) -> bytes:
    return seal_manifest(Manifest(head, items), SIGNER, made_at=1_700_000_000, host="front desk")


SMALL = tuple(
    Item(path=name, kind=ItemKind.FILE, mode=0o100644, uid=0, gid=0, mtime_ns=5, size=3, digest=bytes(32))
    for name in (b"a", b"b/c")
)


@given(_trees)
def test_what_is_written_is_what_is_read(items: list[Item]) -> None:
    """Every field of every item, in order of the paths; who signed; the digest of its bytes."""
    data = _sealed(tuple(items))
    found = open_manifest(data)
    assert found.items == tuple(sorted(items, key=lambda one: one.path))
    assert (found.head, found.signer, found.host) == (HEAD, SIGNER.public, "front desk")
    assert found.digest == CLOAKFS_1.digest(data).hex()
    assert open_head(data)[0] == HEAD


@given(_trees)
def test_lines_have_one_spelling(items: list[Item]) -> None:
    """Packed, parsed and packed again they are the same bytes; in another order, or twice, they are refused."""
    lines = list(pack_items(items))
    assert list(pack_items(parse_items(lines))) == lines
    if lines:
        with pytest.raises(FormatError):
            list(parse_items([lines[0], *lines]))
    if len(lines) > 1:
        with pytest.raises(FormatError):
            list(parse_items(reversed(lines)))


def _read(data: bytes) -> Manifest | None:
    """None: refused, with an error of ours that says so."""
    try:
        return open_manifest(data)
    except (DataError, NewerFormatError):
        return None


def test_every_byte_counts() -> None:
    """Each byte changed: it is refused. Bits that pad the last byte of DEFLATE mean nothing."""
    data = _sealed(SMALL)
    signed = data.index(b"\n") + 1
    for position in range(len(data)):
        for value in (data[position] ^ 1, data[position] ^ 0x80):
            found = _read(data[:position] + bytes([value]) + data[position + 1 :])
            if found is not None:
                assert position >= signed
                assert (found.head, found.items) == (HEAD, SMALL)
                assert found.digest != CLOAKFS_1.digest(data).hex()
    assert [end for end in range(len(data)) if _read(data[:end]) is not None] == []
    assert _read(data + b"\0") is None


def test_other_lines_under_the_same_signature() -> None:
    """As many, as long, and well formed: they are not those that were signed. Nor are fewer."""
    data = _sealed(SMALL)
    head, _, _ = data.partition(b"\n")
    other = b"".join(pack_items([replace(SMALL[0], mode=0o100600), SMALL[1]]))
    with pytest.raises(AuthenticationError):
        open_manifest(head + b"\n" + zlib.compress(other))
    with pytest.raises(DataError):
        open_manifest(head + b"\n" + zlib.compress(b"".join(pack_items(SMALL[:1]))))


def test_no_more_is_unpacked_than_was_signed() -> None:
    """A stream that unpacks to very much is refused when it has given more than its size."""
    head, _, _ = _sealed(SMALL).partition(b"\n")
    with pytest.raises(FormatError, match="cut off, or too many"):
        open_manifest(head + b"\n" + zlib.compress(bytes(1 << 26)))


@pytest.mark.parametrize(
    "change",
    [
        {"path": b"/etc/passwd"},
        {"path": b"a/../../b"},
        {"path": b"a//b"},
        {"path": b"a\0b"},
        {"digest": b"short"},
        {"digest": b""},
        {"size": -1},
        {"taken": Taken.MISSING},
    ],
)
def test_items_that_cannot_be(change: dict[str, object]) -> None:
    """A path that leads out, a digest that does not belong, a number below zero."""
    with pytest.raises(FormatError):
        replace(SMALL[0], **change)  # type: ignore[arg-type]  # of a parametrized test


def test_a_path_twice_is_not_written() -> None:
    """Nothing could be restored from that."""
    with pytest.raises(FormatError, match="twice"):
        _sealed((SMALL[0], SMALL[0]))


def test_digests_of_plain_content_are_keyed() -> None:
    """By the backup key, so that nobody else can try what a file has in it; the repr shows neither names nor keys."""
    sha = CLOAKFS_1.digest(b"a letter")
    one, other = content_key(bytes(32)), content_key(bytes(31) + b"\1")
    assert keyed_digest(one, sha) == CLOAKFS_1.mac(CLOAKFS_1.expand(bytes(32), b"cloakfs/1 backup manifest"), sha)
    assert keyed_digest(one, sha) != keyed_digest(other, sha) != sha
    assert "b/c" not in repr(Manifest(HEAD, SMALL)) + repr(SMALL)


def test_what_a_manifest_counts() -> None:
    """What is missing is no file of it; what is not whole is told apart."""
    gone = Item(path=b"z", kind=ItemKind.FILE, mode=0, uid=0, gid=0, mtime_ns=0, taken=Taken.MISSING)
    live = replace(SMALL[0], path=b"y", taken=Taken.LIVE, size=10)
    folder = Item(path=b"", kind=ItemKind.DIRECTORY, mode=0o040755, uid=0, gid=0, mtime_ns=0)
    found = open_manifest(_sealed((*SMALL, gone, live, folder)))
    assert (found.files, found.bytes) == (3, 16)
    assert [one.path for one in found.not_whole()] == [b"y", b"z"]
