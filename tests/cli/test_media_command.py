"""``cloakfs media`` and ``cloakfs exception`` (docs/media-register.md, docs/exceptions.md), and status on them."""

from __future__ import annotations

import csv
import io
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from encfs.errors import ExitCode
from encfs.registers import exceptions, media
from encfs.registers.ledger import Ledger
from encfs.volume import read_config
from tests.support.command import Made, run

YESTERDAY = int(time.time()) - 86_400
FAR = "2099-12-31"


def on(register: str) -> list[str]:
    """What was written down, in short."""
    return [entry.kind for entry in Ledger(register).entries()]


def listed(*options: str) -> list[dict[str, Any]]:
    """As a script sees the media."""
    found: list[dict[str, Any]] = run("media", "list", "--json", *options).json["media"]
    return found


def test_a_stick_s_way_by_commands(volume: Made) -> None:
    """Each step is told; the volume on it is named by its directory or its id; list and history have all of it."""
    volume_id = read_config(os.fsencode(volume.path)).volume_id.hex()
    assert run("media", "list").out.startswith("No media")
    run("cat", volume.path, "empty", *volume.secret)
    kept = ("--holder", "Eva", "--place", "safe")
    added = run("media", "add", "Blue 1", "--serial", "4C53", "--volume", volume.path, *kept, "--json")
    assert added.json["medium"] == {
        "label": "Blue 1",
        "kind": "stick",
        "state": "in",
        "since": added.json["medium"]["since"],
        "holder": "Eva",
        "place": "safe",
        "due": None,
        "overdue": False,
        "lost_at": None,
        "serial": "4C53",
        "filesystem": None,
        "volumes": [volume_id],
    }
    assert run("media", "add", "Old disk", "--kind", "disk", "--volume", volume_id).code == 0
    out = run("media", "check-out", "blue 1", "--holder", "Anna", "--due", FAR)
    assert (out.code, "out with Anna" in out.out, FAR in out.out, str(volume.path) in out.out) == (0, True, True, True)
    assert run("media", "check-in", "Blue 1").code == 0
    assert run("media", "lost", "Blue 1", "--at", "2026-01-02 03:04", "--json").json["medium"]["lost_at"] == int(
        time.mktime((2026, 1, 2, 3, 4, 0, 0, 0, -1))
    )
    assert run("media", "found", "Blue 1", "--place", "desk").code == 0
    assert run("media", "destroyed", "Old disk").code == 0
    assert [(one["label"], one["state"], one["place"]) for one in listed()] == [("Blue 1", "in", "desk")]
    assert [one["label"] for one in listed("--all")] == ["Blue 1", "Old disk"]
    moves = run("media", "history", "blue 1", "--json").json["entries"]
    assert [one["entry"] for one in moves] == ["add", "check-out", "check-in", "lost", "found"]
    told = run("media", "history", "Blue 1").out.splitlines()
    assert [line.split("Blue 1: ")[1].split(",")[0].split(" (")[0] for line in told] == [
        *("added", "taken", "back", "lost", "found"),
    ]
    assert len(run("media", "history", "--json").json["entries"]) == 7


def test_what_cannot_be_is_refused() -> None:
    """Exit status 2, how it stands, what to do; nothing is written, nothing on standard output."""
    assert run("media", "add", "Blue").code == 0
    before = on("media")
    for arguments, said in (
        (("check-in", "Blue"), "Blue is in since"),
        (("found", "Blue"), "Blue is in since"),
        (("add", "BLUE"), "already"),
        (("check-in", "Red"), "no medium Red"),
        (("history", "Red"), "no medium Red"),
        (("check-out", "Blue"), "--holder"),
        (("check-out", "Blue", "--holder", "A", "--due", "2020-01-01"), "is over already"),
        (("check-out", "Blue", "--holder", "A", "--due", "soon"), "no time"),
        (("lost", "Blue", "--at", FAR), "still to come"),
        (("add", "Green", "--volume", "ab" * 16), "never seen"),
        (("add", "Green", "--device", "/proc"), "is no stick"),
        (("add", "a\nb"), "one line"),
    ):
        refused = run("media", *arguments)
        assert (refused.code, refused.out, said in refused.err) == (ExitCode.USAGE, "", True), refused.err
    assert run("media", "add", "Green", "--volume", "/proc").code == ExitCode.NOT_A_VOLUME
    assert on("media") == before


