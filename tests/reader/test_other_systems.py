"""What other systems lack and forbid: names of the standard library, names of files, wheels.

No Windows and no Mac runs these tests. What stands in for them: typeshed's word on which names exist there, a Python on
Linux whose ``os`` is cut down to it (tests/support/windows), and the rules of Windows as text.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from encfs.errors import ExitCode
from encfs.hostpaths import NAME_MAX, long_path, shortened, windows_name
from encfs.reader import wheels
from encfs.reader.placing import SafePlacement
from tests.support import media, typeshed
from tests.support.portable_reader import Reader, builder
from tests.support.volumes import LowerVolume

Recovery = tuple[str, str]

# Modules of the standard library whose names differ from system to system.
MODULES = ("os", "errno", "signal", "socket", "stat", "time")
# Only whoever writes to a volume, or has Linux below, gets to these. A name elsewhere has to be looked at.
WRITERS = {
    "encfs.crypto.rng": {"O_CLOEXEC", "getrandom", "makedev", "readv"},
    "encfs.store.atomic": {"O_DIRECTORY"},
    "encfs.volume.changes": {"geteuid"},
    "encfs.volume.checkpoint": {"O_CLOEXEC"},
    "encfs.volume.creation": {"getegid"},
    "encfs.volume.destination": {"chown"},
    "encfs.volume.lookup": {"O_DIRECTORY"},
    "encfs.volume.lost_found": {"getegid", "geteuid"},
    "encfs.volume.paths": {"getegid", "geteuid"},
    "encfs.volume.places": {"geteuid"},
    "encfs.volume.recovery": {"geteuid"},
    "encfs.volume.sessions": {"getuid"},
    "encfs.volume.skeleton": {"O_CLOEXEC", "O_DIRECTORY"},
}
LINUX_ALONE = {"encfs.store.local"}


def used(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Each name of the modules above that a module of ours takes, as (module, name)."""
    aliases = {
        alias.asname or alias.name: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = aliases.get(node.value.id, "")
            if module in MODULES:
                yield module, node.attr
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            yield from ((node.module, alias.name) for alias in node.names)


@pytest.mark.parametrize(("platform", "known"), [("win32", WRITERS), ("darwin", {"encfs.crypto.rng": {"getrandom"}})])
def test_no_module_of_the_reader_takes_what_is_not_there(platform: str, known: dict[str, set[str]]) -> None:
    """Each name that typeshed does not have on that system is one that only a writer gets to."""
    missing: dict[str, set[str]] = {}
    for name, path in builder.modules().items():
        if name not in LINUX_ALONE:
            for module, attribute in used(ast.parse(path.read_text(encoding="utf-8"))):
                if attribute not in typeshed.names(module, platform):
                    missing.setdefault(name, set()).add(attribute)
    assert missing == known


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13), (3, 14)])
def test_every_python_that_is_promised(version: tuple[int, int]) -> None:
    """The names are there in each of these, and nothing below 3.11 is needed by the grammar."""
    for path in builder.modules().values():
        tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 11))
        for module, attribute in used(tree):
            assert attribute in typeshed.names(module, "linux", version), (path, attribute)


# -- names -------------------------------------------------------------------------------------------------------------

NAMES = [
    (b"letter.odt", "letter.odt"),
    ("Brief für Jürgen.odt".encode(), "Brief für Jürgen.odt"),
    (b"a:b", "a%3Ab"),
    (b"letter.odt:stream", "letter.odt%3Astream"),
    (b"C:", "C%3A"),
    (b"..\\..\\boot.ini", "..%5C..%5Cboot.ini"),
    (b'<>"|?*', "%3C%3E%22%7C%3F%2A"),
    (b"tab\there", "tab%09here"),
    (b"\xff\xfe", "%FF%FE"),
    (b"dot.", "dot%2E"),
    (b"space ", "space%20"),
    (b"...", "..%2E"),
    (b"CON", "%43ON"),
    (b"con", "%63on"),
    (b"nul.txt", "%6Eul.txt"),
    (b"aux .tar.gz", "%61ux .tar.gz"),
    ("LPT²".encode(), "%4CPT²"),
    (b"COM10", "COM10"),
    (b"console", "console"),
    (b"100% sure", "100% sure"),
    (b"a%3Ab", "a%253Ab"),
]


