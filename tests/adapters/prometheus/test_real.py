"""What a real Prometheus answers: each preset, each fault of metrics, a scrape as it happens."""

from __future__ import annotations

import time

import numpy as np
import pytest

from controller.adapters.metrics.prometheus.client import Endpoint, ask
from controller.adapters.metrics.prometheus.parts import joined
from controller.adapters.metrics.prometheus.promql import Ask, Form
from controller.adapters.metrics.prometheus.reader import read
from controller.core.readings.asking import Grid, Scope, Wanted
from controller.core.readings.attach import Attach, ByInfo, ByLabels, ByPod
from controller.core.readings.cook import cook
from controller.core.readings.presets import PRESETS, leaves_of
from controller.core.readings.recipe import Kind, Leaf
from controller.core.readings.tables import Buckets, Table
from controller.core.types import Role
from tests.adapters.prometheus.conftest import Read, forgets, turn
from tests.adapters.prometheus.engine import RATES, Engine
from tests.adapters.prometheus.fleets import (
    BOUNDS,
    TOKENS,
    WAITING,
    attach_of,
    expected,
)
from tests.prometheus import NOW_S, STEP_S

LABELS = ByLabels()
DECODED = Leaf((TOKENS,), Kind.COUNTER, Role.DECODE, apart=("engine",))
RENAMED = Leaf((f"{TOKENS}_v2", TOKENS), Kind.COUNTER, Role.DECODE, apart=("engine",))
QUEUED = Leaf((WAITING,), Kind.GAUGE, Role.DECODE, apart=("engine",))


def _newest(reading: Read, leaf: Leaf, service: str) -> tuple[float, float, int]:
    """The newest value, the age of its newest sample [s], and the instances behind it."""
    table = reading({leaf: LABELS}, [service]).leaves[leaf]
    assert isinstance(table, Table)
    return table.values[0, -1], NOW_S - table.at_s[0, -1], int(table.reporting[0, -1])


@pytest.mark.parametrize("name", PRESETS)
def test_every_leaf_of_a_preset_is_what_its_series_add_up_to_m12(reading: Read, name: str) -> None:
    leaves = leaves_of(PRESETS[name].recipes.values())
    answer = reading(dict.fromkeys(leaves, attach_of(name)), [name])
    assert answer.told == ()
    found, wanted = {}, {}
    for leaf in leaves:
        table = answer.leaves[leaf]
        bounds = BOUNDS if leaf.kind is Kind.BUCKETS else ("",)
        values = table.rates[0] if isinstance(table, Buckets) else table.values
        found[leaf] = [*values[:, -1], *table.at_s[0], *table.reporting[0]]
        times_s: list[float] = [NOW_S - STEP_S * back for back in (3, 2, 1, 0)]
        if isinstance(table, Buckets):
            # The window of its newest rates, 60 s, has all that came in the newer half.
            times_s[:3] = [np.nan] * 3
        instances = [4 if leaf.role is None else 2] * 4
        wanted[leaf] = [*(expected(name, leaf, bound) for bound in bounds), *times_s, *instances]
    assert found == {leaf: pytest.approx(figures, nan_ok=True) for leaf, figures in wanted.items()}


@pytest.mark.parametrize(
    ("service", "leaf", "want"),
    [
        pytest.param("two-engines", DECODED, (15, 0, 1), id="10 + 5 tok/s of one instance"),
        pytest.param("two-jobs", DECODED, (10, 0, 1), id="10 tok/s scraped twice, M12"),
        # 1,600, 1,750, 1,900, then 150 and 300 since the restart: 600 in 60 s and 10 tok/s more.
        pytest.param("restarted", DECODED, (20, 0, 1), id="no giant and no negative rate, M11"),
        pytest.param("half-renamed", DECODED, (10, 0, 1), id="one of two has the old name, M14"),
        pytest.param("half-renamed", RENAMED, (30, 0, 2), id="both names are known: 10 + 20"),
        pytest.param("gap", DECODED, (20, 0, 1), id="one of two fell silent 75 s ago, M10"),
        pytest.param("first-scrape", DECODED, (10, 0, 1), id="a first scrape has no rate"),
        pytest.param("idle", DECODED, (0, 0, 1), id="0 with fresh samples is a value"),
    ],
)
def test_a_fault_of_metrics_is_told_for_what_it_is(
    reading: Read, service: str, leaf: Leaf, want: tuple[float, float, int]
) -> None:
    assert _newest(reading, leaf, service) == pytest.approx(want)


def test_a_gauge_of_two_minutes_ago_is_old_or_not_there_m07(reading: Read, served: str) -> None:
    table = reading({QUEUED: LABELS}, ["quiet"]).leaves[QUEUED]
    assert isinstance(table, Table)
    assert not table.reporting.any()
    # VictoriaMetrics answers for it as long as its samples usually are apart, others 5 minutes.
    if forgets(served):
        assert not table.present.any()
    else:
        assert (table.values[0, -1], NOW_S - table.at_s[0, -1]) == (7, 120)


def test_buckets_of_an_instance_with_both_names_count_once_m14(reading: Read) -> None:
    leaf = Leaf(("new_bucket", "old_bucket"), Kind.BUCKETS, Role.DECODE, apart=("engine",))
    table = reading({leaf: LABELS}, ["renamed-buckets"]).leaves[leaf]
    assert isinstance(table, Buckets)
    assert table.rates[0, :, -1].tolist() == pytest.approx([15, 22.5, 30])
    assert table.reporting[0, -1] == 2


