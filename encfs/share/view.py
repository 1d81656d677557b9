"""What is mounted at the mount point of a share, as whoever asks the kernel and the daemon tells it.

Owns: the words for it. Must not know: how that is found out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class MountState(Enum):
    """What is at the mount point."""

    BARE = "bare"
    FOREIGN = "foreign"
    DEAD = "dead"
    LIVE = "live"


@dataclass(frozen=True, slots=True)
class MountView:
    """A mount point.

    Attributes:
        state: nothing, something else than a mount of the share's volume, a mount whose daemon is gone, or a good one.
        allow_other: whether others than who mounted it may use it.
    """

    state: MountState
    allow_other: bool = False
