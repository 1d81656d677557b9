"""Crypto and format together, without I/O: bytes in, bytes out.

Owns: what is sealed under which key. Must not know: files, paths, the clock, the log. Everything
here can be tested with bytes alone.
"""
