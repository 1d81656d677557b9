"""Which rule asks for what, and which checks answer it (45 CFR parts 160 and 164, as of 2026).

Owns: the index of a pack. Must not know: what the checks found.

What a rule asks is told in few words for whoever looks for its number; the text of the rule is what counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Citation:
    """One rule.

    Attributes:
        rule: its number.
        asks: what for, in few words.
        codes: of the checks that answer it.
        shows: the parts of a pack that answer it: keys of its body.
    """

    rule: str
    asks: str
    codes: frozenset[str] = frozenset()
    shows: tuple[str, ...] = ()


def _one(rule: str, asks: str, codes: str = "", shows: str = "") -> Citation:
    return Citation(rule, asks, frozenset(codes.split()), tuple(shows.split()))


_BACKUPS: Final = "backup backup-overdue backup-failed backup-guard backup-damaged backup-rule"
_DRILLS: Final = "drill drill-overdue drill-soon drill-failed drill-action"

CITATIONS: Final = (
    _one("164.308(a)(1)(ii)(D)", "records of activity are reviewed regularly", "audit-review", "reviews log"),
    _one("164.308(a)(3)(ii)(C)", "access ends when somebody leaves", shows="volumes log"),
    _one("164.308(a)(7)(ii)(A)", "exact copies can be had", _BACKUPS, "backups"),
    _one("164.308(a)(7)(ii)(D)", "that they can be had is tested", _DRILLS, "drills"),
    _one("164.310(d)(1)", "media come and go under control", "medium-overdue medium-lost", "media"),
    _one("164.310(d)(2)(i), (ii)", "nothing is left on a medium that is given away", shows="destructions media"),
    _one("164.310(d)(2)(iii)", "who has which medium is written down", "medium-overdue medium-lost", "media"),
    _one("164.310(d)(2)(iv)", "an exact copy before equipment is moved", "backup", "backups handovers"),
    _one(
        "164.312(a)(1)",
        "only people and programs with rights get at data",
        "keys-apart passphrase-place mount bare guard-works",
        "volumes",
    ),
    _one("164.312(a)(2)(i)", "each person has an identification of their own", shows="volumes"),
    _one("164.312(a)(2)(ii)", "there is a way in for emergencies", "recovery-key recovery-used", "volumes"),
    _one("164.312(a)(2)(iii)", "access ends when nobody works", "idle-lock", "volumes"),
    _one(
        "164.312(a)(2)(iv)",
        "there is a mechanism to encrypt and decrypt",
        "encrypted config kdf policy swap hibernation core-dumps exception-overdue exception-soon",
        "volumes exceptions",
    ),
    _one(
        "164.312(b)",
        "activity is recorded and examined",
        "log-problem audit-log audit-anchor audit-review",
        "log reviews",
    ),
    _one("164.312(c)(1), (2)", "data is not altered unseen", "verified config", "volumes log"),
    _one("164.312(d)", "whoever asks is who they say they are", "kdf policy", "volumes"),
    _one(
        "164.312(e)(1), (2)",
        "data on the network is encrypted and not altered",
        "share protocol encryption guest ciphers smbd-protocol smbd-guest clients samba smbd",
        "volumes",
    ),
    _one(
        "164.316(b)(1), (2)(i)", "what was done is written down, and kept for six years", "log-problem log-age", "log"
    ),
    _one(
        "164.402, 164.414(b)",
        "what is lost was encrypted and its key elsewhere; the burden of proof",
        "encrypted keys-apart",
        "volumes media incidents",
    ),
)
