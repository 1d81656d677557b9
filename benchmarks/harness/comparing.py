"""Two results of one benchmark program: what became slower or faster beyond the noise.

Owns: what of a document is compared, what noise is. Must not know: files, how anything is shown, how it was measured.

**What is compared.** Of ``benchmarks.peers`` the ratios against a filesystem that was measured in the same run, because
that one had the same minute on the same machine: the first of ``REFERENCES`` that a step of both results has. Of all
other documents every spread (``median``, ``low``, ``high``) anywhere in the results. It is called after the texts and
whole numbers of the entries around it (``what``, sizes, counts) and the keys that lead to it; numbers with a fraction
are measured and name nothing. What is not above zero has no ratio and is left out.

**Noise.** A figure has changed when the ranges of its samples in the two results do not overlap, the medians are
further apart than half of either range is wide, and by at least 5 %.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.harness.clock import Spread, significant
from benchmarks.harness.filesystems import BARE, ENCRYPTED, OURS, PASSTHROUGH

REFERENCES = (BARE, "gocryptfs", PASSTHROUGH, *(name for name in ENCRYPTED if name != "gocryptfs"))
AT_LEAST = 0.05
_PEERS = "peers"
_SPREAD = {"median", "low", "high"}
# Settings that change how often something is measured, and not what.
_HOW_OFTEN = {"repetitions", "samples_of_calls", "sample_seconds", "idle_seconds"}
_NO_NAMES = {"title", "unit", "rate_unit", "best", "filesystem", "repetitions_counted"}
_NO_KEYS = {"results", "time", "seconds"}
_DERIVED = {"over_below"}
_CHANGES = {"cloakfs", "commit"}


class CannotCompareError(Exception):
    """The two results do not say the same thing; the text says why."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured thing of one result.

    Attributes:
        more_is_better: of a rate or ratio.
        added: of a layer that lies over another one, what it adds to that.
    """

    spread: Spread
    more_is_better: bool
    added: Spread | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that both results have.

    Attributes:
        times: the cost of the new one in units of the old one: above 1 it is slower.
        beyond_noise: whether that says anything.
        where: of a layer, whether it is slower itself or what lies below is; else empty.
    """

    name: str
    old: Spread
    new: Spread
    times: float
    beyond_noise: bool
    where: str = ""

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        found = {"name": self.name, "old": self.old.as_json(), "new": self.new.as_json()}
        return {**found, "times": significant(self.times, 3), **({"where": self.where} if self.where else {})}


@dataclass(frozen=True, slots=True)
class Comparison:
    """All of it.

    Attributes:
        compared: what kind of figures.
        warnings: what else differs.
        only_old, only_new: names of what the other one lacks.
    """

    compared: str
    warnings: list[str]
    changes: list[Change]
    only_old: list[str] = field(default_factory=list)
    only_new: list[str] = field(default_factory=list)

    @property
    def slower(self) -> list[Change]:
        """The worst first."""
        found = [change for change in self.changes if change.beyond_noise and change.times > 1]
        return sorted(found, key=lambda change: -change.times)

    @property
    def faster(self) -> list[Change]:
        """The best first."""
        found = [change for change in self.changes if change.beyond_noise and change.times < 1]
        return sorted(found, key=lambda change: change.times)


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> Comparison:
    """What changed from ``old`` to ``new``.

    Raises:
        CannotCompareError: they are of different kinds or settings, smoke runs, or have nothing in common; or one is no
            result.
    """
    try:
        _require_alike(old, new)
        warnings = list(_differences(old, new))
        if old["benchmark"] == _PEERS:
            ours, theirs, compared = *_against_references(old, new), "ratios against a filesystem of the same run"
        else:
            ours, theirs, compared = _figures(old), _figures(new), "absolute figures; the machine has to be the same"
    except (KeyError, TypeError, AttributeError, ValueError) as exc:
        raise CannotCompareError(f"this is not a whole result of a benchmark: {exc!r}") from exc
    changes = [_change(name, figure, theirs[name]) for name, figure in ours.items() if name in theirs]
    if not changes:
        raise CannotCompareError("the two results have no figure in common")
    only_old = [name for name in ours if name not in theirs]
    only_new = [name for name in theirs if name not in ours]
    return Comparison(compared, warnings, changes, only_old, only_new)


# -- whether they can be compared ----------------------------------------------------------------------


