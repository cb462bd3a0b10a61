"""``calbench sensitivity``."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calbench.cli._application import app
from calbench.cli._harness_options import names_tasks
from calbench.cli._options import AsJson, Device, Profile, ProfileName, Resamples, StoreFolder
from calbench.cli._output import print_json

if TYPE_CHECKING:
    from calbench.studies import Change, GroupCost, Suggestion


class KeepAt(str, Enum):
    """What a kept group becomes."""

    full = "full"
    int8 = "int8"


@app.command()
@names_tasks
def sensitivity(
    model: Annotated[str, typer.Argument(help="Id of the model.")],
    quantizer: Annotated[str, typer.Argument(help="Id of a quantizer that can skip layers.")],
    task: Annotated[str, typer.Argument(help="Id of the task.")],
    keep_at: Annotated[
        KeepAt, typer.Option(help="What a kept group becomes; int8 needs gptq-int4 or gptq-int3.")
    ] = KeepAt.full,
    budget_mib: Annotated[
        float | None,
        typer.Option(
            min=0, help="The whole model may take so much; default: a fifth of what keeping all takes."
        ),
    ] = None,
    profile: Profile = ProfileName.default,
    store: StoreFolder = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the calibration/test division.")] = 42,
    n_resamples: Resamples = 2000,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure what quantizing each block and head costs, and say which to keep at a budget of bytes.

    Each group of layers is quantized alone. Groups are weighed on the calibration items; what keeping
    the suggested ones, at full precision or at 8 bits, gives is then measured on the test items.

    Example: calbench sensitivity minilm bnb-nf4 tweets
    """
    from rich.console import Console

    from calbench import devices
    from calbench.report import TerminalProgress
    from calbench.runs import PROFILES, Runner
    from calbench.store import Store
    from calbench.studies import Sensitivity

    devices.choose(device)
    devices.device()
    runner = Runner(
        Store.at(store),
        PROFILES[profile.value],
        n_resamples=n_resamples,
        progress=TerminalProgress(Console(stderr=True)),
    )
    study = Sensitivity(runner, model, quantizer, task, seed, keep_at.value)
    costs = list(study.costs())
    budget = None if budget_mib is None else round(budget_mib * 2**20)
    suggestion = study.suggest(costs, budget_bytes=budget)
    if as_json:
        groups = [asdict(cost) | {"kl_per_mib": cost.kl_per_mib} for cost in costs]
        return print_json({"groups": groups, "suggestion": asdict(suggestion)})
    typer.echo(_costs_table(costs, suggestion))
    typer.echo(_verdict(suggestion))
    return None


def _costs_table(costs: list[GroupCost], suggestion: Suggestion) -> str:
    from tabulate import tabulate

    total_kl = sum(cost.change.kl_divergence.value for cost in costs)
    mean = total_kl / (sum(cost.saved_bytes for cost in costs) / 2**20)
    ranked = sorted(costs, key=lambda cost: -cost.kl_per_mib)
    rows = [
        {
            "group": cost.name,
            "layers": str(len(cost.layers)),
            "MiB saved": f"{cost.saved_bytes / 2**20:.3f}",
            **_cells(cost.change),
            "KL per MiB": f"{cost.kl_per_mib:.2g}",
            "": " ".join(
                word
                for word, holds in (
                    ("costly", cost.kl_per_mib > mean),
                    ("keep", cost.name in suggestion.keep),
                )
                if holds
            ),
        }
        for cost in ranked
    ]
    table: str = tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)
    return f"{table}\n\ncostly: more KL per MiB saved than the {mean:.2g} of all groups together\n"


def _verdict(suggestion: Suggestion) -> str:
    from tabulate import tabulate

    def row(name: str, size: int, change: Change) -> dict[str, str]:
        return {"": name, "MiB": f"{size / 2**20:.2f}", **_cells(change)}

    table = tabulate(
        [
            row("every group quantized", suggestion.uniform_bytes, suggestion.uniform_change),
            row("the suggestion", suggestion.size_bytes, suggestion.change),
        ],
        headers="keys",
        tablefmt="github",
        disable_numparse=True,
    )
    kept = ", ".join(suggestion.keep) or "nothing: no group fits"
    precision = "8 bits" if suggestion.kept_at == "int8" else "full precision"
    return (
        f"keep at {precision} within {suggestion.budget_bytes / 2**20:.2f} MiB: {kept}\n"
        f"quantizer: {suggestion.quantizer}\n\n"
        f"measured on the test items, which had no part in the choice:\n\n{table}"
    )


def _cells(change: Change) -> dict[str, str]:
    kl = change.kl_divergence
    return {
        "KL": f"{kl.value:.2g} [{kl.interval[0]:.2g}, {kl.interval[1]:.2g}]",
        "Δ accuracy": _signed(change.accuracy),
        "Δ ECE": _signed(change.ece),
    }


def _signed(estimate: Any) -> str:
    return f"{estimate.value:+.4f} [{estimate.interval[0]:+.4f}, {estimate.interval[1]:+.4f}]"
