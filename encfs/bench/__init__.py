"""Measuring cloakfs on a user's own machine and medium, for ``cloakfs bench`` and ``benchmarks/``.

Owns: what is measured and how it is judged and drawn. Must not know: the terminal, options, FUSE.
"""
