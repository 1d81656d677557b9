"""How much the primitives cost, and how much our way to them adds to the bare calls.

    python -m benchmarks.primitives [--quick] [--repetitions N] [--output FILE]

"raw" is the call of the cryptography package (hmac for HKDF) over arguments that were made before the clock started;
"core" is what the filesystem calls. The overhead is their ratio: what nonces, AAD and Python add. README.md
says how samples are taken.
"""

from __future__ import annotations

import hmac
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import starmap
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV

from benchmarks.harness import report
from benchmarks.harness.clock import Spread, alternate, ratio, significant
from encfs.core import frames
from encfs.core.cells import RUN_BYTES, CellCodec, Scratch
from encfs.core.keys import KeyRing
from encfs.core.names import NameCodec
from encfs.crypto import kdf
from encfs.crypto.suite import CLOAKFS_1
from encfs.format import limits
from encfs.format.frame import FrameKind
from encfs.format.geometry import Geometry
from encfs.format.header import FileHeader, HeaderFlag
from encfs.units import DirId, FileId, SessionId, VolumeId

Work = dict[str, Callable[[], object]]
_NAME_SIZES = (12, 40, 150)


@dataclass(frozen=True, slots=True)
class Pace:
    """How many samples of which length."""

    repetitions: int
    sample_seconds: float
    argon2_repetitions: int


def header(cell_size: int) -> FileHeader:
    """The header of a new file."""
    return FileHeader(
        kind=FrameKind.FILE,
        log2_cell=cell_size.bit_length() - 1,
        epoch=1,
        fid=FileId(os.urandom(16)),
        size=0,
        synced_size=0,
        generation=1,
        session=SessionId(os.urandom(16)),
        flags=HeaderFlag(0),
        content_key=os.urandom(32),
        cells_sealed=0,
        parent=DirId(os.urandom(16)),
        attribute_id=os.urandom(16),
        name=b"quarterly report.odt",
    )


class Run:
    """One run of full cells, as a 1 MiB request makes it, with the buffers of one thread."""

    def __init__(self, cell_size: int) -> None:
        geometry = Geometry(cell_size)
        self.count = RUN_BYTES // geometry.P
        self._scratch = Scratch(geometry)
        made = header(cell_size)
        self._codec = CellCodec(CLOAKFS_1, geometry, made)
        self._last = geometry.P
        self._data = memoryview(os.urandom(self.count * geometry.P))
        self.seal()
        aead = AESGCM(made.content_key)
        self._encrypt_into, self._decrypt_into = aead.encrypt_into, aead.decrypt_into
        scratch, aads = self._scratch, [b"C" + (index + 1).to_bytes(8) + bytes(4) for index in range(self.count)]
        nonces = [os.urandom(12) for _ in aads]
        lower = memoryview(bytearray(len(scratch.lower)))
        starts = range(0, self.count * cell_size, cell_size)
        sealed = [lower[start + 16 : start + cell_size] for start in starts]
        parts = [self._data[start : start + geometry.P] for start in range(0, len(self._data), geometry.P)]
        self._to_seal = list(zip(nonces, parts, aads, sealed, strict=True))
        self._to_open = list(zip(nonces, sealed, aads, scratch.plains, strict=False))
        self.seal_raw()

    def seal(self) -> None:
        """What a write does."""
        self._codec.seal_full(self._scratch, 0, 1, self._data)

    def open(self) -> None:
        """What a read does."""
        self._codec.open_run(self._scratch, 1, self.count, self._last, sparse=False)

    def seal_raw(self) -> None:
        """The AEAD alone."""
        deque(starmap(self._encrypt_into, self._to_seal), maxlen=0)

    def open_raw(self) -> None:
        """The AEAD alone."""
        deque(starmap(self._decrypt_into, self._to_open), maxlen=0)


def cells(cell_size: int, threads: int, pace: Pace) -> list[dict[str, Any]]:
    """Runs of cells: microseconds per cell and MB/s of plain bytes, all threads together."""
    mine = threading.local()

    def run() -> Run:
        try:
            return mine.run  # type: ignore[no-any-return]
        except AttributeError:
            mine.run = Run(cell_size)
            return mine.run  # type: ignore[no-any-return]

    count, plain = run().count, Geometry(cell_size).P
    found = []
    for what, work in (
        ("seal", {"raw": lambda: run().seal_raw(), "core": lambda: run().seal()}),
        ("open", {"raw": lambda: run().open_raw(), "core": lambda: run().open()}),
    ):
        samples = _measure(work, pace, scale=1e6 / count / threads, threads=threads)
        entry = _entry(f"cells/{what}", "us per cell", samples, cell_size=cell_size, threads=threads)
        entry["mb_per_s"] = {name: significant(plain / Spread.of(values).median) for name, values in samples.items()}
        found.append(entry)
    return found


