"""``cloakfs backup key``: the key of a backup once more, on a new computer, after a rotation (FORMAT.md 18)."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from encfs.backup import keys, markers, plans, slots
from encfs.backup.plans import EngineKind, Keep, KeyKind, Place, Plan
from encfs.backup.restic_engine import ResticEngine
from encfs.cli import backup_key
from encfs.cli.secrets import SecretOptions
from encfs.core.config import unlock
from encfs.core.sources import KnownSecret
from encfs.errors import BackupError, ExitCode, WrongSecretError
from encfs.format.recovery_key import decode_recovery_key, encode_recovery_key
from encfs.format.slots import SlotKind
from encfs.sheets.sheets import backup_sheet
from encfs.units import VolumeId
from encfs.volume import Volume, read_config
from tests.cli.test_audit_command import recorded
from tests.support.command import Result, run
from tests.support.mounting import SECRET
from tests.support.paper import codes_on, words_on
from tests.support.pty_session import PtySession
from tests.support.volumes import RECOVERY_KEY, LowerVolume, pattern, read

KEY = bytes(range(50, 82))
PLAN, OTHER = "0a" * 16, "0b" * 16
_MEMORY = Path("/dev/shm")


@pytest.fixture
def lower(tmp_path: Path) -> LowerVolume:
    """A volume with a file, and its passphrase in a file."""
    volume = LowerVolume(tmp_path / "practice.vault")
    with volume.unlock() as opened:
        opened.write_file(b"file", pattern(5000))
    (tmp_path / "passphrase").write_bytes(SECRET)
    return volume


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    """A place on another medium than the sheet."""
    if _MEMORY.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second filesystem")
    made = _MEMORY / f"cloakfs-{os.getpid()}-{tmp_path.name}"
    made.mkdir()
    yield made
    shutil.rmtree(made)


def planned(
    volume: LowerVolume, target: Path, engine: EngineKind, plan_id: str = PLAN, kind: KeyKind = KeyKind.OWN
) -> Plan:
    """A backup in the register."""
    made = Plan(
        id=plan_id,
        volume_id=read_config(os.fsencode(volume.path)).volume_id.hex(),
        volume=str(volume.path),
        engine=engine,
        target=str(target),
        place=Place.ONSITE,
        key=kind,
        keep=Keep(),
        guard=50,
        since=0,
    )
    plans.add(made)
    return made


def ask(volume: LowerVolume, *more: str | Path) -> Result:
    """The command."""
    return run("backup", "key", volume.path, *more)


def told() -> list[tuple[str, str]]:
    """What the audit log has of it."""
    return [(one["outcome"], one["detail"]["what"]) for one in recorded() if one["action"] == "backup.key"]


def test_another_sheet(lower: LowerVolume, target: Path, tmp_path: Path) -> None:
    """The page has the key that is kept, in a file for its owner only; the audit log is told, not the key."""
    planned(lower, target, EngineKind.RESTIC)
    key, sheet = keys.make(PLAN), tmp_path / "sheet.pdf"
    done = ask(lower, "--sheet", sheet, "--json")
    assert (done.code, done.err) == (0, "")
    assert done.json == {
        "plan": PLAN, "volume": str(lower.path), "target": str(target), "done": "sheet", "sheet": str(sheet)
    }  # fmt: skip
    assert [decode_recovery_key(code) for code in codes_on(sheet.read_bytes())] == [key]
    assert stat.S_IMODE(sheet.stat().st_mode) == 0o600
    assert told() == [("done", "sheet")]
    again = ask(lower, "--sheet", sheet)
    assert (again.code, again.out) == (ExitCode.NOT_EMPTY, "")
    assert encode_recovery_key(key)[:5] not in done.out + again.err


def test_a_sheet_beside_the_backup_is_refused(lower: LowerVolume, tmp_path: Path) -> None:
    """It would be lost or stolen with what it opens; where the medium is not there, nothing can be said of it."""
    planned(lower, tmp_path / "target", EngineKind.RESTIC)
    keys.make(PLAN)
    done = ask(lower, "--sheet", tmp_path / "sheet.pdf")
    assert (done.code, "on the medium of the backup" in done.err) == (ExitCode.USAGE, True)
    assert not (tmp_path / "sheet.pdf").exists()
    gone = planned(lower, tmp_path / "gone" / "target", EngineKind.RESTIC, OTHER)
    keys.make(OTHER)
    assert ask(lower, "--target", gone.target, "--sheet", tmp_path / "sheet.pdf").code == 0


def test_what_is_on_the_page() -> None:
    """Its title says BACKUP; it says of which volume, where, what it opens and what not, and what to type in a fire."""
    pdf = backup_sheet(
        KEY,
        volume="practice.vault",
        volume_id=VolumeId(bytes(range(16))),
        target="sftp:backup@nas:cloakfs",
        plan=PLAN,
        day=date(2026, 2, 28),
    )
    text = words_on(pdf)
    assert text.startswith("cloakfs BACKUP key This key opens the BACKUP below. It does not open the volume itself.")
    for shown in (
        "Backup of practice.vault", "Backup to sftp:backup@nas:cloakfs", f"Backup id {PLAN}", "Date 2026-02-28",
        f"Volume id {bytes(range(16)).hex()}", "tools/cloakfs restore --from TARGET --sheet --new-volume DIR",
        "tools/cloakfs backup drill --from TARGET --sheet",
    ):  # fmt: skip
        assert shown in text
    groups = encode_recovery_key(KEY).split("-")
    assert " ".join(f"{number} {group}" for number, group in enumerate(groups, start=1)) in text
    assert [decode_recovery_key(code) for code in codes_on(pdf)] == [KEY]


def test_the_key_on_the_screen(lower: LowerVolume, target: Path) -> None:
    """Only on a terminal, on a screen of its own, and never on standard output."""
    planned(lower, target, EngineKind.RESTIC)
    groups = encode_recovery_key(keys.make(PLAN)).split("-")
    refused = ask(lower, "--show")
    assert (refused.code, refused.out) == (ExitCode.USAGE, "")
    with PtySession("backup", "key", str(lower.path), "--show") as session:
        session.answer("Press Enter when you have it on paper.", "")
        assert session.end() == 0
        assert all(group in session.text for group in groups)
    assert told() == [("refused", "show"), ("done", "show")]


def repository(plan: Plan, target: Path) -> None:
    """The backup is there, with the key that is on its sheet."""
    markers.write_marker(os.fsencode(target), markers.marker_of(plan, ""))
    ResticEngine(plan.id, plan.volume_id, None, str(target / "restic"), KEY).init()


def test_a_key_that_is_typed_on_a_new_computer(lower: LowerVolume, target: Path, tmp_path: Path) -> None:
    """It is kept; one that opens the volume, is mistyped, or is another one's, is refused and not kept."""
    repository(planned(lower, target, EngineKind.RESTIC), target)
    typed = tmp_path / "typed"
    for wrong in (encode_recovery_key(RECOVERY_KEY), encode_recovery_key(KEY)[:-1] + "?"):
        typed.write_text(wrong)
        typed.chmod(0o600)
        done = ask(lower, "--import", "--backup-key-file", typed)
        assert (done.code, done.out, wrong[:5] in done.err) == (ExitCode.USAGE, "", False)
        assert not keys.is_kept(PLAN)
    typed.write_text(encode_recovery_key(bytes(32)))
    assert ask(lower, "--import", "--backup-key-file", typed).code == ExitCode.WRONG_SECRET
    assert not keys.is_kept(PLAN)
    typed.write_text(encode_recovery_key(KEY).lower())
    assert ask(lower, "--import", "--backup-key-file", typed).code == 0
    assert keys.read(PLAN) == KEY
    assert [outcome for outcome, _ in told()] == ["refused", "refused", "refused", "done"]


