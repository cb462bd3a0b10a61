import json
import subprocess
import sys

import numpy as np
import pytest

import calbench
from calbench import calibrators
from calbench.calibrators import CalibrationContext
from calbench.errors import CalbenchError, DuplicateNameError, InputError, UnknownNameError
from calbench.gates import takes_confidences
from calbench.records import TopLabelPredictions, softmax
from calbench.testing import check_calibrator

from .data import overconfident

BUILT_IN = (
    "adaptive", "affine", "beta", "dirichlet", "fuzzy", "fuzzy_int4", "histogram", "identity", "isotonic",
    "matrix", "pacs", "pacs_temperature", "platt", "quantile_temperature", "scaling_binning",
    "temperature", "vector",
)  # fmt: skip
VARIANTS = (
    "beta[parameters=ab]",
    "beta[form=one-vs-rest,parameters=am]",
    "dirichlet[regularizer=l2]",
    "fuzzy[form=matrix]",
    "histogram[form=top-label,n_bins=5,strategy=uniform]",
    "isotonic[form=top-label]",
    "pacs[alpha=fitted]",
    "platt[form=one-vs-rest]",
    "scaling_binning[form=one-vs-rest]",
)


@pytest.fixture
def forgets():
    """Remove what a test registers."""
    before = dict(calibrators.registry._entries) if calibrators.names() else {}
    yield
    calibrators.registry._entries.clear()
    calibrators.registry._entries.update(before)


def test_the_shared_tests_run_for_every_calibrator_of_calbench():
    origin = calibrators.registry.origin
    ours = {name for name in calibrators.names() if origin(name).startswith("calbench.calibrators._")}
    ours |= {name for name in calibrators.names() if origin(name).startswith("calbench.calibrators.fuzzy")}
    assert set(BUILT_IN) == ours


@pytest.mark.parametrize("name", BUILT_IN + VARIANTS)
def test_built_in_calibrators_keep_the_rules(name):
    check_calibrator(name)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_calibrator_says_what_it_is(name):
    method = calibrators.get(name)
    assert method.source
    assert method.needs_epsilon == name.startswith("pacs")


@pytest.mark.parametrize("name", BUILT_IN + VARIANTS)
def test_padding_stays_impossible_and_rows_sum_to_one(name):
    logits, labels = overconfident(600, 4, padded=True)
    fitted = calibrators.get(name).fit(logits, labels, context=CalibrationContext(epsilon=0.07))
    probs = fitted(logits)
    assert (probs[::3, -1] == 0).all()
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-12)


@pytest.mark.parametrize("name", BUILT_IN)
def test_an_item_with_a_single_option_is_certain(name):
    logits, labels = overconfident(600, 3)
    logits[5], labels[5] = [-np.inf, 1.0, -np.inf], 1
    fitted = calibrators.get(name).fit(logits, labels, context=CalibrationContext(epsilon=0.07))
    np.testing.assert_allclose(fitted(logits)[5], [0, 1, 0], atol=1e-15)


@pytest.mark.parametrize("name", BUILT_IN)
def test_float32_and_float64_logits_of_equal_value_give_equal_fits(name):
    logits, labels = overconfident(300, 3)
    logits = logits.astype(np.float32)
    fits = [
        calibrators.get(name).fit(z, labels, context=CalibrationContext(epsilon=0.07))
        for z in (logits, logits.astype(np.float64))
    ]
    assert fits[0].to_dict() == fits[1].to_dict()


@pytest.mark.parametrize("name", ["vector", "isotonic", "platt", "temperature", "pacs"])
def test_a_thousand_classes_are_handled(name):
    logits, labels = overconfident(2000, 1000)
    fitted = calibrators.get(name).fit(logits, labels, context=CalibrationContext(epsilon=0.07))
    np.testing.assert_allclose(fitted(logits[:50]).sum(axis=1), 1, atol=1e-9)


@pytest.mark.parametrize("name", ["matrix", "dirichlet", "fuzzy", "fuzzy[form=matrix]"])
def test_methods_that_cannot_have_a_thousand_classes_say_so(name):
    with pytest.raises(InputError, match="parameters for 1000 classes"):
        calibrators.get(name).fit(*overconfident(200, 1000))


