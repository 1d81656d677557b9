"""An inventory as one HTML page, which prints on A4 and on US Letter.

Owns: how it looks. Must not know: where it goes.

The page asks for nothing from elsewhere and runs nothing: its style is in it. Every text is escaped, whoever chose it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from encfs.evidence import inventory_words as words
from encfs.evidence.inventory import Inventory, Line
from encfs.registers import exceptions
from encfs.registers.exceptions import DataException
from encfs.registers.media import Medium
from encfs.wording import NOT_LEGAL_ADVICE, human_date, human_time, plural, printable

_STYLE: Final = """
@page { margin: 15mm; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 62rem; color: #182228; background: #fff;
  font: 14px/1.45 "Liberation Sans", "DejaVu Sans", Arial, sans-serif; }
h1 { margin: 0; font-size: 1.6em; }
h2 { margin: 1.8em 0 .5em; padding-bottom: .2em; font-size: 1.2em; border-bottom: 2px solid #96a0a6;
  break-after: avoid; }
h3 { margin: 0 0 .4em; font-size: 1em; overflow-wrap: anywhere; break-after: avoid; }
p { margin: .3em 0; }
.faint { color: #5c6b75; }
table { width: 100%; margin: 0 0 1em; border-collapse: collapse; table-layout: fixed; }
th, td { padding: .25em .6em .25em 0; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
thead { display: table-header-group; }
thead th { border-bottom: 1px solid #96a0a6; color: #5c6b75; font-weight: 600; }
tbody tr { border-bottom: 1px solid #e3e7e9; break-inside: avoid; }
.facts th { width: 9.5em; color: #5c6b75; font-weight: 400; }
.first th:first-child { width: 30%; }
.card { break-inside: avoid; margin: 0 0 1em; padding: .7em .9em 0; border: 1px solid #c9d0d4; border-radius: 4px; }
.light { width: 5.5em; font-weight: 700; }
.green { color: #186e3e; } .amber { color: #a06000; } .red { color: #aa2020; }
footer { margin-top: 2em; color: #5c6b75; font-size: .9em; }
@media print { body { padding: 0; max-width: none; font-size: 9pt; line-height: 1.3; } h2 { margin-top: 1.2em; } }
"""
_OF_EXCEPTIONS: Final = ("Id", "Data", "Why", "Instead", "Approved by", "Review")
_NONE: Final = "None is known."


def render(found: Inventory) -> str:
    """The whole page."""
    now = found.made_at
    watched = [(one.path, words.coverage(one)) for one in found.scans.watched.values()]
    parts = [
        f"<h1>{_text(f'Inventory of {found.host}')}</h1>",
        f'<p class="faint">{_text(_made(found))}</p>',
        "<h2>Volumes</h2>",
        _overview(found.volumes),
        *(_card(one, now) for one in found.volumes),
        "<h2>Sticks and disks</h2>",
        _table(("Label", "Kind", "State", "Holder", "Place", "Serial"), [_medium(one, now) for one in found.media]),
        "<h2>Shares</h2>",
        _table(("Name", "Volume", "Mounted at"), [(one.name, one.volume, one.mountpoint) for one in found.shares]),
        "<h2>Backups</h2>",
        f"<p>{_text(words.backups(found))}</p>",
        "<h2>Data that is not encrypted</h2>",
        _table(_OF_EXCEPTIONS, [_exception(one, now) for one in found.exceptions]),
        "<h2>Watched directories</h2>",
        _table(("Directory", "Coverage"), watched, style="first"),
        f'<p class="faint">Last scan of anything else: {_text(words.other_scan(found.scans.elsewhere))}</p>',
        "<h2>This computer</h2>",
        _checks(found),
        f"<footer>{_text(NOT_LEGAL_ADVICE)} It shows what this computer knows, and no more.</footer>",
    ]
    return _page(f"Inventory of {found.host}", parts)


def _page(title: str, parts: Iterable[str]) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def _text(text: str) -> str:
    """Safe in an element and in an attribute; what is no text is written out."""
    return escape(printable(text), quote=True)


def _made(found: Inventory) -> str:
    form = f", a {found.form}" if found.form else ""
    count = plural(len(found.volumes), "volume")
    return f"{count}. Made on {human_time(found.made_at)} by cloakfs {found.version} on {found.host}{form}."


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, style: str = "") -> str:
    """``style``: ``first`` where the first column is the longest."""
    if not rows:
        return f"<p>{_NONE}</p>"
    head = "".join(f"<th>{_text(column)}</th>" for column in columns)
    body = "\n".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    named = f' class="{style}"' if style else ""
    return f"<table{named}>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _overview(lines: Sequence[Line]) -> str:
    rows = [
        (
            one.facts.path,
            one.kind,
            words.STATES[one.state],
            ", ".join(text for text in (one.holder, one.place) if text),
            words.NOT_KNOWN if one.facts.encrypted_since is None else human_date(one.facts.encrypted_since),
            words.NOT_KNOWN if one.verified_at is None else human_date(one.verified_at),
        )
        for one in lines
    ]
    return _table(("Volume", "Kind", "State", "Who, where", "Encrypted since", "Last verify"), rows, style="first")


def _card(one: Line, now: int) -> str:
    rows = words.volume_rows(one, now)
    facts = "\n".join(f"<tr><th>{_text(name)}</th><td>{_text(value)}</td></tr>" for name, value in rows)
    slots = ""
    if one.facts.config is not None:
        shown = [words.slot_row(slot, now) for slot in one.facts.config.slots]
        slots = _table(("Opened by", "Kind", "Since", "A guess costs"), shown)
    return (
        f'<section class="card">\n<h3>{_text(one.facts.path)}</h3>\n'
        f'<table class="facts"><tbody>\n{facts}\n</tbody></table>\n{slots}\n</section>'
    )


def _medium(one: Medium, now: int) -> tuple[str, ...]:
    state = words.medium_state(one, now).partition(": ")[2]
    return one.label, str(one.kind), state, one.holder, one.place, one.serial


def _exception(one: DataException, now: int) -> tuple[str, ...]:
    overdue = " (OVERDUE)" if exceptions.is_overdue(one, now) else ""
    return one.id, one.dataset, one.reason, one.controls, one.approver, human_date(one.review) + overdue


def _checks(found: Inventory) -> str:
    rows = "\n".join(
        f'<tr><td class="light {one.light.name.lower()}">{_text(words.LIGHTS[one.light])}</td>'
        f"<th>{_text(one.title)}</th><td>{_text(one.found)}</td></tr>"
        for one in found.checks
    )
    return f'<table class="facts"><tbody>\n{rows}\n</tbody></table>'
