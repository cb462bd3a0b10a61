from __future__ import annotations

import importlib
import importlib.metadata
import pickle
import subprocess
import sys

import numpy as np
import pytest

import calbench
from calbench import metrics
from calbench.errors import DuplicateNameError, InputError, UnknownNameError

EXPECTED = {
    "accuracy", "augrc", "aurc", "auroc_confidence", "brier", "brier_calibration", "brier_refinement",
    "brier_toplabel", "calibration_intercept", "calibration_slope", "classwise_ece", "coverage_at_risk",
    "ece", "ece_debiased", "ks", "nll", "overconfidence_error_rate", "overconfidence_gap",
    "overconfidence_rate", "smece", "toplabel_ece",
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
        ("ece[bins=3]", "no option of ece is called 'bins'; did you mean 'n_bins'"),
        ("ece[n_bins=many]", "n_bins=many cannot be read as int"),
        ("ece[n_bins", "cannot read the id"),
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
    intervals = calbench.statistics.bootstrap(record, ["my-error", "accuracy"], rng=resamples)
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


def test_a_top_label_metric_needs_a_way_to_compute_it(scratch):
    with pytest.raises(InputError, match="pass prepare="):
        calbench.metric("top", needs="top-label")


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
