"""Records of what a model said: the checks, the two kinds, and the files that hold them."""

from calbench.records._arrays import (
    Bool,
    Float32,
    Float64,
    FloatArray,
    Int64,
    Strings,
    check_confidences,
    check_correct,
    check_labels,
    check_probs,
    softmax,
)
from calbench.records._columns import ColumnFile, by_suffix, json_document, json_lines, open_columns, reading
from calbench.records._predictions import AnyRecord, Predictions, TopLabelPredictions
from calbench.records._reading import ColumnNames, kind_of, read_record, record_of
from calbench.records._writing import SUFFIXES, digest

__all__ = [
    "SUFFIXES",
    "AnyRecord",
    "Bool",
    "ColumnFile",
    "ColumnNames",
    "Float32",
    "Float64",
    "FloatArray",
    "Int64",
    "Predictions",
    "Strings",
    "TopLabelPredictions",
    "by_suffix",
    "check_confidences",
    "check_correct",
    "check_labels",
    "check_probs",
    "digest",
    "json_document",
    "json_lines",
    "kind_of",
    "open_columns",
    "read_record",
    "reading",
    "record_of",
    "softmax",
]
