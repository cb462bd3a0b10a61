"""Calibrators against independent implementations, where the definitions coincide."""

import numpy as np
import pytest

from calbench import calibrators
from calbench.calibrators._confidence import Samples
from calbench.calibrators._isotonic import fit_isotonic
from calbench.calibrators._platt import fit_platt
from calbench.records import softmax

EPS = 2.0**-52


def data(n=2000, k=3, seed=0):
    rng = np.random.default_rng(seed)
    logits = 3 * rng.normal(size=(n, k))
    labels = np.argmax(logits / 2 + rng.gumbel(size=(n, k)), axis=1)
    return logits, labels


def top_label(n=2000):
    logits, labels = data(n)
    probs = softmax(logits)
    return probs.max(axis=1), probs.argmax(axis=1) == labels


def nll(probs, labels):
    return -np.log(probs[np.arange(len(labels)), labels]).mean()


@pytest.mark.filterwarnings("ignore")
def test_temperature_agrees_with_probmetrics():
    torch = pytest.importorskip("torch", reason="probmetrics runs on torch")
    theirs = pytest.importorskip("probmetrics.calibrators", reason="the oracles extra is not installed")
    from probmetrics.distributions import CategoricalLogits

    logits, labels = data()
    peer = theirs.TemperatureScalingCalibrator(opt="bisection")
    peer.fit_torch(CategoricalLogits(torch.from_numpy(logits)), torch.from_numpy(labels))
    fitted = calibrators.get("temperature").fit(logits, labels)
    # Their bisection stops after a fixed number of halvings.
    assert fitted.temperature == pytest.approx(1 / float(peer.invtemp_), rel=1e-5)
    assert nll(fitted(logits), labels) <= nll(softmax(logits * float(peer.invtemp_)), labels) + 1e-15


def test_isotonic_agrees_with_scikit_learn():
    isotonic = pytest.importorskip("sklearn.isotonic", reason="the oracles extra is not installed")
    confidences, correct = top_label()
    confidences = np.round(confidences, 3)  # with ties
    peer = isotonic.IsotonicRegression(out_of_bounds="clip").fit(confidences, correct)
    knots, values = fit_isotonic(confidences, correct)
    grid = np.linspace(0, 1, 2001)
    # scikit-learn interpolates with the same lines; sums are in another order.
    np.testing.assert_allclose(np.interp(grid, knots, values), peer.predict(grid), atol=1e-12)


def test_platt_agrees_with_scikit_learn():
    calibration = pytest.importorskip("sklearn.calibration", reason="the oracles extra is not installed")
    confidences, correct = top_label()
    odds = np.log(confidences) - np.log1p(-confidences)
    a, b = calibration._sigmoid_calibration(odds, correct)
    ours = fit_platt(Samples(odds, correct, "right")).x
    # Theirs stops at a gradient of 1e-6 or so, and has the signs turned.
    np.testing.assert_allclose(ours, [-a, -b], atol=1e-4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("parameters", ["abm", "am", "ab"])
def test_beta_agrees_with_betacal(parameters):
    betacal = pytest.importorskip("betacal", reason="the oracles extra is not installed")
    # Its ab form lets a and b be negative, against its paper; these data keep them positive.
    rng = np.random.default_rng(0)
    confidences = rng.uniform(0.01, 0.99, size=2000)
    correct = rng.random(2000) < 1 / (1 + ((1 - confidences) / confidences) ** 0.6)
    peer = betacal.BetaCalibration(parameters=parameters).fit(confidences.reshape(-1, 1), correct)
    fitted = calibrators.get(f"beta[parameters={parameters}]").fit_confidences(confidences, correct)
    grid = np.linspace(0.01, 0.99, 200)
    # Theirs is scikit-learn's logistic regression, stopped at 1e-4.
    np.testing.assert_allclose(fitted.confidences(grid), peer.predict(grid), atol=1e-3)

    def loss(q):
        return -np.where(correct, np.log(q), np.log1p(-q)).mean()

    assert loss(fitted.confidences(confidences)) <= loss(peer.predict(confidences)) + 1e-9


@pytest.mark.filterwarnings("ignore")
def test_histogram_agrees_with_netcal():
    binning = pytest.importorskip("netcal.binning", reason="the oracles extra is not installed")
    confidences, correct = top_label()
    peer = binning.HistogramBinning(bins=10)
    peer.fit(confidences, correct.astype(int))
    fitted = calibrators.get("histogram[n_bins=10,strategy=uniform]").fit_confidences(confidences, correct)
    grid = np.linspace(0.405, 0.995, 200)  # off the edges, which they close on the other side
    np.testing.assert_allclose(fitted.confidences(grid), peer.transform(grid), atol=1e-12)


@pytest.mark.filterwarnings("ignore")
def test_scaling_binning_agrees_with_uncertainty_calibration():
    calibration = pytest.importorskip("calibration", reason="the oracles extra is not installed")
    logits, labels = data()
    probs = softmax(logits)
    peer = calibration.PlattBinnerTopCalibrator(len(labels), 10)
    peer.train_calibration(probs, labels)
    confidences, correct = top_label()
    fitted = calibrators.get("scaling_binning[n_bins=10]").fit_confidences(confidences, correct)
    ours, theirs = fitted.confidences(confidences), peer.calibrate(probs)
    # Their curve is scikit-learn's, stopped at 1e-4, so an item next to an edge may change sides.
    assert np.mean(np.abs(ours - theirs) < 1e-3) > 0.995


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["affine", "matrix", "dirichlet"])
def test_dirichlet_family_agrees_with_dirichletcal(name):
    peer = pytest.importorskip("tests.oracles.dirichletcal_peer").regression(name)
    logits, labels = data(1000, 4)
    inputs = logits if name == "matrix" else np.log(softmax(logits))
    peer.fit(inputs, labels)
    fitted = calibrators.get(name).fit(logits, labels)
    # Theirs stops when the objective changes by less than 1e-12 or the gradient's sum falls below 1e-8.
    np.testing.assert_allclose(fitted(logits), peer.predict_proba(inputs), atol=1e-5)
