"""What repair will do, as a person agrees to it, and what it leaves alone.

Owns: actions and plans; objects that are not at their place, and which of them can go back. Must not know: what is
wrong with an object (``repair_files.py``, ``repair_plan.py``), how a step is made safe (``repair_steps.py``).
"""

from __future__ import annotations

import os
import stat as stat_module
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NoReturn

from encfs.core import frames
from encfs.errors import DataError
from encfs.format.header import FileHeader
from encfs.format.limits import FRAME_SIZE, LINK_SUFFIX
from encfs.units import DirId, LowerName
from encfs.volume.findings import Code, Finding
from encfs.volume.lost_found import LostFound
from encfs.volume.repair_index import Index, Place
from encfs.volume.repair_steps import DropAttributes, Item, MoveHome, Step
from encfs.volume.volume import Volume

FindHeader = Callable[[Volume, DirId, bytes], FileHeader | None]
NOT_OURS = "it is not cloakfs's; look at it and move it out of the volume directory"
_REASONS = {
    Code.FOREIGN: NOT_OURS,
    Code.LOWER_IO: "the disk fails there; copy the volume to another disk first",
    Code.FILE_ROLLBACK: "only a newer backup has what was written since; if it is as you want it: `cloakfs accept`",
}


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that repair will do.

    Attributes:
        code: of the finding that it answers.
        path, lower_path: of the object.
        found: what is wrong.
        text: what will be done, in one sentence.
        loss: what is lost for good; empty: nothing.
        bytes: how much is copied for it.
    """

    code: Code
    path: bytes = field(repr=False)
    lower_path: bytes
    found: str
    text: str = field(repr=False)
    loss: str
    bytes: int
    step: Step = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Left:
    """A finding that repair leaves alone, and why."""

    finding: Finding
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be done, in this order, and what will not. ``moving`` are objects that go back to their places."""

    actions: list[Action]
    left: list[Left]
    moving: dict[tuple[int, bytes], Item] = field(default_factory=dict, repr=False)


@dataclass(slots=True)
class Object:
    """An object with all that was found about it. ``name`` is its plain name, as far as it is known."""

    place: Place
    stat: os.stat_result
    findings: list[Finding]
    path: bytes = b""
    name: bytes | None = None

    @property
    def codes(self) -> set[Code]:
        return {finding.code for finding in self.findings}

    @property
    def known_name(self) -> bytes:
        """What a kept part of it is called."""
        return self.name or bytes(self.place.lower)


class LeaveAloneError(Exception):
    """Nothing can be done about an object; the text says why."""


class Reason(StrEnum):
    """Why something that is not at its place cannot go back there."""

    UNKNOWN = "because the directory where it belongs is not known"
    TAKEN = "because its place is taken"
    COPY = "because it is a copy of what is at its place"


Aside = Callable[[Reason], None]
"""Plans to put a misplaced object into lost+found."""


@dataclass(slots=True)
class _Mover:
    """An object that is not at its place; ``identity`` is the id that its record gives it."""

    object: Object
    home: Place
    name: bytes
    item: Item
    identity: bytes
    aside: Aside


