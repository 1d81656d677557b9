"""The encrypted filesystem as a library, without FUSE.

    from encfs.volume import Volume

    Volume.create(b"/data/vault", secret=b"correct horse battery staple")
    with Volume.unlock(b"/data/vault", b"correct horse battery staple") as volume:
        volume.write_file(b"letters/a.txt", b"Dear colleague, ...")
        volume.list_directory(b"letters")

Owns everything above single cells and below FUSE: the config on disk, sessions and locks, the inode
tree, open files, attributes, crash recovery, ``verify``. Must not know: FUSE, trio, terminals.
"""

from encfs.volume.volume import Volume, read_config

__all__ = ["Volume", "read_config"]
