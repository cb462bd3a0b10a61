"""Named arms on the same items, and what is required of them."""

from calbench.gates._comparison import Comparison, check_against, compare
from calbench.gates._evaluate import evaluate
from calbench.gates._explanation import Pair, figures, headline, what_moved, where_it_lies
from calbench.gates._fitted_split import Arm, Side
from calbench.gates._requirement import Limits, Requirement, requirements
from calbench.gates._top_label_split import TopLabelSide, metrics_of, side_of, takes_confidences
from calbench.gates._transfer import ARMS, TransferResult, transfer, transfer_between

__all__ = [
    "ARMS",
    "Arm",
    "Comparison",
    "Limits",
    "Pair",
    "Requirement",
    "Side",
    "TopLabelSide",
    "TransferResult",
    "check_against",
    "compare",
    "evaluate",
    "figures",
    "headline",
    "metrics_of",
    "requirements",
    "side_of",
    "takes_confidences",
    "transfer",
    "transfer_between",
    "what_moved",
    "where_it_lies",
]
