"""Pictures for papers and pages: reliability, precision shift, Pareto front, transfer matrix (matplotlib)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np

from calbench.cache import replacing
from calbench.errors import BackendUnavailableError, InputError
from calbench.metrics import Outcomes, ReliabilityBins, evaluate, get
from calbench.records import AnyRecord, Bool, Float64
from calbench.report._diagrams import flipped
from calbench.report._format import Row, SizeName
from calbench.report._leaderboard import is_reference
from calbench.report._results import DIFFERENCES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".svg", ".png", ".pdf")
_Z = 1.959963984540054  # of a 95% interval
_FEW = 10  # a bin with fewer items says next to nothing, and is drawn hollow, as on the page
_ACCENT, _FAIL, _SOFT, _LINE = "#1f5fbf", "#c0262d", "#58606e", "#d5d9e0"  # of the page in assets/report.css
_STYLE: dict[Any, Any] = {
    "axes.edgecolor": _LINE,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
_CYCLE = (_ACCENT, _FAIL, "#1a7f37", "#8a5a00", "#7a3fb0", _SOFT)
_Given = ParamSpec("_Given")


def _styled(draw: Callable[_Given, Figure]) -> Callable[_Given, Figure]:
    """Give a picture the colours and lines of the report's page, whatever the user's own settings."""

    @wraps(draw)
    def styled(*args: _Given.args, **kwargs: _Given.kwargs) -> Figure:
        try:
            from matplotlib import rc_context, rcsetup
        except ImportError:
            raise BackendUnavailableError("pictures need matplotlib; pip install 'calbench[plot]'") from None
        with rc_context({**_STYLE, "axes.prop_cycle": rcsetup.cycler(color=_CYCLE)}):
            return draw(*args, **kwargs)

    return styled


@_styled
def reliability(records: Mapping[str, AnyRecord], *, n_bins: int = 15) -> Figure:
    """Draw accuracy against confidence in equal-width bins, with Wilson's 95% band, over a histogram.

    Parameters
    ----------
    records
        By the name that the legend shows.
    n_bins
        Number of bins.
    """
    figure = _figure(5.5, 6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color=_SOFT, linestyle=":", label="perfect")
    for name, record in records.items():
        items = Outcomes.from_record(record)
        bins = ReliabilityBins.of(items.confidences, items.correct, n_bins=n_bins)
        held = bins.weights > 0
        low, high = wilson(bins.accuracies[held], bins.weights[held])
        label = f"{_literal(name)} (ECE {evaluate(f'ece[n_bins={n_bins}]', items):.3f}, n = {len(items):,})"
        (line,) = upper.plot(bins.mean_confidences[held], bins.accuracies[held], label=label)
        few = bins.weights[held] < _FEW
        upper.scatter(
            bins.mean_confidences[held],
            bins.accuracies[held],
            s=30,
            zorder=3,
            edgecolors=line.get_color(),
            facecolors=["none" if hollow else line.get_color() for hollow in few],
        )
        upper.fill_between(bins.mean_confidences[held], low, high, color=line.get_color(), alpha=0.18)
        lower.stairs(bins.weights, bins.edges, color=line.get_color(), fill=len(records) == 1)
    upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
    lower.set(xlabel="confidence", ylabel="items")
    figure.legend(loc="outside upper left", fontsize="small")
    return figure


@_styled
def shift(reference: AnyRecord, candidate: AnyRecord) -> Figure:
    """Draw each item's confidence at full precision against the quantized one; flipped answers marked.

    Parameters
    ----------
    reference, candidate
        Records of the same items.
    """
    if set(reference.item_ids.tolist()) != set(candidate.item_ids.tolist()):
        raise InputError("the two records hold different items; pair() them first")
    first, second = Outcomes.from_record(reference), Outcomes.from_record(candidate)
    flips = flipped(first, second)
    figure = _figure(5.5, 5.2)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=_SOFT, linestyle=":")
    for chosen, marker, color, name in (
        (~flips, "o", _ACCENT, "same answer"),
        (flips, "x", _FAIL, "answer flipped"),
    ):
        label = f"{name} ({chosen.sum():,})"
        axes.scatter(
            first.confidences[chosen],
            second.confidences[chosen],
            s=16,
            marker=marker,
            color=color,
            alpha=0.6,
            label=label,
            rasterized=len(flips) > 5000,
        )
    axes.set(
        xlabel="full-precision confidence", ylabel="quantized confidence", xlim=(0, 1.02), ylim=(0, 1.02)
    )
    axes.legend(loc="upper left", fontsize="small")
    return figure


@_styled
def pareto(rows: Sequence[Row], *, metric: str = "ece", across: SizeName = "resident_bytes") -> Figure:
    """Draw size against the metric after the transferred calibrator, coloured by accuracy.

    Parameters
    ----------
    rows
        Of one task: metrics of several cannot be compared.
    metric
        Its id.
    across
        ``"resident_bytes"`` or ``"effective_bits"``.
    """
    tasks = {row["task"] for row in rows}
    if len(tasks) > 1:
        raise InputError(
            f"there are {len(tasks)} tasks ({', '.join(sorted(tasks))}); draw one, chosen by task="
        )
    known = [
        (row, size)
        for row in rows
        if (size := row["quantization"][across]) is not None and metric in row["arms"]["transferred"]
    ]
    if not known:
        raise InputError(
            f"no cell says its {across} and {metric}; records from elsewhere need them in their metadata"
        )
    scale, unit = (2**20, "memory, MiB") if across == "resident_bytes" else (1, "bits per quantized weight")
    x = np.array([size / scale for _, size in known])
    estimates = [row["arms"]["transferred"][metric] for row, _ in known]
    y = np.array([e["value"] for e in estimates])
    bounds = np.array([e["interval"] for e in estimates]).T
    accuracy = [row["arms"]["raw_candidate"]["accuracy"]["value"] for row, _ in known]
    figure = _figure(7, 5)
    axes = figure.subplots()
    # A bound of a biased metric may lie on the other side of the value.
    axes.errorbar(x, y, yerr=np.maximum([y - bounds[0], bounds[1] - y], 0), fmt="none", ecolor="0.8")
    points = axes.scatter(x, y, c=accuracy, cmap="viridis", zorder=3)
    front = frontier(x, -y if _higher_is_better(metric) else y)
    axes.step(x[front], y[front], where="post", color="0.4", linestyle=":", label="frontier")
    named: set[tuple[str, str]] = set()
    for i in front:
        label = known[i][0]["quantizer"], known[i][0]["calibrator"]
        if label not in named:
            axes.annotate(
                _literal(" · ".join(label)),
                (x[i], y[i]),
                fontsize="x-small",
                xytext=(4, 4),
                textcoords="offset points",
            )
            named.add(label)
    figure.colorbar(points, label="accuracy")
    axes.set(xlabel=unit, ylabel=f"{metric} after the transferred calibrator")
    axes.legend(fontsize="small")
    return figure


@_styled
def transfer_matrix(rows: Sequence[Row], *, metric: str = "ece", difference: str = "degradation") -> Figure:
    """Draw what transfer lost (or refitting would gain) by calibrator and quantizer; red is worse.

    Parameters
    ----------
    rows
        Of one model and task.
    metric
        Its id.
    difference
        ``"degradation"``, ``"regret"`` or ``"benefit"``.
    """
    if difference not in DIFFERENCES:
        raise InputError(f"{difference!r} is no difference; use {', '.join(DIFFERENCES)}")
    moved = [row for row in rows if not is_reference(row) and metric in row[difference]]
    groups = {(row["model"], row["task"]) for row in moved}
    if len(groups) != 1:
        shown = "; ".join(" on ".join(group) for group in sorted(groups))
        raise InputError(
            f"there are transferred cells of {len(groups)} models and tasks ({shown}); draw one, chosen"
            " by model= and task="
        )
    across = list(dict.fromkeys(row["quantizer"] for row in moved))
    down = list(dict.fromkeys(row["calibrator"] for row in moved))
    values = np.full((len(down), len(across)), np.nan)
    sure = np.zeros(values.shape, dtype=bool)
    for row in moved:
        place = down.index(row["calibrator"]), across.index(row["quantizer"])
        estimate = row[difference][metric]
        values[place] = estimate["value"]
        sure[place] = estimate["interval"][0] > 0 or estimate["interval"][1] < 0
    title = f"{difference} of {metric}, {' on '.join(next(iter(groups)))}"
    red_is_positive = (difference == "benefit") == _higher_is_better(metric)
    return _heat_map(values, sure, down, across, title, colours="RdBu_r" if red_is_positive else "RdBu")


def _higher_is_better(metric: str) -> bool:
    return get(metric).direction == "higher"


def _heat_map(
    values: Float64, sure: Bool, down: Sequence[str], across: Sequence[str], title: str, *, colours: str
) -> Figure:
    figure = _figure(1.6 + 1.1 * len(across), 1.6 + 0.42 * len(down))
    axes = figure.subplots()
    limit = max(float(np.nanmax(np.abs(values))), 1e-9)
    axes.grid(visible=False)
    axes.imshow(values, cmap=colours, vmin=-limit, vmax=limit, aspect="auto")
    axes.set_xticks(range(len(across)), [_literal(name) for name in across], rotation=30, ha="right")
    axes.set_yticks(range(len(down)), [_literal(name) for name in down])
    for i, j in np.argwhere(np.isfinite(values)):
        dark = abs(values[i, j]) > 0.6 * limit
        axes.text(
            j,
            i,
            f"{values[i, j]:+.3f}",
            ha="center",
            va="center",
            fontsize="small",
            color="white" if dark else "black",
            fontweight="bold" if sure[i, j] else "normal",
        )
    axes.set_title(f"{_literal(title)}\n(bold: the interval lies on one side of 0)", fontsize="small")
    return figure


def frontier(x: Float64, y: Float64) -> list[int]:
    """Return the indices of the points that no other beats in both, from the smallest on; less is better.

    >>> frontier(np.array([1.0, 2.0, 3.0]), np.array([0.5, 0.6, 0.1]))
    [0, 2]
    """
    front: list[int] = []
    for i in np.lexsort((y, x)):
        if not front or y[i] < y[front[-1]]:
            front.append(int(i))
    return front


def wilson(shares: Float64, counts: Float64) -> tuple[Float64, Float64]:
    """Return Wilson's 95% interval of shares ``(n,)`` observed among ``counts (n,)``."""
    centre = (shares + _Z**2 / (2 * counts)) / (1 + _Z**2 / counts)
    half = _Z / (1 + _Z**2 / counts) * np.sqrt(shares * (1 - shares) / counts + _Z**2 / (4 * counts**2))
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def save(figure: Figure, path: Path) -> None:
    """Write a picture, in one step; the suffix says what it is (.svg, .png or .pdf)."""
    check_suffix(path)
    import matplotlib as mpl

    # Without a date, and with ids that do not change, the same data give the same file.
    dates: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    with replacing(path) as temporary, mpl.rc_context({"svg.hashsalt": "calbench"}):
        figure.savefig(temporary, dpi=150, metadata=dates.get(path.suffix))


def check_suffix(path: Path) -> None:
    """Raise :class:`InputError` unless a path names a kind of picture that can be written."""
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: unknown kind of picture; use one of {', '.join(SUFFIXES)}")


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    class Picture(Figure):
        """One that a notebook shows without pyplot."""

        def _repr_png_(self) -> bytes:
            target = BytesIO()
            self.savefig(target, format="png", dpi=100)
            return target.getvalue()

    return Picture(figsize=(width, height), layout="constrained")


def _literal(text: str) -> str:
    """Return text in which matplotlib sees no formula."""
    return text.replace("$", r"\$")
