"""What every part of an open volume shares: store, keys, geometry, session, events.

Owns: nothing but these references and the buffers of the calling thread. Must not know: what uses them.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from encfs.core.cells import Scratch
from encfs.core.keys import KeyRing
from encfs.crypto.suite import Suite
from encfs.errors import ReadOnlyError
from encfs.format.geometry import Geometry
from encfs.locking import IntegrityEvent
from encfs.store.base import CachedRead, Store
from encfs.units import FileId, SessionId
from encfs.volume.freshness import Freshness

if TYPE_CHECKING:
    from encfs.volume.node import Node

logger = logging.getLogger("cloakfs.volume")


def _nothing_to_tell() -> None:
    """Of a volume whose tree is not there yet."""


# Of a badly damaged volume nobody needs every event twice: the log has them all.
_EVENTS_KEPT = 64


@dataclass(slots=True)
class Context:
    """The open volume as its parts see it.

    ``tolerant`` is true while a crashed session is not yet RECOVERED (FORMAT.md section 11): then mismatches that the
    write protocol can leave are taken as a crash, not as tampering. ``crashed``: those sessions.
    ``kernel_keeps_times``: a mount with a writeback cache decides on the modification times of open files. ``gone``:
    the medium went away, and the keys with it. ``freshness``: what the host remembers of the volume's files, if it
    does; ``tell_deletions`` brings it up to date. ``on_moved``: who is told of everything that gets another place,
    while they walk over all of it.
    """

    store: Store
    ring: KeyRing
    geometry: Geometry
    session: SessionId
    read_only: bool = False
    tolerant: bool = False
    crashed: frozenset[SessionId] = frozenset()
    kernel_keeps_times: bool = False
    events: int = 0
    latest_events: deque[IntegrityEvent] = field(default_factory=lambda: deque(maxlen=_EVENTS_KEPT))
    gone: bool = False
    freshness: Freshness | None = None
    on_moved: set[Callable[[Node], None]] = field(default_factory=set)
    tell_deletions: Callable[[], None] = _nothing_to_tell
    _local: threading.local = field(default_factory=threading.local)

    @property
    def suite(self) -> Suite:
        return self.ring.suite

    @property
    def tells_cached(self) -> bool:
        """Whether the store can say that a read would wait for the medium; else every read goes to a thread."""
        return self.store.cached_read is not CachedRead.NEVER

    @property
    def never_waits(self) -> bool:
        """Whether the store is memory: no call waits for a medium."""
        return self.store.cached_read is CachedRead.ALWAYS

    def scratch(self) -> Scratch:
        """The run buffers of the calling thread; their content lasts until the next call into the volume."""
        try:
            return self._local.scratch  # type: ignore[no-any-return]
        except AttributeError:
            self._local.scratch = Scratch(self.geometry)
            return self._local.scratch  # type: ignore[no-any-return]

    def moved(self, node: Node) -> None:
        """An object has another place, or one more."""
        for tell in self.on_moved:
            tell(node)

    def was_removed(self, fid: FileId) -> bool:
        """Whether this host knows that a file was deleted on purpose."""
        self.tell_deletions()
        return self.freshness is not None and self.freshness.was_removed(fid)

    def forget(self) -> None:
        """Drop the keys, and the buffers of all threads."""
        self.ring.forget()
        self._local = threading.local()

    def require_writable(self) -> None:
        """Raises: ReadOnlyError."""
        if self.read_only:
            raise ReadOnlyError("the volume is open read-only")

    def integrity_event(self, what: str, inode: int, detail: str) -> None:
        """Count and log a finding. Lower inode numbers and cell numbers only, never a plain name."""
        self.events += 1
        self.latest_events.append(IntegrityEvent(what, inode, detail))
        logger.error("integrity: %s inode=%d %s", what, inode, detail)