def test_csv_opens_safely_in_a_spreadsheet() -> None:
    """What looks like a formula is text; times are readable."""
    assert run("media", "add", "=1+1", "--holder", "+Anna", "--place", "a,b").code == 0
    (row,) = csv.DictReader(io.StringIO(run("media", "list", "--csv").out))
    assert (row["label"], row["holder"], row["place"], row["due"]) == ("'=1+1", "'+Anna", "a,b", "")
    assert row["since"].startswith("20")
    (move,) = csv.DictReader(io.StringIO(run("media", "history", "--csv").out))
    assert (move["entry"], move["label"]) == ("add", "'=1+1")


def light(command: str) -> tuple[int, dict[str, str]]:
    """The exit status, and the lines about registers by their code."""
    done = run(command, "--json", *(("--quick",) if command == "status" else ()))
    lines = done.json["registers"] if command == "status" else done.json["checks"]
    return done.code, {one["code"]: one["light"] for one in lines if one["code"].startswith(("medium", "exc", "reg"))}


def test_what_is_overdue_is_red_in_status_and_doctor(volume: Made) -> None:
    """Until it is back, or renewed. A medium that is lost is amber. A look at one volume is not coloured by it."""
    assert light("status")[1] == light("doctor")[1] == {}
    media.add("Blue")
    media.check_out("Blue", holder="Anna", due=YESTERDAY)
    exceptions.add(dataset="archive", reason="r", controls="c", approver="a", review=YESTERDAY)
    exceptions.add(dataset="films", reason="r", controls="c", approver="a", review=YESTERDAY + 3 * 86_400)
    for command in ("status", "doctor"):
        code, lines = light(command)
        assert code == ExitCode.USAGE  # 2: red
        assert lines == {"medium-overdue": "red", "exception-overdue": "red", "exception-soon": "amber"}
    shown = run("status", "--quick")
    assert "Blue is out with Anna, and was due on" in shown.out
    assert "E1 (archive, not encrypted) was to be reviewed by" in shown.out
    assert "OVERDUE" in run("media", "list").out
    assert "OVERDUE" in run("exception", "list").out
    assert run("status", volume.path, "--quick").code == 0
    assert run("exception", "renew", "E1", "--approver", "b", "--review", FAR).code == 0
    assert run("exception", "withdraw", "E2").code == 0
    assert light("status") == (ExitCode.USAGE, {"medium-overdue": "red"})
    media.lost("Blue", lost_at=YESTERDAY)
    assert light("status")[1] == {"medium-lost": "amber"}
    media.found("Blue")
    assert light("status")[1] == {}


@pytest.mark.parametrize("register", ["media", "exceptions", "volumes"])
def test_a_damaged_register(volume: Made, host_memory: Path, register: str) -> None:
    """Told red with what to do; its commands end with 30 and change nothing; volumes open all the same."""
    media.add("Blue")
    exceptions.add(dataset="d", reason="r", controls="c", approver="a", review=1)
    run("cat", volume.path, "empty", *volume.secret)
    file = host_memory / "registers" / register
    file.write_bytes(file.read_bytes()[:-9])
    wrong = file.read_bytes()
    assert light("status")[1]["register"] == "red"
    assert light("doctor")[1]["register"] == "red"
    commands = {
        "media": ("media", "list"),
        "exceptions": ("exception", "list"),
        "volumes": ("media", "add", "X", "--volume", "ab" * 16),
    }
    refused = run(*commands[register])
    assert (refused.code, f"registers/{register}" in refused.err) == (ExitCode.AUDIT, True)
    read = run("cat", volume.path, "letters/a.txt", *volume.secret)
    assert (read.code, read.out) == (0, "Dear colleague\n")
    assert ("which volumes are used here cannot be written down" in read.err) == (register == "volumes")
    assert file.read_bytes() == wrong


