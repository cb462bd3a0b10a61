"""Independent implementations agree; where a definition differs on purpose, a test says how.

The data has gaps of both signs: otherwise any binning gives |mean confidence - accuracy|.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from calbench import metrics


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    probs = rng.dirichlet(np.full(5, 0.6), 2000)
    top = probs.max(axis=1)
    accuracy = np.where(top < 0.55, top - 0.2, np.minimum(top + 0.12, 1.0))
    order = np.argsort(probs, axis=1)
    labels = np.where(rng.random(2000) < accuracy, order[:, -1], order[:, -2])
    return probs, labels


@pytest.fixture(scope="module")
def binary(data):
    probs, labels = data
    return probs.max(axis=1), probs.argmax(axis=1) == labels


@pytest.fixture
def noisy_peers():
    """Peers warn of their own matters when they are imported or called."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_the_data_has_gaps_of_both_signs(data):
    ece = metrics.expected_calibration_error(*data)
    assert ece > abs(metrics.overconfidence_gap(*data)) + 0.02


class TestScikitLearn:
    @pytest.fixture(autouse=True)
    def peer(self):
        self.sklearn = pytest.importorskip("sklearn.metrics")

    def test_log_loss(self, data):
        probs, labels = data
        assert metrics.negative_log_likelihood(probs, labels) == pytest.approx(
            self.sklearn.log_loss(labels, probs), abs=1e-12
        )

    def test_log_loss_stops_at_36_nats_and_ours_does_not(self):
        # Deliberate: language models do give 1e-30 to what happens, and 69 nats is what that costs.
        probs, labels = np.array([[1 - 1e-30, 1e-30], [0.4, 0.6]]), [1, 1]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = self.sklearn.log_loss(labels, probs, labels=[0, 1])
        assert theirs == pytest.approx((52 * np.log(2) - np.log(0.6)) / 2)
        assert metrics.negative_log_likelihood(probs, labels) > theirs + 16

    def test_brier_score_of_two_classes_is_half_of_ours(self, binary):
        # Deliberate: ours sums over classes, theirs looks at one of the two.
        p, happened = binary
        both = np.column_stack([1 - p, p])
        expected = self.sklearn.brier_score_loss(happened, p)
        assert metrics.brier_score(both, happened.astype(int)) == pytest.approx(2 * expected, abs=1e-12)

    def test_top_label_brier_score(self, data, binary):
        p, happened = binary
        expected = self.sklearn.brier_score_loss(happened, p)
        assert metrics.top_label_brier_score(*data) == pytest.approx(expected, abs=1e-12)

    def test_accuracy(self, data):
        probs, labels = data
        expected = self.sklearn.accuracy_score(labels, probs.argmax(axis=1))
        assert metrics.accuracy(probs, labels) == expected

    def test_auroc(self, data, binary):
        p, happened = binary
        expected = self.sklearn.roc_auc_score(happened, p)
        assert metrics.confidence_auroc(*data) == pytest.approx(expected, abs=1e-12)

    def test_auroc_with_ties_and_weights(self, binary):
        p, happened = binary
        p, weight = p.round(1), np.random.default_rng(0).uniform(size=len(p))
        items = metrics.Outcomes.from_top_label(p, happened)
        expected = self.sklearn.roc_auc_score(happened, p, sample_weight=weight)
        found = metrics.evaluate("auroc_confidence", items, sample_weight=weight)
        assert found == pytest.approx(expected, abs=1e-12)

    def test_calibration_curve(self, binary):
        calibration = pytest.importorskip("sklearn.calibration")
        p, happened = binary
        accuracies, confidences = calibration.calibration_curve(happened, p, n_bins=15)
        state = metrics.ReliabilityBins.of(p, happened)
        filled = state.weights > 0
        assert state.accuracies[filled] == pytest.approx(accuracies, abs=1e-12)
        assert state.mean_confidences[filled] == pytest.approx(confidences, abs=1e-12)


class TestTorchmetrics:
    @pytest.fixture(autouse=True)
    def peer(self, noisy_peers):
        self.torch = pytest.importorskip("torch")
        self.functional = pytest.importorskip("torchmetrics.functional.classification")

    def error(self, probs, labels, norm="l1", n_bins=15):
        return self.functional.multiclass_calibration_error(
            self.torch.tensor(probs), self.torch.tensor(labels), probs.shape[1], n_bins, norm
        ).item()

    @pytest.mark.parametrize("norm", ["l1", "l2", "max"])
    def test_calibration_error(self, data, norm):
        probs, labels = data
        # 1e-6: they add up in float32
        expected = metrics.expected_calibration_error(probs, labels, norm=norm)
        assert self.error(probs, labels, norm) == pytest.approx(expected, abs=1e-6)

    def test_a_confidence_of_one_has_a_bin_of_its_own_there(self):
        # Deliberate: here it shares the last bin with .97, and the two gaps cancel.
        probs, labels = np.array([[1.0, 0.0], [0.97, 0.03]]), np.array([1, 0])
        ours = metrics.expected_calibration_error(probs, labels)
        assert ours == pytest.approx((1.0 - 0.03) / 2, abs=1e-12)
        assert self.error(probs, labels) == pytest.approx((1.0 + 0.03) / 2, abs=1e-6)


