"""The packages that sheets and shares are made with: an optional part of cloakfs.

Owns: whether they are there, and which. Must not know: what is done with them.
"""

from __future__ import annotations

import zlib

from encfs.errors import CloakfsError
from encfs.sheets import fonts


def check() -> None:
    """Whether sheets and shares can be made here, asked before a key is.

    Raises:
        CloakfsError: a package is not installed.
    """
    try:
        import fpdf  # noqa: F401, PLC0415 - these are asked for, not used
        import pymupdf_fonts  # type: ignore[import-untyped]  # noqa: F401, PLC0415
        import segno  # noqa: F401, PLC0415
        import shamir_mnemonic  # type: ignore[import-untyped]  # noqa: F401, PLC0415
    except ImportError as exc:
        hint = "Install what is missing with: pip install 'cloakfs[sheets]'"
        raise CloakfsError(f"sheets and shares need {exc.name}, which is not installed", hint=hint) from None


def versions() -> dict[str, str]:
    """Of what the bytes of a page depend on; nothing if that is not installed."""
    try:
        import fontTools  # type: ignore[import-untyped]  # noqa: PLC0415 - as above
        import fpdf  # noqa: PLC0415

        letters = fonts.checksum()
    except ImportError:
        return {}
    return {
        "fpdf2": fpdf.FPDF_VERSION,
        "fonttools": fontTools.version,
        "fonts": letters,
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
    }


def check_words() -> None:
    """Whether shares can be read here, which takes less than making them.

    Raises:
        CloakfsError: a package is not installed.
    """
    try:
        import shamir_mnemonic  # noqa: F401, PLC0415 - as above
    except ImportError as exc:
        hint = "Install it with: pip install shamir-mnemonic"
        raise CloakfsError(f"shares need {exc.name}, which is not installed", hint=hint) from None
