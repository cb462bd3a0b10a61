"""Named arms on the same items, and what is required of them."""

from calbench.gates._arms import Arms, NamedArms, no_arm
from calbench.gates._bits import order_problem
from calbench.gates._compare import compare
from calbench.gates._comparison import GATE_METRIC, MARGIN, NOTHING, Comparison
from calbench.gates._court import Court, Raising
from calbench.gates._decision import Decision, Gate, GateFigures, Interval
from calbench.gates._evaluate import evaluate
from calbench.gates._explanation import shown
from calbench.gates._fitted_split import (
    CALIBRATION_SHARE,
    Arm,
    FittedSplit,
    Split,
    clusters_of,
    metrics_of,
    needs_items,
    split_items,
    takes_confidences,
)
from calbench.gates._folds import MOST_FOLDS, CrossFitted, cross_fits, fold_of
from calbench.gates._looks import IN_REACH, OUT_OF_ITEMS, PROMISING, REPLAY, Looks
from calbench.gates._recovery import Recovery
from calbench.gates._requirement import Contrast, Requirement
from calbench.gates._transfer import (
    TRANSFER_ARMS,
    TRANSFER_CONTRASTS,
    division,
    n_calibration_of,
    other_calibrator,
    transfer,
    transfer_between,
)
from calbench.seeds import SEED

__all__ = [
    "CALIBRATION_SHARE",
    "GATE_METRIC",
    "IN_REACH",
    "MARGIN",
    "MOST_FOLDS",
    "NOTHING",
    "OUT_OF_ITEMS",
    "PROMISING",
    "REPLAY",
    "SEED",
    "TRANSFER_ARMS",
    "TRANSFER_CONTRASTS",
    "Arm",
    "Arms",
    "Comparison",
    "Contrast",
    "Court",
    "CrossFitted",
    "Decision",
    "FittedSplit",
    "Gate",
    "GateFigures",
    "Interval",
    "Looks",
    "NamedArms",
    "Raising",
    "Recovery",
    "Requirement",
    "Split",
    "clusters_of",
    "compare",
    "cross_fits",
    "division",
    "evaluate",
    "fold_of",
    "metrics_of",
    "n_calibration_of",
    "needs_items",
    "no_arm",
    "order_problem",
    "other_calibrator",
    "shown",
    "split_items",
    "takes_confidences",
    "transfer",
    "transfer_between",
]