class Planning:
    """The part of :class:`~encfs.volume.repair_plan.Planner` that collects. Nothing is written to the volume."""

    def __init__(self, volume: Volume, lost: LostFound, find_header: FindHeader) -> None:
        self._volume = volume
        self._ctx = volume.ctx
        self._tree = volume.tree
        self._names = volume.ctx.ring.metadata.names
        self._lost = lost
        self._find_header = find_header
        self._index = Index(volume)
        self._actions: list[Action] = []
        self._left: list[Left] = []
        self._movers: list[_Mover] = []
        self._vacated: set[tuple[int, bytes]] = set()

    def _leave(self, found: list[Finding], reason: str) -> None:
        self._left += [Left(finding, _REASONS.get(finding.code, reason or finding.code.advice)) for finding in found]

    @staticmethod
    def _nothing_to_do() -> NoReturn:
        raise LeaveAloneError

    def _act(self, what: Object, step: Step, text: str, *, loss: str = "", size: int = 0) -> None:
        first = what.findings[0]
        found = "; ".join(dict.fromkeys(finding.detail for finding in what.findings))
        self._actions.append(Action(first.code, what.path, first.lower_path, found, text, loss, size, step))

    def _claim(self, what: Object, suffix: bytes = b"") -> bytes:
        return self._lost.claim(what.known_name, suffix)

    def _where(self, name: bytes) -> str:
        return os.fsdecode(self._lost.path + b"/" + name)

    def _attributes(self, what: Object, place: Place | None) -> None:
        name = self._claim(what, b".attributes")
        text = f"its attributes and ACLs are taken off and stay in {self._where(name)}"
        self._act(what, DropAttributes(place, name), text, loss="its attributes and ACLs")

    # -- what is not at its place ------------------------------------------------------------------------------

    def _misplaced(
        self, what: Object, item: Item, home: Place | None, name: bytes, identity: bytes, aside: Aside
    ) -> None:
        """Decide later, when all are known, whether it can go home."""
        if home is None:
            aside(Reason.UNKNOWN)
            return
        self._movers.append(_Mover(what, home, name, item, identity, aside))

    def _plan_moves(self) -> dict[tuple[int, bytes], Item]:
        """Send home what can go; those that leave a place make it free for others."""
        leaving = {mover.object.place.key for mover in self._movers} | self._vacated
        taken: dict[tuple[int, bytes], bytes] = {}
        going: dict[tuple[int, bytes], Item] = {}
        for mover in self._movers:
            try:
                identity = taken.get(mover.home.key) or self._identity_at(mover.home, leaving)
            except LeaveAloneError as exc:
                self._leave(mover.object.findings, str(exc))
                continue
            if identity is not None:
                mover.aside(Reason.COPY if mover.identity and identity == mover.identity else Reason.TAKEN)
                continue
            taken[mover.home.key] = mover.identity or b"?"
            going[mover.object.place.key] = mover.item
            directory = self._index.plain_path(mover.home.parent)
            path = directory + b"/" + mover.name if directory else mover.name
            step = MoveHome(mover.item, mover.home, path, self._lost.claim(b"parked"))
            self._act(mover.object, step, f"moved back to {os.fsdecode(path)}")
        return going

    def _identity_at(self, place: Place, leaving: set[tuple[int, bytes]]) -> bytes | None:
        """The id of what stands at a place and stays there, ``?`` for what has none; None: the place is or gets free.

        Raises:
            LeaveAloneError: it is itself not at its place, or damaged, and nobody asked to repair it.
        """
        base = LowerName(place.lower.removesuffix(LINK_SUFFIX))
        for lower in (base, LowerName(base + LINK_SUFFIX)):
            here = Place(place.parent, lower)
            if here.key in leaving:
                continue
            try:
                stat = self._ctx.store.stat(self._tree.dirfd(here.parent), lower)
            except FileNotFoundError:
                continue
            identity = self._identity(here, stat)
            if identity is None:
                reason = "its place is taken by something damaged that is not part of this repair: repair all of it"
                raise LeaveAloneError(reason)
            return identity
        return None

    def _identity(self, place: Place, stat: os.stat_result) -> bytes | None:
        if stat_module.S_ISDIR(stat.st_mode):
            node = self._index.directory(self._index.lower_path(place))
            return bytes(node.dir_id) if node is not None and node.dir_id and self._index.is_home(node) else None
        if not stat_module.S_ISREG(stat.st_mode):
            return b"?"
        fd = self._ctx.store.open(self._tree.dirfd(place.parent), place.lower, os.O_RDONLY)
        try:
            header = frames.open_header(self._ctx.ring, self._ctx.store.pread(fd, FRAME_SIZE, 0))
        except DataError:
            return None
        finally:
            self._ctx.store.close(fd)
        here = self._names.seal(header.parent, header.name)
        at_home = header.parent == place.parent.dir_id and here == place.lower.removesuffix(LINK_SUFFIX)
        return bytes(header.fid) if at_home or stat.st_nlink > 1 else None
