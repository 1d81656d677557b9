"""What is said of a loss, in plain words.

Owns: the sentences of records of incidents. Must not know: which of them is right (``verdict.py``), where it stands.

No sentence says more than the log proves; what it does not say stands in ``LIMITS``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from encfs.evidence.verdict import Judgement, Proof, Reason, Verdict, Why
from encfs.wording import human_time

PROOFS: Final = {
    Proof.NOTHING: "nothing",
    Proof.REMEMBERED: "remembered",
    Proof.SIGNED: "signed",
    Proof.SEALED: "sealed",
    Proof.ANCHORED: "sealed-and-anchored",
}
_STANDS_ON: Final = {
    Proof.NOTHING: "Nothing on this computer says anything about it.",
    Proof.REMEMBERED: (
        "This is only remembered by this computer, in a file that whoever uses this account could change. The audit log"
        " does not prove it."
    ),
    Proof.SIGNED: (
        "The audit log is signed only: it was not read, because the auditor's key is not here. It has the last records"
        " of this volume at that time and none after. What they say is only remembered by this computer."
    ),
    Proof.SEALED: (
        "The audit log says so, in records that were sealed when they were written and cannot be changed afterwards"
        " without that being seen. They are not anchored: no second place confirms them."
    ),
    Proof.ANCHORED: (
        "The audit log says so, in records that were sealed when they were written, and a second place confirms them:"
        " sealed and anchored."
    ),
}
_VERDICTS: Final = {
    Verdict.LOCKED: (
        "It was locked at the time of the loss, as far as this computer knows, and what opens it was not seen on the"
        " medium."
    ),
    Verdict.OPEN: "It cannot be shown that it was locked at the time of the loss.",
    Verdict.UNKNOWN: "What is on this computer does not tell whether it was locked at the time of the loss.",
}
_LOCKED_BUT: Final = "It was locked at the time of the loss, but it cannot be shown that what opens it was elsewhere."
_WAS_OPEN: Final = "It was open at the time of the loss."
_WAS_PULLED: Final = "It was open when its medium was taken away."
_REASONS: Final = {
    Why.MOUNTED: "it was opened at {at} and was still open at the time",
    Why.COMMAND: "a command had it open from {at} on, and was at work at the time",
    Why.NO_END: "it was last seen open at {at}, and no lock of that is recorded before the loss",
    Why.PULLED: "its medium went away at {at} while it was open",
    Why.CLOCK: (
        "the clock of this computer leaves open whether it was open at the time: it was set, or that was within seconds"
        " (opened at {at} by that clock)"
    ),
    Why.RESTARTED: (
        "it was open when its program or the computer stopped, before {at}; that takes the keys out of memory, but no"
        " lock is recorded"
    ),
    Why.NOT_KNOWN: "this computer and this user have no record of this volume",
    Why.LATER: "the first record of this volume here is of {at}, after the loss",
    Why.SEEN_AFTER: (
        "it was used on this computer at {at}, after the loss: the time is wrong, it was found, or that was another"
        " copy"
    ),
    Why.ELSEWHERE: (
        "it was last used on another computer or by another user, since {at}, whose log is not here: that it was open"
        " there cannot be excluded"
    ),
    Why.ELSEWHERE_AFTER: "another computer or user opened it at {at}, after the loss",
    Why.OPEN_ELSEWHERE: "another computer or user had opened it at {at}, and it was open there at the time",
    Why.OTHER_HOSTS: "other computers or users have used it too; their logs are not here",
    Why.LOG_WRONG: "the audit log is not proved from the record that decides to the time of the loss",
    Why.LOG_GAP: "records are missing in the audit log around the time of the loss, as it says itself at {at}",
    Why.LOG_SHORT: "the audit log ends before the time of the loss, at {at}",
    Why.MEMORY_DISAGREES: "this computer remembers it as open at the time, and the audit log does not say that",
    Why.KEY_BESIDE: "something that opens it, or helps to, was seen on its medium",
    Why.KEY_NOT_LOOKED: "its whole medium was not searched for what opens it, after the last key was made",
    Why.LOCKED: "it was locked at {at}, and no record shows it open after that",
    Why.NEVER_OPENED: "it was made at {at}, and no record shows it open after that",
}

SEALED_ALWAYS: Final = (
    "The files of a volume lie on its medium encrypted at all times, also while it is open. While it is open, the keys"
    " are in the memory of the computer on which it is open, and whoever uses that computer reads the files."
)
LIMITS: Final = (
    "The log is the one of this computer and this user. What others did with the volume elsewhere is not in it.",
    "Whoever was administrator of this computer at that time could keep records out of the log.",
    "Other files on the same medium, outside of the volume, are not encrypted by cloakfs. Nothing is known of them.",
    "A passphrase on a note, a sheet on paper or a token in the same bag cannot be seen from here: ask.",
    "A copy of the volume elsewhere has the same number, and its records cannot be told apart.",
    "The time of the loss is what somebody said.",
)
SAFE_HARBOUR: Final = (
    "HHS guidance (74 FR 19006, 27 April 2009; 74 FR 42740, 24 August 2009) names protected health information as"
    " secured where it is encrypted as 45 CFR 164.304 describes it, by a process that meets NIST SP 800-111 for data at"
    " rest, where that process or key has not been breached, and says that decryption tools should be kept apart from"
    " the data. The loss of secured information does not need the notices of 45 CFR 164.404 to 164.408; the burden of"
    " proof is on the practice (164.414(b))."
)
_HARBOUR: Final = {
    Verdict.LOCKED: (
        "The facts in this record speak for that: AES-256-GCM since the volume was made, locked, and no key seen on the"
        " medium. Whether the key was breached in another way, and what else lay on the medium, people have to say."
    ),
    Verdict.OPEN: "The facts in this record do not show that: the volume was open, or may have been.",
    Verdict.UNKNOWN: "The facts in this record do not show that. Treat the information as not secured until you can.",
}
NOT_VALIDATED: Final = "cloakfs and its cryptography are not FIPS-validated."
FACTORS: Final = (
    "1. The nature and extent of the information: which kinds, whose, how easily people are recognised in it",
    "2. Who used it, or to whom it was disclosed",
    "3. Whether it was really acquired or viewed",
    "4. How far the risk has been mitigated",
)
FACTORS_ARE: Final = (
    "45 CFR 164.402(2): unless the practice shows, with at least these four factors, that there is a low probability"
    " that the information was compromised, a breach is presumed."
)
NO_NAMES: Final = "Write no name of a patient: this record is kept for six years and shown to others."


def sentence(said: Judgement) -> str:
    """The verdict on one volume, what it rests on, and why."""
    first = _VERDICTS[said.verdict]
    if said.verdict is Verdict.OPEN:
        why = said.reasons[0].why
        first = _WAS_PULLED if why is Why.PULLED else first if why is Why.NO_END else _WAS_OPEN
    if said.verdict is Verdict.UNKNOWN and _only_keys(said.reasons):
        first = _LOCKED_BUT
    because = "; ".join(reason_text(reason) for reason in said.reasons)
    return f"{first} Why: {because}. {_STANDS_ON[said.proof]}"


def _only_keys(reasons: Sequence[Reason]) -> bool:
    """Whether it was locked, and nothing but the keys stands in the way of saying more."""
    return {reason.why for reason in reasons} <= {Why.KEY_BESIDE, Why.KEY_NOT_LOOKED, Why.LOCKED, Why.NEVER_OPENED}


def reason_text(reason: Reason) -> str:
    """One reason, without a full stop."""
    return _REASONS[reason.why].format(at="an unknown time" if reason.at is None else human_time(reason.at))


def harbour(verdict: Verdict) -> str:
    """What the safe harbour asks for, and what this record has of it."""
    return f"{SAFE_HARBOUR} {_HARBOUR[verdict]} {NOT_VALIDATED}"


def headline(verdict: Verdict, proofs: Sequence[Proof]) -> str:
    """The one sentence on top of a record; the weakest proof counts."""
    if verdict is Verdict.LOCKED:
        weakest = min(proofs, default=Proof.NOTHING)
        return {
            Proof.ANCHORED: "Locked, key elsewhere: proved by the log, sealed and anchored.",
            Proof.SEALED: "Locked, key elsewhere: proved by the log, sealed, not anchored.",
            Proof.SIGNED: "Locked, key elsewhere: remembered here, and the signed log does not contradict it.",
        }.get(weakest, "Locked, key elsewhere: only remembered by this computer, not proved.")
    return {Verdict.OPEN: "Open at the time.", Verdict.UNKNOWN: "It cannot be told."}[verdict]
