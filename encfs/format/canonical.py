"""JSON with exactly one spelling, and the fields of its objects, each taken with its type.

Owns: that spelling (FORMAT.md section 3). Must not know: what the fields mean.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from encfs.errors import FormatError
from encfs.format import base64url

_T = TypeVar("_T")


def canonical_json(value: object) -> bytes:
    """The one spelling of a JSON value: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


class Fields:
    """One JSON object, each of whose fields is taken with its type. Raises ``FormatError``."""

    __slots__ = ("_taken", "_values")

    def __init__(self, value: object) -> None:
        if not isinstance(value, dict):
            raise FormatError("a part of the config is not an object")
        self._values: Mapping[str, object] = value
        self._taken: set[str] = set()

    def _take(self, name: str, kind: type[_T]) -> _T:
        self._taken.add(name)
        value = self._values.get(name)
        # True is an int to Python, but not to the format.
        if not isinstance(value, kind) or isinstance(value, bool):
            raise FormatError("a field of the config is missing or has the wrong type")
        return value

    def has(self, name: str) -> bool:
        return name in self._values

    def names(self) -> Sequence[str]:
        """Of all fields: for objects that may have some which this version does not know."""
        return tuple(self._values)

    def integer(self, name: str) -> int:
        return self._take(name, int)

    def boolean(self, name: str) -> bool:
        self._taken.add(name)
        value = self._values.get(name)
        if not isinstance(value, bool):
            raise FormatError("a field of the config is missing or has the wrong type")
        return value

    def integer_or_null(self, name: str) -> int | None:
        if self.has(name) and self._values[name] is None:
            self._taken.add(name)
            return None
        return self._take(name, int)

    def text(self, name: str) -> str:
        return self._take(name, str)

    def text_or_integer(self, name: str) -> str | int:
        return self._take(name, int) if isinstance(self._values.get(name), int) else self._take(name, str)

    def base64(self, name: str) -> bytes:
        try:
            return base64url.decode(self.text(name).encode("ascii"))
        except UnicodeEncodeError as exc:
            raise FormatError("a field of the config is not base64url") from exc

    def list(self, name: str) -> Sequence[object]:
        return self._take(name, list)

    def object(self, name: str) -> Fields:
        return Fields(self._take(name, dict))

    def mapping(self, name: str) -> Mapping[str, Any]:
        """An object whose fields are for others to take."""
        return self._take(name, dict)

    def finish(self) -> None:
        if len(self._taken) != len(self._values):
            raise FormatError("the config has a field that version 1 does not have")


def b64(data: bytes) -> str:
    """Bytes as base64url text."""
    return base64url.encode(data).decode("ascii")


def is_text(text: str) -> bool:
    """Whether it can be encoded: a lone surrogate, which JSON can spell, cannot and would fail when shown."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
