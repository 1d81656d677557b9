"""What the memory of this process, and of the machine, may give away of keys and passphrases.

Owns: core dumps, locked memory, what objects leave behind, swap. Must not know: which bytes are secret.
"""
