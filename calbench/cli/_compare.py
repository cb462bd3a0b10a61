"""``calbench compare``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from calbench.cli._application import app
from calbench.cli._options import (
    MARGIN,
    SEED,
    AsJson,
    Inconclusive,
    Pair,
    Resamples,
    Seed,
    Undecided,
    reads_pair,
    status_of,
)
from calbench.cli._output import print_json, say
from calbench.errors import InputError

if TYPE_CHECKING:
    from calbench.gates import Decision
    from calbench.interchange import Paired


# A part of fewer items never passes: that all of 20 stayed as they were still allows one change in seven.
FEWEST_TO_PASS = 20


class By(str, Enum):
    """What items are compared within, besides all together."""

    task = "task"
    label = "class"


@dataclass(frozen=True)
class Judged:
    """A decision, and the task or class whose items it is about; ``""`` for all of them."""

    group: str
    decision: Decision


@app.command()
@reads_pair
def compare(
    *,
    pair: Pair,
    metric: Annotated[
        str, typer.Option("--metric", "--metrics", help="Ids of metrics, separated by commas.")
    ] = "ece",
    margin: Annotated[float, typer.Option(help="How much worse is accepted.")] = MARGIN,
    relative: Annotated[bool, typer.Option(help="The margin is a share, 0.05 for 5%.")] = False,
    inconclusive: Inconclusive = Undecided.report,
    n_resamples: Resamples = 2000,
    seed: Seed = SEED,
    by: Annotated[
        By | None,
        typer.Option(
            help="Gate each part besides: each task (what stands before the / of an item's id), or the"
            " items of each right class."
        ),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a table for a pull request.")] = False,
    as_json: AsJson = False,
) -> None:
    """Gate a candidate against a reference: exit status 1 if it is shown to be worse, 3 if undecided.

    The reference comes first. Items are matched by id; those that only one file has are left out, counted
    and named. How far the two models' answers lie apart is printed too.

    Example: calbench compare fp32.parquet int4.parquet --metric ece,nll --margin 0.02

    Example: calbench compare fp16/ int4/ --metric nll --by task   (folders of lm-eval samples)
    """
    from dataclasses import asdict

    from calbench.escaping import markdown_text
    from calbench.metrics import get, precision_split
    from calbench.selection import split_patterns

    both = pair.both
    limits = {}
    for name in split_patterns(metric):
        worse = "decrease" if get(name).direction == "higher" else "increase"
        limits[name] = {f"max_{'relative_' if relative else ''}{worse}": margin}
    judged = list(_judged(both, limits, by, n_resamples=n_resamples, seed=seed))
    split = precision_split(both.reference, both.candidate)
    flip = "flip" if split.flips_of == "answers" else "turn right or wrong"
    moved = (
        f"answers that {flip}: {split.flip_rate:.1%}; confidence moves by"
        f" {split.confidence_shift_mean:.4f} on average, at most {split.confidence_shift_max:.4f}"
    )
    if as_json:
        print_json(
            {
                "reference": str(pair.reference),
                "candidate": str(pair.candidate),
                "gates": [
                    {
                        **each.decision.to_plain(test="calbench compare"),
                        **({by.value: each.group} if by else {}),
                    }
                    for each in judged
                ],
                "precision_split": asdict(split),
                "only_reference": list(both.only_reference),
                "only_candidate": list(both.only_candidate),
            }
        )
    elif markdown:
        names = (markdown_text(path.name) for path in (pair.reference, pair.candidate))
        typer.echo("{} → {}: {}.\n\n{}".format(*names, moved, _markdown(judged, by)))
    else:
        typer.echo(f"reference {pair.reference}, candidate {pair.candidate}")
        for each in judged:
            typer.echo(_part(each, by) + _line(each.decision))
        typer.echo(moved)
    if not as_json:
        for note in both.notes:
            say(f"note: {note}")
    raise typer.Exit(status_of((each.decision.outcome for each in judged), inconclusive))


def _judged(
    both: Paired, limits: dict[str, dict[str, float]], by: By | None, *, n_resamples: int, seed: int
) -> Iterator[Judged]:
    """Yield the gates of all items, then those of their parts, which share one chance of a false alarm."""
    from calbench import gates

    items = both.reference.item_ids.tolist()
    parts: dict[str, list[str]] = {"": items}
    for item, group in zip(items, _groups(both, by), strict=True) if by else ():
        parts.setdefault(group, []).append(item)
    parts = dict(sorted(parts.items(), key=lambda part: (len(part[0]), part[0]) if by is By.label else ()))
    n_parts = len(parts) - 1
    for group, members in parts.items():
        reference, candidate = both.reference.take(members), both.candidate.take(members)
        compared = gates.compare(reference, candidate, n_resamples=n_resamples, seed=seed)
        level = 1 - (1 - compared.level) / n_parts if group else compared.level
        for name, limit in limits.items():
            decision = compared.decide(name, level=level, **limit)  # type: ignore[arg-type]
            if group and decision.outcome == "pass" and len(members) < FEWEST_TO_PASS:
                decision = replace(decision, outcome="inconclusive", items_needed=FEWEST_TO_PASS)
            yield Judged(group, decision)


def _groups(both: Paired, by: By) -> list[str]:
    """Return each item's task or right class."""
    if by is By.task:
        return [_task_of(item) for item in both.reference.item_ids.tolist()]
    labels = getattr(both.reference, "labels", None)
    if labels is None:
        raise InputError(
            "these records hold confidences of the top answer and no classes; --by class reads records with"
            " the probabilities of every class and a label"
        )
    return [str(label) for label in labels.tolist()]


