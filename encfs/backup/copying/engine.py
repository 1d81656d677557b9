"""Backups of a sealed tree on one target (FORMAT.md section 18, "Target of `copy`").

Owns: the order of a run: looking, the guard, copying, reading back, the manifest, the tree. Must not know: what kind of
target it is, how a volume is unlocked, the terminal.

No key is needed to run, verify or prune. A run is complete with its manifest, and that is only written when all that
the run brought to the target was read back from there and is right. Whatever is broken off before leaves the runs that
were complete as they are, and what it brought there already is used by the next one.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from encfs.audit.home import host_signer
from encfs.backup.copying import cache, troubles
from encfs.backup.copying.cache import Cache
from encfs.backup.copying.comparing import compare
from encfs.backup.copying.locating import files_in
from encfs.backup.copying.reading import ENGINE, RunReader
from encfs.backup.copying.scanning import SourceTree, opened
from encfs.backup.copying.sealed_run import Unlock
from encfs.backup.copying.taking import Taking, hashed
from encfs.backup.copying.target import CopyTarget, Stored
from encfs.backup.copying.whole import Whole
from encfs.backup.engine import Change, Guard, Made, Steps
from encfs.backup.manifest import Manifest, RunHead, open_manifest, seal_manifest
from encfs.crypto import rng
from encfs.errors import BackupError, ConfigError, DataError, NewerFormatError
from encfs.format.backup import Item
from encfs.format.limits import CHECKPOINTS_NAME
from encfs.volume.skeleton import read_config


@dataclass(slots=True)
class _Doing:
    """What one run works with."""

    source: SourceTree
    cache: Cache
    newest: Manifest | None
    config: bytes | None
    steps: Steps


class CopyEngine(RunReader):
    """Satisfies :class:`encfs.backup.engine.Engine`.

    Args:
        plan_id, volume_id: hexadecimal.
        volume: the directory of the volume; None: for reading only, as from a bare target.
        target: where it goes. It is there, and of this backup.
        label: of the medium, or empty.
        flush: brings to the disk what a mount of the volume still has, and settles its headers; None: it is not
            mounted.
        config: gives the config that the backup has instead of the volume's: one with slots of its own.
        unlock: opens a run, for :meth:`open`.

    Attributes:
        reasons: why something is not whole in the run that was made last, by its sealed path.
    """

    def __init__(
        self,
        plan_id: str,
        volume_id: str,
        volume: bytes | None,
        target: CopyTarget,
        *,
        label: str,
        flush: Callable[[], None] | None = None,
        config: Callable[[], bytes] | None = None,
        unlock: Unlock | None = None,
    ) -> None:
        super().__init__(plan_id, volume_id, target, label=label, remembers=volume is not None, unlock=unlock)
        self._volume = volume
        self._flush = flush
        self._config = config
        self.reasons: dict[bytes, str] = {}

    # -- a run ---------------------------------------------------------------------------------------------------------

    def run(self, guard: Guard, steps: Steps) -> Made:
        if self._volume is None:
            raise AssertionError("internal error: a backup that is only read is to be made")
        self.reasons = {}
        config = self._config() if self._config is not None else None
        with troubles.of_volume():
            self._check_volume(self._volume)
            remembered = cache.load(self._plan_id, self._volume_id)
        with troubles.of_target(), self._target.held(writing=True), _open_source(self._volume) as source:
            doing = _Doing(source, remembered, self._newest(), config, steps)
            return self._run(doing, guard)

    def _check_volume(self, volume: bytes) -> None:
        try:
            found = read_config(volume).volume_id.hex()
        except ConfigError as exc:
            raise troubles.no_volume() from exc
        if found != self._volume_id:
            raise troubles.no_volume()

    def _run(self, doing: _Doing, guard: Guard) -> Made:
        began = time.time_ns() // 1_000_000
        whole, change = self._look(doing)
        guard(change)
        self._target.clear()
        doubted = doing.cache.damaged.get(self._label, [])
        self._repair(doing.newest, doubted)
        stored = self._stored(doing.newest, doubted)
        taking = Taking(
            source=doing.source,
            target=self._target,
            flush=self._flushed,
            config=doing.config,
            stored=stored,
            steps=doing.steps,
        )
        with _remembering(doing.cache, whole, taking):
            items = whole.take(taking)
        self.reasons = whole.reasons
        verified = self._read_back(items, doing, stored)
        manifest = self._write_manifest(items, doing, began)
        doing.cache.keep(whole.remembered(taking), others=False)
        doing.cache.save()
        self._follow(manifest, doing.newest, doubted, doing.steps)
        if doubted:
            doing.cache.damaged[self._label] = [one for one in doubted if _lasts(one, taking.written)]
            doing.cache.save()
        return Made(
            manifest=manifest,
            change=change,
            new_files=len(taking.written),
            new_bytes=sum(taking.written.values()),
            verified=verified,
        )

    def _flushed(self) -> None:
        if self._flush is not None:
            with troubles.of_volume():
                self._flush()

    def _look(self, doing: _Doing) -> tuple[Whole, Change]:
        """What is there now, and how it stands against the run before."""
        doing.steps.phase("looking", 0)
        self._flushed()
        whole = Whole(doing.source, doing.cache, doing.newest, doing.config)
        work = whole.begin()
        doing.steps.phase("looking", sum(one.size for one in work))
        whole.know(hashed(doing.source, work, doing.steps))
        return whole, compare(doing.newest, whole.seen, whole.digests(), doing.cache)

    def _repair(self, newest: Manifest | None, doubted: Iterable[Stored]) -> None:
        """The tree becomes what the newest run is, if an earlier run was broken off there."""
        if not self._target.tree or newest is None or self._target.tree_run() == newest.head.run:
            return
        self._target.follow(newest, self._tree_before(newest), _paths(doubted), lambda _: None)

    def _tree_before(self, newest: Manifest) -> Manifest | None:
        """The run that the tree is, or was on its way from; None: that cannot be known."""
        if self._target.runs()[-1] != newest.head.run:
            return None  # A later manifest is damaged; the tree may have been on its way there.
        return self._readable(self._target.tree_run() or newest.head.previous)

    def _stored(self, newest: Manifest | None, doubted: Iterable[Stored]) -> dict[bytes, int]:
        """Sizes of what is on the target and can be relied on, by digest."""
        bad = {one.digest for one in doubted}
        found = self._target.objects()
        if self._target.tree and newest is not None and self._target.tree_run() == newest.head.run:
            there = self._target.tree_files()
            for item in files_in(newest.items):
                if there.get(item.path) == item.size and found.get(item.digest) != item.size:
                    found[item.digest] = item.size
        return {digest: size for digest, size in found.items() if digest not in bad}

    def _read_back(self, items: Sequence[Item], doing: _Doing, stored: Mapping[bytes, int]) -> int:
        """Read what is new in this run from the medium.

        Returns:
            Bytes that are right.

        Raises:
            BackupError: some are not.
        """
        before = {item.digest for item in files_in(doing.newest.items)} if doing.newest is not None else set()
        there = self._target.objects()
        wanted = {
            item.digest: Stored(item.digest, item.size)
            for item in files_in(items)
            if item.digest in there and (item.digest not in before or item.digest not in stored)
        }
        doing.steps.phase("reading back", sum(one.size for one in wanted.values()))
        bad = [
            one.digest
            for one, digest in self._target.read_back(wanted.values(), doing.steps.done)
            if digest != one.digest
        ]
        if bad:
            self._target.remove(bad)
            raise BackupError(
                "what was written to the target is not what came back from it",
                hint="Its medium is failing, or its cable or adapter. Take another one. The run does not count.",
            )
        return sum(one.size for one in wanted.values())

    def _write_manifest(self, items: Sequence[Item], doing: _Doing, began: int) -> Manifest:
        head = RunHead(
            plan=self._plan_id,
            run=_run_id(began, self._target.runs()),
            volume=self._volume_id,
            engine=ENGINE,
            label=self._label,
            snapshot="",
            checkpoint=_checkpoint(items),
            mounted=self._flush is not None,
            previous=doing.newest.head.run if doing.newest is not None else "",
        )
        sealed = seal_manifest(
            Manifest(head, tuple(items)), host_signer(), made_at=int(time.time()), host=socket.gethostname()
        )
        self._target.write_run(head.run, sealed)
        if self._target.read_run(head.run) != sealed:
            self._target.remove_run(head.run)
            raise BackupError(
                "what was written to the target is not what came back from it",
                hint="Its medium is failing, or its cable or adapter. Take another one. The run does not count.",
            )
        return open_manifest(sealed)

    def _follow(self, now: Manifest, newest: Manifest | None, doubted: Iterable[Stored], steps: Steps) -> None:
        if not self._target.tree:
            return
        steps.phase("clearing", 0)
        before = newest if newest is not None and self._target.tree_run() == newest.head.run else None
        self._target.follow(now, before, _paths(doubted), lambda _: None)

    # -- taking runs away ----------------------------------------------------------------------------------------------

    def prune(self, keep: Sequence[str], steps: Steps) -> int:
        """See the protocol. The newest run always stays.

        Raises:
            BackupError: the manifest of a run that stays is damaged: then nobody knows which files it has. Or one is of
                a newer cloakfs.
        """
        with troubles.of_target(), self._target.held(writing=True):
            runs, newest = self._target.runs(), self._newest()
            if newest is None:
                return 0
            steps.phase("clearing", 0)
            self._repair(newest, ())
            staying = [run for run in runs if run in keep or run >= newest.head.run]
            kept = [self._readable(run) for run in staying]
            named = {item.digest for manifest in kept if manifest is not None for item in files_in(manifest.items)}
            if None in kept:
                raise BackupError(
                    "the manifest of a run that is to stay is damaged, so nothing was taken away",
                    hint="See which one, and what is lost: cloakfs backup verify",
                )
            going = [run for run in runs if run not in staying]
            self._check_known(going)
            for run in going:
                self._target.remove_run(run)
            return self._target.remove([digest for digest in self._target.objects() if digest not in named])

    def _check_known(self, runs: Iterable[str]) -> None:
        """What this version cannot read is not its to take away."""
        for run in runs:
            try:
                self.manifest(run)
            except NewerFormatError as exc:
                raise BackupError(
                    "a run on the target was made by a newer cloakfs, so nothing was taken away",
                    hint="Update cloakfs on this computer.",
                ) from exc
            except DataError:
                continue  # Nobody can restore it, and a later run is whole.


@contextmanager
def _remembering(known: Cache, whole: Whole, taking: Taking) -> Iterator[None]:
    """What became an object is not read again by the next run, however this one ends."""

    def remember() -> None:
        with suppress(OSError, RuntimeError):  # It would only save time.
            known.keep(whole.remembered(taking), others=True)
            known.save()

    taking.remember = remember
    try:
        yield
    except BaseException:
        remember()
        raise


def _run_id(now_ms: int, runs: Sequence[str]) -> str:
    """Greater than those that are there, whatever the clock says."""
    last = int(runs[-1][:16], 16) if runs else 0
    return f"{max(now_ms, last + 1):016x}{rng.random_bytes(8).hex()}"


def _checkpoint(items: Iterable[Item]) -> str:
    prefix = CHECKPOINTS_NAME + b"/"
    names = [item.path.removeprefix(prefix) for item in files_in(items) if item.path.startswith(prefix)]
    return max(names, default=b"").decode()


def _paths(doubted: Iterable[Stored]) -> set[bytes]:
    return {one.path for one in doubted if one.path is not None}


def _lasts(one: Stored, written: Mapping[bytes, int]) -> bool:
    """Whether what was found damaged is that still after a run: what lies in the tree was read again."""
    return one.path is None and one.digest not in written


@contextmanager
def _open_source(volume: bytes) -> Iterator[SourceTree]:
    try:
        manager = opened(volume)
        source = manager.__enter__()
    except OSError as exc:
        raise troubles.no_volume() from exc
    try:
        yield source
    finally:
        manager.__exit__(None, None, None)
