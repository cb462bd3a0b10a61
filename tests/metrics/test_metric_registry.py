from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import pickle
import subprocess
import sys

import numpy as np
import pytest

import calbench
from calbench import metrics
from calbench.errors import DuplicateNameError, InputError, UnknownNameError
from calbench.testing import check_metric

EXPECTED = {
    "accuracy", "augrc", "aurc", "auroc_confidence", "brier", "brier_calibration", "brier_refinement",
    "brier_toplabel", "calibration_intercept", "calibration_slope", "classwise_ece", "coverage_at_risk",
    "ece", "ece_debiased", "ks", "nll", "overconfidence_error_rate", "overconfidence_gap",
    "overconfidence_rate", "skce", "smece", "toplabel_ece",
}  # fmt: skip


@pytest.fixture
def scratch(monkeypatch):
    metrics.names()
    monkeypatch.setattr(metrics.registry, "_entries", dict(metrics.registry._entries))


def test_the_built_in_metrics_have_their_ids():
    assert set(metrics.names()) >= EXPECTED


def test_an_id_carries_options(both_signs):
    found = metrics.get("ece[n_bins=20,strategy=quantile]")
    assert found(*both_signs) == metrics.expected_calibration_error(
        *both_signs, n_bins=20, strategy="quantile"
    )
    assert found.id == "ece[n_bins=20,strategy=quantile]"


def test_a_fingerprint_says_all_that_the_value_depends_on():
    fingerprint = metrics.get("ece[n_bins=20]").fingerprint
    assert fingerprint["metric"] == "ece"
    assert fingerprint["n_bins"] == 20
    assert fingerprint["norm"] == "l1"
    assert "right-closed" in fingerprint["edges"]
    assert "predicted class" in fingerprint["confidence"]
    assert fingerprint != metrics.get("ece").fingerprint


def test_two_spellings_of_the_defaults_have_one_fingerprint():
    assert metrics.get("ece[n_bins=15]").fingerprint == metrics.get("ece").fingerprint


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ece[bins=3]", "no argument of ece is called 'bins'; did you mean 'n_bins'"),
        ("ece[n_bins=many]", "n_bins in .*: 'many' is not a whole number"),
        ("ece[n_bins", "cannot read the id"),
        ("ece[n_bins=0]", "n_bins=0; use a whole number of bins"),
        ("ece[norm=oops]", "norm in .*: 'oops' is not 'l1' or 'l2' or 'max'"),
        ("ece[strategy=oops]", "'oops' is not 'uniform' or 'quantile'"),
        ("classwise_ece[threshold=low]", "'low' is not a finite number or none"),
        ("classwise_ece[reduce=max]", "'max' is not 'mean' or 'sum'"),
        ("coverage_at_risk[risk=2]", "risk=2"),
        ("accuracy[n_bins=3]", "accuracy takes no arguments"),
    ],
)
def test_a_bad_option_is_refused(name, message):
    with pytest.raises(InputError, match=message):
        metrics.get(name)


def test_an_unknown_metric_suggests_its_neighbours():
    with pytest.raises(UnknownNameError, match="did you mean 'ece'"):
        metrics.get("ecee")


def test_a_threshold_can_be_set_and_unset():
    assert metrics.get("classwise_ece[threshold=0.01]").options == {"threshold": 0.01}
    assert metrics.get("classwise_ece[threshold=none]").options == {"threshold": None}


def test_a_third_partys_metric_works_everywhere(scratch, both_signs):
    @calbench.metric("my-error", range=(0, 1))
    def my_error(probs, labels, *, power: float = 1.0, sample_weight=None):
        wrong = probs.argmax(axis=1) != labels
        return float(np.average(wrong, weights=sample_weight) ** power)

    probs, labels = both_signs
    assert metrics.get("my-error")(probs, labels) == pytest.approx(1 - metrics.accuracy(probs, labels))
    record = calbench.Predictions.from_probs(range(len(labels)), probs, labels)
    squared = metrics.evaluate("my-error[power=2]", record)
    assert squared == pytest.approx((1 - metrics.accuracy(probs, labels)) ** 2)
    resamples = calbench.statistics.resamples_for(record.item_ids, n_resamples=50, seed=1)
    intervals = calbench.statistics.bootstrap(record, ["my-error", "accuracy"], resamples=resamples)
    low, high = intervals["accuracy"].interval
    assert intervals["my-error"].interval == pytest.approx((1 - high, 1 - low))


