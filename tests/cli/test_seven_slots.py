"""A practice with a slot of every kind, over some years: what ``docs/keys.md`` promises an office, in one go.

Somebody leaves, the keys are replaced while people work, both passphrases are forgotten, and the sheet is lost.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyrage
import pytest

from encfs.cli.main import cloakfs
from encfs.cli.media import same_medium
from encfs.errors import CloakfsError, ExitCode
from encfs.format.recovery_key import decode_recovery_key, encode_recovery_key
from encfs.volume import read_config
from tests.support import tokens
from tests.support.command import CHEAP, run
from tests.support.mounting import MountedVolume, wait_for
from tests.support.paper import codes_on
from tests.support.working import Programs, furnish

pytestmark = [pytest.mark.mount, pytest.mark.skipif(shutil.which("softhsm2-util") is None, reason="no SoftHSM")]

OWNER = "cobalt lantern harvest nimbus"
ANNA = "velvet orchard magnet tundra"


class Office:
    """A mounted volume, a place on another medium, and what opens the volume: options by label."""

    def __init__(self, mounted: MountedVolume, elsewhere: Path) -> None:
        self.mounted = mounted
        self.elsewhere = elsewhere
        self.opens: dict[str, tuple[str, ...]] = {"passphrase": ("--passphrase-file", str(mounted.secret_file))}

    def file(self, name: str, content: str) -> str:
        """A file for its owner only; its path."""
        path = self.elsewhere / name
        path.write_text(content)
        path.chmod(0o600)
        return str(path)

    def key(self, *arguments: str, opened_with: str = "passphrase") -> str:
        """``cloakfs key`` on the volume, which has to succeed; what it says."""
        verb, *rest = arguments
        result = run("key", verb, self.mounted.lower, *rest, *self.opens[opened_with])
        assert result.code == 0, result.err
        return result.out

    def add(self, label: str, opens: tuple[str, ...], *options: str) -> None:
        """A slot more, and what opens it."""
        self.key("add", "--label", label, *options)
        self.opens[label] = opens

    def labels(self) -> list[str]:
        """The slots that lie there, the oldest first."""
        return [slot.label for slot in read_config(os.fsencode(self.mounted.lower)).slots]

    def tried(self, label: str) -> int:
        """How ``key test`` ends with what opens a slot. In this process: it is asked two dozen times."""
        try:
            cloakfs.main(["key", "test", str(self.mounted.lower), *self.opens[label]], standalone_mode=False)
        except CloakfsError as exc:
            return int(exc.exit_code)
        return 0


@pytest.fixture
def office(mounted: MountedVolume) -> Iterator[Office]:
    """With a token; everything that opens the volume is on another medium, as it should be."""
    base = next((one for one in ("/dev/shm", "/run") if os.access(one, os.W_OK)), None)
    if base is None or same_medium(base, str(mounted.lower)):
        pytest.skip("there is no second filesystem to write to")
    with tempfile.TemporaryDirectory(dir=base) as found:
        (Path(found) / "hsm").mkdir()
        with tokens.soft_tokens(Path(found) / "hsm"):
            yield Office(mounted, Path(found))


def fill(office: Office) -> None:
    """One slot of every kind there is, each made as an office would make it."""
    place = office.elsewhere
    owner, anna = office.file("owner", OWNER), office.file("anna", ANNA)
    office.key("change", "passphrase", "--new-passphrase-file", owner, *CHEAP)
    office.opens["passphrase"] = ("--passphrase-file", owner)
    office.add("Anna", ("--passphrase-file", anna), "--new-passphrase-file", anna, *CHEAP)
    office.add("stick", ("--key-file", f"{place}/stick"), "--new-key-file", f"{place}/stick")
    both = ("--new-passphrase-file", owner, "--new-key-file", f"{place}/both")
    office.add("both", ("--key-file", f"{place}/both", "--passphrase-file", owner), *both, *CHEAP)
    identity = pyrage.x25519.Identity.generate()
    key = office.file("backup.key", f"{identity}\n")
    public = ("--recipient", str(identity.to_public()), "--new-identity", key)
    office.add("backup", ("--identity", key), *public)
    uri, pin = tokens.add(place / "hsm", "practice"), office.file("pin", tokens.PIN)
    token = ("--token", uri, "--module", tokens.module(), "--pin-file", pin)
    new = tuple(word.replace("--", "--new-", 1) if word.startswith("--") else word for word in token)
    office.add("token", token, *new)
    office.key("recovery", "--out", f"{place}/sheet.pdf", "--custodian", "Dr. Weber", "--label", "sheet", "--yes")
    (printed,) = codes_on((place / "sheet.pdf").read_bytes())
    office.opens["sheet"] = ("--recovery-file", office.file("typed", encode_recovery_key(decode_recovery_key(printed))))
    holders = ("--holder", "Anna", "--holder", "Ben", "--holder", "Cleo")
    split = ("--threshold", "2", "--shares", "3", "--out-dir", f"{place}/shares", "--label", "holders")
    office.key("shares", *split, *holders, "--text", "--yes")
    first, _, third = sorted((place / "shares").iterdir())
    office.opens["holders"] = ("--share-file", str(third), "--share-file", str(first))


def test_seven_slots(office: Office) -> None:
    """Each kind opens it from the first day to the last, but for what was taken away."""
    mounted = office.mounted
    made = furnish(mounted.path)
    fill(office)
    everybody = ["passphrase", "Anna", "stick", "both", "backup", "token", "sheet", "holders"]
    assert office.labels() == everybody
    assert [office.tried(label) for label in everybody] == [0] * 8

    # Somebody leaves, while people work: new keys for all the others, who are not asked; and contents anew after that.
    with Programs(mounted.path) as programs:
        wait_for(lambda: all(programs.done.values()), "the programs work")
        assert "they are destroyed" in office.key("remove", "Anna", "--yes")
        assert "they are destroyed" in office.key("rotate", "--reason", "compromise", "--data", opened_with="stick")
    everybody.remove("Anna")
    assert office.labels() == everybody
    assert office.tried("Anna") == ExitCode.WRONG_SECRET
    assert [office.tried(label) for label in everybody] == [0] * 7

    # Both passphrases are forgotten: the sheet opens it, and gives the owner a new one.
    assert run("lock", mounted.path).code == 0
    back = run("mount", mounted.lower, mounted.path, *office.opens["sheet"], "--log", mounted.log)
    assert (back.code, "recovery" in back.out) == (0, True), back.err
    assert {path: path.read_bytes() for path in made} == made
    fresh = office.file("fresh", "quartz meadow signal anchor")
    office.key("change", "passphrase", "--new-passphrase-file", fresh, *CHEAP, opened_with="sheet")
    assert office.tried("passphrase") == ExitCode.WRONG_SECRET
    office.opens["passphrase"] = ("--passphrase-file", fresh)
    assert office.tried("passphrase") == ExitCode.OK

    # And the sheet is lost: two of three holders open it, take its slot away, and make a new one.
    office.key("remove", "sheet", "--rotate", "--yes", opened_with="holders")
    assert office.tried("sheet") == ExitCode.WRONG_SECRET
    anew = ("--out", f"{office.elsewhere}/new.pdf", "--custodian", "Dr. Weber", "--label", "new sheet", "--yes")
    office.key("recovery", *anew, opened_with="holders")
    everybody = [*(label for label in everybody if label != "sheet"), "new sheet"]
    assert office.labels() == everybody
    assert [office.tried(label) for label in everybody[:-1]] == [0] * 6
    assert {path: path.read_bytes() for path in made} == made
    assert run("lock", mounted.path).code == 0
    checked = run("verify", mounted.lower, *office.opens["token"], "--json").json
    assert (checked["clean"], set(checked["summary"]["epochs"])) == (True, {"3"})
