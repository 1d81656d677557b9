"""Pictures of figures: grouped bars and lines, as SVG or PNG.

Owns: how they look, and the colour of each filesystem. Must not know: what was measured.

matplotlib is an optional part (``pip install 'cloakfs[plot]'``) and is imported when a picture is drawn. The same
figures give the same bytes of SVG.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from encfs.errors import CloakfsError, UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES: Final = (".svg", ".png")
_COLOURS: Final = {
    "cloakfs": "#0b6e75",
    "bare": "#9aa5ab",
    "passthrough": "#c4b57a",
    "gocryptfs": "#4c78a8",
    "securefs": "#e07b39",
    "cryfs": "#8e6c8a",
    "encfs": "#b5485d",
}
_OTHERS: Final = ("#2f855a", "#6b46c1", "#b7791f", "#2b6cb0", "#c05621", "#97266d", "#4a5568", "#0b6e75")
_INK, _FAINT, _GRID = "#22303a", "#5c6b75", "#dde3e6"
_NAME_HEIGHT: Final = 0.055  # of the height of the axes
_ROW_INCHES, _BAR_INCHES = 0.22, 0.17
_STYLE: Final[dict[str, Any]] = {
    "font.family": "sans-serif",
    "font.size": 9.5,
    "text.color": _INK,
    "axes.labelcolor": _FAINT,
    "xtick.color": _FAINT,
    "ytick.color": _INK,
    "svg.hashsalt": "cloakfs",
    "svg.fonttype": "path",
}


def check(path: Path) -> None:
    """Whether a picture can be drawn there, asked before anything is measured.

    Raises:
        UsageError: the name ends in something else than .svg or .png.
        CloakfsError: matplotlib is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"{path.name} ends neither in .svg nor in .png", hint="The end of the name says what is drawn."
        )
    try:
        import matplotlib as mpl  # noqa: F401, PLC0415 - asked for, not used
    except ImportError:
        hint = "Install it with: pip install 'cloakfs[plot]'"
        raise CloakfsError("pictures need matplotlib, which is not installed", hint=hint) from None


def bars(
    path: Path,
    *,
    title: str,
    rows: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    unit: str,
    log: bool = False,
    reference: float | None = None,
    subtitle: str = "",
) -> None:
    """Horizontal bars, one group for each row, one colour for each series; None leaves a gap.

    A line is drawn at ``reference``, for ratios at 1.

    Raises:
        CloakfsError: as :func:`check`.
        OSError: the file cannot be written.
    """
    check(path)
    height = 1.3 + len(rows) * (_ROW_INCHES + _BAR_INCHES * len(series))
    figure, axes = _canvas(height, title, subtitle, legend=list(series) if len(series) > 1 else [])
    step = 1 / (len(series) + _ROW_INCHES / _BAR_INCHES)
    for number, (name, values) in enumerate(series.items()):
        places = [row + (number - (len(series) - 1) / 2) * step for row in range(len(rows))]
        shown = [value or 0.0 for value in values]
        axes.barh(places, shown, height=step * 0.86, color=_colour(name, number), zorder=2)
        for place, value in zip(places, values, strict=True):
            if value is not None:
                axes.annotate(
                    _spelled(value), (value, place), xytext=(3, 0), textcoords="offset points", va="center",
                    fontsize=8, color=_FAINT,
                )  # fmt: skip
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(unit)
    if log:
        axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.grid(axis="x", color=_GRID, zorder=0)
    if reference is not None:
        axes.axvline(reference, color=_INK, linewidth=1, zorder=3)
    _save(figure, path)


def lines(
    path: Path,
    *,
    title: str,
    x_label: str,
    y_label: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    log_x: bool = True,
    log_y: bool = False,
    subtitle: str = "",
) -> None:
    """A line for each series through its points (x, y), with its name where it ends.

    Raises:
        CloakfsError: as :func:`check`.
        OSError: the file cannot be written.
    """
    check(path)
    from matplotlib.ticker import LogLocator  # noqa: PLC0415 - an optional part, and slow to load

    figure, axes = _canvas(4.8, title, subtitle, legend=[])
    ends: list[tuple[float, float, str, str]] = []
    for number, (name, points) in enumerate(series.items()):
        xs, ys = [x for x, _ in points], [y for _, y in points]
        axes.plot(xs, ys, color=_colour(name, number), marker="o", markersize=4, linewidth=1.6, zorder=2)
        ends.append((xs[-1], ys[-1], name, _colour(name, number)))
    if log_x:
        axes.set_xscale("log")
    if log_y:
        axes.set_yscale("log", subs=range(2, 10))
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    else:
        axes.set_ylim(bottom=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: _spelled(value))
        axis.set_minor_formatter(lambda *_: "")
    every = sorted({x for points in series.values() for x, _ in points})
    axes.set_xticks(every, [f"{x:,.0f}" for x in every])
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(color=_GRID, zorder=0)
    _name_ends(axes, ends, log_y=log_y)
    _save(figure, path)


def _name_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]], *, log_y: bool) -> None:
    """The name of each line right of its last point, moved up where two would lie on each other."""
    low, high = axes.get_ylim()

    def place(value: float) -> float:
        return (math.log(value / low) / math.log(high / low)) if log_y else (value - low) / (high - low)

    taken = -1.0
    for _, y, name, colour in sorted(ends, key=lambda end: end[1]):
        taken = max(place(y), taken + _NAME_HEIGHT)
        axes.annotate(name, (1.02, taken), xycoords="axes fraction", va="center", fontsize=8.5, color=colour)


def _canvas(height: float, title: str, subtitle: str, *, legend: list[str]) -> tuple[Any, Axes]:
    """A figure with one pair of axes; title, subtitle and legend stand above it."""
    import matplotlib as mpl  # noqa: PLC0415 - an optional part, and slow to load
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.patches import Patch  # noqa: PLC0415

    mpl.rcParams.update(_STYLE)  # type: ignore[arg-type]
    figure = Figure(figsize=(8.4, height), layout="constrained")
    axes = figure.add_subplot()
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_GRID)
    axes.tick_params(length=0)
    axes.set_title(
        title + ("\n" if subtitle else ""), loc="left", fontsize=12, fontweight="bold", pad=22 if legend else 10
    )
    if subtitle:
        axes.annotate(
            subtitle, (0, 1), xycoords="axes fraction", xytext=(0, 26 if legend else 8), textcoords="offset points",
            fontsize=8.5, color=_FAINT,
        )  # fmt: skip
    if legend:
        handles = [Patch(color=_colour(name, number), label=name) for number, name in enumerate(legend)]
        axes.legend(
            handles=handles, loc="lower left", bbox_to_anchor=(-0.01, 1), ncols=len(handles), frameon=False,
            handlelength=1, handleheight=1, columnspacing=1.4, borderaxespad=0.2,
        )  # fmt: skip
    return figure, axes


def _colour(name: str, number: int) -> str:
    return _COLOURS.get(name) or _OTHERS[number % len(_OTHERS)]


def _spelled(value: float) -> str:
    """Three digits, no exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _save(figure: Any, path: Path) -> None:  # noqa: ANN401 - matplotlib is not there when types are read
    kind = path.suffix.lower()[1:]
    # Without a date in it the same figures are the same file.
    metadata = {"Date": None, "Creator": "cloakfs"} if kind == "svg" else {"Software": "cloakfs"}
    figure.savefig(path, format=kind, dpi=144, metadata=metadata)
