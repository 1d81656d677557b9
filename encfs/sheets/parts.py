"""The packages that sheets and shares are made with: an optional part of cloakfs.

Owns: whether they are there. Must not know: what is done with them.
"""

from __future__ import annotations

from encfs.errors import CloakfsError


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
