"""``cloakfs audit anchor`` to a real rsyslog and to openssl's authority of timestamps, and what ``verify`` makes of it.

FORMAT.md section 16, "Anchor"; docs/audit.md, "Anchoring".
"""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from encfs.audit import journal
from encfs.core.anchors import sign_anchor
from encfs.crypto.signing import Signer
from encfs.errors import ExitCode
from encfs.format.anchor import parse_anchor
from encfs.format.audit_body import AuditBody, Outcome
from tests.support import syslog_server
from tests.support.certificates import Authority, Certified
from tests.support.command import Result, run
from tests.support.peers import plain_server
from tests.support.syslog_server import SyslogServer
from tests.support.timestamps import answering, http, stamped

# For tests of silence: nothing is measured, it only has to end.
SOON = ("--timeout", "1s")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs the certificates of these tests."""
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Certified:
    """The certificate of a server on this machine."""
    return authority.server("localhost")


@pytest.fixture(scope="module")
def loghost(
    authority: Authority, server: Certified, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SyslogServer]:
    """rsyslog as Debian has it, for all tests of this file."""
    with syslog_server.running(tmp_path_factory.mktemp("syslog") / "server", server, authority.ca) as found:
        yield found


@pytest.fixture
def logged() -> None:
    """There is a log with some records."""
    for number in range(3):
        journal.record(AuditBody(action="test", outcome=Outcome.DONE, uid=0, detail={"number": number}))


def to(server: SyslogServer, authority: Authority, *more: str | Path) -> Result:
    """An anchor to that server."""
    return run("audit", "anchor", "--syslog", f"localhost:{server.port}", "--ca", authority.ca, *more)


def verified(file: Path, *more: str | Path) -> Result:
    """What verify says with these anchors, as an object."""
    return run("audit", "verify", "--json", "--anchors", file, *more)


def troubles(result: Result) -> list[tuple[str, int | None]]:
    """What is wrong, and in which line of the file of anchors."""
    return [(each["trouble"], each.get("line")) for each in result.json["problems"]]


def light() -> tuple[str, str]:
    """Of the anchor, as doctor sees it, and what it says."""
    checks = {check["code"]: check for check in run("doctor", "--json").json["checks"]}
    return checks["audit-anchor"]["light"], checks["audit-anchor"]["found"]


# -- syslog ----------------------------------------------------------------------------------------------------


def test_to_a_syslog_server_and_back(logged: None, loghost: SyslogServer, authority: Authority) -> None:
    """What rsyslog writes, in each of its formats, is an anchor that verify takes; it names nobody."""
    before = len(loghost.lines(0))
    sent = to(loghost, authority)
    assert (sent.code, sent.err) == (0, "")
    assert "acknowledges nothing" in sent.out
    line = loghost.lines(before + 1)[before]
    assert line.startswith("<109>1 ")
    assert " cloakfs " in line
    for file in (loghost.structured, loghost.default, loghost.raw):
        good = verified(file)
        assert (good.code, good.json["problems"]) == (0, [])
        assert good.json["anchors"]["own"] == 1
        assert f"up to {good.json['anchored']}." in sent.out
    shown = run("audit", "verify", "--anchors", loghost.default)
    assert "1 anchor of this log" in shown.out
    assert shown.out.endswith("Nothing is wrong.\n")
    records = run("audit", "show", "--json").json["records"]
    (told,) = [each for each in records if each["action"] == "log.anchor"]
    assert told["detail"] == {"host": f"localhost:{loghost.port}", "seq": good.json["anchored"], "to": "syslog"}


def test_an_older_log_that_was_put_back(
    logged: None, loghost: SyslogServer, authority: Authority, host_memory: Path, tmp_path: Path
) -> None:
    """The line on the server says that there was more."""
    kept = tmp_path / "kept"
    shutil.copytree(host_memory / "audit", kept)
    before = len(loghost.lines(0))
    assert to(loghost, authority).code == 0
    loghost.lines(before + 1)
    shutil.rmtree(host_memory / "audit")
    shutil.copytree(kept, host_memory / "audit")
    assert run("audit", "verify").code == 0
    found = verified(loghost.default)
    assert (found.code, troubles(found)) == (ExitCode.FINDINGS, [("forked", None)])


def test_lines_of_others_and_forged_ones(logged: None, host_memory: Path, tmp_path: Path) -> None:
    """Of other computers: passed over. With a wrong signature: told as such, and not as a log that was put back."""
    anchors = tmp_path / "anchors"
    made = run("audit", "anchor", anchors, "--json").json
    good = parse_anchor(anchors.read_text())
    other = sign_anchor(Signer.generate(), log_id=bytes(16), seq=1, head=bytes(32), wall_ms=1)
    forged = sign_anchor(
        Signer.generate(), log_id=bytes.fromhex(made["log"]), seq=made["seq"], head=bytes(32), wall_ms=1
    )
    log = tmp_path / "remote.log"
    lines = ["Nov 27 desk sshd[1]: who came", f"x {other.element()}", f"Nov 27 desk cloakfs[7]: {good.element()}"]
    log.write_text("\n".join(lines) + "\n")
    found = verified(log)
    assert (found.code, found.json["anchors"]["own"], found.json["anchors"]["others"]) == (0, 1, 1)
    log.write_text("\n".join([*lines, forged.element(), good.element()[:100], ""]))
    found = verified(log)
    assert found.code == ExitCode.FINDINGS
    assert troubles(found) == [("anchor-damaged", 5), ("anchor-forged", 4)]
    assert found.json["anchored"] == made["seq"]
    log.write_text(f"x {other.element()}\n")
    assert troubles(verified(log)) == [("anchor-none", None)]
    log.write_bytes(b"\xff\xfe nothing of ours\n" * 10)
    assert verified(log).code == ExitCode.USAGE


def test_a_server_that_wants_certificates(
    logged: None, authority: Authority, server: Certified, tmp_path: Path
) -> None:
    """Without one it fails and says so, although the server says nothing (GnuTLS); with one the line arrives."""
    desk = authority.client("desk")
    shown = ("--client-cert", desk.certificate, "--client-key", desk.key)
    for driver in ("gtls", "ossl"):
        with syslog_server.running(
            tmp_path / driver, server, authority.ca, auth="x509/certvalid", driver=driver
        ) as strict:
            refused = to(strict, authority)
            assert refused.code == ExitCode.AUDIT
            assert "--client-cert" in refused.err
            assert to(strict, authority, *shown).code == 0
            (line,) = strict.lines(1)
            assert "cloakfs@32473" in line


def _greets(connection: socket.socket) -> None:
    connection.sendall(b"220 mail.example ESMTP\r\n")
    while connection.recv(4096):
        pass


@pytest.mark.parametrize("case", ["another authority", "another name", "expired", "gone", "no TLS", "silent"])
def test_what_servers_are_not(logged: None, authority: Authority, server: Certified, tmp_path: Path, case: str) -> None:
    """Exit status 30, the reason, and what to do; the log says that it failed, doctor does not count it."""
    certified, ca, said = {
        "another authority": (server, Authority(tmp_path).ca, "not trusted here"),
        "another name": (authority.server("loghost.example"), authority.ca, "another name"),
        "expired": (authority.server("localhost", expired=True), authority.ca, "has expired"),
        "gone": (server, authority.ca, "nothing listens there"),
        "no TLS": (server, authority.ca, "TLS"),
        "silent": (server, authority.ca, "does not answer in time"),
    }[case]
    if case in {"no TLS", "silent"}:
        with plain_server(_greets) if case == "no TLS" else answering(None) as port:
            failed = run("audit", "anchor", "--syslog", f"127.0.0.1:{port}", "--ca", ca, *SOON)
    else:
        with syslog_server.running(tmp_path / "server", certified, authority.ca) as running:
            if case != "gone":
                failed = run("audit", "anchor", "--syslog", f"localhost:{running.port}", "--ca", ca)
        if case == "gone":
            failed = run("audit", "anchor", "--syslog", f"localhost:{running.port}", "--ca", ca)
        assert not running.raw.exists()
    assert failed.code == ExitCode.AUDIT
    assert said in failed.err
    assert "anchored up to" not in failed.out
    assert light()[0] == "amber"
    records = run("audit", "show", "--json").json["records"]
    assert [each["outcome"] for each in records if each["action"] == "log.anchor"] == ["failed"]


def test_a_file_is_written_whatever_becomes_of_the_server(logged: None, authority: Authority, elsewhere: Path) -> None:
    """Each place is tried; what went wrong is told, and as an object."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    anchors = elsewhere / "anchors"
    half = run("audit", "anchor", anchors, "--syslog", f"127.0.0.1:{port}", "--json")
    assert half.code == ExitCode.AUDIT
    places = {each["kind"]: each["error"] for each in half.json["places"]}
    assert places["file"] is None
    assert "nothing listens there" in places["syslog"]["message"]
    assert verified(anchors).json["anchored"] == half.json["seq"]
    nowhere = run("audit", "anchor", elsewhere / "missing" / "anchors")
    assert (nowhere.code, "no such file" in nowhere.err) == (ExitCode.AUDIT, True)


