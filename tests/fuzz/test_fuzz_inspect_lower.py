"""tools/inspect_lower.py on garbage: its own clear error or a note of what is wrong, never a traceback."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import strategies as st

from encfs.core import config as core_config
from encfs.core.sources import KnownSecret
from encfs.crypto import kdf
from encfs.format import config as config_format
from encfs.format.recovery_key import encode_recovery_key
from encfs.format.slots import SlotKind
from encfs.units import DirId
from tests.support.fuzzing import DEEP, Fuzz, compact, damaged, damaged_json
from tests.support.volumes import RECOVERY_KEY, LowerVolume

TOOL = Path(__file__).resolve().parents[2] / "tools" / "inspect_lower.py"
FIRST = b"cloakfs-volume 1\n"


@pytest.fixture(scope="module")
def reader() -> ModuleType:
    """The tool as a module."""
    spec = importlib.util.spec_from_file_location("inspect_lower", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["inspect_lower"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(reader: ModuleType, tmp_path: Path, capfdbinary: Any) -> Callable[..., int]:
    """Runs the tool; its exit status is one of the three that it has."""
    key = tmp_path / "key"
    key.write_text(encode_recovery_key(RECOVERY_KEY))

    def call(*arguments: object, secret: bool = True) -> int:
        more = ["--recovery-file", str(key)] if secret else ["--no-key"]
        status = reader.main([*map(str, arguments), *more])
        capfdbinary.readouterr()
        assert status in (0, 1, 2)
        return int(status)

    return call


def write_config(volume: LowerVolume, signed: bytes, root_key: bytes) -> None:
    """A config whose sum and MAC are right, whatever is in it."""
    mac = kdf.mac(kdf.expand(root_key, kdf.Label.CONFIG), signed)
    raw = config_format.assemble(signed, mac, kdf.digest(signed)[:16])
    for name in ("cloakfs.volume", "cloakfs.volume.bak"):
        (volume.path / name).write_bytes(raw)


def test_configs(fuzz: Fuzz, run: Callable[..., int], tmp_path: Path) -> None:
    """Configs with right sums and anything in them (FORMAT.md section 3)."""
    volume = LowerVolume(tmp_path / "volume")
    raw = (volume.path / "cloakfs.volume").read_bytes()
    root_key = core_config.unlock([raw], KnownSecret.of(SlotKind.RECOVERY, RECOVERY_KEY)).root_key
    base = json.loads(raw.split(b"\n")[1])
    # Without the passphrase slot: nothing here shall cost an Argon2id.
    base["slots"] = [slot for slot in base["slots"] if slot["kind"] == "recovery"]

    def attempt(text: bytes, secret: bool) -> None:
        write_config(volume, FIRST + text + b"\n", root_key)
        run(volume.path, secret=secret)

    odd = [compact(base | {"created": n, "seq": n}) for n in (1 << 64, -1, 1 << 300)]
    odd += [compact(base | {"epochs": [base["epochs"][0] | {"epoch": n}]}) for n in (-1, 1 << 32, 1 << 64)]
    fuzz(
        "inspect_lower: configs",
        attempt,
        damaged_json(base).map(compact) | damaged(st.just(compact(base))),
        st.booleans(),
        examples=80,
        explicit=[*((text.encode(), False) for text in DEEP), *((text, True) for text in odd)],
        allowed=(),
    )


def test_files(fuzz: Fuzz, run: Callable[..., int], tmp_path: Path) -> None:
    """A tree of which any file is damaged, exchanged or of another kind (FORMAT.md sections 6 to 11)."""
    volume = LowerVolume(tmp_path / "volume")
    with volume.unlock() as opened:
        opened.write_file(b"file", b"x" * 10_000)
        opened.make_directory(b"directory")
        opened.write_file(b"directory/inner", b"y")
        opened.make_symlink(b"link", b"target")
        opened.write_file(b"n" * 200, b"long")
    files = [p for p in volume.path.rglob("*") if p.is_file() and not p.is_symlink() and p.stat().st_size]
    files = sorted(p for p in files if not p.name.startswith("cloakfs.volume"))
    kept = {path: path.read_bytes() for path in files}
    every = st.sampled_from([kept[path] for path in files])

    def attempt(path: Path, raw: bytes, secret: bool) -> None:
        path.write_bytes(raw)
        try:
            run(volume.path, *(["--tree"] if secret else []), secret=secret)
        finally:
            path.write_bytes(kept[path])

    fuzz(
        "inspect_lower: lower files",
        attempt,
        st.sampled_from(files),
        damaged(every),
        st.booleans(),
        examples=80,
        explicit=[(path, b"", True) for path in files],
        allowed=(),
    )


def test_names(fuzz: Fuzz, run: Callable[..., int], tmp_path: Path) -> None:
    """Lower names and lower symlinks of all kinds (FORMAT.md sections 7 and 9.4)."""
    volume = LowerVolume(tmp_path / "volume")
    with volume.unlock() as opened:
        root = opened.config.root_dir_id
        names = [opened.ctx.ring.metadata.names.seal(DirId(root), name) for name in (b"a", b"b" * 100, b"c" * 200)]
    good = st.sampled_from([bytes(name) for name in names])
    usable = damaged(good).map(lambda name: name.replace(b"/", b"_").replace(b"\0", b"-")[:255])
    usable = usable.filter(lambda name: name not in (b"", b".", b"..") and not name.startswith(b"cloakfs."))

    def attempt(name: bytes, target: bytes) -> None:
        path = os.path.join(os.fsencode(volume.path), name)
        if target:
            os.symlink(target, path)
        else:
            os.mkdir(path)
        try:
            run(volume.path, "--tree")
        finally:
            os.unlink(path) if target else os.rmdir(path)

    targets = st.just(b"") | damaged(st.just(b"A" * 100)).map(lambda raw: raw.replace(b"\0", b"_")[:4000])
    fuzz("inspect_lower: names and symlinks", attempt, usable, targets, examples=60, allowed=())
