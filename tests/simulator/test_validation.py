"""Engine speed agrees with what others measured."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.validation_rows import CHECKS, Row, engine_rows, published_h20


@pytest.fixture(scope="module")
def perf(shared: Path) -> Path:
    return shared / "data" / "perf"


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_row_of_a_check_is_within_its_limit(
    check: Callable[[Path], Iterator[Row]], perf: Path
) -> None:
    rows = list(check(perf))
    assert rows
    assert [row for row in rows if not row.passed] == []


def test_no_measured_point_is_dropped_unseen(perf: Path) -> None:
    checks = [row.check for row in engine_rows(perf)]
    assert len(checks) == 2 + 6 + 9 + 3 + 2
    assert [
        check.rsplit(", ", 1)[1] for check in checks if check.endswith(("points", "rows"))
    ] == [
        "17 points",
        "38 points",
        "33 rows",
        "42 rows",
        "15 rows",
    ]


def test_the_published_output_of_a_gpu_grows_ever_slower_with_its_batch(perf: Path) -> None:
    batch, rate = published_h20(perf).T
    assert list(batch) == [8, 12, 32, 48]
    gains = np.diff(rate) / np.diff(batch)
    assert np.all(gains > 0)
    assert np.all(np.diff(gains) < 0)