# -- timestamps ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stamps:
    """An authority that answers, and where."""

    url: str
    ca: Path


@pytest.fixture(scope="module")
def tsa(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stamps]:
    """openssl's authority, for all tests of this file."""
    directory = tmp_path_factory.mktemp("tsa")
    signer = authority.timestamps("tsa.example")
    with answering(lambda query: http(stamped(directory, query, signer))) as port:
        yield Stamps(f"http://127.0.0.1:{port}/tsa", authority.ca)


def stamped_anchor(file: Path, tsa: Stamps) -> dict[str, Any]:
    """One more anchor with a timestamp; what the command said."""
    made = run("audit", "anchor", file, "--timestamp", tsa.url, "--tsa-ca", tsa.ca, "--json")
    assert made.code == 0, made.err
    found: dict[str, Any] = made.json
    return found


def test_a_timestamp_and_what_it_shows(logged: None, tsa: Stamps, elsewhere: Path, tmp_path: Path) -> None:
    """verify says up to where the log was there at which time; openssl, which knows nothing of us, says it too."""
    anchors = elsewhere / "anchors"
    made = stamped_anchor(anchors, tsa)
    good = verified(anchors, "--tsa-ca", tsa.ca)
    assert (good.code, good.json["anchored"]) == (0, made["seq"])
    (stamp,) = good.json["anchors"]["timestamps"]
    assert (stamp["seq"], stamp["authority"]) == (made["seq"], "CN=tsa.example")
    assert abs(stamp["time"] - made["time"]) < 3600
    shown = run("audit", "verify", "--anchors", anchors, "--tsa-ca", tsa.ca)
    assert f"up to {made['seq']} the log was there at " in shown.out
    unseen = run("audit", "verify", "--anchors", anchors)
    assert (unseen.code, "1 not looked at" in unseen.out) == (0, True)
    fields = json.loads(anchors.read_text())
    token = tmp_path / "token.tsr"
    token.write_bytes(base64.urlsafe_b64decode(fields.pop("timestamp") + "=="))
    data = tmp_path / "data"
    data.write_text(json.dumps(fields, sort_keys=True, separators=(",", ":")))
    command = ["openssl", "ts", "-verify", "-in", token, "-data", data, "-CAfile", tsa.ca]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "Verification: OK" in done.stdout + done.stderr) == (0, True)


