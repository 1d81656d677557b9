"""Making a volume: for ``cloakfs create`` and ``cloakfs stick create``.

Owns: the options, the questions and their order. Must not know: what is in a config, how a key is derived, which
command asks.

Rule: the volume is made last, after everything that can go wrong or be given up, so that nothing half-made is left.
"""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import click

from encfs.cli import auditing, calibration, new_passphrase, output, presences, progress, seeing, terminal
from encfs.cli.calibration import Calibrated, calibrate
from encfs.cli.new_passphrase import Wanted
from encfs.cli.recovery_key import prove, write_file
from encfs.cli.secret_files import check_free, is_device
from encfs.cli.secrets import SecretOptions, passphrase_options
from encfs.crypto import rng
from encfs.errors import NotEmptyError, UsageError
from encfs.format.audit_body import Outcome
from encfs.format.config import Config
from encfs.format.limits import CONFIG_NAME, LABEL_MAX, RECOVERY_KEY_SIZE
from encfs.volume import Volume

_F = TypeVar("_F", bound=Callable[..., Any])
_CELL_SIZES: Final = {"4K": 4096, "16K": 16384, "64K": 65536}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the options say about a new volume."""

    cell_size: int
    label: str
    memory_kib: int | None
    passes: int | None
    secret: SecretOptions = field(repr=False)
    allow_weak: bool
    no_recovery: bool
    recovery_out: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What was answered: all that a volume is made of."""

    passphrase: bytes = field(repr=False)
    cost: Calibrated
    recovery_key: bytes | None = field(repr=False)


def making_options(function: _F) -> _F:
    """The options, collected into the argument ``wishes``."""

    @click.option(
        "--cell-size",
        type=click.Choice(list(_CELL_SIZES), case_sensitive=False),
        metavar="|".join(_CELL_SIZES),
        default="4K",
        show_default=True,
        help="Unit of encryption. 64K suits archives of large files that are written once.",
    )
    @click.option("--label", default="passphrase", show_default=True, help="Name of the passphrase; not secret.")
    @calibration.kdf_options
    @click.option("--allow-weak", is_flag=True, help="Take the passphrase even if it is easy to guess.")
    @click.option("--no-recovery", is_flag=True, help="Make no recovery key.")
    @click.option("--recovery-out", metavar="FILE", help="Write the recovery key to a new file; show and ask nothing.")
    @passphrase_options
    @functools.wraps(function)
    def collected(
        *,
        cell_size: str,
        label: str,
        memory_kib: int | None,
        passes: int | None,
        secret: SecretOptions,
        allow_weak: bool,
        no_recovery: bool,
        recovery_out: str | None,
        **rest: object,
    ) -> object:
        wishes = Wishes(
            cell_size=_CELL_SIZES[cell_size],
            label=label,
            memory_kib=memory_kib,
            passes=passes,
            secret=secret,
            allow_weak=allow_weak,
            no_recovery=no_recovery,
            recovery_out=recovery_out,
        )
        return function(wishes=wishes, **rest)

    return collected  # type: ignore[return-value]  # the same command, with other parameters


def check(wishes: Wishes, volume: str | None) -> None:
    """Everything that can be said before a passphrase is asked for. ``volume``: None if its place is not there yet.

    Raises:
        UsageError, NotEmptyError, OSError.
    """
    if len(wishes.label) > LABEL_MAX or not wishes.label.isprintable():
        raise UsageError(f"--label: at most {LABEL_MAX} characters, and no control characters")
    if wishes.no_recovery and wishes.recovery_out is not None:
        raise UsageError("--no-recovery and --recovery-out contradict each other")
    if wishes.secret.asks:
        terminal.require("a passphrase", hint="Give --passphrase-file, --passphrase-fd or --passphrase-command.")
    elif not wishes.no_recovery and wishes.recovery_out is None:
        raise UsageError(
            "the passphrase comes from an option, so nothing is asked: say what shall happen to the recovery key",
            hint="Give --recovery-out FILE (keep it elsewhere), or --no-recovery to make none.",
        )
    if volume is not None:
        _check_place(volume)
    if wishes.recovery_out is not None:
        _check_recovery_out(wishes.recovery_out, volume)


def _check_place(volume: str) -> None:
    name = output.printable(volume)
    try:
        entries = os.listdir(volume)
    except FileNotFoundError:
        parent = os.path.dirname(os.path.abspath(volume))
        if not os.path.isdir(parent):
            raise UsageError(f"{output.printable(parent)}: there is no such directory", hint="Make it first.") from None
        return
    except NotADirectoryError as exc:
        raise NotEmptyError(f"{name}: this is a file", hint="Give the name of a new directory.") from exc
    if os.fsdecode(CONFIG_NAME) in entries:
        raise NotEmptyError(f"{name}: there is a volume already", hint="Nothing was changed. Choose another directory.")
    if entries:
        raise NotEmptyError(f"{name}: this directory is not empty", hint="Give the name of a new or empty directory.")