def test_arguments_in_an_id_are_typed():
    assert calibrators.get("pacs[alpha=2]").alpha == 2.0
    assert calibrators.get("histogram[n_bins=7]").n_bins == 7
    assert calibrators.get("pacs[alpha=fitted]").alpha == "fitted"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("temperature[warmth=2]", "no argument of temperature is called 'warmth'"),
        ("pacs[alpha=-1]", "alpha"),
        ("histogram[n_bins=2.5]", "n_bins"),
        ("beta[form=both]", "form"),
        ("beta[parameters=xyz]", "parameters"),
        ("vector[ridge=0]", "ridge"),
        ("temperature[min_temperature=5,max_temperature=2]", "bounds"),
        ("adaptive[n_top=1]", "n_top"),
        ("quantile_temperature[n_knots=1]", "n_knots"),
        ("fuzzy[form=round]", "form"),
        ("fuzzy_int4[bits=1]", "bits"),
        ("dirichlet[regularizer=l3]", "regularizer"),
        ("histogram[strategy=odd]", "strategy"),
    ],
)
def test_bad_arguments_are_named(name, message):
    with pytest.raises(InputError, match=message):
        calibrators.get(name)


def test_an_unknown_calibrator_gets_a_suggestion():
    with pytest.raises(UnknownNameError, match="did you mean 'temperature'"):
        calibrators.get("tempera")


def test_a_dozen_lines_make_a_calibrator(forgets):
    @calibrators.calibrator("halving")
    class Halving:
        def fit(self, logits, labels, *, context):
            return lambda z: softmax(z / 2)

    method = calibrators.get("halving")
    assert (method.needs, method.preserves_prediction, method.needs_epsilon, method.source) == (
        "logits",
        False,
        False,
        "",
    )
    fitted = method.fit(*overconfident())
    assert (fitted.n_parameters, fitted.size_bytes, fitted.warnings) == (0, 0, ())
    assert fitted.at(0.1) is fitted
    with pytest.raises(InputError, match="cannot be saved"):
        fitted.to_dict()


def test_a_plugins_fit_can_have_every_optional_part(forgets):
    class Fit:
        n_parameters = 1
        warnings = ("mind the gap",)

        def __init__(self, scale):
            self.scale = scale

        def __call__(self, logits):
            return softmax(logits * self.scale)

        def at(self, epsilon):
            return Fit(epsilon)

        def to_dict(self):
            return {"scale": self.scale}

    @calibrators.calibrator("scaled")
    class Scaled:
        preserves_prediction = True

        def fit(self, logits, labels, *, context):
            return Fit(0.5)

        @staticmethod
        def from_dict(d):
            return Fit(d["scale"])

    fitted = calibrators.get("scaled").fit(*overconfident())
    assert (fitted.n_parameters, fitted.size_bytes, fitted.warnings) == (1, 8, ("mind the gap",))
    assert fitted.to_dict() == {"calibrator": "scaled", "scale": 0.5}
    z = [[1.0, 2.0]]
    np.testing.assert_array_equal(calibrators.from_dict(fitted.to_dict())(z), fitted(z))
    np.testing.assert_array_equal(fitted.at(1.0)(z), softmax(z))


def test_a_plugin_that_returns_no_probabilities_is_named(forgets):
    @calibrators.calibrator("logits-back")
    class LogitsBack:
        def fit(self, logits, labels, *, context):
            return lambda z: z

    fitted = calibrators.get("logits-back").fit(*overconfident())
    with pytest.raises(InputError, match=r"'logits-back' returned no probabilities: probs\[0\]"):
        fitted([[1.0, 2.0]])


def test_registering_something_else_than_a_calibrator_is_refused():
    with pytest.raises(InputError, match="must be a class with fit"):
        calibrators.calibrator("nothing")(int)


def test_an_authors_fit_need_not_take_a_context(forgets):
    @calibrators.calibrator("no-context")
    class NoContext:
        def fit(self, logits, labels):
            return softmax

    fitted = calibrators.get("no-context").fit(*overconfident(), context=CalibrationContext(epsilon=0.1))
    np.testing.assert_array_equal(fitted([[1.0, 2.0]]), softmax([[1.0, 2.0]]))


class Shrinking:
    def fit(self, logits, labels):
        return softmax

    def fit_confidences(self, confidences, correct):
        share = correct.mean() / confidences.mean()
        return lambda values: np.minimum(values * share, 1)


def test_an_authors_map_of_confidences_works_on_records_of_the_top_answer(forgets):
    calibrators.calibrator("shrinking")(Shrinking)
    fitted = calibrators.get("shrinking").fit_confidences([0.9, 0.7], [True, False])
    np.testing.assert_allclose(fitted.confidences([0.8]), [0.5])
    assert takes_confidences("shrinking")
    assert not takes_confidences("temperature")
    rng = np.random.default_rng(0)
    confidences = rng.uniform(0.5, 1, 400)
    record = TopLabelPredictions(range(400), confidences, rng.random(400) < confidences - 0.2)

    assert calbench.transfer(record, record, "shrinking") is not None


def test_an_authors_map_out_of_range_is_named(forgets):
    calibrators.calibrator("wild")(
        type("Wild", (Shrinking,), {"fit_confidences": lambda self, c, y: lambda values: values + 1})
    )
    with pytest.raises(InputError, match="'wild' returned no confidences"):
        calibrators.get("wild").fit_confidences([0.9, 0.7], [True, False]).confidences([0.9])


