"""The backing store on the running kernel: nothing that lies below is ever followed (THREAT_MODEL.md section 3, A3)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from encfs.store.local import LocalStore

CALLS: dict[str, Callable[[LocalStore, int], object]] = {
    "open": lambda store, top: store.open(top, b"link", os.O_RDONLY),
    "open_writable": lambda store, top: store.open_writable(top, b"link"),
    "read_uncached": lambda store, top: store.read_uncached(top, b"link", 16),
    "chmod": lambda store, top: store.chmod(top, b"link", 0o777),
    "getxattr": lambda store, top: store.getxattr((top, b"link"), "user.test"),
    "setxattr": lambda store, top: store.setxattr((top, b"link"), "user.test", b"other"),
    "removexattr": lambda store, top: store.removexattr((top, b"link"), "user.test"),
}
REFUSALS = {errno.ELOOP, errno.EOPNOTSUPP, errno.EPERM, errno.ENODATA}


@pytest.fixture
def top(tmp_path: Path) -> Iterator[int]:
    """A directory with a link to a file outside of it."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"a file of the machine")
    outside.chmod(0o640)
    os.setxattr(outside, "user.test", b"value")
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / "link").symlink_to(outside)
    fd = os.open(tmp_path / "volume", os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.mark.parametrize("call", CALLS)
def test_a_link_is_never_followed(call: str, top: int, tmp_path: Path) -> None:
    """A symlink in the place of a lower file: every call refuses, and the file it leads to stays as it was."""
    with pytest.raises(OSError) as refused:  # noqa: PT011 - REFUSALS has the numbers
        CALLS[call](LocalStore(top), top)
    assert refused.value.errno in REFUSALS
    outside = tmp_path / "outside"
    assert outside.read_bytes() == b"a file of the machine"
    assert outside.stat().st_mode & 0o7777 == 0o640
    assert os.getxattr(outside, "user.test") == b"value"


def test_calls_on_what_is_there(top: int, tmp_path: Path) -> None:
    """The same calls on a file, and chmod on the directory itself."""
    store, path = LocalStore(top), tmp_path / "volume" / "file"
    path.write_bytes(b"x")
    store.chmod(top, b"file", 0o604)
    store.chmod(top, b".", 0o750)
    assert path.stat().st_mode & 0o7777 == 0o604
    assert path.parent.stat().st_mode & 0o7777 == 0o750
    store.setxattr((top, b"file"), "user.test", b"value")
    assert store.getxattr((top, b"file"), "user.test") == b"value"
    store.removexattr((top, b"file"), "user.test")
    assert os.listxattr(path) == []