def _check_recovery_out(path: str, volume: str | None) -> None:
    inner, outer = os.path.realpath(path), os.path.realpath(volume or os.devnull)
    if inner.startswith(outer + "/") or inner == outer:
        raise UsageError(
            "the recovery key would lie in the volume that it opens",
            hint="Choose a place that is not lost together with the volume.",
        )
    if not is_device(path):
        check_free(path)


def choose(wishes: Wishes, volume: str) -> Chosen:
    """Ask for a passphrase and weigh it, measure this machine, and have the recovery key written down and typed back.

    Raises:
        WeakPassphraseError, UsageError, OSError, EOFError.
    """
    passphrase = new_passphrase.choose(
        Wanted(volume=volume, label=wishes.label, secret=wishes.secret, allow_weak=wishes.allow_weak)
    )
    with progress.activity("Measuring this machine, to make guessing slow"):
        cost = calibrate(memory_kib=wishes.memory_kib, passes=wishes.passes)
    recovery_key = None if wishes.no_recovery else rng.random_bytes(RECOVERY_KEY_SIZE)
    if recovery_key is not None and wishes.recovery_out is None:
        prove(recovery_key, volume)
    return Chosen(passphrase=passphrase, cost=cost, recovery_key=recovery_key)


def make(wishes: Wishes, chosen: Chosen, volume: str, *, name: str | None = None, place: str | None = None) -> Config:
    """Write the recovery key, if it goes to a file, and then the volume; take the file back if that fails.

    ``name``: what the file calls the volume, if not by its directory; ``place``: where the volume is for the register,
    if its directory is there for this moment only.
    """
    out = wishes.recovery_out
    if out is None or chosen.recovery_key is None:
        return _create(wishes, chosen, volume, place)
    write_file(out, chosen.recovery_key, name or volume)
    try:
        return _create(wishes, chosen, volume, place)
    except BaseException:
        if stat.S_ISREG(os.lstat(out).st_mode):
            os.unlink(out)
        raise


def _create(wishes: Wishes, chosen: Chosen, volume: str, place: str | None) -> Config:
    kdf = chosen.cost.kdf
    with progress.activity("Making the volume"):
        config = Volume.create(
            os.fsencode(volume),
            secret=chosen.passphrase,
            kdf=kdf,
            label=wishes.label,
            recovery_key=chosen.recovery_key,
            cell_size=wishes.cell_size,
        )
    presences.created(place or volume, config)
    auditing.tell(
        "volume.create", Outcome.DONE, config.volume_id, cell_size=config.cell_size, kdf_memory_kib=kdf.memory_kib
    )
    seeing.keys_changed(config)
    seeing.look(volume, entries_max=seeing.AT_A_MOUNT)
    return config


def rows(wishes: Wishes, config: Config, cost: Calibrated) -> list[tuple[str, str]]:
    """What a new volume is made of, for a table."""
    kdf = cost.kdf
    memory = output.human_size(kdf.memory_kib * 1024)
    about = "" if cost.seconds is None else f", about {cost.seconds:.1f} s here"
    return [
        ("cell size", output.human_size(config.cell_size)),
        ("passphrase", f"Argon2id with {memory} and {output.plural(kdf.passes, 'pass', 'passes')}{about}"),
        ("recovery key", _recovery_text(wishes)),
    ]


def _recovery_text(wishes: Wishes) -> str:
    if wishes.no_recovery:
        return "none: if the passphrase is lost, everything in the volume is lost"
    if wishes.recovery_out is not None:
        return f"in {output.printable(wishes.recovery_out)}: keep it away from the volume"
    return "typed back rightly: keep the paper away from the volume"


def as_json(wishes: Wishes, config: Config, cost: Calibrated, volume: str) -> dict[str, Any]:
    """What docs/json.md has for ``create``."""
    kdf = cost.kdf
    return {
        "volume": os.path.abspath(volume),
        "volume_id": config.volume_id.hex(),
        "created": config.created,
        "cell_size": config.cell_size,
        "kdf": {
            "alg": str(kdf.alg),
            "memory_kib": kdf.memory_kib,
            "passes": kdf.passes,
            "lanes": kdf.lanes,
            "seconds": None if cost.seconds is None else round(cost.seconds, 3),
        },
        "recovery": "none" if wishes.no_recovery else "shown" if wishes.recovery_out is None else "file",
        "recovery_out": wishes.recovery_out,
    }
