"""Coverage-guided fuzzing of every parser with atheris, seeded with good objects (FORMAT.md sections 3 to 12)."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from encfs.core.keys import KeyRing
from encfs.format import config as config_format
from encfs.format.attributes import pack_attributes
from encfs.format.config import Config
from encfs.format.frame import FrameKind, parse_frame
from encfs.format.recovery_key import encode_recovery_key
from tests.support.evidence import record

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("atheris") is None,
        reason="atheris is not installed (pip install --require-hashes -r requirements-fuzz.lock)",
    ),
]
PROGRAM = Path(__file__).with_name("atheris_targets.py")
RUNS = int(os.environ.get("CLOAKFS_ATHERIS_RUNS", "200000"))
MAX_LENGTH = {"config-file": 16_384, "config-checked": 16_384, "config-json": 16_384, "checkpoint": 4096}
# Guards against a target that never ends, not measurements: of one input, and of all.
HANG = 120
NAMES = re.findall(r'^    "([a-z0-9-]+)": ', PROGRAM.read_text(encoding="utf-8").split("TARGETS")[1], re.MULTILINE)


@pytest.fixture
def seeds(vectors: Any, ring: KeyRing, good_config: Config) -> dict[str, list[bytes]]:
    """Good inputs for each target."""
    signed = config_format.signed_bytes(good_config)
    frames = [bytes.fromhex(one["bytes"]) for one in vectors("frames")["good"]]
    bodies: dict[FrameKind, list[bytes]] = {kind: [] for kind in FrameKind}
    for raw in frames:
        frame = parse_frame(raw)[0]
        keys = ring.of(frame.epoch)
        records = {FrameKind.DIRECTORY: keys.directory_key, FrameKind.SESSION: keys.session_key}
        key = records.get(frame.kind) or keys.header_key(frame.fid)
        bodies[frame.kind].append(ring.suite.unseal(key, raw[:48], raw[48:]))
    line = signed.split(b"\n")[1]
    return {
        "config-file": [config_format.assemble(signed, bytes(32), bytes(16)), signed],
        "config-checked": [line],
        "config-json": [line],
        "frame": frames,
        "header": bodies[FrameKind.FILE],
        "directory": bodies[FrameKind.DIRECTORY],
        "session": bodies[FrameKind.SESSION],
        "name": [bytes(ring.metadata.names.seal(b"d" * 16, name)) for name in (b"a", b"n" * 160, b"l" * 200)],  # type: ignore[arg-type]
        "sealed-name": [b"name".ljust(16, b"\0")],
        "symlink": [bytes(17) + b"../target"],
        "attributes": [pack_attributes({b"user.a": b"1", b"system.posix_acl_access": b"2" * 40})],
        "recovery-key": [encode_recovery_key(bytes(range(32))).encode()],
        "mount-options": [b'ro,noatime,passphrase-file="/a,b",x-systemd.automount,passphrase-fd=3'],
    }


@pytest.mark.parametrize("target", NAMES)
def test_target(target: str, seeds: dict[str, list[bytes]], tmp_path: Path) -> None:
    """The parser gives a value or our error, whatever libFuzzer comes up with, in bounded time and memory."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds.get(target, [b"seed"])):
        (corpus / str(number)).write_bytes(seed)
    command = [
        sys.executable, str(PROGRAM), target, f"-runs={RUNS}", f"-max_len={MAX_LENGTH.get(target, 1024)}",
        f"-timeout={HANG}", "-rss_limit_mb=1024", f"-artifact_prefix={tmp_path}/", "-seed=1", str(corpus),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")
    assert done.returncode == 0, done.stderr[-4000:]
    ran = re.findall(r"Done (\d+) runs", done.stderr)
    assert ran, done.stderr[-2000:]
    record("fuzz", f"atheris: {target}", cases=int(ran[-1]), note="parsed, or refused with our error")


def test_all_parsers_have_a_target() -> None:
    """What is listed is what the program has."""
    done = subprocess.run([sys.executable, str(PROGRAM), "--list"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == NAMES
