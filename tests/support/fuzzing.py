"""Hypothesis strategies that damage good objects, and the frame that every fuzz test runs in.

Damage is done to bytes (bits, lengths, splices) and to structure (fields of JSON), so that what comes out is mostly
right: a parser is left early by noise, and late by something that is wrong in one place only.
"""

from __future__ import annotations

import json
import os
import re
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from encfs.errors import CloakfsError
from tests.support.evidence import record

# What a parser may take beside its input: JSON of small numbers takes some thirty times its text.
MEMORY_MAX = 96 << 20

_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF, 1 << 63, (1 << 64) - 1)
_LENGTHS = [number.to_bytes(size, "big") for size in (1, 2, 4, 8) for number in _NUMBERS if number < 1 << 8 * size]

ODD_TEXTS = (
    "", "\0", "\ud800", "\udcff", "é", "e\u0301", "\U0001f512", "\u202e", "/", "..", "=", "A" * 43, "\n",
    "-1", "1e3", "null", "A" * 100_000, "_" * 1624,
)  # fmt: skip
ODD_NUMBERS = (
    0, -1, 1, 2, 4095, 4096, 1 << 31, 1 << 32, 1 << 53, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 64, 10**400,
    -(1 << 63), 0.5, 1.0, 1e300, True, False,
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, good: st.SearchStrategy[bytes]) -> bytes:
    """Good bytes with one to four things done to them."""
    raw = bytearray(draw(good))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(raw) - 1)))
        size = draw(st.sampled_from((1, 2, 4, 8, 16, 64, 512, 4096)))
        match draw(st.sampled_from(("bit", "byte", "number", "cut", "splice", "drop", "insert", "zero", "append"))):
            case "bit" if raw:
                raw[at] ^= 1 << draw(st.integers(0, 7))
            case "byte" if raw:
                raw[at] = draw(st.integers(0, 255))
            case "number":
                piece = draw(st.sampled_from(_LENGTHS))
                raw[at : at + len(piece)] = piece
            case "cut":
                del raw[at:]
            case "splice":
                other = draw(good)
                raw[at : at + size] = other[at : at + size]
            case "drop":
                del raw[at : at + size]
            case "insert":
                raw[at:at] = draw(st.binary(max_size=64))
            case "zero":
                raw[at : at + size] = bytes(len(raw[at : at + size]))
            case _:
                raw += draw(st.binary(max_size=64)) + bytes(size)
    return bytes(raw)


@st.composite
def damaged_fixed(draw: st.DrawFn, good: st.SearchStrategy[bytes]) -> bytes:
    """Good bytes with some overwritten: the length stays."""
    raw = bytearray(draw(good))
    for _ in range(draw(st.integers(1, 4))):
        piece = draw(st.one_of(st.sampled_from(_LENGTHS), st.binary(min_size=1, max_size=300)))[: len(raw)]
        at = draw(st.integers(0, len(raw) - len(piece)))
        raw[at : at + len(piece)] = piece
    return bytes(raw)


def odd_values() -> st.SearchStrategy[Any]:
    """JSON values that are not what a field wants."""
    leaves = st.one_of(
        st.none(), st.sampled_from(ODD_NUMBERS), st.sampled_from(ODD_TEXTS), st.integers(), st.text(max_size=50)
    )
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    )


@st.composite
def damaged_json(draw: st.DrawFn, good: Any) -> Any:
    """A JSON value with one to three fields changed, dropped, doubled, renamed or added, anywhere in it."""
    value = json.loads(json.dumps(good))
    for _ in range(draw(st.integers(1, 3))):
        value = _damage_one(draw, value)
    return value


def _damage_one(draw: st.DrawFn, value: Any) -> Any:
    here = value
    while True:
        keys: list[Any] = sorted(here) if isinstance(here, dict) else list(range(len(here)))
        if not keys:
            return value
        key = draw(st.sampled_from(keys))
        child = here[key]
        if isinstance(child, dict | list) and child and draw(st.integers(0, 3)):
            here = child
            continue
        break
    match draw(st.sampled_from(("replace", "near", "drop", "rename", "add", "double"))):
        case "drop":
            del here[key]
        case "rename" if isinstance(here, dict):
            here[draw(st.sampled_from((key + "s", key.upper(), "", "\u00e9", "\ud800")))] = here.pop(key)
        case "add" if isinstance(here, dict):
            here[draw(st.text(max_size=8))] = draw(odd_values())
        case "double" if isinstance(here, list):
            here *= draw(st.sampled_from((2, 100)))
        case "near" if isinstance(child, int) and not isinstance(child, bool):
            here[key] = child + draw(st.sampled_from((-1, 1, 1 << 32, -child, -2 * child)))
        case "near" if isinstance(child, str) and child:
            at = draw(st.integers(0, len(child) - 1))
            here[key] = child[:at] + draw(st.sampled_from(("", "A", "_", "=", "+", "\u00e9"))) + child[at + 1 :]
        case _:
            here[key] = draw(odd_values())
    return value


DEEP = ("[" * 100_000, "[" * 100_000 + "]" * 100_000, '{"a":' * 50_000 + "1" + "}" * 50_000)
"""JSON that is nested deeper than any stack."""


def compact(value: Any) -> bytes:
    """The JSON text of a value as a writer of configs would spell it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


Check = Callable[..., object]


class Fuzz:
    """Runs checks over many examples. ``effort`` multiplies their number: 1 in every run, more in the slow one."""

    def __init__(self, effort: int) -> None:
        self.effort = effort

    def __call__(
        self,
        row: str,
        check: Check,
        *strategies: st.SearchStrategy[Any],
        examples: int = 100,
        explicit: Sequence[Any] = (),
        allowed: tuple[type[BaseException], ...] = (CloakfsError,),
    ) -> None:
        """``check`` returns, or raises one of ``allowed``, for every example; then ``row`` is put on record.

        ``explicit``: inputs that are always tried, among them those that once found a bug (tuples where there are
        several strategies).
        """
        tried = 0

        def each(arguments: Any) -> None:
            nonlocal tried
            tried += 1
            try:
                check(*arguments)
            except allowed:
                return

        each.__name__ = each.__qualname__ = re.sub(r"\W+", "_", row)
        test = given(st.tuples(*strategies))(each)
        for one in explicit:
            test = example(one if isinstance(one, tuple) else (one,))(test)
        count = examples * self.effort
        settings(
            max_examples=count,
            deadline=None,
            derandomize="CI" in os.environ,
            suppress_health_check=list(HealthCheck),
        )(test)()
        record("fuzz", row, cases=tried, note="parsed, or refused with our error")


def peak_memory(action: Callable[[], object]) -> int:
    """The most bytes that Python had allocated at once while ``action`` ran, more than before."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
