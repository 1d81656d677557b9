"""``cloakfs backup drill``: what the options mean, and the sheet that is typed in (FORMAT.md 17, "Drill")."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from encfs.audit.home import host_signer
from encfs.backup import drills
from encfs.backup.plans import EngineKind
from encfs.backup.trial import About
from encfs.cli import backup_drill
from encfs.cli.backup_drill import SHEET, Asked
from encfs.cli.drill_doing import Opened
from encfs.errors import CloakfsError, ExitCode, UsageError, WrongSecretError
from encfs.format.recovery_key import encode_recovery_key
from tests.support.pty_session import PtySession
from tests.support.tree_backups import KEY, PLAN, VOLUME, TreeBackup
from tests.support.volumes import pattern


class Keeper:
    """Knows one backup, whose key is kept; with a key from a sheet it uses only that."""

    def __init__(self, base: Path) -> None:
        self.backup = TreeBackup(base)
        self.asked: list[Asked] = []

    @contextmanager
    def open(self, asked: Asked) -> Iterator[Opened]:
        self.asked.append(asked)
        key = KEY if asked.sheet_key is None else asked.sheet_key
        if key != KEY:
            raise WrongSecretError("the key does not open this backup")
        about = About(
            plan=PLAN,
            volume=VOLUME,
            engine=EngineKind.RESTIC,
            target=asked.bare or "/media/stick",
            own=host_signer().public,
            people=asked.people,
            key=SHEET if asked.sheet_key else "kept key",
        )
        yield Opened(engine=self.backup, about=about, backup_key=key)

    def run(self, *arguments: str) -> ExitCode:
        """The command, without a terminal; what it raises is raised."""
        code = backup_drill.command(self.open).main(list(arguments), standalone_mode=False)
        assert isinstance(code, ExitCode)
        return code


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    """Thirty letters."""
    made = Keeper(tmp_path / "backup")
    made.backup.tree.mkdir(parents=True)
    for number in range(30):
        (made.backup.tree / f"{number:02d}").write_bytes(pattern(100 + number, number))
    made.backup.take()
    return made


def _last() -> drills.Drill:
    return drills.drills()[-1]


def test_a_sample_of_25_unless_somebody_says_otherwise(keeper: Keeper) -> None:
    """25 files by a seed that nobody chose; N files; all; the same ones again by the seed."""
    assert keeper.run("/srv/p.vault") is ExitCode.OK
    first = _last().record
    assert (first.method.picked, first.method.full, first.key) == (25, False, "kept key")
    assert keeper.run("/srv/p.vault") is ExitCode.OK
    assert _last().record.method.seed != first.method.seed
    assert keeper.run("/srv/p.vault", "--sample", "3", "--seed", str(first.method.seed)) is ExitCode.OK
    assert (_last().record.method.picked, _last().record.method.seed) == (3, first.method.seed)
    assert keeper.run("/srv/p.vault", "--full", "--by", "Anna Weber") is ExitCode.OK
    assert (_last().record.method.picked, _last().record.method.full) == (30, True)
    people = _last().record.people
    assert (people.name, people.uid, people.login) == ("Anna Weber", os.getuid(), first.people.login)


def test_damage_is_exit_status_3(keeper: Keeper, capsys: pytest.CaptureFixture[str]) -> None:
    """And the object for scripts says so."""
    (keeper.backup.tree / "29").write_bytes(b"x")
    assert keeper.run("/srv/p.vault", "--json") is ExitCode.FINDINGS
    assert json.loads(capsys.readouterr().out)["passed"] is False


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("/srv/p.vault", "--from", "/media/x"),
        ("--from", "/media/x", "--target", "y"),
        ("/srv/p.vault", "--full", "--sample", "3"),
        ("/srv/p.vault", "--full", "--seed", "3"),
        ("/srv/p.vault", "--by", "two\nlines"),
        ("/srv/p.vault", "--out", "/nowhere/at/all.json"),
        ("/srv/p.vault", "--sheet", "--passphrase-file", "/x"),
        ("/srv/p.vault", "--sheet"),
    ],
)
def test_what_makes_no_sense(keeper: Keeper, arguments: Sequence[str]) -> None:
    """Refused before the backup is looked for; the last one because there is nobody to type."""
    with pytest.raises(UsageError):
        keeper.run(*arguments)
    assert keeper.asked == []
    assert drills.drills() == []


def test_a_file_that_exists_is_never_overwritten(keeper: Keeper, tmp_path: Path) -> None:
    """Refused before anything is restored."""
    there = tmp_path / "there.json"
    there.write_text("mine")
    with pytest.raises(CloakfsError) as found:
        keeper.run("/srv/p.vault", "--out", str(there))
    assert found.value.exit_code is ExitCode.NOT_EMPTY
    assert (there.read_text(), keeper.asked) == ("mine", [])


def test_the_sheet_from_a_file(keeper: Keeper, tmp_path: Path) -> None:
    """For scripts: only that key is used; another one opens nothing."""
    sheet = tmp_path / "sheet"
    sheet.write_text(encode_recovery_key(KEY))
    sheet.chmod(0o600)
    assert keeper.run("--from", "/media/x", "--sheet", "--recovery-file", str(sheet)) is ExitCode.OK
    assert (_last().record.key, _last().record.target) == (SHEET, "/media/x")
    sheet.write_text(encode_recovery_key(bytes(32)))
    with pytest.raises(WrongSecretError):
        keeper.run("--from", "/media/x", "--sheet", "--recovery-file", str(sheet))
    assert len(drills.drills()) == 1


SCRIPT = """
import sys
from pathlib import Path
from tests.backup.test_backup_drill_command import Keeper
sys.exit(Keeper(Path(sys.argv[1])).run(*sys.argv[2:]))
"""


def test_the_sheet_typed_in(keeper: Keeper, host_memory: Path) -> None:
    """On a terminal: a mistyped key is asked for again, and the right one is kept nowhere."""
    good = encode_recovery_key(KEY)
    program = (sys.executable, "-c", SCRIPT, str(keeper.backup.base), "--from", "/media/x", "--sheet")
    with PtySession(program=program, cwd=Path(__file__).parents[2]) as session:
        session.expect("The key on the recovery sheet")
        session.answer("groups: ", ("A" if good[0] != "A" else "B") + good[1:])
        session.answer("groups: ", good.lower())
        session.expect("25 files of 30")
        assert session.end() == 0
    assert _last().record.key == SHEET
    kept = b"".join(path.read_bytes() for path in host_memory.rglob("*") if path.is_file())
    assert not any(word in kept for word in (KEY, KEY.hex().encode(), good.encode(), good.split("-")[1].encode()))
