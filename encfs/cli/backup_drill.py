"""``cloakfs backup drill``: a backup is restored for a trial.

Owns: the options, and what they mean. Must not know: how a backup is found and opened (that is given to
:func:`command`), what a drill is (``encfs.cli.drill_doing``).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final

import click

from encfs.backup.drill_record import SEED_MAX, People
from encfs.backup.drilling import Wish
from encfs.cli import drill_doing, drill_view, options, targets
from encfs.cli.backup_secret import backup_key
from encfs.cli.drill_doing import Opened
from encfs.cli.secrets import SecretOptions, secret_options
from encfs.crypto import rng
from encfs.errors import ExitCode, UsageError
from encfs.registers.words import check_text

SAMPLE: Final = 25
"""Files of a sample, unless somebody says otherwise."""
SHEET: Final = "recovery sheet, typed in"
"""What a record says of a backup that was opened with nothing but the sheet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which backup, and what opens it.

    Attributes:
        volume: as it was named; None where a bare target is tried.
        bare: that target: nothing that this computer knows of the backup is used.
        target: which one of several of a volume; None if nobody said.
        sheet_key: 32 bytes of the recovery sheet, where only that is to be used.
        secret: else what opens it, if it is not a key that is kept.
        people: who makes the drill.
    """

    volume: str | None
    bare: str | None
    target: str | None
    sheet_key: bytes | None = field(repr=False)
    secret: SecretOptions = field(repr=False)
    people: People


Opener = Callable[[Asked], AbstractContextManager[Opened]]
"""Finds a backup and opens it for reading. Raises: CloakfsError, OSError."""


def command(open_backup: Opener) -> click.Command:
    """The command, for a group that knows how backups are opened."""

    @options.command(
        "drill",
        example="""
cloakfs backup drill ~/practice.vault
cloakfs backup drill ~/practice.vault --full --by Anna --out drill.pdf
cloakfs backup drill --from /media/anna/BACKUP --sheet""",
    )
    @click.argument("volume", required=False)
    @click.option("--from", "bare", metavar="TARGET", help="A backup of which this computer need not know anything.")
    @click.option("--target", metavar="TARGET", help="Which one, where a volume has several.")
    @click.option("--sample", type=click.IntRange(min=1), metavar="N", help=f"Restore N files; {SAMPLE} by default.")
    @click.option("--full", is_flag=True, help="Restore everything.")
    @click.option("--seed", type=click.IntRange(0, SEED_MAX), metavar="N", help="Pick the files of an earlier trial.")
    @click.option("--sheet", is_flag=True, help="Open it with nothing but the recovery sheet, which is typed in.")
    @click.option("--by", default="", metavar="NAME", help="Who makes the trial.")
    @click.option(
        "--out", metavar="FILE", help="Write the signed record to a new PDF file, or to one that ends in .json."
    )
    @options.json_option
    @secret_options
    def drill(
        *,
        volume: str | None,
        bare: str | None,
        target: str | None,
        sample: int | None,
        full: bool,
        seed: int | None,
        sheet: bool,
        by: str,
        out: str | None,
        as_json: bool,
        secret: SecretOptions,
    ) -> ExitCode:
        """Restore a sample of the newest backup of VOLUME, or all of it, and compare it with what was taken.

        Each file is restored into memory, or into an encrypted volume whose key is never stored, compared, and
        destroyed. Nothing that is in use is touched, and nothing plain is written to a disk. The largest and the newest
        file are in every sample.

        What came of it is written down, signed, for a second person to certify ("cloakfs backup certify"). A sample is
        due each month, all of it each year. With --sheet, on a computer that has nothing else, it is also shown that
        the sheet opens the backup.

        The exit status is 0 if all is as it was taken, 3 if something is damaged, missing or another one.
        """
        if (volume is None) == (bare is None):
            raise UsageError("say which backup", hint="Give VOLUME, or --from TARGET.")
        if bare is not None and target is not None:
            raise UsageError("--target goes with a volume", hint="Give --from TARGET alone.")
        if full and (sample is not None or seed is not None):
            raise UsageError("--full restores everything, and picks nothing", hint="Leave --sample and --seed out.")
        check_text("name", by)
        drill_view.check_file(out)
        asked = Asked(
            volume=volume,
            bare=bare,
            target=target,
            sheet_key=backup_key(secret) if sheet else None,
            secret=secret,
            people=People(login=targets.user_name(os.getuid()), uid=os.getuid(), name=by),
        )
        wish = Wish(sample=None if full else sample or SAMPLE, seed=_seed(seed, full=full))
        with open_backup(asked) as opened:
            return drill_doing.make(opened, wish, out=out, as_json=as_json)

    return drill


def _seed(seed: int | None, *, full: bool) -> int:
    """One that nobody can foresee, so that nobody can see to it that just those files are good."""
    if full:
        return 0
    return int.from_bytes(rng.random_bytes(8), "big") if seed is None else seed
