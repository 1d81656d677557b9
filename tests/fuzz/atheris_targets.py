"""One coverage-guided fuzz target for each parser, for atheris (libFuzzer).

    python tests/fuzz/atheris_targets.py TARGET [libFuzzer options] [corpus directories]
    python tests/fuzz/atheris_targets.py --list

A target that ends with anything but a value or our error, that is not the inverse of its writer, or that takes more
than the limits given to libFuzzer, ends the program with a report. test_fuzz_atheris.py runs all of them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import atheris

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS.parent))

with atheris.instrument_imports(include=["encfs"]):
    from encfs.cli import mount_options
    from encfs.core import config as core_config
    from encfs.core import symlinks
    from encfs.core.keys import KeyRing
    from encfs.core.slots import passphrase_from_raw
    from encfs.crypto import kdf
    from encfs.crypto.aead import NAME_KEY_SIZE
    from encfs.crypto.kdf import Label
    from encfs.crypto.suite import CLOAKFS_1
    from encfs.errors import CloakfsError
    from encfs.format import attributes, base64url, checkpoint
    from encfs.format import config as config_format
    from encfs.format.config import parse_config
    from encfs.format.directory import parse_directory_body
    from encfs.format.frame import Frame, FrameKind, parse_frame
    from encfs.format.header import parse_header_body
    from encfs.format.recovery_key import decode_recovery_key
    from encfs.format.session import parse_session_body
    from encfs.units import DirId, VolumeId


def _ring() -> KeyRing:
    keys = json.loads((TESTS / "vectors" / "names.json").read_text(encoding="utf-8"))["keys"]
    return KeyRing(
        suite=CLOAKFS_1,
        volume_id=VolumeId(bytes.fromhex(keys["volume_id"])),
        metadata=bytes.fromhex(keys["metadata"]),
        epochs={int(number): bytes.fromhex(key) for number, key in keys["epochs"].items()},
        active=keys["active"],
    )


RING = _ring()
DIR = DirId(b"d" * 16)
NAMES = RING.suite.name_cipher(RING.suite.expand(RING.metadata._key, Label.NAME, NAME_KEY_SIZE))


def _config_json(data: bytes) -> None:
    signed = b"cloakfs-volume 1\n" + data.replace(b"\n", b" ") + b"\n"
    assert config_format.signed_bytes(parse_config(signed)) == signed


def _config_checked(data: bytes) -> None:
    signed = b"cloakfs-volume 1\n" + data.replace(b"\n", b" ") + b"\n"
    core_config.read_copy(config_format.assemble(signed, bytes(32), kdf.digest(signed)[:16]))


def _body(kind: FrameKind, parse: Callable[[Frame, bytes], object]) -> Callable[[bytes], None]:
    file_kind = kind <= FrameKind.SYMLINK
    frame = Frame(kind, 12, 7, None, b"f" * 16) if file_kind else Frame(kind, 0, 7, None)  # type: ignore[arg-type]

    def target(data: bytes) -> None:
        body = data[:436].ljust(436, b"\0")
        assert parse(frame, body).body() == body  # type: ignore[attr-defined]

    return target


def _frame(data: bytes) -> None:
    raw = data[:512].ljust(512, b"\0")
    assert parse_frame(raw)[0].clear() == raw[:48]


def _name(data: bytes) -> None:
    names = RING.metadata.names
    name = names.open(DIR, data)
    assert name is None or names.seal(DIR, name) == data.removesuffix(b".l")


def _sealed_name(data: bytes) -> None:
    if data:
        _name(base64url.encode(NAMES.seal(data, DIR)))


def _symlink(data: bytes) -> None:
    symlinks.open_target(RING, base64url.encode(RING.suite.seal(RING.metadata.symlink_key, Label.SYMLINK, data)))


def _attributes(data: bytes) -> None:
    assert attributes.pack_attributes(attributes.parse_attributes(data)) == data


def _base64url(data: bytes) -> None:
    assert base64url.encode(base64url.decode(data)) == data


def _checkpoint(data: bytes) -> None:
    for raw in checkpoint.split(data):
        assert checkpoint.pack(checkpoint.parse(raw)) == len(raw).to_bytes(2, "big") + raw


TARGETS: dict[str, Callable[[bytes], object]] = {
    "config-file": core_config.read_copy,
    "config-checked": _config_checked,
    "config-json": _config_json,
    "frame": _frame,
    "header": _body(FrameKind.FILE, parse_header_body),
    "directory": _body(FrameKind.DIRECTORY, parse_directory_body),
    "session": _body(FrameKind.SESSION, parse_session_body),
    "name": _name,
    "sealed-name": _sealed_name,
    "symlink": _symlink,
    "attributes": _attributes,
    "base64url": _base64url,
    "checkpoint": _checkpoint,
    "checkpoint-head": checkpoint.parse_head,
    "recovery-key": lambda data: decode_recovery_key(data.decode("utf-8", "surrogateescape")),
    "passphrase": passphrase_from_raw,
    "mount-options": lambda data: mount_options.parse([os.fsdecode(data)]),
}


def main() -> None:
    """Fuzz one target until libFuzzer has had enough."""
    if sys.argv[1:] == ["--list"]:
        print("\n".join(TARGETS))
        return
    target = TARGETS[sys.argv.pop(1)]

    def one(data: bytes) -> None:
        try:
            target(data)
        except CloakfsError:
            return

    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
