"""A volume with some of everything, and each kind of damage to it that repair knows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from encfs.volume import Volume
from tests.support.volumes import LONG, ROOT, LowerVolume, flip, open_file, pattern, read

Damage = Callable[[LowerVolume], object]


def populate(volume: Volume) -> None:
    """Some of everything, in two directories."""
    for directory in (b"d", b"d/e", b"f", b"f/g", LONG + b"d", b"empty"):
        volume.make_directory(directory)
    for name in (b"a", b"b", b"d/c", b"d/k", b"d/e/x", b"f/c", b"f/g/y", LONG, b"f/" + LONG, LONG + b"d/z"):
        volume.write_file(name, pattern(20_000, name))
    with open_file(volume, b"synced") as file:
        file.write(0, pattern(20_000, b"synced"))
        file.sync()
        file.sync()
    with open_file(volume, b"sparse") as file:
        file.write(1 << 18, b"end")
    volume.changes.link(volume.resolve(b"a"), volume.tree.root, b"a2")
    for name in (b"l", b"l2", b"d/l"):
        volume.make_symlink(name, b"target of " + name)
    volume.make_symlink(b"m", b"t" * 4000)
    volume.changes.mknod(volume.resolve(b"d"), b"pipe", 0o10600, 0, ROOT)
    for name in (b"b", b"d", b"f"):
        volume.attributes.set(volume.resolve(name), b"user.x", b"y" * 1000 + name)


def contents(volume: Volume, path: bytes = b"") -> dict[bytes, bytes]:
    """Every readable file and symlink outside of lost+found."""
    found: dict[bytes, bytes] = {}
    for entry in volume.list_directory(path):
        full = path + b"/" + entry.name if path else entry.name
        if entry.name.startswith(b"lost+found"):
            continue
        kind = entry.mode & 0o170000
        if kind == 0o040000:
            found[full] = b"directory"
            found |= contents(volume, full)
        elif kind == 0o120000:
            found[full] = volume.read_link(full)
        else:
            found[full] = read(volume, full) if kind == 0o100000 else b"node"
    return found


def copy_of(lower: LowerVolume, path: Path) -> LowerVolume:
    """A volume with the same content, elsewhere."""
    made = LowerVolume(path)
    shutil.rmtree(path)
    # cp keeps hard links and attributes.
    assert os.spawnlp(os.P_WAIT, "cp", "cp", "-a", str(lower.path), str(path)) == 0
    return made


def swap(lower: LowerVolume, one: bytes, two: bytes) -> None:
    """Two lower names trade what they name."""
    first, second = lower.lower(one), lower.lower(two)
    spare = lower.path / "spare"
    first.rename(spare)
    second.rename(first)
    spare.rename(second)


def swap_records(lower: LowerVolume, one: bytes, two: bytes) -> None:
    """Two directories trade their records."""
    first, second = lower.lower(one) / "cloakfs.d", lower.lower(two) / "cloakfs.d"
    raw = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(raw)


def rotate(lower: LowerVolume, *names: bytes) -> None:
    """Each lower name gets what the one before it named."""
    paths = [lower.lower(name) for name in names]
    spare = lower.path / "spare"
    paths[-1].rename(spare)
    for one, other in zip(reversed(paths[:-1]), reversed(paths[1:])):
        one.rename(other)
    spare.rename(paths[0])


def move(lower: LowerVolume, name: bytes, to: bytes, as_name: str = "") -> None:
    """A lower entry moved into another directory, under its own lower name or another one."""
    path = lower.lower(name)
    path.rename(lower.lower(to) / (as_name or path.name))


def link_over(lower: LowerVolume, name: bytes, over: bytes) -> None:
    """A hard link to one file in the place of another, made below."""
    place = lower.lower(over)
    place.unlink()
    os.link(lower.lower(name), place)


def zero(path: Path, cell: int) -> None:
    """What a hole looks like."""
    with path.open("r+b") as file:
        file.seek(cell * 4096)
        file.write(bytes(4096))


def grow(path: Path, by: int) -> None:
    """Longer or shorter."""
    os.truncate(path, path.stat().st_size + by)


def spoil_attributes(path: Path) -> None:
    """One bit of the sealed attributes."""
    sealed = bytearray(os.getxattr(path, "user.cloakfs"))
    sealed[40] ^= 1
    os.setxattr(path, "user.cloakfs", bytes(sealed))


def spoil_link(lower: LowerVolume, name: bytes) -> None:
    """A symlink whose target does not authenticate."""
    path = lower.lower(name)
    target = os.readlink(path)
    path.unlink()
    path.symlink_to(target[:20] + ("A" if target[20] != "A" else "B") + target[21:])


# Damage: what is done; words of the plan; plain paths that are not as they were afterwards.
DAMAGES: dict[str, tuple[Damage, list[str], set[bytes]]] = {
    "header": (lambda v: flip(v.lower(b"b"), 70), ["moved to .*/b.lower"], {b"b"}),
    "header of a linked file": (lambda v: flip(v.lower(b"a"), 70), ["moved to .*/a2?.lower"], {b"a", b"a2"}),
    "header of a long name": (lambda v: flip(v.lower(LONG), 70), ["moved to .*lower"], {LONG}),
    "cut into the header": (lambda v: os.truncate(v.lower(b"d/c"), 100), ["moved to .*/c.lower"], {b"d/c"}),
    "emptied": (lambda v: os.truncate(v.lower(b"d/c"), 0), ["moved to .*/c.lower"], {b"d/c"}),
    "longer": (lambda v: grow(v.lower(b"b"), 1), ["longest good state, 20,000"], set()),
    "much longer": (lambda v: grow(v.lower(b"b"), 50_000), ["longest good state, 20,000"], set()),
    "cut at a cell": (lambda v: os.truncate(v.lower(b"b"), 3 * 4096), ["longest good state, 11,680"], {b"b"}),
    "cut below synced": (lambda v: os.truncate(v.lower(b"synced"), 3 * 4096), ["moved to .*/synced"], {b"synced"}),
    "cut to nothing": (lambda v: os.truncate(v.lower(b"b"), 600), ["moved to .*/b"], {b"b"}),
    "cut, and a bad cell": (
        lambda v: (grow(v.lower(b"b"), 1), flip(v.lower(b"b"), 5000)), ["moved to .*/b;"], {b"b"}
    ),
    "cell": (lambda v: flip(v.lower(b"b"), 5000), ["moved to .*/b; .*rescue"], {b"b"}),
    "cell of a linked file": (lambda v: flip(v.lower(b"a"), 5000), ["moved to .*/a2?, and its other"], {b"a", b"a2"}),
    "cell of a long name": (lambda v: flip(v.lower(LONG), 5000), ["moved to .*long"], {LONG}),
    "zeroed cell": (lambda v: zero(v.lower(b"b"), 2), ["moved to .*/b; .*rescue"], {b"b"}),
    "end of a sparse file": (lambda v: zero(v.lower(b"sparse"), 64), ["moved to .*/sparse"], {b"sparse"}),
    "two of a name": (
        lambda v: (flip(v.lower(b"d/c"), 5000), flip(v.lower(b"f/c"), 5000)),
        ["moved to .*/c; ", r"moved to .*/c \(2\); "],
        {b"d/c", b"f/c"},
    ),
    "swapped files": (lambda v: swap(v, b"b", b"d/c"), ["moved back to b", "moved back to d/c"], set()),
    "swapped with a long name": (lambda v: swap(v, b"b", LONG), ["moved back to b", "moved back to long"], set()),
    "three files in a circle": (lambda v: rotate(v, b"b", b"d/c", b"f/c"), ["moved back to"] * 3, set()),
    "moved to another directory": (lambda v: move(v, b"d/c", b"f"), ["moved back to d/c"], set()),
    "renamed below": (lambda v: move(v, b"d/c", b"d", "Copy of c"), ["moved back to d/c"], set()),
    "long name moved": (lambda v: move(v, LONG, b"f"), ["moved back to long"], set()),
    "copied over another": (
        lambda v: shutil.copyfile(v.lower(b"d/c"), v.lower(b"f/c")), ["moved to .*it is a copy"], {b"f/c"}
    ),
    "conflict copy": (
        lambda v: shutil.copyfile(v.lower(b"d/c"), v.lower(b"d") / "c (conflict)"), ["moved to .*it is a copy"], set()
    ),
    "linked over another": (lambda v: link_over(v, b"d/c", b"f/c"), ["given below to another file.*c.lower"], {b"f/c"}),
    "one link moved": (lambda v: move(v, b"a2", b"f"), ["moved back to a2"], set()),
    "swapped directories": (lambda v: swap(v, b"d", b"f"), ["moved back to d", "moved back to f"], set()),
    "swapped with a long directory": (lambda v: swap(v, b"d", LONG + b"d"), ["moved back"] * 2, set()),
    "directory moved": (lambda v: move(v, b"d/e", b"f"), ["moved back to d/e"], set()),
    "directory copied": (
        lambda v: shutil.copytree(v.lower(b"d/e"), v.lower(b"f") / "copy"), ["moved to .*/e, with all"], set()
    ),
    "swapped records": (lambda v: swap_records(v, b"d", b"f"), ["record is rebuilt"] * 2, set()),
    "record": (lambda v: flip(v.lower(b"d") / "cloakfs.d", 70), ["record is rebuilt"], set()),
    "record missing": (lambda v: (v.lower(b"d") / "cloakfs.d").unlink(), ["record is rebuilt"], set()),
    "record of an empty directory": (
        lambda v: os.truncate(v.lower(b"empty") / "cloakfs.d", 5), ["record is rebuilt"], set()
    ),
    "record under a long name": (
        lambda v: (v.lower(LONG + b"d") / "cloakfs.d").unlink(), ["moved to .*directory-"], {LONG + b"d", LONG + b"d/z"}
    ),
    "records above each other": (
        lambda v: [(path / "cloakfs.d").unlink() for path in (v.lower(b"d/e"), v.lower(b"d"))],
        ["record is rebuilt"] * 2,
        set(),
    ),
    "record missing, and strangers inside": (
        lambda v: (
            move(v, b"d/c", b"f/g"),
            move(v, b"d/k", b"f/g"),
            (v.lower(b"f/g") / "cloakfs.d").unlink(),
        ),
        ["record is rebuilt", "moved back to d/c", "moved back to d/k"],
        set(),
    ),
    "record missing, and renamed strangers of a moved directory inside": (
        lambda v: (
            move(v, b"d/c", b"f/g", "one"),
            move(v, b"d/k", b"f/g", "two"),
            (v.lower(b"f/g") / "cloakfs.d").unlink(),
            move(v, b"d", b"f", "three"),
        ),
        ["record is rebuilt", "moved back to d$", "moved back to d/c", "moved back to d/k"],
        set(),
    ),
    "root record": (lambda v: flip(v.path / "cloakfs.d", 70), ["record is rebuilt"], set()),
    "file behind a lost record": (
        lambda v: (flip(v.lower(b"d/e/x"), 5000), (v.lower(b"d") / "cloakfs.d").unlink()),
        ["record is rebuilt", "moved to .*/x; "],
        {b"d/e/x"},
    ),
    "swapped symlinks": (lambda v: swap(v, b"l", b"l2"), ["moved back to l", "moved back to l2"], set()),
    "symlink moved": (lambda v: move(v, b"d/l", b"f"), ["moved back to d/l"], set()),
    "symlink renamed": (lambda v: os.replace(v.lower(b"l"), v.lower(b"l2")), ["moved to .*/l2"], {b"l", b"l2"}),
    "symlink": (lambda v: spoil_link(v, b"l"), ["taken away.*/l.symlink"], {b"l"}),
    "symlink in a file": (lambda v: flip(v.lower(b"m"), 700), ["moved to .*/m; "], {b"m"}),
    "two forms of one name": (
        lambda v: shutil.copyfile(v.lower(b"m"), str(v.lower(b"b")) + ".l"), ["moved to .*it is a copy"], set()
    ),
    "symlink in a file without its ending": (
        lambda v: v.lower(b"m").rename(str(v.lower(b"m")).removesuffix(".l")), ["moved back to m"], set()
    ),
    "file under the name of a symlink": (
        lambda v: v.lower(b"d/c").rename(str(v.lower(b"d/c")) + ".l"), ["moved back to d/c"], set()
    ),
    "pipe moved": (lambda v: move(v, b"d/pipe", b"f"), ["moved back to d/pipe"], set()),
    "attributes": (lambda v: spoil_attributes(v.lower(b"b")), ["attributes and ACLs are taken off"], set()),
    "attributes of a directory": (lambda v: spoil_attributes(v.lower(b"d")), ["attributes and ACLs"], set()),
}  # fmt: skip
