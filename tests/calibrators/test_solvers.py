"""What the solver of large convex fits knows of a Hessian: right where it was seen, positive elsewhere."""

import numpy as np
import pytest

from calbench.calibrators._inputs import check_fit
from calbench.calibrators._linear import Design, FullMatrix
from calbench.calibrators._matrix import odir
from calbench.calibrators._solvers import _conjugate_gradients, _Directions, newton_cg

from .data import overconfident


class Quadratic:
    """x'Hx / 2 of a given H."""

    def __init__(self, condition, n=60):
        vectors = np.linalg.qr(np.random.default_rng(0).normal(size=(n, n)))[0]
        self.hessian = vectors * np.geomspace(1, condition, n) @ vectors.T
        self.n_products = 0

    def curvature(self, direction):
        self.n_products += 1
        return self.hessian @ direction


def gradient(seed=1):
    return np.random.default_rng(seed).normal(size=60)


def itself(v):
    return v


def matrix_of(linear_map, n):
    return np.stack([linear_map(e) for e in np.eye(n)], axis=1)


def full_matrix(n, k, *, offset=0.0, log_probs=False):
    logits, labels = overconfident(n, k)
    data = check_fit(logits + offset, labels)
    return FullMatrix(Design.of(data, log_probs=log_probs), odir(k, 1.0, 1.0), np.eye(k, k + 1))


def n_products(problem, monkeypatch):
    """How many products with the Hessian a fit takes."""
    counted, product = [], FullMatrix.curvature
    with monkeypatch.context() as patch:
        patch.setattr(FullMatrix, "curvature", lambda *args: counted.append(0) or product(*args))
        assert newton_cg(problem, problem.centre / 2).converged
    return len(counted)


def test_known_directions_are_inverted_exactly_and_the_rest_stays_positive():
    problem = Quadratic(condition=30)
    _, known = _conjugate_gradients(problem, gradient(), itself, forcing=0.05)
    better = known.around(itself)
    for direction, image in zip(known.directions, known.images, strict=True):
        np.testing.assert_allclose(better(image), direction, rtol=0, atol=1e-6 * np.abs(direction).max())
    inverse = matrix_of(better, 60)
    np.testing.assert_allclose(inverse, inverse.T, atol=1e-10)
    assert np.linalg.eigvalsh(inverse).min() > 0


def test_many_directions_have_lost_their_conjugacy_and_are_not_used():
    _, known = _conjugate_gradients(Quadratic(condition=1e4), gradient(), itself, forcing=1e-6)
    assert known.n_seen > 32
    assert not known.directions
    assert known.around(itself) is itself


def test_a_second_system_with_the_same_hessian_costs_less():
    problem = Quadratic(condition=30)
    _, known = _conjugate_gradients(problem, gradient(), itself, forcing=0.05)
    costs = []
    for inverse in (itself, known.around(itself)):
        problem.n_products = 0
        step, _ = _conjugate_gradients(problem, gradient() + 0.1, inverse, forcing=1e-3)
        costs.append(problem.n_products)
        assert np.linalg.norm(problem.hessian @ step + gradient() + 0.1) < 0.1
    assert costs[1] < costs[0]


@pytest.mark.parametrize("log_probs", [False, True])
def test_newton_steps_tell_the_next_what_they_saw(log_probs, monkeypatch):
    problem = full_matrix(1000, 60, log_probs=log_probs)
    told = n_products(problem, monkeypatch)
    monkeypatch.setattr(_Directions, "around", lambda _, inverse: inverse)
    # 36% and 33% fewer here
    assert told < 0.8 * n_products(problem, monkeypatch)


@pytest.mark.parametrize("log_probs", [False, True])
@pytest.mark.parametrize("offset", [0.0, 1000.0])  # where moments about 0 would drown in single precision
def test_the_approximate_inverse_is_that_of_one_covariance_about_each_class_mean(log_probs, offset):
    k, problem = 4, full_matrix(200, 4, offset=offset, log_probs=log_probs)
    problem.evaluate(problem.centre / 2)
    doubt, x = problem.loss.weights(), problem.inputs
    share = doubt.mean(axis=0)
    means = doubt.T @ x / doubt.sum(axis=0)[:, None]
    apart = [(x - mean).T * weights @ (x - mean) for mean, weights in zip(means, doubt.T, strict=True)]
    covariance = sum(apart) / doubt.sum()
    penalty = np.diag(2 * problem.strength.mean(axis=0))
    blocks = [s * (covariance + np.outer(m, m)) + penalty for s, m in zip(share, means, strict=True)]
    inverse = problem.precondition()
    v = np.random.default_rng(0).normal(size=(k, k + 1))
    expected = np.stack([np.linalg.solve(b, row) for b, row in zip(blocks, v - v.mean(axis=0), strict=True)])
    expected += np.linalg.solve(penalty, v.mean(axis=0)) - expected.mean(axis=0)
    # The moments are in single precision.
    np.testing.assert_allclose(inverse(v), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