def test_names_on_windows() -> None:
    """What Windows forbids is escaped, no two names become one, and none is longer than Windows takes."""
    assert [(name, windows_name(name)) for name, _ in NAMES] == NAMES
    assert len({windows_name(name) for name, _ in NAMES}) == len(NAMES)
    long = windows_name(b":" * 250 + b".odt")
    assert len(long) == NAME_MAX
    assert long.endswith(".odt")
    assert len(shortened("\U0001f600" * 200, "~2").encode("utf-16-le")) // 2 <= NAME_MAX
    assert shortened("letter.odt", "~2") == "letter~2.odt"


def test_long_paths_on_windows() -> None:
    """With the prefix that lifts the limit of 260 characters, for drives and for shares."""
    assert long_path("E:\\practice") == "\\\\?\\E:\\practice"
    assert long_path("\\\\server\\share\\practice") == "\\\\?\\UNC\\server\\share\\practice"
    assert long_path("\\\\?\\E:\\practice") == "\\\\?\\E:\\practice"


def test_names_of_windows_stay_in_their_directory(tmp_path: Path) -> None:
    """What means a drive, a stream, a share or another directory there is a plain entry of its directory."""
    placement = SafePlacement(overwrite=True, windows=True)
    for name in (b"C:", b"C:\\x", b"\\\\server\\share", b"a:b", b"..\\x", b"\\\\?\\C:\\x", b"~", b"-rf"):
        place = placement.place(os.fsencode(tmp_path), name)
        assert os.path.dirname(place) == os.fsencode(tmp_path)
        assert not set(b":\\?") & set(os.path.basename(place))
    assert not placement.links


def test_names_of_windows_in_a_whole_run(on_windows: Reader, recovery: Recovery, tmp_path: Path) -> None:
    """Files with such names, one whose path is longer than 260 characters, and a path with backslashes."""
    lower = LowerVolume(tmp_path / "volume")
    deep = b"/".join([b"d" * 100] * 4)
    with lower.unlock() as volume:
        for number, (name, _) in enumerate(NAMES):
            volume.write_file(name, b"%d" % number)
        for end in range(4):
            volume.make_directory(b"/".join([b"d" * 100] * (end + 1)))
        volume.write_file(deep + b"/letter", b"deep")
    result = on_windows.run("extract", "volume", "--to", "out", *recovery, "--json", cwd=tmp_path)
    assert (result.code, result.json["failures"], result.json["skipped"]) == (0, [], [])
    for number, (_, name) in enumerate(NAMES):
        assert (tmp_path / "out" / name).read_bytes() == b"%d" % number
    assert (tmp_path / "out" / os.fsdecode(deep) / "letter").read_bytes() == b"deep"
    assert {one["to"] for one in result.json["renamed"]} == {new for old, new in NAMES if os.fsencode(new) != old}
    inside = deep.decode().replace("/", "\\")
    part = on_windows.run("extract", "volume", inside, "--to", "part", *recovery, cwd=tmp_path)
    assert part.code == 0, part.err
    assert (tmp_path / "part" / os.fsdecode(deep) / "letter").read_bytes() == b"deep"


@pytest.mark.mount
@pytest.mark.parametrize("kind", media.kinds("exfat"))
def test_exfat(kind: str, reader: Reader, on_windows: Reader, recovery: Recovery, tmp_path: Path) -> None:
    """A volume on exFAT is read, with symlinks kept in files; on exFAT as destination A and a do not become one."""
    with media.lower_filesystem(kind, tmp_path) as medium:
        on_stick = LowerVolume(medium.path / "volume")
        with on_stick.unlock() as volume:
            volume.write_file(b"Letter.txt", b"large")
            volume.write_file(b"letter.txt", b"small")
            volume.make_symlink(b"link", b"letter.txt")
        for one in (reader, on_windows):
            listed = one.run("list", on_stick.path, "--json", *recovery).json["entries"]
            assert [entry.get("target") for entry in listed] == [None, None, "letter.txt"]
            assert one.run("verify", on_stick.path, *recovery).code == 0
        out = medium.path / "out"
        for number in range(2):
            result = reader.run("extract", on_stick.path, "--to", out, "--overwrite", "--json", *recovery)
            assert result.code == ExitCode.FAILURE  # The symlink cannot be made there.
            assert [one["path"] for one in result.json["failures"]] == ["link"]
            assert sorted(path.read_bytes() for path in out.iterdir()) == [b"large", b"small"], number
            assert result.json["renamed"] == [{"name": "letter.txt", "to": "letter~2.txt"}]


