"""``cloakfs bench``: what cloakfs costs on this machine and on a chosen directory or stick.

Owns: which parts are measured, how it is told, the scratch mount. Must not know: the work (``encfs/bench``).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import click

from encfs.bench import charts, primitives, sides
from encfs.bench.caches import can_drop_caches
from encfs.bench.figures import CLOAKFS, Figure, Part
from encfs.bench.scratch import scratch
from encfs.bench.sides import Plan
from encfs.bench.verdict import verdict
from encfs.bench.work import Amounts
from encfs.cli import calibration, options, output, progress
from encfs.errors import CloakfsError, ExitCode, UsageError

_MIB: Final = 1 << 20
_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a tmpfs; what is made there has a fresh name
_PAGES, _FILES, _REPETITIONS = 2_000, 1_000, 3
_HEADINGS: Final = {
    Part.PRIMITIVES: "Cells of data on this processor, against the bare call of the crypto library",
    Part.LIBRARY: "A volume without a mount, against plain files",
    Part.MOUNTED: "A mounted volume, against the bare directory",
}


@options.command(
    "bench",
    example="""
cloakfs bench                          # this machine, and the current directory
cloakfs bench /media/stick --plot stick.svg""",
)
@click.argument("directory", default=".", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--size", default="64M", type=options.Size(), metavar="SIZE", help="Size of the large file.  [64M]")
@click.option("--plot", metavar="FILE", type=click.Path(path_type=Path), help="Draw the figures: .svg or .png.")
@options.json_option
def command(*, directory: Path, size: int, plot: Path | None, as_json: bool) -> ExitCode:
    """Measure what cloakfs costs on this machine and in DIRECTORY: a disk, a stick, a share.

    It works in a folder of its own there, which is gone afterwards, and checks every byte that it reads. More than
    100 % of the bare directory is possible: a mount keeps more in memory. As root it can make sure that what is read
    comes from the medium; else small files and names may come from memory, and that is said.
    """
    if plot is not None:
        charts.check(plot)
    if size < _MIB:
        raise UsageError("the large file must have 1 MiB at least")
    plan = Plan(Amounts(size, _PAGES, _FILES), _REPETITIONS)
    with progress.activity("Choosing the cost of a passphrase") as shown:
        figures, kdf, left_out = _measure(directory, plan, shown.update)
    if plot is not None:
        _draw(figures, plot)
    if as_json:
        output.print_json(_as_json(figures, kdf, left_out, plan))
    else:
        _tell(figures, kdf, left_out, plot)
    return ExitCode.OK


def _measure(
    directory: Path, plan: Plan, tell: Callable[[str], None]
) -> tuple[list[Figure], calibration.Calibrated, list[str]]:
    """All parts that can be measured here, the cost of a passphrase; and what was left out, and why."""
    figures: list[Figure] = []
    left_out: list[str] = []
    needed = 3 * plan.amounts.room()
    with ExitStack() as stack:
        home = stack.enter_context(scratch(directory, needed))
        memory = _memory(stack, needed)
        if memory is None:
            left_out.append("in memory: there is no tmpfs with enough room here")
        kdf = calibration.calibrate()
        tell("Cells on this processor")
        figures += primitives.measure()
        tell("A volume without a mount")
        figures += sides.library_figures(home, memory, plan)
        reason = _no_mount()
        if reason:
            left_out.append(f"mounted: {reason}")
        else:
            tell("A mounted volume and the bare directory")
            figures += sides.mounted_figures(home, plan, _mounted)
    return figures, kdf, left_out


def _memory(stack: ExitStack, needed: int) -> Path | None:
    try:
        return stack.enter_context(scratch(_MEMORY, needed))
    except CloakfsError:
        return None


def _no_mount() -> str:
    """Why nothing can be mounted here, empty if it can."""
    if find_spec("pyfuse3") is None:
        return "pyfuse3 is not installed (pip install 'cloakfs[mount]')"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse is missing, or not for this user"
    return ""


@contextmanager
def _mounted(volume: Path, plain: Path) -> Iterator[None]:
    """A scratch volume on its mount point, served by ``cloakfs mount`` as any other; nothing of it is remembered."""
    secret = volume.parent / "passphrase"
    secret.write_bytes(sides.SECRET)
    secret.chmod(0o600)
    environment = os.environ | {"CLOAKFS_STATE_DIRECTORY": str(volume.parent / "state")}
    log = str(volume.parent / "log")
    try:
        _cloakfs(environment, "mount", str(volume), str(plain), "--passphrase-file", str(secret), "--log", log)
        yield
    finally:
        if os.path.ismount(plain):
            _cloakfs(environment, "lock", "--force", str(plain))


def _cloakfs(environment: dict[str, str], *arguments: str) -> None:
    # Isolated as this process is: a folder named encfs in the working directory is not what an installed command runs.
    isolated = ["-I"] if sys.flags.isolated else []
    command_line = [sys.executable, *isolated, "-m", "encfs", *arguments]
    with subprocess.Popen(
        command_line, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        try:
            _, told = process.communicate()
        except BaseException:
            # Killed, it would leave a daemon behind that goes on to mount; told to stop, it takes that along.
            process.terminate()
            raise
    if process.returncode != 0:
        message = told.decode(errors="replace").strip().removeprefix("cloakfs: ")
        raise CloakfsError(f"the scratch volume: {message}")


# -- telling ---------------------------------------------------------------------------------------------------------


def _tell(figures: Sequence[Figure], kdf: calibration.Calibrated, left_out: Sequence[str], plot: Path | None) -> None:
    for part, heading in _HEADINGS.items():
        rows = [figure for figure in figures if figure.part is part]
        if rows:
            output.say(output.bold(heading))
            for figure in rows:
                output.say("  " + _row(figure))
            output.say()
    took = "" if kdf.seconds is None else f", {kdf.seconds:.1f} s to unlock"
    memory = output.human_size(kdf.kdf.memory_kib << 10)
    output.say(f"A new passphrase here: Argon2id with {memory} and {kdf.kdf.passes} passes{took}.")
    for line in verdict(figures):
        output.say(output.bold(line))
    for what in left_out:
        output.remark(f"left out: {what}")
    if not can_drop_caches():
        output.remark("not root: small files and names were read from memory where the kernel had them there")
    if plot is not None:
        output.remark(f"drawn: {plot}")


def _row(figure: Figure) -> str:
    below = next(side for side in figure.rates if side != CLOAKFS)
    share = figure.share
    assert share is not None
    cells = (
        f"{figure.title:<42}",
        f"{figure.rates[CLOAKFS]:>9,.0f} {figure.unit:<9}",
        f"{figure.rates[below]:>10,.0f} {below}",
        f"{share:>7.0%}",
        "  from memory" if figure.cold is False else "",
    )
    return " ".join(cells).rstrip()


def _draw(figures: Sequence[Figure], plot: Path) -> None:
    """How much of the side below is left, for every row."""
    rows = [figure for figure in figures if figure.share is not None]
    charts.bars(
        plot,
        title="cloakfs on this machine",
        subtitle="Rate as a share of what lies below: the crypto library, plain files, the bare directory",
        rows=[figure.title for figure in rows],
        series={CLOAKFS: [figure.share for figure in rows]},
        unit="share of the rate below",
        reference=1.0,
    )


def _as_json(
    figures: Sequence[Figure], kdf: calibration.Calibrated, left_out: Sequence[str], plan: Plan
) -> dict[str, object]:
    return {
        "figures": [
            {
                **asdict(figure),
                "spread": {side: list(ends) for side, ends in figure.spread.items()},
                "share": figure.share,
            }
            for figure in figures
        ],
        "argon2id": {
            "memory_kib": kdf.kdf.memory_kib,
            "passes": kdf.kdf.passes,
            "lanes": kdf.kdf.lanes,
            "seconds": kdf.seconds,
        },
        "verdict": verdict(figures),
        "left_out": list(left_out),
        "settings": {**asdict(plan.amounts), "repetitions": plan.repetitions, "cold": can_drop_caches()},
    }
