"""Where the files of a run lie on a target: among the objects, or in the tree (FORMAT.md section 18).

Owns: the rule, also while the tree was on its way from one run to the next. Must not know: what is done with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from encfs.backup.copying.target import CopyTarget, Stored
from encfs.backup.manifest import Manifest
from encfs.format.backup import Item, ItemKind, Taken


def files_in(items: Iterable[Item]) -> list[Item]:
    """Files whose content is on the target."""
    return [item for item in items if item.kind is ItemKind.FILE and item.taken is not Taken.MISSING]


@dataclass(frozen=True, slots=True)
class Locator:
    """What lies where.

    Attributes:
        target: whose.
        objects: sizes of its objects, by digest.
        tree_run: the run that its tree is; empty if it is on its way, or that is not known.
        paths: where in the tree a file may be, by digest.
    """

    target: CopyTarget
    objects: Mapping[bytes, int]
    tree_run: str
    paths: Mapping[bytes, list[bytes]]

    @classmethod
    def on(cls, target: CopyTarget, trees: Sequence[Manifest]) -> Locator:
        """With the manifests of the runs that the tree may be, wholly or in part."""
        paths: dict[bytes, list[bytes]] = {}
        if target.tree:
            for manifest in trees:
                for item in files_in(manifest.items):
                    paths.setdefault(item.digest, []).append(item.path)
        said = target.tree_run() if target.tree else ""
        exact = len(trees) == 1 and trees[0].head.run == said
        return cls(target, target.objects(), said if exact else "", paths)

    def find(self, item: Item) -> Stored:
        """Where its content is, or would be. Raises: OSError, BackupError."""
        if self.objects.get(item.digest) == item.size:
            return Stored(item.digest, item.size)
        wanted = [Stored(item.digest, item.size, path) for path in self.paths.get(item.digest, ())]
        if not wanted:
            return Stored(item.digest, item.size)
        if self.tree_run:
            return wanted[0]
        for one in wanted:  # What lies there may be the file of another run.
            for _, digest in self.target.read_back([one], lambda _: None):
                if digest == item.digest:
                    return one
        return wanted[0]

    def copies(self, run: str, item: Item) -> list[Stored]:
        """All that has to be right for a file of a run: its own place in the tree, if the tree is that run."""
        if run != self.tree_run:
            return [self.find(item)]
        own = Stored(item.digest, item.size, item.path)
        return [own, Stored(item.digest, item.size)] if item.digest in self.objects else [own]
