"""What the solver of large convex fits knows of a Hessian: right where it was seen, positive elsewhere."""

import numpy as np
import pytest

from calbench.calibrators.inputs import check_fit
from calbench.calibrators.linear import Design, FullMatrix
from calbench.calibrators.matrix import odir
from calbench.calibrators.solvers import _conjugate_gradients, newton_cg

from .data import overconfident

RNG = np.random.default_rng(0)


class Quadratic:
    """x'Hx / 2 + c'x of a given H."""

    def __init__(self, hessian):
        self.hessian = hessian
        self.n_products = 0

    def evaluate(self, x):
        return float(x @ self.hessian @ x / 2 - x.sum()), self.hessian @ x - 1

    def curvature(self, direction):
        self.n_products += 1
        return self.hessian @ direction

    def precondition(self):
        return lambda v: v


def quadratic(n=60, condition=1e4):
    vectors = np.linalg.qr(RNG.normal(size=(n, n)))[0]
    return Quadratic(vectors * np.geomspace(1, condition, n) @ vectors.T)


def matrix_of(linear_map, n):
    return np.stack([linear_map(e) for e in np.eye(n)], axis=1)


def test_known_directions_are_inverted_exactly_and_the_rest_stays_positive():
    problem = quadratic(condition=30)
    _, known = _conjugate_gradients(problem, RNG.normal(size=60), lambda v: v, forcing=0.05)
    better = known.around(lambda v: v)
    for direction, image in zip(known.directions, known.images, strict=True):
        np.testing.assert_allclose(better(image), direction, rtol=0, atol=1e-6 * np.abs(direction).max())
    inverse = matrix_of(better, 60)
    np.testing.assert_allclose(inverse, inverse.T, atol=1e-10)
    assert np.linalg.eigvalsh(inverse).min() > 0


def test_a_second_system_with_the_same_hessian_costs_less():
    problem, gradient = quadratic(), RNG.normal(size=60)
    _, known = _conjugate_gradients(problem, gradient, lambda v: v, forcing=0.05)
    costs = []
    for inverse in (lambda v: v, known.around(lambda v: v)):
        problem.n_products = 0
        step, _ = _conjugate_gradients(problem, gradient + 0.1, inverse, forcing=1e-6)
        costs.append(problem.n_products)
        np.testing.assert_allclose(problem.hessian @ step, -(gradient + 0.1), atol=1e-3)
    assert costs[1] < 0.7 * costs[0]


@pytest.mark.parametrize("log_probs", [False, True])
def test_the_approximate_inverse_of_a_full_matrix_is_symmetric_and_positive(log_probs):
    problem = FullMatrix(
        Design.of(check_fit(*overconfident(200, 4)), log_probs=log_probs), odir(4, 1, 1), np.eye(4, 5)
    )
    problem.evaluate(np.eye(4, 5) / 2)
    inverse = problem.precondition()
    found = matrix_of(lambda v: inverse(v.reshape(4, 5)).ravel(), 20)
    np.testing.assert_allclose(found, found.T, atol=1e-6 * np.abs(found).max())
    assert np.linalg.eigvalsh((found + found.T) / 2).min() > 0


@pytest.mark.parametrize(("log_probs", "most"), [(False, 22), (True, 28)])
def test_a_fit_takes_few_products_with_the_hessian(log_probs, most, monkeypatch):
    n_products, product = [], FullMatrix.curvature
    monkeypatch.setattr(FullMatrix, "curvature", lambda *args: n_products.append(0) or product(*args))
    data = check_fit(*overconfident(3000, 30))
    problem = FullMatrix(Design.of(data, log_probs=log_probs), odir(30, 1, 1), np.eye(30, 31))
    assert newton_cg(problem, np.eye(30, 31) / 2).converged
    assert len(n_products) <= most
