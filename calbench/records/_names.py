"""Which columns of a table hold what, and how they are to be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Literal

from calbench.errors import InputError

# Fields that hold a number for every class.
VECTORS = ("logits", "probs", "positive")
ConfidenceKind = Literal["class", "verbalised", "answer", "vocabulary"]


@dataclass(frozen=True)
class ColumnNames:
    """Which columns of a file hold what; None stands for the name of the field itself.

    A name may be a path into what a row holds: ``doc.gold``, ``choices[].logprob``, ``choices[0].text``.

    Attributes
    ----------
    item_id, label
        Ids (``a+b`` joins two columns), and labels: numbers, letters, or names of classes.
    logits, probs
        A column with a list per row, or one column per class (``p_*`` for all that begin so), or scores
        by name. A single number a row is of the positive one of two classes.
    positive
        Probability of the second of two classes.
    confidence, correct, predicted
        Of the top answer, where there is no class vector. ``correct`` may be left out where
        ``label`` and ``predicted`` are there to be compared.
    cluster_id
        What was sampled with each item; splits never divide a cluster.
    label_distribution
        Shares of the classes among those who labelled an item: a list a row, or a column a class.
    row_ids
        Number the rows instead of reading ids.
    where
        Only rows with these values, by column; ``"*"`` for rows of all values, pooled on purpose.
    classes
        Names of the classes, in the order of the class columns.
    label_start
        Which number is the first class: 0 or 1.
    percent
        Probabilities and confidences are percents.
    renormalise
        Divide probabilities by their sum.
    confidence_kind
        Of what the confidence is a probability: the largest of the classes' (``class``), or something
        else, which may be less than one over their number.
    """

    item_id: str | None = None
    label: str | None = None
    logits: str | Sequence[str] | None = None
    probs: str | Sequence[str] | None = None
    positive: str | None = None
    confidence: str | None = None
    correct: str | None = None
    predicted: str | None = None
    cluster_id: str | None = None
    label_distribution: str | Sequence[str] | None = None
    row_ids: bool = False
    where: Mapping[str, str] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    label_start: int | None = None
    percent: bool = False
    renormalise: bool = False
    confidence_kind: ConfidenceKind = "class"

    @property
    def as_written(self) -> bool:
        """Whether these are the columns that calbench itself writes."""
        return self == ColumnNames()

    @property
    def mapped(self) -> dict[str, object]:
        """What was said that differs from the defaults."""
        default = ColumnNames()
        return {f.name: v for f in fields(self) if (v := getattr(self, f.name)) != getattr(default, f.name)}

    def refuse_contradictions(self) -> None:
        """Raise :class:`InputError` where two of them cannot hold at once."""
        vectors = [name for name in VECTORS if getattr(self, name)]
        top = [name for name in ("confidence", "correct") if getattr(self, name)]
        if len(vectors) > 1 or (vectors and top):
            both = ", ".join([*vectors, *top])
            raise InputError(
                f"ColumnNames(...) maps {both}; a record is read from one of them: leave out the others"
            )
        if self.row_ids and self.item_id:
            raise InputError(
                "ColumnNames(row_ids=True) and ColumnNames(item_id=...) contradict each other; leave out one"
            )
        wrong = {"renormalise": self.renormalise and not self.probs, "percent": self.percent and self.logits}
        for name in (name for name, is_wrong in wrong.items() if is_wrong):
            raise InputError(
                f"ColumnNames({name}=True) is of probabilities; name them with ColumnNames(probs='NAME')"
            )
