"""Sheets of paper for keys: what is printed, signed and kept in a safe.

Owns: the pages, the fonts and QR codes on them, and shares of a key (SLIP-39); the only importer of fpdf, segno,
pymupdf_fonts and shamir_mnemonic, each late. Must not know: volumes, the terminal, where a sheet is written to.

These packages are an optional part (``pip install 'cloakfs[sheets]'``) and are imported when they are needed.
"""
