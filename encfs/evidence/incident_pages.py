"""The record of a loss on paper: the verdict first, then what it rests on, the form of the four factors, the dates.

Owns: which parts stand where. Must not know: how pages are drawn (``encfs/sheets/report.py``), what is true.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from encfs.checks import Light
from encfs.evidence import made, words
from encfs.evidence.verdict import Verdict
from encfs.sheets.report import Block, Facts, Form, Heading, NewPage, Paragraph, Report, Table
from encfs.wording import NOT_LEGAL_ADVICE, human_size, human_time

_LIGHTS: Final = {Verdict.LOCKED: Light.GREEN, Verdict.OPEN: Light.RED, Verdict.UNKNOWN: Light.AMBER}
_KINDS: Final = {"lost": "lost", "stolen": "stolen", "other": "another incident"}
_WHERE: Final = {
    "on-the-medium": "SEEN ON THE MEDIUM",
    "not-on-the-medium": "not seen on the medium",
    "unknown": "not known",
}
_LINES: Final = 3


def report(body: Mapping[str, Any], *, host: str, made_at: int, signer: str, document: bytes = b"") -> Report:
    """The pages of a document.

    Args:
        body: of the document (:func:`encfs.evidence.incident.body`).
        host: the computer that made it.
        made_at: when, seconds since 1970.
        signer: fingerprint of the key that signed it.
        document: the signed document itself, which travels in the PDF.
    """
    with made.shown(body) as zone:
        return _report(body, f"{host}, {human_time(made_at)} ({zone})", made_at, signer, document)


def _report(body: Mapping[str, Any], where: str, made_at: int, signer: str, document: bytes) -> Report:
    record = body["record"]
    blocks: list[Block] = [*_told(body), *_volumes(record), *_harbour(record), *_deadlines(body)]
    blocks += [NewPage(), *_factors(body), *_decision(body), *_events(record)]
    name = f"incident-{body['id']}.json"
    return Report(
        title=f"Incident {body['id']}",
        verdict=record["headline"],
        blocks=blocks,
        footer=f"cloakfs, computer {where}. Signed with the key {signer}. {NOT_LEGAL_ADVICE}",
        made_at=made_at,
        light=_LIGHTS.get(record["verdict"], Light.AMBER),
        attachments={name: document} if document else {},
    )


def _told(body: Mapping[str, Any]) -> list[Block]:
    record = body["record"]
    medium = record["medium"]
    rows = [
        ("What", _KINDS.get(record["kind"], record["kind"])),
        ("Medium", _medium(medium)) if medium else ("Medium", "not in the register of media"),
        ("Time of the loss", _span(record["lost"])),
        ("Known since", record["discovered"]),
        ("People concerned", "not counted yet" if body["people"] is None else f"{body['people']:,}"),
        ("Written down", human_time(body["registered_at"])),
    ]
    return [Facts(rows), Paragraph(NOT_LEGAL_ADVICE)]


def _medium(medium: Mapping[str, Any]) -> str:
    more = [medium["kind"], *([f"serial {medium['serial']}"] if medium["serial"] else [])]
    who = f", last with {medium['holder']}" if medium["holder"] else ""
    return f"{medium['label']} ({', '.join(more)}){who}"


def _span(lost: Mapping[str, Any]) -> str:
    first, last = human_time(lost["first_ms"] / 1000), human_time(lost["last_ms"] / 1000)
    return lost["text"] if first == last else f"{lost['text']} (between {first} and {last})"


def _volumes(record: Mapping[str, Any]) -> list[Block]:
    blocks: list[Block] = [Heading("What the record of this computer says")]
    if not record["volumes"]:
        blocks.append(
            Paragraph(
                "No volume of cloakfs is known to be on it. Nothing here shows that anything on it was encrypted."
            )
        )
    for volume in record["volumes"]:
        blocks += _volume(volume)
    blocks += [Paragraph(record["sealed_always"]), Heading("What this does not say", small=True)]
    return [*blocks, *(Paragraph(limit) for limit in record["limits"])]


def _volume(volume: Mapping[str, Any]) -> list[Block]:
    encrypted, beat = volume["encrypted"], volume["heartbeat"]
    since = "not known" if encrypted["since"] is None else human_time(encrypted["since"])
    cells = "" if encrypted["cell_size"] is None else f", cells of {human_size(encrypted['cell_size'])}"
    rows = [
        ("Volume", f"{volume['volume_id']}\n{volume['path'] or ''}".rstrip()),
        ("Verdict", volume["verdict"]),
        ("Encrypted since", since),
        ("With", "not known" if encrypted["suite"] is None else f"AES-256-GCM (suite {encrypted['suite']}{cells})"),
        ("Last opening", _opening(volume["last_opening"])),
        ("Remembered", "nothing" if beat is None else _beat(beat)),
        ("Used on", _hosts(volume["sessions"])),
    ]
    notes = [Paragraph(f"Also: {note['text']}.") for note in volume["notes"]]
    return [Paragraph(volume["sentence"]), Facts(rows), *notes, *_keys(volume["keys"])]


def _opening(opening: Mapping[str, Any] | None) -> str:
    if opening is None:
        return "none in the log"
    what = "mounted" if opening["mount"] else "opened by a command"
    ended = opening["ended"]
    end = (
        "no end is recorded" if ended is None else f"{opening['end']} {human_time(ended['at'])} (record {ended['seq']})"
    )
    why = f", {opening['reason']}" if opening["reason"] else ""
    began = opening["began"]
    return f"{what} {human_time(began['at'])} (record {began['seq']}) with slot {opening['slot'] or '-'}; {end}{why}"


def _beat(beat: Mapping[str, Any]) -> str:
    why = f" ({beat['reason']})" if beat["reason"] else ""
    slot = f", slot {beat['slot_label']}" if beat["slot_label"] else ""
    return f"{beat['state']}{why} {human_time(beat['at'])} on {beat['host']}{slot}; opened {human_time(beat['opened'])}"


def _hosts(sessions: Sequence[Mapping[str, Any]]) -> str:
    hosts = {session["host"]: session for session in sessions}
    if not hosts:
        return "not known"
    return "; ".join(
        f"{host}{' (this computer and user)' if one['ours'] else ''}, last from {human_time(one['started'])}"
        for host, one in hosts.items()
    )


def _keys(keys: Mapping[str, Any]) -> list[Block]:
    look = keys["looked"]
    blocks: list[Block] = [Heading("What opens it", small=True)]
    if keys["slots"]:
        rows = [(slot["kind"], slot["label"], _WHERE[slot["where"]], slot["remark"]) for slot in keys["slots"]]
        blocks.append(Table(("Kind", "Label", "Where it was", "Remark"), rows, (2, 3, 3, 6)))
    else:
        blocks.append(Paragraph("It is not known which keys open it."))
    if look is None:
        blocks.append(Paragraph("Nobody has searched its medium for keys before the loss."))
    else:
        all_ = "all of it" if look["complete"] else "not all of it"
        found = ", ".join(look["found"]) or "nothing that opens a volume"
        text = (
            f"Its medium was searched {human_time(look['at'])} ({all_}, {look['entries']:,} entries). Found: {found}."
        )
        blocks.append(Paragraph(text))
    return blocks


def _harbour(record: Mapping[str, Any]) -> list[Block]:
    return [Heading("Safe harbour"), Paragraph(record["safe_harbour"])]


def _deadlines(body: Mapping[str, Any]) -> list[Block]:
    deadlines = body["deadlines"]
    rows = [
        (one["due"], one["what"], one["citation"], "" if one["applies"] else "hangs on the number of people")
        for one in deadlines["rows"]
    ]
    return [
        Heading("Who has to be told, and by when"),
        Paragraph(f"{deadlines['if_a_breach']} {deadlines['state_law']}"),
        Table(("No later than", "Who", "Rule", "Remark"), rows, (2, 5, 3, 3)),
    ]


def _factors(body: Mapping[str, Any]) -> list[Block]:
    """What was answered, and lines for what was not."""
    blocks: list[Block] = [Heading("The four factors"), Paragraph(words.FACTORS_ARE), Paragraph(words.NO_NAMES)]
    for factor in body["factors"]:
        answers = factor["answers"]
        if answers:
            blocks.append(Heading(factor["asks"], small=True))
            blocks += [Paragraph(f"{human_time(one['at'])}: {one['text']}") for one in answers]
        else:
            blocks.append(Form([(factor["asks"], _LINES)]))
    if body["notes"]:
        blocks.append(Heading("Notes", small=True))
    for note in body["notes"]:
        people = "" if note["people"] is None else f" (people concerned: {note['people']:,})"
        blocks.append(Paragraph(f"{human_time(note['at'])}: {note['text']}{people}"))
    return blocks


def _decision(body: Mapping[str, Any]) -> list[Block]:
    decision = body["decision"]
    if decision is not None:
        return [Heading("Decision"), Paragraph(f"{human_time(decision['at'])}: {decision['text']}")]
    return [Heading("Decision"), Form([("What was decided, and why", _LINES), ("Name, date, signature", 1)])]


def _events(record: Mapping[str, Any]) -> list[Block]:
    blocks: list[Block] = []
    for volume in record["volumes"]:
        rows = [_event(one) for one in volume["events"]["rows"]]
        if rows:
            left = volume["events"]["left_out"]
            blocks.append(Heading(f"Records of volume {volume['volume_id'][:8]}"))
            if left:
                blocks.append(Paragraph(f"{left:,} earlier ones are left out."))
            blocks.append(Table(("Record", "Time (UTC)", "What", "How", "More"), rows, (1, 3, 3, 2, 4)))
    return blocks


def _event(one: Mapping[str, Any]) -> tuple[str, ...]:
    more = ", ".join(f"{name} {value}" for name, value in one["detail"].items())
    at = datetime.fromtimestamp(one["at"], UTC).strftime("%Y-%m-%d %H:%M:%S")
    return str(one["seq"]), at, one["action"], one["outcome"], more
