"""Bytes to frozen dataclasses and back, exactly as FORMAT.md says.

Owns: the shape of everything on the backing store. Must not know: keys, ciphers, files, the
clock. A parser here returns a value or raises ``FormatError`` (config: also ``NewerFormatError``;
geometry: ``SizeError``), never anything else, whatever the bytes are.
"""