def test_two_owners_of_one_id_are_refused(scratch):
    with pytest.raises(DuplicateNameError, match="two metrics are called 'ece'"):

        @calbench.metric("ece")
        def other(probs, labels, *, sample_weight=None):
            return 0.0


def test_a_metric_that_takes_no_weights_is_refused(scratch):
    with pytest.raises(InputError, match="has no parameter sample_weight"):

        @calbench.metric("unweighted")
        def unweighted(probs, labels):
            return 0.0


def test_a_third_partys_metric_of_top_answers_reads_confidences_and_correctness(scratch, both_signs):
    @calbench.metric("own-doubt", range=(0, 1), needs="top-label")
    def own_doubt(confidences, correct, *, power: int = 1, sample_weight=None):
        return float(np.average((1 - confidences) ** power, weights=sample_weight))

    probs, labels = both_signs
    doubt = 1 - probs.max(axis=1)
    assert metrics.get("own-doubt")(probs, labels) == pytest.approx(doubt.mean())
    record = calbench.Predictions.from_probs(range(len(labels)), probs, labels).to_top_label()
    assert metrics.evaluate("own-doubt[power=2]", record) == pytest.approx((doubt**2).mean())
    assert (
        calbench.statistics.bootstrap(record, ["own-doubt"], seed=np.random.default_rng(0))["own-doubt"].value
        > 0
    )
    check_metric("own-doubt[power=2]")


def test_a_formula_makes_a_metric_with_its_own_name_options_and_docstring():
    signature = inspect.signature(metrics.expected_calibration_error)
    named = ["probs", "labels", "n_bins", "strategy", "norm", "min_count", "sample_weight"]
    assert list(signature.parameters) == named
    assert metrics.expected_calibration_error.__name__ == "expected_calibration_error"
    assert "over bins of confidence" in metrics.expected_calibration_error.__doc__
    with pytest.raises(TypeError, match="bins"):
        metrics.expected_calibration_error([[0.5, 0.5]], [0], bins=3)


def test_an_id_leaves_out_what_is_the_default_anyway():
    assert metrics.get("ece[n_bins=15, norm=l1]").id == "ece"
    assert metrics.get("ece[ norm=l2,n_bins=15]").id == "ece[norm=l2]"
    assert metrics.get("classwise_ece[threshold=none]").id == "classwise_ece"


def test_a_metric_survives_pickling(both_signs):
    metric = metrics.get("ece[n_bins=7]")
    assert pickle.loads(pickle.dumps(metric))(*both_signs) == metric(*both_signs)


def test_importing_metrics_and_statistics_needs_only_numpy_and_scipy():
    code = (
        "import sys, calbench.metrics, calbench.statistics\n"
        "heavy = {'torch', 'pandas', 'sklearn', 'pyarrow', 'pytest', 'rich', 'transformers'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_decorated_metric_can_also_be_an_entry_point(tmp_path, monkeypatch):
    (tmp_path / "its_package.py").write_text(
        "import calbench\n"
        "@calbench.metric('its-error')\n"
        "def its_error(probs, labels, *, sample_weight=None):\n"
        "    return 0.5\n"
    )

    class Point:
        name, value, dist = "its-error", "its_package:its_error", None

        def load(self):
            return importlib.import_module("its_package").its_error

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(metrics.registry, "_entries", {})
    monkeypatch.setattr(metrics.registry, "_discovered", False)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [Point()])
    assert metrics.names() == ("its-error",)
    assert metrics.get("its-error")([[0.9, 0.1]], [0]) == 0.5