def test_timestamps_that_prove_nothing(logged: None, tsa: Stamps, elsewhere: Path, tmp_path: Path) -> None:
    """Of an authority that is not believed, of another anchor, altered: exit status 3 and the line."""
    anchors = elsewhere / "anchors"
    for _ in range(2):
        stamped_anchor(anchors, tsa)
    first, second = (json.loads(line) for line in anchors.read_text().splitlines())
    other = verified(anchors, "--tsa-ca", Authority(tmp_path, "other").ca)
    assert (other.code, troubles(other)) == (3, [("anchor-timestamp", 1), ("anchor-timestamp", 2)])
    token = base64.urlsafe_b64decode(second["timestamp"] + "==")
    altered = base64.urlsafe_b64encode(token[:-1] + bytes([token[-1] ^ 1])).decode().rstrip("=")
    for wrong in (first["timestamp"], altered, "AAAA"):
        anchors.write_text(json.dumps(first) + "\n" + json.dumps(second | {"timestamp": wrong}) + "\n")
        found = verified(anchors, "--tsa-ca", tsa.ca)
        assert (found.code, troubles(found)) == (3, [("anchor-timestamp", 2)])
        assert [stamp["seq"] for stamp in found.json["anchors"]["timestamps"]] == [first["seq"]]
    later = json.dumps(first | {"seq": first["seq"] + 1})
    anchors.write_text(later + "\n" + json.dumps(second) + "\n")
    assert troubles(verified(anchors, "--tsa-ca", tsa.ca)) == [("anchor-forged", 1)]


