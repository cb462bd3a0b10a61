"""Every smooth method's analytic gradient equals central differences, to 1e-6 in float64."""

import numpy as np
import pytest

from calbench.calibrators._adaptive import _unpack, network_loss
from calbench.calibrators._inputs import check_fit
from calbench.calibrators._linear import Design, FullMatrix, PerClass
from calbench.calibrators._logistic import logistic_loss
from calbench.calibrators._matrix import fit_matrix, odir
from calbench.calibrators._pacs import pacs_loss
from calbench.calibrators._quantile_temperature import monotone_loss
from calbench.calibrators._vector import fit_per_class
from calbench.calibrators.fuzzy._loss import LossWeights, fuzzy_loss, soft_calibration_error
from calbench.calibrators.fuzzy._model import LabelWise, MatrixWise
from calbench.calibrators.fuzzy._training import FuzzyObjective

from .data import finite_differences, overconfident

RNG = np.random.default_rng(0)
DATA = check_fit(*overconfident(60, 3, padded=True))


def agrees(function, x):
    np.testing.assert_allclose(function(x)[1], finite_differences(function, x), rtol=0, atol=1e-6)


def hessian_agrees(function, x):
    columns = [(function(x + 1e-6 * e)[1] - function(x - 1e-6 * e)[1]) / 2e-6 for e in np.eye(len(x))]
    np.testing.assert_allclose(function(x)[2], np.stack(columns), rtol=0, atol=1e-6)


def test_pacs():
    risks = RNG.uniform(0.1, 2, size=60)
    agrees(lambda x: pacs_loss(DATA, risks, x), np.array([1.7, 0.6]))
    hessian_agrees(lambda x: pacs_loss(DATA, risks, x), np.array([1.7, 0.6]))


def test_quantile_temperature():
    features = RNG.uniform(0.1, 1, size=(60, 4))
    agrees(lambda x: monotone_loss(DATA, features, x), np.array([0.3, 0.2, 0.1, 0.4]))
    hessian_agrees(lambda x: monotone_loss(DATA, features, x), np.array([0.3, 0.2, 0.1, 0.4]))


def test_platt_and_beta():
    features, targets = RNG.normal(size=(60, 3)), RNG.uniform(size=60)
    agrees(lambda x: logistic_loss(features, targets, x), np.array([0.3, -0.2, 0.5]))
    hessian_agrees(lambda x: logistic_loss(features, targets, x), np.array([0.3, -0.2, 0.5]))


@pytest.mark.parametrize("log_probs", [False, True])
def test_vector_and_affine(log_probs):
    problem = PerClass(Design.of(DATA, log_probs=log_probs), 0.1)
    x = RNG.normal(size=(2, 3))
    agrees(problem.evaluate, x)
    direction = RNG.normal(size=(2, 3))
    up, down = problem.evaluate(x + 1e-6 * direction)[1], problem.evaluate(x - 1e-6 * direction)[1]
    problem.evaluate(x)
    np.testing.assert_allclose(problem.curvature(direction), (up - down) / 2e-6, atol=1e-6)


@pytest.mark.parametrize("log_probs", [False, True])
def test_matrix_and_dirichlet(log_probs):
    problem = FullMatrix(Design.of(DATA, log_probs=log_probs), odir(3, 0.3, 0.7), np.eye(3, 4))
    x = RNG.normal(size=(3, 4))
    agrees(problem.evaluate, x)
    direction = RNG.normal(size=(3, 4))
    up, down = problem.evaluate(x + 1e-6 * direction)[1], problem.evaluate(x - 1e-6 * direction)[1]
    problem.evaluate(x)
    # These products are in single precision.
    np.testing.assert_allclose(problem.curvature(direction), (up - down) / 2e-6, atol=1e-5)


def test_adaptive():
    shapes = [(2, 5), (5,), (5, 5), (5,), (5, 1), (1,)]
    features = RNG.normal(size=(60, 2))
    x = 0.5 * RNG.normal(size=51)
    agrees(lambda x: network_loss(DATA, features, _unpack(x, shapes), 2.0), x)


@pytest.mark.parametrize("weights", [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0.3, 0.2, 0.1)])
def test_each_term_of_the_fuzzy_loss(weights):
    labels, predicted = RNG.integers(3, size=50), RNG.integers(3, size=50)
    agrees(lambda u: fuzzy_loss(u, labels, predicted, LossWeights(*weights)), RNG.normal(size=(3, 50)))


def test_soft_calibration_error():
    happened = RNG.integers(2, size=80).astype(float)
    agrees(lambda c: soft_calibration_error(c, happened), RNG.uniform(0.01, 0.99, size=80))


@pytest.mark.parametrize("kind", [LabelWise, MatrixWise])
def test_both_forms_of_the_fuzzy_calibrator(kind):
    model = kind(3)
    objective = FuzzyObjective(model, DATA, LossWeights(0.5, 0.5, 0.1))
    start = model.start(2.0)
    agrees(objective, start + 0.05 * RNG.normal(size=start.shape))


@pytest.mark.parametrize("name", ["vector", "affine"])
@pytest.mark.parametrize(("n", "k"), [(100, 2), (2000, 30)])
def test_convex_fits_per_class_reach_a_gradient_of_1e_10(name, n, k):
    solution = fit_per_class(check_fit(*overconfident(n, k)), 1e-6, name, log_probs=name == "affine")
    assert solution.converged
    assert solution.gradient_norm <= 1e-10


@pytest.mark.parametrize("log_probs", [False, True])
@pytest.mark.parametrize(("n", "k"), [(100, 2), (500, 10), (400, 40)])
def test_full_matrix_fits_reach_a_gradient_of_1e_10(n, k, log_probs):
    solution = fit_matrix(check_fit(*overconfident(n, k)), odir(k, 1.0, 1.0), log_probs=log_probs)
    assert solution.converged
    assert solution.gradient_norm <= 1e-10
