"""What ``results.json`` and ``evidence.json`` hold: one definition for writers, readers and the schema.

What a class does not name may stand in a file all the same; it is kept and not looked at.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Len
from typing_extensions import NotRequired, TypedDict

from calbench.gates import Gate, GateFigures, Interval

Axis = Literal["model", "task", "quantizer", "calibrator"]
Difference = Literal["degradation", "regret", "benefit"]
SizeName = Literal["effective_bits", "resident_bytes"]
Count = Annotated[int, Ge(0)]
TestItems = Annotated[int, Gt(0)]


class EstimateRow(TypedDict):
    """A number with its interval."""

    value: float
    interval: Interval


Estimates = dict[str, EstimateRow]  # by a metric's id


class RecordKeys(TypedDict):
    """The records that a cell was computed from."""

    reference: str
    candidate: str


class Size(TypedDict):
    """Of a quantized model; null where a record from elsewhere does not say."""

    effective_bits: float | None
    model_effective_bits: float | None
    resident_bytes: float | None


class AccuracyTest(TypedDict):
    """McNemar's test of two arms: items that only one of them answers right."""

    only_a: Count
    only_b: Count
    p_value: float
    exact: bool


class SeedValues(TypedDict):
    """The values of another division of the items, by a metric's id."""

    transferred: dict[str, float]
    degradation: dict[str, float]


class Bins(TypedDict):
    """Items, mean confidence and accuracy in each bin of confidence; null in empty ones."""

    counts: list[Count]
    confidences: list[float | None]
    accuracies: list[float | None]


class ConfidencePairs(TypedDict):
    """The raw confidences of both models on a sample of the test items, and where answers flip."""

    n: Count
    n_flips: Count
    reference: list[float]
    candidate: list[float]
    flips: list[Literal[0, 1]]


class Resamples(TypedDict):
    """A metric's value with its resampled ones, packed."""

    value: float
    n: int
    resamples: str


class Ranked(Resamples):
    """What a calibrator is ranked by: ECE, and by their ids more metrics."""

    more: dict[str, Resamples]


class Rank(TypedDict):
    """A place among the calibrators of the same model, task and quantizer, by transferred ECE."""

    rank: int
    interval: Annotated[list[int], Len(2, 2)]
    of: int


class Row(TypedDict):
    """One cell; ``ranked`` and ``confidence_pairs`` travel between processes and are in no file's cells."""

    cell: str
    model: str
    task: str
    group: str
    quantizer: str
    calibrator: str
    seed: int
    n_calibration: Count
    n_test: TestItems
    level: float
    records: RecordKeys
    epsilons: Annotated[list[float | None], Len(2, 2)]
    reference: str
    quantization: Size
    arms: dict[str, Estimates]
    degradation: Estimates
    regret: Estimates
    benefit: Estimates
    relative_degradation: Estimates
    accuracy_test: AccuracyTest
    quantization_accuracy_test: AccuracyTest
    other_seeds: dict[str, SeedValues]
    fitted: dict[str, Any] | None
    reliability: dict[str, Bins]
    warnings: list[str]
    gates: list[Gate]
    rank: NotRequired[Rank]
    ranked: NotRequired[Ranked]
    confidence_pairs: NotRequired[ConfidencePairs]


class ComparisonRow(TypedDict):
    """A comparison of the user's own arrays or records."""

    name: str
    n_test: int
    level: float
    gates: list[Gate]


class VariantRow(TypedDict):
    """One arm of tuning and quantization."""

    description: str
    record: str
    metrics: dict[str, EstimateRow | None]
    collapsed: str
    training: dict[str, Any] | None


class EffectRow(TypedDict):
    """What tells arms apart, in one metric."""

    contrast: str
    question: str
    metric: str
    estimate: EstimateRow | None
    p_value: float | None
    shown: bool


class RecoveryRow(TypedDict):
    """How much of quantization's cost an arm wins back; ``fraction`` is null where ``refused``."""

    reference: str
    quantized: str
    restored: str
    metric: str
    cost: EstimateRow
    gain: EstimateRow
    fraction: EstimateRow | None
    refused: str


class VariantsRow(TypedDict):
    """Tuning, quantization and distillation as arms on the same items."""

    model: str
    task: str
    quantizer: str
    seed: int
    level: float
    n_training: int
    n_calibration: Count
    n_test: TestItems
    arms: dict[str, VariantRow]
    effects: list[EffectRow]
    calibrated: dict[str, dict[str, EstimateRow | None]]
    recovered: list[RecoveryRow]
    gates: list[Gate]


class Counts(TypedDict):
    """Cells in which an entry is shown to be better than another, neither, or worse."""

    wins: int
    ties: int
    losses: int


class GateCounts(TypedDict):
    """What became of all gates of an entry, accepted failures among the lost ones."""

    kept: int
    lost: int
    undecided: int


class OverTasks(TypedDict):
    """A mean difference over tasks, with the interval that takes tasks as drawn at random."""

    value: float
    interval: Interval
    df: int


class RankingRow(Counts):
    """One calibrator or quantizer, ranked over all cells by a metric."""

    id: str
    value: float
    rank: int
    interval: Annotated[list[int], Len(2, 2)]
    first: float
    over_tasks: OverTasks | None
    matrix: dict[str, Counts]
    gates: NotRequired[GateCounts]
    ece: float
    accuracy: float


class Ranking(TypedDict):
    """Calibrators or quantizers, ranked over all cells, by a metric's id."""

    against: str
    n_cells: int
    left_out: list[str]
    flattered: list[str]
    metrics: dict[str, list[RankingRow]]


class Settings(TypedDict):
    """Of a run."""

    seeds: list[int]
    n_resamples: int
    level: float
    bootstrap_seed: NotRequired[int | None]
    profile: NotRequired[str]
    correction: NotRequired[str]
    margin: NotRequired[float]


class Described(TypedDict):
    """What a record was made of, and how."""

    identity: dict[str, Any]
    provenance: dict[str, Any]


class FurtherResults(TypedDict, total=False):
    """What not every document has; ``errors`` of tests that no gate failed."""

    comparisons: list[ComparisonRow]
    variants: list[VariantsRow]
    rankings: dict[str, Ranking]
    errors: list[str]


class Results(FurtherResults):
    """What a run measured: every number with its interval, its n and the records it was computed from.

    ``schema`` is the format's version. ``metrics`` says by id how each is defined, ``records`` by key
    what each was made of; ``confidence_pairs`` has the first 16 digits of both keys of a cell.
    """

    schema: int
    calbench: str
    created: str
    settings: Settings
    metrics: dict[str, dict[str, Any]]
    cells: list[Row]
    confidence_pairs: dict[str, ConfidencePairs]
    records: dict[str, Described]


class JudgedOf(TypedDict):
    """The cell that a gate is of."""

    cell: str
    model: str
    task: str
    quantizer: str
    calibrator: str
    seed: int
    n_calibration: Count
    epsilons: Annotated[list[float | None], Len(2, 2)]
    level: float
    records: RecordKeys


class GateEvidence(GateFigures):
    """A gate that stored records decide."""

    of: JudgedOf


class Evidence(TypedDict):
    """What recomputes every verdict of a run from stored records; ``sha256`` is of all the rest."""

    format: int
    calbench: str
    created: str
    settings: Settings
    metrics: dict[str, dict[str, Any]]
    results_sha256: str
    records: dict[str, dict[str, Any]]
    gates: list[GateEvidence]
    without_records: list[GateFigures]
    sha256: str
