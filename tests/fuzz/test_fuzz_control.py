"""The control socket of a live daemon: whatever is sent to it, it answers or hangs up, and the mount goes on."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from errno import EACCES
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from encfs import runtime
from encfs.volume import read_config
from tests.support.evidence import record
from tests.support.fuzzing import DEEP, ODD_TEXTS, Fuzz, damaged, odd_values
from tests.support.linux import in_child
from tests.support.mounting import MountedVolume, wait_for

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="no /dev/fuse"),
]
# A daemon that never answers fails the test with this; it is no measurement.
HANG = 120
MAX_REPLY = 1 << 22


@pytest.fixture(scope="module")
def mounted() -> Iterator[MountedVolume]:
    """A mount with a file in it; at the end the daemon has nothing to complain of."""
    base = Path(tempfile.mkdtemp(prefix="cloakfs-fuzz-control-")).resolve()
    volume = MountedVolume(base)
    volume.mount()
    try:
        (volume.path / "file").write_bytes(b"content" * 1000)
        (volume.path / "directory").mkdir()
        yield volume
        volume.finish()
    finally:
        if not volume.is_dead():
            volume.kill()
        shutil.rmtree(base)


def address(volume: MountedVolume) -> str:
    """Where the daemon listens."""
    return str(runtime.socket_path(read_config(os.fsencode(volume.lower)).volume_id))


def connect(volume: MountedVolume) -> socket.socket:
    """A connection to the daemon."""
    one = socket.socket(socket.AF_UNIX)
    # Without a time limit: with one, a full queue of connections is an error rather than a wait.
    one.connect(address(volume))
    one.settimeout(HANG)
    return one


def replies(volume: MountedVolume, request: bytes) -> list[Any]:
    """What the daemon answers to some bytes, after which nothing more is sent."""
    with connect(volume) as one:
        try:
            one.sendall(request)
            one.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # It has read enough and hung up; what it said is there all the same.
        answer = bytearray()
        try:
            while piece := one.recv(65536):
                answer += piece
                assert len(answer) < MAX_REPLY
        except ConnectionResetError:
            pass
    return [json.loads(line) for line in answer.splitlines()]


def works(volume: MountedVolume) -> None:
    """The mount serves files and the daemon its socket."""
    assert (volume.path / "file").read_bytes() == b"content" * 1000
    (status,) = replies(volume, b'{"verb":"status"}\n')
    assert status["ok"] is True
    assert status["status"]["pid"] == volume.pid


def ask(volume: MountedVolume, request: bytes) -> None:
    """One request: the last line of the answer says that it is done, and no error is an unexpected one."""
    answer = replies(volume, request)
    if answer:  # None where the daemon hung up on what was too long.
        assert answer[-1]["done"] is True
        assert "internal error" not in json.dumps(answer)


def test_requests(fuzz: Fuzz, mounted: MountedVolume) -> None:
    """Requests of any form are answered, refused or cut off; the daemon lives (THREAT_MODEL.md section 3, A6)."""
    verbs = st.sampled_from(["status", "verify", "quiesce", "unknown", "Lock ", ""]) | odd_values()
    paths = st.sampled_from(["file", "directory", "", "/", "..", "missing"]) | st.sampled_from(ODD_TEXTS)
    wanted = st.none() | paths | st.lists(paths | odd_values(), max_size=3) | odd_values()
    objects = st.fixed_dictionaries(
        {}, optional={"verb": verbs, "paths": wanted, "force": odd_values(), "durable": odd_values()}
    )
    good = st.sampled_from([b'{"verb":"status"}\n', b'{"verb":"verify","paths":["directory"]}\n'])
    lines = objects.filter(lambda one: one.get("verb") != "lock").map(lambda one: json.dumps(one).encode() + b"\n")
    explicit = [
        b"", b"\n", b"\0" * 100, b"[]\n", b"1\n", b"null\n", b'"\\ud800"\n', b"\xff\xfe\n",
        b'{"verb":"verify","paths":["\\ud800"]}\n', b'{"verb":"verify","paths":[["file"]]}\n',
        b'{"verb":"verify","paths":["' + b"a/" * 50_000 + b'"]}\n', b'{"verb":"verify","paths":["a\\u0000b"]}\n',
        b'{"verb":{"verb":"lock"}}\n', b'{"verb":["lock"]}\n', b'{"verb":' + b"9" * 5000 + b"}\n",
        *(text.encode() + b"\n" for text in DEEP), b"A" * (2 << 20), b'{"verb":"status"' + b" " * (3 << 20) + b"}\n",
    ]  # fmt: skip

    def attempt(request: bytes) -> None:
        if b"lock" not in request or request in explicit:
            ask(mounted, request)

    fuzz(
        "control socket: requests",
        attempt,
        lines | damaged(good) | st.binary(max_size=200),
        examples=120,
        explicit=explicit,
        allowed=(),
    )
    works(mounted)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be another user")
def test_another_user(mounted: MountedVolume) -> None:
    """Nobody but the owner of the mount and root speaks to the daemon, even with the door open (section 3, A6)."""
    nobody = 65534
    path = Path(address(mounted))

    def speak() -> str:
        try:
            with socket.socket(socket.AF_UNIX) as one:
                one.connect(str(path))
                with suppress(BrokenPipeError):  # The answer may be there before the question.
                    one.sendall(b'{"verb":"lock","force":true}\n')
                return json.loads(one.makefile().readline())["error"]["message"]
        except (PermissionError, ConnectionResetError):
            return "no way in"

    assert path.stat().st_mode & 0o777 == 0o600
    assert in_child(speak, uid=nobody) == "no way in"
    modes = [(one, one.stat().st_mode) for one in (path, path.parent)]
    try:
        answer = "no way in"
        while answer == "no way in":  # Any other command of this user, in another test, shuts the door again.
            for one, _ in modes:
                one.chmod(0o777)
            answer = in_child(speak, uid=nobody)
        assert answer == os.strerror(EACCES)
    finally:
        for one, mode in modes:
            one.chmod(mode & 0o777)
    works(mounted)
    record("fuzz", "control socket: another user", cases=2, note="refused")


def test_slow_and_many_connections(mounted: MountedVolume) -> None:
    """Half a request on each of many connections holds nobody up: neither files, nor others, nor the lock (A6)."""
    with ExitStack() as held:
        idle = [held.enter_context(connect(mounted)) for _ in range(100)]
        for number, one in enumerate(idle):
            one.sendall(b'{"verb":"status"}\n'[: number % 18])
        works(mounted)
        for one in idle[:50]:
            one.close()
        works(mounted)
        idle[77].sendall(b'{"verb":"status"}\n'[77 % 18 :])
        assert json.loads(idle[77].recv(65536).splitlines()[-1])["ok"] is True
        # A verification whose reader has gone away ends by itself.
        with connect(mounted) as one:
            one.sendall(b'{"verb":"verify"}\n')
        mounted.lock()
    mounted.mount()
    works(mounted)
    wait_for(lambda: len(os.listdir(f"/proc/{mounted.pid}/fd")) < 100, "the daemon closes its connections")
    record("fuzz", "control socket: slow and many connections", cases=102, note="served on, and locked")