class TestNetcal:
    @pytest.fixture(autouse=True)
    def peer(self, noisy_peers):
        self.netcal = pytest.importorskip("netcal.metrics")

    def test_calibration_error(self, data):
        probs, labels = data
        expected = self.netcal.ECE(15).measure(probs, labels)
        assert metrics.expected_calibration_error(probs, labels) == pytest.approx(expected, abs=1e-12)

    def test_largest_gap(self, data):
        probs, labels = data
        expected = self.netcal.MCE(15).measure(probs, labels)
        found = metrics.expected_calibration_error(probs, labels, norm="max")
        assert found == pytest.approx(expected, abs=1e-12)

    def test_bins_are_closed_on_the_left_there(self):
        # Deliberate: .6 is 9/15, the upper edge of our bin with .58 and the lower one of theirs with .62.
        probs = np.array([[0.58, 0.42], [0.6, 0.4], [0.62, 0.38]])
        labels = np.array([0, 1, 0])
        ours = (abs(0.58 - 1 + 0.6) + abs(0.62 - 1)) / 3
        theirs = (abs(0.58 - 1) + abs(0.6 + 0.62 - 1)) / 3
        assert metrics.expected_calibration_error(probs, labels) == pytest.approx(ours, abs=1e-12)
        # Of a two-column array netcal looks at the second class alone, so it gets confidences.
        found = self.netcal.ECE(15).measure(probs.max(axis=1), 1 - labels)
        assert found == pytest.approx(theirs, abs=1e-12)


class TestUncertaintyCalibration:
    @pytest.fixture(autouse=True)
    def peer(self, noisy_peers):
        self.utils = pytest.importorskip("calibration.utils")

    def bins(self, binary, n_bins=15):
        p, happened = binary
        edges = (np.arange(n_bins) + 1) / n_bins
        return self.utils.bin(list(zip(p, happened.astype(float), strict=True)), edges.tolist())

    def test_debiased_error(self, data, binary):
        binned = [b for b in self.bins(binary) if len(b)]
        expected = self.utils.unbiased_l2_ce(binned)
        assert metrics.debiased_calibration_error(*data) == pytest.approx(expected, abs=1e-12)

    @pytest.mark.parametrize(("norm", "power"), [("l1", 1), ("l2", 2)])
    def test_plain_error(self, data, binary, norm, power):
        binned = [b for b in self.bins(binary) if len(b)]
        expected = self.utils.plugin_ce(binned, power=power)
        found = metrics.expected_calibration_error(*data, norm=norm)
        assert found == pytest.approx(expected, abs=1e-12)


class TestRelplot:
    @pytest.fixture(autouse=True)
    def peer(self, noisy_peers):
        self.relplot = pytest.importorskip("relplot.metrics")

    def test_smooth_error(self, data, binary):
        p, happened = binary
        # 1.5e-3: they stop at a bandwidth of 2**-10 and stay on the larger side of it
        expected = self.relplot.smECE(p, happened.astype(float))
        assert metrics.smooth_calibration_error(*data) == pytest.approx(expected, abs=1.5e-3)

    def test_smooth_error_at_its_own_bandwidth(self, data, binary):
        # The fixed point: at our bandwidth their smoothed error is the bandwidth itself,
        # to 1e-4, which is how finely they place items and add up density.
        p, happened = binary
        ours = metrics.smooth_calibration_error(*data)
        assert self.relplot.smECE_sigma(p, happened.astype(float), ours) == pytest.approx(ours, abs=1e-4)


class TestMapie:
    @pytest.fixture(autouse=True)
    def peer(self, noisy_peers):
        self.mapie = pytest.importorskip("mapie.metrics.calibration")

    def test_calibration_error(self, binary):
        p, happened = binary
        # Their num_bins counts the edges of equal-width bins: 16 make 15 bins.
        expected = self.mapie.expected_calibration_error(happened.astype(int), p, num_bins=16)
        found = metrics.evaluate("ece", metrics.Outcomes.from_top_label(p, happened))
        assert found == pytest.approx(expected, abs=1e-12)

    def test_top_label_error_is_a_plain_mean_over_classes_there(self, data):
        # Deliberate: Gupta & Ramdas weigh each predicted class by how often it is predicted.
        probs, labels = data
        predicted = probs.argmax(axis=1)
        errors, shares = [], []
        for k in range(5):
            rows = predicted == k
            items = metrics.Outcomes.from_top_label(probs[rows, k], labels[rows] == k)
            errors.append(metrics.evaluate("ece", items))
            shares.append(rows.mean())
        found = metrics.top_label_calibration_error(probs, labels)
        assert found == pytest.approx(np.dot(shares, errors), abs=1e-12)
        theirs = self.mapie.top_label_ece(labels, probs, num_bins=16, split_strategy="uniform")
        assert theirs == pytest.approx(np.mean(errors), abs=1e-12)

    def test_kolmogorov_smirnov(self, binary):
        # Theirs divides by the noise expected of a calibrated model, to get a test statistic;
        # 1e-7: and it jitters the scores by 1e-8 to break ties.
        p, happened = binary
        statistic = self.mapie.kolmogorov_smirnov_statistic(happened.astype(int), p)
        noise = np.sqrt((p * (1 - p)).sum()) / len(p)
        found = metrics.evaluate("ks", metrics.Outcomes.from_top_label(p, happened))
        assert found == pytest.approx(statistic * noise, abs=1e-7)