def _task_of(item: str) -> str:
    task, slash, _ = item.rpartition("/")
    if not slash:
        raise InputError(
            f"the item {item!r} does not name its task; --by task reads ids such as arc_easy/17,"
            " which the logs of lm-evaluation-harness have"
        )
    return task


def _markdown(judged: list[Judged], by: By | None) -> str:
    """Return a row a metric, for a comment on a pull request."""
    from tabulate import tabulate

    from calbench.escaping import markdown_text

    rows = [
        {
            **({by.value: markdown_text(each.group) or "all"} if by else {}),
            "metric": d.change.metric,
            "reference": f"{d.change.reference_value:.4f}",
            "candidate": f"{d.change.candidate_value:.4f}",
            ("change [interval]" if by else f"change [{d.change.level:.0%} interval]"): (
                "{:+.4f} [{:+.4f}, {:+.4f}]".format(d.change.value, *d.change.interval)
            ),
            **({"level": f"{d.change.level:.2%}"} if by else {}),
            "limit": f"{_limit(d):+g}{' relative' if d.change.relative else ''}",
            "n": f"{d.change.n:,}",
            "verdict": d.outcome
            + (f"; about {d.items_needed:,} items would decide" if d.items_needed else ""),
        }
        for each in judged
        for d in [each.decision]
    ]
    text: str = tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)
    return text


def _limit(decision: Decision) -> float:
    """Return the change that is still allowed, with its sign."""
    return -decision.limit if "decrease" in decision.requirement.keyword else decision.limit


def _part(judged: Judged, by: By | None) -> str:
    """Say which items a line is about, and at which level; nothing of all items."""
    from calbench.escaping import printable

    if not judged.group:
        return ""
    named = f"class {judged.group}" if by is By.label else printable(judged.group)
    return f"{named}, at {judged.decision.change.level:.2%}: "


def _line(decision: Decision) -> str:
    measured = decision.change
    low, high = measured.interval
    unit = " relative" if measured.relative else ""
    needed = f"; about {decision.items_needed:,} items would decide" if decision.items_needed else ""
    return (
        f"{decision.outcome}: {measured.metric} reference {measured.reference_value:.4f} -> candidate"
        f" {measured.candidate_value:.4f}: change {measured.value:+.4f} [{low:+.4f}, {high:+.4f}],"
        f" margin {decision.limit:+g}{unit}, n = {measured.n:,}{needed}"
    )
