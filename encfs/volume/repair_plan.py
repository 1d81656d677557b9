"""From findings to a plan, without changing anything.

Owns: which object a finding is about; the decision for directories, symlinks and the rest (docs/findings.md, "Repair").
Must not know: how a step is made safe, how the person is asked.
"""

from __future__ import annotations

import stat as stat_module
from collections.abc import Iterable

from encfs.core import symlinks
from encfs.errors import DataError
from encfs.format.directory import NO_PARENT, DirectoryRecord
from encfs.format.limits import FRAME_SIZE
from encfs.units import DirId
from encfs.volume.findings import Code, Finding
from encfs.volume.node import Node
from encfs.volume.repair_actions import NOT_OURS, LeaveAloneError, Object, Plan, Reason
from encfs.volume.repair_files import FilePlans
from encfs.volume.repair_index import Place
from encfs.volume.repair_steps import Item, KeepSymlink, PutDirectoryAside, PutSymlinkAside, RebuildRecord

_RECORD = {Code.DIRECTORY_DAMAGED, Code.DIRECTORY_SIZE, Code.DIRECTORY_MOVED}
_NAMED_BY_PARENT = {Code.FOREIGN, Code.ENTRY_DAMAGED}
_NO_ID = DirId(b"")


class Planner(FilePlans):
    """Makes one plan for a volume that is unlocked for writing."""

    def plan(self, findings: Iterable[Finding]) -> Plan:
        """Decide on every object that something was found about.

        Raises:
            OSError: the store failed.
        """
        self._links: list[tuple[Object, symlinks.OpenedTarget]] = []
        grouped: dict[bytes, list[Finding]] = {}
        for finding in findings:
            if finding.code not in (Code.TEMPORARY, Code.KEPT_DAMAGED):
                grouped.setdefault(finding.lower_path, []).append(finding)
        for lower_path, found in grouped.items():
            try:
                self._decide(lower_path, found)
            except LeaveAloneError as exc:
                self._leave(found, str(exc))
            except FileNotFoundError:
                self._leave(found, "")
            except OSError as exc:
                self._leave(found, f"it cannot be looked at: {exc.strerror}")
        self._plan_links()
        moving = self._plan_moves()
        self._actions.sort(key=lambda action: action.step.order)
        return Plan(self._actions, self._left, moving)

    def _decide(self, lower_path: bytes, found: list[Finding]) -> None:
        if lower_path == b".":
            self._root(found)
            return
        if found[0].path.startswith(self._lost.path + b"/"):
            raise LeaveAloneError("this repair has put it there; the next one can look at it")
        place = self._index.at(lower_path)
        if place is None:
            raise LeaveAloneError("the directory that it is in cannot be read yet")
        if place.lower.startswith(b"cloakfs."):
            raise LeaveAloneError(NOT_OURS)
        stat = self._ctx.store.stat(self._tree.dirfd(place.parent), place.lower)
        what = Object(place, stat, found, found[0].path, self._index.plain_name(place))
        if what.codes & _NAMED_BY_PARENT:
            what.path = what.path + b"/" + place.lower if what.path else bytes(place.lower)
        if stat_module.S_ISDIR(stat.st_mode):
            self._directory(what)
        elif stat_module.S_ISREG(stat.st_mode):
            self._file(what)
        elif stat_module.S_ISLNK(stat.st_mode):
            self._symlink(what)
        else:
            self._other(what)

    # -- directories -----------------------------------------------------------------------------------------

    def _root(self, found: list[Finding]) -> None:
        root = self._index.root
        what = Object(Place(root, root.lower_name), self._tree.stat(root), found, b"", b"root")
        if what.codes & _RECORD:
            self._rebuild(what, root, self._record(root.dir_id or _NO_ID, NO_PARENT, b""))
        elif Code.ATTRIBUTES_DAMAGED in what.codes:
            self._attributes(what, None)
        else:
            self._nothing_to_do()

    def _record(self, dir_id: DirId, parent: DirId, name: bytes) -> DirectoryRecord:
        return DirectoryRecord(
            epoch=self._ctx.ring.active.epoch,
            dir_id=dir_id,
            parent=parent,
            generation=0,
            session=self._ctx.session,
            name=name,
        )

    def _rebuild(self, what: Object, node: Node, record: DirectoryRecord) -> None:
        name = self._claim(what, b".record")
        text = "its record is rebuilt from what is in it; what is left of the old one is kept in "
        self._act(what, RebuildRecord(node, what.path, record, name), text + self._where(name), size=FRAME_SIZE)

    def _directory(self, what: Object) -> None:
        node = self._index.directory(what.findings[0].lower_path)
        if node is None or node.parent is None or node.dir_id is None:
            raise LeaveAloneError("it cannot be read")
        item = Item(what.place, node)
        record = self._index.records.get(node)
        if record is None:
            self._without_record(what, item, node)
        elif not self._index.is_home(node):
            self._moved_directory(what, item, node, record)
        elif Code.ATTRIBUTES_DAMAGED in what.codes:
            self._attributes(what, what.place)
        else:
            self._nothing_to_do()

    def _moved_directory(self, what: Object, item: Item, node: Node, record: DirectoryRecord) -> None:
        children = self._index.told_id(node)
        if what.name is not None and children is not None and children != record.dir_id:
            # Not the directory was moved but its record: what is in it speaks of another one.
            self._index.rename(node, children)
            self._rebuild(what, node, self._record(children, what.place.parent.dir_id or _NO_ID, what.name))
            return
        home = self._index.home(record.parent, record.name)
        what.name = record.name

        def aside(why: Reason) -> None:
            self._directory_aside(what, item, record, why)

        self._misplaced(what, item, home, record.name, bytes(record.dir_id), aside)

    def _without_record(self, what: Object, item: Item, node: Node) -> None:
        dir_id = node.dir_id or _NO_ID
        if what.name is not None:
            self._rebuild(what, node, self._record(dir_id, what.place.parent.dir_id or _NO_ID, what.name))
            return
        if Code.FOREIGN in what.codes and not self._index.ask(node).votes:
            raise LeaveAloneError(NOT_OURS)
        what.name = b"directory-" + dir_id[:4].hex().encode()
        record = self._record(dir_id, NO_PARENT, b"")
        self._directory_aside(what, item, record, "because its name is lost", loss="its name")

    def _directory_aside(self, what: Object, item: Item, record: DirectoryRecord, why: str, *, loss: str = "") -> None:
        name = self._claim(what)
        record_name = self._claim(what, b".record") if loss else None
        self._vacated.add(what.place.key)
        step = PutDirectoryAside(item, record, name, record_name)
        self._act(what, step, f"moved to {self._where(name)}, with all that is in it, {why}", loss=loss)

    # -- symlinks, pipes -------------------------------------------------------------------------------------

    def _symlink(self, what: Object) -> None:
        text = self._ctx.store.readlink(self._tree.dirfd(what.place.parent), what.place.lower)
        try:
            opened = symlinks.open_target(self._ctx.ring, text)
        except DataError:
            if what.name is None:
                raise LeaveAloneError(NOT_OURS) from None
            name = self._claim(what, b".symlink")
            self._vacated.add(what.place.key)
            told = f"taken away; what is left of it is kept in {self._where(name)}"
            self._act(what, KeepSymlink(what.place, name), told, loss="where it led to", size=len(text))
            return
        if what.codes & {Code.SYMLINK_MOVED, Code.FOREIGN}:
            self._links.append((what, opened))
        else:
            self._nothing_to_do()

    def _plan_links(self) -> None:
        """A symlink has only a tag of its place: it is looked for among the places that are in question."""
        tags = {self._tag(what.place, what.name): what for what, _ in self._links if what.name is not None}
        for what, opened in self._links:
            there = tags.get(opened.place)
            home, name = (None, what.known_name) if there is None else (there.place, there.known_name)
            by_name = None if what.name is not None else self._index.home_by_name(what.place.lower)
            if by_name is not None and (opened.multi or self._tag(*by_name) == opened.place):
                home, name = by_name
            self._misplaced_symlink(what, opened.target, home, name)

    def _misplaced_symlink(self, what: Object, target: bytes, home: Place | None, name: bytes) -> None:
        item = Item(what.place)

        def aside(why: Reason) -> None:
            kept = self._lost.claim(what.name or name)
            self._vacated.add(what.place.key)
            self._act(what, PutSymlinkAside(item, target, kept), f"moved to {self._where(kept)}, {why}")

        self._misplaced(what, item, home, name, b"", aside)

    def _tag(self, place: Place, name: bytes) -> bytes:
        return self._names.place(place.parent.dir_id or _NO_ID, name)

    def _other(self, what: Object) -> None:
        """A pipe, socket or device holds nothing but its name, which opens in one directory only."""
        found = self._index.home_by_name(what.place.lower) if Code.FOREIGN in what.codes else None
        if found is None:
            self._nothing_to_do()

        def stay(why: Reason) -> None:
            self._leave(what.findings, str(why))

        self._misplaced(what, Item(what.place), *found, b"", stay)
