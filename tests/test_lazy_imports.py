"""What does not use calbench does not pay for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("numpy", "torch", "scipy", "rich", "typer", "transformers", "pyarrow")


def modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sorted(sys.modules), sep='\\n')"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {line.split(".")[0] for line in done.stdout.splitlines()}


def test_importing_calbench_imports_no_other_package():
    before = modules_after("")
    added = modules_after("import calbench") - before - {"calbench"}
    assert added <= set(sys.stdlib_module_names)


def test_an_unrelated_test_run_imports_nothing_heavy(pytester: pytest.Pytester):
    pytester.makepyfile(
        f"""
        import sys

        def test_nothing_heavy_is_loaded():
            assert not set({HEAVY!r}) & set(sys.modules)
        """
    )
    # Other plugins of this environment may import what they like.
    result = pytester.runpytest_subprocess(
        "-p",
        "no:hypothesispytest",
        "-p",
        "no:anyio",
        "-p",
        "no:xdist",
        "-p",
        "no:platformdirs",
        "-p",
        "no:benchmark",
    )
    result.assert_outcomes(passed=1)


def test_metrics_statistics_and_calibrators_need_no_torch():
    code = "import calbench; calbench.metrics.names(); calbench.calibrators.names(); calbench.compare"
    assert not modules_after(code) & {"torch", "transformers", "rich", "pytest"}


def test_the_parts_of_scipy_are_imported_where_they_are_first_used():
    code = "import calbench.baselines, calbench.report, calbench.runs\nprint(*sorted(sys.modules), sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}"], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "scipy" in loaded
    assert not {f"scipy.{part}" for part in ("linalg", "optimize", "sparse", "spatial", "special")} & loaded


def test_quantizers_models_and_tasks_are_listed_without_torch():
    code = "import calbench; calbench.quantizers.names(); calbench.models.names(); calbench.tasks.names()"
    assert not modules_after(code) & {"torch", "transformers", "pytest"}


def test_every_public_name_exists():
    code = "import calbench\nfor name in calbench.__all__: getattr(calbench, name)"
    assert "calbench" in modules_after(code)


def test_unknown_name_is_an_attribute_error():
    import calbench

    with pytest.raises(AttributeError, match="nonsense"):
        calbench.nonsense  # noqa: B018