def test_buckets_that_one_job_scrapes_need_no_telling_apart(prometheus: str) -> None:
    leaf = Leaf(("old_bucket", "new_bucket"), Kind.BUCKETS, Role.DECODE, apart=("engine",))
    scope, grid = Scope(["renamed-buckets"], 60), Grid(NOW_S, STEP_S, 1)
    rates = []
    for once in (False, True):
        query = joined([Ask(leaf, LABELS, Form.VALUES, once=once)], scope)
        result = ask(Endpoint("test", prometheus), query, grid, turn()).result
        rates.append(sorted((each["metric"]["le"], each["values"]) for each in result))
        assert ("max by" in query) is not once
    assert rates[0] == rates[1] != []


def test_a_quantile_is_what_the_server_itself_makes_of_the_buckets(
    prometheus: str, reading: Read
) -> None:
    recipe = PRESETS["vllm"].recipes["ttft_s"]
    leaves = leaves_of([recipe])
    ours = cook(recipe, reading(dict.fromkeys(leaves, LABELS), ["vllm"]).leaves, (1, 4))
    # Of two jobs, one is enough here.
    series = 'vllm:time_to_first_token_seconds_bucket{service="vllm",role="prefill",job="again"}'
    query = f"histogram_quantile(0.95, sum by (le) (rate({series}[60s])))"
    theirs = ask(Endpoint("test", prometheus), query, Grid(NOW_S, STEP_S, 4), turn()).result
    assert float(theirs[0]["values"][-1][1]) == pytest.approx(ours.values[0, -1])
    assert ours.present[0].tolist() == [False, False, False, True]


@pytest.mark.parametrize("service", ["nobody", "ahead"])
def test_nothing_or_only_the_future_is_no_value_m04_m08(reading: Read, service: str) -> None:
    table = reading({QUEUED: LABELS}, [service]).leaves[QUEUED]
    assert isinstance(table, Table)
    assert not table.present.any()
    assert not table.reporting.any()


@pytest.mark.parametrize(("service", "want"), [("not-a-number", np.nan), ("infinite", np.inf)])
def test_no_number_stays_none_and_is_there_m05(
    reading: Read, served: str, service: str, want: float
) -> None:
    if np.isnan(want) and forgets(served):
        # VictoriaMetrics keeps no NaN: who told it is missing instead.
        want_all: tuple[float, float, int] = (3, 0, 1)
    else:
        want_all = (want, 0, 2)
    assert _newest(reading, QUEUED, service) == pytest.approx(want_all, nan_ok=True)


def test_ten_thousand_foreign_series_change_no_service_m16(reading: Read) -> None:
    many = ["two-engines", "elsewhere", *(f"unknown-{at}" for at in range(300))]
    answer = reading({QUEUED: LABELS}, many)
    assert answer.told == ()
    assert np.flatnonzero(answer.leaves[QUEUED].at_s[:, -1] > 0).tolist() == [1]


def test_the_same_name_in_another_namespace_is_left_out_m13(reading: Read) -> None:
    ours = ByLabels(only={"namespace": "ours"})
    table = reading({QUEUED: ours}, ["elsewhere"]).leaves[QUEUED]
    assert isinstance(table, Table)
    assert table.values[0, -1] == 1


@pytest.mark.parametrize(
    "attach",
    [
        ByInfo(),
        ByPod({role: rf"(?P<service>[a-z]+)-{role}-\d+" for role in Role}),
    ],
)
def test_service_and_role_by_join_or_by_the_pods_name_are_the_same(
    reading: Read, attach: Attach
) -> None:
    table = reading({QUEUED: attach}, ["joined"]).leaves[QUEUED]
    assert isinstance(table, Table)
    assert (table.values[0, -1], table.reporting[0, -1]) == (9, 2)


def test_one_refused_leaf_takes_no_other_with_it_m17(reading: Read) -> None:
    refused = ByPod({Role.DECODE: r"(?P<service>.+)(?=-decode)"})
    other = Leaf((TOKENS,), Kind.GAUGE, Role.DECODE)
    answer = reading({DECODED: LABELS, other: refused, QUEUED: LABELS}, ["two-engines"])
    assert set(answer.leaves) == {DECODED, QUEUED}
    assert len(answer.told) == 1
    assert "error parsing regexp" in answer.told[0]


def test_names_of_services_never_become_a_part_of_the_query_m13(reading: Read) -> None:
    evil = ['x"} or vector(1) or {a="', ".*", "two-engines\\", "a|two-jobs", "$1", "ü\n"]
    answer = reading({DECODED: LABELS}, [*evil, "two-engines"])
    assert answer.told == ()
    assert np.flatnonzero(answer.leaves[DECODED].at_s[:, -1] > 0).tolist() == [6]


def test_an_engine_is_scraped_and_when_it_dies_is_missing_at_once(
    prometheus: str, engine: Engine
) -> None:
    def now(leaf: Leaf) -> Table:
        now_s = time.time()  # noqa: TID251 - a real scrape has the clock's time
        wanted = Wanted({leaf: LABELS}, Scope(["live"], 4), Grid(now_s, 1, 2))
        table = read(Endpoint("test", prometheus), wanted, turn()).leaves[leaf]
        assert isinstance(table, Table)
        return table

    until = time.monotonic() + 20
    # Rates of a window that is not yet full are too low.
    while abs(now(DECODED).values[0, -1] / sum(RATES) - 1) > 0.2 or not now(DECODED).present.all():
        assert time.monotonic() < until
        time.sleep(0.1)
    assert now(QUEUED).values[0, -1] == 5
    assert now(QUEUED).reporting[0, -1] == 1
    engine.die()
    while now(QUEUED).present[0, -1]:
        assert time.monotonic() < until
        time.sleep(0.1)
