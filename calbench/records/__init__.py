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
    checked_distribution,
    softmax,
)
from calbench.records._columns import PLAN, ColumnFile, joined, open_columns, parts_of, refuse_plan
from calbench.records._content import Kind, head_of, kind_of_content, reading
from calbench.records._joining import one_record
from calbench.records._names import ColumnNames, ConfidenceKind
from calbench.records._predictions import AnyRecord, Predictions, TopLabelPredictions, in_files
from calbench.records._reading import kind_of, read_record, record_of, text_columns
from calbench.records._rows import labels_of
from calbench.records._spellings import cells
from calbench.records._texts import json_document, json_rows
from calbench.records._unlabelled import Answers, answers_of
from calbench.records._writing import SUFFIXES, by_suffix, digest, write_record

__all__ = [
    "PLAN",
    "SUFFIXES",
    "Answers",
    "AnyRecord",
    "Bool",
    "ColumnFile",
    "ColumnNames",
    "ConfidenceKind",
    "Float32",
    "Float64",
    "FloatArray",
    "Int64",
    "Kind",
    "Predictions",
    "Strings",
    "TopLabelPredictions",
    "answers_of",
    "by_suffix",
    "cells",
    "check_confidences",
    "check_correct",
    "check_labels",
    "check_probs",
    "checked_distribution",
    "digest",
    "head_of",
    "joined",
    "json_document",
    "json_rows",
    "kind_of",
    "kind_of_content",
    "labels_of",
    "one_record",
    "open_columns",
    "parts_of",
    "read_record",
    "reading",
    "record_of",
    "refuse_plan",
    "softmax",
    "text_columns",
]

in_files(read=read_record, write=write_record)
