"""Who has read the audit log, of which time, and what was found (FORMAT.md section 17, "Reviews").

Owns: what stands in the register, what is counted for it, when the next one is due. Must not know: who is asked, how it
is told. 45 CFR 164.308(a)(1)(ii)(D) wants records of activity to be reviewed regularly.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from encfs.audit.heads import began
from encfs.audit.home import home
from encfs.audit.log import STATE
from encfs.checks import Checked, Light
from encfs.core.audit_trouble import Trouble
from encfs.core.audit_verify import LogVerifier, Taken
from encfs.errors import CloakfsError, FormatError
from encfs.format.audit_body import Outcome
from encfs.format.canonical import Fields
from encfs.registers.ledger import Entry, Ledger, damaged
from encfs.registers.words import check_text, text_list
from encfs.wording import human_date

REGISTER: Final = "reviews"
EVERY_DAYS: Final = 92
"""A quarter of a year, the longest one."""
_DAY: Final = 24 * 60 * 60
_KIND: Final = "review"
_UNLOCK: Final = "volume.unlock"
_INTEGRITY: Final = "volume.integrity"


class Counts:
    """What happened in a time, by what was done and how it ended."""

    def __init__(self) -> None:
        self._by_action: dict[str, Counter[str]] = {}
        self.records = 0

    def add(self, taken: Taken) -> None:
        """Take in a frame; one that is no record that could be opened does not count."""
        if taken.body is None:
            return
        self.records += 1
        self._by_action.setdefault(taken.body.action, Counter())[str(taken.body.outcome)] += 1

    def summary(
        self, verifier: LogVerifier, *, since_ms: int, until_ms: int, steps: int, words: Iterable[str] = ()
    ) -> dict[str, Any]:
        """What a review is about, as the register has it.

        ``verifier`` has read the log to its end; in that time, of so many milliseconds since 1970, the clock was set so
        many ``steps``. ``words`` are problems that were found besides, with anchors.
        """
        problems = Counter([*(str(problem.trouble) for problem in verifier.problems), *words])
        return {
            "since": since_ms // 1000,
            "until": until_ms // 1000,
            "records": self.records,
            "actions": {action: dict(sorted(found.items())) for action, found in sorted(self._by_action.items())},
            "refused_unlocks": self._by_action.get(_UNLOCK, Counter())[Outcome.REFUSED],
            "integrity_failures": sum(self._by_action.get(_INTEGRITY, Counter()).values()),
            "gaps": problems[Trouble.GAP],
            "clock_steps": steps,
            "problems": dict(sorted(problems.items())),
            "frames": verifier.frames,
            "anchored": verifier.anchored,
            "pruned": [list(piece) for piece in verifier.gone.pruned.pieces],
        }


@dataclass(frozen=True, slots=True)
class Review:
    """One that was made.

    Attributes:
        at: when, seconds since 1970.
        reviewer: who, in their words.
        findings: what was found; nothing is a finding too.
        log: which log, up to where: ``id``, ``seq`` and ``head``, as an anchor has them.
        summary: see :meth:`Counts.summary`.
        digest: of the line in the register, hexadecimal.
    """

    seq: int
    at: int
    uid: int
    reviewer: str
    findings: Sequence[str]
    log: Mapping[str, Any]
    summary: Mapping[str, Any]
    digest: str

    def data(self) -> dict[str, Any]:
        """What the register has of it."""
        return content(self.reviewer, self.findings, self.log, self.summary)


def content(
    reviewer: str, findings: Sequence[str], log: Mapping[str, Any], summary: Mapping[str, Any]
) -> dict[str, Any]:
    """What is signed.

    Raises:
        UsageError: a text cannot stand in a register.
    """
    check_text("reviewer", reviewer, needed=True)
    for text in findings:
        check_text("finding", text, needed=True)
    return {"reviewer": reviewer, "findings": list(findings), "log": dict(log), "summary": dict(summary)}


def add(data: Mapping[str, Any]) -> Review:
    """Sign what :func:`content` has made, and keep it.

    Raises:
        RegisterError, AuditError, FormatError, OSError, RuntimeError: as :meth:`Ledger.append`.
    """
    return _review(Ledger(REGISTER).append(_KIND, data))


def reviews() -> list[Review]:
    """All of them, the oldest first. Raises: RegisterError, OSError, RuntimeError."""
    return [_review(entry) for entry in Ledger(REGISTER).entries()]


def _review(entry: Entry) -> Review:
    """Raises: RegisterError: it is no review."""
    try:
        if entry.kind != _KIND:
            raise FormatError("an entry is of a kind that this version does not know")
        fields = Fields(entry.data)
        made = Review(
            seq=entry.seq,
            at=entry.at,
            uid=entry.uid,
            reviewer=fields.text("reviewer"),
            findings=text_list(fields, "findings"),
            log=fields.mapping("log"),
            summary=fields.mapping("summary"),
            digest=entry.digest,
        )
        fields.finish()
        for name in ("since", "until"):
            Fields(made.summary).integer(name)
    except FormatError as exc:
        raise damaged(REGISTER, entry.seq) from exc
    return made


def covered(made: Iterable[Review], log_began: int) -> int:
    """Up to when the log was reviewed without a break, since it began: seconds since 1970."""
    end = log_began
    for one in sorted(made, key=lambda review: int(review.summary["since"])):
        if one.summary["since"] <= end:
            end = max(end, int(one.summary["until"]))
    return end


def due(made: Iterable[Review], log_began: int) -> int:
    """When the next one has to be made: a quarter of a year after what is :func:`covered`."""
    return covered(made, log_began) + EVERY_DAYS * _DAY


def checks(now: float | None = None) -> list[Checked]:
    """How reviewing stands, for ``cloakfs doctor``; none where there is no log."""
    try:
        with home() as here:
            if STATE not in here.store.list(here.dirfd):
                return []
            first = began(here)
        made = reviews()
    except (CloakfsError, OSError, RuntimeError) as exc:
        return [_check(Light.RED, str(exc), getattr(exc, "hint", ""))]
    if first is None:
        return []
    when = due(made, first.wall_ms // 1000)
    day = human_date(when)
    if when > (time.time() if now is None else now):
        return [_check(Light.GREEN, f"the next one is due on {day}")]
    what = "what was recorded has not been reviewed for a quarter of a year" if made else "there was never one"
    return [_check(Light.AMBER, f"{what}; it was due on {day}", "cloakfs audit review")]


def _check(light: Light, found: str, remedy: str = "") -> Checked:
    return Checked(code="audit-review", title="review of the audit log", light=light, found=found, remedy=remedy)
