"""Checkpoints from anybody, and malformed ones under the right key (FORMAT.md section 12)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import strategies as st

from encfs.core.checkpoint import Sealer, chunk_size, open_records
from encfs.core.keys import KeyRing
from encfs.errors import CloakfsError, DataError
from encfs.format import checkpoint as form
from encfs.format import limits
from encfs.format.checkpoint import Head
from encfs.volume.checkpoint_verify import CheckpointVerifier
from tests.support.checkpoints import make
from tests.support.evidence import record
from tests.support.fuzzing import MEMORY_MAX, Fuzz, damaged, damaged_fixed, peak_memory
from tests.support.lower_damage import hang_guard
from tests.support.volumes import LowerVolume, own_ring

OURS = (DataError,)
HANG = 300
ID = bytes(16)


def chunks(raw: bytes) -> Iterator[tuple[bytes, bool]]:
    """The sealed chunks of a checkpoint, as its reader cuts them."""
    at = limits.CHECKPOINT_HEAD_SIZE
    while at < len(raw):
        size = chunk_size(raw[at : at + 4])
        at += 4 + size
        yield raw[at - size : at], at >= len(raw)


def records_of(ring: KeyRing, raw: bytes) -> list[bytes]:
    """All records, or one of our errors."""
    head = form.parse_head(raw[: limits.CHECKPOINT_HEAD_SIZE])
    return list(open_records(ring, head, chunks(raw)))


@pytest.fixture
def made(tmp_path: Path) -> tuple[LowerVolume, Path]:
    """A volume with a checkpoint of a few chunks' worth of everything."""
    lower = LowerVolume(tmp_path / "volume")
    with lower.unlock() as volume:
        volume.write_file(b"file", b"x" * 9000)
        volume.make_directory(b"directory")
        volume.write_file(b"directory/" + b"L" * 200, b"y")
        volume.make_symlink(b"link", b"target")
        for number in range(40):
            volume.write_file(b"directory/%d" % number, b"z")
    make(lower)
    (path,) = (lower.path / "cloakfs.c").iterdir()
    return lower, path


def test_checkpoint_as_it_is_on_the_disk(fuzz: Fuzz, made: tuple[LowerVolume, Path]) -> None:
    """Whatever is done to a checkpoint, it is refused as a whole: no record is changed, added, dropped or reordered."""
    lower, path = made
    good = path.read_bytes()
    with lower.unlock(read_only=True) as volume:
        ring = own_ring(volume.ctx.ring)
    wanted = records_of(ring, good)

    def attempt(raw: bytes) -> None:
        assert records_of(ring, raw) == wanted
        assert raw == good

    pieces = [len(chunk) for chunk, _ in chunks(good)]
    fuzz(
        "checkpoint: as it is on the disk",
        attempt,
        damaged(st.just(good)) | damaged_fixed(st.just(good)),
        examples=150,
        explicit=[b"", good[:48], good[:-1], good + b"\0", good[:48] * 2, good[: 48 + 4 + pieces[0]], good + good[48:]],
        allowed=OURS,
    )


def test_comparison_with_a_damaged_checkpoint(fuzz: Fuzz, made: tuple[LowerVolume, Path]) -> None:
    """verify --checkpoint with a damaged file in its place, or another kind of thing, says so and ends (section 12)."""
    lower, path = made
    good = path.read_bytes()

    def attempt(raw: bytes) -> None:
        path.write_bytes(raw)
        with hang_guard(HANG), lower.unlock(read_only=True) as volume:
            verifier = CheckpointVerifier(volume)
            verifier.load()
            for _ in verifier.run():
                pass
        assert raw == good

    fuzz("checkpoint: compared with", attempt, damaged(st.just(good)), examples=40, allowed=(CloakfsError,))


def test_records_under_the_right_key(fuzz: Fuzz, made: tuple[LowerVolume, Path]) -> None:
    """A malformed record that authenticates is refused, or means exactly what it says (section 12)."""
    lower, path = made
    with lower.unlock(read_only=True) as volume:
        ring = own_ring(volume.ctx.ring)
    good = records_of(ring, path.read_bytes())

    def parse(raw: bytes) -> None:
        assert form.pack(form.parse(raw)) == len(raw).to_bytes(2, "big") + raw

    def split(packed: bytes) -> None:
        assert b"".join(len(one).to_bytes(2, "big") + one for one in form.split(packed)) == packed

    def whole(raws: list[bytes]) -> None:
        head = Head(0, ID, ring.volume_id)
        sealer = Sealer(ring, head)
        out = head.pack() + b"".join(sealer.add_raw(len(raw).to_bytes(2, "big") + raw) for raw in raws)
        out += sealer.finish(dict.fromkeys(("directories", "files", "symlinks", "others", "damaged", "size"), 0))
        found = records_of(ring, out)
        assert found[:-1] == raws
        assert found[0][0] == form.RecordKind.START

    one = st.sampled_from(good)
    some = damaged(one).filter(lambda raw: 0 < len(raw) < 1000)
    fuzz("checkpoint: malformed records", parse, some, examples=400, explicit=[b"\0", b"\1", b"\x09"], allowed=OURS)
    packed = st.lists(one, max_size=3).map(lambda raws: b"".join(len(r).to_bytes(2, "big") + r for r in raws))
    fuzz("checkpoint: malformed chunks", split, damaged(packed), examples=150, allowed=OURS)
    fuzz("checkpoint: records in any order", whole, st.lists(one | some, max_size=5), examples=100, allowed=OURS)


def test_memory_of_a_length_that_lies(made: tuple[LowerVolume, Path]) -> None:
    """The length of a chunk is bounded before it is read (section 12)."""
    lower, path = made
    path.write_bytes(path.read_bytes()[:48] + b"\xff\xff\xff\xff")
    with path.open("r+b") as file:
        file.truncate(1 << 43)

    def attempt() -> None:
        with lower.unlock(read_only=True) as volume, pytest.raises(DataError):
            CheckpointVerifier(volume).load()

    assert peak_memory(attempt) < MEMORY_MAX
    record("fuzz", "checkpoint: a length that lies", note="bounded memory")