def test_a_key_that_does_not_fit_is_not_kept(lower: LowerVolume, target: Path, tmp_path: Path) -> None:
    """What the backup itself does not open with is refused; that is asked before it is kept."""
    plan, asked = planned(lower, target, EngineKind.RESTIC), []
    (tmp_path / "typed").write_text(encode_recovery_key(KEY))
    (tmp_path / "typed").chmod(0o600)

    def fits(one: Plan, key: bytes) -> None:
        asked.append((one.id, key, keys.is_kept(PLAN)))
        raise BackupError("another backup")

    arguments = [str(lower.path), "--import", "--backup-key-file", str(tmp_path / "typed")]
    with pytest.raises(BackupError, match="another backup"):
        backup_key.command(fits).main(arguments, standalone_mode=False)
    assert asked == [(plan.id, KEY, False)]
    assert not keys.is_kept(PLAN)


def test_a_key_that_is_typed_by_hand(lower: LowerVolume, target: Path) -> None:
    """What was mistyped is asked for again."""
    repository(planned(lower, target, EngineKind.RESTIC), target)
    text = encode_recovery_key(KEY)
    with PtySession("backup", "key", str(lower.path), "--import") as session:
        session.answer("groups: ", text[:-1] + ("0" if text[-1] != "0" else "1"))
        session.answer("groups: ", text)
        assert session.end() == 0
    assert keys.read(PLAN) == KEY


