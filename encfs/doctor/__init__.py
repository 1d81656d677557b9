"""What is looked at by ``cloakfs doctor``: this host, and each volume on it.

Owns: facts and what follows from them (docs/doctor.md). Must not know: keys, the tree of a volume, the terminal.
"""
