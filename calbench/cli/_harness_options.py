"""Options of every command that names tasks: where those of the harness are, and if their code runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

Include = Annotated[
    Path | None,
    typer.Option(
        envvar="CALBENCH_LM_EVAL_INCLUDE", help="A folder of your own tasks for lm-eval:NAME.", exists=True
    ),
]
Trust = Annotated[
    bool,
    typer.Option(envvar="CALBENCH_TRUST_LM_EVAL_CODE", help="Run code that files outside of lm-eval name."),
]


def names_tasks(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command ``--lm-eval-include`` and ``--trust-lm-eval-code``."""

    @wraps(command)
    def with_options(
        *, lm_eval_include: Path | None = None, trust_lm_eval_code: bool = False, **arguments: Any
    ) -> None:
        from calbench.tasks import use_harness

        use_harness(lm_eval_include, trust=trust_lm_eval_code)
        command(**arguments)

    hints = get_type_hints(command, include_extras=True)
    own = [
        parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=hints[name])
        for name, parameter in inspect.signature(command).parameters.items()
    ]
    more = [
        inspect.Parameter(
            "lm_eval_include", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Include
        ),
        inspect.Parameter(
            "trust_lm_eval_code", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Trust
        ),
    ]
    with_options.__signature__ = inspect.Signature([*own, *more])  # type: ignore[attr-defined]  # typer reads it
    with_options.__annotations__ = {p.name: p.annotation for p in (*own, *more)}
    return with_options
