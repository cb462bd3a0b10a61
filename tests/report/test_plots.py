"""Pictures show the numbers, and the same data give the same file."""

from __future__ import annotations

from importlib import resources

import numpy as np
import pytest

from calbench import Predictions, TopLabelPredictions
from calbench.calibrators import softmax
from calbench.errors import InputError
from calbench.metrics import ReliabilityBins
from tests.report.rows import estimate, row

pytest.importorskip("matplotlib")
from calbench.report import _plots as plots

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(300, 3))
LABELS = [RNG.choice(3, p=p) for p in softmax(LOGITS)]
RECORD = Predictions(range(300), LOGITS, LABELS)
OTHER = Predictions(range(300), LOGITS + RNG.normal(size=LOGITS.shape), LABELS)


def texts(figure):
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


def test_a_reliability_diagram_names_each_record_with_its_error():
    figure = plots.reliability({"a$b$": RECORD, "top": OTHER.to_top_label()})
    labels = sorted({text for text in texts(figure) if "ECE" in text})
    assert len(labels) == 2
    assert labels[0].startswith(r"a\$b\$ (ECE 0.0")


def test_a_bin_that_holds_next_to_nothing_is_hollow():
    figure = plots.reliability({"m": RECORD})
    (points,) = [
        c for c in figure.axes[0].collections if len(c.get_facecolors()) > 1 or not len(c.get_facecolors())
    ]
    bins = ReliabilityBins.of(RECORD.confidences, RECORD.correct)
    few = bins.weights[bins.weights > 0] < 10
    assert 0 < few.sum() < len(few)
    assert [color[3] == 0 for color in points.get_facecolors()] == few.tolist()


def test_a_picture_shows_itself_in_a_notebook_in_the_colours_of_the_page():
    matplotlib = pytest.importorskip("matplotlib")
    before = dict(matplotlib.rcParams)
    figure = plots.shift(RECORD, OTHER)
    assert figure._repr_png_().startswith(b"\x89PNG")
    colours = {matplotlib.colors.to_hex(c.get_facecolors()[0]) for c in figure.axes[0].collections}
    page = (resources.files("calbench.report") / "assets" / "report.css").read_text("utf-8")
    assert all(colour in page for colour in colours)
    assert dict(matplotlib.rcParams) == before


def test_a_band_holds_its_share():
    low, high = plots.wilson(np.array([0.0, 0.5, 1.0]), np.array([10.0, 10.0, 10.0]))
    assert low == pytest.approx([0.0, 0.2366, 0.7225], abs=1e-4)  # of the published table
    assert high == pytest.approx([0.2775, 0.7634, 1.0], abs=1e-4)


def test_a_shift_counts_flips():
    flips = int((RECORD.predicted != OTHER.predicted).sum())
    assert f"answer flipped ({flips})" in texts(plots.shift(RECORD, OTHER))
    with pytest.raises(InputError, match="different items"):
        plots.shift(RECORD, OTHER.take(["1"]))


def test_a_frontier_is_of_one_task():
    sizes = [row(q, outcome="") for q in ("fp32", "bnb-nf4")]
    sizes[1]["arms"]["transferred"]["ece"] = estimate(0.01)  # as large as the other, and better
    assert "bnb-nf4 · temperature" in texts(plots.pareto(sizes, across="effective_bits"))
    with pytest.raises(InputError, match="2 tasks"):
        plots.pareto([row(), row(task="u")])
    with pytest.raises(InputError, match="no cell says its resident_bytes"):
        plots.pareto([row(quantization=dict.fromkeys(row()["quantization"]))])


def test_a_matrix_marks_what_is_sure():
    sure = row("gptq-int4", degradation={"ece": estimate(0.05, 0.01, 0.09)})
    figure = plots.transfer_matrix([row("fp32"), row(), sure])
    weights = {t.get_text(): t.get_fontweight() for t in figure.axes[0].texts}
    assert weights == {"+0.003": "normal", "+0.050": "bold"}
    with pytest.raises(InputError, match="2 models and tasks"):
        plots.transfer_matrix([row(), row(task="u")])


@pytest.mark.parametrize("suffix", plots.SUFFIXES)
def test_pictures_are_written(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    plots.save(plots.reliability({"a": RECORD}), path)
    assert path.stat().st_size > 1000
    plots.save(plots.reliability({"a": RECORD}), tmp_path / f"y{suffix}")
    assert (tmp_path / f"y{suffix}").read_bytes() == path.read_bytes()
    with pytest.raises(InputError, match="unknown kind of picture"):
        plots.save(plots.reliability({"a": RECORD}), tmp_path / "x.txt")


def test_the_frontier_of_accuracy_is_of_the_highest():
    found = [row(q, outcome="") for q in ("fp32", "bnb-nf4")]
    found[1]["arms"]["transferred"]["accuracy"] = estimate(0.9)
    drawn = texts(plots.pareto(found, metric="accuracy", across="effective_bits"))
    assert "bnb-nf4 · temperature" in drawn
    assert "fp32 · temperature" not in drawn


@pytest.mark.parametrize(
    ("metric", "difference", "sign"),
    [
        ("ece", "degradation", 1),
        ("ece", "benefit", -1),
        ("accuracy", "regret", -1),
        ("accuracy", "benefit", 1),
    ],
)
def test_worse_is_red_in_a_matrix(metric, difference, sign):
    worse = row(task="benefit") | {difference: {metric: estimate(sign * 0.1)}}
    (image,) = plots.transfer_matrix([worse], metric=metric, difference=difference).axes[0].images
    red, _, blue, _ = image.to_rgba(image.get_array())[0, 0]
    assert red > blue


def test_top_answers_flip_where_one_is_right_alone():
    first = TopLabelPredictions(["a", "b"], [0.9, 0.8], [True, True])
    second = TopLabelPredictions(["a", "b"], [0.9, 0.8], [True, False])
    assert "answer flipped (1)" in texts(plots.shift(first, second))