@pytest.mark.parametrize("case", ["refusal", "HTTP error", "silence", "another authority", "garbage"])
def test_without_a_timestamp_the_anchor_is_kept(
    logged: None, authority: Authority, tsa: Stamps, elsewhere: Path, tmp_path: Path, case: str
) -> None:
    """Exit status 30 with the reason, and the line in the file, without a timestamp."""
    signer = authority.timestamps("tsa.example")
    stranger = Authority(tmp_path, "stranger").timestamps("stranger")
    answer, said = {
        "refusal": (lambda query: http(stamped(tmp_path, query, signer, digests="sha512")), "gives no timestamp"),
        "HTTP error": (lambda _: http(b"", "503 Service Unavailable"), "status 503"),
        "silence": (None, "does not answer in time"),
        "another authority": (lambda query: http(stamped(tmp_path, query, stranger)), "not of an authority"),
        "garbage": (lambda _: http(b"\x30\x82\xff\xff"), "no timestamp"),
    }[case]
    anchors = elsewhere / "anchors"
    with answering(answer) as port:
        url = f"http://127.0.0.1:{port}/"
        failed = run("audit", "anchor", anchors, "--timestamp", url, "--tsa-ca", tsa.ca, *SOON)
    assert failed.code == ExitCode.AUDIT
    assert said in failed.err
    assert "anchored up to" in failed.out
    assert "timestamp" not in json.loads(anchors.read_text())
    assert verified(anchors, "--tsa-ca", tsa.ca).code == 0


def test_without_what_checks_timestamps(logged: None, tsa: Stamps, elsewhere: Path) -> None:
    """An optional part: what it takes is said, and nothing is written; all else works without it."""
    bare = ("-c", "import sys; sys.modules['rfc3161_client'] = None\nfrom encfs.cli.main import main; main()")
    anchors = elsewhere / "anchors"
    refused = run("audit", "anchor", anchors, "--timestamp", tsa.url, "--tsa-ca", tsa.ca, program=bare)
    assert (refused.code, "cloakfs[timestamp]" in refused.err) == (ExitCode.FAILURE, True)
    assert not anchors.exists()
    assert run("audit", "anchor", anchors, program=bare).code == 0
    assert run("audit", "verify", "--anchors", anchors, program=bare).code == 0


# -- files -----------------------------------------------------------------------------------------------------


def test_lines_of_the_first_versions(logged: None, elsewhere: Path) -> None:
    """Without a signature they are taken, in a file; in syslog, where anybody can write, they are none."""
    anchors = elsewhere / "anchors"
    made = run("audit", "anchor", anchors, "--json").json
    fields = {name: value for name, value in json.loads(anchors.read_text()).items() if name != "signature"}
    anchors.write_text(json.dumps(fields) + "\n")
    found = verified(anchors)
    assert (found.code, found.json["anchored"]) == (0, made["seq"])
    anchors.write_text(json.dumps(fields | {"head": "00" * 32}) + "\n")
    assert troubles(verified(anchors)) == [("forked", None)]
    (elsewhere / "log").write_text(f"desk cloakfs: {json.dumps(fields)}\n")
    assert verified(elsewhere / "log").code == ExitCode.USAGE


def test_two_anchors_that_contradict_each_other(logged: None, host_memory: Path, elsewhere: Path) -> None:
    """Both signed by this computer for the same frame: the log was put back between them, and went on otherwise."""
    anchors = elsewhere / "anchors"
    state = elsewhere / "state"
    shutil.copytree(host_memory / "audit", state)
    first = run("audit", "anchor", anchors, "--json").json
    shutil.rmtree(host_memory / "audit")
    shutil.copytree(state, host_memory / "audit")
    second = run("audit", "anchor", anchors, "--json").json
    assert (first["seq"], first["head"]) != (second["seq"], second["head"])
    assert first["seq"] == second["seq"]
    for text in (anchors.read_text(), "".join(reversed(anchors.read_text().splitlines(keepends=True)))):
        anchors.write_text(text)
        found = verified(anchors)
        assert found.code == ExitCode.FINDINGS
        assert "forked" in {trouble for trouble, _ in troubles(found)}


def test_a_damaged_line(logged: None, elsewhere: Path) -> None:
    """It is told, and the others are looked at; a line that a crash cut short does not take the next with it."""
    anchors = elsewhere / "anchors"
    run("audit", "anchor", anchors)
    whole = anchors.read_text()
    anchors.write_text(whole + whole[:50])
    made = run("audit", "anchor", anchors, "--json").json
    found = verified(anchors)
    assert (found.code, troubles(found)) == (ExitCode.FINDINGS, [("anchor-damaged", 2)])
    assert (found.json["anchored"], found.json["anchors"]["own"]) == (made["seq"], 2)


