"""``cloakfs audit anchor``: what the log is like now, told to another place.

Owns: which places, in which order, and how it went is told. Must not know: how each is reached (``encfs.audit``).

What can be refused is refused before anything is written. Then each place is tried, whatever became of the others.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from encfs import outcomes
from encfs.audit import anchoring, journal
from encfs.audit.anchor_notes import LastAnchor, PlaceKind, note
from encfs.audit.home import Home, directory, home
from encfs.cli import media, options, output
from encfs.errors import AnchorError, AuditError, CloakfsError, ExitCode, UsageError
from encfs.format.anchor import Anchor
from encfs.format.audit_body import AuditBody, Outcome

if TYPE_CHECKING:
    from encfs.audit.link import Peer, Trust
    from encfs.audit.timestamping import Address
    from encfs.crypto.timestamps import Roots

_PEER: Final = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class _Authority:
    """Who is asked for a timestamp."""

    address: Address
    roots: Roots


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where the anchor goes."""

    file: str | None
    syslog: Peer | None
    authority: _Authority | None
    context: Trust | None
    seconds: float


@dataclass(frozen=True, slots=True)
class _Told:
    """How it went at one place: what there is to say, or what went wrong."""

    kind: PlaceKind
    host: str
    text: str = ""
    error: AnchorError | None = None


@options.command(
    "anchor",
    example="""
cloakfs audit anchor /media/stick/practice.anchors
cloakfs audit anchor --syslog loghost.example --ca /etc/cloakfs/loghost-ca.pem
cloakfs audit anchor practice.anchors --timestamp http://tsa.example/ --tsa-ca tsa-ca.pem""",
)
@click.argument("file", required=False)
@click.option("--syslog", metavar="HOST[:PORT]", help="Send it to a syslog server, over TLS (port 6514).")
@click.option("--timestamp", metavar="URL", help="Get a timestamp on it (RFC 3161), for the line in FILE.")
@click.option("--tsa-ca", metavar="FILE", help="Certificates of the authority that gives the timestamp.")
@click.option("--ca", metavar="FILE", help="Certificates that TLS servers must have; without it those of this system.")
@click.option("--client-cert", metavar="FILE", help="A certificate to show to the syslog server.")
@click.option("--client-key", metavar="FILE", help="Its private key, if that is not in the same file.")
@click.option("--timeout", type=options.Duration(), default="30s", show_default=True, help="For each server.")
@options.json_option
def anchor(**given: Any) -> ExitCode:  # noqa: ANN401 - click's
    """Sign the log as it is now, and tell that to another place: a file on another medium, a syslog server.

    With it "cloakfs audit verify --anchors FILE" notices an older log that was put back, and one that was cut off. A
    timestamp shows also to others that the log was so at that time.

    What goes out has no name of a person, a volume or a file. Syslog acknowledges nothing: look there whether it came.
    """
    as_json = given.pop("as_json")
    plan = _plan(**given)
    with home() as here:
        made = anchoring.make(here)
        told = list(_bring(plan, made))
        _remember(here, made, told)
    failed = [one.error for one in told if one.error is not None]
    if as_json:
        output.print_json(_as_json(made, told))
        return ExitCode.AUDIT if failed else ExitCode.OK
    if len(failed) < len(told):
        output.say(f"The log is anchored up to {made.seq}.")
    for one in told:
        if one.text:
            output.say(one.text)
    for error in failed[1:]:
        output.warn(str(error))
    if failed:
        raise failed[0]
    return ExitCode.OK


# -- what was asked for ----------------------------------------------------------------------------------------


def _plan(
    *,
    file: str | None,
    syslog: str | None,
    timestamp: str | None,
    tsa_ca: str | None,
    ca: str | None,
    client_cert: str | None,
    client_key: str | None,
    timeout: float,
) -> _Plan:
    """Raises: UsageError: it does not go together. OSError, CloakfsError: what it takes is not there."""
    if file is None and syslog is None:
        raise UsageError(
            "say where to: a FILE on another medium, or --syslog HOST", hint="See: cloakfs audit anchor -h"
        )
    if timestamp is not None and (file is None or tsa_ca is None):
        raise UsageError(
            "a timestamp needs a FILE that keeps it, and --tsa-ca with the certificates of the authority",
            hint="The authority publishes them. They are used again to verify.",
        )
    if client_key is not None and client_cert is None:
        raise UsageError("--client-key goes with --client-cert")
    if client_cert is not None and syslog is None:
        raise UsageError("--client-cert goes with --syslog")
    if syslog is None and timestamp is None:
        return _Plan(file, None, None, None, timeout)
    # Certificates and all that goes with them are loaded by who uses them.
    from encfs.audit import link  # noqa: PLC0415 - late

    return _Plan(
        file=file,
        syslog=None if syslog is None else _peer(syslog),
        authority=None if timestamp is None or tsa_ca is None else _authority(timestamp, tsa_ca),
        context=link.trust(ca, client_cert, client_key),
        seconds=timeout,
    )


