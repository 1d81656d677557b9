"""What can be shown of volumes to somebody who was not there.

Owns: facts put together, what follows from them, and documents about them. Must not know: the terminal, FUSE.
"""