# -- wheels ------------------------------------------------------------------------------------------------------------

WIN = wheels.Host(12, threads=False, system="win", version=(0, 0), machine="amd64")
MAC = wheels.Host(12, threads=False, system="macosx", version=(14, 5), machine="arm64")
GLIBC = wheels.Host(12, threads=False, system="manylinux", version=(2, 36), machine="x86_64")
OLD = wheels.Host(12, threads=False, system="manylinux", version=(2, 17), machine="x86_64")
MUSL = wheels.Host(12, threads=False, system="musllinux", version=(1, 2), machine="x86_64")
THREADS = wheels.Host(13, threads=True, system="win", version=(0, 0), machine="amd64")


@pytest.mark.parametrize(
    ("wheel", "hosts"),
    [
        ("argon2_cffi-25.1.0-py3-none-any.whl", {"WIN", "MAC", "GLIBC", "OLD", "MUSL", "THREADS"}),
        ("cryptography-50.0.2-cp311-abi3-win_amd64.whl", {"WIN"}),
        ("cryptography-50.0.2-cp311-abi3-macosx_11_0_arm64.whl", {"MAC"}),
        ("cryptography-50.0.2-cp311-abi3-macosx_10_12_universal2.whl", {"MAC"}),
        ("cryptography-50.0.2-cp311-abi3-macosx_15_0_arm64.whl", set()),
        ("cryptography-50.0.2-cp311-abi3-macosx_11_0_x86_64.whl", set()),
        ("cryptography-50.0.2-cp313-abi3-win_amd64.whl", set()),
        ("cryptography-50.0.2-cp311-abi3-manylinux_2_28_x86_64.whl", {"GLIBC"}),
        ("cryptography-50.0.2-cp311-abi3-manylinux_2_28_aarch64.whl", set()),
        ("cryptography-50.0.2-cp311-abi3-musllinux_1_2_x86_64.whl", {"MUSL"}),
        ("cffi-2.1.1-cp312-cp312-manylinux2014_x86_64.manylinux_2_17_x86_64.whl", {"GLIBC", "OLD"}),
        ("cffi-2.1.1-cp312-cp312-win_amd64.whl", {"WIN"}),
        ("cffi-2.1.1-cp311-cp311-win_amd64.whl", set()),
        ("cffi-2.1.1-cp313-cp313t-win_amd64.whl", {"THREADS"}),
        ("cffi-2.1.1-1-cp312-cp312-win_amd64.whl", {"WIN"}),
        ("cffi-2.1.1.tar.gz", set()),
        ("cffi.whl", set()),
    ],
)
def test_which_wheels_fit(wheel: str, hosts: set[str]) -> None:
    """By Python, system and processor, as their names say (PEP 425, 600, 656)."""
    known = {"WIN": WIN, "MAC": MAC, "GLIBC": GLIBC, "OLD": OLD, "MUSL": MUSL, "THREADS": THREADS}
    assert {name for name, host in known.items() if wheels.fits(wheel, host)} == hosts


def test_this_host_and_the_digests() -> None:
    """What is installed here would fit here; the list in the archive is that of the lock."""
    host = wheels.this_host()
    assert wheels.fits(f"x-1-cp3{host.minor}-cp3{host.minor}-{host.platform}.whl", host)
    pins = wheels.read_pins(builder.pins())
    assert set(pins) == {*wheels.REQUIRED, *wheels.OPTIONAL}
    lock = (builder.TOP / "requirements.lock").read_text(encoding="utf-8")
    for name, pin in pins.items():
        assert f"{name}=={pin.version}" in lock
        assert pin.digests
        assert all(f"sha256:{digest}" in lock for digest in pin.digests)
