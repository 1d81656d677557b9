"""The mount: FUSE requests become calls into the volume, and results become replies.

The only importer of pyfuse3 and trio; itself imported late, so that every command but ``mount`` works without FUSE.
"""
