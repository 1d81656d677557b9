"""Looking through all memory of another process for the secrets of a volume, which are worked out here, in this one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from encfs.core.config import unlock
from encfs.core.keys import KeyRing
from encfs.core.slots import _derive, _erk_info, _esk_aad
from encfs.core.sources import KnownSecret
from encfs.crypto.kdf import Label
from encfs.crypto.kem import SEED_SIZE
from encfs.crypto.suite import Suite
from encfs.format import limits
from encfs.format.config import Config
from encfs.format.slots import KdfAlg, Slot, slot_binding
from encfs.volume import Volume

_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r\S+ \S+ \S+ \S+ *(.*)")
_OF_THE_KERNEL = frozenset({"[vvar]", "[vvar_vclock]", "[vsyscall]"})


@dataclass(frozen=True, slots=True)
class Secrets:
    """By name. ``opening``: what is needed once, to get at the keys. ``working``: what reads and writes files."""

    opening: dict[str, bytes]
    working: dict[str, bytes]

    @property
    def all(self) -> dict[str, bytes]:
        """Both."""
        return self.opening | self.working


def secrets_of(path: Path, source: KnownSecret, files: Sequence[bytes]) -> Secrets:
    """What a process may have in memory that opens the volume with ``source`` and uses ``files``.

    A key that no label leads to in this tree is simply never found, so all labels are tried under all keys.
    """
    with Volume.unlock(os.fsencode(path), source, read_only=True) as volume:
        assert volume.slot is not None
        suite = volume.ctx.suite
        opening = _of_slot(suite, volume.config, volume.slot, source)
        opening |= _below(suite, "root key", opening["root key"])
        working = _of_ring(volume.ctx.ring)
        for name in files:
            node = volume.resolve(name)
            header = volume.tree.open_file(node, writable=False).header
            working[f"content key of {name!r}"] = header.content_key
            working[f"header key of {name!r}"] = volume.ctx.ring.active.header_key(header.fid)
            volume.tree.close_file(node)
    return Secrets(opening, working)


def keys_of_config(raw: bytes, source: KnownSecret) -> dict[str, bytes]:
    """Root key, metadata key, epoch keys and what is derived from them, by name, where only the config is at hand."""
    unlocked = unlock([raw], source)
    root_key = unlocked.root_key
    return {"root key": root_key} | _below(unlocked.ring.suite, "root key", root_key) | _of_ring(unlocked.ring)


def _of_ring(ring: KeyRing) -> dict[str, bytes]:
    metadata = ring.metadata._key
    found = {"metadata key": metadata} | _below(ring.suite, "metadata key", metadata)
    for number, epoch in ring._epochs.items():
        found[f"epoch key {number}"] = epoch.key
        found |= _below(ring.suite, f"epoch key {number}", epoch.key)
    return found


def _of_slot(suite: Suite, config: Config, slot: Slot, source: KnownSecret) -> dict[str, bytes]:
    secret, volume_id = source.secret_for(slot), config.volume_id
    slow = b""
    if slot.kdf.alg is KdfAlg.ARGON2ID:
        kdf = slot.kdf
        slow = suite.argon2id(
            secret.passphrase, salt=kdf.salt, memory_kib=kdf.memory_kib, passes=kdf.passes, lanes=kdf.lanes
        )
    known = replace(suite, argon2id=lambda *_, **__: slow)  # It is not done twice.
    kek, _ = _derive(known, volume_id, slot.id, slot.kdf, secret)
    binding = slot_binding(slot.kdf, slot.kind, slot.pub, slot.data)
    opened = suite.unseal(kek, _esk_aad(suite, volume_id, slot.id, binding), slot.esk)
    private, authenticator = opened[: -limits.AUTHENTICATOR_SIZE], opened[-limits.AUTHENTICATOR_SIZE :]
    found = {
        "passphrase": secret.passphrase,
        "key": secret.key,
        "what Argon2id gives": slow,
        "KEK": kek,
        "private key, ML-KEM": private[:SEED_SIZE],
        "private key, X25519": private[SEED_SIZE:],
        "authenticator": authenticator,
        "root key": suite.kem_unseal(private, _erk_info(volume_id, slot.id, config.rk_id, authenticator), slot.erk),
    }
    return {name: value for name, value in found.items() if value}


def _below(suite: Suite, name: str, key: bytes) -> dict[str, bytes]:
    """What the labels make of a key. Of the 64 bytes for names, each half is a key."""
    found = {f"{name}, {label.name}": suite.expand(key, label) for label in Label}
    found[f"{name}, second half of NAME"] = suite.expand(key, Label.NAME, 64)[32:]
    found[f"{name}, first half of NAME"] = suite.expand(key, Label.NAME, 64)[:32]
    return found


def found_in(pid: int, secrets: Mapping[str, bytes]) -> list[str]:
    """The names of those that lie anywhere in the memory of a process, sorted. Needs root where it is protected."""
    found = set()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            match = _MAPPING.match(line)
            if match is None or match[3] in _OF_THE_KERNEL:
                continue
            begin, end = int(match[1], 16), int(match[2], 16)
            image = _read(memory.fileno(), begin, end - begin)
            found |= {name for name, secret in secrets.items() if secret in image}
    return sorted(found)


def _read(memory: int, address: int, size: int) -> bytes:
    try:
        return os.pread(memory, size, address)
    except OSError:
        return b""  # A mapping of a device or behind the end of a file, which nobody can read.


def status_field(pid: int, name: str) -> int:
    """A number of ``/proc/PID/status``."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    raise AssertionError(f"the kernel does not tell {name}")


def can_be_locked(*prefix: str) -> bool:
    """Whether a process that protects itself is locked then, and still gets 128 MiB; it is run behind ``prefix``."""
    code = "from encfs.memory import process; process.protect(); bytearray(1 << 27); print(process.is_locked())"
    done = subprocess.run([*prefix, sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {"True\n": True, "False\n": False}[done.stdout]
