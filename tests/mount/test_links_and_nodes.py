"""Hard links, symlinks, pipes, sockets, device nodes, and names."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from tests.support.linux import Child, error_of, needs_root
from tests.support.mounting import MountedVolume
from tests.support.twin import Twin, look, tree

LONG = "w" * 255


def test_hard_links(twin: Twin, shared: MountedVolume) -> None:
    """Several names are one file: inode, nlink, size (the plain one), content; each can be renamed and removed."""

    def action(directory: Path) -> object:
        (directory / "sub").mkdir()
        path = directory / "a"
        path.write_bytes(b"shared" * 1000)
        for name in ("b", "sub/c", "d"):
            os.link(path, directory / name)
        same = {(directory / name).stat().st_ino for name in ("a", "b", "sub/c", "d")}
        seen = [len(same), tree(directory)]
        (directory / "b").write_bytes(b"changed")
        seen.append((directory / "sub/c").read_bytes())
        (directory / "sub/c").rename(directory / "e")
        path.unlink()
        with (directory / "d").open("ab") as file:
            file.write(b" again")
        seen += [tree(directory), (directory / "e").read_bytes()]
        seen += [
            error_of(lambda: os.link(directory / "sub", directory / "x")),
            error_of(lambda: os.link(directory / "b", directory / "d")),
            error_of(lambda: os.link(directory / "a", directory / "x")),
        ]
        return seen

    twin.same(action)
    before = tree(twin.mounted)
    shared.remount()
    assert tree(twin.mounted) == before
    assert (twin.mounted / "e").read_bytes() == b"changed again"


def test_hard_link_of_a_file_being_written(twin: Twin) -> None:
    """lstat after link() says the plain size, also with data that no write has brought down yet."""

    def action(directory: Path) -> object:
        fd = os.open(directory / "a", os.O_RDWR | os.O_CREAT, 0o644)
        os.write(fd, b"x" * 12_345)
        os.link(directory / "a", directory / "b")
        seen: list[object] = [look(directory / "a"), look(directory / "b")]
        os.write(fd, b"y" * 5)
        seen += [look(directory / "b"), (directory / "b").read_bytes()]
        os.close(fd)
        return seen

    twin.same(action)


def test_hard_links_with_a_long_name(mounted: MountedVolume) -> None:
    """A file can have one name over 160 bytes (FORMAT.md section 9.1); a second is EMLINK, a short one is not."""
    top = mounted.path
    (top / "a").write_bytes(b"content")
    os.link(top / "a", top / LONG)
    os.link(top / LONG, top / "b")
    assert error_of(lambda: os.link(top / "a", top / LONG.replace("w", "v"))) == "EMLINK"
    (top / "a").rename(top / "c")
    (top / LONG).rename(top / LONG.replace("w", "u"))
    mounted.remount()
    expected = ["b", "c", LONG.replace("w", "u")]
    assert sorted(os.listdir(top)) == sorted(expected)
    assert {(top / name).read_bytes() for name in expected} == {b"content"}
    assert {(top / name).stat().st_nlink for name in expected} == {3}


def test_hard_links_to_symlinks_and_nodes(twin: Twin, shared: MountedVolume) -> None:
    """Symlinks and pipes can have several names too, and moving one of them breaks none."""

    def action(directory: Path) -> object:
        (directory / "sub").mkdir()
        (directory / "link").symlink_to("target of the link")
        os.mkfifo(directory / "pipe")
        for name in ("link", "pipe"):
            os.link(directory / name, directory / f"{name}2", follow_symlinks=False)
            (directory / name).rename(directory / "sub" / name)
            os.link(directory / f"{name}2", directory / f"{name}3", follow_symlinks=False)
        same = (directory / "link3").lstat().st_ino == (directory / "sub/link").lstat().st_ino
        return same, tree(directory), [os.readlink(directory / name) for name in ("link2", "link3", "sub/link")]

    twin.same(action)
    before = tree(twin.mounted)
    shared.remount()
    assert tree(twin.mounted) == before
    assert os.readlink(twin.mounted / "link2") == "target of the link"


def test_symlinks_of_every_length(twin: Twin, shared: MountedVolume) -> None:
    """Targets of 1 to 4,000 bytes, some too long for a lower symlink (FORMAT.md section 9.4): st_size is true."""
    sizes = (1, 2, 3, 15, 16, 17, 100, 1000, 2900, 3000, 3020, 3030, 3040, 3050, 3100, 3500, 4000)

    def action(directory: Path) -> object:
        for size in sizes:
            (directory / str(size)).symlink_to("t" * size)
            (directory / (str(size) + "n" * 200)).symlink_to("t" * size)
        return tree(directory), [os.readlink(directory / name) for name in sorted(os.listdir(directory))]

    twin.same(action)
    before = tree(twin.mounted)
    shared.remount()
    assert tree(twin.mounted) == before
    for size in sizes:
        assert os.readlink(twin.mounted / str(size)) == "t" * size
        assert os.readlink(twin.mounted / (str(size) + "n" * 200)) == "t" * size


def test_symlinks_are_links(twin: Twin) -> None:
    """Followed to files, directories and nowhere; targets of any bytes; own mode, owner, times; the right errors."""

    def action(directory: Path) -> object:
        (directory / "d").mkdir()
        (directory / "d/f").write_bytes(b"found")
        for name, target in {
            b"to file": b"d/f",
            b"to directory": b"./d",
            b"nowhere": b"missing",
            b"odd": b"\xff\xfe \n\x01",
            b"z" * 250: b"d",
            b"chain": b"to file",
        }.items():
            os.symlink(target, os.fsencode(directory) + b"/" + name)
        os.utime(directory / "nowhere", ns=(5, 1_234_567_891_234_567_890), follow_symlinks=False)
        os.utime(directory / ("z" * 250), ns=(5, 77), follow_symlinks=False)
        if os.geteuid() == 0:
            for path in (directory / "to file", directory / ("z" * 250)):
                os.chown(path, 11, 22, follow_symlinks=False)
        return (
            tree(directory),
            (directory / "nowhere").lstat().st_mtime_ns,
            (directory / ("z" * 250)).lstat().st_mtime_ns,
            (directory / "chain").read_bytes(),
            os.listdir(directory / "to directory"),
            os.listdir(directory / ("z" * 250)),
            os.readlink(os.fsencode(directory) + b"/odd"),
            error_of(lambda: os.symlink("x", directory / "odd")),
            error_of(lambda: os.symlink("", directory / "empty")),
            error_of(lambda: os.readlink(directory / "d")),
            error_of(lambda: (directory / "nowhere").read_bytes()),
        )

    twin.same(action)


def test_pipes(twin: Twin) -> None:
    """A named pipe carries data between two processes."""

    def action(directory: Path) -> object:
        path = directory / "pipe"
        os.mkfifo(path, 0o622)
        child = Child(lambda: path.write_bytes(b"through the pipe"))
        data = path.read_bytes()
        return data, child.result(), look(path)

    twin.same(action)


def test_sockets(twin: Twin, shared: MountedVolume) -> None:
    """A socket bound on the mount takes connections; its node stays after a remount and then refuses them."""

    def action(directory: Path) -> object:
        # Relative, because a socket's path has 108 bytes at most.
        def talk() -> object:
            os.chdir(directory)
            with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
                server.bind("s")
                server.listen()
                client.connect("s")
                client.sendall(b"hello")
                return server.accept()[0].recv(10)

        return Child(talk).result(), look(directory / "s")

    twin.same(action)
    shared.remount()
    assert stat.S_ISSOCK((twin.mounted / "s").stat().st_mode)


@needs_root
def test_device_nodes(twin: Twin, shared: MountedVolume) -> None:
    """Device nodes keep type and number; as the mount is nodev by default, opening one is EACCES."""

    def action(directory: Path) -> object:
        os.mknod(directory / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
        os.mknod(directory / "disk", stat.S_IFBLK | 0o600, os.makedev(259, 70_000))
        os.mknod(directory / "regular", stat.S_IFREG | 0o640)
        (directory / "zero").rename(directory / "null")
        return tree(directory)

    twin.same(action)
    before = tree(twin.mounted)
    shared.remount()
    assert tree(twin.mounted) == before
    assert error_of(lambda: (twin.mounted / "null").read_bytes()) == "EACCES"


def test_names_of_arbitrary_bytes(twin: Twin, shared: MountedVolume) -> None:
    """Every byte but / and NUL, at every length to 255, is a name; 256 bytes are ENAMETOOLONG; case matters."""
    wanted = [bytes([byte]) for byte in range(1, 256) if byte not in b"/."]
    wanted += [bytes([byte]) * 2 for byte in (0x80, 0xC3, 0xFF)]
    wanted += [b"n" * size for size in (2, 15, 16, 17, 144, 145, 159, 160, 161, 162, 176, 200, 254, 255)]
    wanted += [b"...", b".hidden", b" ", b"a ", b"\n\n", b"-rf", b"cloakfs.d", b"cloakfs.volume", b"cloakfs.t.x"]
    wanted += ["Ärztebrief für Frau Grün.odt".encode(), "\u202efdp.exe".encode(), b"\xed\xa0\x80", b"UPPER", b"upper"]

    wanted = list(dict.fromkeys(wanted))

    def action(directory: Path) -> object:
        top = os.fsencode(directory) + b"/"
        for number, name in enumerate(wanted):
            if number % 3:
                with open(top + name, "wb") as file:
                    file.write(name)
            else:
                os.mkdir(top + name)
        errors = [error_of(lambda: os.mkdir(top + b"m" * 256)), error_of(lambda: os.stat(top + b"m" * 256))]
        return errors, sorted(os.listdir(top))

    assert twin.same(action)[1] == sorted(wanted)  # type: ignore[index]
    shared.remount()
    top = os.fsencode(twin.mounted) + b"/"
    assert sorted(os.listdir(top)) == sorted(wanted)
    for number, name in enumerate(wanted):
        if number % 3:
            with open(top + name, "rb") as file:
                assert file.read() == name
        else:
            assert stat.S_ISDIR(os.lstat(top + name).st_mode)


def test_long_names_of_pipes_are_refused(mounted: MountedVolume) -> None:
    """A node without a header cannot hold a name over 160 bytes (FORMAT.md section 7): ENAMETOOLONG, and no remains."""
    os.mkfifo(mounted.path / ("p" * 160))
    assert error_of(lambda: os.mkfifo(mounted.path / ("p" * 161))) == "ENAMETOOLONG"
    assert error_of(lambda: (mounted.path / ("p" * 160)).rename(mounted.path / ("q" * 161))) == "ENAMETOOLONG"
    assert os.listdir(mounted.path) == ["p" * 160]