def test_exceptions_by_commands() -> None:
    """Added with all that is needed, listed, renewed, withdrawn; who writes is told that it is in the clear."""
    refused = run(
        "exception", "add", "X-rays", "--reason", "r", "--controls", "c", "--approver", "a", "--review", "2020-01-01"
    )
    assert (refused.code, "is over already" in refused.err) == (ExitCode.USAGE, True)
    for missing in ("--reason", "--controls", "--approver", "--review"):
        given = {"--reason": "r", "--controls": "c", "--approver": "Dr. Weber", "--review": FAR}
        del given[missing]
        assert (
            run("exception", "add", "X-rays", *[word for pair in given.items() for word in pair]).code == ExitCode.USAGE
        )
    full = ("--reason", "r", "--controls", "c", "--approver", "Dr. Weber", "--review", FAR)
    added = run("exception", "add", "X-rays", *full, "--json")
    assert "no patient's name" in added.err
    made = added.json["exception"]
    assert (made["id"], made["dataset"], made["overdue"], made["withdrawn"]) == ("E1", "X-rays", False, None)
    assert "X-rays is not encrypted" in run("exception", "list").out
    assert run("exception", "renew", "e1", "--approver", "Dr. Klein", "--review", FAR).code == 0
    assert run("exception", "withdraw", "E1").code == 0
    assert run("exception", "withdraw", "E1").code == ExitCode.USAGE
    assert run("exception", "withdraw", "E7").code == ExitCode.USAGE
    assert run("exception", "list", "--json").json == {"exceptions": []}
    (row,) = csv.DictReader(io.StringIO(run("exception", "list", "--all", "--csv").out))
    assert (row["id"], row["approver"]) == ("E1", "Dr. Klein")
    assert on("exceptions") == ["add", "renew", "withdraw"]
    records = run("audit", "show", "--json").json["records"]
    assert [one["object"] for one in records if one["action"] == "register.exceptions"] == ["add", "renew", "withdraw"]


def test_a_register_that_cannot_be_written(host_memory: Path) -> None:
    """A file where the folder should be: an error, no traceback."""
    host_memory.mkdir(mode=0o700)
    (host_memory / "registers").write_text("in the way")
    refused = run("media", "add", "Blue", "--json")
    assert refused.code != 0
    assert json.loads(refused.out)["error"]["message"]
    assert light("status")[1]["register"] == "red"


def test_the_number_of_an_attached_medium(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Serial and filesystem are what the system says of the disk behind a device. Here programs stand in for lsblk."""
    if os.geteuid() != 0:
        pytest.skip("a block device has to be there to be named")
    device = next(
        (path for path in (Path("/dev/loop0"), Path("/dev/sda"), Path("/dev/vda")) if path.is_block_device()), None
    )
    if device is None:
        pytest.skip("there is no block device")
    told = {
        "name": "sdx1", "path": str(device), "maj:min": "8:1", "type": "part", "size": 1, "rm": True, "hotplug": True,
        "ro": False, "mountpoints": [None], "pkname": device.name, "tran": "usb", "vendor": "V", "model": "M",
        "parttype": "", "serial": None, "uuid": "1A2B-3C4D",
    }  # fmt: skip
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    disk = told | {"type": "disk", "serial": " 4C530001 ", "uuid": None, "pkname": None}
    for name, value in (("part", told), ("disk", disk)):
        (bin_ / name).write_text(json.dumps({"blockdevices": [value]}))
    (bin_ / "lsblk").write_text(
        f"#!/bin/sh\nif [ -e {bin_}/asked ]; then cat {bin_}/disk; else : > {bin_}/asked; cat {bin_}/part; fi\n"
    )
    (bin_ / "blkid").write_text("#!/bin/sh\nexit 2\n")
    for name in ("lsblk", "blkid"):
        (bin_ / name).chmod(0o755)
    env = {"PATH": f"{bin_}:{os.environ['PATH']}"}
    added = run("media", "add", "Blue", "--device", device, "--json", env=env).json["medium"]
    assert (added["serial"], added["filesystem"]) == ("4C530001", "1A2B-3C4D")