def names(pace: Pace) -> list[dict[str, Any]]:
    """AES-SIV and its coding into letters."""
    key, dir_id = os.urandom(64), DirId(os.urandom(16))
    siv = AESSIV(key)
    codec = NameCodec(CLOAKFS_1, key, os.urandom(32), os.urandom(32))
    found = []
    for size in _NAME_SIZES:
        name = b"n" * size
        padded = name + bytes(-size % limits.NAME_PAD)
        sealed, lower = siv.encrypt(padded, [dir_id]), codec.seal(dir_id, name)
        work: dict[str, Work] = {
            "seal": {"raw": _call(siv.encrypt, padded, [dir_id]), "core": _call(codec.seal, dir_id, name)},
            "open": {"raw": _call(siv.decrypt, sealed, [dir_id]), "core": _call(codec.open, dir_id, lower)},
        }
        for what, pair in work.items():
            found.append(_entry(f"name/{what}", "us", _measure(pair, pace), name_size=size))
    return found


def headers(pace: Pace) -> list[dict[str, Any]]:
    """A file header: key derivation, AEAD, fields. "raw" is the AEAD with a key that is ready."""
    ring = KeyRing(suite=CLOAKFS_1, volume_id=VolumeId(os.urandom(16)), epochs={1: os.urandom(32)}, active=1)
    made = header(4096)
    sealed = frames.seal_header(ring, made)
    clear, body, nonce = made.frame.clear(), made.body(), os.urandom(12)
    aead = AESGCM(os.urandom(32))
    raw = aead.encrypt(nonce, body, clear)
    work: dict[str, Work] = {
        "seal": {"raw": _call(aead.encrypt, nonce, body, clear), "core": _call(frames.seal_header, ring, made)},
        "open": {"raw": _call(aead.decrypt, nonce, raw, clear), "core": _call(frames.open_header, ring, sealed)},
    }
    return [_entry(f"header/{what}", "us", _measure(pair, pace)) for what, pair in work.items()]


def derivations(pace: Pace) -> list[dict[str, Any]]:
    """HKDF-Expand to 32 bytes (raw: the one HMAC that it is), and Argon2id at the least that the format takes."""
    key, info = os.urandom(32), kdf.Label.HEADER + os.urandom(16)
    pair: Work = {"raw": _call(hmac.digest, key, info + b"\1", "sha256"), "core": _call(kdf.expand, key, info)}
    found = [_entry("hkdf/expand", "us", _measure(pair, pace))]
    memory, passes, lanes = limits.KDF_MEMORY_KIB_MIN, limits.KDF_PASSES_MIN, limits.KDF_LANES_MIN
    salt = os.urandom(limits.KDF_SALT_SIZE)

    def argon2id() -> None:
        kdf.argon2id(b"a passphrase", salt=salt, memory_kib=memory, passes=passes, lanes=lanes)

    slow = Pace(pace.argon2_repetitions, 0.0, 0)
    samples = _measure({"core": argon2id}, slow, scale=1e3)
    found.append(_entry("argon2id/minimal", "ms", samples, memory_kib=memory, passes=passes, lanes=lanes))
    return found


def _call(function: Callable[..., object], *arguments: object) -> Callable[[], object]:
    return lambda: function(*arguments)


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


def show(results: list[dict[str, Any]]) -> None:
    """The table."""
    rows = []
    for entry in results:
        parameters = [f"{entry['cell_size'] // 1024}K x{entry['threads']}"] if "cell_size" in entry else []
        parameters += [f"{entry['name_size']} bytes"] if "name_size" in entry else []
        rate = entry.get("mb_per_s", {}).get("core")
        rows.append(
            (
                " ".join([entry["what"], *parameters]),
                entry["unit"],
                report.show(entry["time"]["raw"]["median"]) if "raw" in entry["time"] else "",
                report.show(entry["time"]["core"]["median"]),
                f"{entry['overhead']:.2f}" if "overhead" in entry else "",
                report.show(rate) if rate else "",
            )
        )
    report.table(("", "unit", "raw", "core", "core/raw", "MB/s core"), rows)


def main() -> None:
    """The program."""
    parser = report.arguments(__doc__ or "")
    options = parser.parse_args()
    pace = Pace(1, 0.002, 1) if options.quick else Pace(options.repetitions or 41, 0.02, 7)
    results: list[dict[str, Any]] = []
    for cell_size in limits.CELL_SIZES:
        for threads in (1, 2):
            results += cells(cell_size, threads, pace)
    results += [*names(pace), *headers(pace), *derivations(pace)]
    show(results)
    settings = {
        "quick": options.quick,
        "repetitions": pace.repetitions,
        "sample_seconds": pace.sample_seconds,
        "run_bytes": RUN_BYTES,
    }
    report.write(report.document("primitives", settings=settings, results=results), options)


if __name__ == "__main__":
    main()
