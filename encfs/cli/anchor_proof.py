"""What anchors that were kept elsewhere prove, for ``cloakfs audit verify``.

Owns: words and fields for that. Must not know: what an anchor is worth (``encfs.audit.anchoring``), the log itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from encfs.audit import anchoring
from encfs.audit.anchoring import AnchorProblem, AnchorTrouble, Judged, Kept
from encfs.audit.home import Home
from encfs.cli import output
from encfs.errors import DataError, UsageError
from encfs.format.anchor import Anchor

if TYPE_CHECKING:
    from encfs.crypto.timestamps import Roots, Stamp

_TROUBLES: Final = {
    AnchorTrouble.DAMAGED: "this is no whole anchor",
    AnchorTrouble.FORGED: "this computer has not signed this anchor: it is forged, or the log is",
    AnchorTrouble.FOREIGN: "this anchor is of another log, which is not here: this one took its place",
    AnchorTrouble.FORKED: "what this anchor says is not in the log: it was put back, cut off or replaced",
    AnchorTrouble.NONE: "not one anchor is of this log",
    AnchorTrouble.TIMESTAMP: "the timestamp on this anchor is not right",
}


@dataclass(slots=True)
class AnchorProof:
    """A file of anchors, and once the log is known what it proves.

    Attributes:
        stamps: timestamps that are right, with the number up to which the log was there then.
        unchecked: how many timestamps were not looked at, for want of the certificates of their authority.
    """

    kept: Kept
    roots: Roots | None
    judged: Judged = field(default_factory=Judged)
    stamps: list[tuple[int, Stamp]] = field(default_factory=list)
    unchecked: int = 0

    def heads(self, here: Home) -> dict[int, bytes]:
        """What has to be in the log. Raises: OSError."""
        self.judged = anchoring.judge(self.kept, anchoring.identity(here))
        for one in self.judged.own:
            if not one.anchor.timestamp:
                continue
            if self.roots is None:
                self.unchecked += 1
                continue
            try:
                stamp = self.roots.check(one.anchor.timestamp, one.anchor.stamped())
            except DataError:
                self.judged.problems.append(AnchorProblem(AnchorTrouble.TIMESTAMP, one.line, one.anchor.seq))
            else:
                self.stamps.append((one.anchor.seq, stamp))
        return self.judged.heads

    @property
    def problems(self) -> list[AnchorProblem]:
        return self.judged.problems

    @property
    def anchors(self) -> list[Anchor]:
        """Those of this log that are right in themselves."""
        return [one.anchor for one in self.judged.own]

    def rows(self) -> list[tuple[str, str]]:
        """For the table."""
        judged = self.judged
        rows = [("anchors", output.plural(len(judged.own), "anchor") + " of this log")]
        if judged.earlier:
            rows.append(("", f"{judged.earlier} of earlier logs of this computer, which are as they were"))
        if judged.others:
            rows.append(("", f"{judged.others} of other computers, not looked at"))
        if self.stamps:
            seq, stamp = max(self.stamps, key=lambda each: each[1].at_ms)
            rows.append(("timestamps", f"{len(self.stamps):,} right; the last one:"))
            rows.append(("", f"up to {seq} the log was there at {output.human_time(stamp.at_ms / 1000)},"))
            rows.append(("", f"says {output.printable(stamp.authority)}"))
        if self.unchecked:
            rows.append(("timestamps", f"{self.unchecked:,} not looked at: give --tsa-ca FILE"))
        return rows

    def sentences(self) -> list[str]:
        """One for each problem."""
        return [f"WRONG {_where(problem)}: {_TROUBLES[problem.trouble]}." for problem in self.problems]

    def as_json(self) -> dict[str, Any]:
        """The object ``anchors`` of docs/json.md."""
        return {
            "own": len(self.judged.own),
            "earlier": self.judged.earlier,
            "others": self.judged.others,
            "timestamps": [
                {"seq": seq, "time": stamp.at_ms / 1000, "authority": stamp.authority} for seq, stamp in self.stamps
            ],
            "timestamps_unchecked": self.unchecked,
        }

    def problems_as_json(self) -> list[dict[str, Any]]:
        """For the list ``problems``."""
        return [
            {"trouble": str(problem.trouble), "segment": None, "seq": problem.seq, "line": problem.line}
            for problem in self.problems
        ]


def anchor_proof(path: str | None, tsa_ca: str | None) -> AnchorProof | None:
    """Of the options of ``verify``; None without a file.

    Raises:
        UsageError: there is no anchor in the file, or no certificate in the other. OSError: one cannot be read.
        CloakfsError: what checks timestamps is not installed.
    """
    if path is None:
        if tsa_ca is not None:
            raise UsageError("--tsa-ca goes with --anchors", hint="Timestamps are in the file that --anchors names.")
        return None
    if tsa_ca is None:
        return AnchorProof(anchoring.read_back(path), None)
    from encfs.crypto.timestamps import Roots  # noqa: PLC0415 - late

    return AnchorProof(anchoring.read_back(path), Roots(Path(tsa_ca).read_bytes()))


def _where(problem: AnchorProblem) -> str:
    place = "in the anchors" if problem.line is None else f"in line {problem.line} of the anchors"
    return place if problem.seq is None else f"at {problem.seq} ({place.removeprefix('in ')})"