@pytest.mark.parametrize("name", ["fuzzy", "fuzzy_int4", "vector", "matrix"])
def test_a_class_missing_in_the_fit_is_said(name):
    logits, labels = overconfident(400, 3)
    kept = labels != 1
    fitted = calibrators.get(name).fit(logits[kept], labels[kept])
    assert any("no calibration sample is of class 1" in warning for warning in fitted.warnings)


def test_two_classes_cannot_share_an_id():
    with pytest.raises(DuplicateNameError, match="two calibrators are called 'temperature'"):

        @calibrators.calibrator("temperature")
        class Other:
            def fit(self, logits, labels, *, context):
                return softmax


@pytest.mark.parametrize("d", [{}, None, [], {"calibrator": 3}])
def test_from_dict_refuses_what_is_no_fit(d):
    with pytest.raises(InputError, match="no fitted calibrator"):
        calibrators.from_dict(d)


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.pop("parameters"),
        lambda d: d.update(format=2),
        lambda d: d["parameters"].update(heat=1.0),
        lambda d: d["parameters"].pop("temperature"),
    ],
)
def test_from_dict_refuses_a_damaged_fit(damage):
    d = calibrators.get("temperature").fit(*overconfident()).to_dict()
    damage(d)
    with pytest.raises(InputError, match="temperature"):
        calibrators.from_dict(d)


def places(value, path=()):
    """Paths to what is inside a JSON value; of a list, to its first two."""
    yield path
    keys = value if isinstance(value, dict) else range(min(len(value), 2) if isinstance(value, list) else 0)
    for key in keys:
        yield from places(value[key], (*path, key))


def damaged(d, path, value):
    copy = json.loads(json.dumps(d))
    inside = copy
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    return copy


WRONG = (np.nan, np.inf, "0.5", None, True, [], [[1.0]], [0.1, 0.2, 0.3, 0.4], {}, 0, -1, 2.5, 1e300)


@pytest.mark.parametrize("name", BUILT_IN + VARIANTS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numbers out of all proportion
def test_a_damaged_fit_is_refused_or_gives_probabilities(name):
    logits, labels = overconfident(300, 3)
    d = calibrators.get(name).fit(logits, labels, context=CalibrationContext(epsilon=0.07)).to_dict()
    n_refused = 0
    for path in [p for p in places(d) if p]:
        for value in WRONG:
            try:
                probs = calibrators.from_dict(damaged(d, path, value))(logits[:20])
            except CalbenchError:
                n_refused += 1
                continue
            assert np.isfinite(probs).all(), (path, value)
            np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-6, err_msg=f"{path} {value}")
            assert probs.min() >= 0, (path, value)
    assert n_refused > 20


@pytest.mark.parametrize(
    ("name", "field", "value", "message"),
    [
        ("temperature", "temperature", 0.0, "temperature is 0.0"),
        ("temperature", "temperature", -1.0, "temperature is -1.0"),
        ("temperature", "temperature", np.nan, "temperature is nan"),
        ("temperature", "temperature", "hot", "temperature is 'hot'"),
        ("vector", "scale", [1.0, 2.0], "scale and bias are not of 3 classes"),
        ("isotonic", "values", {"arrays": [[2.0]] * 3}, "a table"),
        ("pacs", "epsilon", 1.5, "epsilon is 1.5"),
        ("beta", "a", [-1.0], "a or b is below 0"),
    ],
)
def test_a_damaged_fit_says_what_is_wrong(name, field, value, message):
    d = calibrators.get(name).fit(*overconfident(300, 3), context=CalibrationContext(epsilon=0.07)).to_dict()
    d["parameters"][field] = value
    with pytest.raises(InputError, match=message):
        calibrators.from_dict(d)


def test_json_keeps_every_bit():
    logits, labels = overconfident(600, 5)
    for name in BUILT_IN:
        fitted = calibrators.get(name).fit(logits, labels, context=CalibrationContext(epsilon=0.07))
        restored = calibrators.from_dict(json.loads(json.dumps(fitted.to_dict(), allow_nan=False)))
        np.testing.assert_array_equal(restored(logits), fitted(logits))
        assert restored.to_dict() == fitted.to_dict()


def test_fits_cannot_be_changed():
    fitted = calibrators.get("vector").fit(*overconfident())
    with pytest.raises(AttributeError):
        fitted.scale = None
    with pytest.raises(ValueError, match="read-only"):
        fitted.scale[0] = 2


def test_importing_calibrators_needs_numpy_and_scipy_only():
    code = (
        "import sys; from calbench import calibrators; calibrators.names();"
        "found = {'torch', 'onnx', 'matplotlib', 'sklearn', 'pyarrow', 'pytest'} & set(sys.modules);"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
