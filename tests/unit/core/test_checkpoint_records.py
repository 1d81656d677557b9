"""encfs/format/checkpoint.py and encfs/core/checkpoint.py: records, chunks, and what refuses to open."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encfs import errors
from encfs.core import checkpoint as core
from encfs.core.checkpoint import Sealer, chunk_size, open_records
from encfs.core.keys import KeyRing
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import AuthenticationError, DataError, FormatError
from encfs.format import checkpoint as form
from encfs.format import limits
from encfs.format.checkpoint import DamagedEntry, End, FileEntry, FileState, Head, KnownSession, Start, SymlinkEntry
from encfs.format.frame import FrameKind
from encfs.format.header import FileHeader, HeaderFlag
from encfs.format.session import SessionState
from encfs.units import DirId, FileId, SessionId, VolumeId

VOLUME = VolumeId(b"v" * 16)
META = bytes(32)
RING = KeyRing(suite=CLOAKFS_1, volume_id=VOLUME, metadata=META, epochs={0: b"k" * 32}, active=0)
HEAD = Head(0, form.new_checkpoint_id(1_760_000_000_000, b"12345678"), VOLUME)
PARENT = DirId(b"p" * 16)
COUNTS = {"directories": 0, "files": 0, "symlinks": 0, "others": 0, "damaged": 0, "size": 0}

ids = st.binary(min_size=16, max_size=16)
names = st.binary(min_size=1, max_size=255).filter(limits.is_plain_name)
u64 = st.integers(0, limits.U64_MAX)
headers = st.builds(
    FileHeader,
    kind=st.sampled_from([FrameKind.FILE, FrameKind.SYMLINK]),
    log2_cell=st.sampled_from([12, 14, 16]),
    epoch=st.integers(0, 5),
    fid=ids.map(FileId),
    size=st.integers(1 << 50, limits.PLAIN_SIZE_MAX),
    synced_size=st.integers(0, 1 << 50),
    generation=u64,
    session=ids.map(SessionId),
    flags=st.integers(0, 7).map(HeaderFlag),
    content_key=st.binary(min_size=32, max_size=32),
    previous_content_key=st.none() | st.binary(min_size=32, max_size=32).filter(any),
    cells_sealed=u64,
    parent=ids.map(DirId),
    attribute_id=ids,
    name=names,
)


def sealed(number: int, head: Head = HEAD, ring: KeyRing = RING) -> list[bytes]:
    """The chunks of a checkpoint with ``number`` long records, without their lengths."""
    sealer = Sealer(ring, head)
    out = sealer.add(Start(SessionId(bytes(16)), 1, form.NO_CHECKPOINT))
    for index in range(number):
        out += sealer.add(DamagedEntry(PARENT, b"%0255d" % index))
    out += sealer.finish(COUNTS)
    chunks, at = [], 0
    while at < len(out):
        end = at + 4 + chunk_size(out[at : at + 4])
        chunks.append(out[at + 4 : end])
        at = end
    return chunks


def opened(chunks: list[bytes], head: Head = HEAD) -> list[bytes]:
    """All records of these chunks, the last of which is taken as the last one."""
    last = len(chunks) - 1
    return list(open_records(RING, head, ((chunk, number == last) for number, chunk in enumerate(chunks))))


@given(headers, st.sampled_from(FileState), u64, st.binary(min_size=32, max_size=32), st.none() | st.tuples(ids, names))
def test_files_round_trip(header, state, lower_size, digest, place):
    """Section 12, kind 4: header, place and digest come back, and the two fields that are looked at without parsing."""
    parent, name = (header.parent, header.name) if place is None else (DirId(place[0]), place[1])
    entry = FileEntry(header=header, lower_size=lower_size, state=state, digest=digest, parent=parent, name=name)
    (raw,) = form.split(form.pack(entry))
    assert form.parse(raw) == entry
    assert form.file_id_of(raw) == header.fid
    assert form.generation_of(raw) == header.generation
    assert name not in repr(entry).encode() or len(name) < 8


@given(ids, names, st.binary(min_size=32, max_size=32), st.integers(0, 0xFFFF_FFFF), u64)
def test_other_records_round_trip(one, name, digest, kind, number):
    """Section 12: each other kind of record comes back as it was."""
    parent = DirId(one)
    for record in (
        Start(SessionId(one), number, digest[:16]),
        KnownSession(SessionId(one), SessionState.RECOVERED),
        SymlinkEntry(parent, name, digest),
        form.OtherEntry(parent, name, kind, number),
        DamagedEntry(parent, name),
        End(number, 1, 2, 3, 4, number, digest),
    ):
        (raw,) = form.split(form.pack(record))
        assert form.parse(raw) == record


def test_stored_checkpoint(vectors, ring, give_nonce):
    """Section 12: the stored checkpoint opens to its records, and is sealed again byte for byte."""
    stored = vectors("checkpoint")
    raw = bytes.fromhex(stored["bytes"])
    head = form.parse_head(raw[:48])
    assert (head.checkpoint_id.hex(), head.epoch, head.volume_id) == (stored["id"], stored["epoch"], ring.volume_id)
    records = list(open_records(ring, head, [(raw[52:], True)]))
    assert [one.hex() for one in records] == [one["bytes"] for one in stored["records"]]
    assert {one[0] for one in records} == {int(kind) for kind in form.RecordKind}
    parsed = [form.parse(one) for one in records]
    give_nonce(bytes.fromhex(stored["nonce"]))
    sealer = Sealer(ring, head)
    out = head.pack() + b"".join(sealer.add(one) for one in parsed[:-1])
    end = parsed[-1]
    assert isinstance(end, End)
    out += sealer.finish({name: getattr(end, name) for name in COUNTS})
    assert out == raw
    assert sealer.digest == end.digest


def test_stored_checkpoints_that_are_bad(vectors, ring):
    """Section 12: each stored broken checkpoint is refused with its recorded error."""
    for case in vectors("checkpoint")["bad"]:
        raw = bytes.fromhex(case["bytes"])
        with pytest.raises(getattr(errors, case["error"])):
            head = form.parse_head(raw[:48])
            chunks, at = [], 48
            while at < len(raw):
                end = at + 4 + chunk_size(raw[at : at + 4])
                chunks.append((raw[at + 4 : end], end >= len(raw)))
                at = end
            list(open_records(ring, head, chunks))


def test_chunks_hold_together():
    """Section 12: cut at a chunk, reordered, one left out, one twice, one of another checkpoint: none of it opens."""
    chunks = sealed(1000)
    assert len(chunks) == 5
    whole = opened(chunks)
    assert len(whole) == 1002
    for count in range(5):
        with pytest.raises(DataError):
            opened(chunks[:count])
    for order in permutations(range(5)):
        if list(order) != list(range(5)):
            with pytest.raises(AuthenticationError):
                opened([chunks[index] for index in order])
    for index in range(5):
        with pytest.raises(AuthenticationError):
            opened(chunks[:index] + chunks[index + 1 :])
        with pytest.raises(AuthenticationError):
            opened(chunks[: index + 1] + chunks[index:])
    other_head = Head(0, form.new_checkpoint_id(1_760_000_000_000, b"87654321"), VOLUME)
    other = sealed(1000, other_head)
    for index in range(5):
        with pytest.raises(AuthenticationError):
            opened([*chunks[:index], other[index], *chunks[index + 1 :]])
    with pytest.raises(AuthenticationError):
        opened(other)


@given(st.data())
def test_every_bit_counts(data):
    """Section 12: no bit of a chunk, and none of the head that its seal covers, can be changed."""
    (chunk,) = sealed(3)
    bit = data.draw(st.integers(0, 8 * len(chunk) - 1))
    changed = bytearray(chunk)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(AuthenticationError):
        opened([bytes(changed)])
    packed = bytearray(HEAD.pack())
    bit = data.draw(st.integers(0, 8 * len(packed) - 1))
    packed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DataError):
        opened([chunk], form.parse_head(bytes(packed)))


def reseal(*records: bytes) -> list[bytes]:
    """One chunk whose seal is right, whatever is in it."""
    key = RING.of(0).checkpoint_key(HEAD.checkpoint_id)
    return [CLOAKFS_1.seal(key, core._AAD.pack(b"M", HEAD.pack(), 0, 1), b"".join(records))]


def test_authentic_nonsense():
    """Section 12: what is sealed rightly but has not the form of the section is refused all the same."""
    start = form.pack(Start(SessionId(bytes(16)), 1, form.NO_CHECKPOINT))
    middle = form.pack(DamagedEntry(PARENT, b"x"))

    def end(*before: bytes) -> bytes:
        return form.pack(End(**COUNTS, digest=CLOAKFS_1.digest(b"".join(before))))

    assert len(opened(reseal(start, middle, end(start, middle)))) == 3
    for bad in (
        (),
        (middle, end(middle)),
        (start, start, end(start, start)),
        (start, middle),
        (start, end(start), middle),
        (start, middle, end(start)),
        (start, b"\0\0", end(start, b"\0\0")),
        (start, b"\0\1\x63", end(start, b"\0\1\x63")),
        (start[:-1],),
        (start, middle, b"\0"),
    ):
        with pytest.raises(FormatError):
            opened(reseal(*bad))


@given(st.binary(min_size=1, max_size=700))
def test_records_of_any_bytes(raw):
    """Section 12: any bytes parse or are refused as a damaged format."""
    try:
        record = form.parse(raw)
    except FormatError:
        return
    assert next(form.split(form.pack(record))) == raw


@given(st.integers(1, 8), st.binary(max_size=500))
def test_records_of_each_kind(kind, rest):
    """Section 12: the same where the kind is known."""
    test_records_of_any_bytes.hypothesis.inner_test(bytes([kind]) + rest)


def test_lengths_of_chunks():
    """Section 12: a chunk has 1 to 65,536 bytes of records; a length that is cut off is none."""
    for size in (0, 28, 65_536 + 29, 0xFFFF_FFFF):
        with pytest.raises(FormatError):
            chunk_size(size.to_bytes(4, "big"))
    with pytest.raises(FormatError):
        chunk_size(b"\0\0\1")
    assert chunk_size((65_536 + 28).to_bytes(4, "big")) == 65_564


def test_places_that_cannot_be():
    """Section 12: names are plain names; a place that is the header's own is not written twice."""
    for parent, name in ((PARENT, b""), (PARENT, b"a/b"), (b"short", b"x")):
        with pytest.raises(FormatError):
            form.pack(DamagedEntry(DirId(parent), name))
    with pytest.raises(AssertionError):
        form.new_checkpoint_id(1, b"short")
    with pytest.raises(FormatError):
        Head(0, b"short", VOLUME)