def test_a_log_that_was_begun_anew(logged: None, host_memory: Path, elsewhere: Path) -> None:
    """Anchors of before are held against the log that was kept: right as it is, wrong once cut off, foreign without."""
    anchors = elsewhere / "anchors"
    run("audit", "anchor", anchors)
    state = host_memory / "audit" / "state"
    state.write_bytes(bytes(512))
    assert run("audit", "begin").code == 0
    found = verified(anchors)
    assert (found.code, found.json["anchors"]["earlier"], found.json["anchors"]["own"]) == (0, 1, 0)
    (kept,) = host_memory.glob("audit-*")
    segment = kept / "log-00000001"
    whole = segment.read_bytes()
    segment.write_bytes(whole[:3000])  # the head, and a little more
    assert troubles(verified(anchors)) == [("forked", 1)]
    shutil.rmtree(kept)
    assert troubles(verified(anchors)) == [("anchor-foreign", 1)]


def test_a_log_that_is_gone(logged: None, host_memory: Path, elsewhere: Path) -> None:
    """Another one with other keys in its place is not taken for it; nor is one whose beginning is damaged."""
    anchors = elsewhere / "anchors"
    run("audit", "anchor", anchors)
    segment = host_memory / "audit" / "log-00000001"
    whole = segment.read_bytes()
    segment.write_bytes(b"\xff" + whole[1:])
    assert "forked" in {trouble for trouble, _ in troubles(verified(anchors))}
    shutil.rmtree(host_memory / "audit")
    journal.record(AuditBody(action="test", outcome=Outcome.DONE, uid=0))
    assert run("audit", "verify").code == 0
    assert troubles(verified(anchors)) == [("anchor-foreign", 1)]


# -- options and doctor ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--timestamp", "http://h/"),
        ("FILE", "--timestamp", "http://h/"),
        ("FILE", "--timestamp", "mailto:x", "--tsa-ca", "CA"),
        ("FILE", "--timestamp", "http://h/", "--tsa-ca", "/dev/null"),
        ("--syslog", ""),
        ("--syslog", "a b"),
        ("--syslog", "host:0"),
        ("--syslog", "host:70000"),
        ("--syslog", "::1"),
        ("--syslog", "http://host"),
        ("--syslog", "host", "--client-key", "FILE"),
        ("FILE", "--client-cert", "FILE"),
        ("--syslog", "host", "--ca", "/dev/null"),
    ],
)
def test_calls_that_make_no_sense(
    logged: None, authority: Authority, elsewhere: Path, options: tuple[str, ...]
) -> None:
    """Exit status 2, before the log is touched or anything is written."""
    before = run("audit", "verify", "--json").json["frames"]
    names = {"FILE": str(elsewhere / "anchors"), "CA": str(authority.ca)}
    assert run("audit", "anchor", *(names.get(each, each) for each in options)).code == ExitCode.USAGE
    assert list(elsewhere.iterdir()) == []
    assert run("audit", "verify", "--json").json["frames"] == before + 1  # that it was verified


def test_doctor_reminds(logged: None, host_memory: Path, elsewhere: Path) -> None:
    """Never, fresh, too old, of tomorrow, and a note that cannot be read; the note has no path."""
    assert light()[0] == "amber"
    run("audit", "anchor", elsewhere / "anchors")
    assert light()[0] == "green"
    note = host_memory / "audit" / "anchored"
    fields = json.loads(note.read_text())
    assert (set(fields), fields["file"]["host"]) == ({"file"}, "")
    assert note.stat().st_mode & 0o777 == 0o600
    for days, expected in ((13, "green"), (15, "amber"), (-2, "amber")):
        note.write_text(json.dumps({"file": fields["file"] | {"at": fields["file"]["at"] - days * 86_400}}))
        assert light()[0] == expected
    assert "has not come yet" in light()[1]
    for garbage in ("", "[]", "{", '{"moon":{}}', '{"file":{"at":1}}', '{"file":{"at":true,"seq":1,"host":""}}'):
        note.write_text(garbage)
        assert light()[0] == "amber"
    run("audit", "anchor", elsewhere / "anchors")
    assert light()[0] == "green"
