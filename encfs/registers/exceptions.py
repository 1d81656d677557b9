"""The register ``exceptions``: data that is not encrypted, why, and until when that holds (FORMAT.md section 17).

Owns: what may follow what, which ones are overdue. Must not know: the data, the terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from encfs.errors import FormatError, UsageError
from encfs.format.canonical import Fields
from encfs.registers.ledger import Entry, Ledger, damaged
from encfs.registers.words import check_text
from encfs.wording import human_date, printable

NAME: Final = "exceptions"
_HINT: Final = "See which there are: cloakfs exception list --all"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataException:
    """Data that somebody has decided not to encrypt.

    Attributes:
        id: ``E`` and a number.
        dataset: which data, in the words of whoever added it.
        reason: why it is not encrypted.
        controls: what protects it instead.
        approver: who has decided, or decided again, that this is so.
        review: until when that holds, seconds since 1970.
        added: when it was written down.
        withdrawn: when it ended; None while it holds.
        reviewed: when it was last decided: added, or renewed.
    """

    id: str
    dataset: str
    reason: str
    controls: str
    approver: str
    review: int
    added: int
    withdrawn: int | None
    reviewed: int


def exceptions() -> list[DataException]:
    """All of them, the oldest first, also those that have ended.

    Raises:
        RegisterError: the register is damaged; the hint says what to do.
        OSError, RuntimeError (a user without a home directory).
    """
    return list(_replay(Ledger(NAME).entries()).values())


def overdue(now: float) -> list[DataException]:
    """Those that hold no more because nobody has looked at them again. Raises: as :func:`exceptions`."""
    return [one for one in exceptions() if is_overdue(one, now)]


def is_overdue(one: DataException, now: float) -> bool:
    """Whether it should have been reviewed at ``now``, seconds since 1970."""
    return one.withdrawn is None and one.review < now


def add(*, dataset: str, reason: str, controls: str, approver: str, review: int) -> DataException:
    """Another exception.

    Raises:
        UsageError: a text is missing, or cannot stand there.
        RegisterError: the register is damaged. AuditError, OSError: see :meth:`encfs.registers.ledger.Ledger.append`.
    """
    texts = {"dataset": dataset, "reason": reason, "controls": controls, "approver": approver}
    for name, text in texts.items():
        check_text(name, text, needed=True)
    return _append("add", {**texts, "review": review})


def renew(exception_id: str, *, approver: str, review: int) -> DataException:
    """Somebody has looked at it again, and it goes on. Raises: as :func:`add`, and UsageError: it does not hold."""
    check_text("approver", approver, needed=True)
    return _append("renew", {"id": exception_id.upper(), "approver": approver, "review": review})


def withdraw(exception_id: str) -> DataException:
    """It has ended: the data is encrypted now, or gone. Raises: as :func:`renew`."""
    return _append("withdraw", {"id": exception_id.upper()})


def _append(kind: str, data: Mapping[str, Any]) -> DataException:
    known: dict[str, DataException] = {}

    def check(entries: Sequence[Entry]) -> None:
        known.update(_replay(entries))
        if kind != "add":
            _holding(known, str(data["id"]))

    return _take(known, Ledger(NAME).append(kind, data, check=check))


def _holding(known: Mapping[str, DataException], exception_id: str) -> DataException:
    """Raises: UsageError: there is no such exception, or it has ended."""
    one = known.get(exception_id)
    if one is None:
        raise UsageError(f"there is no exception {printable(exception_id)}", hint=_HINT)
    if one.withdrawn is not None:
        raise UsageError(
            f"the exception {one.id} was withdrawn on {human_date(one.withdrawn)}",
            hint="Nothing was written. If it holds again, add it again: cloakfs exception add",
        )
    return one


def _replay(entries: Iterable[Entry]) -> dict[str, DataException]:
    """All of them by id. Raises: RegisterError: an entry does not fit to those before."""
    known: dict[str, DataException] = {}
    for entry in entries:
        try:
            _take(known, entry)
        except (FormatError, UsageError) as exc:
            raise damaged(NAME, entry.seq) from exc
    return known


def _take(known: dict[str, DataException], entry: Entry) -> DataException:
    """Raises: FormatError, UsageError: it does not fit."""
    fields = Fields(entry.data)
    match entry.kind:
        case "add":
            after = DataException(
                id=f"E{entry.seq + 1}",
                dataset=fields.text("dataset"),
                reason=fields.text("reason"),
                controls=fields.text("controls"),
                approver=fields.text("approver"),
                review=fields.integer("review"),
                added=entry.at,
                withdrawn=None,
                reviewed=entry.at,
            )
        case "renew":
            before = _holding(known, fields.text("id"))
            after = replace(
                before, approver=fields.text("approver"), review=fields.integer("review"), reviewed=entry.at
            )
        case "withdraw":
            after = replace(_holding(known, fields.text("id")), withdrawn=entry.at)
        case _:
            raise FormatError("an entry is of a kind that this version does not know")
    fields.finish()
    known[after.id] = after
    return after
