"""``check_calibrator`` catches each rule broken on purpose, and says how to mend it."""

import numpy as np
import pytest

from calbench.records import softmax
from calbench.testing import check_calibrator


class Good:
    """Keeps all the rules, and is the base of those that break one."""

    preserves_prediction = True

    def fit(self, logits, labels, *, context):
        return softmax


def breaks(message, **members):
    return pytest.param(type("Broken", (Good,), members), message)


def fits(function):
    """A ``fit`` that returns ``function``."""
    return lambda self, logits, labels, *, context: function


def writes_into_logits(self, logits, labels, *, context):
    logits -= logits.max(axis=1, keepdims=True)
    return softmax


def applied_in_place(logits):
    logits *= 0.5
    return softmax(logits)


def draws_its_own_numbers(self, logits, labels, *, context):
    temperature = 1 + np.random.default_rng().random()
    return lambda z: softmax(z / temperature)


def mapping(function):
    """A ``fit_confidences`` that returns ``function``."""
    return lambda self, confidences, correct: function


def doubles_in_place(self, confidences, correct):
    confidences *= 2
    return lambda c: c


def divides(self, confidences, correct):
    share = 1 / int(correct.sum())
    return lambda c: c * share


class Learning:
    """Changes each time it is applied."""

    def __init__(self):
        self.times = 0

    def __call__(self, logits):
        self.times += 1
        return softmax(logits / self.times)


class Saved:
    """A fit with a JSON form."""

    def __init__(self, temperature, form):
        self.temperature, self.form = temperature, form

    def __call__(self, logits):
        return softmax(logits / self.temperature)

    def to_dict(self):
        return self.form(self.temperature)


def saved(form):
    return {
        "fit": lambda self, logits, labels, *, context: Saved(np.float64(4 / 3), form),
        "from_dict": staticmethod(lambda d: Saved(d["temperature"], form)),
    }


def fit_with(**attributes):
    def fit(self, logits, labels, *, context):
        fitted = Saved(2.0, dict)
        fitted.__class__ = type("Fit", (), {"__call__": Saved.__call__, **attributes})
        return fitted

    return fit


def raises_key_error(self, logits, labels, *, context):
    if len(labels) < 10:
        raise KeyError("too few")
    return softmax


@pytest.mark.parametrize(
    ("component", "message"),
    [
        breaks("fit_confidences writes into its inputs", fit_confidences=doubles_in_place),
        breaks("mapped differently beside others", fit_confidences=mapping(lambda c: c / c.sum())),
        breaks("returned no confidences", fit_confidences=mapping(lambda c: 1 + c)),
        breaks("returned int; return a function", fit_confidences=lambda self, confidences, correct: 3),
        breaks("all answers wrong raised ZeroDivisionError", fit_confidences=divides),
        breaks("must be a class with fit", fit=None),
        breaks("writes into its inputs", fit=writes_into_logits),
        breaks("writes into its input", fit=fits(applied_in_place)),
        breaks("returned no probabilities", fit=fits(lambda z: z)),
        breaks("returned no probabilities", fit=fits(lambda z: np.where(z > 2, np.nan, softmax(z)))),
        breaks("off from 1", fit=fits(lambda z: softmax(z) * 0.9995)),
        breaks("returned shape", fit=fits(lambda z: softmax(z[:-1]))),
        breaks(
            "given -inf for an option",
            fit=fits(lambda z: np.where(np.isneginf(z).any(axis=1, keepdims=True), np.nan, softmax(z))),
        ),
        breaks(
            "does not have raised ZeroDivision",
            fit=fits(lambda z: softmax(z) if np.isfinite(z).all() else 1 / 0),
        ),
        breaks("depend on the other items", fit=fits(lambda z: softmax(z / (1 + z.std())))),
        breaks("two results|depend on the other", fit=fits(Learning())),
        breaks("draw random numbers from context.rng", fit=draws_its_own_numbers),
        breaks("predictions changed", fit=fits(lambda z: softmax(-z))),
        breaks("predictions changed", fit=fits(lambda z: softmax(0 * z))),
        breaks("needs is 'labels'", needs="labels"),
        breaks("preserves_prediction is 'yes'", preserves_prediction="yes"),
        breaks("not plain JSON", **saved(lambda t: {"temperature": np.array([t])})),
        breaks("keep every bit", **saved(lambda t: {"temperature": round(float(t), 3)})),
        breaks("n_parameters is -1", fit=fit_with(n_parameters=-1)),
        breaks("must be a tuple of strings", fit=fit_with(warnings=(3,))),
        breaks("three items raised KeyError", fit=raises_key_error),
        breaks("returned int, which cannot be called", fit=lambda self, logits, labels, *, context: 3),
    ],
)
def test_a_broken_rule_is_caught(component, message):
    with pytest.raises(AssertionError, match=message):
        check_calibrator(component)


def test_a_fit_that_can_be_saved_but_not_restored_is_caught():
    class OneWay(Good):
        def fit(self, logits, labels, *, context):
            return Saved(2.0, lambda t: {"temperature": t})

    with pytest.raises(AssertionError, match="no from_dict"):
        check_calibrator(OneWay)


def test_classes_and_instances_that_keep_the_rules_pass():
    check_calibrator(Good)
    check_calibrator(Good())
    check_calibrator(type("OfConfidences", (Good,), {"fit_confidences": mapping(lambda c: c**2)}))
    check_calibrator(type("Saving", (Good,), saved(lambda t: {"temperature": float(t)})))


def test_a_calibrator_is_checked_by_id():
    check_calibrator("temperature[max_temperature=100]", n_classes=(2, 7), n_samples=100)
