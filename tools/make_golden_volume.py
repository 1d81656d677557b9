#!/usr/bin/env python3
"""Makes tests/volumes/*.tar: volumes that every future version must open, with a JSON manifest of what is in each.

    tools/make_golden_volume.py             make those that are missing
    tools/make_golden_volume.py --replace   make all anew (only while their format version is unreleased)

One volume for each cell size holds every kind of object; one more was left by a process that died in the middle.
Passphrase and recovery key are in the manifest. Needs GNU tar and a filesystem with user attributes, and root so
that the owner of everything is 0.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP))

from encfs.core import frames  # noqa: E402
from encfs.format.geometry import Geometry  # noqa: E402
from encfs.format.header import HeaderFlag  # noqa: E402
from encfs.format.recovery_key import encode_recovery_key  # noqa: E402
from encfs.format.slots import SlotKind  # noqa: E402
from encfs.volume import Volume, acl  # noqa: E402
from encfs.volume.attributes import Setattr  # noqa: E402
from encfs.volume.changes import Caller  # noqa: E402

VOLUMES = TOP / "tests" / "volumes"
PASSPHRASE = "ein langes Kennwort für goldene Gefäße"  # noqa: S105 - it protects nothing
SIZE_MAX = 300_000
ROOT = Caller(0, 0)
LONG = b"a name longer than a lower name can hold: " + b"x" * 200
Json = dict[str, Any]


def content(size: int, seed: str) -> bytes:
    """Bytes that do not repeat."""
    return hashlib.shake_128(seed.encode()).digest(size)


def write(volume: Volume, path: bytes, *pieces: tuple[int, bytes], mode: int = 0o644) -> None:
    """A file made of pieces at offsets, synced after each."""
    with volume.open(path, create=True, writable=True, mode=mode) as file:
        for offset, data in pieces:
            file.write(offset, data)
            file.sync()


def link(volume: Volume, path: bytes, to: bytes) -> None:
    """A hard link."""
    parent, _, name = to.rpartition(b"/")
    volume.changes.link(volume.resolve(path, follow=False), volume.resolve(parent), name)


def set_attribute(volume: Volume, path: bytes, name: bytes, value: bytes) -> None:
    """An extended attribute."""
    volume.attributes.set(volume.resolve(path), name, value)


def fill_small(volume: Volume) -> None:
    """What fits into three or four cells of any size: each kind of object once."""
    g = volume.ctx.geometry
    volume.make_directory(b"letters", 0o750)
    volume.make_directory(b"letters/empty", 0o700)
    volume.make_directory(b"letters/" + LONG)
    write(volume, b"empty file")
    pieces = [(0, content(g.P0, "letter")), (g.P0, content(1, "end"))]
    write(volume, b"letters/letter", *pieces[: 1 if g.C == 65536 else 2], mode=0o640)
    link(volume, b"letters/letter", b"letters/" + LONG + b"/" + LONG)
    write(volume, b"sparse", (g.start_of(1) + 1, content(g.P - 1, "sparse")))
    volume.make_symlink(b"to the letter", b"letters/letter")
    volume.make_symlink(b"letters/" + LONG + b"/" + LONG[:-1], b"t" * 4095)
    link(volume, b"to the letter", b"letters/linked symlink")
    volume.changes.mknod(volume.tree.root, b"pipe", stat.S_IFIFO | 0o600, 0, ROOT)
    write(volume, b"any bytes \xff\x01\n~\\")
    set_attribute(volume, b"letters", b"user.color", b"\0blue\xff")
    set_attribute(volume, b"empty file", b"user.long", content(2000, "attribute"))
    everybody = 0xFFFFFFFF
    entries = [(acl.USER_OBJ, 7, everybody), (acl.USER, 5, 1000), (acl.GROUP_OBJ, 5, everybody)]
    entries += [(acl.MASK, 5, everybody), (acl.OTHER, 0, everybody)]
    default = acl.build(tuple(acl.Entry(*entry) for entry in entries))
    set_attribute(volume, b"letters/empty", acl.DEFAULT, default)
    volume.set_metadata(b"sparse", Setattr(mode=0o4711, mtime_ns=1_234_567_890_123_456_789))


def fill_large(volume: Volume) -> None:
    """Sizes around every border, and cells under two content keys."""
    g = volume.ctx.geometry
    volume.make_directory(b"sizes")
    sizes = {1, 3000, 5000, *(g.start_of(n) + step for n in (1, 2) for step in (-1, 0, 1))}
    for size in sorted(sizes if g.C == 4096 else {1, g.P0, g.P0 + 1}):
        write(volume, b"sizes/%d" % size, (0, content(size, str(size))))
    write(volume, b"two keys", (0, content(g.start_of(3), "first")))


def fill_names(volume: Volume) -> None:
    """Every length of name."""
    volume.make_directory(b"names")
    for length in (1, 15, 16, 17, 159, 160, 161, 255):
        write(volume, b"names/" + b"n" * length)
        volume.make_symlink(b"names/" + b"s" * length, b"target %d" % length)


def give_second_key(volume: Volume, lower: Path) -> None:
    """A file in the middle of getting another content key (FORMAT.md section 9.2)."""
    with lower.open("r+b") as file:
        header = frames.open_header(volume.ctx.ring, file.read(512))
        header = replace(
            header,
            flags=header.flags | HeaderFlag.PARITY,
            content_key=os.urandom(32),
            previous_content_key=header.content_key,
        )
        file.seek(0)
        file.write(frames.seal_header(volume.ctx.ring, header))


def fill_crashed(volume: Volume) -> None:
    """Whatever a process may leave behind that dies in the middle of its work."""
    write(volume, b"untouched", (0, content(5000, "untouched")))
    log = volume.open(b"log", create=True, writable=True)
    log.write(0, content(4000, "log"))
    log.sync()
    log.write(4000, content(2000, "more of the log"))
    tail = volume.open(b"short log", create=True, writable=True)
    tail.write(0, b"synced;")
    tail.sync()
    tail.write(7, b"not synced")
    volume.changes.create(volume.tree.root, b"just created", 0o600, ROOT)
    volume.make_directory(b"directory")
    write(volume, b"directory/file", (0, b"content"))
    write(volume, LONG, (0, b"content of a long name"))
    lower = Path(os.fsdecode(os.readlink(f"/proc/self/fd/{volume.root_fd}")))
    node = volume.resolve(b"directory")
    (lower / os.fsdecode(node.lower_name) / "cloakfs.d").unlink()
    (lower / "cloakfs.t.0123456789abcdef").mkdir()
    with volume.open(LONG, writable=True) as file:  # a rename that got as far as the header
        file._file.set_place(volume.config.root_dir_id, LONG + b"!")  # noqa: SLF001 - half a rename, as a crash leaves


def fill(lower: Path, cell_size: int, secret: bytes) -> None:
    """A volume that was closed properly."""
    where = os.fsencode(lower)
    with Volume.unlock(where, secret) as volume:
        fill_small(volume)
        if cell_size == 4096:
            fill_names(volume)
        if cell_size < 65536:
            fill_large(volume)
            name = os.fsdecode(volume.resolve(b"two keys").lower_name)
    if cell_size < 65536:
        with Volume.unlock(where, secret) as volume:
            give_second_key(volume, lower / name)
            with volume.open(b"two keys", writable=True) as file:
                file.write(Geometry(cell_size).P0 + 10, content(100, "second"))


def crash(lower: Path, _cell_size: int, secret: bytes) -> None:
    """A volume whose last session never ended."""
    if os.fork() == 0:
        try:
            fill_crashed(Volume.unlock(os.fsencode(lower), secret))
            os._exit(0)
        finally:
            os._exit(1)
    if os.wait()[1]:
        raise SystemExit("the process that was to die in the middle failed")


def describe(volume: Volume, path: bytes = b"") -> list[Json]:
    """All that a program sees, sorted; bytes as text with surrogates."""
    found = []
    for entry in volume.list_directory(path):
        full = path + b"/" + entry.name if path else entry.name
        kind = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo"}[
            stat.S_IFMT(entry.mode)
        ]
        info: Json = {"path": text(full), "kind": kind, "mode": oct(stat.S_IMODE(entry.mode))}
        if kind == "file":
            data = b"".join(volume.read_file(full))
            info |= {"size": entry.size, "sha256": hashlib.sha256(data).hexdigest(), "mtime_ns": entry.mtime_ns}
        if kind == "symlink":
            info |= {"size": entry.size, "target": text(volume.read_link(full))}
        if kind != "directory":
            info["links"] = entry.links
        attributes = volume.attributes.get_all(volume.resolve(full, follow=False))
        if attributes:
            info["xattrs"] = {text(name): text(value) for name, value in sorted(attributes.items())}
        found.append(info)
        if kind == "directory":
            found += describe(volume, full)
    return found


def text(data: bytes) -> str:
    """Bytes as they stand in the manifest."""
    return data.decode("utf-8", "surrogateescape")


def make(name: str, cell_size: int, filler: Callable[[Path, int, bytes], None], directory: Path) -> None:
    """One volume: its tar and its manifest."""
    lower, archive = directory / name, VOLUMES / f"{name}.tar"
    secret, recovery_key = PASSPHRASE.encode(), os.urandom(32)
    config = Volume.create(os.fsencode(lower), secret=secret, recovery_key=recovery_key, cell_size=cell_size)
    filler(lower, cell_size, secret)
    command = ["tar", "--create", "--file", str(archive), "--directory", str(directory), "--sparse", "--sort=name"]
    command += ["--format=pax", "--numeric-owner", "--xattrs", "--xattrs-include=user.*", name]
    subprocess.run(command, check=True)
    if archive.stat().st_size > SIZE_MAX:
        raise SystemExit(f"{archive.name} is too large: {archive.stat().st_size}")
    recovered: Json | None = None
    with Volume.unlock(os.fsencode(lower), recovery_key, SlotKind.RECOVERY) as volume:
        entries = describe(volume)
        if volume.recovery is not None:
            recovered = {"repaired": volume.recovery.repaired, "failed": volume.recovery.failed}
    manifest = {
        "format": 1,
        "passphrase": PASSPHRASE,
        "recovery_key": encode_recovery_key(recovery_key),
        "volume_id": config.volume_id.hex(),
        "cell_size": cell_size,
        "recovery": recovered,
        "entries": entries,
    }
    archive.with_suffix(".json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="ascii")
    print(f"{archive.relative_to(TOP)}: {archive.stat().st_size} bytes, {len(entries)} entries")


def main() -> int:
    """Make what is missing, or everything."""
    parser = argparse.ArgumentParser(description="make tests/volumes/*.tar and their manifests")
    parser.add_argument("--replace", action="store_true", help="replace what is there; never for a released format")
    again = parser.parse_args().replace
    VOLUMES.mkdir(exist_ok=True)
    os.umask(0o022)
    with tempfile.TemporaryDirectory() as directory:
        for name, cell_size, filler in (
            ("v1-cells-4096", 4096, fill),
            ("v1-cells-16384", 16384, fill),
            ("v1-cells-65536", 65536, fill),
            ("v1-crashed", 4096, crash),
        ):
            if again or not (VOLUMES / f"{name}.tar").exists():
                make(name, cell_size, filler, Path(directory))
    return 0


if __name__ == "__main__":
    sys.exit(main())
