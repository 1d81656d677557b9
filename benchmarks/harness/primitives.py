"""How much the primitives cost, and how much our way to them adds to the bare calls.

Owns: the measured calls: runs of cells, names, headers, key derivations. Must not know: files, what is shown.

"raw" is the call of the cryptography package (hmac for HKDF) over arguments that were made before the clock started;
"core" is what the filesystem calls. The overhead is their ratio: what nonces, AAD and Python add. What ``encfs.core``
remembers of the last hundreds of names and headers is passed by: each call has another one.
"""

from __future__ import annotations

import hmac
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import cycle
from typing import Any, TypeVar

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV

from benchmarks.harness.clock import Spread, alternate, ratio, significant
from benchmarks.harness.crypto_layers import new_header, new_ring
from benchmarks.harness.workloads.steps import WrongBytesError
from encfs.bench.primitives import CellRun
from encfs.core import frames
from encfs.core.names import NameCodec
from encfs.crypto import kdf
from encfs.crypto.suite import CLOAKFS_1
from encfs.format import limits
from encfs.format.geometry import Geometry
from encfs.units import DirId

_T = TypeVar("_T")
Work = dict[str, Callable[[], object]]
_NAME_SIZES = (12, 40, 150)
_WRONG = "what was sealed did not open to the same bytes"
_DIFFERENT = 4096  # more than encfs.core remembers of anything


@dataclass(frozen=True, slots=True)
class Pace:
    """How many samples of which length."""

    repetitions: int
    sample_seconds: float
    argon2_repetitions: int


def cells(cell_size: int, threads: int, pace: Pace) -> list[dict[str, Any]]:
    """Runs of cells: microseconds per cell and MB/s of plain bytes, all threads together."""
    mine, crew = threading.local(), [CellRun(cell_size) for _ in range(threads)]
    following = cycle(crew).__next__  # Threads are started all at once: no two of them get the same.

    def run() -> CellRun:
        try:
            return mine.run  # type: ignore[no-any-return]
        except AttributeError:
            mine.run = following()
            return mine.run  # type: ignore[no-any-return]

    count, plain = run().count, Geometry(cell_size).P
    found = []
    for what, work in (
        ("seal", {"raw": lambda: run().raw_seal(), "core": lambda: run().seal()}),
        ("open", {"raw": lambda: run().raw_open(), "core": lambda: run().open()}),
    ):
        samples = _measure(work, pace, scale=1e6 / count / threads, threads=threads)
        entry = _entry(f"cells/{what}", "us per cell", samples, cell_size=cell_size, threads=threads)
        entry["mb_per_s"] = {name: significant(plain / Spread.of(values).median) for name, values in samples.items()}
        found.append(entry)
    if not all(one.intact() for one in crew):
        raise WrongBytesError(_WRONG)
    return found


def names(pace: Pace) -> list[dict[str, Any]]:
    """AES-SIV and its coding into letters."""
    key, dir_id = os.urandom(64), DirId(os.urandom(16))
    siv = AESSIV(key)
    codec = NameCodec(CLOAKFS_1, key, os.urandom(32), os.urandom(32))
    found = []
    for size in _NAME_SIZES:
        plain = [f"{number:0{size}}".encode() for number in range(_DIFFERENT)]
        padded = [name + bytes(-size % limits.NAME_PAD) for name in plain]
        sealed, lower = [siv.encrypt(name, [dir_id]) for name in padded], [codec.seal(dir_id, name) for name in plain]
        if [codec.open(dir_id, name) for name in lower] != plain:
            raise WrongBytesError(_WRONG)
        work: dict[str, Work] = {
            "seal": {
                "raw": _each(padded, lambda name: siv.encrypt(name, [dir_id])),
                "core": _each(plain, lambda name: codec.seal(dir_id, name)),
            },
            "open": {
                "raw": _each(sealed, lambda name: siv.decrypt(name, [dir_id])),
                "core": _each(lower, lambda name: codec.open(dir_id, name)),
            },
        }
        for what, pair in work.items():
            found.append(_entry(f"name/{what}", "us", _measure(pair, pace), name_size=size))
    return found


def headers(pace: Pace) -> list[dict[str, Any]]:
    """A file header: key derivation, AEAD, fields. "raw" is the AEAD with a key that is ready."""
    ring = new_ring()
    made = [new_header(4096) for _ in range(_DIFFERENT)]
    sealed = [frames.seal_header(ring, one) for one in made]
    if [frames.open_header(ring, raw) for raw in sealed] != made:
        raise WrongBytesError(_WRONG)
    clear, body, nonce = made[0].frame.clear(), made[0].body(), os.urandom(12)
    aead = AESGCM(os.urandom(32))
    raw = aead.encrypt(nonce, body, clear)
    work: dict[str, Work] = {
        "seal": {
            "raw": lambda: aead.encrypt(nonce, body, clear),
            "core": _each(made, lambda one: frames.seal_header(ring, one)),
        },
        "open": {
            "raw": lambda: aead.decrypt(nonce, raw, clear),
            "core": _each(sealed, lambda one: frames.open_header(ring, one)),
        },
    }
    return [_entry(f"header/{what}", "us", _measure(pair, pace)) for what, pair in work.items()]


def derivations(pace: Pace) -> list[dict[str, Any]]:
    """HKDF-Expand to 32 bytes (raw: the one HMAC that it is), and Argon2id at the least that the format takes."""
    key, info = os.urandom(32), kdf.Label.HEADER + os.urandom(16)
    if kdf.expand(key, info) != hmac.digest(key, info + b"\1", "sha256"):
        raise WrongBytesError(_WRONG)
    pair: Work = {"raw": lambda: hmac.digest(key, info + b"\1", "sha256"), "core": lambda: kdf.expand(key, info)}
    found = [_entry("hkdf/expand", "us", _measure(pair, pace))]
    memory, passes, lanes = limits.KDF_MEMORY_KIB_MIN, limits.KDF_PASSES_MIN, limits.KDF_LANES_MIN
    salt = os.urandom(limits.KDF_SALT_SIZE)

    def argon2id() -> None:
        kdf.argon2id(b"a passphrase", salt=salt, memory_kib=memory, passes=passes, lanes=lanes)

    slow = Pace(pace.argon2_repetitions, 0.0, 0)
    samples = _measure({"core": argon2id}, slow, scale=1e3)
    found.append(_entry("argon2id/minimal", "ms", samples, memory_kib=memory, passes=passes, lanes=lanes))
    return found


def _each(values: Iterable[_T], function: Callable[[_T], object]) -> Callable[[], object]:
    """A call with the next value, for ever."""
    following = cycle(values).__next__
    return lambda: function(following())


def _measure(
    work: Mapping[str, Callable[[], object]], pace: Pace, *, scale: float = 1e6, threads: int = 1
) -> dict[str, list[float]]:
    """Samples in seconds per call times ``scale``."""
    samples = alternate(work, repetitions=pace.repetitions, sample_seconds=pace.sample_seconds, threads=threads)
    return {name: [value * scale for value in values] for name, values in samples.items()}


def _entry(what: str, unit: str, samples: dict[str, list[float]], **parameters: int) -> dict[str, Any]:
    entry: dict[str, Any] = {"what": what, **parameters, "unit": unit}
    entry["time"] = {name: Spread.of(values).as_json() for name, values in samples.items()}
    if "raw" in samples:
        entry["overhead"] = significant(ratio(samples["core"], samples["raw"]), 3)
    return entry
