"""The primitives of FORMAT.md section 1, and the only importer of ``cryptography`` and ``argon2``.

Owns: AEAD, key derivation, public keys, randomness, and the suites that bundle them. Must not
know: what is encrypted, or any shape of the format.
"""
