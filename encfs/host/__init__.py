"""What this host remembers of volumes it has seen (FORMAT.md section 13).

Owns: files below the state directory. Must not know: the volume's tree, FUSE, terminals.
"""
