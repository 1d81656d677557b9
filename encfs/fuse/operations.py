"""All request handlers of a mount, put together, with the capabilities asked of the kernel."""

from __future__ import annotations

from encfs.fuse.ops_file import FileOperations
from encfs.fuse.ops_metadata import MetadataOperations
from encfs.fuse.ops_tree import TreeOperations
from encfs.fuse.state import MountState


class Operations(FileOperations, TreeOperations, MetadataOperations):
    """What pyfuse3 calls."""

    # No look-up by number: a lower inode cannot be found from its number alone.
    supports_dot_lookup = False
    enable_writeback_cache = True
    enable_acl = True

    def __init__(self, state: MountState) -> None:
        super().__init__()
        self.state = state
        self.enable_writeback_cache = not state.volume.ctx.read_only
        state.volume.ctx.kernel_keeps_times = self.enable_writeback_cache
