"""One run over all peers of a backing store: every step on every peer before the next step, in quiet moments.

Owns: the order of things, caches, the clock, checks, CPU time and memory of the daemons. Must not know: how a peer is
mounted, what a step does, how figures are told.
"""

from __future__ import annotations

import errno
import os
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import groupby
from pathlib import Path

from benchmarks.harness import peers
from benchmarks.harness.clock import in_turn
from benchmarks.harness.interrupts import checkpoint
from benchmarks.harness.peers import Peer, Site
from benchmarks.harness.quiet import Others
from benchmarks.harness.workloads.steps import FailedError, RefusedError, Round, Step, WrongBytesError, nothing
from encfs.bench.caches import forget

# With these a filesystem says that it does not do such a thing; anything else is a failure.
_REFUSALS = frozenset({errno.EINVAL, errno.ENODEV, errno.ENOSYS, errno.EOPNOTSUPP})


class Samples:
    """What was measured of one step: a figure per repetition and peer.

    Attributes:
        seconds, cpu: by peer; ``cpu`` is the daemon's.
        others: the share of the machine that others used while all peers took the step.
        refused: by peer, why it has no figures.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.seconds: dict[str, list[float]] = {name: [] for name in names}
        self.cpu: dict[str, list[float]] = {name: [] for name in names}
        self.others: list[float] = []
        self.refused: dict[str, str] = {}

    def refuse(self, peer: str, why: str) -> None:
        """The peer has no figures in this step."""
        self.refused[peer] = why
        self.seconds.pop(peer, None)
        self.cpu.pop(peer, None)


class Course:
    """The steps of all repetitions on the peers of one backing store.

    Attributes:
        samples: by name of the step.
        peaks: by group and peer, the most memory that a daemon had in a repetition, in bytes.
    """

    def __init__(self, sites: Sequence[Site], steps: Sequence[Step]) -> None:
        self._sites = sites
        self._steps = steps
        self.samples = {step.name: Samples([site.peer for site in sites]) for step in steps}
        self.peaks: dict[str, dict[str, int]] = {step.group: {} for step in steps}

    def repeat(self, rnd: Round) -> None:
        """One repetition.

        Raises:
            WrongBytesError: a peer did not give back what was written.
            FailedError: a peer failed at a step in another way than by refusing it.
        """
        due = [step for step in self._steps if not step.at_most or rnd.number < step.at_most]
        for group, steps in groupby(due, key=lambda step: step.group):
            for site in self._sites:
                site.reset_peak()
            for step in steps:
                self._take_on_all(step, rnd)
            for site in self._sites:
                if site.pid is not None:
                    known = self.peaks[group].get(site.peer, 0)
                    self.peaks[group][site.peer] = max(known, site.peak_bytes())
                _empty(site.path)

    def _take_on_all(self, step: Step, rnd: Round) -> None:
        """Caches are dropped once for all peers: what one does changes nothing of what the kernel keeps of another."""
        checkpoint()
        for site in self._order(step, rnd):
            with _named(step, site):
                step.prepare(site.path, rnd)
        if step.cold:
            forget()
        others = Others(self._daemons())
        for site in self._order(step, rnd):
            with _named(step, site):
                self._take(step, site, rnd)
        self.samples[step.name].others.append(others.share(self._daemons()))
        if step.read_back is not nothing:
            forget()
        for site in self._order(step, rnd):
            with _named(step, site):
                step.read_back(site.path, rnd)

    def _order(self, step: Step, rnd: Round) -> list[Site]:
        """The peers that take the step, in the order of this repetition."""
        refused = self.samples[step.name].refused
        return [site for site in in_turn(self._sites, rnd.number) if site.peer not in refused]

    def _daemons(self) -> float:
        return sum(site.cpu_seconds() for site in self._sites)

    def _take(self, step: Step, site: Site, rnd: Round) -> None:
        checkpoint()
        if step.warm:
            step.run(site.path, rnd)
        os.sync()
        peers.settle(self._sites)
        samples = self.samples[step.name]
        cpu, started = site.cpu_seconds(), time.perf_counter()
        try:
            elapsed = step.run(site.path, rnd)
        except RefusedError as exc:
            samples.refuse(site.peer, str(exc))
            return
        except OSError as exc:
            if exc.errno not in _REFUSALS:
                raise
            samples.refuse(site.peer, errno.errorcode[exc.errno])
            return
        if elapsed is None:
            elapsed = time.perf_counter() - started
        peers.settle([site])
        samples.seconds[site.peer].append(elapsed)
        samples.cpu[site.peer].append(site.cpu_seconds() - cpu)
        step.check(site.path, rnd)


@contextmanager
def _named(step: Step, site: Site) -> Iterator[None]:
    """What goes wrong inside says in which step and on which peer."""
    try:
        yield
    except WrongBytesError as exc:
        raise WrongBytesError(f"{step.title} on {site.peer}: {exc}") from exc
    except (FailedError, OSError) as exc:
        raise FailedError(f"{step.title} on {site.peer}: {exc}") from exc


def mount_times(base: Path, candidates: Sequence[Peer], repetitions: int) -> Samples:
    """How long each takes from the command until the mount answers; those that derive a costly key are left out.

    Raises:
        PeerError: one does not mount.
    """
    chosen = [peer for peer in candidates if peer.start is not None and peer.cheap_kdf]
    samples = Samples([peer.name for peer in chosen])
    with ExitStack() as stack:
        homes = {peer.name: stack.enter_context(peer.home(base)) for peer in chosen}
        for number in range(repetitions):
            shares = []
            for peer in in_turn(chosen, number):
                checkpoint()
                os.sync()
                others = Others(0.0)
                with peer.serving(homes[peer.name]) as site:
                    shares.append(others.share(site.cpu_seconds()))
                samples.seconds[peer.name].append(site.mount_seconds)
            samples.others.append(statistics.mean(shares))
    return samples


def idle_cpu(sites: Sequence[Site], seconds: float) -> dict[str, float]:
    """CPU seconds that each daemon uses in ``seconds`` of nothing to do."""
    served = [site for site in sites if site.pid is not None]
    os.sync()
    peers.settle(served)
    before = {site.peer: site.cpu_seconds() for site in served}
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        checkpoint()
        time.sleep(min(left, 1.0))
    return {site.peer: site.cpu_seconds() - before[site.peer] for site in served}


def _empty(folder: Path) -> None:
    """Remove everything in a folder."""
    found = [str(folder / name) for name in os.listdir(folder)]
    if found:
        subprocess.run(["rm", "-rf", *found], check=True)
