"""The portable reader: ``cloakfs-reader.pyz``, which reads a volume where cloakfs cannot be installed.

Owns: its commands, on Linux, macOS and Windows, with a plain Python and the packages that do the cryptography. Must not
know: FUSE, click and rich, whatever writes to a volume. ``tools/build-reader`` packs it.
"""