def test_the_slot_of_a_sealed_copy(lower: LowerVolume, target: Path, tmp_path: Path) -> None:
    """FORMAT.md 18: made from the sheet, made to fit after a rotation; its key is never kept."""
    planned(lower, target, EngineKind.COPY)
    typed, secret = tmp_path / "typed", ("--passphrase-file", tmp_path / "passphrase")
    typed.write_text(encode_recovery_key(KEY))
    typed.chmod(0o600)
    assert ask(lower, "--import", "--backup-key-file", typed, *secret).code == 0
    assert not keys.is_kept(PLAN)
    for wish in (("--sheet", tmp_path / "sheet.pdf"), ("--show",)):
        done = ask(lower, *wish)
        assert (done.code, "on its sheet, and nowhere else" in done.err) == (ExitCode.USAGE, True)
    assert not (tmp_path / "sheet.pdf").exists()
    assert run("key", "rotate", lower.path, "--reason", "schedule", *secret).code == 0
    (tmp_path / "wrong").write_text("no passphrase of this volume")
    assert ask(lower, "--refresh", "--passphrase-file", tmp_path / "wrong").code == ExitCode.WRONG_SECRET
    assert ask(lower, "--refresh", *secret).code == 0
    copy = tmp_path / "copy"
    shutil.copytree(lower.path, copy)
    for name in ("cloakfs.volume", "cloakfs.volume.bak"):
        (copy / name).write_bytes(slots.current(PLAN, os.fsencode(lower.path)))
    with Volume.unlock(os.fsencode(copy), KnownSecret.of(SlotKind.RECOVERY, KEY), read_only=True) as opened:
        assert read(opened, b"file") == pattern(5000)
    assert told()[-1] == ("done", "refresh")


def test_a_new_slot_for_a_backup_that_is_set_up(lower: LowerVolume, target: Path, tmp_path: Path) -> None:
    """FORMAT.md 18: each has another key, which is kept nowhere; a wrong secret makes none."""
    plan, secret = planned(lower, target, EngineKind.COPY), SecretOptions(passphrase_file=str(tmp_path / "passphrase"))
    (tmp_path / "wrong").write_text("no passphrase of this volume")
    with pytest.raises(WrongSecretError):
        backup_key.new_slot(plan, SecretOptions(passphrase_file=str(tmp_path / "wrong")))
    with pytest.raises(BackupError, match="not on this computer"):
        slots.current(PLAN, os.fsencode(lower.path))
    key = backup_key.new_slot(plan, secret)
    assert key != backup_key.new_slot(plan, secret)
    assert not keys.is_kept(PLAN)
    with pytest.raises(WrongSecretError):
        unlock([slots.current(PLAN, os.fsencode(lower.path))], KnownSecret.of(SlotKind.RECOVERY, key))


def test_which_backup_and_what(lower: LowerVolume, target: Path, tmp_path: Path) -> None:
    """Exit status 2 and nothing done where that is not said, or makes no sense."""
    assert "no such backup" in ask(lower, "--show").err
    planned(lower, target, EngineKind.COPY, OTHER, KeyKind.VOLUME)
    assert "no key of its own" in ask(lower, "--show").err
    one = planned(lower, target / "one", EngineKind.RESTIC)
    keys.make(PLAN)
    planned(lower, target / "two", EngineKind.RESTIC, "0c" * 16)
    several = ask(lower, "--sheet", tmp_path / "sheet.pdf")
    assert (several.code, one.target in several.err) == (ExitCode.USAGE, True)
    for wishes in (("--show", "--refresh"), ("--show", "--backup-key-file", "x")):
        assert ask(lower, "--target", one.target, *wishes).code == ExitCode.USAGE
    nothing = ask(lower, "--target", one.target, "--refresh")
    assert (nothing.code, "does not depend on the volume" in nothing.err) == (ExitCode.USAGE, True)
    assert replace(one, since=plans.plan(PLAN).since) == plans.plan(PLAN)
    assert not (tmp_path / "sheet.pdf").exists()
