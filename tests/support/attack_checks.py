"""What is looked at after an attack, through the mount: every byte of a yard, its listings, its attributes.

Owns: the looking. Must not know: which attack it was; only what it hit and what was there before.
"""

from __future__ import annotations

import os
from pathlib import Path

from encfs.format.geometry import Geometry
from tests.support.attack_batch import Batch, Case, errno_of
from tests.support.corruption import Effect, Hit
from tests.support.yards import Yard

_PAGE = 4096


def check_yard(batch: Batch, case: Case) -> None:
    """Everything in the yard is as the attack's hits say, and nothing else has changed."""
    yard = batch.yards[case]
    for directory in yard.directories:
        _check_directory(batch, case, directory)
    for plain, content in yard.files.items():
        _check_file(batch, case, plain, content)
    for plain, target in yard.links.items():
        hit = batch.effect(case, plain)
        _check_link(batch.at(plain), target, hit, yard.older.get(plain))
    for plain in yard.xattrs:
        _check_attributes(batch, case, plain)
    for hit in batch.hits[case]:
        if hit.effect in (Effect.CELLS, Effect.WHOLE, Effect.ATTRIBUTES):
            where = hit.path if os.path.lexists(hit.path) else _renamed(hit.path)
            assert batch.has_event(where), f"no event for {hit}"
        elif hit.effect is Effect.NONE and hit.code in ("foreign", "entry-damaged"):
            assert batch.has_event(hit.path.parent), f"no event for {hit}"


def _renamed(path: Path) -> Path:
    """The lower file after ``file-as-symlink``."""
    name = path.name
    return path.with_name(name.removesuffix(".l") if name.endswith(".l") else name + ".l")


def _check_directory(batch: Batch, case: Case, plain: bytes) -> None:
    yard, hit = batch.yards[case], batch.effect(case, plain)
    path = batch.at(plain)
    if hit is not None and hit.effect is Effect.GONE:
        assert errno_of(lambda: os.listdir(path)) == "ENOENT"
    elif hit is not None and hit.effect is Effect.WHOLE:
        assert _fails(path)
    else:
        shown = {plain + b"/" + os.fsencode(name) for name in os.listdir(path)}
        assert shown == yard.listing(plain) - _unseen(batch, case)


def _unseen(batch: Batch, case: Case) -> set[bytes]:
    """Names that are not listed any more: gone, or long and lost with what named them."""
    yard = batch.yards[case]
    hits = [hit for hit in batch.hits[case] if hit.effect is Effect.GONE or hit.code == "entry-damaged"]
    return {batch.plain(yard, hit.path) for hit in hits}


def _fails(path: Path) -> bool:
    """Nothing opens here: EIO for whatever kind of thing it is now, or ENOTDIR below what is no directory now."""
    found = {errno_of(lambda: os.listdir(path)), errno_of(path.read_bytes)}
    return found <= {"EIO", "ENOTDIR", "EISDIR"} and found != {"EISDIR"} and ("EIO" in found or found == {"ENOTDIR"})


# -- files -----------------------------------------------------------------------------------------------------


def _check_file(batch: Batch, case: Case, plain: bytes, content: bytes) -> None:
    path, hit = batch.at(plain), batch.effect(case, plain)
    if hit is None or hit.effect in (Effect.NONE, Effect.ATTRIBUTES):
        assert path.read_bytes() == content
    elif hit.effect is Effect.WHOLE:
        assert _fails(path)
    elif hit.effect is Effect.GONE:
        assert errno_of(path.read_bytes) == "ENOENT"
    elif hit.effect is Effect.CELLS:
        _check_cells(path, content, hit, batch.geometry)


def _check_cells(path: Path, content: bytes, hit: Hit, g: Geometry) -> None:
    """Damaged cells give EIO, the others their bytes, whichever way they are read."""
    assert errno_of(path.read_bytes) == ("EIO" if hit.cells else "")
    bad = [range(g.start_of(cell), g.start_of(cell + 1)) for cell in hit.cells]
    fd = os.open(path, os.O_RDONLY)
    try:
        assert os.fstat(fd).st_size == len(content)
        for begin in range(0, len(content), _PAGE):
            got = _read(fd, _PAGE, begin)
            touched = any(span.start < begin + _PAGE and begin < span.stop for span in bad)
            assert got == content[begin : begin + _PAGE] or (got is None and touched), f"page at {begin}"
    finally:
        os.close(fd)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        for cell in range(g.cells_for(len(content))):
            got = _read(fd, g.capacity(cell), g.start_of(cell))
            wanted = content[g.start_of(cell) : g.start_of(cell + 1)]
            assert got == (None if cell in hit.cells else wanted), f"cell {cell}"
    finally:
        os.close(fd)


def _read(fd: int, size: int, offset: int) -> bytes | None:
    """Bytes, or None for EIO; another error fails."""
    try:
        return os.pread(fd, size, offset)
    except OSError as exc:
        assert exc.errno == 5
        return None


def _check_link(path: Path, target: bytes, hit: Hit | None, older: bytes | None) -> None:
    if hit is None or hit.effect is Effect.NONE:
        assert os.fsencode(os.readlink(path)) == target
    elif hit.effect is Effect.GONE:
        assert errno_of(lambda: os.readlink(path)) == "ENOENT"
    elif hit.effect is Effect.OLD:
        assert os.fsencode(os.readlink(path)) == older
    else:
        assert errno_of(lambda: os.readlink(path)) in ("EIO", "ENOTDIR", "ENOENT")


def _check_attributes(batch: Batch, case: Case, plain: bytes) -> None:
    hit, path = batch.effect(case, plain), batch.at(plain)
    name, value = batch.yards[case].xattrs[plain]
    if hit is not None and hit.effect is Effect.ATTRIBUTES:
        assert errno_of(lambda: os.getxattr(path, name)) == "EIO"
        assert errno_of(lambda: os.listxattr(path)) == "EIO"
    elif hit is None or hit.effect is Effect.CELLS:
        assert os.getxattr(path, name) == value


def delete_and_write_anew(batch: Batch, case: Case) -> None:
    """A damaged file or symlink can be deleted, and a new file written in its place."""
    yard = batch.yards[case]
    for hit in batch.hits[case]:
        plain = batch.plain(yard, hit.path)
        if hit.effect not in (Effect.CELLS, Effect.WHOLE) or plain in yard.directories:
            continue
        path = batch.at(plain)
        if hit.path.is_dir() and not hit.path.is_symlink():
            continue
        path.unlink()
        path.write_bytes(b"qzx-anew")
        assert path.read_bytes() == b"qzx-anew"
        batch.deleted.add(plain)


__all__ = ["Yard", "check_yard", "delete_and_write_anew"]