def _peer(text: str) -> Peer:
    from encfs.audit import link, syslog  # noqa: PLC0415 - late

    found = _PEER.fullmatch(text)
    port = syslog.PORT if found is None or found["port"] is None else int(found["port"])
    if found is None or not 0 < port < 1 << 16:
        raise UsageError(
            "--syslog wants HOST, or HOST:PORT", hint="An address of IPv6 stands in brackets: [2001:db8::1]"
        )
    return link.Peer(found["six"] or found["name"], port)


def _authority(url: str, tsa_ca: str) -> _Authority:
    from encfs.audit.timestamping import Address  # noqa: PLC0415 - late
    from encfs.crypto.timestamps import Roots  # noqa: PLC0415 - late

    return _Authority(Address.of(url), Roots(Path(tsa_ca).read_bytes()))


# -- each place ------------------------------------------------------------------------------------------------


def _bring(plan: _Plan, made: Anchor) -> Iterator[_Told]:
    """To each place. The timestamp comes first: it goes into the line of the file, which is written without it too."""
    if plan.authority is not None:
        stamped, told = _stamp(plan, plan.authority, made)
        made = stamped or made
        yield told
    if plan.file is not None:
        file = plan.file
        yield _tried(PlaceKind.FILE, "", lambda: _write(file, made))
    if plan.syslog is not None:
        peer = plan.syslog
        yield _tried(PlaceKind.SYSLOG, str(peer), lambda: _send(plan, peer, made))


def _tried(kind: PlaceKind, host: str, bring: Callable[[], str]) -> _Told:
    try:
        return _Told(kind, host, bring())
    except AnchorError as exc:
        return _Told(kind, host, error=exc)


def _stamp(plan: _Plan, authority: _Authority, made: Anchor) -> tuple[Anchor | None, _Told]:
    from encfs.audit.timestamping import timestamp  # noqa: PLC0415 - late

    host = str(authority.address.peer)
    try:
        answer, stamp = timestamp(
            made.stamped(), authority.address, authority.roots, context=plan.context, seconds=plan.seconds
        )
    except AnchorError as exc:
        return None, _Told(PlaceKind.TIMESTAMP, host, error=exc)
    when = output.human_time(stamp.at_ms / 1000)
    text = f"Timestamp: {when}, by {output.printable(stamp.authority)}."
    return replace(made, timestamp=answer), _Told(PlaceKind.TIMESTAMP, host, text)


def _write(file: str, made: Anchor) -> str:
    with _as_anchor_error():
        anchoring.append(file, made)
        if media.same_medium(file, os.fspath(directory())):
            output.warn("this is on the same disk as the log: whoever puts back an older log can put it back too")
    return ""


def _send(plan: _Plan, peer: Peer, made: Anchor) -> str:
    from encfs.audit import syslog  # noqa: PLC0415 - late

    assert plan.context is not None
    syslog.send(made, peer, context=plan.context, seconds=plan.seconds)
    return f"It was sent to {peer}. Syslog acknowledges nothing: look there now and then whether the lines arrive."


@contextmanager
def _as_anchor_error() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise AnchorError(
            f"the line cannot be written: {output.printable(outcomes.sentence(exc))}",
            hint="Is the medium there, and is there room on it?",
        ) from exc


# -- afterwards ------------------------------------------------------------------------------------------------


def _remember(here: Home, made: Anchor, told: list[_Told]) -> None:
    """In the log, and for doctor. An anchor that was made counts also where that cannot be written."""
    try:
        for one in told:
            outcome = Outcome.DONE if one.error is None else Outcome.FAILED
            detail: dict[str, str | int] = {"seq": made.seq, "to": str(one.kind)}
            if one.host:
                detail["host"] = one.host
            journal.record(AuditBody(action="log.anchor", outcome=outcome, uid=os.getuid(), detail=detail))
        at = made.wall_ms // 1000
        note(here, {one.kind: LastAnchor(at, made.seq, one.host) for one in told if one.error is None})
    except (AuditError, OSError) as exc:
        output.warn(str(exc) if isinstance(exc, CloakfsError) else outcomes.sentence(exc))


def _as_json(made: Anchor, told: list[_Told]) -> dict[str, object]:
    places = [
        {
            "kind": str(one.kind),
            "host": one.host or None,
            "error": None if one.error is None else {"message": str(one.error), "hint": one.error.hint},
        }
        for one in told
    ]
    return {
        "log": made.log_id.hex(),
        "seq": made.seq,
        "head": made.head.hex(),
        "time": made.wall_ms / 1000,
        "places": places,
    }
