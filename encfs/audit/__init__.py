"""The audit log of this host (FORMAT.md section 16).

Owns: its files, who writes when, clocks. Must not know: what happened, the terminal.
"""
