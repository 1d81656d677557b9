"""Which paths and names a system allows: what Windows forbids, and how it is written there instead.

Owns: these rules, as pure text, so that the rules of each system hold on every other. Must not know: what is read or
written there.
"""

from __future__ import annotations

import ntpath
import re
from typing import Final

_LONG: Final = "\\\\?\\"
_LONG_SHARE: Final = "\\\\?\\UNC\\"

NAME_MAX: Final = 255
"""Of Windows in UTF-16 units, of macOS in characters, of Linux in bytes."""

_FORBIDDEN: Final = frozenset('<>:"/\\|?*\x7f') | frozenset(map(chr, range(32)))
_DEVICE: Final = re.compile(
    r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9\u00b9\u00b2\u00b3])\s*(\..*)?", re.IGNORECASE | re.DOTALL
)
_LOOKS_ESCAPED: Final = re.compile("%(?=[0-9A-Fa-f]{2})")


def long_path(path: str) -> str:
    r"""A path of Windows, absolute, in the form ``\\?\`` that allows more than 260 characters."""
    if path.startswith(_LONG):
        return path
    whole = ntpath.abspath(path)
    return _LONG_SHARE + whole[2:] if whole.startswith("\\\\") else _LONG + whole


def windows_name(name: bytes) -> str:
    r"""The name that an entry has on Windows: its own, with each character that is forbidden there as ``%XX``.

    These are the characters ``<>:"/\|?*``, control characters, bytes that are not UTF-8, a dot or a space at the end,
    and the first letter of a name that means a device (``CON``, ``nul.txt``). A ``%`` that could be taken for such an
    escape becomes ``%25``: so two names never become one, and each can be read back. What gets longer than 255
    characters by that is cut before its suffix.

    Args:
        name: one name, as it is in the volume.
    """
    text = _LOOKS_ESCAPED.sub("%25", name.decode("utf-8", "surrogateescape"))
    escaped = "".join(_escape(c) if c in _FORBIDDEN or "\udc80" <= c <= "\udcff" else c for c in text)
    if escaped.endswith((".", " ")):
        escaped = escaped[:-1] + _escape(escaped[-1])
    if _DEVICE.fullmatch(escaped):
        escaped = _escape(escaped[0]) + escaped[1:]
    return shortened(escaped)


def _escape(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogateescape"))


def shortened(text: str, mark: str = "") -> str:
    """A name with ``mark`` before its suffix, such as ``letter~2.txt``, cut so that it is not too long."""
    stem, suffix = ntpath.splitext(text)
    if _units(suffix) > NAME_MAX // 4:
        stem, suffix = text, ""
    while _units(stem + mark + suffix) > NAME_MAX:
        stem = stem[:-1]
    return stem + mark + suffix


def _units(text: str) -> int:
    """The length as Windows counts it."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
