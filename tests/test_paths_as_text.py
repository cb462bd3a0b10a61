"""Whatever takes a path takes it as text too."""

from __future__ import annotations

import numpy as np
import pytest

from calbench import baselines, interchange, records, report, runs
from calbench.errors import BaselineRefusedError
from tests.report.rows import document, row


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "a.csv"
    rows = (f"{i},0.{5 + i % 4},{i % 2}\n" for i in range(40))
    path.write_text("item_id,confidence,correct\n" + "".join(rows))
    return str(path)


@pytest.mark.parametrize(
    "read", [records.read_record, interchange.read, lambda path: interchange.read([path])]
)
def test_a_record_is_read(read, table):
    assert np.isclose(read(table).confidences.min(), 0.5)


def test_records_of_a_folder_are_read(table):
    assert list(runs.read_records([table])) == [table]


def test_a_report_is_written_and_read(tmp_path):
    report.write(str(tmp_path / "report"), document([row()]))
    assert len(report.read_results(str(tmp_path / "report" / "results.json"))["cells"]) == 1


def test_a_baseline_is_looked_for(tmp_path):
    path = baselines.path_of(str(tmp_path), "suite")
    assert not baselines.is_baseline(str(path))
    with pytest.raises(BaselineRefusedError, match="suite"):
        baselines.read(str(path))