def _require_alike(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    for what in ("benchmark", "schema"):
        if old[what] != new[what]:
            raise CannotCompareError(f"they are of different kinds: {what} is {old[what]!r} and {new[what]!r}")
    if old["settings"].get("quick") or new["settings"].get("quick"):
        raise CannotCompareError("the figures of a smoke run (--quick) mean nothing")
    differ = list(_unlike(old["settings"], new["settings"], leaving_out=_HOW_OFTEN))
    if differ:
        raise CannotCompareError(f"they were measured with different settings: {'; '.join(differ)}")


def _unlike(old: Mapping[str, Any], new: Mapping[str, Any], *, leaving_out: set[str]) -> Iterator[str]:
    for key in dict.fromkeys((*old, *new)):
        if key not in leaving_out and old.get(key) != new.get(key):
            yield f"{key} is {old.get(key)!r} and {new.get(key)!r}"


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """What may be the reason for a change besides cloakfs."""
    for text in _unlike(old["machine"], new["machine"], leaving_out={"load_average"}):
        yield f"another machine: {text}"
    for text in _unlike(old["versions"], new["versions"], leaving_out=_CHANGES):
        yield f"another version: {text}"
    peers = [
        {name: peer["version"] for name, peer in one.get("peers", {}).items() if name not in {OURS, PASSTHROUGH}}
        for one in (old, new)
    ]
    both = [{name: version for name, version in one.items() if name in peers[0] and name in peers[1]} for one in peers]
    for text in _unlike(*both, leaving_out=set()):
        yield f"another version of a peer: {text}"
    for which, one in (("first", old), ("second", new)):
        if one["settings"].get("repetitions", 3) < 3:
            yield f"the {which} result has fewer than three repetitions: its ranges say little about the noise"


# -- what they say -------------------------------------------------------------------------------------


def _figures(document: Mapping[str, Any]) -> dict[str, Figure]:
    found: dict[str, Figure] = {}
    for name, figure in _walk(document["results"], (), more_is_better=False):
        unique, number = name, 1
        while unique in found:
            number += 1
            unique = f"{name} #{number}"
        found[unique] = figure
    return found


def _walk(value: object, names: tuple[str, ...], *, more_is_better: bool) -> Iterator[tuple[str, Figure]]:
    if isinstance(value, list):
        for inner in value:
            yield from _walk(inner, names, more_is_better=more_is_better)
    if not isinstance(value, dict):
        return
    if value.keys() >= _SPREAD:
        if value["median"] > 0:
            yield " ".join(names), Figure(_spread(value), more_is_better)
        return
    names = (*names, *_names_in(value))
    unit = value.get("unit", "")
    more_is_better = more_is_better or unit.endswith("/s") or "per s" in unit
    over = value.get("over_below", {})
    for key, inner in value.items():
        if key in _DERIVED or not isinstance(inner, dict | list):
            continue
        rate = more_is_better or key.startswith("rate") or key.endswith("per_s")
        inner_names = names if key in _NO_KEYS else (*names, key)
        for name, figure in _walk(inner, inner_names, more_is_better=rate):
            added = over.get(name.rpartition(" ")[2]) if key == "time" else None
            yield name, figure if added is None else Figure(figure.spread, rate, _spread(added["difference"]))


def _names_in(entry: Mapping[str, Any]) -> Iterator[str]:
    for key, value in entry.items():
        if key in _NO_NAMES or isinstance(value, bool):
            continue
        if isinstance(value, str):
            yield value
        elif isinstance(value, int):
            yield f"{key}={value}"


def _spread(value: Mapping[str, float]) -> Spread:
    return Spread(float(value["median"]), float(value["low"]), float(value["high"]))


def _against_references(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[dict[str, Figure], dict[str, Figure]]:
    """The ratios of all steps of both. A step without a common reference is called after its own."""
    pair: tuple[dict[str, Figure], dict[str, Figure]] = ({}, {})
    steps = [dict(_steps(one)) for one in (old, new)]
    for name in dict.fromkeys((*steps[0], *steps[1])):
        ratios = [one.get(name, {}) for one in steps]
        common = next((peer for peer in REFERENCES if all(peer in one for one in ratios)), None)
        for figures, one in zip(pair, ratios, strict=True):
            peer = common or next((peer for peer in REFERENCES if peer in one), None)
            if peer is not None:
                figures[f"{name}, against {peer}"] = Figure(one[peer], more_is_better=True)
    return pair


def _steps(document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Spread]]]:
    """The ratios of each step on each backing store, by peer."""
    for store in document["results"]:
        for step in store["steps"]:
            ranges = step["ratio_range"]
            yield (
                f"{store['store']} ({store['filesystem']}): {step['what']}",
                {peer: Spread(ratio, *map(float, ranges[peer])) for peer, ratio in step["ratio"].items()},
            )


# -- what changed --------------------------------------------------------------------------------------


def _change(name: str, old: Figure, new: Figure) -> Change:
    before, after = old.spread, new.spread
    times = before.median / after.median if old.more_is_better else after.median / before.median
    beyond = is_beyond_noise(before, after, before.median)
    return Change(name, before, after, times, beyond, _where(old, new) if beyond and times > 1 else "")


def is_beyond_noise(old: Spread, new: Spread, whole: float) -> bool:
    """Whether a figure has changed; ``whole`` is what 5 % are taken of."""
    apart = abs(new.median - old.median)
    overlap = old.low <= new.high and new.low <= old.high
    half = max(old.high - old.low, new.high - new.low) / 2
    return not overlap and apart > half and apart >= AT_LEAST * whole


def _where(old: Figure, new: Figure) -> str:
    if old.added is None or new.added is None:
        return ""
    itself = new.added.median > old.added.median and is_beyond_noise(old.added, new.added, old.spread.median)
    return "in this layer" if itself else "from below"
