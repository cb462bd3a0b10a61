"""The table of timings is printed with ``-v`` only, as all tables are."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Ask pytest-benchmark to be brief, where it is installed."""
    if hasattr(config.option, "benchmark_quiet"):
        config.option.benchmark_quiet = True
